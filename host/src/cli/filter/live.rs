//! Filters of a process that runs: `fyke filter list`, `load`, `promote`, `abort`, `rollback`, `remove`.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use clap::{Args, Subcommand};
use data_encoding::BASE64;
use http::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::{Failure, Output};
use crate::{
    cli::remote::{self, Question, Target},
    config,
    wasm::source,
};

/// What a running process can be asked of its filters.
#[derive(Debug, Subcommand)]
pub(crate) enum Live {
    /// Say which filters a running proxy has: versions, streams, traps, canaries
    List(Target),
    /// Have a running proxy use another module for a filter, or try it on some streams
    Load(Box<Load>),
    /// Have a filter's canary take its place
    Promote(Named),
    /// End a filter's canary
    Abort(Named),
    /// Take the last change of a filter back: a load, a promotion, a removal
    Rollback(Named),
    /// Take a filter out of all chains of a running proxy
    Remove(Named),
}

#[derive(Debug, Args)]
pub(crate) struct Named {
    /// The filter
    name: String,
    /// Only say what would change
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Args)]
pub(crate) struct Load {
    #[command(flatten)]
    named: Named,
    /// A .wasm file, with its signature in FILE.sig where there is one, or builtin:NAME (default: the module that it has, with another configuration)
    #[arg(required_unless_present = "config")]
    module: Option<String>,
    /// Its configuration: YAML, or JSON or TOML by extension (default: as it is)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Only for this share of the streams, until it is promoted, such as 5%
    #[arg(long, value_name = "SHARE")]
    canary: Option<String>,
    /// Streams that the canary must have met before it is judged (default: 100)
    #[arg(long, value_name = "NUMBER", requires = "canary")]
    min_streams: Option<u32>,
    /// What takes the canary back, such as traps=1%,errors=5%,latency=+20% (default: traps=1%,errors=5%)
    #[arg(long, value_name = "LIMITS", value_delimiter = ',', requires = "canary")]
    rollback_on: Vec<String>,
    /// For a filter that the configuration does not have: the listener that gets it
    #[arg(long, value_name = "NAME")]
    listener: Option<String>,
    /// The filter that comes next there (default: none)
    #[arg(long, value_name = "FILTER", requires = "listener")]
    before: Option<String>,
}

/// Asks, prints the answer and says how it went.
pub(super) fn run(live: &Live, output: Output) -> u8 {
    let question = |method, path| Ok(Question { method, path, body: None });
    let act = |named: &Named, word| question(Method::POST, format!("{}/{word}{}", path(&named.name), dry(named)));
    let (target, question) = match live {
        Live::List(target) => (target, question(Method::GET, "/filters".to_owned())),
        Live::Load(load) => (&load.named.target, load.question()),
        Live::Promote(named) => (&named.target, act(named, "promote")),
        Live::Abort(named) => (&named.target, act(named, "abort")),
        Live::Rollback(named) => (&named.target, act(named, "rollback")),
        Live::Remove(named) => {
            (&named.target, question(Method::DELETE, format!("{}{}", path(&named.name), dry(named))))
        }
    };
    let question = match question {
        Ok(question) => question,
        Err(Failure(code, message)) => {
            eprintln!("error: {message}");
            return code;
        }
    };
    match remote::answer(target, question, output) {
        Ok(value) => remote::told(&value, output, || words(live, &value)),
        Err(code) => code,
    }
}

fn path(name: &str) -> String {
    format!("/filters/{}", utf8_percent_encode(name, NON_ALPHANUMERIC))
}

fn dry(named: &Named) -> &'static str {
    if named.dry_run { "?dry_run=true" } else { "" }
}

