//! Requests, endpoints, and what happens to them.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, VecDeque},
    time::Duration,
};

use super::{
    DAY, DECAY, ENDPOINTS, HOUR, Report, SECOND, SERVICE, TIMEOUT, Time, WORKERS,
    retries::Retry,
    wait,
    watch::{Outcome, Watch},
};
use crate::cluster::balance::{Ewma, Health, Host, Load, Local, Plan, Policy, Request, Settings};

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
    attempts: u32,
    /// Attempts under way.
    live: Vec<Live>,
    /// Where it was sent.
    tried: Vec<usize>,
}

#[derive(Clone, Copy)]
struct Live {
    number: u32,
    endpoint: usize,
    sent: Time,
}

impl Open {
    fn live(&self, number: u32) -> Option<Live> {
        self.live.iter().find(|live| live.number == number).copied()
    }
}

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Event {
    Arrival,
    Done { endpoint: usize, request: u64, number: u32, bad: bool },
    Expired { request: u64, number: u32 },
    Late { request: u64, number: u32 },
    Tick,
}

pub(super) struct Day {
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
    watch: Watch,
    retry: Box<dyn Retry>,
    hedge: Option<Time>,
    report: Report,
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
    pub fn new(policy: Policy, watch: Watch, retry: Box<dyn Retry>, hedge: Option<Time>) -> Self {
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
            watch,
            retry,
            hedge,
            report: Report::default(),
        }
    }

    pub fn run(mut self) -> Report {
        self.schedule(0, Event::Arrival);
        self.schedule(SECOND / 10, Event::Tick);
        while let Some(Reverse((now, _, event))) = self.events.pop() {
            self.now = now;
            match event {
                Event::Arrival => self.arrive(),
                Event::Done { endpoint, request, number, bad } => self.done(endpoint, request, number, bad),
                Event::Expired { request, number } => self.conclude(request, number, Outcome::Timeout),
                Event::Late { request, number } => self.late(request, number),
                Event::Tick => {
                    self.watch.tick(now);
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
        let open = Open { arrived: self.now, attempts: 0, live: Vec::new(), tried: Vec::new() };
        self.open.insert(self.requests, open);
        self.send(self.requests);
    }

    fn send(&mut self, request: u64) {
        let view = View { endpoints: &self.endpoints, now: self.now };
        let Some(open) = self.open.get_mut(&request) else { return };
        let asked = Request { avoid: &open.tried, now_ms: self.now / 1000, ..Request::default() };
        let watch = &self.watch;
        let usable = |host: usize| !watch.is_out(host);
        let Ok(endpoint) = self.plan.pick(&asked, &mut self.local, &view, &usable) else { return };
        open.attempts += 1;
        let number = open.attempts;
        open.live.push(Live { number, endpoint, sent: self.now });
        open.tried.push(endpoint);
        self.schedule(self.now + TIMEOUT, Event::Expired { request, number });
        if let Some(hedge) = self.hedge {
            self.schedule(self.now + hedge, Event::Late { request, number });
        }
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
            if self.open.get(&attempt.request).is_none_or(|open| open.live(attempt.number).is_none()) {
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
        self.conclude(request, number, if bad { Outcome::Failure } else { Outcome::Success });
        self.serve(endpoint);
    }

    /// An attempt takes long: another one goes out beside it, within the budget, and whichever is there first counts.
    fn late(&mut self, request: u64, number: u32) {
        let attempts = self.open.get(&request).filter(|open| open.live(number).is_some()).map(|open| open.attempts);
        if attempts.is_some_and(|attempts| self.retry.allows(attempts)) {
            self.send(request);
        }
    }

    /// An attempt has an outcome: tell who watches, then try again or end the request.
    fn conclude(&mut self, request: u64, number: u32, outcome: Outcome) {
        let Some(open) = self.open.get_mut(&request) else { return };
        let Some(Live { endpoint, sent, .. }) = open.live(number) else { return };
        open.live.retain(|live| live.number != number);
        let (attempts, arrived, others) = (open.attempts, open.arrived, open.live.clone());
        let (latency, now) = (Duration::from_micros(self.now - sent), Duration::from_micros(self.now));
        if let Some(place) = self.endpoints.get_mut(endpoint) {
            place.active -= 1;
            place.latency = Some(place.latency.map_or(Ewma::new(latency, now), |old| old.observe(latency, now, DECAY)));
        }
        self.watch.observe(endpoint, outcome, self.now);
        self.rebuild();
        self.retry.end(number);
        if outcome == Outcome::Failure && self.retry.allows(attempts) {
            self.send(request);
            return;
        }
        if outcome != Outcome::Success && !others.is_empty() {
            return;
        }
        // Late answers are cancelled.
        for other in &others {
            self.retry.end(other.number);
            if let Some(place) = self.endpoints.get_mut(other.endpoint) {
                place.active -= 1;
            }
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
            let health = if self.watch.is_out(endpoint) { Health::Unhealthy } else { Health::Healthy };
            changed |= host.health != health;
            host.health = health;
        }
        if changed {
            self.plan = Plan::build(&self.settings, "", &[], &self.hosts);
        }
    }
}

/// Whether an endpoint answers everything with 503.
pub(super) fn is_bad(endpoint: usize, now: Time) -> bool {
    match endpoint {
        5 | 6 => (9 * HOUR..15 * HOUR).contains(&now),
        7 => now / (10 * SECOND) % 2 == 1,
        _ => false,
    }
}

fn slowness(endpoint: usize, now: Time) -> f64 {
    if endpoint < 5 && (6 * HOUR..18 * HOUR).contains(&now) { 5.0 } else { 1.0 }
}
