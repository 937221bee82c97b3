//! In all rings: what reaches whom.

use fyke_sdk::testing::{TestHost, TestRequest, TestResponse};

use crate::Router;

const CONFIGURATION: &str = r#"
routes:
  - { name: users, match: { path_prefix: /users }, cluster: users, rewrite: { prefix: / }, request_headers: { set: { x-from: router } } }
  - { name: old, match: { path: /old }, redirect: { path: /new, code: 308 } }
  - { name: ping, match: { path: /ping }, respond: { status: 200, body: pong } }
  - { name: host, match: { path: /host }, cluster: users, rewrite: { host: inner.example } }
  - { match: { path: /mixed }, weighted_clusters: [{ cluster: users, weight: 1 }, { cluster: shop, weight: 1 }] }
  - { name: answer, match: { path: /answer }, cluster: shop, response_headers: { set: { x-route: answer }, remove: [server] } }
  - { name: posts, match: { method: POST, query: [{ name: q, exact: "1" }] }, cluster: shop }
"#;

fn host() -> TestHost<Router> {
    let mut host = TestHost::<Router>::configure(CONFIGURATION).unwrap();
    host.cluster("users", |_| TestResponse::ok().body("users"));
    host.cluster("shop", |_| TestResponse::ok().header("server", "shop").body("shop"));
    host
}

#[test]
fn routes_lead_to_clusters_rewritten() {
    let mut host = host();
    let out = host.send(TestRequest::get("/users/42?x=1"));
    assert_eq!((out.status(), out.body().bytes()), (200, &b"users"[..]));
    assert_eq!(out.upstream().path(), "/42?x=1");
    assert_eq!(out.upstream().header("x-from"), "router");
    assert_eq!(host.send(TestRequest::get("/host")).upstream().authority(), "inner.example");
    assert_eq!(host.send(TestRequest::post("/x?q=1").body("b")).body(), "shop");
}

#[test]
fn some_are_answered_here() {
    let mut host = host();
    let moved = host.send(TestRequest::get("/old?a"));
    assert_eq!((moved.status(), moved.header("location").bytes()), (308, &b"http://test.example/new?a"[..]));
    assert_eq!(host.send(TestRequest::get("/ping")).body(), "pong");
    let nowhere = host.send(TestRequest::get("/nowhere"));
    assert_eq!((nowhere.status(), nowhere.reached_upstream()), (404, false));
}

#[test]
fn answers_are_changed() {
    let out = host().send(TestRequest::get("/answer"));
    assert_eq!(out.header("x-route"), "answer");
    assert!(!out.values("server").iter().any(|server| *server == "shop"));
}

#[test]
fn weights_reach_every_cluster() {
    let mut host = host();
    let users = (0..64).filter(|_| host.send(TestRequest::get("/mixed")).body() == "users").count();
    // Mean 32, standard deviation 4: seven of them on each side.
    assert!((4..=60).contains(&users), "{users}");
}
