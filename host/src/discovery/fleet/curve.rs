//! How soon proxies agree with what is true.

use std::fmt::Write as _;

use super::{
    MINUTE, SECOND, Time,
    proxy::{Fleet, Life},
    world::{Fate, World},
};

const POINTS: [Time; 11] = [1, 5, 10, 20, 30, 45, 60, 90, 120, 300, 600];

/// Times from an event until proxies had drawn their conclusions; of how many.
#[derive(Default)]
struct Curve {
    delays: Vec<Time>,
    of: usize,
}

impl Curve {
    fn add(&mut self, event: Time, known: Option<Time>) {
        self.of += 1;
        self.delays.extend(known.map(|known| known.saturating_sub(event)));
    }

    fn row(&self, scenario: &str, event: &str) -> String {
        let mut row = format!("| {scenario:<14} | {event:<14} |");
        for point in POINTS {
            let within = self.delays.iter().filter(|delay| **delay <= point * SECOND).count();
            // Rounded down: 100% are all.
            let tenths = within * 1000 / self.of.max(1);
            let _ = write!(row, " {:>5} |", format!("{}.{}", tenths / 10, tenths % 10));
        }
        row.push('\n');
        row
    }

    fn longest(&self) -> Time {
        self.delays.iter().copied().max().unwrap_or(0)
    }
}

/// Those of one scenario.
#[derive(Default)]
pub struct Curves {
    /// A new host gets requests, since it has registered.
    joined: Curve,
    /// One that died gets none, since then.
    left: Curve,
    /// One that was cut off gets requests, since the cut has ended.
    returned: Curve,
    spared: usize,
    forgotten: usize,
}

impl Curves {
    pub fn add(&mut self, fleet: &Fleet<'_>, life: &Life) {
        let world = fleet.world;
        self.spared += life.spared;
        self.forgotten += life.forgotten;
        for host in 0..world.hosts {
            match World::fate(host) {
                Fate::Joins => {
                    let registered = fleet.chronicle.registered[host].unwrap();
                    self.joined.add(registered, life.routed[host]);
                }
                Fate::Dies => {
                    let ends = world.ends(host).unwrap();
                    if life.routed[host].is_some_and(|routed| routed < ends) {
                        self.left.add(ends, life.left[host]);
                    }
                }
                Fate::Stays => {
                    if let Some(rejoined) = world.rejoined(host, life.number) {
                        self.returned.add(rejoined, life.returned[host]);
                    }
                }
                Fate::Leaves => {}
            }
        }
    }

    pub fn head() -> String {
        let points = POINTS.map(|point| format!(" {point:>3} s |")).concat();
        let lines = " ----: |".repeat(POINTS.len());
        format!("| {:<14} | {:<14} |{points}\n| {:-<14} | {:-<14} |{lines}\n", "", "% after", "", "")
    }

    pub fn table(&self, world: &World) -> String {
        let name = world.scenario.name;
        let mut table = self.joined.row(name, "host is new") + &self.left.row(name, "host dies");
        if self.returned.of > 0 {
            table += &self.returned.row(name, "cut has ended");
        }
        table
    }

    /// What must hold of them.
    pub fn check(&self, fleet: &Fleet<'_>) {
        let scenario = &fleet.world.scenario;
        for (curve, event) in [(&self.joined, "new"), (&self.left, "dead"), (&self.returned, "back")] {
            assert_eq!(curve.delays.len(), curve.of, "{}: not every proxy knows who is {event}", scenario.name);
        }
        // Whoever was known and has gone was forgotten; and where discovery is wrong there is somebody to spare.
        assert!(self.forgotten >= self.left.of, "{}: {} of {}", scenario.name, self.forgotten, self.left.of);
        let wrong = !scenario.cuts.is_empty() || !scenario.outages.is_empty();
        assert!(!wrong || self.spared > 0, "{}: nobody was absent and well", scenario.name);
        if scenario.loss == 0.0 && scenario.cuts.is_empty() && scenario.outages.is_empty() {
            // Two delays of the poll, and the jitter of the first check.
            assert!(self.joined.longest() <= MINUTE + 3 * SECOND, "{} ms", self.joined.longest());
        }
        // A message that is lost tells no more than one that was not sent: the living may fail a check, the dead never pass one.
        assert!(self.left.longest() <= 3 * fleet.interval(), "{} ms", self.left.longest());
    }
}
