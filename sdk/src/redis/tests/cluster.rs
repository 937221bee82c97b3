//! Servers that send elsewhere: Redis Cluster, and replicas.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use super::*;

/// Endpoints of the cluster, of which the balancer takes the first.
const NODES: [&str; 3] = ["10.0.0.1:6379", "10.0.0.2:6379", "10.0.0.3:6379"];

/// Calls as the path has them: words by `+`, commands by `/`; and on one handle.
struct Calls {
    redis: Redis,
    script: Script,
}

#[http_filter]
impl HttpFilter for Calls {
    type Config = Config;
    type Ctx = ();

    fn configure(config: Config, env: &mut Env) -> Result<Self, ConfigError> {
        let redis = handle(&config, env)?;
        Ok(Self { redis, script: Script::new("return KEYS[1]") })
    }

    async fn on_request(&self, (): &mut (), request: &mut Request) -> Result<Flow> {
        let path = String::from_utf8_lossy(request.path()).into_owned();
        let commands: Vec<Vec<&str>> = path[1..].split('/').map(|command| command.split('+').collect()).collect();
        let said = match &commands[..] {
            [one] if one[0] == "SCRIPT" => {
                self.redis.eval(&self.script, &[one[1]], &[""; 0]).await.map(|one| vec![one])
            }
            [one] => self.redis.call(one).await.map(|one| vec![one]),
            many => {
                let pipeline = many.iter().fold(self.redis.pipeline(), |pipeline, command| pipeline.command(command));
                pipeline.call().await
            }
        };
        let text = match said {
            Ok(values) => values.iter().map(shown).collect::<Vec<_>>().join(" "),
            Err(error) => error.to_string(),
        };
        Ok(Reply::text(200, text).into())
    }
}

fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| format!("{value:?}"), str::to_owned)
}

/// The servers. Each answers a command with its own number and the key.
#[derive(Default)]
struct Nodes {
    /// By slot, who has it; else a third each.
    moved: RefCell<HashMap<u16, usize>>,
    /// A slot on its way, to whom.
    asks: Cell<Option<(u16, usize)>>,
    down: Cell<Option<usize>>,
    scripts: RefCell<Vec<usize>>,
    /// What a server says in place of everything else.
    says: RefCell<HashMap<usize, Value>>,
    /// What each was sent, as `server command key`.
    log: RefCell<Vec<String>>,
    asking: Cell<bool>,
    refused: Cell<bool>,
}

impl Nodes {
    fn owner(&self, slot: u16) -> usize {
        self.moved.borrow().get(&slot).copied().unwrap_or(usize::from(slot / 5462))
    }

    fn answer(&self, received: &crate::testing::RedisReceived) -> RedisAnswer {
        let endpoint = if received.endpoint().is_empty() { NODES[0] } else { received.endpoint() };
        let Some(node) = NODES.iter().position(|known| *known == endpoint) else {
            return RedisError::Connect("the endpoint is not one of the cluster's".to_owned()).into();
        };
        if self.down.get() == Some(node) {
            return RedisError::Connect("refused".to_owned()).into();
        }
        let name = received.name();
        let key = slot::key(received.command()).map(|key| String::from_utf8_lossy(key).into_owned());
        let key = key.unwrap_or_default();
        self.log.borrow_mut().push(format!("{} {name} {key}", node + 1).trim_end().to_owned());
        if let Some(value) = self.says.borrow().get(&node) {
            return value.clone().into();
        }
        let asking = self.asking.replace(name == "ASKING" || (self.asking.get() && name == "MULTI"));
        match name.as_str() {
            "ASKING" => return Value::ok().into(),
            "MULTI" => {
                self.refused.set(false);
                return Value::ok().into();
            }
            "EXEC" => {
                let aborted = Value::error("EXECABORT Transaction discarded because of previous errors.");
                return if self.refused.get() { aborted } else { Value::from("executed") }.into();
            }
            _ => {}
        }
        let slot = slot::of(key.as_bytes());
        if let Some((moving, to)) = self.asks.get()
            && moving == slot
        {
            if self.owner(slot) == node {
                self.refused.set(true);
                return Value::error(format!("ASK {slot} {}", NODES[to])).into();
            }
            if node == to && asking {
                return Value::from(format!("{}:{key}", node + 1)).into();
            }
        }
        if self.owner(slot) != node {
            self.refused.set(true);
            let endpoint = NODES.get(self.owner(slot)).copied().unwrap_or("10.9.9.9:6379");
            return Value::error(format!("MOVED {slot} {endpoint}")).into();
        }
        if name == "EVALSHA" && !self.scripts.borrow().contains(&node) {
            return Value::error("NOSCRIPT No matching script. Please use EVAL.").into();
        }
        if name == "EVAL" {
            self.scripts.borrow_mut().push(node);
        }
        Value::from(format!("{}:{key}", node + 1)).into()
    }

