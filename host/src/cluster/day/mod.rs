//! A simulated day of a cluster: what load balancing, outlier ejection and retries are worth, alone and together.
//!
//! 50 endpoints, each with two workers and a queue, get an open-loop Poisson load whose rate follows the hours. All of
//! it is simulated time, from fixed seeds, so that every row of the table meets the same requests; an hour lasts 25
//! seconds, which changes nothing but the number of requests.
//! ```text
//! endpoints 0 to 4     five times as slow as the others, from 6 to 18 o'clock
//! endpoints 5 and 6    answer everything with 503 at once, from 9 to 15 o'clock
//! endpoint 7           good and bad in turn, ten seconds each, all day
//! ```
//! A request fails when it is answered with 503 or not within two seconds. Balancers, detector, retry policy and budget are those that
//! clusters use.
//!
//! The table: `cargo test -p fyke --lib a_bad_day -- --nocapture`

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, VecDeque},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use http::{HeaderMap, StatusCode};

use super::{
    balance::{Ewma, Health, Host, LeastRequest, Load, Local, PeakEwma, Plan, Policy, Request, Settings},
    breakers::{Breakers, RetryPermit},
    health::outlier,
};
use crate::{
    config::resolved::Thresholds,
    upstream::{
        RetryPolicy,
        retry::{Verdict, conditions},
    },
};

/// Microseconds since midnight.
type Time = u64;

const SECOND: Time = 1_000_000;
const HOUR: Time = 25 * SECOND;
const DAY: Time = 24 * HOUR;
const ENDPOINTS: usize = 50;
const WORKERS: usize = 2;
/// Mean of the exponentially distributed time that a worker takes.
const SERVICE: f64 = 0.1;
const TIMEOUT: Time = 2 * SECOND;
const DECAY: Duration = Duration::from_secs(10);

#[test]
fn a_bad_day_is_better_with_outlier_detection_and_retries() {
    println!(
        "{:<14} {:<8} {:<7} {:>9} {:>8} {:>9} {:>9}",
        "policy", "outliers", "retries", "requests", "errors", "p50", "p99"
    );
    let policies = [
        ("random", Policy::Random),
        ("round robin", Policy::RoundRobin),
        ("least request", Policy::LeastRequest(LeastRequest::default())),
        ("peak EWMA", Policy::PeakEwma(PeakEwma { decay: DECAY, ..PeakEwma::default() })),
    ];
    for (name, policy) in policies {
        let errors = [(false, false), (true, false), (false, true), (true, true)].map(|(outliers, retries)| {
            let detector: Box<dyn Detector> = if outliers { Box::new(Outliers::default()) } else { Box::new(Blind) };
            let retry: Box<dyn Retry> = if retries { Box::new(Budget::default()) } else { Box::new(Never) };
            let report = Day::new(policy, detector, retry).run();
            let word = |on: bool| if on { "on" } else { "off" };
            println!(
                "{name:<14} {:<8} {:<7} {:>9} {:>7.2}% {:>6} ms {:>6} ms",
                word(outliers),
                word(retries),
                report.requests,
                report.error_percent(),
                report.percentile(50) / 1000,
                report.percentile(99) / 1000,
            );
            report.error_percent()
        });
        let [neither, outliers, retries, both] = errors;
        assert!(outliers < neither && retries < neither && both < outliers.min(retries), "{name}: {errors:?}");
        assert!(both < neither / 3.0, "{name}: {errors:?}");
    }
}

/// Decides which endpoints are outliers.
trait Detector {
    /// An endpoint answered, or did not in time.
    fn observe(&mut self, endpoint: usize, outcome: Outcome, now: Time);
    /// Time for whatever happens periodically.
    fn tick(&mut self, now: Time);
    /// Whether an endpoint is ejected.
    fn is_ejected(&self, endpoint: usize) -> bool;
}

/// Decides whether a failed request is sent again.
trait Retry {
    /// A request starts.
    fn start(&mut self);
    /// Whether a request that failed `attempts` times goes out once more.
    fn allows(&mut self, attempts: u32) -> bool;
    /// A request that went out again has ended.
    fn end(&mut self, attempts: u32);
    /// A request has ended.
    fn finish(&mut self);
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Outcome {
    Success,
    Failure,
    Timeout,
}

struct Blind;

impl Detector for Blind {
    fn observe(&mut self, _: usize, _: Outcome, _: Time) {}
    fn tick(&mut self, _: Time) {}
    fn is_ejected(&self, _: usize) -> bool {
        false
    }
}

/// The detector that clusters use, on simulated time; hours are short here, so intervals and ejections are too.
struct Outliers {
    detector: outlier::Detector<usize>,
    hosts: Vec<Arc<outlier::HostOutlier>>,
    midnight: Instant,
    next: Time,
}

impl Outliers {
    const INTERVAL: Time = SECOND;

