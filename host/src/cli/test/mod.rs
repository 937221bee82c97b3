//! `fyke test FILE`: runs the `tests:` of a configuration against that configuration.

mod junit;
mod words;

use std::{io::IsTerminal as _, path::PathBuf, sync::Arc, time::Duration};

use clap::Args;

use super::{BAD_CONFIGURATION, DONE, FAILED, Output, TESTS_FAILED, complain, print, process};
use crate::{
    config::{self, Report, resolved::Test},
    dry_run::{self, DryRun, Verdict},
    reload::prepare::{self, Records},
};

/// `fyke test`
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Configuration: YAML, or JSON or TOML by extension
    file: PathBuf,
    /// Run only tests with this in their names
    #[arg(long, value_name = "NAME")]
    filter: Option<String>,
    /// Write the results to this file too, as JUnit XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
}

/// All tests that ran.
struct Results {
    /// The configuration, as it was named.
    file: String,
    tests: Vec<(Test, Verdict)>,
    took: Duration,
}

impl Results {
    fn failed(&self) -> usize {
        self.tests.iter().filter(|(_, verdict)| !verdict.passed()).count()
    }
}

/// Runs the tests. 0: all passed; 3: some did not; 2: the configuration is wrong, or there is nothing to run.
pub(super) fn run(arguments: &Arguments, output: Output) -> u8 {
    let runtime = match process::control_plane() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start: {error}");
            return FAILED;
        }
    };
    let code = match all(arguments, output, runtime.handle()) {
        Ok(results) => report(&results, arguments, output),
        Err(Ended::Refused(report)) => complain(&report, output),
        Err(Ended::Nothing(message)) => {
            eprintln!("error: {message}");
            BAD_CONFIGURATION
        }
    };
    runtime.shutdown_background();
    code
}

/// Why no test ran.
enum Ended {
    Refused(Report),
    Nothing(String),
}

impl From<Report> for Ended {
    fn from(report: Report) -> Self {
        Self::Refused(report)
    }
}

fn all(arguments: &Arguments, output: Output, runtime: &tokio::runtime::Handle) -> Result<Results, Ended> {
    let began = std::time::Instant::now();
    let config = Arc::new(config::load(&arguments.file)?);
    let file = arguments.file.display().to_string();
    let wanted = |test: &&Test| arguments.filter.as_ref().is_none_or(|name| test.name.contains(name.as_str()));
    let tests: Vec<Test> = config.tests.iter().filter(wanted).cloned().collect();
    if tests.is_empty() {
        let message = match &arguments.filter {
            Some(name) if !config.tests.is_empty() => format!("no test of {file} has {name:?} in its name"),
            _ => format!("{file} has no `tests:`"),
        };
        return Err(Ended::Nothing(message));
    }
    let prepared = DryRun::new(config, runtime, |config| prepare::prepare(config, &Records::discarded()))?;
    let tells = output == Output::Text && std::io::stdout().is_terminal();
    let mut results = Vec::new();
    for test in tests {
        let verdict = dry_run::test(&prepared, &test)?;
        if tells && verdict.passed() {
            print(format_args!("{}", words::passed(&test, &verdict)));
        }
        results.push((test, verdict));
    }
    Ok(Results { file, tests: results, took: began.elapsed() })
}

fn report(results: &Results, arguments: &Arguments, output: Output) -> u8 {
    if let Some(path) = &arguments.junit
        && let Err(error) = std::fs::write(path, junit::render(results))
    {
        eprintln!("error: cannot write {}: {error}", path.display());
        return FAILED;
    }
    let printed = match output {
        Output::Json => print(format_args!("{:#}", words::json(results))),
        Output::Junit => print(format_args!("{}", junit::render(results).trim_end())),
        Output::Text => print(format_args!("{}", words::text(results))),
    };
    match (printed, results.failed()) {
        (DONE, 0) => DONE,
        (DONE, _) => TESTS_FAILED,
        (code, _) => code,
    }
}
