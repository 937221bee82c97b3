//! A running proxy, and how its next generation takes over.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicBool, mpsc as sync_mpsc},
    time::{Duration, Instant, SystemTime},
};

use arc_swap::ArcSwap;
use serde_json::json;

use super::{
    addresses::Addresses,
    compilers::Compilers,
    difference::{fixed, is_same},
    handover::{Heirloom, Inherited},
    next::{Next, connections, instances, next},
    overlay::Overlay,
    overload::Overload,
    prepare::{Foundation, Prepared, Records, whole},
    registration::Announced,
};
use crate::{
    clock,
    cluster::{clusters::SharedClusters, demand::Demand, readings::readings, watch::Watches},
    config::{Config, Origin, Problem, Report, resolved::Address},
    discovery::Discoveries,
    snapshot::Snapshot,
    telemetry::{
        Events, Gauge, Registry, event_kinds,
        export::{
            self, Tracing,
            metrics::{Exports, Outcomes, Reader},
        },
        names,
        otlp::statistics::Statistics,
        registry::FamilyReading,
    },
    wasm::{tap::Tap, trial::Trial},
    worker::{Command, Job, Worker, WorkerParts},
    xds::assignments::Assignments,
};

/// Generations that a rollback can go back to, the one that runs included.
const KEPT: usize = 10;
/// How long a worker may take to begin on a generation before that is worth a warning. A guest may run for `call_time` at a time.
const SWAP: Duration = Duration::from_secs(10);
/// How long metrics, records and spans each have to get to where they go when the process ends.
const FAREWELL: Duration = Duration::from_secs(2);

/// The surroundings that a proxy starts in. Default: those of operation.
#[derive(Debug, Default)]
pub struct Setup {
    /// Is told what filters do.
    pub tap: Tap,
    /// Time stands still.
    pub stopped: bool,
    /// Sockets that another process has bound.
    pub inherited: Inherited,
    /// Another process listens at the files of sockets.
    pub handed_over: Arc<AtomicBool>,
}

/// A running proxy.
pub struct Proxy {
    foundation: Foundation,
    snapshot: Arc<ArcSwap<Snapshot>>,
    workers: Vec<Worker>,
    compilers: Compilers,
    overload: Overload,
    /// Who watches streams.
    tap: Tap,
    /// Changed by one generation at a time. `None`: the process drains, and there will be no other one.
    addresses: Mutex<Option<Addresses>>,
    /// The newest is last.
    history: Mutex<VecDeque<Arc<Snapshot>>>,
    facts: Mutex<Facts>,
    /// What the control plane does for clusters.
    watches: Mutex<Watches>,
    discoveries: Mutex<Discoveries>,
    /// Clusters that somebody needs, and are not there.
    demand: Arc<Demand>,
    /// What is announced at a registry.
    announced: Announced,
    /// Where metrics are sent.
    exports: Exports,
    reader: Reader,
}

/// Gauges live as long as their handles.
struct Facts {
    generation: Gauge,
    _others: [Gauge; 2],
}

/// What became of a configuration that was to take over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// It runs, as this generation.
    Generation(u64),
    /// It is the same as the one that runs, so that one goes on.
    Unchanged(u64),
}