    fn at(&self, now: Time) -> Instant {
        self.midnight + Duration::from_micros(now)
    }
}

impl Default for Outliers {
    fn default() -> Self {
        let mut settings = outlier::Settings {
            interval: Duration::from_micros(Self::INTERVAL),
            base_ejection_time: Duration::from_secs(5),
            max_ejection_time: Duration::from_secs(50),
            ..outlier::Settings::default()
        };
        // Few requests fit into an hour that is short.
        settings.success_rate.request_volume = 5;
        let detector = outlier::Detector::new(settings, fastrand::Rng::with_seed(4));
        let hosts = (0..ENDPOINTS).map(|endpoint| detector.add(endpoint, 1)).collect();
        Self { detector, hosts, midnight: Instant::now(), next: Self::INTERVAL }
    }
}

impl Detector for Outliers {
    fn observe(&mut self, endpoint: usize, outcome: Outcome, now: Time) {
        let told = match outcome {
            Outcome::Success => outlier::Outcome::Success,
            Outcome::Failure => outlier::Outcome::of_status(503),
            Outcome::Timeout => outlier::Outcome::LocalOrigin(outlier::LocalOriginFailure::Timeout),
        };
        if let Some(detection) = self.hosts[endpoint].record(0, told) {
            self.detector.try_eject(&endpoint, detection, self.at(now));
        }
    }

    fn tick(&mut self, now: Time) {
        if now >= self.next {
            self.next = now + Self::INTERVAL;
            self.detector.sweep(self.at(now));
        }
    }

    fn is_ejected(&self, endpoint: usize) -> bool {
        self.hosts[endpoint].is_ejected()
    }
}

struct Never;

impl Retry for Never {
    fn start(&mut self) {}
    fn allows(&mut self, _: u32) -> bool {
        false
    }
    fn end(&mut self, _: u32) {}
    fn finish(&mut self) {}
}

/// One retry, within the budget that clusters have by default.
struct Budget {
    policy: RetryPolicy,
    breakers: Arc<Breakers>,
    permits: Vec<RetryPermit>,
}

impl Default for Budget {
    fn default() -> Self {
        let policy = serde_json::from_str(r#"{ "on": ["5xx"], "attempts": 1 }"#).unwrap();
        let breakers = Arc::new(Breakers::new(Thresholds { requests: u32::MAX, ..Thresholds::default() }));
        Self { policy, breakers, permits: Vec::new() }
    }
}

impl Retry for Budget {
    fn start(&mut self) {
        assert!(self.breakers.begin_request());
    }

    fn allows(&mut self, attempts: u32) -> bool {
        let (status, fields) = (StatusCode::SERVICE_UNAVAILABLE, HeaderMap::new());
        let verdict = conditions::of_answer(&self.policy, status, &fields, SystemTime::UNIX_EPOCH);
        if verdict == Verdict::Stands || attempts > self.policy.attempts {
            return false;
        }
        let permit = RetryPermit::of(&self.breakers);
        let allowed = permit.is_some();
        self.permits.extend(permit);
        allowed
    }

    fn end(&mut self, attempts: u32) {
        if attempts > 1 {
            self.permits.pop();
        }
    }

