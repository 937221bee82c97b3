//! The instance of a filter on one worker: who runs on it, and how a trapped one is replaced.
//!
//! A [`Slot`] is one instance with what belongs to it: contexts, routes, sinks, timers. It is used until it traps. A
//! [`Vm`] is the place that a slot stands in: when the slot is condemned the control plane builds another one, and
//! streams that come meanwhile wait for it. Streams that began on the old slot keep a reference to it and meet their
//! filter's policy when they next need it.

mod metrics;
mod recycle;

pub use self::metrics::{PluginMetrics, TRAP_REASONS, VmMetrics};

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
    task::Waker,
    time::Duration,
};

use fyke_engine::{CallbackSet, ContextId, Instance, Trap};
use serde_json::json;
use tokio::{
    sync::{Notify, mpsc, oneshot},
    time::Instant,
};

use super::{
    build::Built,
    call::Call,
    env::Env,
    grants::Grants,
    lines::Lines,
    trial::{Side, Tally, Trial},
};

pub use super::slot::{Root, Slot};
use crate::{config::resolved, telemetry::event_kinds};

/// Instances in a row that trapped before they had served one stream: from here on there is a pause.
const FAILURES: u32 = 20;
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A filter as one worker runs it.
#[derive(Debug)]
pub struct Plugin {
    /// Its settings.
    pub settings: Arc<resolved::Filter>,
    /// Where its instance stands.
    pub vm: Rc<Vm>,
    /// Number of its own configuration in the VM.
    pub index: usize,
    /// The callbacks that its module exports and its settings want.
    pub callbacks: CallbackSet,
    /// Whether the module can change bodies at all (it imports `proxy_set_buffer_bytes`).
    pub edits_bodies: bool,
    /// What PAUSE from a headers callback means.
    pub headers_pause: resolved::HeadersPause,
    /// What is counted of it.
    pub metrics: PluginMetrics,
    /// While it has a canary, or is one: where its streams are counted.
    pub trial: Option<(Side, Arc<Trial>)>,
    /// The version of it that some streams meet instead.
    pub canary: Option<Rc<Plugin>>,
}

impl Plugin {
    /// Its side of the trial.
    #[must_use]
    pub fn tally(&self) -> Option<&Tally> {
        self.trial.as_ref().map(|(side, trial)| trial.tally(*side))
    }
}

/// Asks the control plane for an instance in place of a trapped one.
#[derive(Debug)]
pub struct Rebuild {
    /// Number of the VM in its generation.
    pub vm: usize,
    /// Where the instance goes.
    pub reply: oneshot::Sender<Result<Built, String>>,
}

/// Where the instance of one or several filters stands. It outlives its generation where the next one has no other for it.
#[derive(Debug)]
pub struct Vm {
    /// Number in the generation.
    pub number: usize,
    /// Name for messages: the filter's, or `vm`.
    pub name: Rc<str>,
    /// Scope of shared data.
    pub scope: Arc<crate::shared::Scope>,
    /// Its lines in the log.
    pub lines: Lines,
    /// What its filters may use.
    pub grants: Grants,
    /// Surroundings of what it does by itself: those of the newest generation that it is in.
    env: RefCell<Rc<Env>>,
    state: RefCell<State>,
    /// It says goodbye, or has.
    ending: Cell<bool>,
    waiting: RefCell<Vec<Waker>>,
    failures: Cell<u32>,
    /// Copies of the instance that streams have.
    copies: Rc<Cell<usize>>,
    /// Instances that were recycled and are not gone, and the one that is to be recycled.
    recycled: Cell<u32>,
    recycling: Cell<bool>,
    rebuild: mpsc::UnboundedSender<Rebuild>,
    metrics: VmMetrics,
    /// It is a canary's.
    trial: RefCell<Option<Arc<Trial>>>,
}

#[derive(Debug)]
enum State {
    Ready(Rc<Slot>),
    Rebuilding,
    Paused(Instant),
    /// Nobody needs it any more.
    Ended,
}

/// What a stream finds when it needs an instance.
#[derive(Debug)]
pub enum Acquired {
    /// One that works.
    Ready(Rc<Slot>),
    /// One is being built; the waker was kept.
    Wait,
    /// There is none for now.
    Unavailable,
}

