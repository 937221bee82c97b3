//! Builds a filter's module with the author's own cargo.

use std::{
    ffi::OsString,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;

use super::Failure;

/// What filters are built for.
const TARGET: &str = "wasm32-wasip1";

/// The author's cargo.
pub(super) fn command(project: &Path) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(cargo);
    command.current_dir(project);
    command
}

/// Builds the project's module, and says where it is. Cargo's own words go to standard error.
pub(super) fn build(project: &Path, profile: &str) -> Result<PathBuf, Failure> {
    ensure_target(project)?;
    let mut child = command(project)
        .args(["build", "--target", TARGET, "--profile", profile, "--message-format", "json-render-diagnostics"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| Failure::failed(format!("cannot run cargo: {error}; install Rust with https://rustup.rs")))?;
    let lines = child.stdout.take().map(BufReader::new);
    let lines = lines.into_iter().flat_map(BufReader::lines).map_while(Result::ok);
    let modules: Vec<PathBuf> = lines.filter_map(|line| artifact(&line)).collect();
    let status = child.wait().map_err(|error| Failure::failed(format!("cargo: {error}")))?;
    if !status.success() {
        return Err(Failure::failed("the filter does not build; the reason is above"));
    }
    modules.into_iter().next_back().ok_or_else(|| {
        Failure::bad(
            "the build made no module: the project's Cargo.toml needs `[lib]` with `crate-type = [\"cdylib\"]`",
        )
    })
}

/// A module, in one of cargo's messages.
fn artifact(line: &str) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(line).ok()?;
    if message.get("reason")? != "compiler-artifact" {
        return None;
    }
    // A module, not a program that may be beside it.
    let kinds = message.pointer("/target/kind")?.as_array()?;
    if !kinds.iter().any(|kind| kind == "cdylib") {
        return None;
    }
    let files = message.get("filenames")?.as_array()?;
    files.iter().filter_map(Value::as_str).find(|file| file.ends_with(".wasm")).map(PathBuf::from)
}

fn ensure_target(project: &Path) -> Result<(), Failure> {
    let output =
        Command::new("rustc").current_dir(project).args(["--print", "target-libdir", "--target", TARGET]).output();
    let path = output.ok().and_then(|output| String::from_utf8(output.stdout).ok());
    if path.is_some_and(|path| Path::new(path.trim()).is_dir()) {
        return Ok(());
    }
    eprintln!("the target {TARGET} is missing: running `rustup target add {TARGET}`");
    match Command::new("rustup").current_dir(project).args(["target", "add", TARGET]).status() {
        Ok(status) if status.success() => Ok(()),
        _ => Err(Failure::failed(format!("install it yourself, with `rustup target add {TARGET}`, then try again"))),
    }
}
