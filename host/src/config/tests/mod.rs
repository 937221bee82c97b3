//! From texts to configurations and reports.

mod choices;
mod examples;
mod formats;
mod include;
mod listeners;
mod mistakes;
mod requests;
mod robustness;
mod secrets;
mod tls;
mod unsupported;

use std::path::Path;

use super::{Config, Format, Report, load_with};

/// Loads YAML called `proxy.yaml`, with `TOKEN`, `PORT` and `FLAG` in the environment.
fn yaml(text: &str) -> Result<Config, Report> {
    load_with("proxy.yaml", text, Format::Yaml, Path::new("/etc/fyke"), &environment)
}

fn environment(name: &str) -> Option<String> {
    match name {
        "TOKEN" => Some("s3cret".to_owned()),
        "PORT" => Some("8080".to_owned()),
        "FLAG" => Some("true".to_owned()),
        _ => None,
    }
}

/// `line:column message` of each problem of a YAML text.
#[track_caller]
fn problems(text: &str) -> Vec<String> {
    brief(&yaml(text).expect_err("the configuration should be refused"))
}

fn brief(report: &Report) -> Vec<String> {
    report
        .problems()
        .iter()
        .map(|problem| format!("{}:{} {}", problem.origin.line, problem.origin.column, problem.message))
        .collect()
}

/// The only problem of a YAML text: `line:column message` and the help.
#[track_caller]
fn problem(text: &str) -> (String, String) {
    let report = yaml(text).expect_err("the configuration should be refused");
    let [only] = report.problems() else { panic!("expected one problem:\n{report}") };
    (format!("{}:{} {}", only.origin.line, only.origin.column, only.message), only.help.clone().unwrap_or_default())
}

/// A configuration that is in order, with lines added.
fn with(extra: &str) -> String {
    format!("{MINIMAL}{extra}")
}

/// Two lines.
const MINIMAL: &str = "\
listeners: { web: { address: 127.0.0.1:0, filters: [router], cluster: app } }
filters: { router: { module: builtin:router } }
";
