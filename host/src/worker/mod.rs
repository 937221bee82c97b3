//! Workers: one OS thread each, with its own runtime, sockets, filter instances and pools.
//!
//! Everything that a stream touches lives on one worker and is `!Send`, so the compiler keeps it there. A worker
//! is handed a [`WorkerParts`], which is `Send`: sockets, built instances, and handles on what the process shares
//! (permits, shared data, metrics). From then on it is told things through its command channel and asks the control plane for
//! one thing only: an instance in place of a trapped one.

use std::{collections::HashMap, io, net::TcpListener, rc::Rc, sync::Arc, thread, time::Duration};

use tokio::{sync::mpsc, task::LocalSet, time::Instant};

use crate::{
    clock,
    cluster::{local::LocalCluster, shared::SharedCluster},
    config::resolved,
    filter::chain::Chain,
    http::runtime::{ListenerMetrics, ListenerRuntime},
    listener::{
        accept::{self, Admission, LocalListener},
        drain::Drain,
    },
    telemetry::{names, registry::Registry},
    wasm::{
        build::{Built, FilterFacts},
        entropy::Entropy,
        env::{Env, SCRATCH},
        scribe::Scribe,
        tap::Tap,
        vm::{Plugin, PluginMetrics, Rebuild, Vm, VmMetrics},
    },
};

/// What one VM looks like to a worker.
pub struct VmParts {
    /// Name for messages and metrics.
    pub name: String,
    /// Scope of shared data.
    pub scope: Arc<crate::shared::Scope>,
    /// The first instance.
    pub built: Built,
}

/// What one listener looks like to a worker.
pub struct ListenerParts {
    /// Settings.
    pub settings: resolved::Listener,
    /// This worker's socket.
    pub socket: TcpListener,
    /// Limits that the workers share.
    pub admission: Arc<Admission>,
    /// Its filters, outermost first.
    pub filters: Vec<FilterFacts>,
}

/// Everything that a worker starts with.
pub struct WorkerParts {
    /// Its number.
    pub number: usize,
    /// VMs, by number.
    pub vms: Vec<VmParts>,
    /// Listeners.
    pub listeners: Vec<ListenerParts>,
    /// Clusters.
    pub clusters: Vec<Arc<SharedCluster>>,
    /// Metrics.
    pub registry: Registry,
    /// `node:`
    pub node: Arc<resolved::Node>,
    /// Where instances are asked for.
    pub rebuild: mpsc::UnboundedSender<Rebuild>,
    /// Who watches what filters do.
    pub tap: Option<Tap>,
    /// Time stands still but for `tokio::time::advance`. Then the clock and the timers' begin at the same moment, so that what is due after
    /// so many milliseconds is due then, and not one later.
    pub stopped: bool,
}

/// How long plugin contexts may take to end, all together.
const GOODBYE: Duration = Duration::from_secs(5);

/// Something to do on a worker's thread, where it may spawn local tasks.
pub type Job = Box<dyn FnOnce() + Send>;

/// What a worker can be told.
pub enum Command {
    /// Close idle connections, finish the others, at most for so long; then end.
    Drain(Duration),
    /// Do this.
    Run(Job),
}

/// A running worker.
#[derive(Debug)]
pub struct Worker {
    thread: thread::JoinHandle<()>,
    commands: mpsc::UnboundedSender<Command>,
}

impl Worker {
    /// Starts a worker.
    ///
    /// # Errors
    /// When the thread or its runtime cannot be made.
    pub fn spawn(parts: WorkerParts) -> io::Result<Self> {
        let (commands, receiver) = mpsc::unbounded_channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(parts.stopped).build()?;
        let thread = thread::Builder::new().name(format!("fyke-worker-{}", parts.number)).spawn(move || {
            LocalSet::new().block_on(&runtime, run(parts, receiver));
        })?;
        Ok(Self { thread, commands })
    }

    /// Tells the worker something; a worker that has ended does not mind.
    pub fn tell(&self, command: Command) {
        let _ = self.commands.send(command);
    }

    /// Waits for its end.
    pub fn join(self) {
        if self.thread.join().is_err() {
            tracing::error!("a worker panicked: please report this");
        }
    }
}

