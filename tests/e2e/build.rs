//! Builds `tests/guests/*` for `wasm32-wasip1` and writes one constant for each, the path of its module.
//!
//! The constants are private to the tests, so a guest that no test uses does not compile (`dead_code`).

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

const TARGET: &str = "wasm32-wasip1";

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
    let mut names = Vec::new();
    for entry in fs::read_dir(&guests).map_err(|error| error.to_string())?.flatten() {
        if entry.path().join("Cargo.toml").is_file() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    // OUT_DIR is <target>/<profile>/build/<package>/out.
    let target_dir = out.ancestors().nth(4).unwrap_or(&out).join("guests");
    compile(root, &names, &target_dir)?;
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

fn compile(root: &Path, names: &[String], target_dir: &Path) -> Result<(), String> {
    let mut command = Command::new(env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()));
    command
        .current_dir(root)
        .args(["build", "--quiet", "--profile", "filter", "--target", TARGET, "--target-dir"])
        .arg(target_dir);
    for name in names {
        command.arg("--package").arg(format!("guest-{name}"));
    }
    // What the outer build was told about its own compiler is not meant for WebAssembly.
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        let foreign = [
            "RUSTC_WRAPPER",
            "RUSTC_WORKSPACE_WRAPPER",
            "RUSTFLAGS",
            "CARGO_ENCODED_RUSTFLAGS",
            "CARGO_BUILD_TARGET",
            "RUSTC",
        ];
        if foreign.contains(&name.as_str())
            || name.starts_with("CARGO_PROFILE_")
            || name.starts_with("CARGO_FEATURE_")
            || name.starts_with("CARGO_CFG_")
        {
            command.env_remove(&name);
        }
    }
    let output = command.output().map_err(|error| format!("cannot run cargo for the guests: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    eprintln!("{}", String::from_utf8_lossy(&output.stderr));
    Err(format!("the guests do not build for {TARGET}; their errors are above"))
}
