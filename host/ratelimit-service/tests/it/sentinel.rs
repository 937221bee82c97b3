//! Services that ask sentinels who the primary is, while that is killed, turned into a replica, or lied about.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use fyke_peers::{Answer, RedisServer};
use fyke_ratelimit_service::messages::Code;
use fyke_ratelimit_service::{FailureMode, RedisSettings, Refusal, StoreError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::client::{metric, request};
use super::redis::{RULES, free, left, service_of, span, start_with, tls_port, up};
use super::tls::Authority;
use super::{Running, until};

/// A sentinel of `redis-server`, which ends with this value.
struct Sentinel {
    port: u16,
    _process: fyke_peers::Running,
    _directory: tempfile::TempDir,
}

impl Sentinel {
    /// Watches a primary, called `main`, by itself, on a free port of which `listen` makes lines of its settings. Until it is told otherwise
    /// nobody is down for it, however busy the machine.
    async fn start(primary: &str, listen: impl Fn(u16) -> String) -> Self {
        for _ in 0..10 {
            let directory = tempfile::tempdir().unwrap();
            let file = directory.path().join("sentinel.conf");
            let (folder, port) = (directory.path().display(), free());
            let watch = format!(
                "dir {folder}\nunixsocket {folder}/s\nsentinel resolve-hostnames yes\n\
                sentinel monitor main {primary} 1\nsentinel down-after-milliseconds main 60000\n\
                sentinel failover-timeout main 3000\nbind 127.0.0.1\n{}\n",
                listen(port)
            );
            std::fs::write(&file, watch).unwrap();
            let mut command = Command::new("redis-server");
            command.arg(&file).arg("--sentinel").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            let mut process = fyke_peers::Running(command.spawn().unwrap());
            // The socket is there once it has its port, and it ends where somebody else has that.
            let (socket, mut has_ended) = (directory.path().join("s"), false);
            until(async || {
                has_ended = process.0.try_wait().unwrap().is_some();
                has_ended || socket.exists()
            })
            .await;
            if !has_ended {
                return Self { port, _process: process, _directory: directory };
            }
        }
        panic!("redis-server --sentinel does not start");
    }

    /// What it answers; nothing while it begins.
    fn ask(client: &redis::Client, command: &[&str]) -> Option<redis::Value> {
        redis::cmd("SENTINEL").arg(command).query(&mut client.get_connection().ok()?).ok()
    }
}

/// A replica in step with a primary.
async fn replica(primary: &RedisServer, more: &[&str]) -> RedisServer {
    let port = primary.address().port().to_string();
    let replica = start_with(&[&["--replicaof", "127.0.0.1", &port], more].concat());
    until(async || text(&replica, &["INFO", "replication"]).contains("master_link_status:up")).await;
    replica
}

fn text(server: &RedisServer, command: &[&str]) -> String {
    match server.connect().call(command) {
        Answer::Bytes(bytes) => String::from_utf8(bytes).unwrap(),
        answer => panic!("{answer:?}"),
    }
}

async fn remaining(running: &Running, user: &str) -> (Code, u32) {
    left(&running.handle.should_rate_limit(&request("d", &[&[("k", user)]])).await.unwrap())
}

#[tokio::test]
async fn when_the_primary_dies_counters_go_on_in_the_one_that_takes_its_place() {
    // Sentinels log in at Redis too.
    let login = ["--requirepass", "secret", "--masterauth", "secret", "--repl-diskless-sync-delay", "0"];
    let socket = |server: &RedisServer| {
        let client = redis::Client::open(format!("unix://{}?pass=secret", server.socket().display())).unwrap();
        client.get_connection().unwrap()
    };
    let mut primary = start_with(&login);
    let port = primary.address().port().to_string();
    let replica = start_with(&[&["--replicaof", "127.0.0.1", &port][..], &login].concat());
    let watch = |port| format!("port {port}\nrequirepass watch\nsentinel auth-pass main secret");
    let sentinel = Sentinel::start(&format!("127.0.0.1 {port}"), watch).await;
    let sentinel_port = sentinel.port;
    let watcher = redis::Client::open(format!("redis://:watch@127.0.0.1:{sentinel_port}")).unwrap();
    let port_of_replica = replica.address().port().to_string();
    let knows = || format!("{:?}", Sentinel::ask(&watcher, &["replicas", "main"])).contains(&port_of_replica);
    until(async || knows()).await;

    // The first sentinel takes connections, and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let servers = [silent.local_addr().unwrap().to_string(), format!("127.0.0.1:{sentinel_port}")];
    let mut redis = RedisSettings::sentinel("main", servers);
    redis.sentinel.as_mut().unwrap().password = Some("watch".to_owned());
    (redis.password, redis.database) = (Some("secret".to_owned()), Some(3));
    let one = service_of(redis.clone(), FailureMode::Error, |_| {}).await;
    let other = service_of(redis, FailureMode::Error, |_| {}).await;
    let health = one.handle.health().text;
    assert!(health.contains(&format!("redis main at 127.0.0.1:{port} connected")), "{health}");
    assert!(!health.contains("secret") && !health.contains("watch"), "{health}");
    assert_eq!(remaining(&one, "u").await, (Code::Ok, 299));
    assert_eq!(remaining(&other, "u").await, (Code::Ok, 298));
    let info: String = redis::cmd("INFO").arg("keyspace").query(&mut socket(&primary)).unwrap();
    assert!(info.contains("db3:keys=1"), "{info}");
    let state = "fyke:d|k=u|year";
    let count = |server: &RedisServer| {
        let mut connection = socket(server);
        redis::cmd("SELECT").arg(3).exec(&mut connection).unwrap();
        redis::cmd("GET").arg(state).query::<Option<String>>(&mut connection).unwrap()
    };
    until(async || count(&replica).is_some_and(|count| count.ends_with(" 2"))).await;

    primary.process.kill();
    let down_after = ["set", "main", "down-after-milliseconds", "1000"];
    until(async || Sentinel::ask(&watcher, &down_after).is_some()).await;
    let at = format!("redis main at {} connected", replica.address());
    until(async || one.handle.health().text.contains(&at) && other.handle.health().text.contains(&at)).await;
    assert_eq!(remaining(&one, "u").await, (Code::Ok, 297));
    assert_eq!(remaining(&other, "u").await, (Code::Ok, 296));
}

/// Says to everybody that somebody is the primary.
struct Liar {
    address: SocketAddr,
    primary: Arc<Mutex<SocketAddr>>,
    asked: Arc<AtomicU64>,
}

impl Liar {
    async fn start(primary: SocketAddr) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (primary, asked) = (Arc::new(Mutex::new(primary)), Arc::new(AtomicU64::new(0)));
        let liar = Self { address: listener.local_addr().unwrap(), primary, asked };
        let (primary, asked) = (Arc::clone(&liar.primary), Arc::clone(&liar.asked));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (primary, asked) = (Arc::clone(&primary), Arc::clone(&asked));
                tokio::spawn(async move {
                    let mut bytes = [0; 4096];
                    while let Ok(length @ 1..) = stream.read(&mut bytes).await {
                        let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
                        let mut answers = "+OK\r\n".repeat(text.matches("SETINFO").count());
                        if text.contains("get-master-addr-by-name") {
                            asked.fetch_add(1, Ordering::SeqCst);
                            let port = primary.lock().unwrap().port().to_string();
                            answers.push_str(&format!("*2\r\n$9\r\n127.0.0.1\r\n${}\r\n{port}\r\n", port.len()));
                        }
                        stream.write_all(answers.as_bytes()).await.unwrap();
                    }
                });
            }
        });
        liar
    }

    fn points_to(&self, primary: SocketAddr) {
        *self.primary.lock().unwrap() = primary;
    }
}