impl Prepared {
    /// Binds every address and starts the workers. Must be called inside the control plane's runtime.
    ///
    /// # Errors
    /// Everything that is wrong; nothing has started then.
    pub fn start(self, setup: Setup) -> Result<Proxy, Report> {
        let registry = self.foundation.registry.clone();
        let mut addresses = Addresses::new(connections(&self.config), setup.inherited, setup.handed_over);
        let Next { snapshot, parts, places } = next(&self, instances(&self, None)?, &mut addresses, None)?;
        let mut discoveries = Discoveries::default();
        discover(&mut discoveries, &snapshot.clusters, registry.events(), &self.config);
        let failed = |what: &str, error: std::io::Error| {
            let problem = Problem::new(Origin::default(), format!("cannot start {what}: {error}"));
            Report::single(Arc::clone(&self.config.sources), problem)
        };
        let compilers = Compilers::new().map_err(|error| failed("threads that compile", error))?;
        let overload = Overload::start(&self.config, addresses.process(), &registry);
        let demand = Arc::default();
        let mut workers = Vec::new();
        for (number, generation) in parts.into_iter().enumerate() {
            let parts = WorkerParts {
                number,
                registry: registry.clone(),
                tap: setup.tap.clone(),
                overload: overload.flags(),
                demand: Arc::clone(&demand),
                stopped: setup.stopped,
                generation,
            };
            workers.push(Worker::spawn(parts).map_err(|error| failed("a worker", error))?);
        }
        addresses.settle(places, &self.config.listeners, connections(&self.config));
        let snapshot = Arc::new(snapshot);
        let history = VecDeque::from([Arc::clone(&snapshot)]);
        let mut watches = Watches::default();
        watches.follow(&snapshot.clusters, registry.events());
        let version = env!("CARGO_PKG_VERSION");
        registry.events().tell(
            &event_kinds::STARTED,
            "",
            format!("version {version} has started"),
            json!({ "pid": std::process::id() }),
        );
        tell_of_canaries(&registry, None, &snapshot);
        let exports = Exports::default();
        let snapshot = Arc::new(ArcSwap::new(snapshot));
        let spans = Arc::clone(&self.foundation.spans);
        let reader = reader(registry.clone(), Arc::clone(&snapshot), exports.outcomes(), spans);
        exports.follow(self.config.metrics.as_deref(), &self.config.node, &reader);
        let announced = Announced::default();
        announced.follow(self.config.register.as_ref());
        Ok(Proxy {
            foundation: self.foundation,
            snapshot,
            workers,
            compilers,
            overload,
            tap: setup.tap,
            addresses: Mutex::new(Some(addresses)),
            history: Mutex::new(history),
            facts: Mutex::new(Facts::new(&registry)),
            watches: Mutex::new(watches),
            discoveries: Mutex::new(discoveries),
            demand,
            announced,
            exports,
            reader,
        })
    }
}

/// Endpoints of new clusters are there before traffic comes, as far as they can be.
fn discover(discoveries: &mut Discoveries, clusters: &SharedClusters, events: &Events, config: &Config) {
    discoveries.follow(clusters, events, config.state.as_deref());
    let runtime = tokio::runtime::Handle::current();
    let Some(first) = discoveries.first_answers() else { return };
    // With one thread nobody would answer meanwhile.
    if runtime.runtime_flavor() == tokio::runtime::RuntimeFlavor::CurrentThread {
        return;
    }
    for cluster in tokio::task::block_in_place(|| runtime.block_on(first)) {
        tracing::warn!(cluster, "no endpoint has been discovered yet: requests are refused until there is one");
    }
}

impl Facts {
    fn new(registry: &Registry) -> Self {
        let since = clock::seconds(SystemTime::now());
        let start = registry.gauge(&names::PROCESS_START, &[]);
        start.set(i64::try_from(since).unwrap_or(0));
        let generation = registry.gauge(&names::PROCESS_GENERATION, &[]);
        let build = registry.gauge(
            &names::PROCESS_BUILD,
            &[("version", env!("CARGO_PKG_VERSION")), ("commit", option_env!("FYKE_COMMIT").unwrap_or("unknown"))],
        );
        build.set(1);
        generation.set(1);
        Self { generation, _others: [start, build] }
    }

    /// Another generation runs.
    fn begin(&mut self, number: u64) {
        self.generation.set(i64::try_from(number).unwrap_or(i64::MAX));
    }
}

impl Proxy {
    /// What runs.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Generations that can be gone back to, oldest first; the last one runs.
    #[must_use]
    pub fn history(&self) -> Vec<Arc<Snapshot>> {
        lock(&self.history).iter().map(Arc::clone).collect()
    }

