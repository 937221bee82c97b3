//! Limits that are counted by a real Redis Cluster, whose slots move meanwhile.

use std::cell::RefCell;
use std::rc::Rc;

use fyke_peers::{Answer, RedisClient, RedisCluster, RedisServer};
use fyke_sdk::RedisError;
use fyke_sdk::testing::{RedisAnswer, RedisReceived, Ring, TestHost, World};

use super::redis::value;
use super::{host, of, passed};
use crate::RateLimit;

/// The servers, and what they were asked.
struct Servers {
    cluster: RedisCluster,
    clients: RefCell<Vec<RedisClient>>,
    /// Those that the cluster of the configuration has.
    known: RefCell<Vec<usize>>,
    /// `2 EVALSHA`
    log: RefCell<Vec<String>>,
}

impl Servers {
    fn start() -> Option<Rc<Self>> {
        if TestHost::<RateLimit>::configure("").unwrap().ring() != Ring::Native {
            return None;
        }
        let cluster = RedisCluster::start(3)?;
        let clients = cluster.nodes.iter().map(RedisServer::connect).collect();
        Some(Rc::new(Self {
            cluster,
            clients: RefCell::new(clients),
            known: RefCell::new(vec![0, 1, 2]),
            log: RefCell::default(),
        }))
    }

    fn call(&self, node: usize, command: &[impl AsRef<[u8]>]) -> Answer {
        self.clients.borrow_mut()[node].call(command)
    }

    fn name(&self, node: usize) -> String {
        self.cluster.name(node)
    }

    fn serve(self: &Rc<Self>) -> impl FnMut(&RedisReceived) -> RedisAnswer + 'static {
        let servers = Rc::clone(self);
        move |received| {
            let address = |node: &usize| servers.cluster.nodes[*node].address().to_string();
            let node = match received.endpoint() {
                "" => Some(0),
                endpoint => servers.known.borrow().iter().copied().find(|node| address(node) == endpoint),
            };
            let Some(node) = node else {
                return RedisError::Connect("the endpoint is not one of the cluster's".to_owned()).into();
            };
            servers.log.borrow_mut().push(format!("{node} {}", received.name()));
            let mut command = received.command().to_vec();
            if received.name().starts_with("EVAL") {
                let keys: usize = String::from_utf8_lossy(&command[2]).parse().unwrap();
                command[3 + keys] = (World::with(|world| world.now) / 1_000).to_string().into_bytes();
            }
            value(servers.call(node, &command)).into()
        }
    }

    fn asked(&self) -> Vec<String> {
        self.log.take()
    }

    /// A hash tag whose slot a server has, and the slot.
    fn tag(&self, node: usize) -> (String, i64) {
        (0..)
            .map(|number| format!("{{t{number}}}"))
            .find_map(|tag| match self.call(0, &["CLUSTER", "KEYSLOT", &tag]) {
                Answer::Integer(slot) => (usize::try_from(slot).unwrap() / 5462 == node).then_some((tag, slot)),
                other => panic!("{other:?}"),
            })
            .unwrap()
    }
}

fn process(servers: &Rc<Servers>, redis: &str, rule: &str) -> TestHost<RateLimit> {
    let rule = format!("{{ name: r, global: true, key: [{{ from: {{ request_header: x-tenant }} }}], {rule} }}");
    let mut host = host(&format!("{{ domain: shop, redis: {{ cluster: store, {redis} }}, rules: [{rule}] }}"));
    host.redis("store", servers.serve());
    host
}

