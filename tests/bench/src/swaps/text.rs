//! How pairs of intervals are told.

use anyhow::Context as _;
use serde_json::{Value, json};

use super::{Interval, Options, Pair, Results, What};
use crate::{report, stats::Spread};

/// Tables for people.
pub fn markdown(options: &Options, cores: &str, version: &str, results: &Results) -> anyhow::Result<String> {
    let (done, column) = match options.what {
        What::Swaps => ("another build of a small filter takes over every 300 ms", "with swaps"),
        What::Compile => ("a module with much code is compiled and takes over, again and again", "while compiling"),
        What::Endpoints => {
            ("a control plane replaces 9,999 of the 10,000 endpoints of the cluster, every second", "with that")
        }
        What::Clusters => ("a control plane changes 2,000 other clusters, every second", "with that"),
        What::Scrape => ("all metrics are read every second, 100,000 series of a filter among them", "with that"),
        What::Control => ("a thread that is not the proxy's computes at niceness 15", "beside it"),
    };
    let mut out = format!(
        "Open loop of {:.0} requests/s ({:.0}% of the {:.0} that proxy, upstream and load reach together) over {} connections, latency counted from when a request was due; \
         two workers and one filter{} on cores {cores}. {} pairs of {} s each in alternating order: in one interval of each {done}, in the other nothing happens. \
         Medians over the pairs, least and most in brackets.\n\n",
        results.rate,
        100.0 * results.rate / results.saturation,
        results.saturation,
        options.connections,
        results.module.map_or_else(String::new, |bytes| format!(" ({} KB)", bytes / 1000)),
        options.rounds,
        options.duration.as_secs(),
    );
    out.push_str(&report::facts([version].into_iter())?);
    out.push_str(&format!(
        "\n| us | without | {column} | difference of the medians | at most |\n|---|---|---|---|---|\n"
    ));
    type Row = (&'static str, fn(&Interval) -> f64, &'static str);
    let rows: [Row; 5] = [
        ("p50", |interval| interval.seen.latency(500), ""),
        ("p99", |interval| interval.seen.latency(990), "1000"),
        ("p99.9", |interval| interval.seen.latency(999), ""),
        ("p99.9 of the workers' loops", |interval| interval.lag.unwrap_or(f64::NAN), "1000"),
        ("p99 of being sent late by the load itself", |interval| interval.seen.lateness(990), ""),
    ];
    for (name, value, limit) in rows {
        let (quiet, swaps) = results.spreads(value).context("no samples")?;
        if quiet.median.is_nan() || swaps.median.is_nan() {
            out.push_str(&format!("| {name} | not told by this binary | | | {limit} |\n"));
            continue;
        }
        let cell = |spread: Spread| format!("{:.0} ({:.0}-{:.0})", spread.median, spread.min, spread.max);
        let difference = swaps.median - quiet.median;
        out.push_str(&format!("| {name} | {} | {} | {difference:+.0} | {limit} |\n", cell(quiet), cell(swaps)));
    }
    out.push_str(&format!("\n| Pair | p99 us without | p99 us {column} | p99.9 us without | p99.9 us {column} | changes |\n|---|---|---|---|---|---|\n"));
    for (number, Pair { quiet, swaps }) in results.pairs.iter().enumerate() {
        out.push_str(&format!(
            "| {} | {:.0} | {:.0} | {:.0} | {:.0} | {} |\n",
            number + 1,
            quiet.seen.latency(990),
            swaps.seen.latency(990),
            quiet.seen.latency(999),
            swaps.seen.latency(999),
            swaps.reloads.len(),
        ));
    }
    let reloads = Spread::of(results.pairs.iter().flat_map(|pair| pair.swaps.reloads.iter().copied()));
    let change = match options.what {
        What::Endpoints | What::Clusters => "from being sent by the control plane to being acknowledged; under load",
        What::Scrape => "`GET /metrics`, to the last byte; under load",
        _ => "`POST /reload`: read, compile, configure, take over; under load",
    };
    let rollback = "`POST /rollback`: the same without reading and compiling; no load";
    let took = [(change, reloads), (rollback, Spread::of(results.rollbacks.iter().copied()))];
    if took.iter().any(|(_, took)| took.is_some()) {
        out.push_str("\n| ms, as the caller sees it | median | least | most |\n|---|---|---|---|\n");
    }
    for (name, took) in took {
        if let Some(Spread { median, min, max }) = took {
            out.push_str(&format!("| {name} | {median:.2} | {min:.2} | {max:.2} |\n"));
        }
    }
    Ok(out)
}

/// All that was measured.
pub fn json(what: &str, version: &str, results: &Results) -> anyhow::Result<Value> {
    let interval = |interval: &Interval| {
        let [p50, p90, p99, p999, max] = [500, 900, 990, 999, 1000].map(|per_mille| interval.seen.latency(per_mille));
        json!({
            "requests": interval.seen.count(),
            "requests_per_second": interval.seen.rate(),
            "latency_microseconds": { "p50": p50, "p90": p90, "p99": p99, "p99.9": p999, "max": max },
            "sent_late_microseconds": { "p99": interval.seen.lateness(990), "p99.9": interval.seen.lateness(999) },
            "worker_loop_microseconds": { "p99.9": interval.lag },
            "reload_milliseconds": interval.reloads,
        })
    };
    let pairs: Vec<_> = results
        .pairs
        .iter()
        .map(|pair| json!({ "quiet": interval(&pair.quiet), "swaps": interval(&pair.swaps) }))
        .collect();
    Ok(json!({
        "machine": report::machine()?,
        "what": what,
        "version": version,
        "saturation_requests_per_second": results.saturation,
        "requests_per_second": results.rate,
        "module_bytes": results.module,
        "rollback_milliseconds": results.rollbacks,
        "pairs": pairs,
    }))
}

impl Results {
    /// A value of the intervals without, and of those with.
    fn spreads(&self, value: impl Fn(&Interval) -> f64) -> Option<(Spread, Spread)> {
        let quiet = Spread::of(self.pairs.iter().map(|pair| value(&pair.quiet)))?;
        Some((quiet, Spread::of(self.pairs.iter().map(|pair| value(&pair.swaps)))?))
    }
}
