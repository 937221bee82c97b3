//! How the costs of the MongoDB filter are told.

use std::fmt::Write as _;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::{KINDS, Kind, Options, Results, Sample, wire};
use crate::{process, report, stats::Spread};

/// Tables for people.
pub fn markdown(options: &Options, version: &str, results: &Results) -> anyhow::Result<String> {
    let mut out = format!(
        "MongoDB's protocol through Fyke, one worker, with `builtin:mongo` and without any filter. {} rounds in rotating order, the proxy alone on core {}, server and clients on core {}. \
         Medians over the rounds, least and most in brackets; differences and ratios are medians of those within each round.\n\n",
        options.rounds, options.common.proxy_core, options.common.load_core,
    );
    out.push_str(&report::facts([version].into_iter())?);
    writeln!(
        out,
        "\nA find of {} bytes (OP_MSG, with session and call site) and its reply of as many, {} clients that ask again when they are answered, {} s:\n",
        wire::SMALL,
        options.connections,
        options.duration.as_secs(),
    )?;
    out.push_str("| Proxy | CPU us per operation | operations/s | p50 us | p99 us |\n|---|---|---|---|---|\n");
    for kind in KINDS {
        let [median, late] = [0, 1].map(|index| {
            let latency = |sample: &Sample| sample.latency.and_then(|latency| latency.get(index).copied());
            spread(&results.small, kind, |sample| latency(sample).unwrap_or(f64::NAN))
        });
        writeln!(
            out,
            "| {} | {} | {:.0} | {:.0} | {:.0} |",
            kind.title(),
            cell(spread(&results.small, kind, Sample::cost)?, 2),
            spread(&results.small, kind, Sample::rate)?.median,
            median?.median,
            late?.median,
        )?;
    }
    let more = within(&results.small, |with, without| with.cost() - without.cost())?;
    writeln!(out, "\nStatistics cost {} us per operation; at most 4.", cell(more, 2))?;

    writeln!(
        out,
        "\nDocuments of 16 MB, {} clients with {} each, half of them finds, half inserts:\n",
        options.large_connections, options.documents,
    )?;
    out.push_str("| Proxy | CPU us per MiB | MiB/s |\n|---|---|---|\n");
    for kind in KINDS {
        writeln!(
            out,
            "| {} | {} | {} |",
            kind.title(),
            cell(spread(&results.large, kind, Sample::cost)?, 0),
            cell(spread(&results.large, kind, Sample::rate)?, 0),
        )?;
    }
    let rate = within(&results.large, |with, without| 100.0 * with.rate() / without.rate())?;
    let cost = within(&results.large, |with, without| with.cost() / without.cost())?;
    writeln!(
        out,
        "\nThroughput with statistics: {} % of that without; at least 80. Processor time: {} times as much.",
        cell(rate, 0),
        cell(cost, 2),
    )?;

    writeln!(out, "\n{} connections that have asked once and are idle, resident memory (`VmRSS`):\n", options.idle)?;
    out.push_str("| Proxy | empty | with idle connections | per connection | at most |\n|---|---|---|---|---|\n");
    for holding in &results.holdings {
        let mebibytes = |bytes| process::precise(bytes) / f64::from(1 << 20);
        let each = process::precise(holding.with_idle.saturating_sub(holding.empty)) / 1024.0 / f64::from(options.idle);
        writeln!(
            out,
            "| {} | {:.1} MiB | {:.1} MiB | {each:.1} KiB | {} |",
            holding.kind.title(),
            mebibytes(holding.empty),
            mebibytes(holding.with_idle),
            if holding.kind == Kind::Plain { "" } else { "32 KiB" },
        )?;
    }
    Ok(out)
}

fn cell(spread: Spread, digits: usize) -> String {
    format!("{:.digits$} ({:.digits$}-{:.digits$})", spread.median, spread.min, spread.max)
}

fn spread(samples: &[Sample], kind: Kind, value: impl Fn(&Sample) -> f64) -> anyhow::Result<Spread> {
    Spread::of(samples.iter().filter(|sample| sample.kind == kind).map(value)).context("no samples")
}

/// Of the one with statistics and the one without in each round.
fn within(samples: &[Sample], value: impl Fn(&Sample, &Sample) -> f64) -> anyhow::Result<Spread> {
    let of = |kind| samples.iter().filter(move |sample| sample.kind == kind);
    let pairs = of(Kind::Statistics).filter_map(|with| {
        let without = of(Kind::Plain).find(|without| without.round == with.round)?;
        Some(value(with, without))
    });
    Spread::of(pairs).context("no pairs")
}

/// All that was measured.
pub fn json(options: &Options, version: &str, results: &Results) -> anyhow::Result<Value> {
    let samples = |samples: &[Sample], unit: &str| -> Vec<Value> {
        let one = |sample: &Sample| json!({ "proxy": sample.kind.title(), "round": sample.round, unit: sample.units, "cpu_seconds": sample.cpu.as_secs_f64(), "seconds": sample.seconds, "latency_microseconds": sample.latency });
        samples.iter().map(one).collect()
    };
    let holdings: Vec<Value> = results
        .holdings
        .iter()
        .map(|holding| json!({ "proxy": holding.kind.title(), "empty_bytes": holding.empty, "with_idle_bytes": holding.with_idle }))
        .collect();
    Ok(json!({
        "machine": report::machine()?,
        "version": version,
        "small": samples(&results.small, "operations"),
        "large": samples(&results.large, "mebibytes"),
        "idle_connections": options.idle,
        "holdings": holdings,
    }))
}
