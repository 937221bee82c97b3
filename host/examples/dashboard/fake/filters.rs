//! Filters of the pretended proxy.

use fyke::admin::dashboard::model::{
    Callout, Canary, Chart, FilterPage, FilterSummary, Frame, MetricKind, MetricRow, Panel, PanelPage, PanelSeries,
    Refusal, ServiceKind, Tally, Time, Trap, Unit, Version, VersionRole,
};

use super::{
    catalogue::{FILTERS, LISTENERS},
    views::provenance,
    world::World,
};

const HASH: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
const OLD: &str = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";

fn rate(world: &World, filter: &str) -> f64 {
    let having = LISTENERS.iter().filter(|listener| listener.chain.contains(&filter));
    having.filter_map(|it| world.services.get(&(ServiceKind::Listener, it.name))).map(|it| it.rate).sum()
}

fn traps(name: &str) -> u64 {
    if name == "billing" { 7 } else { 0 }
}

pub fn summaries(world: &World) -> Vec<FilterSummary> {
    FILTERS.iter().map(|it| summary(world, it)).collect()
}

fn summary(world: &World, (name, module, version, cpu, line): &(&'static str, &str, &str, f64, u32)) -> FilterSummary {
    let loaded = world.loaded.get(name).cloned().unwrap_or_default();
    let with = LISTENERS.iter().filter(|listener| listener.chain.contains(name));
    FilterSummary {
        name: (*name).to_owned(),
        module: loaded.module.unwrap_or_else(|| (*module).to_owned()),
        version: loaded.version.unwrap_or_else(|| (*version).to_owned()),
        provenance: provenance(*line, Some(world.now)),
        listeners: with.map(|listener| listener.name.to_owned()).collect(),
        rate: Some(rate(world, name)),
        errors: Some(if *name == "billing" { 0.000_2 } else { 0.0 }),
        instances: Some(8),
        memory: Some(8 * if *name == "billing" { 9_437_184 } else { 1_245_184 }),
        cpu_p99: Some(cpu * 6.0),
        traps: Some(traps(name)),
        breaker_open: false,
        canary: loaded.canary.map(|canary| canary.1),
        panels: declarations(name).len(),
    }
}

pub fn page(world: &World, name: &str) -> Option<FilterPage> {
    let filter = FILTERS.iter().find(|it| it.0 == name)?;
    let summary = summary(world, filter);
    let loaded = world.loaded.get(filter.0).cloned().unwrap_or_default();
    let share = loaded.canary.as_ref().map_or(0.0, |canary| canary.1);
    let now = world.now;
    let version = |role, version: &str, sha256: &str, generation, since, share: f64| Version {
        role,
        version: version.to_owned(),
        sha256: sha256.to_owned(),
        generation,
        since: Some(since),
        share,
        rate: summary.rate.map(|rate| rate * share),
        errors: summary.errors,
        instances: Some(8),
        memory: summary.memory,
        memory_limit: Some(64 << 20),
        cpu: Some([filter.3, filter.3 * 2.2, filter.3 * 6.0]),
        cpu_limit: Some(0.010),
        traps: Some(if role == VersionRole::Stable { traps(name) } else { 0 }),
    };
    let since = loaded.since.unwrap_or(world.generation_since);
    let mut versions = vec![version(VersionRole::Stable, &summary.version, HASH, 14, since, 1.0 - share)];
    if let Some((next, share, since, _)) = &loaded.canary {
        versions.push(version(VersionRole::Canary, next, OLD, world.generation, *since, *share));
    }
    if name == "billing" || loaded.version.is_some() {
        versions.push(version(VersionRole::Old, filter.2, OLD, 12, Time(now.0 - 29_000_000), 0.0));
    }
    let canary = loaded.canary.as_ref().map(|(next, share, since, streams)| {
        let streams = (streams + rate(world, name) * share * now.seconds_since(*since)) as u64;
        Canary {
            version: next.clone(),
            share: *share,
            since: Some(*since),
            min_streams: 100_000,
            canary: Tally { streams, errors: streams / 410, failed: 0, typical: Some(0.0094) },
            stable: Tally { streams: streams * 19, errors: streams * 19 / 395, failed: 0, typical: Some(0.0091) },
            rollback_on: ["traps rise above 1%", "errors rise by 5%", "latency rises by 20%"].map(str::to_owned).into(),
        }
    });
    Some(FilterPage {
        on_failure: "close: 503, or reset what has begun".to_owned(),
        isolation: "worker".to_owned(),
        abi: "Proxy-Wasm 0.2.1".to_owned(),
        callbacks: ["request_headers", "response_headers", "log"].map(str::to_owned).into(),
        grants: if name == "ext-authz" { vec!["clusters: authz".into()] } else { vec!["shared_data".into()] },
        versions,
        canary,
        changes: loaded.changes,
        traps: if name == "billing" { billing_traps(now) } else { Vec::new() },
        traps_by_reason: if name == "billing" {
            vec![("deadline".into(), 6), ("unreachable".into(), 1)]
        } else {
            Vec::new()
        },
        refusals: if name == "rate-limit" { vec![refusal(now)] } else { Vec::new() },
        callouts: callouts(world, name),
        metrics: metrics(world, name),
        metrics_left_out: if name == "billing" { 212 } else { 0 },
        configuration: configuration(name).to_owned(),
        summary,
    })
}

fn configuration(name: &str) -> &'static str {
    match name {
        "rate-limit" => {
            "{\n  \"policies\": [\n    { \"name\": \"per-user\", \"rate\": \"20/s\", \"burst\": 40, \"key\": \"header x-user\" },\n    { \"name\": \"per-address\", \"rate\": \"200/s\", \"burst\": 400 }\n  ]\n}"
        }
        "billing" => "{\n  \"meter\": \"requests\",\n  \"token\": \"***\"\n}",
        _ => "{}",
    }
}

