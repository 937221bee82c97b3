//! What becomes of requests while the service is ended, frozen, slow, or answers nothing but errors, under load.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use fyke_peers::RateLimitService;
use serde_json::{Value, json};

use super::{
    super::{
        outages::{LIMIT, SLACK, TIMEOUT, Through, counts, decides, recovered},
        pressure::{Answer, Pressure},
        two,
    },
    yaml,
};
use crate::support::{Proxy, Upstream, soon};

/// How long limits may stay uncounted once the service is back. Nothing but the machine should need that long.
const SOON: Duration = Duration::from_secs(10);
/// Two processes with two workers each, with one connection each; and as many again, for those that broke.
const CONNECTIONS: usize = 8;

/// What there is during an outage.
struct Stage<'a> {
    proxies: [&'a Proxy; 2],
    through: Through,
    /// Of clients whose requests are limited.
    pressure: Pressure,
    /// Of clients of the same workers, whose requests are not.
    free: Pressure,
}

impl Stage<'_> {
    /// One outage, which goes on while this runs.
    async fn outage(&self, what: &str) {
        let begun = Instant::now();
        decides(&self.pressure, self.through, what).await;
        // Whoever is not limited is in nobody's hands.
        let mut took: Vec<Duration> =
            self.free.all().iter().filter(|answer| answer.begun >= begun).map(|answer| answer.took).collect();
        took.sort_unstable();
        assert!(took.len() >= 20, "{what}: {} answers", took.len());
        assert!(took[took.len() / 2] < TIMEOUT / 2, "{what}: {took:?}");
    }

    /// The service is back.
    async fn over(&self, what: &str) {
        let begun = Instant::now();
        recovered(&self.pressure, &self.proxies).await;
        let took = begun.elapsed();
        assert!(took < SOON, "{what}: counted after {took:?}");
        counts(&self.pressure, &self.proxies, self.through).await;
    }
}

/// Where connections to a port begin that there are, or were a short while ago.
fn connections(port: u16) -> BTreeSet<String> {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let (end, connecting) = (format!(":{port:04X}"), "02");
    table
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace().skip(1);
            Some((words.next()?, words.next()?, words.next()?))
        })
        .filter(|(_, remote, state)| remote.ends_with(&end) && *state != connecting)
        .map(|(local, ..)| local.to_owned())
        .collect()
}

/// What a service was asked that has just begun: by few connections, once by each request, and by none that has its answer already.
fn no_herd(asked: &[Value], before: &[Answer]) {
    let first: Vec<&Value> = asked.iter().filter(|one| one["at"].as_f64().unwrap() < 1.0).collect();
    let peers: BTreeSet<&str> = first.iter().map(|one| one["peer"].as_str().unwrap()).collect();
    assert!(peers.len() <= CONNECTIONS, "{peers:?}");
    let mut numbers = BTreeSet::new();
    for one in asked {
        let number: usize = one["descriptors"][1]["entries"][0][1].as_str().unwrap().parse().unwrap();
        assert!(numbers.insert(number), "it was asked twice about {number}");
    }
    assert!(!numbers.is_empty());
    let late: Vec<&Answer> = before.iter().filter(|answer| numbers.contains(&answer.number)).collect();
    assert!(late.is_empty(), "nobody waits for these any more: {late:?}");
}

async fn outages(mode: &str, limit: &str, through: Through) {
    let settings = json!({ "limits": { "x-phase": [LIMIT, "DAY"] } });
    let Some(mut service) = RateLimitService::start(settings) else { return };
    // Somebody else may have listened at its port before.
    let others = connections(service.port);
    let upstream = Upstream::says("ok").await;
    let rules = format!(
        "{{ name: all, global: true, key: [{{ from: {{ request_header: x-phase }} }}]{limit} }}, \
         {{ name: number, global: true, key: [{{ from: {{ request_header: x-number }} }}] }}"
    );
    let global = format!("timeout: {}ms, failure_mode: {mode}", TIMEOUT.as_millis());
    let (one, other) = two(&yaml(&upstream, &service, &global, "", &rules)).await;
    let proxies = [&one, &other];
    let free = Pressure::on(&proxies.map(|proxy| proxy.listener("free")), 2);
    let stage = Stage { proxies, through, pressure: Pressure::begin(&proxies, 4), free };
    stage.over("at first").await;

    service.kill();
    stage.outage("killed").await;
    let before = stage.pressure.all();
    service.restart();
    stage.over("killed").await;
    no_herd(&service.asked(), &before);

    service.freeze();
    stage.outage("frozen").await;
    service.thaw();
    stage.over("frozen").await;

    service.say(&json!({ "delay": 20 }));
    stage.outage("slow").await;
    service.say(&json!({ "delay": 0 }));
    stage.over("slow").await;

    service.say(&json!({ "status": "UNAVAILABLE" }));
    stage.outage("unavailable").await;
    service.say(&json!({ "status": null }));
    stage.over("unavailable").await;

    let open = connections(service.port).difference(&others).count();
    assert!((1..=CONNECTIONS).contains(&open), "{open} connections");

    let free = soon("the end of the load", stage.free.end()).await;
    assert!(free.iter().all(|answer| answer.status == 200));
    let slowest = free.iter().map(|answer| answer.took).max().unwrap();
    let most = TIMEOUT + SLACK.max(slowest * 3);
    for answer in stage.pressure.end().await {
        assert!(answer.took <= most, "{answer:?}, and whoever is not limited waits for at most {slowest:?}");
    }
    for proxy in proxies {
        proxy.logged(&["the rate limit service cannot be asked"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_service_everything_passes_where_the_mode_is_open() {
    outages("open", "", Through::All).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_service_nothing_passes_where_the_mode_is_closed() {
    outages("closed", "", Through::None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_service_each_process_applies_the_limit_where_the_mode_is_local() {
    outages("local", ", limit: 20/d", Through::Part(LIMIT)).await;
}