    fn finish(&mut self) {
        self.breakers.end_request();
    }
}

/// An attempt at an endpoint, waiting or served.
#[derive(Clone, Copy)]
struct Attempt {
    request: u64,
    number: u32,
}

#[derive(Default)]
struct Endpoint {
    busy: usize,
    queue: VecDeque<Attempt>,
    active: u32,
    latency: Option<Ewma>,
}

/// What is known of a request that has not ended.
struct Open {
    arrived: Time,
    sent: Time,
    attempts: u32,
    endpoint: usize,
}

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Event {
    Arrival,
    Done { endpoint: usize, request: u64, number: u32, bad: bool },
    Expired { request: u64, number: u32 },
    Tick,
}

struct Day {
    now: Time,
    /// Of its own, so that the same requests arrive whatever becomes of them.
    arrivals: fastrand::Rng,
    services: fastrand::Rng,
    events: BinaryHeap<Reverse<(Time, u64, Event)>>,
    sequence: u64,
    endpoints: Vec<Endpoint>,
    open: BTreeMap<u64, Open>,
    requests: u64,
    settings: Settings,
    hosts: Vec<Host>,
    plan: Plan,
    local: Local,
    detector: Box<dyn Detector>,
    retry: Box<dyn Retry>,
    report: Report,
}

#[derive(Default)]
struct Report {
    requests: u64,
    errors: u64,
    latencies: Vec<Time>,
}

/// The endpoints' load as a balancer sees it.
struct View<'a> {
    endpoints: &'a [Endpoint],
    now: Time,
}

impl Load for View<'_> {
    fn active(&self, host: usize) -> u32 {
        self.endpoints.get(host).map_or(0, |endpoint| endpoint.active)
    }

    fn latency(&self, host: usize) -> Option<f64> {
        let latency = self.endpoints.get(host)?.latency?;
        Some(latency.value(Duration::from_micros(self.now), DECAY))
    }
}

impl Day {
    fn new(policy: Policy, detector: Box<dyn Detector>, retry: Box<dyn Retry>) -> Self {
        let settings = Settings { policy, ..Settings::default() };
        let hosts: Vec<Host> = (0..ENDPOINTS)
            .map(|endpoint| Host { key: format!("10.0.0.{endpoint}:80"), weight: 1, ..Host::default() })
            .collect();
        Self {
            now: 0,
            arrivals: fastrand::Rng::with_seed(1),
            services: fastrand::Rng::with_seed(2),
            events: BinaryHeap::new(),
            sequence: 0,
            endpoints: (0..ENDPOINTS).map(|_| Endpoint::default()).collect(),
            open: BTreeMap::new(),
            requests: 0,
            plan: Plan::build(&settings, "", &[], &hosts),
            settings,
            hosts,
            local: Local::new(3),
            detector,
            retry,
            report: Report::default(),
        }
    }

    fn run(mut self) -> Report {
        self.schedule(0, Event::Arrival);
        self.schedule(SECOND / 10, Event::Tick);
        while let Some(Reverse((now, _, event))) = self.events.pop() {
            self.now = now;
            match event {
                Event::Arrival => self.arrive(),
                Event::Done { endpoint, request, number, bad } => self.done(endpoint, request, number, bad),
                Event::Expired { request, number } => self.expired(request, number),
                Event::Tick => {
                    self.detector.tick(now);
                    self.rebuild();
                    if now < DAY {
                        self.schedule(now + SECOND / 10, Event::Tick);
                    }
                }
            }
        }
        self.report
    }

    fn schedule(&mut self, at: Time, event: Event) {
        self.sequence += 1;
        self.events.push(Reverse((at, self.sequence, event)));
    }

    fn arrive(&mut self) {
        // From 200 to 600 requests a second, lowest at midnight.
        let hour = u32::try_from(self.now / HOUR).map_or(0.0, f64::from);
        let rate = 400.0 - 200.0 * (hour / 24.0 * std::f64::consts::TAU).cos();
        let wait = wait(1.0 / rate, &mut self.arrivals);
        if self.now + wait < DAY {
            self.schedule(self.now + wait, Event::Arrival);
        }
        self.requests += 1;
        self.retry.start();
        let open = Open { arrived: self.now, sent: self.now, attempts: 0, endpoint: 0 };
        self.open.insert(self.requests, open);
        self.send(self.requests, &[]);
    }

    fn send(&mut self, request: u64, avoid: &[usize]) {
        let view = View { endpoints: &self.endpoints, now: self.now };
        let asked = Request { avoid, now_ms: self.now / 1000, ..Request::default() };
        let detector = &self.detector;
        let usable = |host: usize| !detector.is_ejected(host);
        let Some(open) = self.open.get_mut(&request) else { return };
        let Ok(endpoint) = self.plan.pick(&asked, &mut self.local, &view, &usable) else { return };
        (open.sent, open.endpoint) = (self.now, endpoint);
        open.attempts += 1;
        let number = open.attempts;
        self.schedule(self.now + TIMEOUT, Event::Expired { request, number });
        let Some(place) = self.endpoints.get_mut(endpoint) else { return };
        place.active += 1;
        place.queue.push_back(Attempt { request, number });
        self.serve(endpoint);
    }