fn billing_traps(now: Time) -> Vec<Trap> {
    let frame = |function: &str, place: &str| Frame { function: function.to_owned(), place: place.to_owned() };
    let backtrace = vec![
        frame("core::str::pattern::TwoWaySearcher::next", "0x01c3f2"),
        frame("billing::plan::Plan::parse", "0x00a91e"),
        frame("<billing::Meter as fyke_sdk::HttpFilter>::request_headers", "0x0041b7"),
        frame("proxy_on_request_headers", "0x000c44"),
    ];
    let one = |ago: u64, reason: &str, message: &str, worker| Trap {
        at: Time(now.0 / 60_000 * 60_000 - ago),
        reason: reason.to_owned(),
        message: message.to_owned(),
        phase: "request_headers".to_owned(),
        worker: Some(worker),
        version: "2.0.3".to_owned(),
        backtrace: backtrace.clone(),
    };
    vec![
        one(214_000, "deadline", "call took more than 10 ms of processor time", 3),
        one(1_022_000, "deadline", "call took more than 10 ms of processor time", 0),
        one(1_830_000, "unreachable", "panicked at src/plan.rs:88:14: called `Option::unwrap()` on a `None` value", 5),
    ]
}

fn refusal(now: Time) -> Refusal {
    Refusal {
        at: Time(now.0 / 60_000 * 60_000 - 5_400_000),
        origin: "proxy.yaml:79".to_owned(),
        path: "policies[0].rate".to_owned(),
        message: "expected a rate such as 20/s, found \"20/sec\"".to_owned(),
        help: Some("units of time are s, m and h".to_owned()),
    }
}

fn callouts(world: &World, name: &str) -> Vec<Callout> {
    if name != "ext-authz" {
        return Vec::new();
    }
    let rate = rate(world, name);
    let calls = world.services.get(&(ServiceKind::Cluster, "authz")).map_or(0, |it| it.requests as u64);
    vec![Callout { cluster: "authz".into(), rate: Some(rate), calls, failed: 12, p50: Some(0.0009), p99: Some(0.0061) }]
}

fn metrics(world: &World, name: &str) -> Vec<MetricRow> {
    let base = rate(world, name);
    let row = |name: &str, kind, labels: &[(&str, &str)], share: f64| MetricRow {
        name: name.to_owned(),
        kind,
        labels: labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        value: base * share * 39_000.0,
        rate: (kind == MetricKind::Counter).then_some(base * share),
        quantiles: (kind == MetricKind::Histogram).then_some((512.0, 8_192.0)),
    };
    match name {
        "rate-limit" => vec![
            row("rate_limit_decisions", MetricKind::Counter, &[("policy", "per-user"), ("decision", "ok")], 0.72),
            row(
                "rate_limit_decisions",
                MetricKind::Counter,
                &[("policy", "per-user"), ("decision", "over_limit")],
                0.018,
            ),
            row("rate_limit_decisions", MetricKind::Counter, &[("policy", "per-address"), ("decision", "ok")], 0.26),
            row("rate_limit_keys", MetricKind::Gauge, &[], 0.000_2),
        ],
        "billing" => vec![
            row("billing_units", MetricKind::Counter, &[("plan", "pro"), ("meter", "requests")], 0.5),
            row("billing_units", MetricKind::Counter, &[("plan", "free"), ("meter", "requests")], 0.3),
            row("billing_body_bytes", MetricKind::Histogram, &[("plan", "pro")], 0.1),
        ],
        _ => Vec::new(),
    }
}

