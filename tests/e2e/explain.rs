//! `fyke explain`.

use std::fs;

use serde_json::{Value, json};

use crate::support::{
    process::{Ended, run},
    proxy::Proxy,
    upstream::Upstream,
};

const ROUTES: &str = r#"
listeners:
  web: { address: 192.0.2.1:8080, filters: [request-id, router, ask] }
  other: { address: 192.0.2.1:8081, cluster: app }
filters:
  request-id: { module: builtin:request-id }
  router:
    module: builtin:router
    config:
      routes:
        - { name: beta, match: { path_prefix: /v1, headers: [{ name: x-beta, exact: "1" }] }, cluster: beta }
        - { name: users, match: { path_prefix: /v1/users }, cluster: app, rewrite: { prefix: /users }, timeout: 3s, retry: { on: [5xx, reset], attempts: 2 } }
        - { name: old, match: { path: /old }, redirect: { path: /new } }
  ask: { module: builtin:ext-authz, allow: { clusters: [authz] }, config: { http: { cluster: authz, path_prefix: /check, timeout: 5s } } }
clusters:
  app: { endpoints: [192.0.2.2:80, { address: 192.0.2.3:80, weight: 3 }], load_balancer: round_robin }
  beta: { endpoints: [192.0.2.4:80] }
  authz: { endpoints: [192.0.2.5:80] }
"#;

fn explain(configuration: &str, more: &[&str]) -> Ended {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("proxy.yaml");
    fs::write(&path, configuration).unwrap();
    run(["explain", "--config", path.to_str().unwrap()].iter().chain(more))
}

fn told(configuration: &str, more: &[&str]) -> Value {
    let ended = explain(configuration, &[more, &["--output", "json"]].concat());
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{}", ended.stdout);
    serde_json::from_str(&ended.stdout).unwrap()
}

#[test]
fn it_says_what_a_request_meets_and_why_not_the_rest() {
    let ended = explain(ROUTES, &["http://192.0.2.1:8080/v1/users/7?a=1", "-H", "x-beta: 2"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{}", ended.stdout);
    for words in [
        "not listener other (",
        ": its port is 8081, not 8080",
        "listener web (",
        ": it listens on 192.0.2.1:8080",
        "filter request-id\n  did: request + x-request-id: ",
        "route \"beta\" does not match: header x-beta: expected \"1\", was \"2\"",
        "route \"users\" matches: to a cluster",
        "did: request   :path: /v1/users/7?a=1 -> /users/7?a=1",
        "timeout 3000 ms",
        "up to 2 retries on 5xx, reset",
        "cluster app (",
        "round_robin",
        "192.0.2.3:80 weight 3",
        "the upstream is sent GET /users/7?a=1\n  host: 192.0.2.1:8080\n",
        "called on the way: authz",
    ] {
        assert!(ended.stdout.contains(words), "{words:?} is missing in:\n{}", ended.stdout);
    }
    let told = told(ROUTES, &["http://192.0.2.1:8080/old"]);
    assert_eq!(
        (&told["answer"]["status"], &told["answer"]["by"], &told["cluster"]),
        (&301.into(), &"router".into(), &Value::Null)
    );
    assert_eq!(told["route"]["name"], "old");
}

#[test]
fn where_nothing_is_met_it_says_that() {
    let told = told(ROUTES, &["https://192.0.2.1:8080/"]);
    assert_eq!(told["listener"], Value::Null);
    assert!(told["listeners"].to_string().contains("it has no certificates"), "{told}");
    for (more, code, words) in
        [(&["nowhere"][..], 2, "has no scheme"), (&["http://a/", "--listener", "wep"], 2, "did you mean \"web\"?")]
    {
        let ended = explain(ROUTES, more);
        assert!(ended.code == Some(code) && ended.stderr.contains(words), "{more:?}: {}", ended.stderr);
    }
    let ended = explain("listeners: {}", &["http://a/"]);
    assert_eq!(ended.code, Some(2), "{}", ended.stdout);
}

#[tokio::test]
async fn a_running_proxy_explains_itself_and_nothing_happens() {
    let upstream = Upstream::says("app").await;
    let proxy = Proxy::start(format!(
        r#"
admin: {{ address: 127.0.0.1:0 }}
listeners: {{ web: {{ address: 127.0.0.1:0, filters: [router] }} }}
filters:
  router: {{ module: builtin:router, config: {{ routes: [{{ name: a, match: {{ path: /a }}, cluster: app }}, {{ name: rest, cluster: app }}] }} }}
clusters: {{ app: {{ endpoints: [{}] }} }}
"#,
        upstream.address
    ))
    .await;
    let url = format!("http://{}/b", proxy.web());
    let ended = proxy.command(&["explain", "--listener", "web", &url, "--output", "json"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{}", ended.stdout);
    let told: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(
        (&told["listener"], &told["route"]["name"], &told["generation"]),
        (&"web".into(), &"rest".into(), &1.into())
    );
    let endpoint = &told["cluster"]["endpoints"][0];
    assert_eq!(
        (&endpoint["address"], &endpoint["health"], &endpoint["eligible"]),
        (&json!(upstream.address.to_string()), &"healthy".into(), &true.into())
    );
    let says = told["filters"][0]["says"][1].as_str().unwrap();
    assert!(says.contains(r#"does not match: path: expected "/a", was "/b""#), "{says}");
    // It counts nowhere, and nobody got it.
    assert_eq!(proxy.metric("fyke_listener_requests_total", &[("listener", "web")]).await, 0.0);
    assert_eq!(proxy.get("/b").await.status(), 200);
}
