//! The load generator: `wrk`, asked for the quantiles it does not print by itself.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::process;

/// Runs once, after the load: requests are still built without Lua.
const SCRIPT: &str = r#"
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '\nRESULT {"requests":%d,"duration_us":%d,"errors":{"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d},"p50":%d,"p90":%d,"p99":%d,"p999":%d}\n',
    summary.requests, summary.duration, e.connect, e.read, e.write, e.status, e.timeout,
    latency:percentile(50), latency:percentile(90), latency:percentile(99), latency:percentile(99.9)))
end
"#;

/// What one load saw. Latencies are in microseconds.
#[derive(Debug, Clone)]
pub struct Load {
    /// Requests answered.
    pub requests: u64,
    /// How long it took.
    pub duration: Duration,
    /// p50, p90, p99, p99.9.
    pub latency: [f64; 4],
}

/// `wrk` and its script.
pub struct Generator {
    wrk: PathBuf,
    script: PathBuf,
    header: Option<&'static str>,
}

impl Generator {
    /// Finds `wrk` and writes its script into `folder`. `header` goes along with each request.
    pub fn new(folder: &Path, header: Option<&'static str>) -> anyhow::Result<Self> {
        let wrk = process::find("wrk").context("wrk is missing: apt-get install wrk")?;
        let script = folder.join("quantiles.lua");
        std::fs::write(&script, SCRIPT)?;
        Ok(Self { wrk, script, header })
    }

    /// Loads `url` from one thread over `connections` keep-alive connections for whole seconds.
    ///
    /// # Errors
    /// When any request failed or was answered with an error.
    pub fn run(&self, url: &str, connections: u32, duration: Duration) -> anyhow::Result<Load> {
        let mut command = Command::new(&self.wrk);
        command
            .args(["-t1", "--latency", "--timeout", "5s"])
            .arg(format!("-c{connections}"))
            .arg(format!("-d{}s", duration.as_secs().max(1)))
            .arg("-s")
            .arg(&self.script)
            .args(self.header.iter().flat_map(|header| ["-H", header]))
            .arg(url);
        let printed = process::output(&mut command, duration + Duration::from_secs(20))?;
        let line = printed
            .lines()
            .find_map(|line| line.strip_prefix("RESULT "))
            .with_context(|| format!("wrk printed no result: {printed}"))?;
        parse(line)
    }
}

fn parse(line: &str) -> anyhow::Result<Load> {
    let result: Value = serde_json::from_str(line)?;
    let number = |pointer: &str| {
        result.pointer(pointer).and_then(Value::as_u64).with_context(|| format!("no {pointer} in {line}"))
    };
    for kind in ["connect", "read", "write", "status", "timeout"] {
        let count = number(&format!("/errors/{kind}"))?;
        ensure!(count == 0, "{count} errors of kind `{kind}` during the load: {line}");
    }
    ensure!(number("/requests")? > 0, "no request was answered");
    let mut latency = [0.0; 4];
    for (value, name) in latency.iter_mut().zip(["/p50", "/p90", "/p99", "/p999"]) {
        *value = process::precise(number(name)?);
    }
    Ok(Load { requests: number("/requests")?, duration: Duration::from_micros(number("/duration_us")?), latency })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_fail_the_measurement() {
        let line = |status| {
            format!(
                r#"{{"requests":10,"duration_us":1000000,"errors":{{"connect":0,"read":0,"write":0,"status":{status},"timeout":0}},"p50":1,"p90":2,"p99":3,"p999":4}}"#
            )
        };
        let load = parse(&line(0)).unwrap();
        assert_eq!((load.requests, load.latency), (10, [1.0, 2.0, 3.0, 4.0]));
        assert!(parse(&line(1)).unwrap_err().to_string().contains("status"));
    }
}
