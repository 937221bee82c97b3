//! The filters of a listener on one worker.

use std::rc::Rc;

use fyke_engine::{Callback, ContextId, Instance, Trap};

use crate::{
    clock,
    wasm::{
        call::{Call, Current},
        env::Env,
        exchange::{Direction, Exchange, Kind},
        tap,
        vm::Plugin,
    },
};

/// Filters in order, and what they need of a stream at all.
#[derive(Debug, Default)]
pub struct Chain {
    /// Outermost first.
    pub plugins: Vec<Rc<Plugin>>,
    /// Some filter looks at request bodies or trailers, or at what comes from downstream.
    pub request_body: bool,
    /// Some filter looks at response bodies or trailers, or at what comes from upstream.
    pub response_body: bool,
    /// Some filter may look at the answer's head after it has gone out: in a body or trailers, in its log, or when something that it
    /// waited for comes back.
    pub reads_response_late: bool,
    /// Some filter can change request bodies.
    pub edits_request: bool,
    /// Some filter can change response bodies.
    pub edits_response: bool,
}

impl Chain {
    /// The chain of these filters.
    #[must_use]
    pub fn new(plugins: Vec<Rc<Plugin>>) -> Self {
        // A stream may meet any of these.
        let versions: Vec<&Rc<Plugin>> =
            plugins.iter().flat_map(|plugin| std::iter::once(plugin).chain(&plugin.canary)).collect();
        let any = |bodies: &[Callback]| {
            versions.iter().any(|plugin| bodies.iter().any(|callback| plugin.callbacks.contains(*callback)))
        };
        let edits = |body| versions.iter().any(|plugin| plugin.edits_bodies && plugin.callbacks.contains(body));
        let late = [
            Callback::RequestBody,
            Callback::RequestTrailers,
            Callback::ResponseBody,
            Callback::ResponseTrailers,
            Callback::Log,
            Callback::Done,
            Callback::HttpCallResponse,
            Callback::GrpcReceiveInitialMetadata,
            Callback::GrpcReceive,
            Callback::GrpcReceiveTrailingMetadata,
            Callback::GrpcClose,
            Callback::Tick,
            Callback::QueueReady,
        ];
        Self {
            reads_response_late: versions.iter().any(|plugin| late.iter().any(|one| plugin.callbacks.contains(*one))),
            request_body: any(&[Callback::RequestBody, Callback::RequestTrailers, Callback::DownstreamData]),
            response_body: any(&[
                Callback::ResponseBody,
                Callback::ResponseTrailers,
                Callback::UpstreamData,
                Callback::UpstreamConnectionClose,
            ]),
            edits_request: edits(Callback::RequestBody),
            edits_response: edits(Callback::ResponseBody),
            plugins,
        }
    }

    /// Whether there is no filter.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.plugins.is_empty()
    }
}

/// The callbacks of one direction.
pub(super) struct Callbacks {
    /// How it begins, where anybody is told.
    pub begin: Option<Callback>,
    pub body: Callback,
    pub trailers: Option<Callback>,
}

pub(super) const fn callbacks(kind: Kind, direction: Direction) -> Callbacks {
    match (kind, direction) {
        (Kind::Http, Direction::Request) => Callbacks {
            begin: Some(Callback::RequestHeaders),
            body: Callback::RequestBody,
            trailers: Some(Callback::RequestTrailers),
        },
        (Kind::Http, Direction::Response) => Callbacks {
            begin: Some(Callback::ResponseHeaders),
            body: Callback::ResponseBody,
            trailers: Some(Callback::ResponseTrailers),
        },
        (Kind::Tcp, Direction::Request) => {
            Callbacks { begin: Some(Callback::NewConnection), body: Callback::DownstreamData, trailers: None }
        }
        (Kind::Tcp, Direction::Response) => Callbacks { begin: None, body: Callback::UpstreamData, trailers: None },
    }
}

/// What a filter wants of a stream that is its own.
pub(crate) fn wants(exchange: &Exchange, index: usize, callback: impl Into<Option<Callback>>) -> bool {
    let Some(callback) = callback.into() else { return false };
    exchange
        .filters
        .get(index)
        .is_some_and(|filter| filter.slot.is_some() && !filter.skipped && filter.callbacks.contains(callback))
}

/// The instance is gone: it trapped now or before.
#[derive(Debug)]
pub(crate) struct Gone;

/// Runs `f` with the filter's instance on behalf of the stream.
pub(crate) fn enter<T>(
    env: &Rc<Env>,
    exchange: &mut Exchange,
    index: usize,
    f: impl FnOnce(&mut Instance, &mut Call<'_>, ContextId) -> Result<T, Trap>,
) -> Result<T, Gone> {
    let Some(filter) = exchange.filters.get(index) else { return Err(Gone) };
    let Some(slot) = filter.slot.clone() else { return Err(Gone) };
    let plugin = Rc::clone(&filter.plugin);
    let (vm, context) = (&plugin.vm, filter.context);
    let timed = plugin.metrics.call().then(clock::thread);
    let began = tap::before(env, exchange, index);
    let mut call = Call::for_stream(env, vm, &slot, Current { context, exchange: &mut *exchange, index });
    let entered = slot.enter(|instance| f(instance, &mut call, context));
    if let Some(before) = timed {
        plugin.metrics.cpu.observe(clock::thread().saturating_sub(before));
    }
    tap::after(exchange, index, began, !matches!(entered, Some(Ok(_))));
    match entered {
        Some(Ok(value)) => Ok(value),
        Some(Err(trap)) => {
            vm.trapped(&slot, env, &trap);
            // Other filters of this stream may have stood on the same instance.
            exchange.unsettle();
            Err(Gone)
        }
        None => Err(Gone),
    }
}
