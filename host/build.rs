//! Builds `filters/*` for `wasm32-wasip1` and embeds each as `builtin:<folder name>`.
//!
//! How that is done is in `build_wasm.rs`.

mod build_wasm;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

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
    let manifest = PathBuf::from(env::var("CARGO_MANIFEST_DIR").map_err(|error| error.to_string())?);
    let out = PathBuf::from(env::var("OUT_DIR").map_err(|error| error.to_string())?);
    let root = manifest.parent().ok_or("the host crate has no workspace around it")?;
    let filters = filters(&root.join("filters"))?;
    println!("cargo::rerun-if-changed={}", root.join("filters").display());
    println!("cargo::rerun-if-changed={}", root.join("sdk").display());
    println!("cargo::rerun-if-changed={}", root.join("Cargo.lock").display());
    println!("cargo::rerun-if-env-changed=FYKE_FILTERS_TARGET_DIR");
    // One directory for all profiles of the host: filters are always built the same way.
    let target_dir = env::var_os("FYKE_FILTERS_TARGET_DIR").map_or_else(|| default_target_dir(&out), PathBuf::from);
    let packages: Vec<&str> = filters.iter().map(|filter| filter.package.as_str()).collect();
    build_wasm::compile(root, &packages, &target_dir)?;
    let mut index = String::from("&[\n");
    for filter in &filters {
        let module = target_dir.join(TARGET).join("filter").join(format!("{}.wasm", filter.name.replace('-', "_")));
        let copy = out.join(format!("{}.wasm", filter.name));
        fs::copy(&module, &copy).map_err(|error| format!("cannot copy {}: {error}", module.display()))?;
        index.push_str(&format!("    ({:?}, include_bytes!({copy:?}) as &[u8]),\n", filter.name));
    }
    index.push_str("]\n");
    fs::write(out.join("builtin.rs"), index).map_err(|error| error.to_string())?;
    fs::write(out.join("sdk_source.rs"), sdk_source(root)?).map_err(|error| error.to_string())
}

/// The SDK's files, for projects that `fyke filter new` begins.
fn sdk_source(root: &Path) -> Result<String, String> {
    let sdk = root.join("sdk");
    let mut files: Vec<PathBuf> =
        ["Cargo.toml", "README.md", "docs/failures.md", "docs/guide.md", "macros/Cargo.toml"].map(PathBuf::from).into();
    for folder in ["src", "macros/src"] {
        sources(&sdk, Path::new(folder), &mut files)?;
    }
    files.sort();
    let mut index = String::from("&[\n");
    for file in &files {
        let name = file.display().to_string();
        index.push_str(&format!("    ({name:?}, include_str!({:?})),\n", sdk.join(file)));
    }
    index.push_str("]\n");
    Ok(index)
}

fn sources(sdk: &Path, folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), String> {
    let entries =
        fs::read_dir(sdk.join(folder)).map_err(|error| format!("cannot read {}: {error}", folder.display()))?;
    for entry in entries.flatten() {
        let path = folder.join(entry.file_name());
        if entry.path().is_dir() {
            sources(sdk, &path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
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
        // What makes no module is a library of several filters.
        if !manifest.lines().any(|line| line.starts_with("crate-type") && line.contains("\"cdylib\"")) {
            continue;
        }
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
