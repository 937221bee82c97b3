//! What moves: counters, histograms, health, events.

use std::collections::{BTreeMap, VecDeque};

use fyke::admin::dashboard::{
    history::{History, STEP, STEPS, ServiceReading},
    model::{Event, EventKind, Reload, ServiceKind, Severity, Subject, TapEntry, Time},
};

use super::{
    catalogue::{CLUSTERS, LISTENERS, ROUTES},
    facts, requests,
};

const EVENTS: usize = 1_000;
const TAPPED: usize = 2_000;
/// A failed check needs so long to be noticed.
const NOTICED: u64 = 900;

/// Counters of a service.
#[derive(Default, Clone)]
pub struct Counters {
    pub requests: f64,
    pub failures: f64,
    pub buckets: Vec<u64>,
    pub rate: f64,
}

/// An endpoint.
pub struct Endpoint {
    pub address: String,
    pub zone: &'static str,
    pub weight: u32,
    pub since: Time,
    pub dead: Option<Time>,
    pub is_down: bool,
    pub degraded: bool,
    pub drained: bool,
    pub requests: f64,
    pub errors: [f64; 4],
    pub rate: f64,
    pub pace: f64,
}

/// What is loaded of a filter, beside what the catalogue says.
#[derive(Default, Clone)]
pub struct Loaded {
    pub version: Option<String>,
    pub module: Option<String>,
    pub since: Option<Time>,
    pub canary: Option<(String, f64, Time, f64)>,
    pub changes: Vec<String>,
}

pub struct World {
    pub started: Time,
    pub now: Time,
    pub generation: u64,
    pub generation_since: Time,
    pub history: History,
    pub bounds: Vec<f64>,
    pub services: BTreeMap<(ServiceKind, &'static str), Counters>,
    pub endpoints: BTreeMap<&'static str, Vec<Endpoint>>,
    pub loaded: BTreeMap<&'static str, Loaded>,
    pub events: VecDeque<Event>,
    pub reloads: Vec<Reload>,
    pub tapped: VecDeque<TapEntry>,
    pub extra: BTreeMap<&'static str, f64>,
    pub next_id: u64,
    seed: u64,
}

impl World {
    pub fn new(now: Time) -> Self {
        let decade = [1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0];
        let bounds: Vec<f64> = (-5..3).flat_map(|power| decade.map(|one| one * 10_f64.powi(power))).take(71).collect();
        let began = Time(now.0 - STEP * STEPS as u64);
        let mut world = Self {
            started: Time(now.0 - 11 * 3_600_000 - 1_260_000),
            now: began,
            generation: 17,
            generation_since: Time(now.0 - 1_930_000),
            history: History::new(&bounds),
            services: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            loaded: BTreeMap::new(),
            events: VecDeque::new(),
            reloads: facts::reloads(now),
            tapped: VecDeque::new(),
            extra: BTreeMap::new(),
            next_id: 4_000,
            seed: 0x9e37_79b9_7f4a_7c15,
            bounds,
        };
        world.populate(now);
        for step in 1..=STEPS as u64 {
            // A pause of the host, to see a gap.
            if (300..312).contains(&step) {
                continue;
            }
            world.step(Time(began.0 + step * STEP));
        }
        facts::past(&mut world, now);
        world
    }

