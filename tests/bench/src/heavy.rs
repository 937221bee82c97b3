//! A module of megabytes that takes seconds to compile and nothing to run: a filter that lets every request pass, and many functions
//! that nobody calls. Written byte by byte (WebAssembly core specification, 5.5), so that no compiler of guests has a part in it.

use crate::wasm::{self, I32, I64, allocate, code, export, function_type, signed, unsigned};

/// Functions that do nothing for anybody.
const FUNCTIONS: u32 = 400;
/// Statements of each: 400 times 450 of them are 3 MB.
const STATEMENTS: u32 = 450;
/// Of each, its two parameters among them.
const LOCALS: u32 = 12;

/// Its bytes; always the same.
pub fn module() -> Vec<u8> {
    let types = [
        function_type(&[], &[]),
        function_type(&[I32], &[I32]),
        function_type(&[I32, I32, I32], &[I32]),
        function_type(&[I64, I64], &[I64]),
    ];
    let functions: Vec<u8> = [0, 1, 2].into_iter().chain((0..FUNCTIONS).map(|_| 3)).collect();
    let exports = [
        export("proxy_abi_version_0_2_1", 0, 0),
        export("proxy_on_memory_allocate", 0, 1),
        export("proxy_on_request_headers", 0, 2),
        export("memory", 2, 0),
    ];
    let pass = code(&[], &[0x41, 0]);
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let others = (0..FUNCTIONS).map(|_| heavy(&mut random));
    let bodies: Vec<_> = [code(&[], &[]), allocate(), pass].into_iter().chain(others).collect();
    wasm::module(&types, &functions, &exports, &bodies)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_heavy_and_always_the_same() {
        let one = module();
        assert!((2_900_000..3_200_000).contains(&one.len()), "{}", one.len());
        assert_eq!(one, module());
    }
}
