use std::{path::Path, time::Duration};

use http::StatusCode;

use super::*;
use crate::{
    cluster::load::Report,
    config::{Format, load_text},
};

const SECOND: Duration = Duration::from_secs(1);

fn clusters(text: &str) -> SharedClusters {
    let text =
        format!("clusters: {text}\nlisteners: {{ web: {{ address: '127.0.0.1:0', protocol: tcp, cluster: app }} }}\n");
    let config = load_text("test.yaml", &text, Format::Yaml, Path::new(".")).unwrap();
    let each = config.clusters.iter();
    each.map(|(name, settings)| (name.clone(), SharedCluster::new(Arc::clone(settings), 1))).collect()
}

const TWO: &str = "{ app: { endpoints: [{ address: '127.0.0.1:1', zone: a }, { address: '127.0.0.1:2', zone: b }, { address: '127.0.0.1:3', zone: a }] }, other: { endpoints: ['127.0.0.1:9'] } }";

fn named(names: &[&str]) -> Wanted {
    let clusters = names.iter().map(|name| (*name).to_owned()).collect();
    Wanted { clusters, all: false, endpoints: true }
}

fn all() -> Wanted {
    Wanted { clusters: Default::default(), all: true, endpoints: false }
}

fn tally(clusters: &SharedClusters, cluster: &str, place: usize) -> Arc<Tally> {
    Arc::clone(&clusters[cluster].membership().endpoints[place].status.tally)
}

fn answer(tally: &Tally, status: StatusCode) {
    tally.requests.begin();
    tally.answers.observe(Duration::from_millis(1));
    if status.is_server_error() {
        tally.server_errors.fetch_add(1, Ordering::Relaxed);
    }
    tally.requests.end();
}

fn counts(issued: u64, succeeded: u64, failed: u64, active: u64) -> Counts {
    Counts { issued, succeeded, failed, active }
}

fn none(_: &str) -> u64 {
    0
}

fn of_app(dropped: u64) -> impl Fn(&str) -> u64 {
    move |name| if name == "app" { dropped } else { 0 }
}

#[test]
fn what_has_come_since_is_told_once_by_place() {
    let clusters = clusters(TWO);
    let (mut ledger, mut now) = (Ledger::default(), Instant::now());
    // What was before is nobody's business.
    answer(&tally(&clusters, "app", 0), StatusCode::OK);
    let wanted = named(&["app", "late"]);
    ledger.follow(&clusters, &wanted, of_app(7), now);
    for (place, status) in [(0, 200), (0, 503), (2, 404), (1, 200)] {
        answer(&tally(&clusters, "app", place), StatusCode::from_u16(status).unwrap());
    }
    let waits = tally(&clusters, "app", 1);
    waits.requests.begin();
    waits.timeouts.fetch_add(1, Ordering::Relaxed);
    answer(&tally(&clusters, "other", 0), StatusCode::OK);
    now += SECOND;
    let reports = ledger.report(&clusters, &wanted, of_app(9), now);
    let [app] = &reports[..] else { panic!("{reports:?}") };
    assert_eq!((&*app.name, app.dropped, app.elapsed), ("app", 2, SECOND));
    let by_zone: Vec<_> = app.localities.iter().map(|one| (&*one.zone, one.counts)).collect();
    assert_eq!(by_zone, [("a", counts(3, 2, 1, 0)), ("b", counts(2, 1, 1, 1))]);
    let ports: Vec<_> = app.localities[0].endpoints.iter().map(|one| (one.address.port(), one.counts)).collect();
    assert_eq!(ports, [(1, counts(2, 1, 1, 0)), (3, counts(1, 1, 0, 0))]);

    // Asked again in between, nothing begins anew.
    ledger.follow(&clusters, &wanted, of_app(9), now);
    now += SECOND * 2;
    let reports = ledger.report(&clusters, &wanted, of_app(9), now);
    let [app] = &reports[..] else { panic!("it was named") };
    assert_eq!((app.dropped, app.elapsed, app.localities.len()), (0, SECOND * 2, 1));
    assert_eq!(app.localities[0].counts, counts(0, 0, 0, 1));
    // Nor is what is not wanted any more kept.
    ledger.follow(&clusters, &named(&["other"]), none, now);
    let reports = ledger.report(&clusters, &named(&["other"]), none, now);
    let [other] = &reports[..] else { panic!("it was named") };
    assert_eq!((&*other.name, other.localities.len()), ("other", 0));
}

