//! A simulated fleet: hosts that register, registries that die, proxies that discover and check, and a network that loses messages and falls apart.
//!
//! What decides is what runs in production: the registry with its API and its TTL, the pace of heartbeats, the polls of a source with their
//! jitter and what an answer means, the matrix of discovered and healthy, thresholds and intervals of health checks. Simulated are the time, the
//! transport, and where a process runs:
//! ```text
//! message     lost with some probability, each way on its own: who waits for an answer waits until the time limit
//! zone        hosts and proxies are in three, the registry is in the second
//! cut         a zone from the others, or the hosts of a zone from the registry, for ten minutes
//! outage      the registry's instance dies; half a minute later another one takes over, which knows nobody, and is found by proxies
//!             before it is found by hosts. (Instances that share a Redis server agree on more than that.)
//! ```
//! First the registry is simulated, second by second, with everybody's heartbeats: what it would have answered is kept. Then each proxy
//! lives through the same time on its own, for proxies know nothing of each other. After each second it is asserted of each proxy, whatever happens:
//!
//! - A member that runs and can be reached gets requests, after one interval of checks at the latest. A lost message is a time at which it could
//!   not be reached; a host that was forgotten is a member when it has been discovered again.
//! - A member that passes its checks is never forgotten, and none is by an answer that did not come or named nobody.
//! - In the end nobody knows those who are gone, and everybody who is well gets requests from all (where no message is lost).
//!
//! The table: `cargo test -p fyke --lib discovery::fleet -- --nocapture`; with `FYKE_LONG=1` of 5,000 hosts and 500 proxies, else of a tenth of both.
//! It is kept in `docs/discovery-fleet.md`.

mod curve;
mod proxy;
mod registry;
mod world;

use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};

use self::{
    curve::Curves,
    proxy::{Fleet, Proxy},
    world::{Cut, Outage, Scenario, Split, World},
};

/// Milliseconds since the beginning.
type Time = u64;

const SECOND: Time = 1000;
const MINUTE: Time = 60 * SECOND;

fn scenarios() -> Vec<Scenario> {
    let usual = Scenario {
        name: "no loss",
        loss: 0.0,
        length: 9 * MINUTE,
        joins: 3 * MINUTE,
        deaths: 3 * MINUTE + MINUTE / 2,
        cuts: Vec::new(),
        outages: Vec::new(),
    };
    let zone = Cut { from: 5 * MINUTE / 2, until: 25 * MINUTE / 2, split: Split::Zone(0) };
    let heartbeats = Cut { from: 14 * MINUTE, until: 24 * MINUTE, split: Split::Heartbeats(2) };
    let dies = |at: Time| Outage { from: at, until: at + MINUTE / 2 };
    let amid = 3 * MINUTE + 25 * SECOND;
    vec![
        usual.clone(),
        Scenario { name: "10% loss", loss: 0.1, length: 10 * MINUTE, ..usual.clone() },
        Scenario { name: "partition", length: 17 * MINUTE, cuts: vec![zone], ..usual.clone() },
        Scenario { name: "dying registry", outages: vec![dies(amid)], ..usual.clone() },
        Scenario {
            name: "all of it",
            loss: 0.1,
            length: 27 * MINUTE,
            cuts: vec![zone, heartbeats],
            outages: vec![dies(amid), dies(16 * MINUTE)],
            ..usual
        },
    ]
}

#[test]
fn a_healthy_host_that_is_discovered_gets_requests_whatever_else_fails() {
    let (hosts, proxies) = if std::env::var_os("FYKE_LONG").is_some() { (5000, 500) } else { (500, 50) };
    print!("{hosts} hosts, {proxies} proxies; share of proxies by time since the event\n\n{}", Curves::head());
    for (seed, scenario) in (1..).zip(scenarios()) {
        let world = World::new(scenario, hosts, proxies, seed);
        let fleet = Fleet::new(&world);
        assert!(fleet.world.scenario.outages.is_empty() || fleet.chronicle.names_nobody_once());
        assert_eq!(Proxy::live(&fleet, 0), Proxy::live(&fleet, 0), "the same seed is the same life");
        let mut curves = Curves::default();
        for life in lives(&fleet) {
            curves.add(&fleet, &life);
        }
        print!("{}", curves.table(&world));
        curves.check(&fleet);
    }
}

/// Of every proxy, on all processors.
fn lives(fleet: &Fleet<'_>) -> Vec<proxy::Life> {
    let (next, lives) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= fleet.world.proxies {
                        return;
                    }
                    let life = Proxy::live(fleet, number);
                    lives.lock().unwrap().push(life);
                }
            });
        }
    });
    lives.into_inner().unwrap()
}
