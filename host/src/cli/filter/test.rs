//! `fyke filter test`

use std::path::{Path, PathBuf};

use clap::Args;

use super::{Failure, cargo, ended, project};

#[derive(Debug, Args)]
pub(in crate::cli) struct Arguments {
    /// The filter's project (default: here)
    directory: Option<PathBuf>,
    /// Run the same tests against the built module too, in this binary's engine
    #[arg(long)]
    wasm: bool,
    /// Test this module instead of building one
    #[arg(long, value_name = "FILE")]
    module: Option<PathBuf>,
    /// Cargo profile that the module is built with
    #[arg(long, value_name = "NAME", default_value = "release")]
    profile: String,
    /// What else `cargo test` is told, such as a test's name
    #[arg(last = true)]
    cargo: Vec<String>,
}

pub(super) fn run(arguments: Arguments) -> u8 {
    ended(rings(arguments))
}

fn rings(arguments: Arguments) -> Result<(), Failure> {
    let project = project(arguments.directory)?;
    eprintln!("natively:");
    tests(&project, &arguments.cargo, &[])?;
    if !arguments.wasm {
        return Ok(());
    }
    let module = match arguments.module {
        Some(module) => module,
        None => cargo::build(&project, &arguments.profile)?,
    };
    let module = module.canonicalize().map_err(|error| Failure::bad(format!("{}: {error}", module.display())))?;
    let fyke = std::env::current_exe().map_err(|error| Failure::failed(format!("where is this binary? {error}")))?;
    eprintln!("{} in fyke {}:", module.display(), env!("CARGO_PKG_VERSION"));
    let of_ring = [("FYKE", fyke.as_path()), ("FYKE_TEST_MODULE", &module), ("FYKE_TEST_RING", Path::new("wasm"))];
    tests(&project, &arguments.cargo, &of_ring)
}

fn tests(project: &Path, more: &[String], environment: &[(&str, &Path)]) -> Result<(), Failure> {
    let mut command = cargo::command(project);
    command.args(["test", "--quiet"]).args(more).env_remove("FYKE_TEST_RING");
    command.envs(environment.iter().copied());
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(Failure::failed("the tests fail; which ones is above")),
        Err(error) => Err(Failure::failed(format!("cannot run cargo: {error}; install Rust with https://rustup.rs"))),
    }
}