    /// Gives what waits at an endpoint to its free workers.
    fn serve(&mut self, endpoint: usize) {
        loop {
            let bad = is_bad(endpoint, self.now);
            let Some(place) = self.endpoints.get_mut(endpoint).filter(|place| place.busy < WORKERS) else { return };
            let Some(attempt) = place.queue.pop_front() else { return };
            // A caller that has given up closes its stream, and nobody works for it.
            if self.open.get(&attempt.request).is_none_or(|open| open.attempts != attempt.number) {
                continue;
            }
            place.busy += 1;
            let service = if bad { 0.001 } else { SERVICE * slowness(endpoint, self.now) };
            let at = self.now + wait(service, &mut self.services);
            self.schedule(at, Event::Done { endpoint, request: attempt.request, number: attempt.number, bad });
        }
    }

    fn done(&mut self, endpoint: usize, request: u64, number: u32, bad: bool) {
        if let Some(place) = self.endpoints.get_mut(endpoint) {
            place.busy -= 1;
        }
        if self.open.get(&request).is_some_and(|open| open.attempts == number) {
            self.conclude(request, if bad { Outcome::Failure } else { Outcome::Success });
        }
        self.serve(endpoint);
    }

    fn expired(&mut self, request: u64, number: u32) {
        if self.open.get(&request).is_some_and(|open| open.attempts == number) {
            self.conclude(request, Outcome::Timeout);
        }
    }

    /// An attempt has an outcome: tell the detector, then retry or end the request.
    fn conclude(&mut self, request: u64, outcome: Outcome) {
        let Some(open) = self.open.get(&request) else { return };
        let (endpoint, attempts, arrived) = (open.endpoint, open.attempts, open.arrived);
        let (latency, now) = (Duration::from_micros(self.now - open.sent), Duration::from_micros(self.now));
        if let Some(place) = self.endpoints.get_mut(endpoint) {
            place.active -= 1;
            place.latency = Some(place.latency.map_or(Ewma::new(latency, now), |old| old.observe(latency, now, DECAY)));
        }
        self.detector.observe(endpoint, outcome, self.now);
        self.rebuild();
        self.retry.end(attempts);
        if outcome == Outcome::Failure && self.retry.allows(attempts) {
            self.send(request, &[endpoint]);
            return;
        }
        self.open.remove(&request);
        self.retry.finish();
        self.report.requests += 1;
        if outcome == Outcome::Success {
            self.report.latencies.push(self.now - arrived);
        } else {
            self.report.errors += 1;
        }
    }

    /// Makes a new plan when the detector has changed its mind.
    fn rebuild(&mut self) {
        let mut changed = false;
        for (endpoint, host) in self.hosts.iter_mut().enumerate() {
            let health = if self.detector.is_ejected(endpoint) { Health::Unhealthy } else { Health::Healthy };
            changed |= host.health != health;
            host.health = health;
        }
        if changed {
            self.plan = Plan::build(&self.settings, "", &[], &self.hosts);
        }
    }
}

impl Report {
    fn error_percent(&self) -> f64 {
        let part = |count: u64| u32::try_from(count).map_or(0.0, f64::from);
        100.0 * part(self.errors) / part(self.requests.max(1))
    }

    /// Of the successful requests, in microseconds.
    fn percentile(&self, percent: usize) -> Time {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        sorted.get(sorted.len() * percent / 100).copied().unwrap_or(0)
    }
}

/// Time to the next of exponentially distributed events, `mean` seconds apart.
pub(super) fn wait(mean: f64, random: &mut fastrand::Rng) -> Time {
    let seconds = -mean * (1.0 - random.f64()).ln();
    u64::try_from(Duration::from_secs_f64(seconds).as_micros()).unwrap_or(0)
}

fn is_bad(endpoint: usize, now: Time) -> bool {
    match endpoint {
        5 | 6 => (9 * HOUR..15 * HOUR).contains(&now),
        7 => now / (10 * SECOND) % 2 == 1,
        _ => false,
    }
}

fn slowness(endpoint: usize, now: Time) -> f64 {
    if endpoint < 5 && (6 * HOUR..18 * HOUR).contains(&now) { 5.0 } else { 1.0 }
}
