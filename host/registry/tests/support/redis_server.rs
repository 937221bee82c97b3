//! A real Redis server on a socket in a folder of its own.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
};

use redis::aio::MultiplexedConnection;
use tempfile::TempDir;

use super::until;

pub struct RedisServer {
    folder: TempDir,
    child: Child,
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(folder: &Path) -> Option<Child> {
    let socket = folder.join("redis.sock");
    let _ = std::fs::remove_file(&socket);
    let child = Command::new("redis-server")
        .args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"])
        .arg(&socket)
        .arg("--dir")
        .arg(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn();
    match child {
        Ok(child) => Some(child),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("SKIPPED: there is no redis-server; install the package redis-server");
            None
        }
        Err(error) => panic!("redis-server does not start: {error}"),
    }
}

impl RedisServer {
    /// `None` where there is no such program.
    pub async fn start() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let child = spawn(folder.path())?;
        let server = Self { folder, child };
        server.ready().await;
        Some(server)
    }

    async fn ready(&self) {
        until("Redis answers", || async {
            match redis::Client::open(self.url()).unwrap().get_multiplexed_async_connection().await {
                Ok(mut connection) => redis::cmd("PING").query_async::<String>(&mut connection).await.is_ok(),
                Err(_) => false,
            }
        })
        .await;
    }

    pub fn url(&self) -> String {
        format!("redis+unix://{}", self.folder.path().join("redis.sock").display())
    }

    pub async fn connection(&self) -> MultiplexedConnection {
        redis::Client::open(self.url()).unwrap().get_multiplexed_async_connection().await.unwrap()
    }

    /// Ends it; it has kept nothing.
    pub fn stop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub async fn start_again(&mut self) {
        self.child = spawn(self.folder.path()).unwrap();
        self.ready().await;
    }
}
