//! Rates of the last second, for dashboards and `fyke top`.
//!
//! All who ask within a second get the same reading: metrics are gathered once, however many watch.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use http::{Method, Response, StatusCode};
use serde_json::{Map, Value, json};
use tokio::time::MissedTickBehavior;

use super::{End, Outlet, Streams};
use crate::{
    admin::{body::Body, json as respond, pages, query},
    reload::proxy::Proxy,
    snapshot::Snapshot,
    telemetry::{HistogramReading, Metric, Reading, Registry, events::milliseconds, names, registry::FamilyReading},
};

/// How often.
const PERIOD: Duration = Duration::from_secs(1);
/// A reading is given to whoever asks for so long.
const FRESH: Duration = Duration::from_millis(900);
/// A rate over a longer time says nothing of now.
const STALE: Duration = Duration::from_secs(5);

const PARTS: [&str; 5] = ["listeners", "clusters", "endpoints", "filters", "workers"];

/// What rates are made of.
const READ: [&Metric; 38] = [
    &names::LISTENER_REQUESTS,
    &names::LISTENER_REQUESTS_ACTIVE,
    &names::LISTENER_REQUESTS_SHED,
    &names::LISTENER_REQUEST_DURATION,
    &names::LISTENER_CONNECTIONS,
    &names::LISTENER_CONNECTIONS_ACTIVE,
    &names::LISTENER_CONNECTIONS_REFUSED,
    &names::LISTENER_RECEIVED,
    &names::LISTENER_SENT,
    &names::CLUSTER_REQUESTS,
    &names::CLUSTER_REQUESTS_ACTIVE,
    &names::CLUSTER_REQUEST_DURATION,
    &names::CLUSTER_CONNECTIONS,
    &names::CLUSTER_CONNECTIONS_ACTIVE,
    &names::CLUSTER_CONNECTIONS_IDLE,
    &names::CLUSTER_PENDING,
    &names::CLUSTER_CONNECT_FAILURES,
    &names::CLUSTER_CONNECT_TIMEOUTS,
    &names::CLUSTER_OVERFLOWS,
    &names::CLUSTER_RETRIES,
    &names::CLUSTER_NO_ENDPOINT,
    &names::CLUSTER_SENT,
    &names::CLUSTER_RECEIVED,
    &names::FILTER_STREAMS,
    &names::FILTER_CALLS,
    &names::FILTER_CPU,
    &names::FILTER_TRAPS,
    &names::FILTER_INSTANCES,
    &names::FILTER_MEMORY,
    &names::FILTER_LOCAL_REPLIES,
    &names::FILTER_FAILED_STREAMS,
    &names::FILTER_CALLOUTS,
    &names::FILTER_BREAKER,
    &names::WORKER_CONNECTIONS_ACTIVE,
    &names::WORKER_STREAMS_ACTIVE,
    &names::WORKER_STREAMS,
    &names::WORKER_CPU,
    &names::WORKER_LOOP,
];

/// What was read last.
#[derive(Debug, Default)]
pub(in crate::admin) struct Rates {
    last: Mutex<Option<Sample>>,
}

/// Series by metric and first label, each with its other labels: there may be many of them.
type Series = HashMap<&'static str, HashMap<String, Vec<(Vec<String>, Reading)>>>;

#[derive(Debug)]
struct Sample {
    at: Instant,
    series: Series,
    /// The rates up to then, where there was one before.
    rates: Option<Value>,
}

impl Rates {
    /// The rates of about the last second. `None`: nobody has asked before, so there is nothing to compare with; ask again after
    /// [`PERIOD`].
    fn now(&self, registry: &Registry, snapshot: &Snapshot) -> Option<Value> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = &*last
            && last.at.elapsed() < FRESH
        {
            return last.rates.clone();
        }
        let at = Instant::now();
        let families = registry.gather_only(|metric| READ.iter().any(|read| read.name == metric.name));
        let now = series(families);
        let before = last.take().filter(|before| before.at.elapsed() < STALE);
        let rates = before.map(|before| {
            let seconds = at.saturating_duration_since(before.at).as_secs_f64();
            Difference { now: &now, before: &before.series, seconds }.all(snapshot)
        });
        *last = Some(Sample { at, series: now, rates: rates.clone() });
        rates
    }

    async fn soon(&self, proxy: &Proxy) -> Value {
        loop {
            if let Some(rates) = self.now(proxy.registry(), &proxy.snapshot()) {
                return rates;
            }
            tokio::time::sleep(PERIOD).await;
        }
    }
}

