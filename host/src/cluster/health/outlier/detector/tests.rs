mod properties;

use super::{super::Outcome, *};

const SECOND: Duration = Duration::from_secs(1);

/// A cluster of `hosts` with a clock of its own.
struct Cluster {
    detector: Detector<u32>,
    hosts: BTreeMap<u32, Arc<HostOutlier>>,
    now: Instant,
}

impl Cluster {
    fn new(settings: Settings, hosts: u32) -> Self {
        let detector = Detector::new(settings, Rng::with_seed(7));
        let hosts = (0..hosts).map(|host| (host, detector.add(host, 2))).collect();
        Self { detector, hosts, now: Instant::now() }
    }

    fn record(&self, host: u32, outcome: Outcome) -> Vec<Change<u32>> {
        match self.hosts[&host].record(host as usize, outcome) {
            Some(detection) => self.detector.try_eject(&host, detection, self.now),
            None => Vec::new(),
        }
    }

    fn records(&self, host: u32, outcome: Outcome, times: usize) -> Vec<Change<u32>> {
        (0..times).flat_map(|_| self.record(host, outcome)).collect()
    }

    fn sweep_after(&mut self, time: Duration) -> Vec<Change<u32>> {
        self.now += time;
        self.detector.sweep(self.now)
    }

    fn ejected(&self) -> Vec<u32> {
        self.hosts.iter().filter(|(_, outlier)| outlier.is_ejected()).map(|(host, _)| *host).collect()
    }

    fn multiplier(&self, host: u32) -> u32 {
        self.detector.report().iter().find(|report| report.host == host).unwrap().multiplier
    }
}

fn half() -> Settings {
    Settings { max_ejection_percent: 50, ..Settings::default() }
}

#[test]
fn the_failure_that_completes_a_row_ejects_at_once() {
    let cluster = Cluster::new(half(), 2);
    assert_eq!(cluster.records(0, Outcome::ServerError, 4), []);
    let changes = cluster.record(0, Outcome::ServerError);
    let evidence = Evidence::Consecutive { failures: 5 };
    let verdict = Verdict::Ejected { reason: Reason::Consecutive5xx, evidence, duration: 30 * SECOND };
    assert_eq!(changes, [Change { host: 0, verdict }]);
    assert_eq!(cluster.ejected(), [0]);
}

#[test]
fn gateway_failures_are_found_but_not_enforced_by_default() {
    let cluster = Cluster::new(half(), 2);
    let changes = cluster.records(0, Outcome::GatewayError, 5);
    assert!(matches!(changes[0].verdict, Verdict::NotEnforced { reason: Reason::ConsecutiveGatewayFailure, .. }));
    assert!(matches!(changes[1].verdict, Verdict::Ejected { reason: Reason::Consecutive5xx, .. }));
    let counts = cluster.detector.counts();
    assert_eq!(counts.detected(Reason::ConsecutiveGatewayFailure), 1);
    assert_eq!(counts.enforced(Reason::ConsecutiveGatewayFailure), 0);
    assert_eq!((counts.enforced(Reason::Consecutive5xx), counts.enforced_total(), counts.active()), (1, 1, 1));
}

#[test]
fn ten_percent_of_nine_hosts_is_none_unless_one_is_always_granted() {
    let cluster = Cluster::new(Settings::default(), 9);
    let changes = cluster.records(0, Outcome::ServerError, 5);
    assert!(matches!(changes[0].verdict, Verdict::Overflow { .. }));
    assert_eq!((cluster.detector.counts().overflow(), cluster.ejected().len()), (1, 0));

    let cluster = Cluster::new(Settings { always_eject_one_host: true, ..Settings::default() }, 9);
    cluster.records(0, Outcome::ServerError, 5);
    cluster.records(1, Outcome::ServerError, 5);
    assert_eq!(cluster.ejected(), [0]);

    let cluster = Cluster::new(Settings::default(), 10);
    cluster.records(0, Outcome::ServerError, 5);
    assert_eq!(cluster.ejected(), [0]);
}

#[test]
fn an_ejected_host_is_back_with_the_first_sweep_after_its_time_and_its_rows_start_anew() {
    let mut cluster = Cluster::new(half(), 2);
    cluster.records(0, Outcome::ServerError, 5);
    cluster.records(0, Outcome::ServerError, 4);
    assert_eq!(cluster.sweep_after(29 * SECOND), []);
    let verdict = Verdict::Unejected { cause: Return::Elapsed, after: 30 * SECOND };
    assert_eq!(cluster.sweep_after(SECOND), [Change { host: 0, verdict }]);
    assert!(cluster.ejected().is_empty());
    assert_eq!(cluster.record(0, Outcome::ServerError), []);
}

