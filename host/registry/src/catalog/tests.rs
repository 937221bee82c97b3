use std::time::UNIX_EPOCH;

use proptest::prelude::*;
use serde_json::json;

use super::*;

const TTL: Duration = Duration::from_secs(60);

fn catalog(limits: Limits, load_weights: bool) -> (Catalog, Clock) {
    let clock = Clock::manual(UNIX_EPOCH + Duration::from_secs(1_000_000));
    let settings = Settings { host_ttl: TTL, limits, load_weights, ..Settings::default() };
    (Catalog::new(&settings, Expiry::Here, clock.clone(), Arc::default()), clock)
}

fn service(name: &str) -> ServiceName {
    ServiceName::parse(name).unwrap()
}

fn registration(json: serde_json::Value) -> Registration {
    Registration::read(json.as_object().unwrap(), 32).unwrap()
}

fn host(number: u8) -> Registration {
    registration(json!({"ip": format!("10.0.0.{number}"), "port": 80}))
}

fn shown(catalog: &Catalog, name: &str) -> Vec<serde_json::Value> {
    let body = catalog.view(&service(name)).body(None);
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    body["hosts"].as_array().unwrap().clone()
}

#[test]
fn a_host_lives_by_its_heartbeats() {
    let (catalog, clock) = catalog(Limits::default(), false);
    let users = service("users");
    assert_eq!(catalog.register(&users, &host(1), None).unwrap().outcome, Outcome::New);
    catalog.register(&users, &host(2), None).unwrap();
    clock.advance(TTL - Duration::from_secs(1));
    assert_eq!(catalog.register(&users, &host(1), None).unwrap().outcome, Outcome::Unchanged);
    clock.advance(Duration::from_secs(1));
    let hosts = shown(&catalog, "users");
    assert_eq!(hosts.len(), 1);
    assert_eq!(hosts[0]["ip_address"], "10.0.0.1");
    clock.advance(TTL);
    assert_eq!(catalog.sweep(), 1);
    assert!(catalog.counts().is_empty());
    assert_eq!(catalog.metrics.expirations.value(), 2);
    assert_eq!(catalog.register(&users, &host(1), None).unwrap().outcome, Outcome::New);
}

#[test]
fn the_version_follows_the_content_and_not_the_time() {
    let (one, clock) = catalog(Limits::default(), false);
    let (other, _) = catalog(Limits::default(), false);
    let users = service("users");
    let version = || one.view(&users).version();
    let nothing = version();
    for number in [1, 2] {
        one.register(&users, &host(number), None).unwrap();
    }
    let two = version();
    assert_ne!(nothing, two);
    let body = one.view(&users).body(None);
    clock.advance(Duration::from_secs(5));
    one.register(&users, &host(1), None).unwrap();
    assert_eq!(version(), two);
    assert_ne!(one.view(&users).body(None), body, "last_check_in is new");
    // In another process, another order, at another time: the same.
    for number in [2, 1] {
        other.register(&users, &host(number), None).unwrap();
    }
    assert_eq!(other.view(&users).version(), two);
    one.register(&users, &registration(json!({"ip": "10.0.0.1", "port": 80, "revision": "b"})), None).unwrap();
    assert_ne!(version(), two);
    one.register(&users, &host(1), None).unwrap();
    assert_eq!(version(), two);
    one.remove(&users, Selector::parse("10.0.0.0").unwrap());
    assert_eq!(version(), two);
    one.remove(&users, Selector::parse("10.0.0.1").unwrap());
    one.remove(&users, Selector::parse("10.0.0.2:80").unwrap());
    assert_eq!(version(), nothing);
}

#[test]
fn limits_hold_and_what_expires_makes_room() {
    let limits = Limits { services: 2, hosts_per_service: 2, hosts: 3, ..Limits::default() };
    let (catalog, clock) = catalog(limits, false);
    let put = |name: &str, number| catalog.register(&service(name), &host(number), None);
    put("a", 1).unwrap();
    put("a", 2).unwrap();
    assert_eq!(put("a", 3).unwrap_err().reason, Reason::Full);
    put("a", 2).unwrap();
    put("b", 1).unwrap();
    assert!(put("b", 2).unwrap_err().message.starts_with("there are 3 hosts already"));
    assert!(put("c", 1).unwrap_err().message.starts_with("there are 2 services already"));
    clock.advance(TTL);
    put("a", 3).unwrap();
    catalog.sweep();
    put("c", 1).unwrap();
}

