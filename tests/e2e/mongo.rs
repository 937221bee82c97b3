//! `builtin:mongo` between drivers and servers: what is counted, clients that share connections, and servers that fail or lie.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    missing_docs,
    reason = "tests"
)]
#![forbid(unsafe_code)]

#[path = "mongo/counts.rs"]
mod counts;
#[path = "mongo/drivers.rs"]
mod drivers;
#[path = "mongo/failover.rs"]
mod failover;
#[path = "mongo/lies.rs"]
mod lies;
#[path = "mongo/process.rs"]
mod process;
#[allow(dead_code, unused_imports, reason = "the other programs use the rest")]
mod support;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use fyke_mongo_server::{Deployment, MongoServer, Options, Pose};
use mongodb::{
    Client, Collection,
    bson::{Document, doc},
};
use support::{Launch, Proxy};
use tokio::task::JoinSet;

/// A proxy in front of this server; `more` of the filter and `cluster` of the cluster.
async fn proxy(server: SocketAddr, more: &str, cluster: &str) -> Proxy {
    proxy_for(&[server], more, cluster).await
}

/// The same for several servers.
async fn proxy_for(servers: &[SocketAddr], more: &str, cluster: &str) -> Proxy {
    let endpoints: Vec<_> = servers.iter().map(|server| format!("'{server}'")).collect();
    let endpoints = endpoints.join(", ");
    let yaml = format!(
        "listeners:\n  web: {{ address: '127.0.0.1:0', protocol: tcp, cluster: mongo, filters: [mongo] }}\n\
         filters:\n  mongo:\n    module: builtin:mongo\n    limits: {{ series: 5000 }}\n    \
         allow: {{ clusters: [mongo], shared_data: true }}\n    config: {{ stat_prefix: t{more} }}\n\
         clusters:\n  mongo: {{ endpoints: [{endpoints}]{cluster} }}\n"
    );
    Launch::new(yaml).workers(2).start().await
}

/// Clients share connections to the servers.
const POOL: &str = ", pool: { cluster: mongo }";
/// Nobody who waits for one is refused.
const PENDING: &str = ", circuit_breakers: { pending: 10000 }";

/// A replica set, and a proxy in front of its members.
async fn replica_set(members: usize, pool: &str, cluster: &str) -> (Deployment, Proxy) {
    let set = Deployment::start(Options::posing(Pose::ReplicaSet), members).await.unwrap();
    let servers: Vec<_> = set.servers().iter().map(MongoServer::address).collect();
    let proxy = proxy_for(&servers, pool, cluster).await;
    (set, proxy)
}

/// Every connection was given back.
async fn nothing_is_lent(proxy: &Proxy) {
    // A connection comes back after its answer has gone to the client.
    support::eventually("every connection to be given back", async || {
        (proxy.metric("fyke_cluster_leases_active", &[("cluster", "mongo")]).await == 0.0).then_some(())
    })
    .await;
}

/// Where drivers in other languages find the proxy.
fn uri(proxy: &Proxy, options: &str) -> String {
    format!("mongodb://{}/?appName=driven&serverSelectionTimeoutMS=20000{options}", proxy.web())
}

async fn client(proxy: &Proxy, more: &str) -> Client {
    let uri = format!("mongodb://{}/?appName=tester&serverSelectionTimeoutMS=10000{more}", proxy.web());
    Client::with_uri_str(uri).await.unwrap()
}

fn people(client: &Client) -> Collection<Document> {
    client.database("shop").collection("people")
}

/// What the proxy has counted of a command, over all other labels.
async fn counted(proxy: &Proxy, command: &str) -> u64 {
    let text = proxy.ask("/metrics").await.text();
    let lines = text.lines().filter(|line| {
        line.starts_with("mongo_operations_total{") && line.contains(&format!("mongo_cmd=\"{command}\""))
    });
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap() as u64).sum()
}

async fn mixed(collection: Collection<Document>, from: i64, rounds: i64) {
    for number in from..from + rounds {
        collection.insert_one(doc! { "_id": number, "n": number % 7, "text": "x".repeat(100) }).await.unwrap();
        let found = collection.find_one(doc! { "_id": number }).await.unwrap().unwrap();
        assert_eq!(found.get_i64("_id").unwrap(), number);
        collection.update_one(doc! { "_id": number }, doc! { "$set": { "seen": true } }).await.unwrap();
        if number % 5 == 0 {
            collection.delete_one(doc! { "_id": number }).await.unwrap();
        }
    }
}