impl Vm {
    /// A VM without an instance.
    #[must_use]
    pub fn new(
        (number, name): (usize, Rc<str>),
        scope: Arc<crate::shared::Scope>,
        rebuild: mpsc::UnboundedSender<Rebuild>,
        metrics: VmMetrics,
        env: Rc<Env>,
    ) -> Rc<Self> {
        Rc::new(Self {
            number,
            name,
            scope,
            lines: Lines::default(),
            grants: Grants::new(&env.registry),
            env: RefCell::new(env),
            state: RefCell::new(State::Rebuilding),
            ending: Cell::new(false),
            waiting: RefCell::new(Vec::new()),
            failures: Cell::new(0),
            copies: Rc::default(),
            recycled: Cell::new(0),
            recycling: Cell::new(false),
            rebuild,
            metrics,
            trial: RefCell::default(),
        })
    }

    /// Surroundings of what it does by itself.
    fn env(&self) -> Rc<Env> {
        Rc::clone(&self.env.borrow())
    }

    /// A newer generation has taken it over.
    pub fn adopt(&self, env: Rc<Env>) {
        self.env.replace(env);
    }

    /// Its traps are held against a canary.
    pub fn is_on_trial(&self, trial: Arc<Trial>) {
        self.trial.replace(Some(trial));
    }