#[test]
fn ejections_grow_with_each_up_to_the_longest_and_shrink_a_step_per_quiet_interval() {
    let mut cluster = Cluster::new(half(), 2);
    let mut lengths = Vec::new();
    for _ in 0..13 {
        let changes = cluster.records(0, Outcome::ServerError, 5);
        let Verdict::Ejected { duration, .. } = changes[0].verdict else { panic!("{changes:?}") };
        lengths.push(duration.as_secs());
        assert_eq!(cluster.sweep_after(duration).len(), 1);
    }
    assert_eq!(lengths, [30, 60, 90, 120, 150, 180, 210, 240, 270, 300, 300, 300, 300]);
    // One step beyond the longest, as in Envoy.
    assert_eq!(cluster.multiplier(0), 11);
    for expected in (0..11).rev() {
        cluster.sweep_after(10 * SECOND);
        assert_eq!(cluster.multiplier(0), expected);
    }
    cluster.sweep_after(10 * SECOND);
    assert_eq!(cluster.multiplier(0), 0);
}

#[test]
fn jitter_lengthens_an_ejection_by_no_more_than_its_limit() {
    let settings = Settings { max_ejection_time_jitter: 10 * SECOND, ..half() };
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..50 {
        let mut cluster = Cluster::new(settings.clone(), 2);
        cluster.detector.lock().random = Rng::with_seed(seed);
        let changes = cluster.records(0, Outcome::ServerError, 5);
        let Verdict::Ejected { duration, .. } = changes[0].verdict else { panic!("{changes:?}") };
        assert!((30 * SECOND..=40 * SECOND).contains(&duration));
        seen.insert(duration);
        assert_eq!(cluster.sweep_after(duration.saturating_sub(Duration::from_millis(1))), []);
        assert_eq!(cluster.sweep_after(Duration::from_millis(1)).len(), 1);
    }
    assert!(seen.len() > 40);
}

#[test]
fn a_passed_health_check_ends_an_ejection_where_settings_say_so() {
    let cluster = Cluster::new(half(), 2);
    assert_eq!(cluster.detector.health_check_passed(&0, cluster.now), None);
    cluster.records(0, Outcome::ServerError, 5);
    let verdict = Verdict::Unejected { cause: Return::HealthCheck, after: Duration::ZERO };
    assert_eq!(cluster.detector.health_check_passed(&0, cluster.now), Some(Change { host: 0, verdict }));
    assert!(cluster.ejected().is_empty());

    let cluster = Cluster::new(Settings { successful_active_health_check_uneject_host: false, ..half() }, 2);
    cluster.records(0, Outcome::ServerError, 5);
    assert_eq!(cluster.detector.health_check_passed(&0, cluster.now), None);
    assert_eq!(cluster.ejected(), [0]);
}

#[test]
fn a_host_far_below_the_success_rate_of_the_others_is_ejected_by_the_sweep() {
    let mut cluster = Cluster::new(Settings { consecutive_5xx: 0, ..half() }, 5);
    for host in 0..5 {
        let failures = if host == 3 { 50 } else { 0 };
        cluster.records(host, Outcome::ServerError, failures);
        cluster.records(host, Outcome::Success, 100 - failures);
    }
    let changes = cluster.sweep_after(10 * SECOND);
    assert_eq!(
        changes[0].to_string(),
        "3 is ejected for 30s: 50.0% of its requests succeeded, below 52.0%; 90.0% do in the cluster on average \
         (success_rate)"
    );
    assert_eq!((changes.len(), cluster.ejected()), (1, vec![3]));
    assert_eq!(cluster.detector.report()[3].success_rate, Some(50.0));
    // The next interval is judged by itself.
    assert_eq!(cluster.sweep_after(10 * SECOND), []);
}

#[test]
fn too_few_hosts_with_enough_requests_judge_nobody() {
    let mut cluster = Cluster::new(Settings { consecutive_5xx: 0, ..half() }, 5);
    for host in 0..5 {
        cluster.records(host, if host == 3 { Outcome::ServerError } else { Outcome::Success }, 99 + host as usize);
    }
    cluster.detector.lock().settings.failure_percentage.minimum_hosts = 6;
    assert_eq!(cluster.sweep_after(10 * SECOND), []);
}