async fn run(parts: WorkerParts, mut commands: mpsc::UnboundedReceiver<Command>) {
    let number = parts.number;
    let _stopped = parts.stopped.then(clock::stop);
    let clusters: HashMap<String, Rc<LocalCluster>> = parts
        .clusters
        .into_iter()
        .map(|shared| (shared.settings.name.clone(), LocalCluster::new(shared, &parts.registry)))
        .collect();
    let env = Rc::new(Env {
        worker: number,
        clusters,
        registry: parts.registry.clone(),
        node: parts.node,
        scribe: Scribe::default(),
        entropy: Entropy::default(),
        scratch: std::cell::RefCell::new(vec![0; SCRATCH].into()),
        tap: parts.tap,
        epoch: Instant::now(),
    });
    let vms: Vec<Rc<Vm>> = parts
        .vms
        .into_iter()
        .enumerate()
        .map(|(index, vm)| {
            let metrics = VmMetrics::new(&parts.registry, &vm.name);
            let local = Vm::new(index, vm.name.as_str().into(), vm.scope, parts.rebuild.clone(), metrics);
            local.install(vm.built, &env);
            local
        })
        .collect();
    let drain = Drain::default();
    let mut gates = Vec::new();
    for listener in parts.listeners {
        let plugins = listener.filters.iter().filter_map(|facts| plugin(facts, &vms, &parts.registry)).collect();
        let runtime = ListenerRuntime {
            env: Rc::clone(&env),
            chain: Chain::new(plugins),
            cluster: listener.settings.cluster.clone(),
            limits: listener.settings.limits.clone(),
            metrics: Rc::new(ListenerMetrics::new(&parts.registry, &listener.settings.name, number)),
        };
        let local = Rc::new(LocalListener {
            name: listener.settings.name.as_str().into(),
            tls: listener.settings.tls.as_ref().map(|tls| tokio_rustls::TlsAcceptor::from(Arc::clone(&tls.config))),
            settings: Arc::new(listener.settings.clone()),
            runtime: std::cell::RefCell::new(Rc::new(runtime)),
            admission: listener.admission,
            drain: drain.clone(),
        });
        match tokio::net::TcpListener::from_std(listener.socket) {
            Ok(socket) => gates.push(tokio::task::spawn_local(accept::run(local, socket))),
            Err(error) => tracing::error!(listener = listener.settings.name, "cannot listen: {error}"),
        }
    }
    for cluster in env.clusters.values() {
        let weak = Rc::downgrade(cluster);
        let period = cluster.sweep_period();
        tokio::task::spawn_local(async move {
            let mut timer = tokio::time::interval(period);
            loop {
                timer.tick().await;
                let Some(cluster) = weak.upgrade() else { return };
                cluster.sweep();
            }
        });
    }
    let housekeeping = tokio::task::spawn_local(keep_house(Rc::clone(&env), vms.clone()));
    let patience = loop {
        match commands.recv().await {
            Some(Command::Run(job)) => job(),
            Some(Command::Drain(patience)) => break patience,
            None => break Duration::ZERO,
        }
    };
    drain.begin();
    for gate in gates {
        let _ = gate.await;
    }
    let deadline = Instant::now() + patience;
    let active = || {
        let registry = &env.registry;
        let label = number.to_string();
        match registry.read(&names::WORKER_CONNECTIONS_ACTIVE, &[("worker", &label)]) {
            Some(crate::telemetry::Reading::Gauge(open)) => open > 0,
            _ => false,
        }
    };
    while active() && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for cluster in env.clusters.values() {
        cluster.close_idle();
    }
    housekeeping.abort();
    // Where streams are cut off, so are their filters: a plugin context must not go before its streams.
    if !active() {
        let deadline = Instant::now() + GOODBYE;
        for vm in &vms {
            vm.end(&env, deadline).await;
        }
    }
}

fn plugin(facts: &FilterFacts, vms: &[Rc<Vm>], registry: &Registry) -> Option<Rc<Plugin>> {
    let name = facts.settings.name.as_str();
    let policy = match facts.settings.on_failure {
        resolved::OnFailure::Close => "close",
        resolved::OnFailure::Open => "open",
    };
    Some(Rc::new(Plugin {
        vm: Rc::clone(vms.get(facts.vm)?),
        index: facts.index,
        callbacks: facts.callbacks,
        edits_bodies: facts.edits_bodies,
        headers_pause: facts.headers_pause,
        metrics: PluginMetrics {
            streams: registry.counter(&names::FILTER_STREAMS, &[("filter", name)]),
            replies: registry.counter(&names::FILTER_LOCAL_REPLIES, &[("filter", name)]),
            failures: registry.counter(&names::FILTER_FAILED_STREAMS, &[("filter", name), ("policy", policy)]),
        },
        settings: Arc::clone(&facts.settings),
    }))
}

/// Once a second, what is not counted by events is measured.
async fn keep_house(env: Rc<Env>, vms: Vec<Rc<Vm>>) {
    let label = env.worker.to_string();
    let cpu = env.registry.counter(&names::WORKER_CPU, &[("worker", &label)]);
    let memory: Vec<_> = vms
        .iter()
        .map(|vm| {
            let labels = [("filter", &*vm.name)];
            (env.registry.gauge(&names::FILTER_MEMORY, &labels), env.registry.gauge(&names::FILTER_INSTANCES, &labels))
        })
        .collect();
    let mut used = Duration::ZERO;
    let mut timer = tokio::time::interval(Duration::from_secs(1));
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        timer.tick().await;
        for (vm, (memory, instances)) in vms.iter().zip(&memory) {
            let slot = vm.slot();
            memory.set(slot.as_ref().map_or(0, |slot| i64::try_from(slot.memory()).unwrap_or(i64::MAX)));
            instances.set(i64::from(slot.is_some()));
            vm.lines.report(&vm.name);
        }
        let now = thread_time();
        cpu.add_time(now.saturating_sub(used));
        used = now;
    }
}

fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}
