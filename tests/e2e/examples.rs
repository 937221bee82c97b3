//! Every example runs as written: `run.sh --check` starts it, tries the commands of its README, compares, and ends everything.

//!
//! A program of its own, which cargo runs when no other test does: the examples take ports that were free a moment ago.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]
#![forbid(unsafe_code)]

#[path = "support/process.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod process;

use std::{collections::BTreeSet, fs, process::Command, time::Duration};

use process::{finish, fyke, root};

const DEADLINE: Duration = Duration::from_secs(60);

#[test]
fn every_example_runs_as_written() {
    let folder = root().join("examples");
    let mut ran = BTreeSet::new();
    for entry in fs::read_dir(&folder).unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        // What they have in common.
        if name.starts_with('.') {
            continue;
        }
        let example = entry.path();
        assert!(example.join("README.md").is_file(), "{name} has no README.md");
        let script = example.join("run.sh");
        assert!(script.is_file(), "{name} has no run.sh");
        let mut command = Command::new("bash");
        command.arg(&script).arg("--check").current_dir(&example).env("FYKE", fyke()).env("FYKE_EXAMPLE_SECONDS", "20");
        let ended = finish(command);
        assert_eq!(ended.code, Some(0), "{name} failed:\n{}{}", ended.stdout, ended.stderr);
        ran.insert(name);
    }
    for name in [
        "front-proxy",
        "hello-filter",
        "mesh",
        "mongo",
        "rate-limit",
        "static-site-and-api",
        "systemd",
        "tested-routes",
    ] {
        assert!(ran.contains(name), "the example {name} is missing");
    }
}
