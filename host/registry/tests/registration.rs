//! A proxy that registers itself, against the registry.
#![cfg(test)]
#![allow(missing_docs, reason = "tests")]

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use fyke_registry::{
    Clock, Load, Registry,
    client::{ClientError, Registration, RegistrationSettings, Status},
};
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use support::{Running, start, start_with, until, wall};
use tokio::net::TcpListener;

const USERS: &str = "/v1/registration/users";

fn client(registry: std::net::SocketAddr, more: Value) -> RegistrationSettings {
    let mut json = json!({"service": "users", "address": "10.0.0.1:8080", "registry": format!("http://{registry}")});
    json.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(json).unwrap()
}

async fn status(registration: &Registration, holds: impl FnMut(&Status) -> bool) -> Status {
    let mut status = registration.status();
    let reached = tokio::time::timeout(Duration::from_secs(20), status.wait_for(holds)).await;
    reached.expect("in time").expect("it runs").clone()
}

/// Moves the client's clock when it sleeps; heartbeat after heartbeat.
async fn beat(registration: &Registration, clock: &Clock, span: Duration) -> Status {
    let before = registration.status().borrow().clone();
    until("it sleeps", || async { clock.sleepers() > 0 }).await;
    clock.advance(span);
    status(registration, |status| status.heartbeats + status.failures > before.heartbeats + before.failures).await
}

#[tokio::test]
async fn it_registers_at_once_lives_and_leaves() {
    let folder = tempfile::tempdir().unwrap();
    let (tokens, token) = (folder.path().join("tokens.yaml"), folder.path().join("token"));
    std::fs::write(&tokens, "services: {users: [token-of-users-01]}").unwrap();
    std::fs::write(&token, "token-of-users-01\n").unwrap();
    let registry = start(json!({"tokens_file": tokens, "host_ttl": "90s"})).await;
    let settings = client(
        registry.address,
        json!({"token_file": token, "revision": "abc", "tags": {"az": "eu-1a", "canary": "true"}}),
    );
    let clock = Clock::manual(wall());
    let registration = Registration::start(&settings, None, clock.clone()).unwrap();
    status(&registration, |status| status.heartbeats == 1).await;
    let answer = registry.get(USERS).await.json();
    let host = &answer["hosts"][0];
    assert_eq!(
        (&host["ip_address"], &host["port"], &host["revision"]),
        (&json!("10.0.0.1"), &json!(8080), &json!("abc"))
    );
    assert_eq!(host["tags"], json!({"az": "eu-1a", "canary": true}));
    // With every third of the registry's TTL, not of the default.
    for _ in 0..5 {
        registry.clock.advance(Duration::from_secs(30));
        assert_eq!(beat(&registration, &clock, Duration::from_secs(30)).await.failures, 0);
        assert_eq!(registry.get(USERS).await.hosts().len(), 1);
    }
    registration.deregister(Duration::from_secs(10)).await.unwrap();
    assert!(registry.get(USERS).await.hosts().is_empty());
    assert_eq!(registry.metric("fyke_registry_expirations_total").await, 0);
}

