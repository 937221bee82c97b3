//! Names, at a name server of the test's own.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
};

use tokio::{net::UdpSocket, task::AbortHandle};

use super::{OUTCOMES, become_, cluster};
use crate::support::{Site, Upstream};

const A: u16 = 1;
const AAAA: u16 = 28;
const SRV: u16 = 33;
/// No type: the server fails.
const FAILS: u16 = 0;

/// Records by name and type, each its data.
type Zone = Arc<Mutex<HashMap<(String, u16), Vec<Vec<u8>>>>>;

pub(super) struct Names {
    address: SocketAddr,
    zone: Zone,
    silent: Arc<Mutex<bool>>,
    task: AbortHandle,
}

impl Drop for Names {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Names {
    pub(super) async fn new() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let (zone, silent) = (Zone::default(), Arc::new(Mutex::new(false)));
        let (known, quiet) = (Arc::clone(&zone), Arc::clone(&silent));
        let serve = async move {
            let mut question = [0; 512];
            loop {
                let (length, from) = socket.recv_from(&mut question).await.unwrap();
                if *quiet.lock().unwrap() {
                    continue;
                }
                let answer = answer(&question[..length], &known);
                socket.send_to(&answer, from).await.unwrap();
            }
        };
        Self { address, zone, silent, task: tokio::spawn(serve).abort_handle() }
    }

    fn set(&self, name: &str, kind: u16, records: Vec<Vec<u8>>) {
        self.zone.lock().unwrap().insert((name.to_owned(), kind), records);
    }

    pub(super) fn addresses(&self, name: &str, addresses: &[&str]) {
        let of = |kind: u16| {
            let data = addresses.iter().filter_map(|address| match address.parse().unwrap() {
                IpAddr::V4(ip) if kind == A => Some(ip.octets().to_vec()),
                IpAddr::V6(ip) if kind == AAAA => Some(ip.octets().to_vec()),
                _ => None,
            });
            data.collect()
        };
        self.zone.lock().unwrap().remove(&(name.to_owned(), FAILS));
        self.set(name, A, of(A));
        self.set(name, AAAA, of(AAAA));
    }

    /// The server cannot say (SERVFAIL) until it is told addresses.
    fn fails(&self, name: &str) {
        self.set(name, FAILS, Vec::new());
    }

    /// No name is known any more.
    pub(super) fn forget(&self) {
        self.zone.lock().unwrap().clear();
    }

    /// Whether nothing is answered.
    pub(super) fn silence(&self, silent: bool) {
        *self.silent.lock().unwrap() = silent;
    }

    pub(super) fn keys(&self) -> String {
        format!("servers: ['{}']", self.address)
    }
}

fn encode(name: &str) -> Vec<u8> {
    let labels = name.split('.').filter(|label| !label.is_empty());
    let mut bytes: Vec<u8> =
        labels.flat_map(|label| [&[u8::try_from(label.len()).unwrap()], label.as_bytes()].concat()).collect();
    bytes.push(0);
    bytes
}

