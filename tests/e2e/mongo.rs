//! `builtin:mongo` between the official driver and a server: what is counted, and clients that share connections.

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

#[allow(dead_code, unused_imports, reason = "the other programs use the rest")]
mod support;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use fyke_mongo_server::{MongoServer, Options, Pose};
use mongodb::{
    Client, Collection,
    bson::{Document, doc},
};
use support::{Launch, Proxy};
use tokio::task::JoinSet;

/// A proxy in front of this server; `more` of the filter and `cluster` of the cluster.
async fn proxy(server: SocketAddr, more: &str, cluster: &str) -> Proxy {
    let yaml = format!(
        "listeners:\n  web: {{ address: '127.0.0.1:0', protocol: tcp, cluster: mongo, filters: [mongo] }}\n\
         filters:\n  mongo:\n    module: builtin:mongo\n    limits: {{ series: 5000 }}\n    \
         allow: {{ clusters: [mongo], shared_data: true }}\n    config: {{ stat_prefix: t{more} }}\n\
         clusters:\n  mongo: {{ endpoints: ['{server}']{cluster} }}\n"
    );
    Launch::new(yaml).workers(2).start().await
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
            tokio::time::sleep(Duration::from_millis(30)).await;
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
    assert!(served.load(Ordering::Relaxed) > 0, "{served:?}");
    assert_eq!(server.wire_errors(), Vec::<String>::new());
    assert_eq!(proxy.metric("fyke_cluster_leases_active", &[("cluster", "mongo")]).await, 0.0);
}
