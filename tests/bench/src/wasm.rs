//! The binary format of WebAssembly, as far as modules of a measurement need it.

/// Types of values.
pub const I32: u8 = 0x7f;
/// The same.
pub const I64: u8 = 0x7e;

/// A module with one memory of two pages: types, the type of each function, what is exported, and the functions' bodies.
pub fn module(types: &[Vec<u8>], functions: &[u8], exports: &[Vec<u8>], bodies: &[Vec<u8>]) -> Vec<u8> {
    let mut out = b"\0asm\x01\0\0\0".to_vec();
    section(&mut out, 1, &vector(types));
    section(&mut out, 3, &vector(&functions.iter().map(|function| vec![*function]).collect::<Vec<_>>()));
    section(&mut out, 5, &vector(&[vec![0, 2]]));
    section(&mut out, 7, &vector(exports));
    section(&mut out, 10, &vector(bodies));
    out
}

/// `proxy_on_memory_allocate`: memory from 64 KiB on is whoever's asks first; the host asks for little, and puts it there anew each time.
pub fn allocate() -> Vec<u8> {
    code(&[], &[0x41, 0x80, 0x80, 0x04])
}

/// Appends a section.
fn section(out: &mut Vec<u8>, id: u8, content: &[u8]) {
    out.push(id);
    sized(out, content);
}

/// A counted list.
fn vector(items: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    unsigned(&mut out, u32::try_from(items.len()).unwrap_or(u32::MAX));
    items.iter().for_each(|item| out.extend_from_slice(item));
    out
}

/// What functions take and return.
pub fn function_type(parameters: &[u8], results: &[u8]) -> Vec<u8> {
    let mut out = vec![0x60];
    sized(&mut out, parameters);
    sized(&mut out, results);
    out
}

/// What the host finds by its name: functions are of kind 0, memories of kind 2.
pub fn export(name: &str, kind: u8, index: u8) -> Vec<u8> {
    let mut out = Vec::new();
    sized(&mut out, name.as_bytes());
    out.extend([kind, index]);
    out
}

/// The body of a function; its locals in groups of a type.
pub fn code(locals: &[(u32, u8)], instructions: &[u8]) -> Vec<u8> {
    let declarations: Vec<_> = locals
        .iter()
        .map(|(count, kind)| {
            let mut out = Vec::new();
            unsigned(&mut out, *count);
            out.push(*kind);
            out
        })
        .collect();
    let mut body = vector(&declarations);
    body.extend_from_slice(instructions);
    body.push(0x0b);
    let mut out = Vec::new();
    sized(&mut out, &body);
    out
}

fn sized(out: &mut Vec<u8>, bytes: &[u8]) {
    unsigned(out, u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    out.extend_from_slice(bytes);
}

/// LEB128.
pub fn unsigned(out: &mut Vec<u8>, mut value: u32) {
    loop {
        let low = u8::try_from(value & 0x7f).unwrap_or_default();
        value >>= 7;
        if value == 0 {
            return out.push(low);
        }
        out.push(low | 0x80);
    }
}

/// Signed LEB128.
pub fn signed(out: &mut Vec<u8>, mut value: i64) {
    loop {
        let low = u8::try_from(value & 0x7f).unwrap_or_default();
        value >>= 7;
        if (value == 0 && low & 0x40 == 0) || (value == -1 && low & 0x40 != 0) {
            return out.push(low);
        }
        out.push(low | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_the_specification_says() {
        let (mut small, mut large, mut below) = (Vec::new(), Vec::new(), Vec::new());
        unsigned(&mut large, 624_485);
        signed(&mut small, 64);
        signed(&mut below, -123_456);
        assert_eq!((large, small, below), (vec![0xe5, 0x8e, 0x26], vec![0xc0, 0], vec![0xc0, 0xbb, 0x78]));
    }
}
