//! What a worker has, and how the next generation moves in.

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, VecDeque},
    rc::{Rc, Weak},
    sync::Arc,
    time::Duration,
};

use tokio::{sync::mpsc, task::JoinHandle, time::Instant};

use super::{FilterParts, GenerationParts, ListenerParts, VmSource, keep};
use crate::{
    cluster::{Clusters, demand::Demand},
    config::resolved::{self, Target},
    filter::chain::Chain,
    http::runtime::{ListenerMetrics, ListenerRuntime},
    listener::{
        accept::{self, Gate, LocalListener},
        overload::Flags,
        serving::{ChainServing, Serving},
        socket::Listening,
        tasks::Tasks,
    },
    telemetry::{names, registry::Registry},
    wasm::{
        build::FilterFacts,
        env::{Env, Stock},
        tap::Tap,
        trial::{Side, Trial},
        vm::{Plugin, PluginMetrics, Vm, VmMetrics},
    },
};

/// How long plugin contexts may take to end, all together.
const GOODBYE: Duration = Duration::from_secs(5);
/// Old generations of one filter that stay alive for their streams.
const STALE: usize = 16;
/// How often it is looked whether the last connections have gone.
const LOOK: Duration = Duration::from_millis(10);

/// Everything of one worker.
pub(super) struct House {
    number: usize,
    registry: Registry,
    tap: Tap,
    overload: Arc<Flags>,
    demand: Arc<Demand>,
    stock: Rc<Stock>,
    epoch: Instant,
    clusters: Rc<Clusters>,
    /// VMs of the newest generation, by their numbers there.
    tenants: Vec<Rc<Tenant>>,
    known: Known,
    gates: HashMap<u64, OpenGate>,
    /// By name, VMs of older generations, oldest first.
    stale: HashMap<Rc<str>, VecDeque<Weak<Vm>>>,
    /// Where VMs go that no generation needs any more.
    gone: mpsc::UnboundedSender<Rc<Vm>>,
}

/// A gate, and what accepts there.
struct OpenGate {
    gate: Rc<Gate>,
    tasks: Vec<JoinHandle<()>>,
    /// Copies of its sockets, for another process.
    sockets: Vec<Listening>,
}

impl OpenGate {
    /// Takes no more. The copies go first: on a socket that somebody still has open clients would wait in vain.
    fn close(&mut self) {
        self.sockets.clear();
        self.gate.close();
    }
}

/// Every VM that has not ended.
pub(super) type Known = Rc<RefCell<Vec<Weak<Vm>>>>;

/// A VM, for as long as some generation that is in use has it.
struct Tenant {
    vm: Rc<Vm>,
    gone: mpsc::UnboundedSender<Rc<Vm>>,
}

impl Drop for Tenant {
    fn drop(&mut self) {
        // On a worker that has ended nobody listens; then nobody has to.
        let _ = self.gone.send(Rc::clone(&self.vm));
    }
}

impl House {
    /// An empty one.
    pub fn new(number: usize, registry: Registry, tap: Tap, overload: Arc<Flags>, demand: Arc<Demand>) -> Self {
        let (gone, leaving) = mpsc::unbounded_channel();
        tokio::task::spawn_local(keep::say_goodbye(leaving, GOODBYE));
        Self {
            number,
            tap,
            overload,
            demand,
            stock: Rc::default(),
            epoch: Instant::now(),
            clusters: Clusters::new(Arc::default(), registry.clone(), number, |cluster| {
                tokio::task::spawn_local(keep::sweep(Rc::downgrade(cluster)));
            }),
            tenants: Vec::new(),
            known: Known::default(),
            gates: HashMap::new(),
            stale: HashMap::new(),
            gone,
            registry,
        }
    }

    /// What the housekeeping looks at.
    pub fn known(&self) -> keep::House {
        keep::House { worker: self.number, registry: self.registry.clone(), vms: Rc::clone(&self.known) }
    }

    /// From now on everything new begins on this generation. Nothing here can fail or wait: what could has been done before.
    pub fn move_in(&mut self, parts: GenerationParts) {
        let clusters = self.clusters.next(parts.clusters);
        let env = Rc::new(Env {
            worker: self.number,
            clusters: Rc::clone(&clusters),
            demand: Arc::clone(&self.demand),
            registry: self.registry.clone(),
            node: parts.node,
            stock: Rc::clone(&self.stock),
            tracer: parts.tracer,
            tap: self.tap.clone(),
            epoch: self.epoch,
        });
        let tenants: Vec<Rc<Tenant>> = parts.vms.into_iter().filter_map(|source| self.tenant(source, &env)).collect();
        let mut gates = HashMap::new();
        for listener in parts.listeners {
            let gate = self.gates.remove(&listener.gate);
            gates.insert(listener.gate, self.open(listener, gate, &tenants, &env));
        }
        for (_, mut open) in std::mem::replace(&mut self.gates, gates) {
            open.close();
            leave(open.gate.listener());
        }
        self.clusters = clusters;
        let old = std::mem::replace(&mut self.tenants, tenants);
        self.age(old);
    }

