//! Builds packages for WebAssembly from inside a build script: the host's filters, the tests' guests.
//!
//! The nested cargo has a target directory of its own, so that it neither waits for the outer build's lock nor shares its
//! flags; it inherits the jobserver. Where the target is missing, it is installed.

use std::{env, path::Path, process::Command};

/// What filters are built for.
pub const TARGET: &str = "wasm32-wasip1";

/// Builds packages of the workspace at `root` with the profile `filter`; modules end up in `<target_dir>/<TARGET>/filter`.
pub fn compile(root: &Path, packages: &[&str], target_dir: &Path) -> Result<(), String> {
    ensure_target()?;
    let cargo = env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut command = Command::new(cargo);
    command
        .current_dir(root)
        .args(["build", "--quiet", "--profile", "filter", "--target", TARGET, "--target-dir"])
        .arg(target_dir);
    for package in packages {
        command.args(["--package", package]);
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
    let output = command.output().map_err(|error| format!("cannot run cargo for {TARGET}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    eprintln!("{}", String::from_utf8_lossy(&output.stderr));
    Err(format!("{} do not build for {TARGET}; their errors are above", packages.join(", ")))
}

fn ensure_target() -> Result<(), String> {
    let rustc = env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let installed = Command::new(&rustc)
        .args(["--print", "target-libdir", "--target", TARGET])
        .output()
        .ok()
        .and_then(|output| String::from_utf8(output.stdout).ok())
        .is_some_and(|path| Path::new(path.trim()).is_dir());
    if installed {
        return Ok(());
    }
    println!("cargo::warning=the target {TARGET} is missing: running `rustup target add {TARGET}`");
    let added = Command::new("rustup").args(["target", "add", TARGET]).status();
    match added {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`rustup target add {TARGET}` failed ({status}); run it yourself, then build again")),
        Err(error) => Err(format!(
            "the target {TARGET} is missing and rustup cannot be run ({error}); install Rust with rustup (https://rustup.rs), run `rustup target add {TARGET}`, then build again"
        )),
    }
}

/// Builds every package below `folder` for tests, and returns Rust source with one constant for each: the path of its module.
#[allow(dead_code, reason = "the host's filters are built one by one")]
pub fn guests(root: &Path, folder: &str, target_dir: &Path) -> Result<String, String> {
    for part in [folder, "sdk", "host/build_wasm.rs"] {
        println!("cargo::rerun-if-changed={}", root.join(part).display());
    }
    let mut packages = Vec::new();
    for entry in std::fs::read_dir(root.join(folder)).map_err(|error| error.to_string())?.flatten() {
        if let Ok(manifest) = std::fs::read_to_string(entry.path().join("Cargo.toml"))
            && manifest.contains("cdylib")
        {
            let name = manifest.lines().find_map(|line| line.strip_prefix("name = ")).unwrap_or_default();
            packages.push((entry.file_name().to_string_lossy().into_owned(), name.trim_matches('"').to_owned()));
        }
    }
    packages.sort();
    let names: Vec<&str> = packages.iter().map(|(_, package)| package.as_str()).collect();
    compile(root, &names, target_dir)?;
    let mut constants = String::new();
    for (folder, package) in &packages {
        let module = target_dir.join(TARGET).join("filter").join(format!("{}.wasm", package.replace('-', "_")));
        if !module.is_file() {
            return Err(format!("{} was not built", module.display()));
        }
        constants.push_str(&format!("pub const {}: &str = {module:?};\n", folder.replace('-', "_").to_uppercase()));
    }
    Ok(constants)
}

/// A whole build script for tests: builds the packages below `folder` and writes `guests.rs` with their constants.
#[allow(dead_code, reason = "the host has a build script of its own")]
pub fn guests_for_tests(folder: &str) -> std::process::ExitCode {
    let written = || {
        let variable = |name| env::var(name).map(std::path::PathBuf::from).map_err(|error| error.to_string());
        let (here, out) = (variable("CARGO_MANIFEST_DIR")?, variable("OUT_DIR")?);
        let root = here.ancestors().nth(2).ok_or("this crate has no workspace around it")?;
        println!("cargo::rerun-if-changed={}", here.join("build.rs").display());
        // OUT_DIR is <target>/<profile>/build/<package>/out.
        let target_dir = out.ancestors().nth(4).unwrap_or(&out).join("guests");
        std::fs::write(out.join("guests.rs"), guests(root, folder, &target_dir)?).map_err(|error| error.to_string())
    };
    match written() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(message) => {
            println!("cargo::error={}", message.replace('\n', " "));
            std::process::ExitCode::FAILURE
        }
    }
}