    fn taken(&self) -> Vec<String> {
        self.log.take()
    }
}

fn cluster(configuration: &str) -> (TestHost<Calls>, Rc<Nodes>) {
    let mut host = TestHost::configure(configuration).unwrap();
    let nodes = Rc::new(Nodes::default());
    let answering = Rc::clone(&nodes);
    host.redis("cache", move |received| answering.answer(received));
    World::with(|world| NODES.iter().for_each(|node| world.add_endpoint("cache", node)));
    (host, nodes)
}

fn ask(host: &mut TestHost<Calls>, path: &str) -> String {
    String::from_utf8_lossy(host.send(TestRequest::get(path)).body().bytes()).into_owned()
}

// foo: 12182, bar: 5061, hello: 866, somekey: 11058.

#[test]
fn a_command_goes_where_its_key_is_and_the_next_one_at_once() {
    let (mut host, nodes) = cluster("{}");
    assert_eq!(ask(&mut host, "/GET+hello"), "1:hello");
    assert_eq!(nodes.taken(), ["1 GET hello"]);
    assert_eq!(ask(&mut host, "/GET+foo"), "3:foo");
    assert_eq!(nodes.taken(), ["1 GET foo", "3 GET foo"]);
    assert_eq!(ask(&mut host, "/SET+foo+1"), "3:foo");
    assert_eq!(nodes.taken(), ["3 SET foo"]);
    // Guesses, the second of which is better.
    assert_eq!(ask(&mut host, "/GET+somekey"), "3:somekey");
    assert_eq!(ask(&mut host, "/GET+hello"), "1:hello");
    assert_eq!(nodes.taken(), ["3 GET somekey", "3 GET hello", "1 GET hello"]);
    assert_eq!(ask(&mut host, "/GET+bar"), "1:bar");
    assert_eq!(nodes.taken(), ["1 GET bar"]);
    // Without a key it goes anywhere.
    assert_eq!(ask(&mut host, "/PING"), "1:");
    assert_eq!(nodes.taken(), ["1 PING"]);
}

#[test]
fn a_script_is_learned_by_each_server() {
    let (mut host, nodes) = cluster("{}");
    assert_eq!(ask(&mut host, "/SCRIPT+foo"), "3:foo");
    assert_eq!(nodes.taken(), ["1 EVALSHA foo", "3 EVALSHA foo", "3 EVAL foo"]);
    assert_eq!(ask(&mut host, "/SCRIPT+foo"), "3:foo");
    assert_eq!(nodes.taken(), ["3 EVALSHA foo"]);
}

#[test]
fn a_slot_that_moves_is_asked_for_where_its_key_has_arrived() {
    let (mut host, nodes) = cluster("{}");
    nodes.asks.set(Some((slot::of(b"hello"), 1)));
    for _ in 0..2 {
        assert_eq!(ask(&mut host, "/GET+hello"), "2:hello");
        assert_eq!(nodes.taken(), ["1 GET hello", "2 ASKING", "2 GET hello"]);
    }
    assert_eq!(ask(&mut host, "/GET+hello/GET+bar/GET+{hello}x"), "2:hello 1:bar 2:{hello}x");
    let asked = ["1 GET hello", "1 GET bar", "1 GET {hello}x"];
    assert_eq!(nodes.taken(), [&asked[..], &["2 ASKING", "2 GET hello", "2 ASKING", "2 GET {hello}x"]].concat());
    nodes.asks.set(None);
    nodes.moved.borrow_mut().insert(slot::of(b"hello"), 1);
    assert_eq!(ask(&mut host, "/GET+hello"), "2:hello");
    assert_eq!(ask(&mut host, "/GET+hello"), "2:hello");
    assert_eq!(nodes.taken(), ["1 GET hello", "2 GET hello", "2 GET hello"]);
}

