//! A Redis server of a test's own, that can be frozen, ended and started again.

use std::{
    net::SocketAddr,
    process::{Command, Stdio},
};

use tempfile::TempDir;
use tokio::net::TcpListener;

use super::{Conn, eventually, running::Running};

/// One that runs until this is dropped.
pub struct Redis {
    pub process: Running,
    arguments: Vec<String>,
    pub address: SocketAddr,
    /// Replicas write what they load into a file.
    _folder: TempDir,
}

impl Redis {
    pub async fn start() -> Self {
        Self::with(&[]).await
    }

    /// One with more options of `redis-server`.
    pub async fn with(more: &[&str]) -> Self {
        // Redis picks no port by itself.
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let port = address.port().to_string();
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().to_str().unwrap();
        let always = ["--port", &port, "--bind", "127.0.0.1", "--dir", directory, "--save", "", "--appendonly", "no"];
        let arguments: Vec<String> = always.iter().chain(more).map(|word| (*word).to_owned()).collect();
        let redis = Self { process: launch(&arguments), arguments, address, _folder: folder };
        redis.listens().await;
        redis
    }

    async fn listens(&self) {
        eventually("Redis listens", async || tokio::net::TcpStream::connect(self.address).await.ok()).await;
    }

    /// Starts it again, on the same port.
    pub async fn restart(&mut self) {
        self.process = launch(&self.arguments);
        self.listens().await;
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

fn launch(arguments: &[String]) -> Running {
    let mut command = Command::new("redis-server");
    Running(command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap())
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
