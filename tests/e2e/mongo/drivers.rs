//! Clients of drivers in other languages, who say themselves what they have sent.

use std::time::Duration;

use fyke_mongo_server::{MongoServer, Options, Pose};
use fyke_peers::{Counts, MongoClients, mongosh};
use serde_json::{Value, json};

use super::{
    counts::{expect_same, of_proxy, of_servers},
    nothing_is_lent, proxy, uri,
};
use crate::support::{Proxy, eventually, long};

/// Commands of one run.
fn operations() -> u64 {
    if long() { 100_000 } else { 2_000 }
}

/// However slow the machine is.
const PATIENCE: Duration = Duration::from_secs(1200);

/// With the pool on: fewer connections than there are clients. Each waits for its turn however long that takes: what is refused is tried
/// again, and the server has not heard of it.
const POOL: &str = ", pool: { cluster: mongo, queue_timeout: 60s }";
const FEW: &str = ", circuit_breakers: { connections: 6, pending: 10000 }";

/// A server that remembers everything, and a proxy in front of it.
async fn stage(pool: bool) -> (MongoServer, Proxy) {
    let options = Options { pose: Pose::Mongos, log_capacity: 1_000_000, ..Options::default() };
    let server = MongoServer::start(options).await.unwrap();
    let (pool, few) = if pool { (POOL, FEW) } else { ("", "") };
    let proxy = proxy(server.address(), pool, few).await;
    (server, proxy)
}

fn settings(proxy: &Proxy, options: &str) -> Value {
    json!({ "uri": uri(proxy, options), "operations": operations() })
}

/// Who starts clients of one driver.
type Start = fn(&Value) -> Option<MongoClients>;

async fn everything_is_counted(start: Start, pool: bool, options: &str) {
    let (server, proxy) = stage(pool).await;
    let Some(clients) = start(&settings(&proxy, options)) else { return };
    let outcome = tokio::task::spawn_blocking(move || clients.outcome(PATIENCE)).await.unwrap();
    outcome.expect_flawless();
    assert!(outcome.counts.values().sum::<u64>() >= operations());
    expect_same(&outcome.counts, &proxy, &[&server]).await;
    assert_eq!(server.wire_errors(), Vec::<String>::new());
    assert_eq!(server.open_transactions(), 0);
    if pool {
        // While workers even out their parts, the server hears of a close a moment after the proxy has opened the next one.
        eventually("no more than six", async || (server.connections().current <= 6).then_some(())).await;
        nothing_is_lent(&proxy).await;
    }
    let compressed = server.log().entries().iter().filter(|entry| entry.compressor.is_some()).count() as u64;
    assert_eq!(compressed > operations() / 2, options.contains("compressors") && !pool, "{compressed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pymongo_and_the_server_count_what_the_proxy_counts() {
    everything_is_counted(MongoClients::start, false, "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn so_they_do_when_pymongo_compresses() {
    for compressor in ["snappy", "zlib", "zstd"] {
        everything_is_counted(MongoClients::start, false, &format!("&compressors={compressor}")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn so_they_do_when_pymongo_shares_connections_of_a_mongos() {
    everything_is_counted(MongoClients::start, true, "&compressors=zlib").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn so_they_do_when_pymongo_shares_connections_behind_a_load_balancer() {
    everything_is_counted(MongoClients::start, true, "&loadBalanced=true").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_driver_and_the_server_count_what_the_proxy_counts() {
    everything_is_counted(MongoClients::start_node, false, "").await;
    everything_is_counted(MongoClients::start_node, false, "&compressors=snappy").await;
    everything_is_counted(MongoClients::start_node, false, "&compressors=zlib").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn so_they_do_when_nodes_driver_shares_connections() {
    everything_is_counted(MongoClients::start_node, true, "").await;
    everything_is_counted(MongoClients::start_node, true, "&loadBalanced=true").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shell_works_and_is_counted() {
    for (pool, options) in [(false, "&directConnection=true"), (true, ""), (true, "&loadBalanced=true")] {
        let (server, proxy) = stage(pool).await;
        let uri = format!("mongodb://{}/?serverSelectionTimeoutMS=20000{options}", proxy.web());
        let Some(printed) = tokio::task::spawn_blocking(move || mongosh(&uri)).await.unwrap() else { return };
        assert_eq!(printed.trim(), "done");
        // What it asks to find out where it is, the proxy and the log do not call by the same names.
        let of_shop = |counts: Counts| counts.into_iter().filter(|([_, database, ..], _)| database == "shop");
        let at_server: Counts = of_shop(of_servers(&[&server])).collect();
        assert!(at_server.contains_key(&["find", "shop", "shelf", "list"].map(str::to_owned)), "{at_server:#?}");
        assert_eq!(of_shop(of_proxy(&proxy).await).collect::<Counts>(), at_server);
        assert_eq!(server.wire_errors(), Vec::<String>::new());
    }
}
