//! Limits that are counted by several servers of Redis: a cluster, or a primary and its replica.

use fyke_peers::RedisCluster;

use super::{admitted, global_at, two};
use crate::support::{
    Launch, Upstream, eventually,
    redis::{Redis, follows},
};

/// A machine that has much to do is no outage.
const PATIENT: &str = "timeout: 10s, failure_mode: closed";
const TENANT: &str = "{ name: tenant, global: true, key: [{ from: { request_header: x-tenant } }], limit: 20/d }";

/// Servers of Redis Cluster, each of which has a third of the slots.
struct Cluster {
    nodes: Vec<Redis>,
}

impl Cluster {
    fn start() -> Self {
        let cluster = RedisCluster::start(3).expect("a redis-server");
        Self { nodes: cluster.nodes.into_iter().map(Redis::from).collect() }
    }

    /// A hash tag whose slot a node has.
    async fn tag(&self, node: u32) -> String {
        for number in 0.. {
            let tag = format!("{{t{number}}}");
            let slot = self.nodes[0].ask(&["CLUSTER", "KEYSLOT", &tag]).await;
            if slot.trim_start_matches(':').parse::<u32>().unwrap() / 5462 == node {
                return tag;
            }
        }
        unreachable!()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_share_a_limit_in_a_cluster_of_redis() {
    let (upstream, cluster) = (Upstream::says("ok").await, Cluster::start());
    let tag = cluster.tag(2).await;
    let options = format!("prefix: '{tag}:', {PATIENT}");
    let nodes: Vec<&Redis> = cluster.nodes.iter().collect();
    let (one, other) = two(&global_at(&upstream, &nodes, &options, TENANT)).await;
    let tenant = "x-tenant: a\r\n";
    let both = tokio::join!(admitted(&one, 8, 5, tenant), admitted(&other, 8, 5, tenant));
    assert_eq!(both.0 + both.1, 20, "{both:?}");
    assert_eq!(cluster.nodes[2].ask(&["EXISTS", &format!("{tag}:shop:tenant:a:r0")]).await, ":1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_no_endpoint_is_not_connected_to() {
    let (upstream, cluster) = (Upstream::says("ok").await, Cluster::start());
    let tag = cluster.tag(2).await;
    let nodes = [&cluster.nodes[0], &cluster.nodes[1]];
    let options = format!("prefix: '{tag}:', {PATIENT}");
    let proxy = Launch::new(global_at(&upstream, &nodes, &options, TENANT)).start().await;
    assert_eq!(admitted(&proxy, 4, 5, "x-tenant: a\r\n").await, 0);
    proxy.logged(&["limits in redis cannot be looked up", "not one of the cluster's"]).await;
    assert_eq!(cluster.nodes[2].ask(&["DBSIZE"]).await, ":0");
}

/// A primary and its replica.
async fn pair() -> (Redis, Redis) {
    let primary = Redis::start();
    let replica = Redis::with(&["--replicaof", "127.0.0.1", &primary.address.port().to_string()]);
    follows(&replica).await;
    (primary, replica)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_becomes_a_replica_is_left_for_the_new_one() {
    let (upstream, (old, new)) = (Upstream::says("ok").await, pair().await);
    let (one, other) = two(&global_at(&upstream, &[&old, &new], PATIENT, TENANT)).await;
    let both = tokio::join!(admitted(&one, 8, 3, "x-tenant: a\r\n"), admitted(&other, 8, 3, "x-tenant: a\r\n"));
    assert_eq!(both.0 + both.1, 20, "{both:?}");
    // Nobody closes connections: those that there are lead to a replica now.
    assert_eq!(new.ask(&["REPLICAOF", "NO", "ONE"]).await, "+OK");
    assert_eq!(old.ask(&["REPLICAOF", "127.0.0.1", &new.address.port().to_string()]).await, "+OK");
    follows(&old).await;
    let both = tokio::join!(admitted(&one, 8, 3, "x-tenant: b\r\n"), admitted(&other, 8, 3, "x-tenant: b\r\n"));
    assert_eq!(both.0 + both.1, 20, "{both:?}");
    assert_eq!(new.ask(&["EXISTS", "fyke:limit:shop:tenant:b:r0"]).await, ":1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_dies_is_left_for_the_one_that_takes_its_place() {
    let (upstream, (mut old, new)) = (Upstream::says("ok").await, pair().await);
    let yaml = global_at(&upstream, &[&old, &new], PATIENT, TENANT);
    // Whoever is no primary is taken out.
    let check = "health_check: { tcp: { send: \"ROLE\\r\\n\", receive: [master] }, interval: 100ms, unhealthy: 1, healthy: 1, no_traffic_interval: 100ms }";
    let yaml = yaml.replace("limits: { protocol: tcp,", &format!("limits: {{ {check}, protocol: tcp,"));
    let proxy = Launch::new(yaml).workers(2).start().await;
    let healthy = async |count: f64| {
        eventually(format!("{count} healthy endpoints"), async || {
            let now = proxy.metric("fyke_cluster_endpoints", &[("cluster", "limits"), ("health", "healthy")]).await;
            (now - count).abs().lt(&0.5).then_some(())
        })
        .await;
    };
    healthy(1.0).await;
    assert_eq!(admitted(&proxy, 8, 3, "x-tenant: a\r\n").await, 20);
    old.server.process.kill();
    assert_eq!(proxy.get_with("/", "x-tenant: c\r\n").await.status(), 429);
    assert_eq!(new.ask(&["REPLICAOF", "NO", "ONE"]).await, "+OK");
    eventually("the new one to count", async || {
        (proxy.get_with("/", "x-tenant: c\r\n").await.status() == 200).then_some(())
    })
    .await;
    // Both workers know by now, or find out.
    let mut number = 0;
    eventually("a limit to be counted by both workers", async || {
        number += 1;
        let tenant: &'static str = format!("x-tenant: b{number}\r\n").leak();
        (admitted(&proxy, 8, 3, tenant).await == 20).then_some(())
    })
    .await;
}