#[test]
fn what_endpoints_have_said_of_their_load_is_told_once_in_sums() {
    let clusters = clusters(TWO);
    let (mut ledger, now) = (Ledger::default(), Instant::now());
    let said = |place: usize, cpu: f64| {
        tally(&clusters, "app", place).told.note(&Report { cpu_utilization: cpu, ..Report::default() });
    };
    assert!(!clusters["app"].loads_wanted.load(Ordering::Relaxed));
    said(0, 0.75);
    let wanted = named(&["app"]);
    ledger.follow(&clusters, &wanted, none, now);
    assert!(
        clusters["app"].loads_wanted.load(Ordering::Relaxed) && !clusters["other"].loads_wanted.load(Ordering::Relaxed)
    );
    said(0, 0.25);
    said(0, 0.5);
    said(2, 0.25);
    let reports = ledger.report(&clusters, &wanted, none, now);
    let [zone] = &reports[0].localities[..] else { panic!("{reports:?}") };
    assert_eq!(zone.figures["cpu_utilization"], Figure { count: 3, total: 1.0 });
    let each: Vec<_> = zone.endpoints.iter().map(|one| one.figures["cpu_utilization"].count).collect();
    assert_eq!(each, [2, 1]);
    assert!(ledger.report(&clusters, &wanted, none, now)[0].localities.is_empty());
}

#[test]
fn of_all_clusters_those_are_told_that_have_something_to_tell() {
    let mut clusters = clusters(TWO);
    let other = clusters.remove("other").unwrap();
    let (mut ledger, now) = (Ledger::default(), Instant::now());
    ledger.follow(&clusters, &all(), none, now);
    assert!(ledger.report(&clusters, &all(), none, now + SECOND).is_empty());
    // One that comes later was not there before.
    answer(&other.membership().endpoints[0].status.tally, StatusCode::OK);
    clusters.insert("other".to_owned(), other);
    let reports = ledger.report(&clusters, &all(), none, now + SECOND * 2);
    let [other] = &reports[..] else { panic!("{reports:?}") };
    assert_eq!((&*other.name, other.elapsed), ("other", SECOND));
    assert_eq!((other.localities[0].counts, other.localities[0].endpoints.len()), (counts(1, 1, 0, 0), 0));
    let reports = ledger.report(&clusters, &all(), of_app(1), now + SECOND * 3);
    assert_eq!((reports.len(), reports[0].dropped), (1, 1));
    // A cluster that is gone and back has told it already.
    let app = clusters.remove("app").unwrap();
    assert!(ledger.report(&clusters, &all(), of_app(1), now + SECOND * 4).is_empty());
    clusters.insert("app".to_owned(), app);
    assert!(ledger.report(&clusters, &all(), of_app(1), now + SECOND * 5).is_empty());
}

#[test]
fn who_has_left_is_told_until_nobody_uses_it_and_whoever_else_listens() {
    let mut clusters = clusters(TWO);
    let wanted = named(&["app"]);
    let (mut ledger, mut second, now) = (Ledger::default(), Ledger::default(), Instant::now());
    ledger.follow(&clusters, &wanted, none, now);
    second.follow(&clusters, &wanted, none, now);
    let app = clusters.remove("app").unwrap();
    let tally = Arc::clone(&app.membership().endpoints[0].status.tally);
    tally.requests.begin();
    let reports = ledger.report(&clusters, &wanted, none, now);
    let [report] = &reports[..] else { panic!("something is under way") };
    assert_eq!(report.localities[0].counts, counts(1, 0, 0, 1));
    tally.answers.observe(SECOND);
    tally.requests.end();
    drop(app);
    for (ledger, issued) in [(&mut ledger, 0), (&mut second, 1)] {
        let reports = ledger.report(&clusters, &wanted, none, now);
        let [report] = &reports[..] else { panic!("it has ended since") };
        assert_eq!(report.localities[0].counts, counts(issued, 1, 0, 0));
        assert!(ledger.clusters["app"].endpoints.is_empty());
        assert!(ledger.report(&clusters, &wanted, none, now).is_empty(), "it is not there");
    }
}
