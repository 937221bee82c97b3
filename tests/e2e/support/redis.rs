//! A Redis server of a test's own, that can be frozen, ended and started again.

use std::net::SocketAddr;

use fyke_peers::RedisServer;

use super::{Conn, eventually};

/// One that runs until this is dropped.
pub struct Redis {
    pub server: RedisServer,
    pub address: SocketAddr,
}

impl From<RedisServer> for Redis {
    fn from(server: RedisServer) -> Self {
        Self { address: server.address(), server }
    }
}

impl Redis {
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// One with more options of `redis-server`.
    pub fn with(more: &[&str]) -> Self {
        RedisServer::on_port(more).expect("a redis-server").into()
    }

    /// What it answers to a command: of bulk strings their text, else the first line as it is.
    pub async fn ask(&self, words: &[&str]) -> String {
        ask(&mut Conn::to(self.address).await, words).await
    }

    /// A number of `INFO`.
    pub async fn info(&self, name: &str) -> u64 {
        let info = self.ask(&["INFO"]).await;
        let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
        line.trim().parse().unwrap()
    }

    /// How many places are held of a limit on those at the same time.
    pub async fn held(&self, key: &str) -> String {
        self.ask(&["ZCARD", key]).await
    }
}

/// Waits until a replica has all that its primary has.
pub async fn follows(replica: &Redis) {
    eventually("the replica follows", async || {
        replica.ask(&["INFO", "replication"]).await.contains("master_link_status:up").then_some(())
    })
    .await;
}

/// As it is sent.
pub fn command(words: &[&str]) -> String {
    let mut text = format!("*{}\r\n", words.len());
    for word in words {
        text.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    text
}

/// A reply that is no aggregate: of bulk strings their text, else the first line as it is.
pub async fn reply(conn: &mut Conn) -> String {
    let head = conn.line().await.expect("a reply");
    match head.strip_prefix('$').map(|length| length.parse::<i64>().unwrap()) {
        None => head,
        Some(length) if length < 0 => "nil".to_owned(),
        Some(length) => {
            let body = conn.bytes(usize::try_from(length).unwrap() + 2).await;
            String::from_utf8_lossy(&body[..body.len() - 2]).into_owned()
        }
    }
}

/// Asks over a connection: the reply, which is no aggregate.
pub async fn ask(conn: &mut Conn, words: &[&str]) -> String {
    conn.send(command(words)).await;
    reply(conn).await
}
