//! What a proxy holds: empty, with idle connections, while a gigabyte streams through.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use clap::Args;
use serde_json::{Value, json};

use crate::{
    Common,
    client::{Connection, Framing},
    contestant::{Candidate, Contestant, Layer, Patience, Running, Task},
    cpu, hold,
    process::{self, Process},
    report::{self, Section},
    upstream::Streams,
};

const WORKERS: usize = 2;
const MEBIBYTE: u64 = 1024 * 1024;
const SAMPLE: Duration = Duration::from_millis(20);

#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    common: Common,
    /// Idle keep-alive connections
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    idle: u32,
    /// MiB that are streamed in each transfer
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    stream: u32,
    /// How long memory may settle before it is read
    #[arg(long, default_value = "3s", value_parser = cpu::seconds)]
    settle: Duration,
}

/// What was read of one proxy. Bytes.
struct Holding {
    name: &'static str,
    empty: u64,
    with_idle: u64,
    again: u64,
    transfers: Vec<Transfer>,
}

struct Transfer {
    name: &'static str,
    before: u64,
    peak: u64,
    seconds: f64,
}

/// Measures, prints, writes.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let common = &options.common;
    let idle = options.idle as usize;
    hold::raise_open_files(idle + 1_024)?;
    process::pin_self(common.load_core)?;
    let folder = tempfile::Builder::new().prefix("fyke-bench-").tempdir()?;
    let (candidates, notes) = Candidate::find(common, &[Contestant::Fyke0, Contestant::Fyke5]);
    for note in &notes {
        eprintln!("note: {note}");
    }
    ensure!(!candidates.is_empty(), "nobody is there to be measured");
    let upstream = Streams::start()?;
    let mut holdings = Vec::new();
    for candidate in &candidates {
        let holding = measure(options, candidate, upstream.address, folder.path())
            .with_context(|| candidate.contestant.name())?;
        holdings.push(holding);
    }
    let section = Section { name: "memory", text: text(options, &candidates, &holdings, &notes)? };
    println!("{}", section.text);
    if let Some(path) = &common.write {
        section.write(path)?;
    }
    if let Some(path) = &common.json {
        let holdings: Vec<Value> = holdings.iter().map(as_json).collect();
        report::write_json(
            path,
            &json!({ "machine": report::machine()?, "idle_connections": idle, "holdings": holdings }),
        )?;
    }
    Ok(())
}

fn measure(options: &Options, candidate: &Candidate, upstream: SocketAddr, folder: &Path) -> anyhow::Result<Holding> {
    let core = options.common.proxy_core;
    let idle = options.idle as usize;
    // Room for the connections that only looked whether it is up.
    let task = Task {
        upstream,
        workers: WORKERS,
        connections: Some(idle + 64),
        patience: Patience::Long,
        layer: Layer::Http,
        redis: None,
    };

    let name = candidate.contestant.name();
    eprintln!("{name}: {idle} idle connections");
    let proxy = candidate.start(task, folder, core)?;
    thread::sleep(options.settle);
    let empty = proxy.process.resident()?;
    let (with_idle, again) = hold_idle(options, &proxy)?;
    drop(proxy);

    // Streams begin on a fresh process: after the connections, its allocator would have room that hides what they need.
    let proxy = candidate.start(task, folder, core)?;
    thread::sleep(options.settle);
    let length = u64::from(options.stream) * MEBIBYTE;
    let address = proxy.address;
    let mut transfers = Vec::new();
    let upload = |framing| move || Ok(Connection::open(address)?.post("/sink", length, framing)?.parse()?);
    transfers.push(transfer(name, "upload, Content-Length", length, &proxy.process, upload(Framing::Length))?);
    transfers.push(transfer(name, "upload, chunked", length, &proxy.process, upload(Framing::Chunked))?);
    transfers.push(transfer(name, "download", length, &proxy.process, move || {
        Connection::open(address)?.get(&format!("/source/{length}"))
    })?);
    Ok(Holding { name, empty, with_idle, again, transfers })
}

