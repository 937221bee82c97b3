//! A proxy around one filter, for the filter's own tests.
//!
//! # What this is
//! The other end of the pipe of `fyke_sdk::testing::TestHost`, when it runs a test against a module: `fyke filter bed` reads one
//! order a line from standard input, and answers each with a line. The filter stands in a real listener of a real worker; its
//! client, its upstream and the clusters that it calls are tasks on the worker's own thread, and what those answer is asked of the
//! test, over the same pipe. Time stands still but for `advance`.
//!
//! # What this is not
//! No interface for anybody but the SDK of the same version: the first order says which, and others are refused.
//!
//! # The parts
//! | file | owns |
//! |---|---|
//! | `protocol.rs` | what goes over the pipe |
//! | `pipe.rs` | the pipe |
//! | `generation.rs` | a proxy with one configuration of the filter, and its bench |
//! | `bench.rs` | what happens on the worker's thread: orders, rest, time |
//! | `client.rs` | requests |
//! | `service.rs` | the upstream and the clusters |
//! | `tcp.rs` | both ends of TCP connections |
//! | `envoy.rs` | the same in Envoy, where time is real |
//! | `metrics.rs` | what the filter counted |
//! | `logs.rs` | what the filter logged |
//!
//! # Rest
//! An order is answered when nothing but time can move anything: when a hundred turns of the runtime, each of which polls every ready
//! task and every socket, brought no event. Everything is in one thread, and loopback delivers at once.

mod bench;
mod client;
mod envoy;
mod generation;
pub mod logs;
mod metrics;
mod pipe;
mod protocol;
mod service;
mod tcp;