#[tokio::test]
async fn only_a_primary_is_taken_for_one() {
    let quick = ["--repl-diskless-sync-delay", "0"];
    let primary = start_with(&quick);
    let replica = replica(&primary, &quick).await;
    let liar = Liar::start(replica.address()).await;
    let mut redis = RedisSettings::sentinel("main", [liar.address.to_string()]);
    (redis.failure_mode, redis.timeout) = (FailureMode::Error, span(5_000));
    let running = Running::with(RULES, |settings| settings.redis = Some(redis.clone())).await;
    until(async || liar.asked.load(Ordering::SeqCst) >= 3).await;
    up(&running, false).await;
    assert_eq!(metric(&running.handle.metrics(), "fyke_ratelimit_redis_connects"), Some(0.0));
    // Another sentinel knows better, and one is away.
    let honest = Liar::start(primary.address()).await;
    let away = format!("127.0.0.1:{}", free());
    redis.sentinel.as_mut().unwrap().servers = vec![away, liar.address.to_string(), honest.address.to_string()];
    let helped = service_of(redis, FailureMode::Error, |_| {}).await;
    assert_eq!(remaining(&helped, "u").await, (Code::Ok, 299));
    liar.points_to(primary.address());
    up(&running, true).await;
    assert_eq!(remaining(&running, "u").await, (Code::Ok, 298));

    // The two change places, and no connection ends.
    let offset = |server: &RedisServer| {
        let info = text(server, &["INFO", "replication"]);
        info.lines().find_map(|line| line.strip_prefix("master_repl_offset:").map(str::to_owned)).unwrap()
    };
    until(async || offset(&primary) == offset(&replica)).await;
    replica.connect().call(&["REPLICAOF", "NO", "ONE"]);
    let port = replica.address().port().to_string();
    primary.connect().call(&["REPLICAOF", "127.0.0.1", &port]);
    liar.points_to(replica.address());
    honest.points_to(replica.address());
    for running in [&running, &helped] {
        let ask = request("d", &[&[("k", "u")]]);
        // The first is refused, by a server that is a replica by now.
        assert!(running.handle.should_rate_limit(&ask).await.is_err());
        until(async || running.handle.health().text.contains(&format!("at {} connected", replica.address()))).await;
    }
    assert_eq!(remaining(&running, "u").await, (Code::Ok, 297));
    assert_eq!(remaining(&helped, "u").await, (Code::Ok, 296));
}

