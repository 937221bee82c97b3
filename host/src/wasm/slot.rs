//! One instance with what belongs to it: contexts, routes, sinks, timers, calls. It is used until it traps.

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, HashSet},
    rc::{Rc, Weak},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use fyke_engine::{Callback, CallbackSet, ContextId, IdMap, Instance};
use tokio::{sync::Notify, task::AbortHandle};

use super::{
    build::Copied,
    call_out,
    exchange::{Exchange, Kind},
    grpc,
    route::Route,
};
use crate::{
    config::resolved,
    shared,
    telemetry::{labelled::Family, sink::SinkHandle},
};

/// By context id: the stream, and the place of the filter in its chain.
type Contexts = IdMap<(Weak<RefCell<Exchange>>, usize)>;

/// A plugin context.
#[derive(Debug)]
pub struct Root {
    /// Its id.
    pub context: ContextId,
    /// Whose it is.
    pub settings: Arc<resolved::Filter>,
    /// Callbacks that its configuration has no use for (`fyke.callbacks.skip.v1`).
    pub skips: CallbackSet,
}

impl Root {
    /// Whether streams have contexts of their own there. If not, the guest is called with the plugin context's id.
    #[must_use]
    pub fn has_stream_contexts(&self) -> bool {
        !self.skips.contains(Callback::ContextCreate)
    }
}

/// One instance and what belongs to it.
#[derive(Debug)]
pub struct Slot {
    /// Until it has trapped or ended.
    pub(super) instance: RefCell<Option<Instance>>,
    pub(super) condemned: Cell<bool>,
    /// Bytes of its memory when it was new.
    pub(super) memory_at_start: usize,
    /// Plugin contexts by number of configuration.
    pub roots: Rc<[Root]>,
    /// None of its filters is denied what most have: metrics, foreign functions, setting properties.
    pub(super) ordinary: bool,
    /// Routes by handle.
    pub routes: Rc<[Rc<Route>]>,
    /// Sinks by handle.
    pub sinks: Rc<[SinkHandle]>,
    /// Metrics with labels, by handle.
    pub metrics: Rc<[Arc<Family>]>,
    /// What streams have copies of, in place of using this one.
    pub(super) copied: Option<Copied>,
    /// It is such a copy, counted here and among all.
    pub(super) _counted: Option<Counted>,
    pub(super) contexts: RefCell<Contexts>,
    pub(super) timers: RefCell<HashMap<u32, AbortHandle>>,
    /// Where shared queues announce their entries.
    pub(super) ready: shared::queue::Ready,
    pub(super) calls: Rc<call_out::Waiting>,
    /// gRPC calls by token.
    pub(super) grpc: RefCell<HashMap<u32, grpc::Open>>,
    pub(super) next_token: Cell<u32>,
    /// Plugin contexts that have called `proxy_done`.
    pub(super) done: RefCell<HashSet<u32>>,
    pub(super) told_done: Notify,
    pub(super) served: Cell<bool>,
}

/// A copy's place among those that may be.
#[derive(Debug)]
pub(super) struct Counted {
    all: Arc<AtomicUsize>,
    here: Rc<Cell<usize>>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.all.fetch_sub(1, Ordering::Relaxed);
        self.here.set(self.here.get() - 1);
    }
}

impl Slot {
    /// Where a new stream runs: here, or on a copy of its own. `None`: there are as many as there may be. `here` counts those of this VM.
    pub(super) fn for_stream(self: &Rc<Self>, here: &Rc<Cell<usize>>) -> Option<Rc<Self>> {
        let Some(copied) = &self.copied else { return Some(Rc::clone(self)) };
        if copied.alive.fetch_add(1, Ordering::Relaxed) >= copied.most {
            copied.alive.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        here.set(here.get() + 1);
        let counted = Counted { all: Arc::clone(&copied.alive), here: Rc::clone(here) };
        let instance = copied.image.instantiate().ok()?;
        Some(Rc::new(Self {
            memory_at_start: 0,
            instance: RefCell::new(Some(instance)),
            condemned: Cell::new(false),
            ordinary: self.ordinary,
            roots: Rc::clone(&self.roots),
            routes: Rc::clone(&self.routes),
            sinks: Rc::clone(&self.sinks),
            metrics: Rc::clone(&self.metrics),
            copied: None,
            _counted: Some(counted),
            contexts: RefCell::default(),
            timers: RefCell::default(),
            ready: self.ready.clone(),
            calls: Rc::default(),
            grpc: RefCell::default(),
            next_token: Cell::new(self.next_token.get()),
            done: RefCell::default(),
            told_done: Notify::new(),
            served: Cell::new(false),
        }))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.calls.end();
        for timer in self.timers.borrow().values() {
            timer.abort();
        }
    }
}

impl Slot {
    /// Whether it has trapped.
    #[must_use]
    pub fn is_condemned(&self) -> bool {
        self.condemned.get()
    }