#[test]
fn an_operators_weight_wins_until_it_is_let_go() {
    let (catalog, _) = catalog(Limits::default(), true);
    let users = service("users");
    let one = registration(json!({"ip": "10.0.0.1", "port": 80, "tags": {"load_balancing_weight": 40}}));
    let busy = registration(json!({"ip": "10.0.0.2", "port": 80, "load": {"cpu": 1}}));
    for host in [&one, &busy] {
        catalog.register(&users, host, None).unwrap();
    }
    let weights = || {
        let hosts = shown(&catalog, "users");
        hosts.iter().map(|host| host["tags"]["load_balancing_weight"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(weights(), [40, 90]);
    assert_eq!(catalog.weigh(&users, None, Weight::new(7)).len(), 2);
    for host in [&one, &busy] {
        catalog.register(&users, host, None).unwrap();
    }
    assert_eq!(weights(), [7, 7]);
    catalog.weigh(&users, Some(Selector::parse("10.0.0.1").unwrap()), None);
    assert_eq!(weights(), [40, 7]);
    assert!(catalog.weigh(&users, Some(Selector::parse("10.0.0.3").unwrap()), Weight::new(7)).is_empty());
}

#[test]
fn hosts_that_report_nothing_get_what_the_others_get_on_average() {
    let (catalog, _) = catalog(Limits::default(), true);
    let users = service("users");
    catalog.register(&users, &registration(json!({"ip": "10.0.0.1", "port": 80, "load": {"cpu": 1}})), None).unwrap();
    catalog.register(&users, &registration(json!({"ip": "10.0.0.2", "port": 80, "load": {"cpu": 0}})), None).unwrap();
    catalog.register(&users, &host(3), None).unwrap();
    assert_eq!(shown(&catalog, "users")[2]["tags"]["load_balancing_weight"], 95);
}

#[test]
fn loads_count_for_nothing_where_they_should_not() {
    let (catalog, _) = catalog(Limits::default(), false);
    let users = service("users");
    catalog.register(&users, &registration(json!({"ip": "10.0.0.1", "port": 80, "load": {"cpu": 1}})), None).unwrap();
    assert!(shown(&catalog, "users")[0]["tags"].get("load_balancing_weight").is_none());
}

#[tokio::test]
async fn waiting_is_bounded_and_wakes_for_the_own_service_alone() {
    let (catalog, _) = catalog(Limits { waiters: 2, ..Limits::default() }, false);
    let mut users = catalog.wait(&service("users")).unwrap();
    let orders = catalog.wait(&service("orders")).unwrap();
    assert!(catalog.wait(&service("users")).is_none());
    drop(orders);
    let mut orders = catalog.wait(&service("orders")).unwrap();
    catalog.register(&service("users"), &host(1), None).unwrap();
    users.changed().await;
    tokio::select! {
        biased;
        () = orders.changed() => panic!("nothing of it has changed"),
        () = std::future::ready(()) => {}
    }
    drop((users, orders));
    assert_eq!(catalog.waiting(), 0);
}

#[derive(Debug, Clone)]
enum Step {
    Register(u8, u8),
    Remove(u8),
    Advance(u64),
}

proptest! {
    /// Against the simplest thing that could be right: a list of hosts and when each was heard of.
    #[test]
    fn it_knows_who_was_heard_of_and_when(steps in prop::collection::vec(prop_oneof![
        (1_u8..6, 1_u8..3).prop_map(|(host, revision)| Step::Register(host, revision)),
        (1_u8..6).prop_map(Step::Remove),
        (1_u64..40).prop_map(Step::Advance),
    ], 1..60)) {
        let (catalog, clock) = catalog(Limits::default(), false);
        let users = service("users");
        let mut model: BTreeMap<u8, (u8, u64)> = BTreeMap::new();
        let (mut now, mut version, mut content) = (0, catalog.view(&users).version(), Vec::new());
        for step in steps {
            match step {
                Step::Register(number, revision) => {
                    let revision = revision.to_string();
                    let host = json!({"ip": format!("10.0.0.{number}"), "port": 80, "revision": revision});
                    catalog.register(&users, &registration(host), None).unwrap();
                    model.insert(number, (revision.parse().unwrap(), now));
                }
                Step::Remove(number) => {
                    let which = Selector::parse(&format!("10.0.0.{number}")).unwrap();
                    prop_assert_eq!(catalog.remove(&users, which).len(), usize::from(model.remove(&number).is_some()));
                }
                Step::Advance(seconds) => {
                    clock.advance(Duration::from_secs(seconds));
                    now += seconds;
                }
            }
            model.retain(|_, (_, heard)| now - *heard < TTL.as_secs());
            let expected: Vec<(String, String)> =
                model.iter().map(|(number, (revision, _))| (format!("10.0.0.{number}"), revision.to_string())).collect();
            let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
            let found: Vec<_> =
                shown(&catalog, "users").iter().map(|host| (text(&host["ip_address"]), text(&host["revision"]))).collect();
            prop_assert_eq!(&found, &expected);
            prop_assert_eq!(catalog.counts().iter().map(|(_, hosts)| hosts).sum::<usize>(), expected.len());
            let seen = catalog.view(&users).version();
            prop_assert_eq!(seen == version, expected == content);
            (version, content) = (seen, expected);
        }
    }
}