    /// Metrics.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.foundation.registry
    }

    /// Everything that is counted.
    #[must_use]
    pub fn metrics(&self) -> &Reader {
        &self.reader
    }

    /// Checks what is written, with changes on top, to the end, as a successor of what runs. Blocks for as long as modules are compiled
    /// and filters configured. A dry run leaves nothing behind, the files of sinks neither.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn prepare(&self, mut written: Arc<Config>, overlay: Overlay, dry_run: bool) -> Result<Prepared, Report> {
        let before = self.snapshot();
        if written.workers_are_auto && before.config.workers_are_auto && written.workers != before.config.workers {
            // What a machine has may change; what a process has begun with stays.
            Arc::make_mut(&mut written).workers = before.config.workers;
        }
        let fixed = fixed(&before.config, &written);
        if !fixed.is_empty() {
            return Err(Report::of(Arc::clone(&written.sources), fixed));
        }
        let mut foundation = self.foundation.clone();
        if dry_run {
            foundation.records = Records::Nowhere;
        }
        foundation.prepare(written, overlay, Some(&before.sinks), Some(&self.compilers))
    }

    /// Checks a configuration to the end, apart from all that runs: on the same compiler, and nothing else is shared. Blocks.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn prepare_apart(&self, config: Config) -> Result<Prepared, Report> {
        let foundation = self.foundation.apart();
        foundation.prepare(Arc::new(config), Overlay::default(), None, Some(&self.compilers))
    }

    /// Everything new begins on this generation; what has begun ends on its own. Returns once every worker is on it. Blocks; must be
    /// called inside the control plane's runtime, by one of its threads that may, and by one at a time.
    ///
    /// # Errors
    /// What cannot be bound or built. What ran goes on then.
    pub fn apply(&self, prepared: &Prepared) -> Result<Applied, Report> {
        let before = self.snapshot();
        if is_same(&before, prepared) {
            return Ok(Applied::Unchanged(before.generation));
        }
        let instances = self.compilers.run(|| instances(prepared, Some(&before)))?;
        let mut addresses = lock(&self.addresses);
        let Some(addresses) = addresses.as_mut() else {
            return Err(whole(&prepared.config, "the process drains: nothing changes any more".to_owned()));
        };
        let Next { snapshot, parts, places } = next(prepared, instances, addresses, Some(&before))?;
        discover(&mut lock(&self.discoveries), &snapshot.clusters, self.registry().events(), &prepared.config);
        let (done, swapped) = sync_mpsc::channel();
        for (worker, parts) in self.workers.iter().zip(parts) {
            worker.tell(Command::Swap(Box::new(parts), done.clone()));
        }
        drop(done);
        for _ in &self.workers {
            if swapped.recv_timeout(SWAP).is_err() {
                tracing::warn!(generation = snapshot.generation, "a worker has not begun on the new generation yet");
                break;
            }
        }
        addresses.settle(places, &prepared.config.listeners, connections(&prepared.config));
        self.overload.follow(&prepared.config);
        let snapshot = Arc::new(snapshot);
        let number = snapshot.generation;
        lock(&self.watches).follow(&snapshot.clusters, self.registry().events());
        tell_of_canaries(self.registry(), Some(&before), &snapshot);
        lock(&self.facts).begin(number);
        self.exports.follow(prepared.config.metrics.as_deref(), &prepared.config.node, &self.reader);
        self.announced.follow(prepared.config.register.as_ref());
        self.snapshot.store(Arc::clone(&snapshot));
        let mut history = lock(&self.history);
        history.push_back(snapshot);
        if history.len() > KEPT {
            history.pop_front();
        }
        Ok(Applied::Generation(number))
    }

    /// A generation of the history as it would have to be applied. `None`: it is not kept any more, or never was.
    #[must_use]
    pub fn again(&self, generation: u64) -> Option<Prepared> {
        let history = lock(&self.history);
        let snapshot = history.iter().find(|snapshot| snapshot.generation == generation)?;
        Some(Prepared::again(&self.foundation, snapshot))
    }

    /// What runs as it would have to be applied, with another configuration of the same filters.
    pub(super) fn renewed(&self, written: Arc<Config>, overlay: Overlay) -> Prepared {
        let config = Arc::new(overlay.apply(&written));
        Prepared { config, written, overlay, ..Prepared::again(&self.foundation, &self.snapshot()) }
    }

    /// What of it could not be bound, as far as that can be known before it is.
    pub(super) fn unbound(&self, prepared: &Prepared) -> Vec<Problem> {
        let addresses = lock(&self.addresses);
        addresses.as_ref().map(|addresses| addresses.problems(&prepared.config.listeners)).unwrap_or_default()
    }

    /// Takes back what is announced at a registry: nobody new comes from there any more.
    pub async fn withdraw(&self) {
        self.announced.withdraw().await;
    }

    /// Who watches streams.
    #[must_use]
    pub fn tap(&self) -> &Tap {
        &self.tap
    }

    /// What is used of the process's limits, and what is done about it.
    #[must_use]
    pub fn overload(&self) -> serde_json::Value {
        self.overload.status()
    }

    /// Listeners' names and the addresses that they are bound to.
    #[must_use]
    pub fn listeners(&self) -> Vec<(String, Address)> {
        self.snapshot().listeners.clone()
    }

    /// The endpoints that control planes assign.
    #[must_use]
    pub fn assignments(&self) -> Assignments {
        lock(&self.discoveries).assignments()
    }

    /// Clusters that somebody needs, and are not there.
    #[must_use]
    pub fn demand(&self) -> &Demand {
        &self.demand
    }

    /// Has every file of a sink opened anew, of older generations too.
    pub fn reopen_files(&self) {
        for snapshot in self.history() {
            snapshot.sinks.reopen();
        }
    }

    /// How many bytes of records are not written yet.
    #[must_use]
    pub fn queued_records(&self) -> usize {
        self.snapshot().sinks.queued()
    }

    /// Copies of all listening sockets, for a process that takes over. `None`: this one drains.
    #[must_use]
    pub fn sockets(&self) -> Option<Vec<Heirloom>> {
        // No generation changes them meanwhile.
        let addresses = lock(&self.addresses);
        let named = addresses.as_ref()?.named();
        let (reply, sockets) = sync_mpsc::channel();
        for worker in &self.workers {
            worker.tell(Command::Sockets(reply.clone()));
        }
        drop(reply);
        let mut heirlooms = Vec::new();
        while let Ok(of_worker) = sockets.recv_timeout(SWAP) {
            for (number, socket) in of_worker {
                if let Some((_, named)) = named.iter().find(|(known, _)| *known == number) {
                    heirlooms.push(Heirloom { named: Some(named.clone()), socket });
                }
            }
        }
        Some(heirlooms)
    }

    /// Has a worker do something on its own thread, among its tasks. A worker that has ended does nothing.
    pub fn on_worker(&self, number: usize, job: Job) {
        if let Some(worker) = self.workers.get(number) {
            worker.tell(Command::Run(job));
        }
    }

    /// Stops accepting, lets open streams finish for as long as their listeners wait, and ends the workers. Blocks.
    pub fn drain(&self) {
        // No generation takes over any more.
        lock(&self.addresses).take();
        for worker in &self.workers {
            worker.tell(Command::Drain);
        }
        for worker in &self.workers {
            worker.join();
        }
        *lock(&self.watches) = Watches::default();
        lock(&self.discoveries).end();
        self.exports.close(FAREWELL);
        // Streams of older generations have written to theirs until now.
        let history = self.history();
        let deadline = Instant::now() + FAREWELL;
        for snapshot in &history {
            snapshot.sinks.close(deadline.saturating_duration_since(Instant::now()));
        }
        Tracing::close(history.iter().filter_map(|snapshot| snapshot.tracing.as_ref()), Instant::now() + FAREWELL);
    }
}