    /// Runs `enter` with the instance. `None` when it has trapped before, or runs already: a guest is never re-entered.
    pub fn enter<T>(&self, enter: impl FnOnce(&mut Instance) -> T) -> Option<T> {
        if self.condemned.get() {
            return None;
        }
        let mut instance = self.instance.try_borrow_mut().ok()?;
        instance.as_mut().map(enter)
    }

    /// Bytes of the instance's linear memory; 0 while it runs.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.instance.try_borrow().map_or(0, |instance| instance.as_ref().map_or(0, Instance::memory_size))
    }

    /// Remembers which stream a context stands for.
    pub fn adopt(&self, context: ContextId, exchange: &Weak<RefCell<Exchange>>, index: usize) {
        self.contexts.borrow_mut().insert(context, (Weak::clone(exchange), index));
    }

    /// A stream has ended here: its context, if it had one of its own, is forgotten.
    pub fn forget(&self, context: ContextId) {
        self.contexts.borrow_mut().remove(context);
        self.served.set(true);
    }

    /// Notes that a plugin context is done.
    pub fn is_done(&self, root: ContextId) {
        self.done.borrow_mut().insert(root.0);
        self.told_done.notify_waiters();
    }

    /// The stream of a context.
    #[must_use]
    pub fn stream(&self, context: ContextId) -> Option<(Rc<RefCell<Exchange>>, usize)> {
        let contexts = self.contexts.borrow();
        let (exchange, index) = contexts.get(context)?;
        Some((exchange.upgrade()?, *index))
    }

    /// The settings of the filter that a root context belongs to.
    #[must_use]
    pub fn settings(&self, root: ContextId) -> Option<&Arc<resolved::Filter>> {
        self.roots.iter().find(|one| one.context == root).map(|root| &root.settings)
    }

    /// A token for a callout: none of the last four billion, and no stream's that is still open.
    pub fn token(&self) -> u32 {
        loop {
            let token = self.next_token.get();
            self.next_token.set(token.wrapping_add(1));
            if !self.grpc.borrow().contains_key(&token) {
                return token;
            }
        }
    }

    /// Room for one more callout, while it waits for its answer.
    #[must_use]
    pub fn room_for_call(&self, bytes: usize) -> Option<call_out::Place> {
        self.calls.enter(bytes)
    }

    /// Streams that are in the middle of something here are ended: what has passed the filters is still delivered.
    pub(super) fn end_streams(&self) {
        let streams: Vec<_> = self.contexts.borrow().values().filter_map(|(exchange, _)| exchange.upgrade()).collect();
        for stream in streams {
            let Ok(mut stream) = stream.try_borrow_mut() else { continue };
            if stream.details.is_empty() {
                stream.details = "generation_expired".into();
            }
            match stream.kind {
                Kind::Http => stream.reset = true,
                Kind::Tcp => stream.closing = true,
            }
            stream.wake();
        }
    }

    /// Whether some stream has a context here.
    pub(super) fn has_streams(&self) -> bool {
        self.contexts.borrow().values().next().is_some()
    }

    pub(super) fn condemn(&self) {
        self.condemned.set(true);
        self.calls.end();
        // Nobody enters it again, however long streams still point here.
        if let Ok(mut instance) = self.instance.try_borrow_mut() {
            drop(instance.take());
        }
        // Ends their tasks, and with them the streams towards the servers.
        let streams = std::mem::take(&mut *self.grpc.borrow_mut());
        drop(streams);
        for (_, timer) in self.timers.borrow_mut().drain() {
            timer.abort();
        }
        let streams: Vec<_> =
            self.contexts.borrow_mut().drain().filter_map(|(_, (exchange, _))| exchange.upgrade()).collect();
        for stream in streams {
            // A stream that is borrowed is the one that trapped: its driver sees it for itself.
            if let Ok(mut stream) = stream.try_borrow_mut() {
                stream.wake();
            }
        }
    }
}
