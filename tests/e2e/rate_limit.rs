//! `builtin:rate-limit` before a real upstream, with several workers.

mod cluster;
mod explain;
mod global;
mod outages;
mod pressure;
mod security;
mod service;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::task::JoinSet;

use crate::support::{Launch, Proxy, Upstream, endpoints, proxy, redis::Redis};

/// Everything goes to `app`, behind these rules.
fn yaml(upstream: &Upstream, rules: &str) -> String {
    format!(
        "listeners:\n  web: {{ address: '127.0.0.1:0', filters: [rate-limit], cluster: app }}\n\
         filters:\n  rate-limit:\n    module: builtin:rate-limit\n    allow: {{ shared_data: true }}\n    config:\n      rules: [{rules}]\n\
         clusters:\n  app: {{ endpoints: ['{}'] }}\n",
        upstream.address
    )
}

/// The same behind rules that a Redis server counts; `redis` is what else is said of it.
fn global(upstream: &Upstream, server: &Redis, redis: &str, rules: &str) -> String {
    global_at(upstream, &[server], redis, rules)
}

/// And behind rules that several servers count.
fn global_at(upstream: &Upstream, servers: &[&Redis], redis: &str, rules: &str) -> String {
    let servers: Vec<_> = servers.iter().map(|server| server.address).collect();
    format!(
        "listeners:\n  web: {{ address: '127.0.0.1:0', filters: [rate-limit], cluster: app }}\n\
         filters:\n  rate-limit:\n    module: builtin:rate-limit\n    allow: {{ shared_data: true, clusters: [limits] }}\n    config:\n      \
         domain: shop\n      redis: {{ cluster: limits, {redis} }}\n      rules: [{rules}]\n\
         clusters:\n  app: {{ endpoints: ['{}'] }}\n  limits: {{ protocol: tcp, {} }}\n",
        upstream.address,
        endpoints(&servers)
    )
}

/// Two processes that run the same, with two workers each.
async fn two(yaml: &str) -> (Proxy, Proxy) {
    let start = || Launch::new(yaml).workers(2).start();
    (start().await, start().await)
}

/// Asks so often on connections of their own, and says how many were let through.
async fn admitted(proxy: &Proxy, clients: usize, requests: usize, header: &'static str) -> usize {
    let through = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..clients {
        let (address, through) = (proxy.web(), Arc::clone(&through));
        tasks.spawn(async move {
            for _ in 0..requests {
                let answer = proxy::get(address, "/", header).await;
                match answer.status() {
                    200 => through.fetch_add(1, Ordering::Relaxed),
                    429 => 0,
                    other => panic!("{other}"),
                };
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    through.load(Ordering::Relaxed)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_is_exact_over_all_workers() {
    let upstream = Upstream::says("ok").await;
    // So slow that nothing comes back while the test runs.
    let proxy =
        Launch::new(yaml(&upstream, "{ name: all, limit: { rate: 50/d, burst: 50 } }")).workers(4).start().await;
    assert_eq!(admitted(&proxy, 16, 20, "").await, 50);
    assert_eq!(upstream.seen().len(), 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_key_has_its_own_limit_and_is_told_when_to_come_back() {
    let upstream = Upstream::says("ok").await;
    let rule = "{ name: tenant, key: [{ from: { request_header: x-tenant } }], limit: { rate: 5/h, burst: 5 } }";
    let proxy = Launch::new(yaml(&upstream, rule)).workers(2).start().await;
    assert_eq!(admitted(&proxy, 4, 5, "x-tenant: a\r\n").await, 5);
    assert_eq!(admitted(&proxy, 4, 5, "x-tenant: b\r\n").await, 5);
    // No part of the key, no say.
    assert_eq!(admitted(&proxy, 2, 10, "").await, 20);
    let refused = proxy.get_with("/", "x-tenant: a\r\n").await;
    assert_eq!(refused.status(), 429);
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=720).contains(&wait), "{wait}");
    assert!(refused.header("ratelimit").is_some_and(|value| value.contains("r=0")), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_outlive_a_reload_and_a_refused_configuration_changes_nothing() {
    let upstream = Upstream::says("ok").await;
    let first = yaml(&upstream, "{ name: all, limit: { rate: 10/d, burst: 10 } }");
    let mut proxy = Launch::new(first.clone()).workers(2).start().await;
    assert_eq!(admitted(&proxy, 1, 6, "").await, 6);
    proxy.reload(&first.replace("name: all,", "name: all, near: '90%', top: 3,")).await;
    assert_eq!(admitted(&proxy, 1, 10, "").await, 4);
}