    /// Remembers the VMs that are no longer among the newest. Beyond [`STALE`] of one filter the oldest have to go.
    fn age(&mut self, old: Vec<Rc<Tenant>>) {
        for tenant in old {
            if self.tenants.iter().any(|now| Rc::ptr_eq(&now.vm, &tenant.vm)) {
                continue;
            }
            let stale = self.stale.entry(Rc::clone(&tenant.vm.name)).or_default();
            stale.push_back(Rc::downgrade(&tenant.vm));
            drop(tenant);
            stale.retain(|vm| vm.upgrade().is_some_and(|vm| !vm.has_ended()));
            while stale.len() > STALE {
                let Some(vm) = stale.pop_front().and_then(|vm| vm.upgrade()) else { continue };
                tokio::task::spawn_local(async move { vm.expire(Instant::now() + GOODBYE).await });
            }
        }
        self.stale.retain(|_, stale| !stale.is_empty());
    }

    fn tenant(&self, source: VmSource, env: &Rc<Env>) -> Option<Rc<Tenant>> {
        let parts = match source {
            VmSource::Kept(number) => {
                let tenant = self.tenants.get(number)?;
                tenant.vm.adopt(Rc::clone(env));
                return Some(Rc::clone(tenant));
            }
            VmSource::New(parts) => *parts,
        };
        let metrics = VmMetrics::new(&self.registry, &parts.name);
        let identity = (parts.number, parts.name.as_str().into());
        let vm = Vm::new(identity, parts.scope, parts.rebuild, metrics, Rc::clone(env));
        vm.install(parts.built);
        self.known.borrow_mut().push(Rc::downgrade(&vm));
        Some(Rc::new(Tenant { vm, gone: self.gone.clone() }))
    }

    /// Has a listener serve at its address.
    fn open(&self, parts: ListenerParts, gate: Option<OpenGate>, tenants: &[Rc<Tenant>], env: &Rc<Env>) -> OpenGate {
        let settings = parts.settings;
        let known = gate.map(|open| (open.gate.listener(), open));
        let (same, metrics, tasks) = match &known {
            Some((listener, _)) if *listener.name == *settings.name && listener.protocol == settings.protocol => {
                (true, Rc::clone(&listener.current().metrics), Rc::clone(&listener.tasks))
            }
            _ => (false, Rc::new(ListenerMetrics::new(&self.registry, &settings.name, self.number)), Rc::default()),
        };
        let runtime = |filters: &[FilterParts], target: &Target| {
            Rc::new(ListenerRuntime {
                env: Rc::clone(env),
                chain: Chain::new(filters.iter().filter_map(|one| plugin(one, tenants, &self.registry)).collect()),
                target: target.clone(),
                connect_attempts: settings.connect_attempts,
                limits: settings.limits.clone(),
                metrics: Rc::clone(&metrics),
                tasks: Rc::<Tasks>::clone(&tasks),
                overload: Arc::clone(&self.overload),
                keeps: keeps(filters, tenants) as Rc<dyn std::any::Any>,
            })
        };
        let own = runtime(&parts.filters, &settings.target);
        let chains = settings.chains.iter().zip(&parts.chains).map(|(chain, filters)| ChainServing {
            identity: chain.identity,
            runtime: runtime(filters, &chain.target),
        });
        let chains = chains.collect();
        let serving = Serving::new(settings, own, chains);
        if let Some((listener, open)) = known {
            if same {
                listener.serve(serving);
            } else {
                // Another name or protocol at the same address: its socket never closes.
                leave(open.gate.hand_over(LocalListener::new(serving, parts.admission, tasks)));
            }
            return open;
        }
        let name = serving.settings.name.clone();
        let listener = LocalListener::new(serving, parts.admission, tasks);
        let gate = Gate::new(listener);
        let mut open = OpenGate { gate: Rc::clone(&gate), tasks: Vec::new(), sockets: Vec::new() };
        for socket in parts.sockets {
            open.sockets.extend(socket.try_clone());
            match socket.register() {
                Ok(socket) => {
                    let accepts = accept::run(Rc::clone(&gate), socket, Arc::clone(&self.overload));
                    open.tasks.push(tokio::task::spawn_local(accepts));
                }
                Err(error) => tracing::error!(listener = name, "cannot listen: {error}"),
            }
        }
        open
    }

