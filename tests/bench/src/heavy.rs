//! A module of megabytes that takes seconds to compile and nothing to run: a filter that lets every request pass, and many functions
//! that nobody calls. Written byte by byte (WebAssembly core specification, 5.5), so that no compiler of guests has a part in it.

/// Functions that do nothing for anybody.
const FUNCTIONS: u32 = 400;
/// Statements of each: 400 times 450 of them are 3 MB.
const STATEMENTS: u32 = 450;
/// Of each, its two parameters among them.
const LOCALS: u32 = 12;

/// The type of 32 bits.
pub const I32: u8 = 0x7f;
const I64: u8 = 0x7e;

/// Its bytes; always the same.
pub fn module() -> Vec<u8> {
    let mut out = b"\0asm\x01\0\0\0".to_vec();
    let types = [
        function_type(&[], &[]),
        function_type(&[I32], &[I32]),
        function_type(&[I32, I32, I32], &[I32]),
        function_type(&[I64, I64], &[I64]),
    ];
    section(&mut out, 1, &vector(&types));
    let own = [vec![0], vec![1], vec![2]];
    let others = (0..FUNCTIONS).map(|_| vec![3]);
    section(&mut out, 3, &vector(&own.into_iter().chain(others).collect::<Vec<_>>()));
    // One memory of two pages.
    section(&mut out, 5, &vector(&[vec![0, 2]]));
    let exports = [
        export("proxy_abi_version_0_2_1", 0, 0),
        export("proxy_on_memory_allocate", 0, 1),
        export("proxy_on_request_headers", 0, 2),
        export("memory", 2, 0),
    ];
    section(&mut out, 7, &vector(&exports));
    // Memory from 64 KiB on is whoever's asks first; the host asks for little, and puts it there anew each time.
    let allocate = code(&[], &[0x41, 0x80, 0x80, 0x04]);
    let pass = code(&[], &[0x41, 0]);
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let others = (0..FUNCTIONS).map(|_| heavy(&mut random));
    let bodies: Vec<_> = [code(&[], &[]), allocate, pass].into_iter().chain(others).collect();
    section(&mut out, 10, &vector(&bodies));
    out
}

/// Arithmetic on locals, a branch now and then, a word in memory now and then.
fn heavy(random: &mut Random) -> Vec<u8> {
    let mut body = Vec::new();
    for number in 0..STATEMENTS {
        let branches = number % 7 == 0;
        if branches {
            // if (x < y)
            get(&mut body, random);
            get(&mut body, random);
            body.extend([0x53, 0x04, 0x40]);
        }
        if number % 5 == 0 {
            // memory[c] = x
            body.push(0x41);
            signed(&mut body, i64::from(random.below(8_000) * 8));
            get(&mut body, random);
            body.extend([0x37, 3, 0]);
        }
        // x = (y + c) * z
        get(&mut body, random);
        body.push(0x42);
        signed(&mut body, i64::from(random.below(1 << 30)));
        body.push(operator(random));
        get(&mut body, random);
        body.push(operator(random));
        body.push(0x21);
        unsigned(&mut body, random.below(LOCALS));
        if branches {
            body.push(0x0b);
        }
    }
    // The sum of all locals: none of them is idle.
    body.extend([0x20, 0]);
    for local in 1..LOCALS {
        body.push(0x20);
        unsigned(&mut body, local);
        body.push(0x7c);
    }
    code(&[(LOCALS - 2, I64)], &body)
}

fn get(body: &mut Vec<u8>, random: &mut Random) {
    body.push(0x20);
    unsigned(body, random.below(LOCALS));
}

/// One of add, sub, mul, and, or, xor, shl, shr_s, shr_u, rotl.
fn operator(random: &mut Random) -> u8 {
    const OPERATORS: [u8; 10] = [0x7c, 0x7d, 0x7e, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89];
    OPERATORS.get(random.below(10) as usize).copied().unwrap_or(0x7c)
}

/// Marsaglia's xorshift: the module has to be the same every time, not unpredictable.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        u32::try_from(self.0 % u64::from(limit)).unwrap_or_default()
    }
}

/// Appends a section.
pub fn section(out: &mut Vec<u8>, id: u8, content: &[u8]) {
    out.push(id);
    sized(out, content);
}

/// A counted list.
pub fn vector(items: &[Vec<u8>]) -> Vec<u8> {
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
fn unsigned(out: &mut Vec<u8>, mut value: u32) {
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
fn signed(out: &mut Vec<u8>, mut value: i64) {
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
    fn it_is_heavy_and_always_the_same() {
        let one = module();
        assert!((2_900_000..3_200_000).contains(&one.len()), "{}", one.len());
        assert_eq!(one, module());
    }

    #[test]
    fn numbers_are_written_as_the_specification_says() {
        let (mut small, mut large, mut below) = (Vec::new(), Vec::new(), Vec::new());
        unsigned(&mut large, 624_485);
        signed(&mut small, 64);
        signed(&mut below, -123_456);
        assert_eq!((large, small, below), (vec![0xe5, 0x8e, 0x26], vec![0xc0, 0], vec![0xc0, 0xbb, 0x78]));
    }
}
