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
    /// And in Envoy: this binary, or the one in PATH
    #[arg(long, value_name = "BINARY", num_args = 0..=1, default_missing_value = "envoy")]
    envoy: Option<PathBuf>,
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
    if !arguments.wasm && arguments.envoy.is_none() {
        return Ok(());
    }
    let envoy = arguments.envoy.map(|binary| in_path(&binary)).transpose()?;
    let module = match arguments.module {
        Some(module) => module,
        None => cargo::build(&project, &arguments.profile)?,
    };
    let module = module.canonicalize().map_err(|error| Failure::bad(format!("{}: {error}", module.display())))?;
    let fyke = std::env::current_exe().map_err(|error| Failure::failed(format!("where is this binary? {error}")))?;
    let mut of_ring = vec![("FYKE", fyke.as_path()), ("FYKE_TEST_MODULE", &module)];
    if arguments.wasm {
        eprintln!("{} in fyke {}:", module.display(), env!("CARGO_PKG_VERSION"));
        of_ring.push(("FYKE_TEST_RING", Path::new("wasm")));
        tests(&project, &arguments.cargo, &of_ring)?;
    }
    if let Some(envoy) = &envoy {
        eprintln!("{} in {}:", module.display(), envoy.display());
        of_ring.push(("FYKE_TEST_ENVOY", envoy));
        of_ring.push(("FYKE_TEST_RING", Path::new("envoy")));
        tests(&project, &arguments.cargo, &of_ring)?;
    }
    Ok(())
}

/// A program by its path, or by its name.
fn in_path(program: &Path) -> Result<PathBuf, Failure> {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let named = program.components().count() == 1;
    let candidates =
        named.then(|| std::env::split_paths(&folders).map(|folder| folder.join(program)).collect::<Vec<_>>());
    let found =
        candidates.unwrap_or_else(|| vec![program.to_owned()]).into_iter().find(|candidate| candidate.is_file());
    found.and_then(|found| found.canonicalize().ok()).ok_or_else(|| {
        Failure::bad(format!("there is no {}: say where it is, as in --envoy /usr/local/bin/envoy", program.display()))
    })
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
