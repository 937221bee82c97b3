//! Load that does not wait for the proxy: requests are due at a constant rate, whatever became of those before.
//!
//! Latency is measured from the moment a request was *due*. One that finds every connection busy waits for one, and that counts; so a
//! proxy that stops for 50 ms is seen by all the requests that were due meanwhile, not by those few that were on their way
//! ("coordinated omission"). One thread does it all: it sleeps in `ppoll` until the next request is due or an answer comes.

use std::{
    collections::VecDeque,
    io::{ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    num::NonZeroU64,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Nobody waits for an answer for longer.
const PATIENCE: Duration = Duration::from_secs(10);
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n";

/// When requests are due.
#[derive(Debug, Clone, Copy)]
pub enum Pace {
    /// As soon as a connection is free.
    Closed,
    /// So many in a second.
    Open(f64),
}

impl Pace {
    /// When the request of this number is due.
    pub fn due(self, number: u32, began: Instant, now: Instant) -> Instant {
        match self {
            Self::Closed => now,
            Self::Open(rate) => began + Duration::from_secs_f64(f64::from(number) / rate),
        }
    }
}

/// Keep-alive connections.
pub struct Clients {
    streams: Vec<TcpStream>,
}

/// What they saw.
pub struct Seen {
    /// From due to answered, rising.
    latencies: Vec<Duration>,
    /// From due to sent, rising: what the load itself adds.
    lateness: Vec<Duration>,
    elapsed: Duration,
}

impl Seen {
    /// Of latencies and latenesses that rise.
    pub fn new(latencies: Vec<Duration>, lateness: Vec<Duration>, elapsed: Duration) -> Self {
        Self { latencies, lateness, elapsed }
    }

    /// Requests answered.
    pub fn count(&self) -> usize {
        self.latencies.len()
    }

    /// Requests answered in a second.
    pub fn rate(&self) -> f64 {
        f64::from(u32::try_from(self.count()).unwrap_or(u32::MAX)) / self.elapsed.as_secs_f64()
    }

    /// Microseconds within which so many per mille were answered.
    pub fn latency(&self, per_mille: usize) -> f64 {
        quantile(&self.latencies, per_mille)
    }

    /// Microseconds within which so many per mille were sent.
    pub fn lateness(&self, per_mille: usize) -> f64 {
        quantile(&self.lateness, per_mille)
    }
}

/// The least value that is not exceeded by so many per mille, in microseconds.
fn quantile(sorted: &[Duration], per_mille: usize) -> f64 {
    let rank = (sorted.len() * per_mille).div_ceil(1000).max(1);
    sorted.get(rank - 1).map_or(f64::NAN, |value| value.as_secs_f64() * 1e6)
}

/// One connection's request.
#[derive(Default)]
struct Asked {
    /// When it was due; `None`: nothing was asked.
    due: Option<Instant>,
    answer: Vec<u8>,
}

impl Clients {
    /// Connects. The thread that does is the one that should load: its timers are made exact.
    pub fn connect(address: SocketAddr, count: u32) -> anyhow::Result<Self> {
        // By default a sleep may last 50 us longer than it should.
        rustix::thread::set_current_timer_slack(NonZeroU64::new(1))?;
        let connect = |_| {
            let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            Ok(stream)
        };
        Ok(Self { streams: (0..count).map(connect).collect::<anyhow::Result<_>>()? })
    }

    /// Asks for `duration`, and waits for the last answers.
    ///
    /// # Errors
    /// When a request is not answered with 200, or not within ten seconds, or a connection is closed.
    pub fn run(&self, pace: Pace, duration: Duration) -> anyhow::Result<Seen> {
        let mut watched: Vec<_> = self.streams.iter().map(|stream| PollFd::new(stream, PollFlags::IN)).collect();
        let mut asked: Vec<Asked> = self.streams.iter().map(|_| Asked::default()).collect();
        // In turn, so that all connections, and by that all workers, are asked alike.
        let mut free: VecDeque<usize> = (0..self.streams.len()).collect();
        let (mut latencies, mut lateness) = (Vec::new(), Vec::new());
        let began = Instant::now();
        let end = began + duration;
        let mut number = 0;
        loop {
            let now = Instant::now();
            let mut due = pace.due(number, began, now);
            while due <= now && due < end {
                let Some(index) = free.pop_front() else { break };
                let (stream, asked) = self.streams.get(index).zip(asked.get_mut(index)).context("no connection")?;
                let mut out = stream;
                lateness.push(due.elapsed());
                out.write_all(REQUEST).context("a request cannot be sent")?;
                asked.due = Some(due);
                number += 1;
                due = pace.due(number, began, now);
            }
            if due >= end && free.len() == self.streams.len() {
                break;
            }
            // Without a free connection, or after the end, only answers matter.
            let wait = if free.is_empty() || due >= end { PATIENCE } else { due.saturating_duration_since(now) };
            let answered = wait_for(&mut watched, wait)?;
            if answered == 0 && wait == PATIENCE {
                bail!("no answer within {PATIENCE:?}");
            }
            for (index, (stream, (watched, asked))) in
                self.streams.iter().zip(watched.iter().zip(&mut asked)).enumerate()
            {
                if !watched.revents().is_empty() && asked.read(stream)? {
                    let due = asked.due.take().context("an answer that nobody asked for")?;
                    ensure!(due.elapsed() < PATIENCE, "an answer took {:?}", due.elapsed());
                    latencies.push(due.elapsed());
                    free.push_back(index);
                }
            }
        }
        latencies.sort_unstable();
        lateness.sort_unstable();
        Ok(Seen { latencies, lateness, elapsed: began.elapsed() })
    }
}

fn wait_for(watched: &mut [PollFd<'_>], wait: Duration) -> anyhow::Result<usize> {
    let wait = Timespec { tv_sec: i64::try_from(wait.as_secs())?, tv_nsec: i64::from(wait.subsec_nanos()) };
    match poll(watched, Some(&wait)) {
        Err(rustix::io::Errno::INTR) => Ok(1),
        other => Ok(other?),
    }
}

impl Asked {
    /// Reads what is there. Whether the answer is whole.
    fn read(&mut self, mut stream: &TcpStream) -> anyhow::Result<bool> {
        let mut piece = [0; 4096];
        match stream.read(&mut piece) {
            Ok(0) => bail!("the proxy closed a connection"),
            Ok(length) => self.answer.extend_from_slice(piece.get(..length).unwrap_or_default()),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return Ok(false),
            Err(error) => return Err(error).context("a connection broke"),
        }
        let whole = is_whole(&self.answer)?;
        if whole {
            self.answer.clear();
        }
        Ok(whole)
    }
}

/// Whether these are all the bytes of an answer with a length.
fn is_whole(bytes: &[u8]) -> anyhow::Result<bool> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(false) };
    let head = std::str::from_utf8(bytes.get(..end).unwrap_or_default())?;
    ensure!(head.starts_with("HTTP/1.1 200 "), "answered: {}", head.lines().next().unwrap_or_default());
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let whole = end + 4 + length.context("an answer without a length")?;
    ensure!(bytes.len() <= whole, "bytes after an answer");
    Ok(bytes.len() == whole)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn quantiles_are_values_that_were_seen() {
        let sorted: Vec<_> = (1..=1000).map(Duration::from_micros).collect();
        let close = |per_mille, expected: f64| (quantile(&sorted, per_mille) - expected).abs() < 1e-6;
        assert!(close(500, 500.0) && close(990, 990.0) && close(999, 999.0) && close(1000, 1000.0));
        assert!(quantile(&[], 500).is_nan());
    }

    #[test]
    fn answers_are_whole_or_wrong() {
        assert!(!is_whole(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no").unwrap());
        assert!(is_whole(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").unwrap());
        assert!(is_whole(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok!").is_err());
        assert!(is_whole(b"HTTP/1.1 503 no\r\ncontent-length: 0\r\n\r\n").is_err());
    }

    /// The server answers nothing for 200 ms. A loop that waits would have seen that once on each connection.
    #[test]
    fn a_pause_is_seen_by_all_who_were_due() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut bytes = [0; REQUEST.len()];
            let mut count = 0;
            while stream.read_exact(&mut bytes).is_ok() {
                count += 1;
                if count == 10 {
                    std::thread::sleep(Duration::from_millis(200));
                }
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
            }
        });
        let clients = Clients::connect(address, 1).unwrap();
        let seen = clients.run(Pace::Open(1000.0), Duration::from_millis(400)).unwrap();
        assert_eq!(seen.count(), 400);
        // Those of the first 100 ms of the pause waited for the other 100 ms of it.
        assert!(seen.latency(750) > 100_000.0, "{}", seen.latency(750));
        drop(clients);
        server.join().unwrap();
    }
}
