//! Workers: one OS thread each, with its own runtime, sockets, filter instances and pools.
//!
//! Everything that a stream touches lives on one worker and is `!Send`, so the compiler keeps it there. A worker
//! is handed a [`WorkerParts`] and, again and again, a [`GenerationParts`], which are `Send`: sockets, built instances, and handles
//! on what the process shares (permits, shared data, metrics). It is told things through its command channel and asks the control
//! plane for one thing only: an instance in place of a trapped one.
//!
//! [`house`] is what a worker has, and how the next generation moves in; [`keep`] measures, and ends what nobody needs any more.

mod house;
mod keep;

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use tokio::{sync::mpsc, task::LocalSet};

use self::house::House;
use crate::{
    clock,
    cluster::{clusters::SharedClusters, demand::Demand},
    config::resolved,
    listener::{accept::Admission, overload::Flags, socket::Listening},
    telemetry::{Registry, names},
    transport::outbox,
    wasm::{
        build::{Built, FilterFacts},
        tap::Tap,
        trace::Tracer,
        trial::Trial,
        vm::Rebuild,
    },
};

/// How long what was written may take to be sent when a worker ends.
const FAREWELL: Duration = Duration::from_secs(2);

/// Where a VM of a generation comes from.
pub enum VmSource {
    /// It is the VM of that number in the generation before: nothing of it has changed.
    Kept(usize),
    /// It is new.
    New(Box<VmParts>),
}

/// What one new VM looks like to a worker.
pub struct VmParts {
    /// Number in the blueprint that builds another one when it traps.
    pub number: usize,
    /// Name for messages and metrics.
    pub name: String,
    /// Scope of shared data.
    pub scope: Arc<crate::shared::Scope>,
    /// The first instance.
    pub built: Built,
    /// Where others are asked for.
    pub rebuild: mpsc::UnboundedSender<Rebuild>,
}

/// What one listener looks like to a worker.
pub struct ListenerParts {
    /// Number of the address that it listens on.
    pub gate: u64,
    /// Settings.
    pub settings: Arc<resolved::Listener>,
    /// This worker's sockets, if it does not have them yet. Usually one; more where a process with more workers has bound them.
    pub sockets: Vec<Listening>,
    /// Limits that the workers share.
    pub admission: Arc<Admission>,
    /// Its own filters, outermost first.
    pub filters: Vec<FilterParts>,
    /// Those of its `chains`, in their order.
    pub chains: Vec<Vec<FilterParts>>,
}

/// What one filter of a listener looks like to a worker.
pub struct FilterParts {
    /// It.
    pub facts: FilterFacts,
    /// The version of it that is tried.
    pub canary: Option<(FilterFacts, Arc<Trial>)>,
}

/// Everything that a worker starts with.
pub struct WorkerParts {
    /// Its number.
    pub number: usize,
    /// Metrics.
    pub registry: Registry,
    /// Who watches what filters do.
    pub tap: Tap,
    /// What to do less of.
    pub overload: Arc<Flags>,
    /// Who can be asked for clusters that are not there.
    pub demand: Arc<Demand>,
    /// Time stands still but for `tokio::time::advance`. Then the clock and the timers' begin at the same moment, so that what is due after
    /// so many milliseconds is due then, and not one later.
    pub stopped: bool,
    /// What it begins with.
    pub generation: GenerationParts,
}

/// One worker's part of a generation.
pub struct GenerationParts {
    /// VMs.
    pub vms: Vec<VmSource>,
    /// Listeners. An address that none of them has is given up.
    pub listeners: Vec<ListenerParts>,
    /// Clusters.
    pub clusters: Arc<SharedClusters>,
    /// `node:`
    pub node: Arc<resolved::Node>,
    /// Where spans go.
    pub tracer: Option<Tracer>,
}

/// Something to do on a worker's thread, where it may spawn local tasks.
pub type Job = Box<dyn FnOnce() + Send>;

/// What a worker can be told.
pub enum Command {
    /// Begin everything new on this generation, and say so.
    Swap(Box<GenerationParts>, std::sync::mpsc::Sender<()>),
    /// Close idle connections, finish the others, as long as their listeners wait; then end.
    Drain,
    /// Do this.
    Run(Job),
    /// Give copies of all listening sockets, with the numbers of their gates.
    Sockets(std::sync::mpsc::Sender<Vec<(u64, Listening)>>),
}

/// A running worker.
#[derive(Debug)]
pub struct Worker {
    thread: Mutex<Option<thread::JoinHandle<()>>>,
    commands: mpsc::UnboundedSender<Command>,
}

impl Worker {
    /// Starts a worker.
    ///
    /// # Errors
    /// When the thread or its runtime cannot be made.
    pub fn spawn(parts: WorkerParts) -> io::Result<Self> {
        let (commands, receiver) = mpsc::unbounded_channel();
        let (busy, idle) = turns(&parts.registry, parts.number);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .on_thread_unpark(busy)
            .on_thread_park(move || {
                outbox::deliver();
                idle();
            })
            .start_paused(parts.stopped)
            .build()?;
        let thread = thread::Builder::new().name(format!("fyke-worker-{}", parts.number)).spawn(move || {
            LocalSet::new().block_on(&runtime, outbox::in_turns(run(parts, receiver)));
        })?;
        Ok(Self { thread: Mutex::new(Some(thread)), commands })
    }

    /// Tells the worker something; a worker that has ended does not mind.
    pub fn tell(&self, command: Command) {
        let _ = self.commands.send(command);
    }

    /// Waits for its end. Blocks; whoever comes second does not wait.
    pub fn join(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("a worker panicked: please report this");
        }
    }
}

/// What to do when a worker's loop has something to do, and when it has done it: measures how long that took, which is how long something
/// else may have waited.
fn turns(registry: &Registry, worker: usize) -> (impl Fn() + Send + Sync + 'static, impl Fn() + Send + Sync + 'static) {
    let histogram = registry.histogram(&names::WORKER_LOOP, &[("worker", &worker.to_string())]);
    let epoch = std::time::Instant::now();
    let since = Arc::new(AtomicU64::new(0));
    let now = move || u64::try_from(epoch.elapsed().as_nanos()).unwrap_or(u64::MAX);
    let begun = Arc::clone(&since);
    let busy = move || begun.store(now(), Ordering::Relaxed);
    let idle = move || {
        let begun = since.swap(0, Ordering::Relaxed);
        if begun > 0 {
            histogram.observe_value(now().saturating_sub(begun));
        }
    };
    (busy, idle)
}

async fn run(parts: WorkerParts, mut commands: mpsc::UnboundedReceiver<Command>) {
    let _stopped = parts.stopped.then(clock::stop);
    let mut house = House::new(parts.number, parts.registry, parts.tap, parts.overload, parts.demand);
    house.move_in(parts.generation);
    outbox::open();
    tokio::task::spawn_local(outbox::postman());
    let housekeeping = tokio::task::spawn_local(keep::measure(house.known()));
    loop {
        match commands.recv().await {
            Some(Command::Run(job)) => job(),
            Some(Command::Sockets(reply)) => {
                // Whoever waits may have gone.
                let _ = reply.send(house.sockets());
            }
            Some(Command::Swap(parts, done)) => {
                house.move_in(*parts);
                // Whoever waits may have gone.
                let _ = done.send(());
            }
            Some(Command::Drain) | None => break,
        }
    }
    house.drain().await;
    // Whoever waits for it has waited for as long as is usual.
    let _ = tokio::time::timeout(FAREWELL, outbox::emptied()).await;
    housekeeping.abort();
    house.end().await;
    outbox::close();
}
