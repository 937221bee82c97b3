//! A simulated service with a skewed host: what weights from reports are worth beside counting requests.
//!
//! 24 proxies, each with a balancer of its own, send an open-loop Poisson load to 20 hosts of four servers each and a queue. One host is four times
//! as slow as the others, by which it can take 1.3% of the load. A proxy has few requests in flight, so what it counts by itself says little; what a
//! host says of itself is true for all of them. Weights, plans and balancers are those that clusters use, in simulated time and from fixed seeds.
//!
//! The table: `cargo test -p fyke --lib cluster::load::skew -- --nocapture`

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    time::Duration,
};

use super::{
    LoadWeights, Report, Reported,
    weights::{is_noticeable, scaled},
};
use crate::cluster::{
    balance::{Host, LeastRequest, Load, Local, Plan, Policy, Request, Settings},
    day::wait,
};

/// Microseconds.
type Time = u64;

const SECOND: Time = 1_000_000;
const END: Time = 150 * SECOND;
/// What comes before is not counted: reports have to come for a while before they count, and nobody gives up what has queued until then.
const WARM: Time = 90 * SECOND;
const PROXIES: usize = 24;
const HOSTS: usize = 20;
const SERVERS: usize = 4;
/// Mean of the exponentially distributed time that a server takes, in seconds.
const SERVICE: f64 = 0.02;
/// The one that is skewed, and by how much.
const SKEWED: usize = 7;
const SLOWNESS: f64 = 4.0;
/// Requests a second: 65% of what all hosts can do.
const RATE: f64 = 2500.0;

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Event {
    Arrival,
    Done {
        host: usize,
    },
    /// A second is over.
    Weights,
}

#[derive(Clone, Copy)]
struct Waiting {
    arrived: Time,
    proxy: usize,
}

#[derive(Default)]
struct Server {
    queue: VecDeque<Waiting>,
    running: VecDeque<Waiting>,
    /// Since the last report: requests served, and time that servers were busy.
    served: f64,
    busy: f64,
    reported: Reported,
    weight: Option<u32>,
}

struct Proxy {
    local: Local,
    active: Vec<u32>,
}

impl Load for Proxy {
    fn active(&self, host: usize) -> u32 {
        self.active[host]
    }

    fn latency(&self, _: usize) -> Option<f64> {
        None
    }
}

struct World {
    now: Time,
    arrivals: fastrand::Rng,
    services: fastrand::Rng,
    events: BinaryHeap<Reverse<(Time, u64, Event)>>,
    sequence: u64,
    proxies: Vec<Proxy>,
    servers: Vec<Server>,
    settings: Settings,
    weights: Option<LoadWeights>,
    plan: Plan,
    latencies: Vec<Time>,
    /// The weight of the skewed host after each second, as a share of what the others have in the mean.
    shares: Vec<f64>,
    skewed: usize,
}

impl World {
    fn new(policy: Policy, weights: Option<LoadWeights>) -> Self {
        let settings = Settings { policy, ..Settings::default() };
        let proxy = |number| Proxy { local: Local::new(number), active: vec![0; HOSTS] };
        Self {
            now: 0,
            arrivals: fastrand::Rng::with_seed(1),
            services: fastrand::Rng::with_seed(2),
            events: BinaryHeap::new(),
            sequence: 0,
            proxies: (0..PROXIES as u64).map(proxy).collect(),
            servers: (0..HOSTS).map(|_| Server::default()).collect(),
            plan: Plan::build(&settings, "", &[], &hosts(&[1; HOSTS])),
            settings,
            weights,
            latencies: Vec::new(),
            shares: Vec::new(),
            skewed: 0,
        }
    }

    fn schedule(&mut self, after: Time, event: Event) {
        self.sequence += 1;
        self.events.push(Reverse((self.now + after, self.sequence, event)));
    }

    fn run(mut self) -> Self {
        self.schedule(0, Event::Arrival);
        self.schedule(SECOND, Event::Weights);
        while let Some(Reverse((now, _, event))) = self.events.pop() {
            self.now = now;
            match event {
                Event::Arrival => self.arrive(),
                Event::Done { host } => self.done(host),
                Event::Weights => self.weigh(),
            }
        }
        self.latencies.sort_unstable();
        self
    }

    fn arrive(&mut self) {
        if self.now < END {
            let next = wait(1.0 / RATE, &mut self.arrivals);
            self.schedule(next, Event::Arrival);
        }
        let proxy = self.arrivals.usize(..PROXIES);
        let request = Request { now_ms: self.now / 1000, ..Request::default() };
        let mut local = std::mem::replace(&mut self.proxies[proxy].local, Local::new(0));
        let host = self.plan.pick(&request, &mut local, &self.proxies[proxy], &|_| true).unwrap();
        self.proxies[proxy].local = local;
        self.proxies[proxy].active[host] += 1;
        self.servers[host].queue.push_back(Waiting { arrived: self.now, proxy });
        self.serve(host);
    }

