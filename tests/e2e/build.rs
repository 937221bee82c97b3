//! Builds `tests/guests/*` for `wasm32-wasip1` and writes one constant for each, the path of its module.
//!
//! The constants are private to the tests, so a guest that no test uses does not compile (`dead_code`).

#[path = "../../host/build_wasm.rs"]
mod build_wasm;

use std::{env, fs, path::PathBuf, process::ExitCode};

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            println!("cargo::error={}", message.replace('\n', " "));
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), String> {
    let here = PathBuf::from(env::var("CARGO_MANIFEST_DIR").map_err(|error| error.to_string())?);
    let out = PathBuf::from(env::var("OUT_DIR").map_err(|error| error.to_string())?);
    let root = here.ancestors().nth(2).ok_or("this crate has no workspace around it")?;
    println!("cargo::rerun-if-changed={}", here.join("build.rs").display());
    // OUT_DIR is <target>/<profile>/build/<package>/out.
    let target_dir = out.ancestors().nth(4).unwrap_or(&out).join("guests");
    let constants = build_wasm::guests(root, "tests/guests", &target_dir)?;
    fs::write(out.join("guests.rs"), constants).map_err(|error| error.to_string())
}
