//! A filter that has the callbacks of a rate limit that says nothing in answers (such a one is not called for them), and does nothing in
//! them: the least that a filter can cost.

use crate::wasm::{self, I32, allocate, code, export, function_type};

/// Its bytes.
pub fn module() -> Vec<u8> {
    let types = [
        function_type(&[], &[]),
        function_type(&[I32], &[I32]),
        function_type(&[I32, I32, I32], &[I32]),
        function_type(&[I32, I32], &[]),
        function_type(&[I32], &[]),
    ];
    let exports = [
        export("proxy_abi_version_0_2_1", 0, 0),
        export("proxy_on_memory_allocate", 0, 1),
        export("proxy_on_context_create", 0, 3),
        export("proxy_on_request_headers", 0, 2),
        export("proxy_on_log", 0, 4),
        export("proxy_on_delete", 0, 4),
        export("memory", 2, 0),
    ];
    // 0: it goes on.
    let pass = code(&[], &[0x41, 0]);
    let nothing = || code(&[], &[]);
    let bodies = [nothing(), allocate(), pass, nothing(), nothing()];
    wasm::module(&types, &[0, 1, 2, 3, 4], &exports, &bodies)
}