#[test]
fn commands_of_a_pipeline_go_their_own_ways_and_keep_their_order() {
    let (mut host, nodes) = cluster("{}");
    assert_eq!(ask(&mut host, "/SET+foo+1/SET+hello+1/GET+foo/GET+{foo}x"), "3:foo 1:hello 3:foo 3:{foo}x");
    let first = ["1 SET foo", "1 SET hello", "1 GET foo", "1 GET {foo}x"];
    assert_eq!(nodes.taken(), [&first[..], &["3 SET foo", "3 GET foo", "3 GET {foo}x"]].concat());
}

#[test]
fn a_transaction_goes_as_a_whole_or_not_at_all() {
    let (mut host, nodes) = cluster("{}");
    assert_eq!(ask(&mut host, "/MULTI/INCR+foo/INCR+{foo}x/EXEC"), "OK 3:foo 3:{foo}x executed");
    assert_eq!(nodes.taken()[4..], ["3 MULTI", "3 INCR foo", "3 INCR {foo}x", "3 EXEC"]);
    nodes.asks.set(Some((slot::of(b"hello"), 1)));
    assert_eq!(ask(&mut host, "/MULTI/INCR+hello/EXEC"), "OK 2:hello executed");
    let taken = nodes.taken();
    assert_eq!(taken[taken.len() - 4..], ["2 ASKING", "2 MULTI", "2 INCR hello", "2 EXEC"]);
    // Something else is in it, which was executed.
    let said = ask(&mut host, "/GET+bar/MULTI/INCR+foo/EXEC");
    assert!(said.contains("MOVED 12182") && said.contains("EXECABORT"), "{said}");
}

#[test]
fn an_endpoint_that_the_cluster_does_not_know_is_a_failure() {
    let (mut host, nodes) = cluster("{}");
    nodes.moved.borrow_mut().insert(slot::of(b"foo"), 9);
    for _ in 0..2 {
        assert!(ask(&mut host, "/GET+foo").contains("not one of the cluster's"));
        assert_eq!(nodes.taken(), ["1 GET foo"]);
    }
    // Others of the same call were executed.
    let said = ask(&mut host, "/SET+hello+1/GET+foo");
    assert!(said.starts_with("1:hello ") && said.contains("MOVED 12182 10.9.9.9:6379"), "{said}");
    // Names are not looked up.
    for place in ["cache-2.internal:6379", ":6380", "10.0.0.2", "10.0.0.2:port", "10.0.0.2:99999"] {
        nodes.says.borrow_mut().insert(0, Value::error(format!("MOVED 12182 {place}")));
        assert_eq!(ask(&mut host, "/GET+foo"), format!("no server of redis does it now: MOVED 12182 {place}"));
    }
    for text in ["MOVED", "MOVED x 10.0.0.2:6379", "MOVED 99999 10.0.0.2:6379", "ASK 1"] {
        nodes.says.borrow_mut().insert(0, Value::error(text));
        assert_eq!(ask(&mut host, "/GET+foo"), format!("no server of redis does it now: {text}"));
    }
}

#[test]
fn servers_that_send_in_circles_are_followed_for_a_while() {
    let (mut host, nodes) = cluster("{}");
    for (node, next) in [(0, 1), (1, 2), (2, 0)] {
        nodes.says.borrow_mut().insert(node, Value::error(format!("MOVED 12182 {}", NODES[next])));
    }
    assert!(ask(&mut host, "/GET+foo").starts_with("no server of redis does it now: MOVED 12182"));
    assert_eq!(nodes.taken().len(), 6);
}

#[test]
fn a_server_that_is_gone_is_forgotten() {
    let (mut host, nodes) = cluster("{}");
    assert_eq!(ask(&mut host, "/GET+foo"), "3:foo");
    nodes.down.set(Some(2));
    // The balancer's choice sends there, too.
    assert!(ask(&mut host, "/GET+foo").contains("refused"));
    // A replica has taken its place.
    nodes.moved.borrow_mut().insert(slot::of(b"foo"), 1);
    let _ = nodes.taken();
    assert_eq!(ask(&mut host, "/GET+foo"), "2:foo");
    assert_eq!(nodes.taken(), ["1 GET foo", "2 GET foo"]);
    // What is a guess costs no failure.
    nodes.down.set(Some(1));
    assert_eq!(ask(&mut host, "/GET+hello"), "1:hello");
}

