//! A filter that has the callbacks of a rate limit that says nothing in answers (such a one is not called for them), and does nothing in
//! them: the least that a filter can cost.

use crate::heavy::{I32, code, export, function_type, section, vector};

/// Its bytes.
pub fn module() -> Vec<u8> {
    let mut out = b"\0asm\x01\0\0\0".to_vec();
    let types = [
        function_type(&[], &[]),
        function_type(&[I32], &[I32]),
        function_type(&[I32, I32, I32], &[I32]),
        function_type(&[I32, I32], &[]),
        function_type(&[I32], &[]),
    ];
    section(&mut out, 1, &vector(&types));
    section(&mut out, 3, &vector(&[vec![0], vec![1], vec![2], vec![3], vec![4]]));
    // One memory of two pages.
    section(&mut out, 5, &vector(&[vec![0, 2]]));
    let exports = [
        export("proxy_abi_version_0_2_1", 0, 0),
        export("proxy_on_memory_allocate", 0, 1),
        export("proxy_on_context_create", 0, 3),
        export("proxy_on_request_headers", 0, 2),
        export("proxy_on_log", 0, 4),
        export("proxy_on_delete", 0, 4),
        export("memory", 2, 0),
    ];
    section(&mut out, 7, &vector(&exports));
    // Memory from 64 KiB on is whoever's asks first; the host asks for little, and puts it there anew each time.
    let allocate = code(&[], &[0x41, 0x80, 0x80, 0x04]);
    // 0: it goes on.
    let pass = code(&[], &[0x41, 0]);
    let nothing = || code(&[], &[]);
    section(&mut out, 10, &vector(&[nothing(), allocate, pass, nothing(), nothing()]));
    out
}
