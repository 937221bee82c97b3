//! A running Fyke, as its operator sees it: a file, an admin endpoint, metrics.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::process::{Process, precise};

/// The histogram of how long a worker's loop does not look for events, one series for each worker.
const LOOP: &str = "fyke_worker_loop_busy_seconds";
const START: Duration = Duration::from_secs(120);
/// A module that takes seconds to compile takes longer beside traffic.
const ANSWER: Duration = Duration::from_secs(120);

/// It.
pub struct Subject {
    /// Where requests go.
    pub address: SocketAddr,
    process: Process,
    admin: SocketAddr,
    /// Where its files are.
    pub folder: PathBuf,
}

impl Subject {
    /// Starts `binary` on `cores` with so many workers and what else a configuration says, its files in `folder`, and waits until its listener
    /// `web` serves.
    pub fn start(binary: &Path, cores: &str, folder: &Path, workers: u32, configuration: &str) -> anyhow::Result<Self> {
        let file = folder.join("proxy.yaml");
        std::fs::write(
            &file,
            format!("workers: {workers}\nadmin: {{ address: \"127.0.0.1:0\", token_file: token }}\n{configuration}"),
        )?;
        let log = folder.join("proxy.log");
        let arguments = ["--log-format", "json", "--log", "info", "run", &file.to_string_lossy()];
        let mut process = Process::start_on(binary, &arguments, cores, &log)?;
        let mut admin = None;
        process.wait_ready(START, || {
            admin = std::fs::read_to_string(&log).unwrap_or_default().lines().find_map(admin_of);
            admin.is_some()
        })?;
        let admin = admin.context("no admin endpoint")?;
        let mut subject = Self { address: admin, process, admin, folder: folder.to_owned() };
        let mut bound = None;
        subject.process.wait_ready(START, || {
            bound = bound_at(&ask(admin, folder, "GET", "/status").unwrap_or_default());
            bound.is_some()
        })?;
        subject.address = bound.context("nothing is bound")?;
        Ok(subject)
    }

    /// Has the file read again. Milliseconds until what it says is in use.
    pub fn reload(&self) -> anyhow::Result<f64> {
        self.change("/reload", "applied")
    }

    /// Goes back one generation: what a swap takes beyond reading and compiling. Milliseconds.
    pub fn roll_back(&self) -> anyhow::Result<f64> {
        // By its number: without one, each would go back one further.
        let kept: Value = serde_json::from_str(&self.ask("GET", "/generations")?)?;
        let before = kept.as_array().and_then(|kept| kept.iter().rev().nth(1)).and_then(|one| one.get("generation"));
        let before = before.context("there is no generation before")?;
        self.change(&format!("/rollback?to={before}"), "rolled_back")
    }

    fn change(&self, path: &str, outcome: &str) -> anyhow::Result<f64> {
        let began = Instant::now();
        let answer = self.ask("POST", path)?;
        let took = began.elapsed();
        let answer: Value = serde_json::from_str(&answer)?;
        ensure!(answer.get("outcome").and_then(Value::as_str) == Some(outcome), "{path}: {answer}");
        Ok(took.as_secs_f64() * 1e3)
    }

    /// How long the workers' loops were busy so far. `None`: this binary does not say.
    pub fn loops(&self) -> anyhow::Result<Option<Histogram>> {
        let histogram = Histogram::parse(&self.ask("GET", "/metrics")?, LOOP);
        Ok((!histogram.counts.is_empty()).then_some(histogram))
    }

    /// What the admin endpoint answers.
    pub fn ask(&self, method: &str, path: &str) -> anyhow::Result<String> {
        ask(self.admin, &self.folder, method, path)
    }
}

fn ask(admin: SocketAddr, folder: &Path, method: &str, path: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect_timeout(&admin, ANSWER)?;
    stream.set_read_timeout(Some(ANSWER))?;
    let token = std::fs::read_to_string(folder.join("token"))?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {admin}\r\nAuthorization: Bearer {}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        token.trim(),
    )?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (head, body) = text.split_once("\r\n\r\n").context("the admin endpoint does not answer")?;
    ensure!(head.starts_with("HTTP/1.1 200 "), "{path} was answered: {head}\n{body}");
    Ok(body.to_owned())
}