    fn serve(&mut self, host: usize) {
        let server = &mut self.servers[host];
        if server.running.len() == SERVERS {
            return;
        }
        let Some(next) = server.queue.pop_front() else { return };
        server.running.push_back(next);
        let slowness = if host == SKEWED { SLOWNESS } else { 1.0 };
        let took = wait(SERVICE * slowness, &mut self.services);
        server.busy += seconds(took);
        self.schedule(took, Event::Done { host });
    }

    fn done(&mut self, host: usize) {
        let server = &mut self.servers[host];
        server.served += 1.0;
        // Which of those that run has ended makes no difference to what is looked at here.
        let Waiting { arrived, proxy } = server.running.pop_front().unwrap();
        self.proxies[proxy].active[host] -= 1;
        if arrived >= WARM {
            self.latencies.push(self.now - arrived);
            self.skewed += usize::from(host == SKEWED);
        }
        self.serve(host);
    }

    /// Hosts report what the last second was like, and weights are made of that.
    fn weigh(&mut self) {
        if self.now < END {
            self.schedule(SECOND, Event::Weights);
        }
        let Some(settings) = &self.weights else { return };
        let now = self.now / 1000;
        for server in &mut self.servers {
            let (served, busy) = (std::mem::take(&mut server.served), std::mem::take(&mut server.busy));
            let cpu_utilization = (busy / SERVERS as f64).min(1.0);
            let report = Report { rps_fractional: served, cpu_utilization, ..Report::default() };
            if let Some(weight) = settings.weight(&report) {
                server.reported.note(weight, now);
            }
        }
        let reported: Vec<_> = self.servers.iter().map(|server| server.reported.current(settings, now)).collect();
        for (server, weight) in self.servers.iter_mut().zip(scaled(&reported)) {
            if is_noticeable(server.weight, weight) {
                server.weight = weight;
            }
        }
        let weights: Vec<u32> = self.servers.iter().map(|server| server.weight.unwrap_or(1)).collect();
        let others = weights.iter().sum::<u32>() - weights[SKEWED];
        self.shares.push(f64::from(weights[SKEWED]) * (HOSTS - 1) as f64 / f64::from(others));
        self.plan = Plan::build(&self.settings, "", &[], &hosts(&weights));
    }

    fn percentile(&self, per_mille: usize) -> Time {
        self.latencies[self.latencies.len() * per_mille / 1000]
    }
}

fn hosts(weights: &[u32]) -> Vec<Host> {
    let host = |(number, weight): (usize, &u32)| Host {
        key: format!("10.0.0.{number}:80"),
        weight: *weight,
        ..Host::default()
    };
    weights.iter().enumerate().map(host).collect()
}

fn seconds(time: Time) -> f64 {
    Duration::from_micros(time).as_secs_f64()
}

#[test]
fn weights_from_reports_beat_counted_requests_where_a_host_is_skewed_and_they_settle() {
    println!("{:<42} {:>8} {:>8} {:>8} {:>22}", "", "p50", "p99", "p99.9", "share of skewed host");
    let run = |name: &str, policy, weights| {
        let world = World::new(policy, weights).run();
        let share = 100.0 * world.skewed as f64 / world.latencies.len() as f64;
        let [p50, p99, p999] = [500, 990, 999].map(|per_mille| world.percentile(per_mille) / 1000);
        println!("{name:<42} {p50:>5} ms {p99:>5} ms {p999:>5} ms {share:>20.2} %");
        world
    };
    run("random", Policy::Random, None);
    run("round_robin", Policy::RoundRobin, None);
    let counted = run("least_request", Policy::LeastRequest(LeastRequest::default()), None);
    let weighed = run("client_side_weighted_round_robin", Policy::RoundRobin, Some(LoadWeights::default()));
    assert!(weighed.percentile(990) < counted.percentile(990));
    // What the skewed host can do is a quarter of what the others can.
    let settled = &weighed.shares[weighed.shares.len() / 2..];
    let (least, most) =
        settled.iter().fold((f64::MAX, 0.0_f64), |(least, most), share| (least.min(*share), most.max(*share)));
    println!("from the middle on the skewed host's weight is {least:.3} to {most:.3} of another one's");
    let mean = settled.iter().sum::<f64>() / settled.len() as f64;
    // A second has few of its requests, so its reports waver.
    assert!((0.2..=0.3).contains(&mean) && least > 0.1 && most < 0.6, "{mean} {settled:?}");
}