#[test]
fn all_of_it_takes_no_longer_than_the_timeout() {
    let (mut host, nodes) = cluster("{}");
    let answering = Rc::clone(&nodes);
    host.redis("cache", move |received| answering.answer(received).after(Duration::from_millis(12)));
    let flight = host.start(TestRequest::get("/GET+foo"));
    host.advance(Duration::from_millis(12));
    assert_eq!(calls()[1].timeout, 8);
    host.advance(Duration::from_millis(7));
    assert!(!host.is_done(&flight));
    host.advance(Duration::from_millis(1));
    assert!(String::from_utf8_lossy(host.finish(flight).body().bytes()).contains("in time"));
    // Who is late is asked again by way of the others.
    host.redis("cache", move |received| nodes.answer(received));
    assert_eq!(ask(&mut host, "/GET+foo"), "3:foo");
}

#[test]
fn who_names_an_endpoint_is_sent_nowhere_else() {
    let (mut host, nodes) = cluster("endpoint: '10.0.0.2:6379'");
    assert_eq!(ask(&mut host, "/GET+foo"), format!("no server of redis does it now: MOVED 12182 {}", NODES[2]));
    assert_eq!(nodes.taken(), ["2 GET foo"]);
}

#[test]
fn what_writes_goes_to_whoever_takes_it() {
    let (mut host, nodes) = cluster("{}");
    let replica = || Value::error("READONLY You can't write against a read only replica.");
    nodes.says.borrow_mut().extend([(0, replica()), (1, replica()), (2, Value::from("written"))]);
    assert_eq!(ask(&mut host, "/SET+foo+1"), "written");
    // The balancer's choice is not known by its address.
    assert_eq!(nodes.taken(), ["1 SET foo", "1 SET foo", "2 SET foo", "3 SET foo"]);
    assert_eq!(ask(&mut host, "/SET+foo+1/SET+bar+1"), "written written");
    assert_eq!(nodes.taken(), ["3 SET foo", "3 SET bar"]);
    // It becomes a replica, and the first one a primary.
    nodes.says.borrow_mut().extend([(0, Value::from("here")), (2, replica())]);
    assert_eq!(ask(&mut host, "/SET+foo+1"), "here");
    assert_eq!(nodes.taken(), ["3 SET foo", "1 SET foo"]);
    // It goes away.
    nodes.down.set(Some(0));
    assert!(ask(&mut host, "/SET+foo+1").contains("refused"));
    nodes.down.set(None);
    assert_eq!(ask(&mut host, "/SET+foo+1"), "here");
}

#[test]
fn where_nobody_takes_it_nobody_looks_again_for_a_while() {
    let (mut host, nodes) = cluster("{}");
    for node in 0..3 {
        nodes.says.borrow_mut().insert(node, Value::error("READONLY no"));
    }
    assert_eq!(ask(&mut host, "/SET+foo+1"), "no server of redis does it now: READONLY no");
    assert_eq!(nodes.taken().len(), 4);
    for _ in 0..3 {
        assert_eq!(ask(&mut host, "/SET+foo+1"), "no server of redis does it now: READONLY no");
    }
    assert_eq!(nodes.taken(), ["1 SET foo"; 3]);
    nodes.says.borrow_mut().insert(1, Value::from("written"));
    host.advance(Duration::from_secs(1));
    assert_eq!(ask(&mut host, "/SET+foo+1"), "written");
}

#[test]
fn who_cannot_be_reached_is_in_nobodys_way() {
    let (mut host, nodes) = cluster("{}");
    nodes.says.borrow_mut().extend([(0, Value::error("READONLY no")), (2, Value::from("written"))]);
    nodes.down.set(Some(1));
    assert_eq!(ask(&mut host, "/SET+foo+1/SET+bar+1"), "written written");
    assert_eq!(nodes.taken().len(), 6);
    // One that does not answer takes all the time, but not the next time.
    let (mut host, nodes) = cluster("{}");
    nodes.says.borrow_mut().extend([(0, Value::error("READONLY no")), (2, Value::from("written"))]);
    let answering = Rc::clone(&nodes);
    host.redis(
        "cache",
        move |received| {
            if received.endpoint() == NODES[1] { RedisAnswer::hang() } else { answering.answer(received) }
        },
    );
    let flight = host.start(TestRequest::get("/SET+foo+1"));
    host.advance(Duration::from_millis(20));
    assert!(String::from_utf8_lossy(host.finish(flight).body().bytes()).contains("in time"));
    let flight = host.start(TestRequest::get("/SET+foo+1"));
    host.advance(Duration::from_millis(20));
    let _ = host.finish(flight);
    assert_eq!(ask(&mut host, "/SET+foo+1"), "written");
}
