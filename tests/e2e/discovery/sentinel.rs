//! The primary that Redis Sentinel knows.

use std::{
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    process::{Command, Stdio},
};

use fyke_peers::Running;

use crate::support::{
    Conn, Launch, eventually,
    redis::{Redis, ask, follows},
};

/// One sentinel, which may decide alone.
struct Sentinel {
    _process: Running,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Sentinel {
    /// It watches this primary.
    fn start(primary: SocketAddr) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("sentinel.conf");
        // Redis picks no port by itself. Somebody else may take a free one before it does: then there is another.
        for _ in 0..10 {
            let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let settings = format!(
                "bind 127.0.0.1\nport {port}\nsentinel monitor main 127.0.0.1 {} 1\nsentinel down-after-milliseconds main 60000\n",
                primary.port()
            );
            std::fs::write(&file, settings).unwrap();
            let mut command = Command::new("redis-server");
            command.arg(&file).arg("--sentinel").current_dir(folder.path()).stdin(Stdio::null());
            let mut process = Running(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap());
            let mut lines = BufReader::new(process.0.stdout.take().unwrap()).lines().map_while(Result::ok);
            if lines.any(|line| line.contains("+monitor master main")) {
                std::thread::spawn(move || lines.for_each(drop));
                return Self { _process: process, address: ([127, 0, 0, 1], port).into(), _folder: folder };
            }
        }
        panic!("no sentinel starts");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_is_followed_when_sentinels_choose_another_one() {
    let old = Redis::start();
    let new = Redis::with(&["--replicaof", "127.0.0.1", &old.address.port().to_string()]);
    follows(&new).await;
    let sentinel = Sentinel::start(old.address);
    eventually("the sentinel to know the replica", async || {
        let mut conn = Conn::to(sentinel.address).await;
        (ask(&mut conn, &["SENTINEL", "REPLICAS", "main"]).await == "*1").then_some(())
    })
    .await;
    let yaml = format!(
        "listeners:\n  web: {{ address: '127.0.0.1:0', protocol: tcp, cluster: redis }}\nclusters:\n  \
         redis: {{ protocol: tcp, discovery: {{ sentinel: main, servers: ['{}'], refresh: 1s }} }}\n",
        sentinel.address
    );
    let proxy = Launch::new(yaml).start().await;
    let set = async |value: &str| ask(&mut proxy.connect().await, &["SET", "a", value]).await;
    assert_eq!(set("1").await, "+OK");
    assert_eq!(old.ask(&["GET", "a"]).await, "1");
    eventually("a replica that the sentinel finds fit", async || {
        let mut conn = Conn::to(sentinel.address).await;
        (ask(&mut conn, &["SENTINEL", "FAILOVER", "main"]).await == "+OK").then_some(())
    })
    .await;
    eventually("the new primary", async || {
        // The old one says that it is a replica, once it is one.
        let said = set("2").await;
        (said == "+OK" && new.ask(&["GET", "a"]).await == "2").then_some(())
    })
    .await;
    let page = proxy.page("/clusters").await;
    assert_eq!(page["redis"]["endpoints"].as_array().unwrap().len(), 1, "{page}");
}
