//! A Redis server of this machine, on loopback, with nothing on disk.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
    time::Duration,
};

use anyhow::Context as _;

use crate::{
    process::{self, Process},
    upstream,
};

/// It.
pub struct Redis {
    /// Where it listens.
    pub address: SocketAddr,
    _process: Process,
}

impl Redis {
    /// Starts it on `core`, with its files in `folder`.
    pub fn start(folder: &Path, core: usize) -> anyhow::Result<Self> {
        let server = process::find("redis-server").context("redis-server is missing: apt-get install redis-server")?;
        let address = upstream::free_address()?;
        let port = address.port().to_string();
        let home = folder.to_string_lossy();
        let arguments = ["--bind", "127.0.0.1", "--port", &port, "--save", "", "--appendonly", "no", "--dir", &home];
        let mut process = Process::start(&server, &arguments, core, &folder.join("redis.log"))?;
        process.wait_ready(Duration::from_secs(10), || answers(address).unwrap_or(false)).context("redis-server")?;
        Ok(Self { address, _process: process })
    }
}

fn answers(address: SocketAddr) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    stream.write_all(b"PING\r\n")?;
    let mut answer = [0; 7];
    stream.read_exact(&mut answer)?;
    Ok(&answer == b"+PONG\r\n")
}
