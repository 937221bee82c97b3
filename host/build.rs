//! Builds `filters/*` for `wasm32-wasip1` and embeds each as `builtin:<folder name>`.
//!
//! The nested cargo has a target directory of its own, so that it neither waits for the outer build's lock nor shares its
//! flags; it inherits the jobserver. Where the target is missing, it is installed.

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
    let manifest = PathBuf::from(env::var("CARGO_MANIFEST_DIR").map_err(|error| error.to_string())?);
    let out = PathBuf::from(env::var("OUT_DIR").map_err(|error| error.to_string())?);
    let root = manifest.parent().ok_or("the host crate has no workspace around it")?;
    let filters = filters(&root.join("filters"))?;
    println!("cargo::rerun-if-changed={}", root.join("filters").display());
    println!("cargo::rerun-if-changed={}", root.join("sdk").display());
    println!("cargo::rerun-if-changed={}", root.join("Cargo.lock").display());
    println!("cargo::rerun-if-env-changed=FYKE_FILTERS_TARGET_DIR");
    ensure_target()?;
    // One directory for all profiles of the host: filters are always built the same way.
    let target_dir = env::var_os("FYKE_FILTERS_TARGET_DIR").map_or_else(|| default_target_dir(&out), PathBuf::from);
    compile(root, &filters, &target_dir)?;
    let mut index = String::from("&[\n");
    for filter in &filters {
        let module = target_dir.join(TARGET).join("filter").join(format!("{}.wasm", filter.name.replace('-', "_")));
        let copy = out.join(format!("{}.wasm", filter.name));
        fs::copy(&module, &copy).map_err(|error| format!("cannot copy {}: {error}", module.display()))?;
        index.push_str(&format!("    ({:?}, include_bytes!({copy:?}) as &[u8]),\n", filter.name));
    }
    index.push_str("]\n");
    fs::write(out.join("builtin.rs"), index).map_err(|error| error.to_string())
}

struct Filter {
    name: String,
    package: String,
}

fn filters(folder: &Path) -> Result<Vec<Filter>, String> {
    let mut found = Vec::new();
    let entries = fs::read_dir(folder).map_err(|error| format!("cannot read {}: {error}", folder.display()))?;
    for entry in entries.flatten() {
        let Ok(manifest) = fs::read_to_string(entry.path().join("Cargo.toml")) else { continue };
        let package = manifest
            .lines()
            .find_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'))
            .ok_or_else(|| format!("{} names no package", entry.path().display()))?;
        found.push(Filter { name: entry.file_name().to_string_lossy().into_owned(), package: package.to_owned() });
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

fn default_target_dir(out: &Path) -> PathBuf {
    // OUT_DIR is <target>/<profile>/build/<package>/out; the filters go to <target>/filters.
    out.ancestors().nth(4).unwrap_or(out).join("filters")
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

fn compile(root: &Path, filters: &[Filter], target_dir: &Path) -> Result<(), String> {
    let cargo = env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut command = Command::new(cargo);
    command
        .current_dir(root)
        .args(["build", "--quiet", "--profile", "filter", "--target", TARGET, "--target-dir"])
        .arg(target_dir);
    for filter in filters {
        command.args(["--package", &filter.package]);
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
    let output = command.output().map_err(|error| format!("cannot run cargo for the filters: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    eprintln!("{}", String::from_utf8_lossy(&output.stderr));
    Err("the filters do not build; their errors are above".to_owned())
}
