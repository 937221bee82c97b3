//! `fyke tap`: requests as they finish, with what each filter did.

use clap::Args;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::{DONE, FAILED, Output, print, process, remote::Target, stream::Events, words::printable};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Only this status, or this class of them: 404, 5xx
    #[arg(long)]
    status: Option<String>,
    /// Only this method
    #[arg(long)]
    method: Option<String>,
    /// Only where the path begins so
    #[arg(long, value_name = "PREFIX")]
    path_prefix: Option<String>,
    /// Only with this header field, or this value of it; may be given several times
    #[arg(long, value_name = "NAME[:VALUE]")]
    header: Vec<String>,
    /// Only of this route
    #[arg(long)]
    route: Option<String>,
    /// Only of this listener
    #[arg(long)]
    listener: Option<String>,
    /// Only of this cluster
    #[arg(long)]
    cluster: Option<String>,
    /// Only what took as long, such as 100ms
    #[arg(long, value_name = "TIME")]
    min_latency: Option<String>,
    /// End after so many
    #[arg(long, value_name = "NUMBER")]
    limit: Option<u64>,
    /// Look at no more requests than this in a second (default: 100; at most 1000)
    #[arg(long, value_name = "NUMBER")]
    rate: Option<u32>,
    #[command(flatten)]
    target: Target,
}

impl Arguments {
    fn path(&self) -> String {
        let (limit, rate) = (self.limit.map(|limit| limit.to_string()), self.rate.map(|rate| rate.to_string()));
        let given = [
            ("status", &self.status),
            ("method", &self.method),
            ("path_prefix", &self.path_prefix),
            ("route", &self.route),
            ("listener", &self.listener),
            ("cluster", &self.cluster),
            ("min_latency", &self.min_latency),
            ("limit", &limit),
            ("rate", &rate),
        ];
        let headers = self.header.iter().map(|header| ("header", header));
        let pairs = given.into_iter().filter_map(|(key, value)| Some((key, value.as_ref()?))).chain(headers);
        let pairs = pairs.map(|(key, value)| format!("{key}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)));
        format!("/v1/tap?{}", pairs.collect::<Vec<_>>().join("&"))
    }
}

/// Prints until it is told to stop.
pub(super) fn run(arguments: &Arguments, output: Output) -> u8 {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: {error}");
            return FAILED;
        }
    };
    let watched = async {
        let mut events = Events::open(&arguments.target, arguments.path()).await?;
        while let Some(event) = events.next().await? {
            match event.kind.as_str() {
                "request" => {
                    let code = match output {
                        Output::Json => print(format_args!("{}", event.data)),
                        Output::Text | Output::Junit => print(format_args!("{}", line(&event.data))),
                    };
                    if code != DONE {
                        return Ok(code);
                    }
                }
                "missed" => {
                    let count = |key: &str| event.data.get(key).and_then(Value::as_u64).unwrap_or(0);
                    let (skipped, dropped) = (count("skipped"), count("dropped"));
                    eprintln!(
                        "so far {skipped} requests were not looked at (--rate), and {dropped} could not be shown"
                    );
                }
                _ => {}
            }
        }
        anyhow::Ok(DONE)
    };
    let ended = runtime.block_on(async {
        tokio::select! {
            ended = watched => ended,
            () = process::asked_to_end(None) => Ok(DONE),
        }
    });
    ended.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        FAILED
    })
}

/// A request in one line.
fn line(value: &Value) -> String {
    let text = |key: &str| value.get(key).and_then(Value::as_str);
    let at = value.get("at").and_then(Value::as_u64).unwrap_or(0);
    let clock = format!("{:02}:{:02}:{:02}.{:03}", at / 3_600_000 % 24, at / 60_000 % 60, at / 1000 % 60, at % 1000);
    let way: Vec<&str> = ["listener", "route", "cluster", "upstream"].into_iter().filter_map(text).collect();
    let mut line = format!("{clock}Z {} [{}]", text("line").unwrap_or_default(), way.join(" -> "));
    for filter in value.get("filters").and_then(Value::as_array).into_iter().flatten() {
        let notes = filter.get("notes").and_then(Value::as_array).into_iter().flatten();
        let notes: Vec<&str> = notes.filter_map(Value::as_str).collect();
        if !notes.is_empty() {
            let name = filter.get("filter").and_then(Value::as_str).unwrap_or_default();
            line.push_str(&format!(" | {name}: {}", notes.join(", ")));
        }
    }
    printable(&line)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_request_is_one_line() {
        let value = json!({
            "at": 3_723_004, "line": "GET /a 200 in 1.0 ms", "listener": "web", "cluster": "app",
            "filters": [{ "filter": "a", "notes": [] }, { "filter": "b", "notes": ["request + x: 1\n2", "replied 403"] }],
        });
        assert_eq!(line(&value), "01:02:03.004Z GET /a 200 in 1.0 ms [web -> app] | b: request + x: 1?2, replied 403");
    }
}
