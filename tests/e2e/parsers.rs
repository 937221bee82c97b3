//! Metrics as others read them: by the parsers of Prometheus's own Python client and by its `promtool`, whatever clients put into labels.
//!
//! `tests/run` installs the client and says where (`FYKE_PYTHON`), and with `--long` Debian's `prometheus`, which has the tool; without them these
//! tests have nobody to ask.

use std::{
    io::Write as _,
    process::{Command, Output, Stdio},
};

use serde_json::Value;

use crate::support::{Conn, Proxy, Upstream, eventually};

/// Reads an exposition on standard input and tells what it has: families, with their samples.
const READ: &str = r#"
import json, sys
from importlib import import_module
parser = import_module(sys.argv[1])
text = sys.stdin.buffer.read().decode("utf-8")
families = []
for family in parser.text_string_to_metric_families(text):
    samples = [[one.name, one.labels, one.value, one.exemplar.labels if one.exemplar else None] for one in family.samples]
    families.append({"name": family.name, "type": family.type, "help": family.documentation, "samples": samples})
print(json.dumps(families))
"#;

const TEXT: &str = "prometheus_client.parser";
const OPEN: &str = "prometheus_client.openmetrics.parser";

/// What a program says of a text on its standard input.
fn fed(command: &mut Command, text: &str) -> Output {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn read(python: &std::ffi::OsStr, parser: &str, text: &str) -> Value {
    let ended = fed(Command::new(python).args(["-c", READ, parser]), text);
    assert!(ended.status.success(), "{parser}: {}\n{text}", String::from_utf8_lossy(&ended.stderr));
    serde_json::from_slice(&ended.stdout).unwrap()
}

const HOSTILE: [&str; 8] = ["plain", "a\"b", "c\\d", "e\\n\\\\\"", "f{g=\"h\"} 1", "#i", "j,k", "\u{fc}\u{1f40d}"];

/// One that counts requests by a label that clients write, and which have done so: each value once more often than the one before.
async fn counting(upstream: &Upstream) -> Proxy {
    let proxy = Proxy::start(format!(
        r#"
admin: {{ address: 127.0.0.1:0, token_file: token }}
tracing: {{ otlp: {{ address: '127.0.0.1:9' }} }}
listeners: {{ web: {{ address: 127.0.0.1:0, filters: [tracing-context, stats, router] }} }}
filters:
  tracing-context: {{ module: builtin:tracing-context, config: {{ sample: 100% }} }}
  stats: {{ module: builtin:stats-tags, config: {{ labels: [{{ label: team, from: {{ request_header: x-team }}, default: none }}] }} }}
  router: {{ module: builtin:router, config: {{ routes: [{{ cluster: app }}] }} }}
clusters: {{ app: {{ endpoints: ['{}'] }} }}
"#,
        upstream.address
    ))
    .await;
    for (times, team) in HOSTILE.iter().enumerate() {
        for _ in 0..=times {
            assert_eq!(proxy.get_with("/", &format!("x-team: {team}\r\n")).await.status(), 200);
        }
    }
    proxy
}

/// Samples of this name, with their labels.
fn samples<'a>(families: &'a Value, name: &str) -> Vec<(&'a Value, f64, &'a Value)> {
    let all = families.as_array().unwrap().iter().flat_map(|family| family["samples"].as_array().unwrap());
    all.filter(|sample| sample[0] == name).map(|sample| (&sample[1], sample[2].as_f64().unwrap(), &sample[3])).collect()
}

async fn scrape(proxy: &Proxy, accept: &str) -> String {
    let mut conn = Conn::to(proxy.admin()).await;
    let admin = proxy.admin();
    conn.send(&format!("GET /metrics HTTP/1.1\r\nhost: {admin}\r\nconnection: close\r\naccept: {accept}\r\n\r\n"))
        .await;
    conn.response("GET").await.text()
}

#[tokio::test]
async fn the_parsers_of_prometheus_read_every_metric_and_any_label() {
    let Some(python) = std::env::var_os("FYKE_PYTHON") else {
        eprintln!("skipped: FYKE_PYTHON names no Python with prometheus-client");
        return;
    };
    let upstream = Upstream::says("x").await;
    let proxy = counting(&upstream).await;
    let all: usize = (1..=HOSTILE.len()).sum();
    let (text, open) = eventually("all requests", async || {
        let text = read(&python, TEXT, &scrape(&proxy, "text/plain").await);
        let count: f64 = samples(&text, "fyke_listener_requests_total").iter().map(|(_, value, _)| value).sum();
        if count < all as f64 {
            return None;
        }
        let open = scrape(&proxy, "application/openmetrics-text; version=1.0.0").await;
        assert!(open.ends_with("# EOF\n"), "{open}");
        Some((text, read(&python, OPEN, &open)))
    })
    .await;
    for families in [&text, &open] {
        for (times, team) in HOSTILE.iter().enumerate() {
            let found = samples(families, "stats_requests_total");
            let its: Vec<f64> =
                found.iter().filter(|(labels, ..)| labels["team"] == *team).map(|(_, value, _)| *value).collect();
            assert_eq!(its, [(times + 1) as f64], "{team:?} in {found:?}");
        }
        for family in families.as_array().unwrap() {
            let name = family["name"].as_str().unwrap();
            assert_ne!(family["type"], "unknown", "{name}");
            assert!(!name.starts_with("fyke_") || family["help"].as_str().unwrap().len() > 10, "{name} says nothing");
            // A histogram adds up for whoever computes quantiles of it.
            if family["type"] == "histogram" {
                let count = |name: &str| samples(families, name).iter().map(|(_, value, _)| value).sum::<f64>();
                let buckets = samples(families, &format!("{name}_bucket"));
                let whole: f64 =
                    buckets.iter().filter(|(labels, ..)| labels["le"] == "+Inf").map(|(_, value, _)| value).sum();
                assert!((whole - count(&format!("{name}_count"))).abs() < 0.5, "{name}");
            }
        }
    }
    let buckets = samples(&open, "fyke_listener_request_duration_seconds_bucket");
    assert!(buckets.iter().any(|(.., exemplar)| exemplar["trace_id"].is_string()), "{buckets:?}");
}

#[tokio::test]
async fn promtool_finds_nothing_to_complain_about() {
    let tool = || Command::new("promtool");
    if !tool().arg("--version").output().is_ok_and(|ended| ended.status.success()) {
        eprintln!("skipped: there is no promtool");
        return;
    }
    let upstream = Upstream::says("x").await;
    let proxy = counting(&upstream).await;
    let text = scrape(&proxy, "text/plain").await;
    assert!(text.contains("stats_requests_total{") && text.contains("fyke_listener_request_duration_seconds_bucket{"));
    let ended = fed(tool().args(["check", "metrics"]), &text);
    let said = String::from_utf8([ended.stdout, ended.stderr].concat()).unwrap();
    // Istio's names for durations are in milliseconds.
    let excused = |line: &&str| line.starts_with("stats_") && line.contains("_milliseconds use base unit");
    let complaints: Vec<_> = said.lines().filter(|line| !excused(line)).collect();
    assert_eq!(complaints, [""; 0]);
    // Nothing was found, or only what is excused.
    assert!(matches!(ended.status.code(), Some(0 | 3)), "{}", ended.status);
}
