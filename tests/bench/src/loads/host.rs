//! A host with few servers and a queue, which says in each answer how busy it is.

use std::{
    collections::VecDeque,
    io::{BufReader, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use crate::client::Head;

/// Requests that are served at once; the others wait, first come first served.
pub const SERVERS: u32 = 2;
/// What a report is about.
const PERIOD: Duration = Duration::from_secs(1);

/// It. Its threads live as long as the program.
pub struct Host {
    /// Where it listens.
    pub address: SocketAddr,
    /// Requests that have come so far.
    pub asked: AtomicU64,
    service: Duration,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    random: u64,
    free: u32,
    next: u64,
    queue: VecDeque<u64>,
    since: Instant,
    served: u32,
    busy: Duration,
    report: String,
}

impl Host {
    /// Starts one that takes `service` for a request in the mean.
    pub fn start(service: Duration, seed: u64) -> anyhow::Result<Arc<Self>> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let state = State {
            random: seed,
            free: SERVERS,
            next: 0,
            queue: VecDeque::new(),
            since: Instant::now(),
            served: 0,
            busy: Duration::ZERO,
            report: String::new(),
        };
        let (address, asked) = (listener.local_addr()?, AtomicU64::new(0));
        let host = Arc::new(Self { address, asked, service, state: Mutex::new(state), changed: Condvar::new() });
        let accepts = Arc::clone(&host);
        thread::spawn(move || {
            for stream in listener.incoming().filter_map(Result::ok) {
                let host = Arc::clone(&accepts);
                // An error means that the proxy has closed the connection, or is gone.
                thread::spawn(move || host.answer(stream));
            }
        });
        Ok(host)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, stream: TcpStream) -> anyhow::Result<()> {
        stream.set_nodelay(true)?;
        let mut stream = BufReader::new(stream);
        while let Some(head) = Head::read(&mut stream)? {
            head.body(&mut stream, |_| {})?;
            self.asked.fetch_add(1, Relaxed);
            let report = self.serve();
            write!(stream.get_mut(), "HTTP/1.1 200 OK\r\n{report}Content-Length: 2\r\n\r\nok")?;
        }
        Ok(())
    }

    /// Waits for a server, and for what it takes. Returns what the answer says of the load.
    fn serve(&self) -> String {
        let mut state = self.lock();
        let ticket = state.next;
        state.next += 1;
        state.queue.push_back(ticket);
        while state.free == 0 || state.queue.front() != Some(&ticket) {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.queue.pop_front();
        state.free -= 1;
        let takes = self.service.mul_f64(state.exponential());
        drop(state);
        thread::sleep(takes);
        let mut state = self.lock();
        state.free += 1;
        state.served += 1;
        state.busy += takes;
        self.changed.notify_all();
        let elapsed = state.since.elapsed();
        if elapsed >= PERIOD {
            let rate = f64::from(state.served) / elapsed.as_secs_f64();
            let busy = (state.busy.as_secs_f64() / elapsed.as_secs_f64() / f64::from(SERVERS)).min(1.0);
            state.report =
                format!("endpoint-load-metrics: TEXT rps_fractional={rate:.3}, cpu_utilization={busy:.3}\r\n");
            (state.since, state.served, state.busy) = (Instant::now(), 0, Duration::ZERO);
        }
        state.report.clone()
    }
}

impl State {
    /// One of exponentially distributed numbers whose mean is 1.
    fn exponential(&mut self) -> f64 {
        // SplitMix64 (Steele, Lea and Flood, 2014).
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let uniform = f64::from(u32::try_from((mixed ^ (mixed >> 31)) >> 32).unwrap_or(0)) / f64::from(u32::MAX);
        -(1.0 - uniform).max(f64::MIN_POSITIVE).ln()
    }
}
