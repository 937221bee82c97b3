//! Random histories, against the same rules said plainly and against what must always hold.

use proptest::prelude::*;

use super::{super::super::Outcome, *};

/// The same rules once more, as plainly as they can be said: whole histories, no packing, no incremental state.
mod model {
    use super::*;

    pub struct Host {
        /// Outcomes since the row was last emptied.
        row: Vec<Outcome>,
        interval: Vec<Outcome>,
        /// When the ejection began and when it may end.
        pub ejected: Option<(u64, u64)>,
        unejected: Option<u64>,
        steps: u64,
    }

    pub struct Model {
        pub settings: Settings,
        pub hosts: BTreeMap<u32, Host>,
    }

    impl Model {
        pub fn add(&mut self, host: u32) {
            let new = || Host { row: vec![], interval: vec![], ejected: None, unejected: None, steps: 0 };
            self.hosts.entry(host).or_insert_with(new);
        }

        pub fn ejected(&self) -> Vec<u32> {
            self.hosts.iter().filter(|(_, host)| host.ejected.is_some()).map(|(name, _)| *name).collect()
        }

        fn eject(&mut self, name: u32, now: u64) {
            let active = self.ejected().len();
            #[expect(clippy::cast_precision_loss, reason = "few hosts; the formula is Envoy's")]
            let percent = 100.0 * (active as f64 + 1.0) / self.hosts.len() as f64;
            let fits = percent <= f64::from(self.settings.max_ejection_percent);
            if !(fits || self.settings.always_eject_one_host && active == 0) {
                return;
            }
            let (base, max) = (self.settings.base_ejection_time.as_secs(), self.settings.max_ejection_time.as_secs());
            let host = self.hosts.get_mut(&name).unwrap();
            if host.steps * base < max + base {
                host.steps += 1;
            }
            host.ejected = Some((now, now + (host.steps * base).min(max)));
        }

        pub fn record(&mut self, name: u32, outcome: Outcome, now: u64) {
            let threshold = self.settings.consecutive_5xx as usize;
            let Some(host) = self.hosts.get_mut(&name) else { return };
            host.interval.push(outcome);
            host.row.push(outcome);
            let row = host.row.iter().rev().take_while(|outcome| **outcome != Outcome::Success).count();
            if threshold > 0 && row == threshold {
                host.row.clear();
                if host.ejected.is_none() {
                    self.eject(name, now);
                }
            }
        }

        fn uneject(host: &mut Host, now: u64) {
            host.ejected = None;
            host.unejected = Some(now);
            host.row.clear();
        }

        pub fn passed(&mut self, name: u32, now: u64) {
            if let Some(host) = self.hosts.get_mut(&name).filter(|host| host.ejected.is_some()) {
                Self::uneject(host, now);
            }
        }

        pub fn sweep(&mut self, now: u64) {
            for host in self.hosts.values_mut() {
                if host.ejected.is_some_and(|(_, end)| now >= end) {
                    Self::uneject(host, now);
                }
            }
            let intervals: Vec<(u32, Vec<Outcome>)> = self
                .hosts
                .iter_mut()
                .map(|(name, host)| (*name, host.ejected, std::mem::take(&mut host.interval)))
                .filter_map(|(name, ejected, interval)| ejected.is_none().then_some((name, interval)))
                .collect();
            let wanted = &self.settings.failure_percentage;
            let judged: Vec<(u32, usize)> = intervals
                .iter()
                .filter(|(_, interval)| interval.len() >= (wanted.request_volume as usize).max(1))
                .map(|(name, interval)| {
                    let failed = interval.iter().filter(|outcome| **outcome != Outcome::Success).count();
                    (*name, failed * 100 / interval.len())
                })
                .collect();
            if judged.len() >= wanted.minimum_hosts as usize {
                let threshold = wanted.threshold as usize;
                for (name, _) in judged.into_iter().filter(|(_, failed)| *failed >= threshold) {
                    self.eject(name, now);
                }
            }
            let interval = self.settings.interval.as_secs();
            for host in self.hosts.values_mut().filter(|host| host.ejected.is_none()) {
                if host.unejected.is_some_and(|since| now - since >= interval) {
                    host.steps = host.steps.saturating_sub(1);
                }
            }
        }