/// Resident bytes with all connections idle, and how many of them answered a second request.
fn hold_idle(options: &Options, proxy: &Running) -> anyhow::Result<(u64, u64)> {
    let mut client = Command::new(std::env::current_exe()?)
        .args(["hold", "--address", &proxy.address.to_string(), "--count", &options.idle.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut input = client.stdin.take().context("no pipe")?;
    let mut lines = BufReader::new(client.stdout.take().context("no pipe")?).lines();
    let mut number = |word: &str| -> anyhow::Result<u64> {
        let line = lines.next().context("the client of idle connections gave up")??;
        Ok(line.strip_prefix(word).context("an unexpected line")?.trim().parse()?)
    };
    let held = number("held")?;
    ensure!(held == u64::from(options.idle), "only {held} connections are held");
    thread::sleep(options.settle);
    let resident = proxy.process.resident()?;
    input.write_all(b"\n")?;
    let again = number("again")?;
    ensure!(again == held, "only {again} of {held} idle connections answered again");
    client.wait()?;
    Ok((resident, again))
}

/// Runs one transfer of `length` bytes while the proxy's memory is watched.
fn transfer(
    contestant: &str,
    name: &'static str,
    length: u64,
    proxy: &Process,
    run: impl FnOnce() -> anyhow::Result<u64> + Send + 'static,
) -> anyhow::Result<Transfer> {
    eprintln!("{contestant}: {name}");
    let before = proxy.resident()?;
    let started = std::time::Instant::now();
    let running = thread::spawn(run);
    let mut peak = before;
    while !running.is_finished() {
        thread::sleep(SAMPLE);
        peak = peak.max(proxy.resident()?);
    }
    let seconds = started.elapsed().as_secs_f64();
    let passed = running.join().map_err(|_| anyhow::anyhow!("the transfer panicked"))?.context(name)?;
    ensure!(passed == length, "{name}: {passed} of {length} bytes arrived");
    Ok(Transfer { name, before, peak, seconds })
}

fn text(options: &Options, candidates: &[Candidate], holdings: &[Holding], notes: &[String]) -> anyhow::Result<String> {
    let mut out = format!(
        "Resident memory (`VmRSS`), two workers, {} idle keep-alive HTTP/1.1 connections that have been served once, transfers of {} MiB.\n\n",
        options.idle, options.stream
    );
    out.push_str(&report::facts(candidates.iter().map(|found| found.version.as_str()))?);
    out.push_str(
        "\n| Proxy | empty | with idle connections | per connection | answered again |\n|---|---|---|---|---|\n",
    );
    let mebibytes = |bytes: u64| process::precise(bytes) / process::precise(MEBIBYTE);
    for holding in holdings {
        let each = process::precise(holding.with_idle.saturating_sub(holding.empty)) / 1024.0 / f64::from(options.idle);
        out.push_str(&format!(
            "| {} | {:.1} MiB | {:.1} MiB | {each:.1} KiB | {} |\n",
            holding.name,
            mebibytes(holding.empty),
            mebibytes(holding.with_idle),
            holding.again,
        ));
    }
    out.push_str("\n| Proxy | transfer | before | most while it ran | growth | MiB/s |\n|---|---|---|---|---|---|\n");
    for (holding, transfer) in
        holdings.iter().flat_map(|holding| holding.transfers.iter().map(move |transfer| (holding, transfer)))
    {
        out.push_str(&format!(
            "| {} | {} | {:.1} MiB | {:.1} MiB | {:.1} MiB | {:.0} |\n",
            holding.name,
            transfer.name,
            mebibytes(transfer.before),
            mebibytes(transfer.peak),
            mebibytes(transfer.peak - transfer.before),
            f64::from(options.stream) / transfer.seconds,
        ));
    }
    for note in notes {
        out.push_str(&format!("\nNote: {note}\n"));
    }
    Ok(out)
}

fn as_json(holding: &Holding) -> Value {
    let transfers: Vec<Value> = holding
        .transfers
        .iter()
        .map(|transfer| json!({ "name": transfer.name, "before_bytes": transfer.before, "peak_bytes": transfer.peak, "seconds": transfer.seconds }))
        .collect();
    json!({ "proxy": holding.name, "empty_bytes": holding.empty, "with_idle_bytes": holding.with_idle, "answered_again": holding.again, "transfers": transfers })
}
