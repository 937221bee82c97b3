//! Builds `tests/guests/*` for `wasm32-wasip1` and writes one constant for each, the path of its module.
//!
//! The constants are private to the tests, so a guest that no test uses does not compile (`dead_code`).

#[path = "../../host/build_wasm.rs"]
mod build_wasm;

use std::{env, fs, path::PathBuf, process::ExitCode};

use build_wasm::TARGET;

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
    let guests = root.join("tests/guests");
    println!("cargo::rerun-if-changed={}", guests.display());
    println!("cargo::rerun-if-changed={}", here.join("build.rs").display());
    println!("cargo::rerun-if-changed={}", root.join("host/build_wasm.rs").display());
    let mut names = Vec::new();
    for entry in fs::read_dir(&guests).map_err(|error| error.to_string())?.flatten() {
        if entry.path().join("Cargo.toml").is_file() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    // OUT_DIR is <target>/<profile>/build/<package>/out.
    let target_dir = out.ancestors().nth(4).unwrap_or(&out).join("guests");
    let packages: Vec<String> = names.iter().map(|name| format!("guest-{name}")).collect();
    let packages: Vec<&str> = packages.iter().map(String::as_str).collect();
    build_wasm::compile(root, &packages, &target_dir)?;
    let mut constants = String::new();
    for name in &names {
        let module = target_dir.join(TARGET).join("filter").join(format!("guest_{}.wasm", name.replace('-', "_")));
        if !module.is_file() {
            return Err(format!("{} was not built", module.display()));
        }
        constants.push_str(&format!("pub const {}: &str = {:?};\n", name.replace('-', "_").to_uppercase(), module));
    }
    fs::write(out.join("guests.rs"), constants).map_err(|error| error.to_string())
}