    fn populate(&mut self, now: Time) {
        for listener in &LISTENERS {
            self.services.insert((ServiceKind::Listener, listener.name), Counters::default());
        }
        for cluster in &CLUSTERS {
            self.services.insert((ServiceKind::Cluster, cluster.name), Counters::default());
            let mut all = Vec::new();
            for number in 0..cluster.endpoints {
                let is = |name, place| cluster.name == name && number == place;
                let dead = is("payments", 2).then_some(Time(now.0 - 754_000));
                let age = if is("catalog", 5) { 212_000 } else { 3_600_000 * (4 + u64::from(number)) };
                all.push(Endpoint {
                    address: format!("{}.{}:{}", cluster.net, 11 + number, cluster.port),
                    zone: ["eu-1a", "eu-1b", "eu-1c"].get(number as usize % 3).copied().unwrap_or_default(),
                    weight: if is("users", 5) { 50 } else { 100 },
                    since: dead.unwrap_or(Time(now.0 - age)),
                    dead,
                    is_down: dead.is_some(),
                    degraded: is("search", 3),
                    drained: is("catalog", 5),
                    requests: 0.0,
                    errors: [0.0; 4],
                    rate: 0.0,
                    pace: 0.8 + self.random() * 0.5,
                });
            }
            self.endpoints.insert(cluster.name, all);
        }
        let canary = ("1.5.0-rc.2".to_owned(), 0.05, Time(now.0 - 1_930_000), 61_200.0);
        let changes = vec!["canary 1.5.0-rc.2 on 5%, by admin (127.0.0.1)".to_owned()];
        self.loaded.insert("rate-limit", Loaded { canary: Some(canary), changes, ..Loaded::default() });
    }

