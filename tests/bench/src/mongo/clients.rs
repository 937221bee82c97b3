//! Many clients of one thread: each asks for its own marker, and looks whose reply it gets.

use std::{
    collections::VecDeque,
    io::{ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    num::NonZeroU64,
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};

use super::wire::{self, Template};
use crate::open_loop::{Pace, Seen};

/// Nobody waits for an answer for longer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Connections that have greeted.
pub struct Clients {
    clients: Vec<Client>,
    poll: OwnedFd,
    find: Template,
    reply: Template,
}

/// What became of what they asked.
pub struct Outcome {
    /// Latencies of what was answered right.
    pub seen: Seen,
    /// Errors, and connections that were lost.
    pub errors: u64,
    /// Replies that belong to somebody else.
    pub strange: u64,
    /// The first of these, in words.
    pub first: Option<String>,
}

impl Outcome {
    /// Fails where anything was answered wrong.
    pub fn check(&self) -> anyhow::Result<()> {
        let first = self.first.as_deref().unwrap_or_default();
        ensure!(self.errors + self.strange == 0, "{} errors, {} strange replies: {first}", self.errors, self.strange);
        Ok(())
    }
}

struct Client {
    stream: TcpStream,
    /// Its own number, in the upper half of all of its markers.
    number: u64,
    asked: u32,
    /// When what is under way was due.
    due: Option<Instant>,
    input: Vec<u8>,
}

/// What a client has read.
enum Read {
    /// Not a whole reply.
    Nothing,
    Right,
    Strange(String),
    Error(String),
    /// The connection has ended.
    Lost(String),
}

impl Clients {
    /// Connects and greets one by one. The thread that does is the one that should load: its timers are made exact.
    pub fn connect(address: SocketAddr, count: u32) -> anyhow::Result<Self> {
        // By default a sleep may last 50 us longer than it should.
        rustix::thread::set_current_timer_slack(NonZeroU64::new(1))?;
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut clients = Vec::new();
        for number in 0..count {
            let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            wire::greet(&mut stream).with_context(|| format!("client {number}"))?;
            stream.set_nonblocking(true)?;
            epoll::add(&poll, &stream, epoll::EventData::new_u64(number.into()), epoll::EventFlags::IN)?;
            clients.push(Client { stream, number: number.into(), asked: 0, due: None, input: Vec::new() });
        }
        Ok(Self { clients, poll, find: wire::small_find(), reply: wire::small_reply() })
    }

    /// Asks for `duration`, at most `most` at the same time, and waits for the last answers.
    ///
    /// # Errors
    /// When nothing is answered for ten seconds.
    pub fn run(&mut self, pace: Pace, most: usize, duration: Duration) -> anyhow::Result<Outcome> {
        // In turn, so that all connections are asked alike.
        let mut free: VecDeque<usize> = (0..self.clients.len()).collect();
        let (mut latencies, mut lateness) = (Vec::new(), Vec::new());
        let (mut errors, mut strange, mut first) = (0, 0, None);
        let mut events = Vec::with_capacity(256);
        let (mut number, mut under_way) = (0, 0);
        let began = Instant::now();
        let end = began + duration;
        loop {
            let now = Instant::now();
            let mut due = pace.due(number, began, now);
            while due <= now && due < end && under_way < most {
                let Some(client) = free.pop_front().and_then(|index| self.clients.get_mut(index)) else { break };
                lateness.push(due.elapsed());
                client.ask(&mut self.find, due).context("a request cannot be sent")?;
                number += 1;
                under_way += 1;
                due = pace.due(number, began, now);
            }
            if due >= end && under_way == 0 {
                break;
            }
            // Without a client who may ask, or after the end, only answers matter.
            let only_answers = free.is_empty() || due >= end || under_way >= most;
            let wait = if only_answers { PATIENCE } else { due.saturating_duration_since(now) };
            if !self.wait(wait, &mut events)? && wait == PATIENCE {
                bail!("no answer within {PATIENCE:?}: {under_way} requests are under way");
            }
            for event in &events {
                let index = usize::try_from(event.data.u64())?;
                let client = self.clients.get_mut(index).context("no such client")?;
                let read = client.read(&self.reply);
                if matches!(read, Read::Nothing) {
                    continue;
                }
                let due = client.due.take();
                under_way -= usize::from(due.is_some());
                match read {
                    Read::Nothing => {}
                    Read::Right => latencies.push(due.context("an answer that nobody asked for")?.elapsed()),
                    Read::Strange(what) => {
                        strange += 1;
                        first.get_or_insert(what);
                    }
                    Read::Error(what) => {
                        errors += 1;
                        first.get_or_insert(what);
                    }
                    Read::Lost(what) => {
                        errors += 1;
                        first.get_or_insert(what);
                        epoll::delete(&self.poll, &client.stream)?;
                        free.retain(|other| *other != index);
                        continue;
                    }
                }
                if due.is_some() {
                    free.push_back(index);
                }
            }
        }
        latencies.sort_unstable();
        lateness.sort_unstable();
        Ok(Outcome { seen: Seen::new(latencies, lateness, began.elapsed()), errors, strange, first })
    }

    /// Waits for answers: by `ppoll`, because `epoll_wait` counts in milliseconds. Whether there are any.
    fn wait(&self, wait: Duration, events: &mut Vec<epoll::Event>) -> anyhow::Result<bool> {
        events.clear();
        let wait = Timespec { tv_sec: i64::try_from(wait.as_secs())?, tv_nsec: i64::from(wait.subsec_nanos()) };
        match poll(&mut [PollFd::new(&self.poll, PollFlags::IN)], Some(&wait)) {
            Ok(0) => return Ok(false),
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(true),
            Err(error) => return Err(error.into()),
        }
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        epoll::wait(&self.poll, rustix::buffer::spare_capacity(events), Some(&now))?;
        Ok(true)
    }
}

impl Client {
    fn marker(&self) -> u64 {
        self.number << 32 | u64::from(self.asked)
    }

    fn ask(&mut self, find: &mut Template, due: Instant) -> std::io::Result<()> {
        self.asked += 1;
        self.due = Some(due);
        self.stream.write_all(find.with(self.asked, 0, self.marker()))
    }

    fn read(&mut self, reply: &Template) -> Read {
        let mut piece = [0; 4096];
        match self.stream.read(&mut piece) {
            Ok(0) => return Read::Lost("a connection was closed".to_owned()),
            Ok(read) => self.input.extend_from_slice(piece.get(..read).unwrap_or_default()),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                return Read::Nothing;
            }
            Err(error) => return Read::Lost(format!("a connection broke: {error}")),
        }
        let read = self.judge(reply);
        if !matches!(read, Read::Nothing) {
            self.input.clear();
        }
        read
    }

    /// Whether it is the reply, and to what was asked last.
    fn judge(&self, reply: &Template) -> Read {
        match wire::length_of(&self.input) {
            Ok(Some(length)) if self.input.len() == length => {}
            Ok(Some(length)) if self.input.len() > length => {
                return Read::Strange("more than a reply".to_owned());
            }
            Ok(_) => return Read::Nothing,
            Err(error) => return Read::Error(error.to_string()),
        }
        let to = wire::response_to(&self.input);
        if to != self.asked {
            return Read::Strange(format!("a reply to {to} in place of {}", self.asked));
        }
        if !reply.is(&self.input) {
            return Read::Error(String::from_utf8_lossy(&self.input).into_owned());
        }
        match reply.marker(&self.input) {
            Ok(marker) if marker == self.marker() => Read::Right,
            Ok(marker) => Read::Strange(format!("the marker {marker:#x} in place of {:#x}", self.marker())),
            Err(error) => Read::Error(error.to_string()),
        }
    }
}
