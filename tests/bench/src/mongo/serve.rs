//! A server that answers small finds with their marker, in a process of its own because open files are limited per process.
//!
//! Prints the address that it listens on. One thread; it ends with who has started it.

use std::{
    collections::BTreeMap,
    io::{ErrorKind, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use rustix::event::epoll;

use super::wire::{self, Template};
use crate::{hold, process::Process};

const LISTENER: u64 = 0;

/// It, as others see it.
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    _process: Process,
}

impl Server {
    /// Starts it on `core`.
    pub fn start(folder: &Path, core: usize) -> anyhow::Result<Self> {
        let log = folder.join("mongo-serve.log");
        let mut process = Process::start(&std::env::current_exe()?, &["mongo-serve"], core, &log)?;
        let mut address = None;
        process.wait_ready(Duration::from_secs(10), || {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            address = text.lines().next().filter(|_| text.ends_with('\n')).and_then(|line| line.parse().ok());
            address.is_some()
        })?;
        Ok(Self { address: address.context("it says no address")?, _process: process })
    }
}

struct Peer {
    stream: TcpStream,
    input: Vec<u8>,
}

/// As the module says.
pub fn run() -> anyhow::Result<()> {
    hold::raise_open_files(1_024)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    println!("{}", listener.local_addr()?);
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&poll, &listener, epoll::EventData::new_u64(LISTENER), epoll::EventFlags::IN)?;
    let (mut peers, mut next) = (BTreeMap::<u64, Peer>::new(), LISTENER + 1);
    let (find, mut reply) = (wire::small_find(), wire::small_reply());
    let mut events = Vec::with_capacity(256);
    loop {
        events.clear();
        match epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &events {
            let key = event.data.u64();
            if key == LISTENER {
                while let Some(stream) = accept(&listener)? {
                    epoll::add(&poll, &stream, epoll::EventData::new_u64(next), epoll::EventFlags::IN)?;
                    peers.insert(next, Peer { stream, input: Vec::new() });
                    next += 1;
                }
            } else if let Some(peer) = peers.get_mut(&key) {
                // Who is wrong loses the connection: that shows where answers are counted, at the client.
                let goes_on = peer.serve(&find, &mut reply).unwrap_or_else(|error| {
                    eprintln!("{error:#}");
                    false
                });
                if !goes_on {
                    peers.remove(&key);
                }
            }
        }
    }
}

fn accept(listener: &TcpListener) -> anyhow::Result<Option<TcpStream>> {
    match listener.accept() {
        Ok((stream, _)) => {
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            Ok(Some(stream))
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error).context("no more connections"),
    }
}

impl Peer {
    /// Answers what is there. Whether the connection goes on.
    fn serve(&mut self, find: &Template, reply: &mut Template) -> anyhow::Result<bool> {
        let mut piece = [0; 16 * 1024];
        match self.stream.read(&mut piece) {
            Ok(0) => return Ok(false),
            Ok(read) => self.input.extend_from_slice(piece.get(..read).unwrap_or_default()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
            Err(_) => return Ok(false),
        }
        let mut done = 0;
        let mut output = Vec::new();
        loop {
            let rest = self.input.get(done..).unwrap_or_default();
            let Some(length) = wire::length_of(rest)? else { break };
            let Some(message) = rest.get(..length) else { break };
            let id = wire::request_id(message);
            match wire::command(message) {
                b"find" => {
                    ensure!(find.is(message), "a find that is not the one that was sent");
                    output.extend_from_slice(reply.with(id, id, find.marker(message)?));
                }
                name => {
                    let greets = [b"hello".as_slice(), b"isMaster", b"ismaster"].contains(&name);
                    let mut answer = if greets { wire::greeting() } else { wire::fine() };
                    wire::set_ids(&mut answer, id, id);
                    output.extend_from_slice(&answer);
                }
            }
            done += length;
        }
        self.input.drain(..done);
        // A few hundred bytes always find room, and more is never asked for at once.
        self.stream.write_all(&output)?;
        Ok(true)
    }
}