impl Load {
    fn question(&self) -> Result<Question, Failure> {
        let mut path = path(&self.named.name);
        let mut separator = '?';
        let mut parameter = |key: &str, value: &str| {
            let _ = write!(path, "{separator}{key}={}", utf8_percent_encode(value, NON_ALPHANUMERIC));
            separator = '&';
        };
        if self.named.dry_run {
            parameter("dry_run", "true");
        }
        let min_streams = self.min_streams.map(|number| number.to_string());
        let given = [
            ("canary", &self.canary),
            ("min_streams", &min_streams),
            ("listener", &self.listener),
            ("before", &self.before),
        ];
        for (key, value) in given {
            if let Some(value) = value {
                parameter(key, value);
            }
        }
        for limit in &self.rollback_on {
            let Some((key @ ("traps" | "errors" | "latency"), value)) = limit.split_once('=') else {
                return Err(Failure::bad(format!("{limit} is no limit: write traps=1%, errors=5% or latency=+20%")));
            };
            parameter(key, value);
        }
        let builtin = self.module.as_ref().filter(|module| module.starts_with("builtin:"));
        let bytes = match &self.module {
            Some(file) if builtin.is_none() => {
                Some(std::fs::read(file).map_err(|error| Failure::bad(format!("cannot read {file}: {error}")))?)
            }
            _ => None,
        };
        let beside = self.module.as_ref().map(|module| source::beside(Path::new(module)));
        let signature = beside.filter(|_| bytes.is_some()).and_then(|file| std::fs::read(file).ok());
        let body = match (bytes, &self.config) {
            (Some(bytes), None) if signature.is_none() => ("application/wasm", Bytes::from(bytes)),
            (bytes, configuration) => {
                let mut object = serde_json::Map::new();
                if let Some(bytes) = bytes {
                    object.insert("wasm".to_owned(), BASE64.encode(&bytes).into());
                }
                if let Some(signature) = signature {
                    let text = if signature.len() == 64 {
                        BASE64.encode(&signature)
                    } else {
                        String::from_utf8_lossy(&signature).into_owned()
                    };
                    object.insert("signature".to_owned(), text.into());
                }
                if let Some(builtin) = builtin {
                    object.insert("module".to_owned(), json!(builtin));
                }
                if let Some(file) = configuration {
                    object.insert("config".to_owned(), config::read_value(file).map_err(Failure::bad)?);
                }
                ("application/json", Value::Object(object).to_string().into())
            }
        };
        Ok(Question { method: Method::PUT, path, body: Some(body) })
    }
}

/// What happened, in words.
fn words(live: &Live, value: &Value) -> String {
    let outcome = remote::outcome(value);
    let changed = value.get("outcome").and_then(Value::as_str) == Some("applied");
    match live {
        Live::List(_) => table(value),
        Live::Load(load) if changed => {
            let name = &load.named.name;
            match &load.canary {
                Some(share) => format!(
                    "{outcome}; {share} of the streams meet the canary. `fyke filter promote {name}` or `fyke filter abort {name}` ends that"
                ),
                None => format!(
                    "{outcome}, until this process ends or the configuration says something else of filter {name}; \
                     `fyke filter rollback {name}` takes it back"
                ),
            }
        }
        _ => outcome,
    }
}

/// One line for each filter, and one for its canary.
fn table(value: &Value) -> String {
    let mut rows = vec![
        [
            "FILTER",
            "VERSION",
            "SINCE",
            "SHARE",
            "STREAMS",
            "CALLS",
            "CPU P50",
            "CPU P99",
            "FAILED",
            "TRAPS",
            "INSTANCES",
            "MEMORY",
            "MODULE",
        ]
        .map(str::to_owned),
    ];
    for (name, filter) in value.as_object().into_iter().flatten() {
        let canary = filter.get("canary").filter(|canary| !canary.is_null());
        let share = canary.and_then(|canary| canary.get("percent")).and_then(Value::as_f64);
        rows.push(row(name, filter, share.map(|share| 100.0 - share)));
        if let Some(canary) = canary {
            rows.push(row("  canary", canary, share));
        }
    }
    let mut widths = [0; 13];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let lines = rows.iter().map(|row| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn row(name: &str, filter: &Value, share: Option<f64>) -> [String; 13] {
    let text = |key: &str| match filter.get(key) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => "-".to_owned(),
        Some(value) => value.to_string(),
    };
    let sha256 = text("sha256");
    let short = sha256.get(..12).unwrap_or(&sha256);
    let version = match text("version").as_str() {
        "-" => short.to_owned(),
        version => format!("{version} ({short})"),
    };
    let time = |key: &str| {
        let seconds = filter.get("call_cpu_seconds").and_then(|times| times.get(key)).and_then(Value::as_f64);
        seconds.map_or("-".to_owned(), |seconds| format!("{:.1}us", seconds * 1e6))
    };
    [
        name.to_owned(),
        version,
        text("generation"),
        share.map_or("100%".to_owned(), |share| format!("{share}%")),
        text("streams"),
        text("calls"),
        time("p50"),
        time("p99"),
        text("failed_streams"),
        text("traps"),
        text("instances"),
        text("memory"),
        text("module"),
    ]
}
