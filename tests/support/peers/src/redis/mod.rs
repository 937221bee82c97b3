//! Redis servers, of this machine's `redis-server`: each with a socket in a folder of its own, on a port where one is wanted, and with nothing on
//! disk.

mod client;
mod cluster;

use std::{
    io::{self, BufRead as _, BufReader},
    net::{SocketAddr, TcpListener},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc,
    time::Instant,
};

use tempfile::TempDir;

pub use self::{
    client::{Answer, RedisClient},
    cluster::RedisCluster,
};
use crate::{running::Running, script::LONG};

/// Short, and found from its folder: the path of a socket has little room.
const SOCKET: &str = "s";

/// A server, which ends with this value.
#[derive(Debug)]
pub struct RedisServer {
    /// It.
    pub process: Running,
    folder: TempDir,
    options: Vec<String>,
    port: u16,
    log: mpsc::Receiver<String>,
}

impl RedisServer {
    /// Starts one that has no port. `None`, and a line that says so, where there is no `redis-server`.
    #[must_use]
    pub fn start() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let (process, log) = or_none(launch(folder.path(), 0, &[]))?;
        Some(Self { process, folder, options: Vec::new(), port: 0, log })
    }

    /// The same on a port of 127.0.0.1, with more options.
    #[must_use]
    pub fn on_port(more: &[&str]) -> Option<Self> {
        let options: Vec<String> = more.iter().map(|word| (*word).to_owned()).collect();
        let folder = tempfile::tempdir().unwrap();
        let mut attempts = 10;
        loop {
            // Redis picks no port by itself. Somebody else may take a free one before it does: then there is another.
            let port = free_port();
            attempts -= 1;
            match launch(folder.path(), port, &options) {
                Err(error) if error.kind() != io::ErrorKind::NotFound && attempts > 0 => {}
                launched => {
                    let (process, log) = or_none(launched)?;
                    return Some(Self { process, folder, options, port, log });
                }
            }
        }
    }

    /// Starts it again after it was killed. It has kept nothing.
    pub fn restart(&mut self) {
        (self.process, self.log) = launch(self.folder.path(), self.port, &self.options).unwrap();
    }

    /// Where it listens, if it has a port.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// Its socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join(SOCKET)
    }

    /// Connects.
    #[must_use]
    pub fn connect(&self) -> RedisClient {
        RedisClient::new(UnixStream::connect(self.socket()).unwrap())
    }

    /// Waits until it has said something.
    fn says(&self, words: &str) {
        let until = Instant::now() + LONG;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let line = self.log.recv_timeout(left).unwrap_or_else(|_| panic!("it never says {words:?}"));
            if line.contains(words) {
                return;
            }
        }
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Nothing where there is no such program.
fn or_none<T>(launched: io::Result<T>) -> Option<T> {
    match launched {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            eprintln!("skipped: there is no redis-server on this machine (apt-get install redis-server)");
            None
        }
        launched => Some(launched.unwrap()),
    }
}

/// Starts one, and waits until it says that it listens. What it says after that comes out of the channel.
fn launch(folder: &Path, port: u16, options: &[String]) -> io::Result<(Running, mpsc::Receiver<String>)> {
    let mut command = Command::new("redis-server");
    command.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "", "--appendonly", "no"]);
    command.args(["--unixsocket", SOCKET, "--dir"]).arg(folder).args(options).current_dir(folder);
    let mut process = Running(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?);
    let mut lines = BufReader::new(process.0.stdout.take().unwrap()).lines();
    while !lines
        .next()
        .transpose()?
        .ok_or_else(|| io::Error::other("redis-server has ended"))?
        .contains("eady to accept")
    {}
    let (say, log) = mpsc::channel();
    // Whether or not anybody listens, it fills no pipe.
    std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| drop(say.send(line))));
    Ok((process, log))
}