#[test]
fn a_failure_percentage_at_its_threshold_is_an_outlier_and_ejects_once_though_both_find_it() {
    let mut settings = Settings { consecutive_5xx: 0, ..half() };
    settings.enforcing.failure_percentage = 100;
    settings.success_rate.minimum_hosts = 100;
    let failing = |cluster: &Cluster| {
        for host in 0..5 {
            let failures = if host == 2 { 85 } else { 0 };
            cluster.records(host, Outcome::ServerError, failures);
            cluster.records(host, Outcome::Success, 100 - failures);
        }
    };
    let mut cluster = Cluster::new(settings.clone(), 5);
    failing(&cluster);
    let changes = cluster.sweep_after(10 * SECOND);
    assert!(matches!(changes[0].verdict, Verdict::Ejected { reason: Reason::FailurePercentage, .. }));

    settings.success_rate.minimum_hosts = 5;
    let mut cluster = Cluster::new(settings, 5);
    failing(&cluster);
    let changes = cluster.sweep_after(10 * SECOND);
    assert_eq!(changes.len(), 1);
    assert_eq!(changes[0].verdict.reason(), Some(Reason::SuccessRate));
    assert_eq!(cluster.detector.counts().active(), 1);
}

#[test]
fn split_origins_are_judged_apart() {
    let mut settings = Settings { split_external_local_origin_errors: true, ..half() };
    settings.consecutive_local_origin_failure = 0;
    let mut cluster = Cluster::new(settings, 5);
    let failure = Outcome::LocalOrigin(super::super::LocalOriginFailure::Timeout);
    for host in 0..5 {
        cluster.records(host, if host == 1 { failure } else { Outcome::LocalOriginSuccess }, 100);
        cluster.records(host, Outcome::Success, 100);
    }
    let changes = cluster.sweep_after(10 * SECOND);
    assert_eq!(changes[0].verdict.reason(), Some(Reason::LocalOriginSuccessRate));
    assert_eq!(cluster.ejected(), [1]);
    let report = &cluster.detector.report()[1];
    assert_eq!((report.success_rate, report.local_origin_success_rate), (Some(100.0), Some(0.0)));
}

#[test]
fn a_removed_host_frees_its_place() {
    let cluster = Cluster::new(half(), 3);
    cluster.records(0, Outcome::ServerError, 5);
    cluster.detector.remove(&0);
    assert_eq!(cluster.detector.counts().active(), 0);
    // A worker that still holds its counters is heard to no effect.
    assert_eq!(cluster.records(0, Outcome::ServerError, 10), []);
    cluster.records(1, Outcome::ServerError, 5);
    assert_eq!(cluster.ejected(), [1]);
}

#[test]
fn a_clock_that_runs_backwards_only_makes_an_ejection_longer() {
    let mut cluster = Cluster::new(half(), 2);
    cluster.now += 100 * SECOND;
    cluster.records(0, Outcome::ServerError, 5);
    let early = cluster.now.checked_sub(50 * SECOND).unwrap();
    assert_eq!(cluster.detector.sweep(early), []);
    assert_eq!(cluster.ejected(), [0]);
}

#[test]
fn enforcing_is_a_chance() {
    let mut settings = Settings { max_ejection_percent: 100, ..Settings::default() };
    settings.enforcing.consecutive_5xx = 30;
    let cluster = Cluster::new(settings, 1000);
    for host in 0..1000 {
        cluster.records(host, Outcome::ServerError, 5);
    }
    assert!((230..370).contains(&cluster.ejected().len()));
    assert_eq!(cluster.detector.counts().detected(Reason::Consecutive5xx), 1000);
}

#[test]
fn workers_that_detect_at_once_never_eject_more_than_the_maximum() {
    let settings = Settings { max_ejection_percent: 30, ..Settings::default() };
    let cluster = Cluster::new(settings, 10);
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let cluster = &cluster;
            scope.spawn(move || {
                for (name, host) in (0..200).flat_map(|_| &cluster.hosts) {
                    if let Some(detection) = host.record(worker, Outcome::ServerError) {
                        cluster.detector.try_eject(name, detection, cluster.now);
                    }
                    assert!(cluster.detector.counts().active() <= 3);
                }
            });
        }
    });
    assert_eq!((cluster.ejected().len(), cluster.detector.counts().active()), (3, 3));
}
