//! Several services that share a Redis Cluster, whose slots move and whose nodes die.

use std::time::{Duration, Instant};

use fyke_peers::{Answer, RedisCluster, RedisServer};
use fyke_ratelimit_service::messages::Code;
use fyke_ratelimit_service::{FailureMode, OverLimitHits, RedisSettings, Refusal, StoreError};

use super::client::{Client, metric, request};
use super::exact::passed;
use super::redis::{RULES, counts_as_embedded, left, service_of, span, start_with, up};
use super::{Running, until};

fn start() -> RedisCluster {
    RedisCluster::start(3).expect("redis-server is needed: apt-get install redis-server")
}

fn settings(cluster: &RedisCluster) -> RedisSettings {
    // One is enough to find the others.
    RedisSettings::cluster([cluster.nodes[0].address().to_string()])
}

async fn service(cluster: &RedisCluster, failure_mode: FailureMode) -> Running {
    service_of(settings(cluster), failure_mode, |_| {}).await
}

fn number(server: &RedisServer, command: &[&str]) -> u16 {
    match server.connect().call(command) {
        Answer::Integer(number) => u16::try_from(number).unwrap(),
        answer => panic!("{answer:?}"),
    }
}

fn text(server: &RedisServer, command: &[&str]) -> String {
    match server.connect().call(command) {
        Answer::Bytes(bytes) => String::from_utf8(bytes).unwrap(),
        answer => panic!("{command:?}: {answer:?}"),
    }
}

fn key(user: &str) -> String {
    format!("fyke:d|k={user}|year")
}

/// A user's counter on a node.
fn count(server: &RedisServer, user: &str) -> u64 {
    match server.connect().call(&["GET", &key(user)]) {
        Answer::Bytes(state) => String::from_utf8(state).unwrap().split_once(' ').unwrap().1.parse().unwrap(),
        Answer::Null => 0,
        answer => panic!("{answer:?}"),
    }
}

fn slot(cluster: &RedisCluster, user: &str) -> u16 {
    number(&cluster.nodes[0], &["CLUSTER", "KEYSLOT", &key(user)])
}

/// The node that has a user's counter, as the slots were first given out.
fn home(cluster: &RedisCluster, user: &str) -> usize {
    usize::from(slot(cluster, user) / 16384_u16.div_ceil(3))
}

/// A user of each node.
fn users(cluster: &RedisCluster) -> Vec<String> {
    let users = || (0..).map(|number| format!("u{number}"));
    (0..3).map(|node| users().find(|user| home(cluster, user) == node).unwrap()).collect()
}