#[tokio::test]
async fn it_reports_load() {
    let registry = start(json!({"open": true, "load_weights": true})).await;
    let asked = Arc::new(AtomicU32::new(0));
    let counts = Arc::clone(&asked);
    let load = move || (counts.fetch_add(1, Ordering::Relaxed) > 0).then(|| Load::new(1.0, 0.2));
    let clock = Clock::manual(wall());
    let registration =
        Registration::start(&client(registry.address, json!({})), Some(Arc::new(load)), clock.clone()).unwrap();
    status(&registration, |status| status.heartbeats == 1).await;
    let weight = || async { registry.get(USERS).await.json()["hosts"][0]["tags"]["load_balancing_weight"].clone() };
    assert_eq!(weight().await, Value::Null);
    beat(&registration, &clock, Duration::from_secs(200)).await;
    assert_eq!(weight().await, 90);
    assert_eq!(asked.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_registry_that_is_away_is_tried_again() {
    // Nobody listens there until somebody does.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let clock = Clock::manual(wall());
    let registration = Registration::start(&client(address, json!({})), None, clock.clone()).unwrap();
    let failed = status(&registration, |status| status.failures == 1).await;
    assert!(failed.last_error.unwrap().starts_with("the registry cannot be reached"));
    assert_eq!(beat(&registration, &clock, Duration::from_secs(1)).await.failures, 2);
    assert_eq!(beat(&registration, &clock, Duration::from_secs(2)).await.failures, 3);

    let registry = at(address).await;
    let status = beat(&registration, &clock, Duration::from_secs(4)).await;
    assert_eq!((status.heartbeats, status.last_error), (1, None));
    assert_eq!(registry.get(USERS).await.hosts(), ["10.0.0.1:8080"]);
    registration.deregister(Duration::from_secs(10)).await.unwrap();
}

/// A registry at an address that was free a moment ago.
async fn at(address: std::net::SocketAddr) -> Running {
    let registry =
        fyke_registry::Registry::open(support::settings(json!({"open": true})), Clock::manual(wall())).await.unwrap();
    let listener = TcpListener::bind(address).await.unwrap();
    Running::of(registry, listener, Clock::manual(wall()))
}

#[tokio::test]
async fn what_the_registry_says_is_in_the_status() {
    let registry = start(json!({})).await;
    let clock = Clock::manual(wall());
    let registration = Registration::start(&client(registry.address, json!({})), None, clock.clone()).unwrap();
    let failed = status(&registration, |status| status.failures == 1).await;
    let error = failed.last_error.unwrap();
    assert!(error.starts_with("the registry answered 401 Unauthorized: needs `authorization"), "{error}");
    let left = registration.deregister(Duration::from_secs(10)).await;
    assert!(matches!(left, Err(ClientError::Refused { .. })), "{left:?}");

    let settings = client(registry.address, json!({"token_file": "/nowhere/token"}));
    let registration = Registration::start(&settings, None, clock).unwrap();
    let failed = status(&registration, |status| status.failures == 1).await;
    assert!(failed.last_error.unwrap().starts_with("token_file: /nowhere/token"));
}

#[tokio::test]
async fn leaving_has_a_deadline() {
    // It takes connections and says nothing.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let registration = Registration::start(&client(address, json!({})), None, Clock::manual(wall())).unwrap();
    let _heartbeat = listener.accept().await.unwrap();
    let left = registration.deregister(Duration::from_millis(50)).await;
    assert!(matches!(left, Err(ClientError::Timeout)), "{left:?}");
}

#[tokio::test]
async fn settings_that_cannot_be_do_not_begin() {
    let settings = client("127.0.0.1:1".parse().unwrap(), json!({"address": "10.0.0.1:0"}));
    let problem = Registration::start(&settings, None, Clock::system()).unwrap_err();
    assert_eq!(problem.to_string(), "address: must have a port of 1 to 65535, not 0");
}

#[tokio::test]
async fn a_registration_that_is_dropped_ends() {
    let registry = start_with(support::settings(json!({"open": true})), Clock::manual(wall())).await;
    let clock = Clock::manual(wall());
    let registration = Registration::start(&client(registry.address, json!({})), None, clock.clone()).unwrap();
    status(&registration, |status| status.heartbeats == 1).await;
    until("it sleeps", || async { clock.sleepers() > 0 }).await;
    drop(registration);
    until("it is gone", || async { clock.sleepers() == 0 }).await;
    assert_eq!(registry.get(USERS).await.hosts().len(), 1);
}

#[tokio::test]
async fn it_answers_without_a_socket_and_forgets_when_it_is_told_to_keep_up() {
    let clock = Clock::manual(wall());
    let registry = Registry::open(support::settings(json!({"open": true, "host_ttl": "60s"})), clock.clone()).await;
    let registry = registry.unwrap();
    let ask = async |method: Method, body: &str| {
        let request = Request::builder().method(method).uri(USERS).header("content-type", "application/json");
        let (head, body) = registry.answer(request.body(body.to_owned()).unwrap()).await.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (head.status, serde_json::from_slice::<Value>(&body).unwrap())
    };
    let (status, said) = ask(Method::POST, r#"{"ip": "10.0.0.1", "port": 8080}"#).await;
    assert_eq!((status, &said["ttl"]), (StatusCode::OK, &json!(60)));
    assert_eq!(ask(Method::GET, "").await.1["hosts"][0]["ip_address"], "10.0.0.1");
    clock.advance(Duration::from_secs(60));
    registry.keep_up().await;
    assert_eq!(ask(Method::GET, "").await.1["hosts"], json!([]));
}
