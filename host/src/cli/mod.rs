//! The command line: one file per subcommand.
//!
//! Exit codes: 0 done, 1 something failed while running, 2 the configuration (or the command line) is wrong, 3 tests failed, or `status` has
//! found something that is not well, or `convert` has lost something.
//! `--output json` makes machine-readable what a command prints; errors go to standard error.

mod bundle;
mod convert;
mod demo;
mod explain;
mod filter;
mod process;
mod ratelimit_service;
mod registry;
mod remote;
mod run;
mod schema;
mod status;
mod stream;
mod tap;
mod test;
mod top;
mod validate;
mod words;

use std::{
    io::{IsTerminal, Write},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use clap::{CommandFactory as _, Parser, Subcommand, ValueEnum};

use crate::{
    config::{Report, Written},
    telemetry::logging,
    testbed,
};

/// Done.
const DONE: u8 = 0;
/// Something failed while running.
const FAILED: u8 = 1;
/// The configuration is wrong.
const BAD_CONFIGURATION: u8 = 2;
/// `fyke test` ran, and something was not as expected.
const TESTS_FAILED: u8 = 3;
/// A proxy runs and is not well.
const UNHEALTHY: u8 = 3;

#[derive(Debug, Parser)]
#[command(
    name = "fyke",
    version,
    about = "A service proxy whose filters are sandboxed WebAssembly modules",
    propagate_version = true
)]
struct Arguments {
    /// Log level, or a list such as info,fyke::filter=debug (default: $FYKE_LOG, then info)
    #[arg(long, global = true, value_name = "LEVEL")]
    log: Option<String>,
    /// Form of the log on standard error
    #[arg(long, global = true, value_name = "FORMAT", default_value = "text")]
    log_format: LogFormat,
    /// Form of what commands print
    #[arg(long, global = true, value_name = "FORM", default_value = "text")]
    output: Output,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
    /// JUnit XML; of `test` only
    Junit,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the proxy until SIGTERM or Ctrl-C, then drain
    Run {
        /// Configuration: YAML, or JSON or TOML by extension
        file: PathBuf,
        /// The file is Envoy's bootstrap, of which everything must have a counterpart (see `convert`)
        #[arg(long)]
        envoy: bool,
        /// Take the listening sockets over from the process that runs with the same `state`, if there is one; it drains then
        #[arg(long)]
        take_over: bool,
        /// When the configuration is broken, run the last one that was not, which is kept below `state`
        #[arg(long)]
        resume: bool,
    },
    /// Check a configuration and everything in it: files, modules, and whether each filter accepts what it is given
    Validate {
        /// Configuration: YAML, or JSON or TOML by extension
        file: PathBuf,
    },
    /// Run the tests of a configuration against that configuration: no upstream, no network, no port of its own. Exits with 3 when one fails
    Test(test::Arguments),
    /// Say which listener, chain, filters, route and cluster a request would meet, and why others do not match. Sends nothing
    Explain(explain::Arguments),
    /// Start sample services, the proxy before them and some traffic, and say what to try
    Demo {
        /// End by itself after this time, such as 30s
        #[arg(long, value_name = "TIME", value_parser = duration)]
        duration: Option<Duration>,
        /// Port of the proxy; the next one is the admin endpoint's. 0 picks free ones
        #[arg(long, value_name = "PORT", default_value_t = 8080)]
        port: u16,
    },
    /// Print an Envoy bootstrap as a configuration of Fyke, and what could not be carried over. Exits with 3 when something is lost
    Convert(convert::Arguments),
    /// Serve a simple registry: services register there by heartbeats, proxies ask it (`discovery: { rest: ... }`)
    Registry(registry::Arguments),
    /// Serve Envoy's rate limit service protocol, with rules of envoyproxy/ratelimit
    RatelimitService(ratelimit_service::Arguments),
    /// Print the JSON Schema of the configuration, with those of the builtin filters in it
    Schema,
    #[command(flatten)]
    Remote(remote::Remote),
    /// Show requests of a running proxy as they finish, and what each filter did
    Tap(tap::Arguments),
    /// Show rates of a running proxy each second: listeners, clusters, endpoints, filters, workers
    Top(top::Arguments),
    /// Write what helps to understand a problem into one archive, without secrets
    SupportBundle(bundle::Arguments),
    /// Print what a shell needs to complete commands and options
    Completion {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write, test and look at filters
    #[command(subcommand)]
    Filter(filter::FilterCommand),
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let format = match arguments.log_format {
        LogFormat::Text => logging::Format::Text,
        LogFormat::Json => logging::Format::Json,
    };
    let level = match (&arguments.log, &arguments.command) {
        (Some(level), _) => Some(level.clone()),
        (None, _) if std::env::var_os("FYKE_LOG").is_some() => None,
        // The demo's own words should not drown.
        (None, Command::Demo { .. } | Command::Validate { .. }) => Some("warn".to_owned()),
        // What failed is said in the results.
        (None, Command::Test(_) | Command::Explain(_)) => Some("off".to_owned()),
        (None, Command::Filter(command)) => Some(command.log().to_owned()),
        (None, _) => None,
    };
    if let Command::Filter(filter::FilterCommand::Bed { envoy }) = arguments.command {
        // Its log is for the test to look at.
        testbed::logs::capture();
        return ExitCode::from(filter::bed(envoy));
    }
    if arguments.output == Output::Junit && !matches!(arguments.command, Command::Test(_)) {
        eprintln!("error: --output junit is for `fyke test`; take text or json");
        return ExitCode::from(BAD_CONFIGURATION);
    }
    let log = match logging::init(level.as_deref(), format) {
        Ok(log) => log,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(BAD_CONFIGURATION);
        }
    };
    let code = match arguments.command {
        Command::Run { file, envoy, take_over, resume } => {
            let file = Written { path: file, is_envoys: envoy };
            run::run(&file, take_over, resume, arguments.output, &log.control())
        }
        Command::Validate { file } => validate::run(&file, arguments.output),
        Command::Test(test) => test::run(&test, arguments.output),
        Command::Explain(explain) => explain::run(&explain, arguments.output),
        Command::Demo { duration, port } => demo::run(duration, port, log.control()),
        Command::Convert(convert) => convert::run(&convert, arguments.output),
        Command::Registry(registry) => registry::run(&registry),
        Command::RatelimitService(service) => ratelimit_service::run(&service),
        Command::Schema => schema::run(),
        Command::Remote(remote) => remote::run(&remote, arguments.output),
        Command::Tap(tap) => tap::run(&tap, arguments.output),
        Command::Top(top) => top::run(&top, arguments.output),
        Command::SupportBundle(bundle) => bundle::run(&bundle, arguments.output),
        Command::Completion { shell } => completion(shell),
        Command::Filter(command) => filter::run(command, arguments.output, log.control()),
    };
    // The last lines are written before the process ends.
    drop(log);
    ExitCode::from(code)
}

fn completion(shell: clap_complete::Shell) -> u8 {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "fyke", &mut script);
    print(format_args!("{}", String::from_utf8_lossy(&script).trim_end()))
}

fn duration(text: &str) -> Result<Duration, String> {
    // The units of the configuration, read by the same code.
    serde_json::from_value::<crate::config::units::Duration>(text.into())
        .map(|duration| duration.0)
        .map_err(|error| error.to_string())
}

/// Writes a line to standard output. Nobody who reads any more is no failure; a full disk is.
fn print(line: std::fmt::Arguments<'_>) -> u8 {
    match writeln!(std::io::stdout().lock(), "{line}") {
        Ok(()) => DONE,
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => DONE,
        Err(error) => {
            eprintln!("error: cannot write to standard output: {error}");
            FAILED
        }
    }
}

/// Prints a report where the user looks for it.
fn complain(report: &Report, output: Output) -> u8 {
    match output {
        Output::Json => {
            // Whatever becomes of the words, the configuration is wrong.
            print(format_args!("{:#}", report.to_json()));
        }
        Output::Text | Output::Junit => eprintln!("{}", report.render(std::io::stderr().is_terminal())),
    }
    BAD_CONFIGURATION
}
