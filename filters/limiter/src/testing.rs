//! Redis servers for tests, of this machine's `redis-server`: on a socket in a directory of its own, without a port unless they are several that know each other, and with nothing on disk.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// How long a server has for anything that it is asked.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server, which ends with this value.
#[derive(Debug)]
pub struct RedisServer {
    child: Child,
    directory: PathBuf,
}

/// A connection to it.
#[derive(Debug)]
pub struct RedisClient {
    stream: BufReader<UnixStream>,
}

/// What it answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Nothing.
    Null,
    /// A number.
    Integer(i64),
    /// Text or bytes.
    Bytes(Vec<u8>),
    /// A list.
    List(Vec<Answer>),
    /// An error.
    Error(String),
}

impl RedisServer {
    /// Starts one. `None`, and a line that says so, where there is no `redis-server`.
    ///
    /// # Errors
    /// When it cannot be started although it is there.
    pub fn start() -> io::Result<Option<Self>> {
        Self::with(&["--port", "0"])
    }

    fn with(options: &[&str]) -> io::Result<Option<Self>> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("fyke-redis-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&directory)?;
        let mut command = Command::new("redis-server");
        command.args(options).args(["--save", "", "--appendonly", "no", "--unixsocket", "s", "--dir"]).arg(&directory);
        command.current_dir(&directory).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                eprintln!("skipped: there is no redis-server on this machine (apt-get install redis-server)");
                std::fs::remove_dir_all(&directory)?;
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        // It says when it listens: nobody has to try.
        let log = child.stdout.take();
        let mut server = Self { child, directory };
        let mut lines = BufReader::new(log.ok_or_else(|| io::Error::other("it has no output"))?);
        let mut line = String::new();
        while !line.contains("Ready to accept connections") && !line.contains("ready to accept connections") {
            line.clear();
            if lines.read_line(&mut line)? == 0 {
                let status = server.child.wait()?;
                return Err(io::Error::other(format!("redis-server has ended: {status}")));
            }
        }
        // What it says later fills no pipe.
        std::thread::spawn(move || io::copy(&mut lines, &mut io::sink()));
        Ok(Some(server))
    }

    /// Connects.
    ///
    /// # Errors
    /// When it cannot.
    pub fn connect(&self) -> io::Result<RedisClient> {
        let stream = UnixStream::connect(self.directory.join("s"))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(RedisClient { stream: BufReader::new(stream) })
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Servers of Redis Cluster, each of which has a part of the slots, and no replicas.
#[derive(Debug)]
pub struct RedisCluster {
    /// With their addresses and their names in the cluster.
    nodes: Vec<(RedisServer, SocketAddr, String)>,
}

impl RedisCluster {
    /// Starts so many, and waits until they know each other. `None`: as [`RedisServer::start`].
    ///
    /// # Errors
    /// When they cannot be started, or do not find each other.
    pub fn start(count: u16) -> io::Result<Option<Self>> {
        let mut nodes = Vec::new();
        for _ in 0..count {
            // No other way to have two ports that nobody else has.
            let held = [TcpListener::bind(("127.0.0.1", 0))?, TcpListener::bind(("127.0.0.1", 0))?];
            let [address, bus] = [held[0].local_addr()?, held[1].local_addr()?];
            drop(held);
            let (port, bus) = (address.port().to_string(), bus.port().to_string());
            let options = ["--port", &port, "--bind", "127.0.0.1", "--cluster-enabled", "yes", "--cluster-port", &bus];
            let Some(server) = RedisServer::with(&options)? else { return Ok(None) };
            let mut client = server.connect()?;
            let Answer::Bytes(name) = client.call(&["CLUSTER", "MYID"])? else {
                return Err(io::Error::other("a server has no name"));
            };
            nodes.push((server, address, String::from_utf8_lossy(&name).into_owned(), bus));
        }
        let share = 16384_u16.div_ceil(count.max(1));
        for (number, (server, ..)) in (0_u16..).zip(&nodes) {
            let mut client = server.connect()?;
            let first = number * share;
            let last = first.saturating_add(share - 1).min(16383);
            client.call(&["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &last.to_string()])?;
            for (_, address, _, bus) in &nodes {
                client.call(&["CLUSTER", "MEET", "127.0.0.1", &address.port().to_string(), bus])?;
            }
        }
        let nodes = nodes.into_iter().map(|(server, address, name, _)| (server, address, name)).collect();
        let cluster = Self { nodes };
        cluster.settle()?;
        Ok(Some(cluster))
    }

    /// Waits until each knows who has which slots.
    fn settle(&self) -> io::Result<()> {
        let begun = std::time::Instant::now();
        loop {
            let mut settled = true;
            for (server, ..) in &self.nodes {
                let Answer::Bytes(info) = server.connect()?.call(&["CLUSTER", "INFO"])? else {
                    return Err(io::Error::other("a server knows nothing of its cluster"));
                };
                let info = String::from_utf8_lossy(&info).into_owned();
                settled &= info.contains("cluster_state:ok") && info.contains("cluster_slots_ok:16384");
            }
            if settled {
                return Ok(());
            }
            if begun.elapsed() > PATIENCE {
                return Err(io::Error::other("the servers do not find each other"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Where they listen, and what they are called.
    pub fn nodes(&self) -> impl Iterator<Item = (SocketAddr, &str)> {
        self.nodes.iter().map(|(_, address, name)| (*address, name.as_str()))
    }

    /// Connects to one.
    ///
    /// # Errors
    /// When it cannot, or there is no such server.
    pub fn connect(&self, node: usize) -> io::Result<RedisClient> {
        self.nodes.get(node).ok_or(io::ErrorKind::NotFound)?.0.connect()
    }
}

impl RedisClient {
    /// Sends a command, and waits for what is answered.
    ///
    /// # Errors
    /// When the connection breaks, or says what is no RESP2.
    pub fn call(&mut self, command: &[impl AsRef<[u8]>]) -> io::Result<Answer> {
        let mut bytes = format!("*{}\r\n", command.len()).into_bytes();
        for part in command {
            bytes.extend_from_slice(format!("${}\r\n", part.as_ref().len()).as_bytes());
            bytes.extend_from_slice(part.as_ref());
            bytes.extend_from_slice(b"\r\n");
        }
        self.stream.get_mut().write_all(&bytes)?;
        self.answer()
    }

    fn answer(&mut self) -> io::Result<Answer> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        let text = line.strip_suffix("\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
        let mut characters = text.chars();
        let kind = characters.next();
        let rest = characters.as_str();
        let number = || rest.parse::<i64>().map_err(io::Error::other);
        Ok(match kind {
            Some('+') => Answer::Bytes(rest.as_bytes().to_vec()),
            Some('-') => Answer::Error(rest.to_owned()),
            Some(':') => Answer::Integer(number()?),
            Some('$' | '*') if rest == "-1" => Answer::Null,
            Some('$') => {
                let mut bytes = vec![0; usize::try_from(number()?).map_err(io::Error::other)? + 2];
                self.stream.read_exact(&mut bytes)?;
                bytes.truncate(bytes.len().saturating_sub(2));
                Answer::Bytes(bytes)
            }
            Some('*') => {
                let count = number()?;
                Answer::List((0..count).map(|_| self.answer()).collect::<io::Result<_>>()?)
            }
            _ => return Err(io::Error::other(format!("no RESP2: {line:?}"))),
        })
    }
}