    /// From 0 to 1, the same every time.
    pub fn random(&mut self) -> f64 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        (self.seed >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub fn advance(&mut self, now: Time) {
        self.step(now);
        requests::record(self);
        if self.tapped.len() > TAPPED {
            self.tapped.drain(..self.tapped.len() - TAPPED);
        }
        self.notice();
    }

    fn step(&mut self, now: Time) {
        let seconds = now.seconds_since(self.now).min(60.0);
        self.now = now;
        let minutes = now.0 as f64 / 60_000.0;
        let mut by_cluster: BTreeMap<&str, f64> = self.extra.iter().map(|(name, rate)| (*name, *rate)).collect();
        for listener in &LISTENERS {
            let base = if listener.name == "edge" { 840.0 } else { 118.0 };
            let wave = 1.0 + 0.22 * (minutes / 23.0).sin() + 0.07 * (minutes / 3.1).sin();
            let rate = base * wave * (0.95 + 0.1 * self.random());
            for (_, _, _, cluster, share) in ROUTES.iter().filter(|route| route.1 == listener.name) {
                *by_cluster.entry(cluster).or_default() += rate * share;
            }
            let trouble = if self.is_incident(now) { 0.021 } else { 0.0024 };
            self.count(ServiceKind::Listener, listener.name, rate, seconds, 0.0091, trouble);
            if listener.name == "edge" {
                *by_cluster.entry("authz").or_default() += rate;
            }
        }
        for cluster in &CLUSTERS {
            let rate = by_cluster.get(cluster.name).copied().unwrap_or(0.0);
            let incident = cluster.name == "payments" && self.is_incident(now);
            let errors = if incident { 0.23 } else { cluster.errors };
            let latency = if incident { cluster.latency * 2.6 } else { cluster.latency };
            self.count(ServiceKind::Cluster, cluster.name, rate, seconds, latency, errors);
            self.share_out(cluster.name, rate, seconds, errors);
        }
        let readings: Vec<ServiceReading<'_>> = self
            .services
            .iter()
            .map(|((kind, name), counters)| ServiceReading {
                kind: *kind,
                name,
                requests: counters.requests as u64,
                failures: counters.failures as u64,
                buckets: &counters.buckets,
            })
            .collect();
        self.history.sample(now, &readings);
    }

    /// Ten minutes of trouble, some time ago.
    fn is_incident(&self, now: Time) -> bool {
        let ago = self.generation_since.0.saturating_sub(now.0);
        now < self.generation_since && ago < 420_000
    }

    fn count(&mut self, kind: ServiceKind, name: &'static str, rate: f64, seconds: f64, latency: f64, errors: f64) {
        let requests = rate * seconds;
        let draws = if requests > 0.0 { requests.clamp(1.0, 400.0) as u64 } else { 0 };
        let mut buckets = vec![0; self.bounds.len() + 1];
        for _ in 0..draws {
            // A long tail.
            let slow = if self.random() < 0.02 { 4.0 + 6.0 * self.random() } else { 1.0 };
            let took = latency * slow * (0.45 + self.random() + 0.9 * self.random().powi(3));
            if let Some(bucket) = buckets.get_mut(self.bounds.partition_point(|bound| *bound < took)) {
                *bucket += 1;
            }
        }
        let jitter = 0.7 + 0.6 * self.random();
        let Some(counters) = self.services.get_mut(&(kind, name)) else { return };
        counters.buckets.resize(buckets.len(), 0);
        let weight = if draws > 0 { requests / draws as f64 } else { 0.0 };
        for (total, held) in counters.buckets.iter_mut().zip(buckets) {
            *total += (held as f64 * weight).round() as u64;
        }
        counters.requests += requests;
        counters.failures += requests * errors * jitter;
        counters.rate = rate;
    }

    fn share_out(&mut self, cluster: &'static str, rate: f64, seconds: f64, errors: f64) {
        let mut all = self.endpoints.remove(cluster).unwrap_or_default();
        let share = |one: &Endpoint| if one.is_down || one.drained { 0.0 } else { f64::from(one.weight) / one.pace };
        let total: f64 = all.iter().map(share).sum();
        for one in &mut all {
            let mine = if total > 0.0 { rate * share(one) / total } else { 0.0 };
            one.rate = mine * (0.93 + 0.14 * self.random());
            one.requests += one.rate * seconds;
            let bad = one.rate * seconds * errors;
            one.errors[1] += bad * 0.2;
            one.errors[2] += bad * 0.1;
            one.errors[3] += bad * 0.7;
            if one.is_down {
                one.errors[0] += 0.02 * seconds;
            }
        }
        self.endpoints.insert(cluster, all);
    }

    /// Health checks notice what was killed a moment ago.
    fn notice(&mut self) {
        let now = self.now;
        let mut news = Vec::new();
        for (cluster, all) in &mut self.endpoints {
            for one in all.iter_mut() {
                let is_down = one.dead.is_some_and(|since| now.0.saturating_sub(since.0) >= NOTICED);
                if is_down != one.is_down {
                    one.is_down = is_down;
                    one.since = now;
                    news.push(((*cluster).to_owned(), one.address.clone(), is_down));
                }
            }
        }
        for (cluster, address, is_down) in news {
            let subject = Subject::Endpoint { cluster: cluster.clone(), address };
            let (severity, text) = if is_down {
                (Severity::Warning, format!("became unhealthy in {cluster}: connection refused (os error 111)"))
            } else {
                (Severity::Info, format!("became healthy in {cluster}"))
            };
            self.tell(now, EventKind::Health, severity, subject, text, String::new());
        }
    }

    pub fn tell(
        &mut self,
        at: Time,
        kind: EventKind,
        severity: Severity,
        subject: Subject,
        text: String,
        detail: String,
    ) {
        self.next_id += 1;
        self.events.push_back(Event { id: self.next_id, at, kind, severity, subject, text, detail });
        if self.events.len() > EVENTS {
            self.events.pop_front();
        }
    }

    pub fn endpoint(&mut self, cluster: &str, address: &str) -> Option<&mut Endpoint> {
        let all = self.endpoints.get_mut(cluster)?;
        all.iter_mut().find(|one| one.address == address)
    }

    pub fn kill(&mut self, cluster: &str, address: &str, dead: bool) -> bool {
        let now = self.now;
        self.endpoint(cluster, address).map(|one| one.dead = dead.then_some(now)).is_some()
    }

    pub fn traffic(&mut self, cluster: &str, rate: f64) -> bool {
        let known = CLUSTERS.iter().find(|one| one.name == cluster);
        known.map(|one| self.extra.insert(one.name, rate.clamp(0.0, 1e6))).is_some()
    }
}