    /// Copies of all listening sockets, with the numbers of their gates.
    pub fn sockets(&self) -> Vec<(u64, Listening)> {
        let each =
            self.gates.iter().flat_map(|(number, open)| open.sockets.iter().map(move |socket| (*number, socket)));
        each.filter_map(|(number, socket)| Some((number, socket.try_clone().ok()?))).collect()
    }

    /// Accepts no more and waits for open connections: for those of each listener as long as its `drain` says.
    pub async fn drain(&mut self) {
        let mut gates = std::mem::take(&mut self.gates);
        let mut longest = Duration::ZERO;
        for open in gates.values_mut() {
            open.close();
            let listener = open.gate.listener();
            longest = longest.max(listener.serving().settings.drain);
            leave(listener);
        }
        for task in gates.into_values().flat_map(|open| open.tasks) {
            let _ = task.await;
        }
        // Those of listeners that went before have a patience of their own, which has begun.
        let deadline = Instant::now() + longest;
        while self.is_busy() && Instant::now() < deadline {
            tokio::time::sleep(LOOK).await;
        }
        self.clusters.close_idle();
    }

    fn is_busy(&self) -> bool {
        let label = self.number.to_string();
        match self.registry.read(&names::WORKER_CONNECTIONS_ACTIVE, &[("worker", &label)]) {
            Some(crate::telemetry::Reading::Gauge(open)) => open > 0,
            _ => false,
        }
    }

    /// Ends the filters, where no stream needs them any more.
    pub async fn end(self) {
        // Where streams are cut off, so are their filters: a plugin context must not go before its streams.
        if self.is_busy() {
            return;
        }
        let deadline = Instant::now() + GOODBYE;
        for tenant in &self.tenants {
            tenant.vm.end(deadline).await;
        }
    }
}

/// The VMs of a chain: until the last stream of it and its generation has ended, so long they are needed.
fn keeps(filters: &[FilterParts], tenants: &[Rc<Tenant>]) -> Rc<Vec<Rc<Tenant>>> {
    let numbers = filters.iter().flat_map(|filter| {
        let canary = filter.canary.as_ref().map(|(facts, _)| facts);
        std::iter::once(&filter.facts).chain(canary).map(|facts| facts.vm)
    });
    Rc::new(numbers.filter_map(|vm| tenants.get(vm).map(Rc::clone)).collect())
}

/// A listener is gone: its connections end as when the process drains, and are cut off after its own `drain`.
fn leave(listener: Rc<LocalListener>) {
    listener.drain.begin();
    let patience = listener.serving().settings.drain;
    tokio::task::spawn_local(async move {
        let deadline = Instant::now() + patience;
        while listener.tasks.sweep() > 0 && Instant::now() < deadline {
            tokio::time::sleep(LOOK).await;
        }
        listener.tasks.cut();
    });
}

fn plugin(filter: &FilterParts, tenants: &[Rc<Tenant>], registry: &Registry) -> Option<Rc<Plugin>> {
    let canary = filter.canary.as_ref().and_then(|(facts, trial)| {
        let tried = (Side::Canary, Arc::clone(trial));
        let plugin = version(facts, Some(tried), None, tenants, registry)?;
        plugin.vm.is_on_trial(Arc::clone(trial));
        Some(Rc::new(plugin))
    });
    let tried = filter.canary.as_ref().map(|(_, trial)| (Side::Stable, Arc::clone(trial)));
    version(&filter.facts, tried, canary, tenants, registry).map(Rc::new)
}

/// One version of a filter.
fn version(
    facts: &FilterFacts,
    trial: Option<(Side, Arc<Trial>)>,
    canary: Option<Rc<Plugin>>,
    tenants: &[Rc<Tenant>],
    registry: &Registry,
) -> Option<Plugin> {
    let name = facts.settings.name.as_str();
    let policy = match facts.settings.on_failure {
        resolved::OnFailure::Close => "close",
        resolved::OnFailure::Open => "open",
    };
    Some(Plugin {
        vm: Rc::clone(&tenants.get(facts.vm)?.vm),
        index: facts.index,
        callbacks: facts.callbacks,
        edits_bodies: facts.edits_bodies,
        headers_pause: facts.headers_pause,
        metrics: PluginMetrics {
            calls: registry.counter(&names::FILTER_CALLS, &[("filter", name)]),
            cpu: registry.histogram(&names::FILTER_CPU, &[("filter", name)]),
            until_sample: Cell::new(0),
            streams: registry.counter(&names::FILTER_STREAMS, &[("filter", name)]),
            replies: registry.counter(&names::FILTER_LOCAL_REPLIES, &[("filter", name)]),
            failures: registry.counter(&names::FILTER_FAILED_STREAMS, &[("filter", name), ("policy", policy)]),
        },
        settings: Arc::clone(&facts.settings),
        trial,
        canary,
    })
}
