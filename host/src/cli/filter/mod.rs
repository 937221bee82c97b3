//! `fyke filter ...`: what authors of filters need.

mod cargo;
mod check;
mod dev;
mod envoy_config;
mod live;
mod new;
mod sdk;
mod test;

use std::path::PathBuf;

use clap::Subcommand;

use super::{BAD_CONFIGURATION, DONE, FAILED, Output, print, process};
use crate::{telemetry::logging::Control, testbed};

#[derive(Debug, Subcommand)]
pub(super) enum FilterCommand {
    /// Say whether a module would load and what it is: ABI, callbacks, hostcalls, what it may need, its configuration
    Check {
        /// A .wasm file, or builtin:NAME
        module: String,
    },
    /// Begin a filter: a project that builds and passes its tests
    New {
        #[command(flatten)]
        what: new::Arguments,
    },
    /// Run a filter's tests: natively, and where asked also against the built module
    Test {
        #[command(flatten)]
        what: test::Arguments,
    },
    /// Develop a filter: a local proxy with it, built and swapped whenever a file changes; shows what the filter does to each request
    Dev {
        #[command(flatten)]
        what: dev::Arguments,
    },
    /// Print what Envoy needs to load a filter: its entry in the chain, and rules for its metrics' labels
    EnvoyConfig {
        #[command(flatten)]
        what: envoy_config::Arguments,
    },
    #[command(flatten)]
    Live(live::Live),
    /// Serve a test of the SDK's test kit over standard input and output
    #[command(hide = true)]
    Bed {
        /// In this Envoy
        #[arg(long, value_name = "BINARY")]
        envoy: Option<PathBuf>,
    },
}

impl FilterCommand {
    /// The log level where none is asked for.
    pub(super) fn log(&self) -> &'static str {
        match self {
            // What the filter says is what its author wants to see.
            Self::Dev { .. } => "warn,fyke::audit=off,fyke::filter=debug",
            _ => "warn",
        }
    }
}

pub(super) fn run(command: FilterCommand, output: Output, log: Control) -> u8 {
    match command {
        FilterCommand::Check { module } => check::check(&module, output),
        FilterCommand::New { what } => new::run(&what),
        FilterCommand::Test { what } => test::run(what),
        FilterCommand::Dev { what } => dev::run(&what, log),
        FilterCommand::EnvoyConfig { what } => envoy_config::run(&what),
        FilterCommand::Live(live) => live::run(&live, output),
        FilterCommand::Bed { envoy } => bed(envoy),
    }
}

/// The other end of a test's pipe.
pub(super) fn bed(envoy: Option<PathBuf>) -> u8 {
    let served = process::control_plane().and_then(|runtime| {
        let _entered = runtime.enter();
        testbed::run(envoy)
    });
    match served {
        Ok(()) => DONE,
        Err(error) => {
            eprintln!("error: the test bed: {error}");
            FAILED
        }
    }
}

/// A failure that ends a command, and its exit code.
struct Failure(u8, String);

impl Failure {
    fn bad(message: impl Into<String>) -> Self {
        Self(BAD_CONFIGURATION, message.into())
    }

    fn failed(message: impl Into<String>) -> Self {
        Self(FAILED, message.into())
    }
}

fn ended(result: Result<(), Failure>) -> u8 {
    match result {
        Ok(()) => DONE,
        Err(Failure(code, message)) => {
            eprintln!("error: {message}");
            code
        }
    }
}

/// The directory of a filter's project.
fn project(directory: Option<PathBuf>) -> Result<PathBuf, Failure> {
    let directory = directory.unwrap_or_else(|| PathBuf::from("."));
    if directory.join("Cargo.toml").is_file() {
        return Ok(directory);
    }
    Err(Failure::bad(format!(
        "{} has no Cargo.toml: say where the filter's project is, or begin one with `fyke filter new NAME`",
        directory.display()
    )))
}