/// Reads what the registry does not have of whichever generation runs.
fn reader(registry: Registry, snapshot: Arc<ArcSwap<Snapshot>>, outcomes: Outcomes, spans: Arc<Statistics>) -> Reader {
    Reader::new(registry, move || {
        let snapshot = snapshot.load();
        let mut families = readings(&snapshot.clusters);
        FamilyReading::merge(&mut families, export::spans(&spans, snapshot.tracing.is_some()));
        FamilyReading::merge(&mut families, outcomes.readings());
        FamilyReading::merge(&mut families, snapshot.sinks.readings());
        families
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Tells which canaries have begun with a generation, and which have ended.
fn tell_of_canaries(registry: &Registry, before: Option<&Snapshot>, now: &Snapshot) {
    let events = registry.events();
    let is_in = |snapshot: &Snapshot, name: &str, trial: &Trial| {
        snapshot.trials.get(name).is_some_and(|known| known.identity == trial.identity)
    };
    for (name, trial) in before.iter().flat_map(|before| &before.trials) {
        if !is_in(now, name, trial) {
            events.tell(
                &event_kinds::CANARY_ENDED,
                name,
                "the canary has ended",
                json!({ "generation": now.generation }),
            );
        }
    }
    for (name, trial) in &now.trials {
        if !before.is_some_and(|before| is_in(before, name, trial)) {
            let percent = trial.settings.share * 100.0;
            let fields = json!({ "generation": now.generation, "percent": percent });
            events.tell(
                &event_kinds::CANARY_STARTED,
                name,
                format!("a canary meets {percent}% of the streams"),
                fields,
            );
        }
    }
}