/// Where the listener `web` is, once its status says it.
fn bound_at(status: &str) -> Option<SocketAddr> {
    let status: Value = serde_json::from_str(status).ok()?;
    status.pointer("/listeners/web")?.as_str()?.parse().ok()
}

/// The address of the admin endpoint, where the line of the log says it.
fn admin_of(line: &str) -> Option<SocketAddr> {
    let line: Value = serde_json::from_str(line).ok()?;
    (line.get("message")? == "admin endpoint").then(|| line.get("address")?.as_str()?.parse().ok())?
}

/// Observations at or below each bound (in microseconds), of all series of a metric together.
#[derive(Debug, Default, PartialEq)]
pub struct Histogram {
    counts: BTreeMap<u64, u64>,
    total: u64,
}

impl Histogram {
    /// From Prometheus' text.
    fn parse(text: &str, name: &str) -> Self {
        let mut histogram = Self::default();
        for line in text.lines() {
            let Some(labels) = line.strip_prefix(name).and_then(|rest| rest.strip_prefix("_bucket{")) else { continue };
            let bound = labels.split_once("le=\"").and_then(|(_, rest)| rest.split_once('"'));
            let count = line.rsplit(' ').next().and_then(|count| count.parse::<u64>().ok());
            let Some(((bound, _), count)) = bound.zip(count) else { continue };
            match bound.parse::<f64>() {
                Ok(seconds) if seconds.is_finite() => {
                    let bound = Duration::from_secs_f64(seconds).as_micros();
                    *histogram.counts.entry(u64::try_from(bound).unwrap_or(u64::MAX)).or_default() += count;
                }
                _ => histogram.total += count,
            }
        }
        histogram
    }

    /// What came after `earlier`.
    pub fn since(&self, earlier: &Self) -> Self {
        let before = |bound| earlier.counts.get(bound).copied().unwrap_or_default();
        let counts = self.counts.iter().map(|(bound, count)| (*bound, count.saturating_sub(before(bound)))).collect();
        Self { counts, total: self.total.saturating_sub(earlier.total) }
    }

    /// Microseconds below which so many per mille lie, interpolated within the bucket; `None` of nothing.
    pub fn quantile(&self, per_mille: u64) -> Option<f64> {
        let rank = precise(self.total) * precise(per_mille) / 1000.0;
        let (mut lower, mut below) = (0.0, 0.0);
        for (bound, count) in &self.counts {
            let (upper, count) = (precise(*bound), precise(*count));
            if count >= rank && count > below {
                return Some(lower + (upper - lower) * (rank - below) / (count - below));
            }
            (lower, below) = (upper, count);
        }
        (self.total > 0).then_some(lower)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histograms_of_all_workers_are_one_and_start_where_the_last_ended() {
        let text = |few: u64, more: u64| {
            format!(
                "# TYPE a histogram\na_bucket{{worker=\"0\",le=\"0.001\"}} {few}\na_bucket{{worker=\"0\",le=\"0.0025\"}} {more}\n\
                 a_bucket{{worker=\"0\",le=\"+Inf\"}} {more}\na_bucket{{worker=\"1\",le=\"0.001\"}} 0\na_bucket{{worker=\"1\",le=\"0.0025\"}} 10\n\
                 a_bucket{{worker=\"1\",le=\"+Inf\"}} 10\na_sum{{worker=\"0\"}} 3\nab_bucket{{le=\"0.001\"}} 5\n"
            )
        };
        let (early, late) = (Histogram::parse(&text(5, 5), "a"), Histogram::parse(&text(95, 105), "a"));
        let between = late.since(&early);
        assert_eq!(between, Histogram { counts: BTreeMap::from([(1000, 90), (2500, 100)]), total: 100 });
        assert_eq!(between.quantile(450), Some(500.0));
        assert_eq!(between.quantile(950), Some(1750.0));
        assert_eq!(early.since(&early).quantile(500), None);
    }

    #[test]
    fn the_log_says_where_the_admin_endpoint_is() {
        assert_eq!(
            admin_of(r#"{"message":"admin endpoint","address":"127.0.0.1:9"}"#),
            Some(SocketAddr::from(([127, 0, 0, 1], 9)))
        );
        assert_eq!(admin_of(r#"{"message":"listening","address":"127.0.0.1:9"}"#), None);
    }
}