#[test]
fn a_limit_is_counted_by_whoever_has_its_slot_while_that_moves() {
    let Some(servers) = Servers::start() else { return };
    let (tag, slot) = servers.tag(2);
    let slot = slot.to_string();
    let redis = format!("prefix: '{tag}:', failure_mode: closed");
    let mut host = process(&servers, &redis, "limit: { rate: 20/d, concurrency: 100 }");
    assert_eq!(passed(&mut host, &of("a"), 3), 3);
    let asked = servers.asked();
    assert_eq!(asked[..3], ["0 EVALSHA", "2 EVALSHA", "2 EVAL"]);
    // What is given back goes to the same place, though nobody waits for it.
    assert!(asked[3..].iter().all(|asked| asked == "2 EVALSHA"), "{asked:?}");
    let place = format!("{tag}:shop:r:a:c1");
    assert_eq!(servers.call(2, &["ZCARD", &place]), Answer::Integer(0));

    // A rate alone: with several keys of which some have moved, the server says to try again.
    let redis = format!("prefix: '{tag}rate:', failure_mode: closed");
    let mut host = process(&servers, &redis, "limit: 20/d");
    assert_eq!(passed(&mut host, &of("a"), 5), 5);
    let (from, to) = (servers.name(2), servers.name(1));
    servers.call(1, &["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from]);
    servers.call(2, &["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to]);
    let _ = servers.asked();
    // It is there yet, and what is new begins in the new place.
    assert_eq!((passed(&mut host, &of("a"), 1), servers.asked()), (1, vec!["2 EVALSHA".to_owned()]));
    assert_eq!(passed(&mut host, &of("b"), 1), 1);
    assert!(servers.asked().ends_with(&["1 ASKING".to_owned(), "1 EVAL".to_owned()]));
    let port = servers.cluster.nodes[1].address().port().to_string();
    let Answer::List(keys) = servers.call(2, &["CLUSTER", "GETKEYSINSLOT", &slot, "100"]) else { panic!("no keys") };
    assert!(keys.contains(&Answer::Bytes(format!("{tag}rate:shop:r:a:r0").into_bytes())), "{keys:?}");
    for key in keys {
        let Answer::Bytes(key) = key else { panic!("{key:?}") };
        let key = String::from_utf8(key).unwrap();
        let migrated = servers.call(2, &["MIGRATE", "127.0.0.1", &port, &key, "0", "5000"]);
        assert_eq!(migrated, Answer::Bytes(b"OK".to_vec()));
    }
    assert_eq!(passed(&mut host, &of("a"), 4), 4);
    assert!(servers.asked().ends_with(&["2 EVALSHA".to_owned(), "1 ASKING".to_owned(), "1 EVALSHA".to_owned()]));
    for node in [1, 2, 0] {
        assert_eq!(servers.call(node, &["CLUSTER", "SETSLOT", &slot, "NODE", &to]), Answer::Bytes(b"OK".to_vec()));
    }
    assert_eq!(passed(&mut host, &of("a"), 50), 10);
    let asked = servers.asked();
    assert_eq!(asked[..2], ["2 EVALSHA", "1 EVALSHA"]);
    assert!(asked[2..].iter().all(|asked| asked == "1 EVALSHA"), "{asked:?}");
}

#[test]
fn where_the_cluster_does_not_know_the_server_the_mode_decides() {
    let Some(servers) = Servers::start() else { return };
    let (tag, _) = servers.tag(1);
    servers.known.replace(vec![0, 2]);
    for (mode, count) in [("open", 9), ("closed", 0), ("local, peers: 3", 2)] {
        let mut host = process(&servers, &format!("prefix: '{tag}{count}:', failure_mode: {mode}"), "limit: 6/d");
        assert_eq!(passed(&mut host, &of("a"), 9), count, "{mode}");
        assert!(host.logs().iter().any(|line| line.contains("not one of the cluster's")));
    }
    servers.known.replace(vec![0, 1, 2]);
    let mut host = process(&servers, &format!("prefix: '{tag}:'"), "limit: 6/d");
    assert_eq!(passed(&mut host, &of("a"), 9), 6);
}

#[test]
fn keys_in_several_slots_are_a_mistake_that_says_what_to_do() {
    let Some(servers) = Servers::start() else { return };
    let mut host = process(&servers, "failure_mode: closed", "limit: { rate: 6/d, quota: 100/d }");
    assert_eq!(passed(&mut host, &of("a"), 1), 0);
    assert!(host.logs().iter().any(|line| line.contains("CROSSSLOT") && line.contains("hash tag")));
}