async fn remaining(running: &Running, user: &str) -> (Code, u32) {
    left(&running.handle.should_rate_limit(&request("d", &[&[("k", user)]])).await.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_services_let_exactly_one_limit_pass() {
    let cluster = start();
    let one = service(&cluster, FailureMode::Error).await;
    let other = service(&cluster, FailureMode::Error).await;
    assert!(one.handle.health().text.contains("redis cluster of 3 primaries connected"));
    let mut clients = Vec::new();
    for at in 0..8 {
        clients.push(Client::connect(if at % 2 == 0 { &one } else { &other }.address()).await);
    }
    let users = users(&cluster);
    for user in &users {
        assert_eq!(passed(&clients, 400, &request("d", &[&[("k", user)]])).await, 300);
    }
    for node in &cluster.nodes {
        assert_eq!(number(node, &["DBSIZE"]), 1);
    }
    // A request with descriptors of all nodes is over where one of them is, and all are counted.
    let descriptors: [&[(&str, &str)]; 4] = [&[("k", "a")], &[("other", "b")], &[("even", "c")], &[("k", "d")]];
    assert_eq!(passed(&clients, 9, &request("d", &descriptors)).await, 5);
    let response = one.handle.should_rate_limit(&request("d", &descriptors)).await.unwrap();
    let statuses: Vec<_> = response.statuses.iter().map(|status| (status.code(), status.limit_remaining)).collect();
    let expected = [(Code::Ok, 290), (Code::OverLimit, 0), (Code::Ok, 30), (Code::Ok, 290)];
    assert_eq!(statuses, expected, "in the order of asking");
    // Requests at the same time may come first at one counter and last at the other. Then fewer pass, and never more.
    assert!(passed(&clients, 40, &request("d", &[&[("other", "x")], &[("other", "y")]])).await <= 5);
}

#[tokio::test]
async fn a_cluster_counts_as_the_embedded_store_does() {
    let cluster = start();
    counts_as_embedded(settings(&cluster)).await;
}

#[tokio::test]
async fn with_one_tag_all_counters_are_on_one_node_and_one_call() {
    let cluster = start();
    let change = |redis: &mut RedisSettings| redis.prefix = "{fyke}:".to_owned();
    let running = service_of(settings(&cluster), FailureMode::Error, change).await;
    let descriptors: [&[(&str, &str)]; 3] = [&[("k", "a")], &[("k", "b")], &[("k", "c")]];
    running.handle.should_rate_limit(&request("d", &descriptors)).await.unwrap();
    let mut sizes: Vec<u16> = cluster.nodes.iter().map(|node| number(node, &["DBSIZE"])).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [0, 0, 3]);
    let calls = |node| text(node, &["INFO", "commandstats"]).contains("cmdstat_evalsha:calls=1,");
    assert_eq!(cluster.nodes.iter().filter(|node| calls(node)).count(), 1);
}

#[tokio::test]
async fn all_nodes_may_want_a_password() {
    let cluster = start();
    for node in &cluster.nodes {
        assert_eq!(text(node, &["CONFIG", "SET", "requirepass", "secret"]), "OK");
    }
    let login = |redis: &mut RedisSettings| {
        (redis.user, redis.password) = (Some("default".to_owned()), Some("secret".to_owned()));
    };
    let running = service_of(settings(&cluster), FailureMode::Error, login).await;
    for user in 0..20 {
        assert_eq!(remaining(&running, &user.to_string()).await, (Code::Ok, 299));
    }
}

#[tokio::test]
async fn a_slot_that_moves_loses_no_hit() {
    let cluster = start();
    let running = service(&cluster, FailureMode::Error).await;
    let user = users(&cluster).remove(0);
    let (from, to) = (&cluster.nodes[0], &cluster.nodes[2]);
    let slot = slot(&cluster, &user).to_string();
    let is_ok = |node: &RedisServer, command: &[&str]| assert_eq!(text(node, command), "OK", "{command:?}");
    assert_eq!(remaining(&running, &user).await, (Code::Ok, 299));
    is_ok(to, &["CLUSTER", "SETSLOT", &slot, "IMPORTING", &cluster.name(0)]);
    is_ok(from, &["CLUSTER", "SETSLOT", &slot, "MIGRATING", &cluster.name(2)]);
    assert_eq!(remaining(&running, &user).await, (Code::Ok, 298), "still there");
    let port = to.address().port().to_string();
    is_ok(from, &["MIGRATE", "127.0.0.1", &port, &key(&user), "0", "5000"]);
    for left in (293..=297).rev() {
        assert_eq!(remaining(&running, &user).await, (Code::Ok, left), "ASK");
    }
    for node in [to, from, &cluster.nodes[1]] {
        is_ok(node, &["CLUSTER", "SETSLOT", &slot, "NODE", &cluster.name(2)]);
    }
    let mut left = 293;
    let moved = || {
        let stats = text(from, &["INFO", "errorstats"]);
        let line = stats.lines().find_map(|line| line.strip_prefix("errorstat_MOVED:count=").map(str::to_owned));
        line.map_or(0, |count| count.trim().parse::<u64>().unwrap())
    };
    // Whether or not the map has changed, it is counted; and soon nobody is sent on any more.
    let settled = async || {
        let before = moved();
        left -= 1;
        assert_eq!(remaining(&running, &user).await, (Code::Ok, left), "MOVED");
        before > 0 && moved() == before
    };
    until(settled).await;
    assert_eq!(number(from, &["DBSIZE"]), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_node_that_is_away_fails_its_own_counters_only() {
    let mut cluster = start();
    for node in &cluster.nodes {
        node.connect().call(&["CONFIG", "SET", "cluster-require-full-coverage", "no"]);
    }
    let users = users(&cluster);
    let (here, away) = (users[0].as_str(), users[1].as_str());
    let mut services = Vec::new();
    for mode in [FailureMode::Local, FailureMode::Open, FailureMode::Close, FailureMode::Error] {
        services.push(service(&cluster, mode).await);
    }
    let [local, open, close, error] = services.as_slice() else { panic!() };
    assert_eq!(remaining(error, away).await, (Code::Ok, 299));
    cluster.nodes[1].process.kill();
    for running in &services {
        up(running, false).await;
    }
    assert!(error.handle.health().text.contains("redis cluster: 2 of 3 primaries connected"));

    assert_eq!(remaining(error, here).await, (Code::Ok, 299));
    let asked = error.handle.should_rate_limit(&request("d", &[&[("k", away)]])).await;
    assert_eq!(asked.map(|_| ()), Err(Refusal::Store(StoreError::Unavailable)));
    let both = request("d", &[&[("k", away)], &[("k", here)]]);
    let ask = async |running: &Running| {
        let response = running.handle.should_rate_limit(&both).await.unwrap();
        let statuses = response.statuses.iter().map(|status| (status.code(), status.limit_remaining));
        (response.overall_code(), statuses.collect::<Vec<_>>())
    };
    // What is counted in Redis goes on from service to service.
    assert_eq!(ask(local).await, (Code::Ok, vec![(Code::Ok, 299), (Code::Ok, 298)]));
    assert_eq!(ask(open).await, (Code::Ok, vec![(Code::Ok, 300), (Code::Ok, 297)]));
    assert_eq!(ask(close).await, (Code::OverLimit, vec![(Code::OverLimit, 0), (Code::Ok, 296)]));
    assert!(error.handle.should_rate_limit(&both).await.is_err());
    assert_eq!(ask(local).await, (Code::Ok, vec![(Code::Ok, 298), (Code::Ok, 294)]));
    assert_eq!(metric(&local.handle.metrics(), "fyke_ratelimit_redis_failures{reason=\"unavailable\"}"), Some(2.0));

    cluster.nodes[1].restart();
    for running in &services {
        up(running, true).await;
    }
    until(async || error.handle.should_rate_limit(&request("d", &[&[("k", away)]])).await.is_ok()).await;
    assert_eq!(remaining(local, away).await.0, Code::Ok);
}

#[tokio::test]
async fn a_node_that_knows_less_than_the_others_is_not_believed() {
    let cluster = start();
    // Each gets an epoch of its own, and so the cluster one.
    let has_epoch = |node| !text(node, &["CLUSTER", "INFO"]).contains("cluster_current_epoch:0");
    until(async || cluster.nodes.iter().all(has_epoch)).await;
    // Has all slots, as it thinks, for it has never heard of the others.
    let outdated = start_with(&["--cluster-enabled", "yes"]);
    assert_eq!(text(&outdated, &["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]), "OK");
    let nodes = [cluster.nodes[0].address().to_string(), outdated.address().to_string()];
    let running = service_of(RedisSettings::cluster(nodes), FailureMode::Error, |_| {}).await;
    let is_whole = || running.handle.health().text.contains("redis cluster of 3 primaries connected");
    until(async || is_whole()).await;
    // What a node without room refuses makes the map doubtful.
    let users = users(&cluster);
    assert_eq!(text(&cluster.nodes[1], &["CONFIG", "SET", "maxmemory", "1"]), "OK");
    let asked = || {
        let stats = text(&outdated, &["INFO", "commandstats"]);
        let line = stats.lines().find_map(|line| line.strip_prefix("cmdstat_cluster|info:calls=")?.split(',').next());
        line.map_or(0, |calls| calls.parse::<u64>().unwrap())
    };
    let before = asked();
    until(async || {
        let refused = running.handle.should_rate_limit(&request("d", &[&[("k", &users[1])]])).await;
        assert_eq!(refused.map(|_| ()), Err(Refusal::Store(StoreError::Failed)));
        assert!(is_whole());
        asked() >= before + 3
    })
    .await;
    assert_eq!(remaining(&running, &users[0]).await, (Code::Ok, 299));
    assert_eq!(number(&outdated, &["DBSIZE"]), 0);
}

#[tokio::test]
async fn where_hits_over_the_limit_count_nothing_that_is_so_over_nodes() {
    let mut cluster = start();
    for node in &cluster.nodes {
        node.connect().call(&["CONFIG", "SET", "cluster-require-full-coverage", "no"]);
    }
    let mut redis = settings(&cluster);
    (redis.failure_mode, redis.timeout, redis.over_limit_cache) = (FailureMode::Local, span(5_000), 0);
    let ignore = |settings: &mut fyke_ratelimit_service::Settings| {
        settings.redis = Some(redis);
        settings.over_limit_hits = OverLimitHits::Ignore;
    };
    let running = Running::with(RULES, ignore).await;
    up(&running, true).await;
    let node = |name: &str, value: &str| {
        let key = format!("fyke:d|{name}={value}|year");
        usize::from(number(&cluster.nodes[0], &["CLUSTER", "KEYSLOT", &key]) / 16384_u16.div_ceil(3))
    };
    let find = |name: &str, at| (0..).map(|n| format!("v{n}")).find(|value| node(name, value) == at).unwrap();
    let (few, many, away) = (find("other", 0), find("k", 2), find("k", 1));
    let ask = async |descriptors: &[&[(&str, &str)]]| {
        let response = running.handle.should_rate_limit(&request("d", descriptors)).await.unwrap();
        response.statuses.iter().map(|status| (status.code(), status.limit_remaining)).collect::<Vec<_>>()
    };
    let both: [&[(&str, &str)]; 2] = [&[("other", &few)], &[("k", &many)]];
    for hit in 1..=5 {
        assert_eq!(ask(&both).await, [(Code::Ok, 5 - hit), (Code::Ok, 300 - hit)]);
    }
    for _ in 0..3 {
        assert_eq!(ask(&both).await, [(Code::OverLimit, 0), (Code::Ok, 295)]);
    }
    cluster.nodes[1].process.kill();
    up(&running, false).await;
    let with_away: [&[(&str, &str)]; 2] = [&[("other", &few)], &[("k", &away)]];
    for _ in 0..3 {
        assert_eq!(ask(&with_away).await, [(Code::OverLimit, 0), (Code::Ok, 300)], "not here either");
    }
    let fits: [&[(&str, &str)]; 2] = [&[("k", &many)], &[("k", &away)]];
    assert_eq!(ask(&fits).await, [(Code::Ok, 294), (Code::Ok, 299)]);
    assert_eq!(ask(&fits).await, [(Code::Ok, 293), (Code::Ok, 298)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_request_waits_beyond_the_timeout_for_a_node_that_hangs() {
    let cluster = start();
    let timeout = Duration::from_millis(250);
    let running = service_of(settings(&cluster), FailureMode::Open, |redis| redis.timeout = span(250)).await;
    let users = users(&cluster);
    cluster.nodes[1].process.freeze();
    let mut slowest = Duration::ZERO;
    let both: [&[(&str, &str)]; 2] = [&[("k", &users[0])], &[("k", &users[1])]];
    let given_up = || metric(&running.handle.metrics(), "fyke_ratelimit_redis_failures{reason=\"unavailable\"}");
    let (mut asked, mut counted) = (0, 0);
    while given_up() == Some(0.0) {
        let began = Instant::now();
        let response = running.handle.should_rate_limit(&request("d", &both)).await.unwrap();
        slowest = slowest.max(began.elapsed());
        asked += 1;
        // What was let pass without an answer is not counted, for the client.
        counted += u64::from(response.statuses[0].limit_remaining < 300);
        assert_eq!(response.statuses[1].limit_remaining, 300, "the node that hangs");
        assert!(asked < 100, "it is never given up");
    }
    // What is above the timeout is this machine's, which has other things to do.
    assert!(slowest < timeout + Duration::from_secs(2), "{slowest:?}");
    // Where an answer came too late it was counted as well.
    let in_redis = count(&cluster.nodes[0], &users[0]);
    assert!(counted > 0 && (counted..=asked).contains(&in_redis), "{counted} <= {in_redis} <= {asked}");
    cluster.nodes[1].process.thaw();
    up(&running, true).await;
}

#[tokio::test]
async fn where_hits_over_the_limit_count_nothing_a_node_that_hangs_leaves_the_others_time_to_count() {
    let cluster = start();
    let mut redis = settings(&cluster);
    (redis.failure_mode, redis.timeout) = (FailureMode::Open, span(2_000));
    let ignore = |settings: &mut fyke_ratelimit_service::Settings| {
        settings.redis = Some(redis);
        settings.over_limit_hits = OverLimitHits::Ignore;
    };
    let running = Running::with(RULES, ignore).await;
    up(&running, true).await;
    let users = users(&cluster);
    let both: [&[(&str, &str)]; 2] = [&[("k", &users[0])], &[("k", &users[1])]];
    cluster.nodes[1].process.freeze();
    let response = running.handle.should_rate_limit(&request("d", &both)).await.unwrap();
    let statuses: Vec<_> = response.statuses.iter().map(|status| (status.code(), status.limit_remaining)).collect();
    assert_eq!(statuses, [(Code::Ok, 299), (Code::Ok, 300)]);
    assert_eq!(count(&cluster.nodes[0], &users[0]), 1);
}

#[tokio::test]
async fn a_replica_that_takes_the_place_of_its_primary_is_found() {
    let mut cluster = start();
    // Its bus is 10000 ports above: where that is taken, or no port, it is started on another.
    let replica = start_with(&["--cluster-enabled", "yes", "--repl-diskless-sync-delay", "0"]);
    let nodes = text(&cluster.nodes[0], &["CLUSTER", "NODES"]);
    let myself = nodes.lines().find(|line| line.contains("myself")).unwrap();
    let address = myself.split(' ').nth(1).unwrap();
    let (port, rest) = address.split_once(':').unwrap().1.split_once('@').unwrap();
    let bus = rest.split(',').next().unwrap();
    replica.connect().call(&["CLUSTER", "MEET", "127.0.0.1", port, bus]);
    let name = cluster.name(0);
    until(async || replica.connect().call(&["CLUSTER", "REPLICATE", &name]) == Answer::Bytes(b"OK".to_vec())).await;
    until(async || text(&replica, &["INFO", "replication"]).contains("master_link_status:up")).await;

    let all: Vec<String> = cluster.nodes.iter().map(|node| node.address().to_string()).collect();
    let running = service_of(RedisSettings::cluster(all), FailureMode::Error, |_| {}).await;
    let user = users(&cluster).remove(0);
    assert_eq!(remaining(&running, &user).await, (Code::Ok, 299));
    until(async || number(&replica, &["DBSIZE"]) == 1).await;
    cluster.nodes[0].process.kill();
    // What it would do by itself, after it has waited long enough.
    assert_eq!(text(&replica, &["CLUSTER", "FAILOVER", "TAKEOVER"]), "OK");
    let ask = request("d", &[&[("k", &user)]]);
    let mut found = None;
    until(async || {
        found = running.handle.should_rate_limit(&ask).await.ok().map(|response| left(&response));
        found.is_some()
    })
    .await;
    assert_eq!(found, Some((Code::Ok, 298)));
    up(&running, true).await;
}