/// RFC 1035, section 4. Every record holds for a second; what is not there has an SOA that says so.
fn answer(question: &[u8], zone: &Zone) -> Vec<u8> {
    let mut at = 12;
    let mut labels = Vec::new();
    while question[at] != 0 {
        let length = usize::from(question[at]);
        labels.push(String::from_utf8_lossy(&question[at + 1..=at + length]).to_lowercase());
        at += length + 1;
    }
    let name = labels.join(".");
    let kind = u16::from_be_bytes([question[at + 1], question[at + 2]]);
    let records = zone.lock().unwrap().get(&(name.clone(), kind)).cloned().unwrap_or_default();
    let known = zone.lock().unwrap().keys().any(|(one, _)| *one == name);
    let fails = zone.lock().unwrap().contains_key(&(name.clone(), FAILS));
    let code = if fails { 2 } else { 3 * u8::from(!known) };
    let records = if fails { Vec::new() } else { records };
    let count = u16::try_from(records.len()).unwrap();
    let mut answer = question[..2].to_vec();
    answer.extend([0x85, 0x80 | code, 0, 1]);
    answer.extend(count.to_be_bytes());
    answer.extend(u16::from(records.is_empty()).to_be_bytes());
    answer.extend([0, 0]);
    answer.extend(&question[12..at + 5]);
    let mut record = |kind: u16, data: &[u8]| {
        answer.extend([0xc0, 12]);
        answer.extend(kind.to_be_bytes());
        answer.extend([0, 1, 0, 0, 0, 1]);
        answer.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
        answer.extend(data);
    };
    for data in &records {
        record(kind, data);
    }
    if records.is_empty() {
        let mut soa = [encode("ns.test"), encode("me.test")].concat();
        soa.extend([1_u32, 1, 1, 1, 1].into_iter().flat_map(u32::to_be_bytes));
        record(6, &soa);
    }
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_of_a_name_are_endpoints_and_follow_it() {
    let a = Upstream::says("a").await;
    let names = Names::new().await;
    names.addresses("users.test", &["127.0.0.1"]);
    let port = a.address.port();
    let site = Site::app("", &format!("discovery: {{ dns: 'users.test:{port}', {} }}", names.keys()));
    let proxy = site.start().await;
    assert_eq!(proxy.get("/").await.text(), "a");
    names.addresses("users.test", &["127.0.0.2", "127.0.0.1"]);
    let both = || async {
        let page = cluster(&proxy).await;
        page["endpoints"].as_array().unwrap().len() == 2
    };
    crate::support::eventually("two endpoints", async || both().await.then_some(())).await;
    // The name is there and has no address, then nobody answers any more: neither says that nobody is well.
    names.addresses("users.test", &[]);
    proxy.metric_reaches(OUTCOMES, &[("outcome", "empty")], 1.0).await;
    names.silence(true);
    proxy.metric_reaches(OUTCOMES, &[("outcome", "unreachable")], 1.0).await;
    assert!(both().await);
    names.silence(false);
    names.addresses("users.test", &["127.0.0.1"]);
    become_(&proxy, &[&a]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_a_service_say_port_priority_and_weight() {
    let (a, b) = (Upstream::says("a").await, Upstream::says("b").await);
    let names = Names::new().await;
    let record = |priority: u16, weight: u16, upstream: &Upstream, target: &str| {
        let numbers = [priority, weight, upstream.address.port()].into_iter().flat_map(u16::to_be_bytes);
        [numbers.collect(), encode(target)].concat()
    };
    names.addresses("one.test", &["127.0.0.1"]);
    names.set("_users._tcp.test", SRV, vec![record(10, 5, &a, "one.test"), record(20, 1, &b, "one.test")]);
    let site = Site::app("", &format!("discovery: {{ srv: _users._tcp.test, family: v4, {} }}", names.keys()));
    let proxy = site.start().await;
    assert_eq!(proxy.get("/").await.text(), "a");
    let page = cluster(&proxy).await;
    let facts = |place: usize| {
        let endpoint = &page["endpoints"][place];
        (endpoint["weight"].as_u64().unwrap(), endpoint["priority"].as_u64().unwrap())
    };
    assert_eq!((facts(0), facts(1)), ((5, 0), (1, 1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_logical_name_the_first_address_counts() {
    let a = Upstream::says("a").await;
    let names = Names::new().await;
    names.addresses("users.test", &["127.0.0.1", "127.0.0.2"]);
    let port = a.address.port();
    let keys = format!("mode: logical, family: v4, {}", names.keys());
    let proxy = Site::app("", &format!("discovery: {{ dns: 'users.test:{port}', {keys} }}")).start().await;
    assert_eq!(proxy.get("/").await.text(), "a");
    assert_eq!(cluster(&proxy).await["endpoints"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn several_names_have_their_endpoints_and_lose_only_their_own() {
    let (a, b, spare) = (Upstream::says("a").await, Upstream::says("b").await, Upstream::says("spare").await);
    let names = Names::new().await;
    names.addresses("a.test", &["127.0.0.1"]);
    names.addresses("b.test", &["127.0.0.1"]);
    let list = format!(
        "['a.test:{}', {{ address: 'b.test:{}', weight: 3, labels: {{ stage: canary }} }}, {{ address: '{}', priority: 1 }}]",
        a.address.port(),
        b.address.port(),
        spare.address
    );
    let cluster_of = format!("load_balancer: round_robin, discovery: {{ dns: {list}, family: v4, {} }}", names.keys());
    let site = Site::default()
        .route("match: { path: /canary }, cluster: app, endpoint_labels: { stage: canary }")
        .route("cluster: app")
        .cluster("app", &format!("subsets: {{ keys: [[stage]], fallback: any }}, {cluster_of}"));
    let proxy = site.start().await;
    let mut seen = Vec::new();
    for _ in 0..8 {
        seen.push(proxy.get("/").await.text());
        assert_eq!(proxy.get("/canary").await.text(), "b");
    }
    assert_eq!(seen.iter().filter(|text| *text == "b").count(), 6, "{seen:?}");
    assert!(!seen.contains(&"spare".to_owned()));
    // One of them moves, while nobody says anything of the other one.
    names.fails("b.test");
    names.addresses("a.test", &["127.0.0.2"]);
    let addresses = async || {
        let page = cluster(&proxy).await;
        let list = page["endpoints"].as_array().unwrap().iter().map(|one| one["address"].as_str().unwrap().to_owned());
        let mut list: Vec<_> = list.collect();
        list.sort();
        list
    };
    let expected = |mut list: Vec<String>| {
        list.sort();
        list
    };
    let moved = format!("127.0.0.2:{}", a.address.port());
    let three = expected(vec![moved.clone(), b.address.to_string(), spare.address.to_string()]);
    crate::support::eventually("the name that has moved", async || (addresses().await == three).then_some(())).await;
    proxy.metric_reaches(OUTCOMES, &[("outcome", "unreachable")], 1.0).await;
    assert_eq!(proxy.get("/canary").await.text(), "b");
    // Nobody answers: all of them stay.
    names.silence(true);
    proxy.metric_reaches(OUTCOMES, &[("outcome", "unreachable")], 2.0).await;
    assert_eq!(addresses().await, three);
    names.silence(false);
    // It has no address, and the others have: its endpoints are gone.
    names.addresses("b.test", &[]);
    let two = expected(vec![moved, spare.address.to_string()]);
    crate::support::eventually("the name without addresses", async || (addresses().await == two).then_some(())).await;
}