fn series(families: Vec<FamilyReading>) -> Series {
    let mut all = Series::new();
    for family in families {
        let by_first = all.entry(family.metric.name).or_default();
        for (mut labels, reading) in family.series {
            if !labels.is_empty() {
                let first = labels.remove(0);
                by_first.entry(first).or_default().push((labels, reading));
            }
        }
    }
    all
}

/// Two readings.
struct Difference<'a> {
    now: &'a Series,
    before: &'a Series,
    seconds: f64,
}

impl Difference<'_> {
    fn all(&self, snapshot: &Snapshot) -> Value {
        let listeners =
            snapshot.config.listeners.iter().map(|listener| (listener.name.clone(), self.listener(&listener.name)));
        let clusters = snapshot.clusters.iter().map(|(name, cluster)| {
            let mut rates = self.cluster(name);
            let membership = cluster.membership();
            let healthy = membership.endpoints.iter().filter(|endpoint| endpoint.status.is_usable()).count();
            put(&mut rates, [("endpoints", json!(membership.endpoints.len())), ("usable", json!(healthy))]);
            (name.clone(), rates)
        });
        let filters = snapshot.config.filters.keys().map(|name| (name.clone(), self.filter(name, snapshot)));
        let workers = (0..snapshot.config.workers).map(|number| (number.to_string(), self.worker(&number.to_string())));
        json!({
            "at": milliseconds(SystemTime::now()),
            "seconds": self.seconds,
            "listeners": listeners.collect::<Map<_, _>>(),
            "clusters": clusters.collect::<Map<_, _>>(),
            "endpoints": pages::endpoints(snapshot, |_| true),
            "filters": filters.collect::<Map<_, _>>(),
            "workers": workers.collect::<Map<_, _>>(),
        })
    }

    fn listener(&self, name: &str) -> Value {
        let durations = self.histogram(&names::LISTENER_REQUEST_DURATION, name);
        let mut value = json!({
            "requests": self.rate(&names::LISTENER_REQUESTS, name, |_| true),
            "errors": self.rate(&names::LISTENER_REQUESTS, name, |class| matches!(class, "5xx" | "reset")),
            "active": self.state(&names::LISTENER_REQUESTS_ACTIVE, name),
            "connections": self.state(&names::LISTENER_CONNECTIONS_ACTIVE, name),
            "accepted": self.rate(&names::LISTENER_CONNECTIONS, name, |_| true),
            "refused": self.rate(&names::LISTENER_CONNECTIONS_REFUSED, name, |_| true),
            "shed": self.rate(&names::LISTENER_REQUESTS_SHED, name, |_| true),
            "received_bytes": self.rate(&names::LISTENER_RECEIVED, name, |_| true),
            "sent_bytes": self.rate(&names::LISTENER_SENT, name, |_| true),
        });
        put(&mut value, quantiles(durations));
        value
    }

    fn cluster(&self, name: &str) -> Value {
        let durations = self.histogram(&names::CLUSTER_REQUEST_DURATION, name);
        let failed = |class: &str| matches!(class, "5xx" | "reset" | "timeout" | "unreachable");
        let connect = self.rate(&names::CLUSTER_CONNECT_FAILURES, name, |_| true)
            + self.rate(&names::CLUSTER_CONNECT_TIMEOUTS, name, |_| true);
        let mut value = json!({
            "requests": self.rate(&names::CLUSTER_REQUESTS, name, |_| true),
            "errors": self.rate(&names::CLUSTER_REQUESTS, name, failed) + self.rate(&names::CLUSTER_NO_ENDPOINT, name, |_| true),
            "active": self.state(&names::CLUSTER_REQUESTS_ACTIVE, name),
            "pending": self.state(&names::CLUSTER_PENDING, name),
            "retries": self.rate(&names::CLUSTER_RETRIES, name, |_| true),
            "overflows": self.rate(&names::CLUSTER_OVERFLOWS, name, |_| true),
            "connections": self.state(&names::CLUSTER_CONNECTIONS_ACTIVE, name),
            "idle": self.state(&names::CLUSTER_CONNECTIONS_IDLE, name),
            "opened": self.rate(&names::CLUSTER_CONNECTIONS, name, |_| true),
            "connect_failures": connect,
            "received_bytes": self.rate(&names::CLUSTER_RECEIVED, name, |_| true),
            "sent_bytes": self.rate(&names::CLUSTER_SENT, name, |_| true),
        });
        put(&mut value, quantiles(durations));
        value
    }

    fn filter(&self, name: &str, snapshot: &Snapshot) -> Value {
        // Instances belong to VMs, which are named after their filter unless several share one.
        let shared = snapshot.config.filters.get(name).and_then(|filter| filter.vm.as_deref());
        let vm = shared.unwrap_or(name);
        let times = self.histogram(&names::FILTER_CPU, name);
        let mut value = json!({
            "streams": self.rate(&names::FILTER_STREAMS, name, |_| true),
            "calls": self.rate(&names::FILTER_CALLS, name, |_| true),
            "replies": self.rate(&names::FILTER_LOCAL_REPLIES, name, |_| true),
            "failed": self.rate(&names::FILTER_FAILED_STREAMS, name, |_| true),
            "traps": self.rate(&names::FILTER_TRAPS, vm, |_| true),
            "callouts": self.rate(&names::FILTER_CALLOUTS, vm, |_| true),
            "instances": self.state(&names::FILTER_INSTANCES, vm),
            "memory_bytes": self.state(&names::FILTER_MEMORY, vm),
            "breaker_open": self.state(&names::FILTER_BREAKER, vm),
        });
        put(&mut value, quantiles(times));
        value
    }

    fn worker(&self, number: &str) -> Value {
        let mut value = json!({
            "streams": self.rate(&names::WORKER_STREAMS, number, |_| true),
            "active": self.state(&names::WORKER_STREAMS_ACTIVE, number),
            "connections": self.state(&names::WORKER_CONNECTIONS_ACTIVE, number),
            // Counted in nanoseconds.
            "cpu": self.rate(&names::WORKER_CPU, number, |_| true) / 1e9,
        });
        put(&mut value, quantiles(self.histogram(&names::WORKER_LOOP, number)));
        value
    }

    /// How fast all series of a metric rise whose first label is this one.
    #[expect(clippy::cast_precision_loss, reason = "a rate is a float")]
    fn rate(&self, metric: &Metric, first: &str, second: impl Fn(&str) -> bool) -> f64 {
        // A series that was not there has begun from nothing.
        let count = |reading: Option<&Reading>| match reading {
            Some(Reading::Counter(count) | Reading::Time(count)) => *count,
            _ => 0,
        };
        let risen: u64 = self
            .of(metric, first)
            .iter()
            .filter(|(labels, _)| labels.first().is_none_or(|label| second(label)))
            .map(|(labels, now)| count(Some(now)).saturating_sub(count(self.past(metric, first, labels))))
            .sum();
        if self.seconds > 0.0 { risen as f64 / self.seconds } else { 0.0 }
    }

    fn state(&self, metric: &Metric, first: &str) -> i64 {
        let value = |reading: &Reading| if let Reading::Gauge(value) = reading { *value } else { 0 };
        self.of(metric, first).iter().map(|(_, reading)| value(reading)).sum()
    }

    fn histogram(&self, metric: &Metric, first: &str) -> Option<HistogramReading> {
        let (labels, Reading::Histogram(now)) = self.of(metric, first).first()? else { return None };
        match self.past(metric, first, labels) {
            Some(Reading::Histogram(before)) => Some(now.since(before)),
            _ => Some(now.clone()),
        }
    }

    fn of(&self, metric: &Metric, first: &str) -> &[(Vec<String>, Reading)] {
        self.now.get(metric.name).and_then(|family| family.get(first)).map_or(&[], Vec::as_slice)
    }

    fn past(&self, metric: &Metric, first: &str, labels: &[String]) -> Option<&Reading> {
        let series = self.before.get(metric.name)?.get(first)?;
        series.iter().find(|(known, _)| known == labels).map(|(_, reading)| reading)
    }
}