async fn everything_is_counted(compressors: &str) {
    let server = MongoServer::start(Options::default()).await.unwrap();
    let proxy = proxy(server.address(), "", "").await;
    let mut tasks = JoinSet::new();
    for number in 0..8 {
        let client = client(&proxy, &format!("&directConnection=true{compressors}")).await;
        tasks.spawn(async move { mixed(people(&client), number * 1000, 50).await });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    for command in ["insert", "find", "update", "delete"] {
        let at_server = server.log().count(command);
        assert!(at_server >= 80, "{command}: {at_server}");
        assert_eq!(counted(&proxy, command).await, at_server, "{command}");
    }
    assert_eq!(server.wire_errors(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_of_a_driver_is_counted() {
    everything_is_counted("").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn compressed_ones_too() {
    for compressor in ["snappy", "zlib", "zstd"] {
        everything_is_counted(&format!("&compressors={compressor}")).await;
    }
}

/// A server with a password, and a proxy that lets everybody share at most so many connections to it.
async fn pooled(pose: Pose, connections: usize) -> (MongoServer, Proxy) {
    let users = vec![("app".to_owned(), "secret".to_owned())];
    let server = MongoServer::start(Options { pose, users, iterations: 4096, ..Options::default() }).await.unwrap();
    let pool = ", pool: { cluster: mongo, user: app, password: secret }";
    let limits = format!(", circuit_breakers: {{ connections: {connections}, pending: 10000 }}");
    let proxy = proxy(server.address(), pool, &limits).await;
    (server, proxy)
}

#[tokio::test(flavor = "multi_thread")]
async fn many_clients_share_few_connections() {
    let (server, proxy) = pooled(Pose::Mongos, 4).await;
    let mut tasks = JoinSet::new();
    for number in 0..24 {
        let client = client(&proxy, "&maxPoolSize=4&directConnection=true").await;
        tasks.spawn(async move { mixed(people(&client), number * 1000, 20).await });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    // While workers even out their parts, the server hears of a close a moment after the proxy has opened the next one.
    support::eventually("no more than four", async || (server.connections().current <= 4).then_some(())).await;
    assert!(proxy.metric("fyke_cluster_connections_active", &[("cluster", "mongo")]).await <= 4.0);
    for command in ["insert", "find", "update", "delete"] {
        assert_eq!(counted(&proxy, command).await, server.log().count(command), "{command}");
    }
    assert_eq!(server.wire_errors(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn cursors_and_transactions_pass_with_the_pool_on() {
    let (server, proxy) = pooled(Pose::Mongos, 2).await;
    let client = client(&proxy, "&directConnection=true").await;
    let all = people(&client);
    all.insert_many((0..25).map(|number| doc! { "_id": number })).await.unwrap();
    let mut cursor = all.find(doc! {}).batch_size(3).await.unwrap();
    let mut seen = 0;
    while cursor.advance().await.unwrap() {
        seen += 1;
    }
    assert_eq!(seen, 25);
    let mut session = client.start_session().await.unwrap();
    session.start_transaction().await.unwrap();
    all.insert_one(doc! { "_id": 100 }).session(&mut session).await.unwrap();
    // Nobody else sees it before it is committed.
    assert_eq!(all.find_one(doc! { "_id": 100 }).await.unwrap(), None);
    session.commit_transaction().await.unwrap();
    assert!(all.find_one(doc! { "_id": 100 }).await.unwrap().is_some());
    assert!(server.connections().peak <= 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_goes_and_comes_back_leaves_nobody_stuck_and_nothing_dirty() {
    let (server, proxy) = pooled(Pose::Mongos, 4).await;
    let served = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    for number in 0_i64..8 {
        let client = client(&proxy, "&maxPoolSize=2&directConnection=true").await;
        let served = Arc::clone(&served);
        tasks.spawn(async move {
            let collection = people(&client);
            for round in 0..200 {
                let id = number * 1000 + round;
                // Whatever fails, what comes is this client's own.
                if collection.insert_one(doc! { "_id": id, "mark": number }).await.is_ok()
                    && let Ok(Some(found)) = collection.find_one(doc! { "_id": id }).await
                {
                    assert_eq!(found.get_i64("mark").unwrap(), number);
                    served.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
    }
    let breaks = async {
        for _ in 0..5 {
            let before = server.log().total();
            support::eventually("a hundred more operations", async || {
                (server.log().total() >= before + 100).then_some(())
            })
            .await;
            server.disconnect_all();
        }
    };
    breaks.await;
    let done = async {
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
    };
    support::soon("every client ends", done).await;
    // What was under way when the server went has failed, and nothing else.
    assert!(served.load(Ordering::Relaxed) > 800, "{served:?} of 1600");
    assert_eq!(server.wire_errors(), Vec::<String>::new());
    nothing_is_lent(&proxy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_reach_the_primary_and_no_secondary() {
    let (set, proxy) = replica_set(3, POOL, PENDING).await;
    let mut written = 0;
    for (primary, server) in set.servers().iter().enumerate() {
        set.set_primary(Some(primary));
        let client = client(&proxy, "&directConnection=true").await;
        // Whoever finds out about the election may be told so.
        support::eventually("a write to the new primary", async || {
            written += 1;
            people(&client).insert_one(doc! { "_id": written }).await.ok()
        })
        .await;
        let inserts = || set.servers().iter().map(|server| server.log().count("insert")).collect::<Vec<_>>();
        let before = inserts();
        for number in 0..30 {
            people(&client).insert_one(doc! { "_id": written * 1000 + number }).await.unwrap();
        }
        let after = inserts();
        let reached: Vec<_> = before.iter().zip(after).map(|(before, after)| after - before).collect();
        let astray = reached.iter().sum::<u64>() - reached[primary];
        // The other worker, should the driver use a connection of it now, finds out by being told, too, and the driver tries again.
        assert!(reached[primary] == 30 && astray <= 1, "{reached:?} from {}", server.address());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_is_gone_is_followed_by_the_next_one() {
    let (set, proxy) = replica_set(2, POOL, PENDING).await;
    let client = client(&proxy, "&directConnection=true").await;
    people(&client).insert_one(doc! { "_id": 0 }).await.unwrap();
    set.server(0).unwrap().stop().await;
    set.set_primary(Some(1));
    let mut written = 0;
    support::eventually("a write to the new primary", async || {
        written += 1;
        people(&client).insert_one(doc! { "_id": written }).await.ok()
    })
    .await;
    assert!(set.server(1).unwrap().log().count("insert") > 0);
}
