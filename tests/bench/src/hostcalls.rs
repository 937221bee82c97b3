//! What a hostcall costs, measured by a filter inside of the proxy.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use clap::Args;

use crate::{
    Common, contestant,
    process::{self, Process},
    report::{self, Section},
    stats::Spread,
    upstream,
};

#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    common: Common,
    /// Measurements, each on a new instance of the proxy
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
}

/// Nanoseconds that each may take on the machine where Fyke is made.
const LIMITS: [(&str, f64); 8] = [
    ("header get", 150.0),
    ("header get, missing", 150.0),
    ("header set", 200.0),
    ("property get", 250.0),
    ("shared data get", 400.0),
    ("shared data set", 400.0),
    ("counter", 80.0),
    ("counter with two labels", 80.0),
];

/// Measures, prints, writes.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let common = &options.common;
    process::pin_self(common.load_core)?;
    let binary = contestant::fyke(common)?;
    let module = contestant::header_filter(None, ("cost", "filter", "guest_cost.wasm"))?;
    let folder = tempfile::Builder::new().prefix("fyke-bench-").tempdir()?;
    let mut measured: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for _ in 0..options.rounds {
        let address = upstream::free_address()?;
        let file = folder.path().join("proxy.yaml");
        std::fs::write(
            &file,
            format!(
                "workers: 1\nlisteners:\n  web: {{ address: \"{address}\", filters: [cost] }}\nfilters:\n  \
                 cost: {{ module: {:?}, allow: {{ shared_data: true }}, limits: {{ call_time: 10s }} }}\n",
                module.display().to_string()
            ),
        )?;
        let file = file.to_string_lossy();
        let mut proxy = Process::start(&binary, &["run", &file], common.proxy_core, &folder.path().join("proxy.log"))?;
        proxy.wait_ready(Duration::from_secs(60), || TcpStream::connect(address).is_ok())?;
        // The first answer warms up what the second one measures.
        let mut text = String::new();
        for _ in 0..2 {
            let mut stream = TcpStream::connect(address)?;
            stream.write_all(b"GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")?;
            text.clear();
            stream.read_to_string(&mut text)?;
        }
        let (_, body) = text.split_once("\r\n\r\n").context("no answer")?;
        ensure!(text.starts_with("HTTP/1.1 200"), "answered: {text}");
        for line in body.lines() {
            let (name, nanoseconds) = line.split_once(": ").context("an unexpected line")?;
            measured.entry(name.to_owned()).or_default().push(nanoseconds.parse()?);
        }
    }
    let mut out = format!(
        "Hostcalls as a filter on Fyke's SDK sees them, 20,000 in a row, the guest's own part and its allocation of what is returned \
         included; {} measurements, medians, least and most in brackets.\n\n",
        options.rounds
    );
    out.push_str(&report::facts(["fyke"].into_iter())?);
    out.push_str("\n| hostcall | ns | at most |\n|---|---|---|\n");
    for (name, limit) in LIMITS {
        let spread = Spread::of(measured.get(name).context(name)?.iter().copied()).context("no samples")?;
        out.push_str(&format!(
            "| {name} | {:.0} ({:.0}-{:.0}) | {limit:.0} |\n",
            spread.median, spread.min, spread.max
        ));
    }
    let into = |(with, without): (&f64, &f64)| with - without;
    let both = measured.get("header get").zip(measured.get("header get, missing"));
    if let Some(spread) = both.and_then(|(with, without)| Spread::of(with.iter().zip(without).map(into))) {
        out.push_str(&format!(
            "| the difference of the first two: a call into the guest, its allocator, and the copy | {:.0} ({:.0}-{:.0}) | |\n",
            spread.median, spread.min, spread.max
        ));
    }
    println!("{out}");
    if let Some(path) = &common.write {
        Section { name: "hostcalls", text: out }.write(path)?;
    }
    Ok(())
}