fn quantiles(of: Option<HistogramReading>) -> [(&'static str, Value); 3] {
    let quantile =
        |quantile| of.as_ref().and_then(|reading| reading.quantile(quantile)).map_or(Value::Null, Value::from);
    [("p50", quantile(0.5)), ("p90", quantile(0.9)), ("p99", quantile(0.99))]
}

fn put<const N: usize>(value: &mut Value, more: [(&str, Value); N]) {
    if let Some(fields) = value.as_object_mut() {
        fields.extend(more.map(|(key, value)| (key.to_owned(), value)));
    }
}

/// What somebody wants to see.
struct Wish {
    once: bool,
    /// Empty: all.
    parts: Vec<&'static str>,
}

impl Wish {
    fn read(query: &str) -> Result<Self, String> {
        let mut wish = Self { once: false, parts: Vec::new() };
        for (key, value) in query::pairs(query)? {
            match (key.as_str(), value.as_str()) {
                ("format", "json") => wish.once = true,
                ("format", "sse") => wish.once = false,
                ("format", _) => return Err("`format` is sse or json".to_owned()),
                ("part", parts) => {
                    for part in parts.split(',').filter(|part| !part.is_empty()) {
                        let known = PARTS.iter().find(|known| **known == part);
                        let help =
                            || format!("there is no part `{part}`; {}", crate::config::suggest::help(part, &PARTS));
                        wish.parts.push(known.ok_or_else(help)?);
                    }
                }
                (key, _) => return Err(query::unknown(key, &["format", "part"])),
            }
        }
        Ok(wish)
    }

    fn of(&self, mut rates: Value) -> Value {
        if let Some(fields) = rates.as_object_mut().filter(|_| !self.parts.is_empty()) {
            fields.retain(|key, _| !PARTS.contains(&key.as_str()) || self.parts.contains(&key.as_str()));
        }
        rates
    }
}

/// `/v1/live`
pub(in crate::admin) async fn answer(
    streams: &Streams,
    admin: &std::sync::Arc<crate::admin::Admin>,
    method: &Method,
    query: &str,
) -> Response<Body> {
    let wish = match Wish::read(query) {
        Ok(wish) => wish,
        Err(error) => return respond(StatusCode::BAD_REQUEST, &json!({ "error": error })),
    };
    if wish.once {
        return respond(StatusCode::OK, &wish.of(streams.rates().soon(&admin.keeper.proxy).await));
    }
    let admin = std::sync::Arc::clone(admin);
    streams.begin(method, "live", move |outlet| async move { tell(outlet, &admin, wish).await })
}

async fn tell(mut outlet: Outlet, admin: &crate::admin::Admin, wish: Wish) -> Result<(), End> {
    let proxy = &admin.keeper.proxy;
    let mut timer = tokio::time::interval(PERIOD);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    outlet.comment("rates of the last second").await?;
    loop {
        outlet.wait(timer.tick()).await?;
        if let Some(rates) = admin.streams.rates().now(proxy.registry(), &proxy.snapshot()) {
            outlet.event("rates", None, &wish.of(rates)).await?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_differences_over_time() {
        let registry = Registry::new();
        let count = |class| registry.counter(&names::LISTENER_REQUESTS, &[("listener", "web"), ("class", class)]);
        let (good, bad) = (count("2xx"), count("5xx"));
        let duration = registry.histogram(&names::LISTENER_REQUEST_DURATION, &[("listener", "web")]);
        let active = registry.gauge(&names::LISTENER_REQUESTS_ACTIVE, &[("listener", "web")]);
        good.add(100);
        duration.observe(Duration::from_secs(10));
        let before = series(registry.gather());
        good.add(30);
        bad.add(10);
        active.set(3);
        duration.observe(Duration::from_millis(10));
        let other = registry.counter(&names::LISTENER_REQUESTS, &[("listener", "other"), ("class", "2xx")]);
        other.add(1000);
        let now = series(registry.gather());
        let rates = Difference { now: &now, before: &before, seconds: 2.0 }.listener("web");
        assert_eq!((&rates["requests"], &rates["errors"], &rates["active"]), (&json!(20.0), &json!(5.0), &json!(3)));
        let p99 = rates["p99"].as_f64().unwrap();
        assert!(p99 < 0.1, "what was before counts no more: {p99}");
        // What was not there before has begun from nothing; what is not there at all is nothing.
        let rates = Difference { now: &now, before: &before, seconds: 2.0 };
        assert_eq!(rates.listener("other")["requests"], 500.0);
        assert_eq!((&rates.listener("none")["requests"], &rates.listener("none")["p50"]), (&json!(0.0), &Value::Null));
    }

    #[test]
    fn parts_are_picked() {
        let wish = Wish::read("part=filters,workers&format=json").unwrap();
        let rates = wish.of(json!({ "at": 1, "listeners": {}, "filters": {}, "workers": {} }));
        assert_eq!(rates, json!({ "at": 1, "filters": {}, "workers": {} }));
        assert!(Wish::read("part=filter").is_err() && Wish::read("parts=filters").is_err());
    }
}