        pub fn steps(&self, name: u32) -> u64 {
            self.hosts[&name].steps
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Record(u32, bool, u8),
    Sweep(u32),
    Passed(u32),
    Add(u32),
    Remove(u32),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let host = 0..12_u32;
    let step = prop_oneof![
        8 => (host.clone(), any::<bool>(), 1..8_u8).prop_map(|(host, good, times)| Step::Record(host, good, times)),
        3 => (0..60_u32).prop_map(Step::Sweep),
        1 => host.clone().prop_map(Step::Passed),
        1 => host.clone().prop_map(Step::Add),
        1 => host.prop_map(Step::Remove),
    ];
    prop::collection::vec(step, 0..200)
}

fn settings() -> impl Strategy<Value = Settings> {
    (0..4_u32, 0..=100_u32, any::<bool>(), 1..40_u32, 0..100_u32, 0..10_u32, 0..4_u32).prop_map(
        |(row, percent, always, base, more, volume, minimum)| {
            let mut settings = Settings {
                consecutive_5xx: row,
                max_ejection_percent: percent,
                always_eject_one_host: always,
                base_ejection_time: base * SECOND,
                max_ejection_time: (base + more) * SECOND,
                ..Settings::default()
            };
            settings.success_rate.minimum_hosts = u32::MAX;
            settings.failure_percentage.request_volume = volume;
            settings.failure_percentage.minimum_hosts = minimum;
            settings.enforcing.failure_percentage = 100;
            settings
        },
    )
}

proptest! {
    #[test]
    fn it_decides_as_the_plain_model_does(settings in settings(), steps in steps()) {
        let start = Instant::now();
        let mut cluster = Cluster::new(settings.clone(), 6);
        cluster.now = start;
        let mut model = model::Model { settings: settings.clone(), hosts: BTreeMap::new() };
        (0..6).for_each(|host| model.add(host));
        for step in steps {
            let now = (cluster.now - start).as_secs();
            match step {
                Step::Record(host, good, times) => {
                    for _ in 0..times {
                        let outcome = if good { Outcome::Success } else { Outcome::ServerError };
                        if cluster.hosts.contains_key(&host) {
                            cluster.record(host, outcome);
                        }
                        model.record(host, outcome, now);
                    }
                }
                Step::Sweep(after) => {
                    cluster.sweep_after(after * SECOND);
                    model.sweep(now + u64::from(after));
                }
                Step::Passed(host) => {
                    cluster.detector.health_check_passed(&host, cluster.now);
                    model.passed(host, now);
                }
                Step::Add(host) => {
                    cluster.hosts.insert(host, cluster.detector.add(host, 2));
                    model.add(host);
                }
                Step::Remove(host) => {
                    cluster.detector.remove(&host);
                    cluster.hosts.remove(&host);
                    model.hosts.remove(&host);
                }
            }
            prop_assert_eq!(cluster.ejected(), model.ejected());
            prop_assert_eq!(cluster.detector.counts().active(), cluster.ejected().len());
            for host in cluster.hosts.keys() {
                prop_assert_eq!(u64::from(cluster.multiplier(*host)), model.steps(*host));
            }
        }
    }

    #[test]
    fn no_ejection_takes_the_share_over_the_maximum(settings in settings(), steps in steps()) {
        let mut cluster = Cluster::new(settings.clone(), 6);
        for step in steps {
            let before = cluster.ejected().len();
            match step {
                Step::Record(host, good, times) if cluster.hosts.contains_key(&host) => {
                    let outcome = if good { Outcome::Success } else { Outcome::GatewayError };
                    cluster.records(host, outcome, usize::from(times));
                }
                Step::Sweep(after) => { cluster.sweep_after(after * SECOND); }
                _ => {}
            }
            let after = cluster.ejected().len();
            let granted = usize::from(settings.always_eject_one_host);
            prop_assert!(
                after <= before || after <= granted || after * 100 <= 6 * settings.max_ejection_percent as usize
            );
        }
    }

    #[test]
    fn every_ejected_host_comes_back_when_its_longest_time_is_over(settings in settings(), steps in steps()) {
        let mut cluster = Cluster::new(settings.clone(), 6);
        for step in steps {
            match step {
                Step::Record(host, good, times) if cluster.hosts.contains_key(&host) => {
                    let outcome = if good { Outcome::Success } else { Outcome::ServerError };
                    cluster.records(host, outcome, usize::from(times));
                }
                Step::Sweep(after) => { cluster.sweep_after(after * SECOND); }
                _ => {}
            }
        }
        // The first sweep may eject for the interval that it ends; nothing is recorded after it.
        cluster.sweep_after(Duration::ZERO);
        cluster.sweep_after(settings.max_ejection_time);
        prop_assert_eq!(cluster.ejected(), Vec::<u32>::new());
    }
}
