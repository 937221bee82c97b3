//! What clusters cost that nobody uses: the time until the proxy is ready, and memory, by their number and that of workers.

use std::{
    fmt::Write as _,
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use clap::Args;
use serde_json::json;

use crate::{
    Common, contestant, cpu,
    process::{self, Process},
    report::{self, Section},
    upstream,
};

/// How long a start may take.
const START: Duration = Duration::from_secs(60);
const MEBIBYTE: u64 = 1024 * 1024;

#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    common: Common,
    /// Clusters, of one endpoint each
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(2..=60_000))]
    clusters: u32,
    /// Workers, each number a run
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2, 8])]
    workers: Vec<usize>,
    /// How long memory may settle before it is read
    #[arg(long, default_value = "2s", value_parser = cpu::seconds)]
    settle: Duration,
}

/// What one start came to. Bytes.
struct Start {
    ready: Duration,
    resident: u64,
    /// After `/metrics` and `/clusters` have been read.
    watched: u64,
}

/// Measures, prints, writes.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let common = &options.common;
    let binary = contestant::fyke(common)?;
    let version = contestant::version_of(&binary, "--version")?;
    let folder = tempfile::Builder::new().prefix("fyke-bench-").tempdir()?;
    let mut text = format!(
        "`fyke run` with {} clusters of one endpoint each that no request goes to, and with one. Ready: from the start of the process to its first \
         answer on `/ready`, the file's reading included. Watched: after `/metrics` and `/clusters` were read. A cluster: the difference of the two, divided.\n\n",
        options.clusters
    );
    text.push_str(&report::facts(std::iter::once(version.as_str()))?);
    text.push_str(
        "\n| workers | ready | resident | watched | with one cluster | a cluster |\n|---|---|---|---|---|---|\n",
    );
    let mut rows = Vec::new();
    for workers in &options.workers {
        let many = measure(options, &binary, folder.path(), *workers, options.clusters)?;
        let one = measure(options, &binary, folder.path(), *workers, 1)?;
        let mebibytes = |bytes: u64| process::precise(bytes) / process::precise(MEBIBYTE);
        let each =
            process::precise(many.resident.saturating_sub(one.resident)) / 1024.0 / f64::from(options.clusters - 1);
        writeln!(
            text,
            "| {workers} | {:.0} ms | {:.1} MiB | {:.1} MiB | {:.1} MiB | {each:.2} KiB |",
            many.ready.as_secs_f64() * 1e3,
            mebibytes(many.resident),
            mebibytes(many.watched),
            mebibytes(one.resident),
        )?;
        rows.push(json!({
            "workers": workers, "ready_seconds": many.ready.as_secs_f64(), "resident": many.resident,
            "watched": many.watched, "with_one": one.resident,
        }));
    }
    let section = Section { name: "clusters", text };
    println!("{}", section.text);
    if let Some(path) = &common.write {
        section.write(path)?;
    }
    if let Some(path) = &common.json {
        report::write_json(
            path,
            &json!({ "machine": report::machine()?, "clusters": options.clusters, "runs": rows }),
        )?;
    }
    Ok(())
}

fn measure(options: &Options, binary: &Path, folder: &Path, workers: usize, clusters: u32) -> anyhow::Result<Start> {
    eprintln!("{clusters} clusters, {workers} workers");
    let admin = upstream::free_address()?;
    let file = folder.join("clusters.yaml");
    let mut text = format!(
        "workers: {workers}\nadmin: {{ address: \"{admin}\" }}\nlisteners:\n  web: {{ address: \"127.0.0.1:0\", cluster: c0 }}\nclusters:\n"
    );
    for number in 0..clusters {
        let [_, high, middle, low] = number.to_be_bytes();
        writeln!(text, "  c{number}: {{ endpoints: [\"10.{high}.{middle}.{low}:8080\"] }}")?;
    }
    fs::write(&file, text)?;
    let started = Instant::now();
    let arguments = ["run", &file.to_string_lossy()];
    let mut process = Process::start_on(binary, &arguments, &process::cores()?, &folder.join("clusters.log"))?;
    process.wait_ready(START, || ask(admin, "/ready").is_ok_and(|answer| answer.starts_with("HTTP/1.1 200")))?;
    let ready = started.elapsed();
    thread::sleep(options.settle);
    let resident = process.resident()?;
    for page in ["/metrics", "/clusters"] {
        ask(admin, page).with_context(|| page.to_owned())?;
    }
    thread::sleep(options.settle);
    Ok(Start { ready, resident, watched: process.resident()? })
}

fn ask(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(START))?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