    /// Whether nothing is left of it.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        matches!(*self.state.borrow(), State::Ended)
    }

    /// What is counted of it.
    #[must_use]
    pub fn metrics(&self) -> &VmMetrics {
        &self.metrics
    }

    /// Puts an instance in place and starts what it asked for while it was configured.
    pub fn install(self: &Rc<Self>, built: Built) {
        if matches!(*self.state.borrow(), State::Ended) {
            return;
        }
        let env = &self.env();
        let (ready, announced) = mpsc::unbounded_channel();
        let slot = Rc::new(Slot {
            memory_at_start: built.instance.memory_size(),
            instance: RefCell::new(Some(built.instance)),
            condemned: Cell::new(false),
            ordinary: built.roots.iter().all(|root| root.settings.allow.is_ordinary()),
            roots: built.roots.into(),
            routes: built.routes.into_iter().map(Rc::new).collect(),
            sinks: built.sinks.into(),
            metrics: built.metrics.into(),
            copied: built.copied,
            _counted: None,
            contexts: RefCell::default(),
            timers: RefCell::default(),
            ready,
            calls: Rc::default(),
            grpc: RefCell::default(),
            next_token: Cell::new(built.pending.next_token()),
            done: RefCell::default(),
            told_done: Notify::new(),
            served: Cell::new(false),
        });
        self.state.replace(State::Ready(Rc::clone(&slot)));
        self.metrics.breaker.set(0);
        for (root, period) in built.ticks {
            self.tick(&slot, root, Some(period));
        }
        self.listen(&slot, announced);
        for (root, queue) in built.queues {
            self.scope.queues.listen(queue, root, &slot.ready);
        }
        built.pending.begin(self, &slot, env);
        for waker in self.waiting.borrow_mut().drain(..) {
            waker.wake();
        }
    }

    /// The instance for a new stream.
    pub fn acquire(self: &Rc<Self>, waker: Option<&Waker>) -> Acquired {
        let due = match &*self.state.borrow() {
            State::Ready(slot) if !slot.is_condemned() => return Acquired::Ready(Rc::clone(slot)),
            State::Paused(until) => {
                if Instant::now() < *until {
                    return Acquired::Unavailable;
                }
                true
            }
            State::Ready(_) => true,
            State::Rebuilding => false,
            State::Ended => return Acquired::Unavailable,
        };
        if due {
            self.replace(Instant::now());
        }
        if let Some(waker) = waker {
            let mut waiting = self.waiting.borrow_mut();
            if !waiting.iter().any(|known| known.will_wake(waker)) {
                waiting.push(waker.clone());
            }
        }
        Acquired::Wait
    }

    /// Where a new stream runs, given the instance that stands here: on it, or on a copy of its own. `None`: there are too many.
    #[must_use]
    pub fn for_stream(&self, slot: &Rc<Slot>) -> Option<Rc<Slot>> {
        let own = slot.for_stream(&self.copies);
        if own.is_none() && self.lines.admit(&self.name) {
            tracing::warn!(
                filter = &*self.name,
                "no instance for a stream: there are as many as `limits.instances` allows"
            );
        }
        own
    }

    /// Instances that are alive: the one that stands here, and what streams have copies of.
    #[must_use]
    pub fn instances(&self) -> usize {
        self.copies.get() + usize::from(self.slot().is_some())
    }

    /// The instance that stands here now, for reports.
    #[must_use]
    pub fn slot(&self) -> Option<Rc<Slot>> {
        match &*self.state.borrow() {
            State::Ready(slot) => Some(Rc::clone(slot)),
            _ => None,
        }
    }

    /// Ends the VM, when no stream is left: says goodbye to the plugin contexts and lets the instance go.
    pub async fn end(self: &Rc<Self>, deadline: Instant) {
        if self.ending.replace(true) {
            return;
        }
        let Some(slot) = self.slot() else {
            self.state.replace(State::Ended);
            return;
        };
        self.say_goodbye(&slot, deadline).await;
        self.state.replace(State::Ended);
        slot.condemn();
    }

    /// Too many generations are newer: ends the streams that are still here, gives them until `deadline`, and ends.
    pub async fn expire(self: &Rc<Self>, deadline: Instant) {
        if let Some(slot) = self.slot().filter(|slot| slot.has_streams()) {
            self.metrics.expired.inc();
            tracing::warn!(
                filter = &*self.name,
                "streams of an old generation are ended: too many newer ones have been loaded since"
            );
            slot.end_streams();
            while slot.has_streams() && Instant::now() < deadline {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        self.end(deadline).await;
    }

    /// PROXY-WASM.md 1.7: done, then delete. One that says that it is not done yet is waited for until it calls `proxy_done`, or until
    /// `deadline`; its timers and callouts go on meanwhile.
    async fn say_goodbye(self: &Rc<Self>, slot: &Rc<Slot>, deadline: Instant) {
        let env = &self.env();
        let enter = |f: &dyn Fn(&mut Instance, &mut Call<'_>) -> Result<bool, Trap>| {
            let mut call = Call::for_root(env, self, slot);
            match slot.enter(|instance| f(instance, &mut call)) {
                Some(Err(trap)) => {
                    tracing::warn!(filter = &*self.name, "filter trapped at its end: {}", trap.message);
                    None
                }
                other => other.and_then(Result::ok),
            }
        };
        let mut waits = Vec::new();
        for root in slot.roots.iter() {
            let Some(done) = enter(&|instance, call| instance.on_done(call, root.context)) else { return };
            if !done {
                waits.push(root.context);
            }
        }
        let all = async {
            loop {
                let told = slot.told_done.notified();
                if waits.iter().all(|root| slot.done.borrow().contains(&root.0)) {
                    return;
                }
                told.await;
            }
        };
        if tokio::time::timeout_at(deadline, all).await.is_err() {
            tracing::warn!(filter = &*self.name, "a plugin context was not done in time: it is deleted all the same");
        }
        slot.calls.end();
        for root in slot.roots.iter() {
            let deleted = enter(&|instance, call| instance.on_delete(call, root.context).map(|()| true));
            if deleted.is_none() {
                return;
            }
        }
    }

    /// Condemns the instance that trapped and asks for another one.
    pub fn trapped(self: &Rc<Self>, slot: &Rc<Slot>, env: &Rc<Env>, trap: &Trap) {
        if slot.is_condemned() {
            return;
        }
        let since = Instant::now();
        self.metrics.trap(trap.kind);
        if let Some(trial) = &*self.trial.borrow() {
            trial.tally(Side::Canary).trapped();
        }
        tracing::warn!(
            filter = &*self.name, worker = env.worker, callback = trap.callback, kind = ?trap.kind,
            "filter trapped: {}\n{}", trap.message, trap.backtrace
        );
        let fields = metrics::told(env.worker, trap);
        env.registry.events().tell(&event_kinds::TRAP, &self.name, format!("filter trapped: {}", trap.message), fields);
        slot.condemn();
        let current = matches!(&*self.state.borrow(), State::Ready(now) if Rc::ptr_eq(now, slot));
        if !current {
            return;
        }
        let failures = if slot.served.get() { 0 } else { self.failures.get().saturating_add(1) };
        self.failures.set(failures);
        if failures >= FAILURES {
            let pause =
                Duration::from_millis(100).saturating_mul(1 << (failures - FAILURES).min(10)).min(LONGEST_PAUSE);
            tracing::error!(
                filter = &*self.name,
                worker = env.worker,
                ?pause,
                "filter keeps trapping: its policy applies to every stream for a while"
            );
            let fields = json!({ "worker": env.worker, "pause_seconds": pause.as_secs_f64() });
            let message = "it keeps trapping: its policy applies to every stream for a while";
            env.registry.events().tell(&event_kinds::BREAKER_OPEN, &self.name, message, fields);
            self.pause(pause);
        } else {
            self.replace(since);
        }
    }

    /// Asks the control plane for an instance.
    fn ask_for_another(&self) -> impl Future<Output = Result<Built, String>> + 'static {
        let (reply, built) = oneshot::channel();
        let asked = self.rebuild.send(Rebuild { vm: self.number, reply });
        async move {
            match asked {
                Ok(()) => built.await.unwrap_or_else(|_| Err("the control plane is gone".to_owned())),
                Err(_) => Err("the control plane is gone".to_owned()),
            }
        }
    }

    /// Has the control plane build another instance; streams wait for it `since` then.
    fn replace(self: &Rc<Self>, since: Instant) {
        self.state.replace(State::Rebuilding);
        let asked = self.ask_for_another();
        let vm = Rc::clone(self);
        tokio::task::spawn_local(async move {
            match asked.await {
                // Nobody needs it any more.
                _ if vm.has_ended() => {}
                Ok(built) => {
                    vm.metrics.replaced.inc();
                    vm.install(built);
                    vm.metrics.replacement.observe(since.elapsed());
                }
                Err(error) => {
                    tracing::error!(
                        filter = &*vm.name,
                        worker = vm.env().worker,
                        "no instance in place of the one that trapped: {error}"
                    );
                    vm.failures.set(vm.failures.get().max(FAILURES).saturating_add(1));
                    vm.pause(Duration::from_secs(1));
                }
            }
        });
    }

    /// Makes no instance for a while: the filter's policy applies to every stream.
    fn pause(&self, pause: Duration) {
        self.state.replace(State::Paused(Instant::now() + pause));
        self.metrics.breaker.set(1);
        for waker in self.waiting.borrow_mut().drain(..) {
            waker.wake();
        }
    }

    /// Calls the instance for every entry that a queue announces, for as long as it works.
    fn listen(self: &Rc<Self>, slot: &Rc<Slot>, mut announced: mpsc::UnboundedReceiver<(ContextId, u32)>) {
        let weak = Rc::downgrade(slot);
        let vm = Rc::downgrade(self);
        tokio::task::spawn_local(async move {
            while let Some((root, queue)) = announced.recv().await {
                let (Some(slot), Some(vm)) = (weak.upgrade(), vm.upgrade()) else { return };
                let env = vm.env();
                let mut call = Call::for_root(&env, &vm, &slot);
                match slot.enter(|instance| instance.on_queue_ready(&mut call, root, queue)) {
                    Some(Ok(())) => {}
                    Some(Err(trap)) => return vm.trapped(&slot, &env, &trap),
                    None => return,
                }
            }
        });
    }

    /// Sets, changes or stops a root context's timer.
    pub fn tick(self: &Rc<Self>, slot: &Rc<Slot>, root: ContextId, period: Option<Duration>) {
        if let Some(old) = slot.timers.borrow_mut().remove(&root.0) {
            old.abort();
        }
        let Some(period) = period else { return };
        let weak = Rc::downgrade(slot);
        let vm = Rc::clone(self);
        let task = tokio::task::spawn_local(async move {
            let mut timer = tokio::time::interval_at(Instant::now() + period, period);
            timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                timer.tick().await;
                let Some(slot) = weak.upgrade() else { return };
                let env = vm.env();
                let mut call = Call::for_root(&env, &vm, &slot);
                match slot.enter(|instance| instance.on_tick(&mut call, root)) {
                    Some(Ok(())) => {}
                    Some(Err(trap)) => {
                        vm.trapped(&slot, &env, &trap);
                        return;
                    }
                    None => return,
                }
            }
        });
        slot.timers.borrow_mut().insert(root.0, task.abort_handle());
    }
}