use std::{
    collections::HashMap,
    io,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use generation::Generation;
use pipe::Pipe;
use protocol::{Configure, Order};

/// How long another process may take to notice that a client has left, and how often that is looked at.
const NOTICED: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(5);

/// Serves a test until its end of the pipe is closed; in this process, or in an Envoy. Must be called inside the control plane's runtime.
///
/// # Errors
/// Of the pipe and of the system.
pub fn run(envoy: Option<PathBuf>) -> io::Result<()> {
    let pipe = Arc::new(Mutex::new(Pipe::new()));
    let records = std::env::temp_dir().join(format!("fyke-bed-{}.log", std::process::id()));
    let mut bed = Bed {
        pipe: Arc::clone(&pipe),
        generations: Vec::new(),
        streams: HashMap::new(),
        spec: None,
        next: 1,
        records,
        envoy,
    };
    loop {
        let order = match pipe::lock(&pipe).read::<Order>()? {
            Some(Ok(order)) => order,
            Some(Err(error)) => {
                pipe::lock(&pipe).write(&json!({ "failed": format!("not an order: {error}") }))?;
                continue;
            }
            None => return Ok(()),
        };
        let answer = bed.obey(order);
        pipe::lock(&pipe).write(&answer)?;
    }
}

/// Everything of one test.
struct Bed {
    pipe: Arc<Mutex<Pipe>>,
    /// By configuration, the newest last.
    generations: Vec<Generation>,
    /// Which generation has a stream.
    streams: HashMap<u32, usize>,
    spec: Option<Configure>,
    next: u32,
    /// The file that sinks write to.
    records: PathBuf,
    /// Where the filter runs, if not here.
    envoy: Option<PathBuf>,
}

impl Drop for Bed {
    fn drop(&mut self) {
        // It may never have been made.
        let _ = std::fs::remove_file(&self.records);
    }
}

impl Bed {
    fn obey(&mut self, order: Order) -> Value {
        match order {
            Order::Configure(spec) if spec.sdk != env!("CARGO_PKG_VERSION") => {
                let (ours, theirs) = (env!("CARGO_PKG_VERSION"), spec.sdk);
                json!({ "failed": format!("this is fyke {ours}, and the test was built with fyke-sdk {theirs}: take the same version of both") })
            }
            Order::Configure(spec) => self.configure(spec),
            Order::Reload { config, clusters } => match self.spec.clone() {
                Some(spec) => self.configure(Configure { config, clusters, ..spec }),
                None => json!({ "failed": "nothing is configured" }),
            },
            Order::Start(message) => self.begin(|stream| bench::Task::Start(stream, message)),
            Order::Connect => self.begin(bench::Task::Connect),
            Order::Send { connection, from, bytes, end } => {
                self.tell_owner(connection, bench::Task::Send(connection, from, protocol::bytes(&bytes), end))
            }
            Order::Look(connection) => self.tell_owner(connection, bench::Task::Look(connection)),
            Order::Done(stream) => self.tell_owner(stream, bench::Task::Done(stream)),
            Order::Finish(stream) => self.tell_owner(stream, bench::Task::Finish(stream)),
            Order::Cancel(stream) => self.cancel(stream),
            Order::Advance(nanoseconds) => {
                let mut answer = json!({ "ok": null });
                for generation in 0..self.generations.len() {
                    answer = self.tell(generation, bench::Task::Advance(nanoseconds));
                }
                answer
            }
            Order::Metric { name, labels } => {
                let values = self.generations.iter().filter_map(|one| one.metric(&name, &labels));
                let (sum, count) = values.fold((0, 0), |(sum, count), one| (sum + one.0, count + one.1));
                json!({ "ok": { "value": sum, "count": count } })
            }
            Order::Logs => json!({ "ok": logs::lines() }),
            Order::Records => {
                for generation in &self.generations {
                    generation.write_records();
                }
                let written = std::fs::read(&self.records).unwrap_or_default();
                let lines = written.split_inclusive(|byte| *byte == b'\n');
                let line = |line: &[u8]| protocol::text(line.strip_suffix(b"\n").unwrap_or(line));
                json!({ "ok": lines.map(line).collect::<Vec<_>>() })
            }
            Order::Streams => {
                let open = self.generations.iter().map(Generation::open_streams).sum::<i64>();
                json!({ "ok": open })
            }
        }
    }

    /// Makes it the configuration of the streams to come. A refusal leaves the old one.
    fn configure(&mut self, spec: Configure) -> Value {
        match Generation::start(&spec, Arc::clone(&self.pipe), &self.records, self.envoy.as_deref()) {
            Ok(generation) => {
                self.generations.push(generation);
                self.spec = Some(spec);
                json!({ "ok": null })
            }
            Err(generation::Refused { path, message }) => json!({ "refused": { "path": path, "message": message } }),
        }
    }

    fn begin(&mut self, task: impl FnOnce(u32) -> bench::Task) -> Value {
        let stream = self.next;
        self.next += 1;
        let Some(newest) = self.generations.len().checked_sub(1) else {
            return json!({ "failed": "nothing is configured" });
        };
        self.streams.insert(stream, newest);
        self.tell(newest, task(stream))
    }

    fn tell_owner(&self, stream: u32, task: bench::Task) -> Value {
        match self.streams.get(&stream) {
            Some(generation) => self.tell(*generation, task),
            None => json!({ "failed": format!("there is no stream {stream}") }),
        }
    }

    /// A client leaves. Another process notices when it gets to it.
    fn cancel(&self, stream: u32) -> Value {
        let under_way = || self.generations.get(*self.streams.get(&stream)?)?.requests_elsewhere();
        let is_open = || self.tell_owner(stream, bench::Task::Done(stream)) == json!({ "ok": false });
        // One that has not got there yet is not waited for: nobody would see it go.
        let before = under_way().filter(|_| is_open()).and_then(|_| under_way()).filter(|count| *count > 0);
        let answer = self.tell_owner(stream, bench::Task::Cancel(stream));
        let Some(before) = before else { return answer };
        let until = Instant::now() + NOTICED;
        while under_way().is_some_and(|now| now >= before) {
            if Instant::now() >= until {
                return json!({ "failed": "Envoy does not notice that a client has left" });
            }
            std::thread::sleep(LOOK);
        }
        // It counts a request as gone before its filters hear of that.
        std::thread::sleep(LOOK);
        answer
    }

    fn tell(&self, generation: usize, task: bench::Task) -> Value {
        match self.generations.get(generation).and_then(|generation| generation.tell(task)) {
            Some(answer) => answer,
            None => json!({ "failed": "the worker of the test bed has ended" }),
        }
    }
}