fn declaration(title: &str, metric: &str, labels: &[&str], chart: Chart, unit: Unit, description: &str) -> Panel {
    Panel {
        title: title.to_owned(),
        metric: metric.to_owned(),
        labels: labels.iter().map(|label| (*label).to_owned()).collect(),
        chart,
        unit,
        description: description.to_owned(),
        kind: if metric.contains("bytes") { MetricKind::Histogram } else { MetricKind::Counter },
        percentile: 50,
        ..Panel::default()
    }
}

fn declarations(name: &str) -> Vec<Panel> {
    match name {
        "rate-limit" => vec![
            declaration(
                "Decisions",
                "rate_limit_decisions",
                &["decision"],
                Chart::Line,
                Unit::PerSecond,
                "What became of requests.",
            ),
            declaration("By policy", "rate_limit_decisions", &["policy"], Chart::Stacked, Unit::PerSecond, ""),
            declaration(
                "Over limit now",
                "rate_limit_decisions",
                &["policy"],
                Chart::Top,
                Unit::PerSecond,
                "Who is refused.",
            ),
            declaration("Keys", "rate_limit_keys", &[], Chart::Number, Unit::Number, "Buckets in memory."),
        ],
        "billing" => vec![
            declaration(
                "Units by plan",
                "billing_units",
                &["plan"],
                Chart::Stacked,
                Unit::PerSecond,
                "What is billed.",
            ),
            declaration(
                "Body size",
                "billing_body_bytes",
                &["plan"],
                Chart::Table,
                Unit::Bytes,
                "Median of the last minutes.",
            ),
            declaration("Export lag", "billing_export_lag", &[], Chart::Number, Unit::Seconds, ""),
            declaration("Share of the free plan", "billing_free_share", &[], Chart::Line, Unit::Share, ""),
            declaration(
                "Rejected exports",
                "billing_export_rejected",
                &[],
                Chart::Line,
                Unit::PerSecond,
                "Nothing yet.",
            ),
        ],
        _ => Vec::new(),
    }
}

pub fn panels(world: &World, name: &str) -> Option<PanelPage> {
    let filter = FILTERS.iter().find(|it| it.0 == name)?;
    let declarations = declarations(name);
    if declarations.is_empty() {
        return None;
    }
    let trend = world.history.trend_of_all(ServiceKind::Listener, 240);
    let panels = declarations.into_iter().map(|declaration| {
        let parts: &[(&str, f64)] = match (declaration.metric.as_str(), declaration.labels.first().map(String::as_str))
        {
            ("rate_limit_decisions", Some("decision")) => &[("ok", 0.98), ("over_limit", 0.018), ("shadowed", 0.06)],
            ("rate_limit_decisions", _) => &[("per-user", 0.72), ("per-address", 0.26), ("per-tenant", 0.11)],
            ("billing_units", _) => &[("pro", 0.5), ("free", 0.3), ("enterprise", 0.2)],
            ("billing_body_bytes", _) => &[("pro", 18.0), ("free", 3.0), ("enterprise", 41.0)],
            ("billing_export_rejected", _) => &[],
            ("billing_free_share", _) => &[("", 0.000_31)],
            ("billing_export_lag", _) => &[("", 0.004)],
            _ => &[("", 31.0)],
        };
        let each = parts.iter().map(|(name, share)| {
            let values: Vec<Option<f64>> = trend.rate.iter().map(|rate| rate.map(|rate| rate * share)).collect();
            let now = values.last().copied().flatten();
            PanelSeries {
                name: (*name).to_owned(),
                labels: declaration.labels.iter().map(|_| (*name).to_owned()).collect(),
                now,
                total: now.map(|now| now * 3_600.0),
                quantiles: now.map(|now| [now, now * 2.0, now * 5.0]),
                values,
            }
        });
        let series: Vec<PanelSeries> = each.collect();
        let sum = Some(series.iter().filter_map(|one| one.now).sum());
        Panel { series, sum, start: trend.start, step: trend.step, ..declaration }
    });
    Some(PanelPage { filter: filter.0.to_owned(), panels: panels.collect() })
}
