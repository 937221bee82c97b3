//! Builds `tests/conformance/guests/*` for `wasm32-wasip1` and writes one constant for each, the path of its module.
//!
//! The constants are private to the tests, so a guest that no test uses does not compile (`dead_code`).

#[path = "../../host/build_wasm.rs"]
mod build_wasm;

fn main() -> std::process::ExitCode {
    build_wasm::guests_for_tests("tests/conformance/guests")
}