#[tokio::test]
async fn a_primary_that_answers_is_left_for_the_one_that_sentinels_name() {
    let (old, new) = (start_with(&[]), start_with(&[]));
    let liar = Liar::start(old.address()).await;
    let running =
        service_of(RedisSettings::sentinel("main", [liar.address.to_string()]), FailureMode::Error, |_| {}).await;
    let at = async |server: &RedisServer| {
        let at = format!("at {} connected", server.address());
        until(async || running.handle.health().text.contains(&at)).await;
    };
    assert_eq!(remaining(&running, "u").await, (Code::Ok, 299));
    liar.points_to(new.address());
    at(&new).await;
    assert_eq!(remaining(&running, "u").await, (Code::Ok, 299), "two that are no copies of each other");
    // It has lost its replicas, and says so.
    assert_eq!(text(&new, &["CONFIG", "SET", "min-replicas-to-write", "1"]), "OK");
    liar.points_to(old.address());
    let asked = running.handle.should_rate_limit(&request("d", &[&[("k", "u")]])).await;
    assert_eq!(asked.map(|_| ()), Err(Refusal::Store(StoreError::Failed)));
    at(&old).await;
    assert_eq!(remaining(&running, "u").await, (Code::Ok, 298));
    assert_eq!(metric(&running.handle.metrics(), "fyke_ratelimit_redis_connects"), Some(3.0));
}

#[tokio::test]
async fn sentinels_and_the_primary_may_want_tls() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    for name in ["redis", "client"] {
        authority.issue(directory.path(), name);
    }
    let path = |name: &str| directory.path().join(name);
    std::fs::write(path("ca.pem"), authority.pem()).unwrap();
    let option = |name: &str, file: &Path| [name.to_owned(), file.display().to_string()];
    let tls = [
        option("tls-cert-file", &path("redis.pem")),
        option("tls-key-file", &path("redis.key")),
        option("tls-ca-cert-file", &path("ca.pem")),
    ];
    let words: Vec<String> = tls.iter().flat_map(|[name, value]| [format!("--{name}"), value.clone()]).collect();
    let primary = start_with(&words.iter().map(String::as_str).collect::<Vec<_>>());
    let port = tls_port(&mut primary.connect());
    let lines: Vec<String> = tls.iter().map(|line| line.join(" ")).collect();
    let lines = lines.join("\n");
    let watch =
        |port| format!("port 0\ntls-port {port}\n{lines}\ntls-replication yes\nsentinel announce-hostnames yes");
    // By its name, which is in the certificate.
    let sentinel = Sentinel::start(&format!("localhost {port}"), watch).await;
    let mut redis = RedisSettings::sentinel("main", [format!("localhost:{}", sentinel.port)]);
    (redis.tls, redis.ca) = (true, Some(path("ca.pem")));
    (redis.certificate, redis.key) = (Some(path("client.pem")), Some(path("client.key")));
    let running = service_of(redis, FailureMode::Error, |_| {}).await;
    assert_eq!(remaining(&running, "u").await, (Code::Ok, 299));
    let health = running.handle.health().text;
    assert!(health.contains(&format!("redis main at localhost:{port} connected")), "{health}");
}
