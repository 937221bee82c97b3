//! HTTP streams: which stream, which filter value, which phase, and what to answer the host.
//!
//! # How `await` works
//! A method runs inside a *task* (see `task.rs`), which owns the stream's `Ctx` while it runs. A callback hands its task one
//! job and polls once: a method that finished means continue (or reply), one that waits means pause. The answer to a callout
//! polls again, and the end of the method then resumes the stream. Tasks are used again by later streams, so a method that does
//! not wait costs no allocation.
//!
//! The rules, which `tests.rs` holds us to:
//! - nothing is borrowed while a method runs: its stream's `Ctx` and task are taken out of the map and put back afterwards;
//! - the response phase, the log and the end of a stream cancel a request that still waits by dropping its future, and keep its `Ctx`;
//! - body and trailers that arrive while headers wait are held by the host, and delivered when the headers are done;
//! - an answer for a stream or a call that is gone is ignored;
//! - after a reply nothing resumes;
//! - each stream keeps the filter value with which it began; a refused configuration leaves the old value in its place.

mod foreign;
mod skips;
mod stream;
mod task;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::rc::Rc;

use crate::abi::{self, Action, Level, Side};
use crate::body::Chunk;
use crate::error::Result;
use crate::filter::{HttpFilter, Present};
use crate::flow::{Flow, Reply};
use crate::log::StreamLog;
use crate::owner::Owner;
use crate::request::Request;
use crate::response::Response;
use crate::runtime::contexts::Contexts;
use crate::runtime::plugins::Plugins;
use crate::runtime::{Waking, log_failure};

use stream::{Stream, Waiting};
use task::{Job, Phase, Task};

/// Finished tasks that are kept for later streams.
const IDLE_TASKS: usize = 32;

/// Everything that one instance knows about its filters and streams.
pub struct Runtime<F: HttpFilter + Present> {
    plugins: Plugins<F>,
    streams: RefCell<Contexts<Stream<F>>>,
    idle: RefCell<Vec<Task<F>>>,
}

impl<F: HttpFilter + Present> Default for Runtime<F> {
    fn default() -> Self {
        Self::new()
    }
}

impl<F: HttpFilter + Present> Runtime<F> {
    /// Knows nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { plugins: Plugins::new(), streams: RefCell::new(Contexts::new()), idle: RefCell::new(Vec::new()) }
    }

    /// `proxy_on_context_create`: a root if it has no parent, a stream of that root otherwise.
    pub fn on_context_create(&self, context: u32, parent: u32) {
        if parent == 0 {
            return self.plugins.create(context);
        }
        if let Some(filter) = self.plugins.filter(parent) {
            let old = self.streams.borrow_mut().insert(context, Stream::new(filter, parent));
            drop(old);
        } else {
            abi::log(Level::Critical, "a stream began under a filter that is not configured");
        }
    }

    /// `proxy_on_configure`: whether the configuration was accepted.
    pub fn on_configure(&self, root: u32, size: usize) -> bool {
        crate::mailbox::heard(F::CALLBACKS.answers);
        self.plugins.configure(root, size, F::CALLBACKS.tasks, F::configure, |filter| skips::tell(filter, true))
    }

    /// As `on_configure`, of a module that has connections too: the context of each is its own.
    pub(super) fn configure_beside(&self, root: u32, size: usize) -> Option<Rc<F>> {
        crate::mailbox::heard(F::CALLBACKS.answers);
        let accepted = self.plugins.configure(root, size, true, F::configure, |filter| skips::tell(filter, false));
        accepted.then(|| self.plugins.filter(root)).flatten()
    }

    /// Forgets a stream that turns out to be none of HTTP; the root under which it was created.
    pub(super) fn forget(&self, context: u32) -> Option<u32> {
        let stream = self.streams.borrow_mut().remove(context);
        stream.map(|stream| stream.root)
    }

    /// Whether there is such a stream.
    pub(super) fn has(&self, context: u32) -> bool {
        self.streams.borrow().get(context).is_some()
    }

    /// `proxy_on_request_headers` and `proxy_on_response_headers`.
    pub fn on_headers(&self, side: Side, context: u32, end_of_stream: bool) -> Action {
        if side == Side::Response {
            self.cancel(context);
        }
        if F::CALLBACKS.sees_heads_only()
            && let Some(filter) = self.plugins.filter(context)
        {
            return self.on_headers_of_no_stream(filter, side, context, end_of_stream);
        }
        let Some(replied) = self.with_stream(context, |stream| {
            stream.half(side).ended = end_of_stream;
            stream.replied
        }) else {
            return self.unknown(side);
        };
        if replied && side == Side::Request {
            return Action::Pause;
        }
        let present = match side {
            Side::Request => F::CALLBACKS.on_request,
            Side::Response => F::CALLBACKS.on_response,
        };
        if !present {
            return self.after_headers(side, context);
        }
        match self.run(context, Phase::Headers(side), 0) {
            None => Action::Pause,
            Some(Ok(Flow::Continue)) => self.after_headers(side, context),
            Some(other) => self.end(context, side, other),
        }
    }

    /// The host keeps no stream contexts for this configuration, and calls with the root's id.
    fn on_headers_of_no_stream(&self, filter: Rc<F>, side: Side, root: u32, end_of_stream: bool) -> Action {
        let job = Job { filter, phase: Phase::Headers(side), end_of_stream, size: 0 };
        let result = job.run_at_once(&mut F::Ctx::default());
        self.end(root, side, result)
    }

    /// `proxy_on_request_body` and `proxy_on_response_body`; `size` counts what the host has held so far.
    pub fn on_body(&self, side: Side, context: u32, size: usize, end_of_stream: bool) -> Action {
        if side == Side::Response {
            self.cancel_side(context, Side::Request);
        }
        let Some(state) = self.with_stream(context, |stream| {
            let waits = stream.waiting.is_some();
            let half = stream.half(side);
            half.ended |= end_of_stream;
            if waits {
                half.held = Some(size);
            }
            let passes = half.passes;
            (stream.replied && side == Side::Request, waits, passes, stream.filter.maximum_body())
        }) else {
            return self.unknown(side);
        };
        let (replied, waits, passes, maximum) = state;
        if replied || waits {
            return Action::Pause;
        }
        if passes {
            return Action::Continue;
        }
        if Self::with_body(side) {
            return self.whole_body(side, context, size, end_of_stream, maximum);
        }
        match self.chunk(side, context, size, end_of_stream) {
            Some(()) => Action::Continue,
            None => Action::Pause,
        }
    }

    /// `proxy_on_request_trailers` and `proxy_on_response_trailers`: for whole bodies, the end.
    pub fn on_trailers(&self, side: Side, context: u32) -> Action {
        let Some((waits, taken, maximum)) = self.with_stream(context, |stream| {
            stream.half(side).ended = true;
            let half = stream.half(side);
            let taken = half.body_taken || half.passes;
            (stream.waiting.is_some(), taken, stream.filter.maximum_body())
        }) else {
            return self.unknown(side);
        };
        if waits {
            return Action::Pause;
        }
        if !Self::with_body(side) || taken {
            return Action::Continue;
        }
        self.whole_body(side, context, abi::buffer_length(side.body()), true, maximum)
    }

    /// `proxy_on_log`.
    pub fn on_log(&self, context: u32) {
        self.cancel(context);
        let Some((filter, mut cx)) = self.with_stream(context, Stream::borrow_idle).flatten() else {
            return;
        };
        filter.on_log(&mut cx, &StreamLog::new());
        self.with_stream(context, |stream| stream.cx = Some(cx));
    }

    /// `proxy_on_delete`: of a stream or of a root.
    pub fn on_delete(&self, context: u32) {
        // Taken out first: dropping it runs the author's code, which must find nothing borrowed.
        let stream = self.streams.borrow_mut().remove(context);
        if stream.is_none() {
            self.plugins.remove(context);
        }
        drop(stream);
    }

    /// How many streams there are.
    #[must_use]
    pub fn streams(&self) -> usize {
        self.streams.borrow().len()
    }

    fn with_body(side: Side) -> bool {
        match side {
            Side::Request => F::CALLBACKS.on_request_with_body,
            Side::Response => F::CALLBACKS.on_response_with_body,
        }
    }

    fn with_stream<T>(&self, context: u32, look: impl FnOnce(&mut Stream<F>) -> T) -> Option<T> {
        self.streams.borrow_mut().get_mut(context).map(look)
    }

    /// Runs a method up to its first wait. `None`: it waits.
    fn run(&self, context: u32, phase: Phase, size: usize) -> Option<Result<Flow>> {
        let (filter, cx, end_of_stream) = self.with_stream(context, |stream| {
            let half = stream.half(phase.side());
            half.body_taken |= matches!(phase, Phase::Body(_));
            let ended = half.ended;
            (stream.filter.clone(), stream.cx.take().unwrap_or_default(), ended)
        })?;
        let job = Job { filter, phase, end_of_stream, size };
        if !F::CALLBACKS.waits {
            let mut cx = cx;
            let result = job.run_at_once(&mut cx);
            self.with_stream(context, |stream| stream.cx = Some(cx));
            return Some(result);
        }
        let idle = self.idle.borrow_mut().pop();
        let mut task = idle.unwrap_or_else(Task::new);
        task.give(job, cx);
        let result = task.poll(context);
        self.settle(context, task, phase, result)
    }

    /// Puts things back in their places after a poll.
    fn settle(&self, context: u32, task: Task<F>, phase: Phase, result: Option<Result<Flow>>) -> Option<Result<Flow>> {
        if result.is_none() {
            self.with_stream(context, |stream| stream.waiting = Some(Waiting { task, phase }));
            return None;
        }
        let cx = task.take_cx();
        self.with_stream(context, |stream| stream.cx = cx);
        let mut idle = self.idle.borrow_mut();
        if idle.len() < IDLE_TASKS {
            idle.push(task);
        }
        result
    }

    /// Headers are through. A filter that wants the whole body holds them until it has it.
    fn after_headers(&self, side: Side, context: u32) -> Action {
        if !Self::with_body(side) || !self.wants_body(side, context) {
            return Action::Continue;
        }
        let Some((ended, held, maximum)) = self.with_stream(context, |stream| {
            let maximum = stream.filter.maximum_body();
            let half = stream.half(side);
            (half.ended, half.held.take(), maximum)
        }) else {
            return Action::Continue;
        };
        self.whole_body(side, context, held.unwrap_or(0), ended, maximum)
    }

    fn wants_body(&self, side: Side, context: u32) -> bool {
        let Some((filter, mut cx)) = self.with_stream(context, Stream::borrow_idle).flatten() else {
            return true;
        };
        let wanted = match side {
            Side::Request => filter.wants_request_body(&mut cx, &Request::new(false)),
            Side::Response => filter.wants_response_body(&mut cx, &Response::new(false)),
        };
        self.with_stream(context, |stream| {
            stream.cx = Some(cx);
            let half = stream.half(side);
            half.passes = !wanted;
            if !wanted {
                // What arrived meanwhile goes on with the headers.
                half.held = None;
            }
        });
        wanted
    }

    fn whole_body(&self, side: Side, context: u32, size: usize, ended: bool, maximum: usize) -> Action {
        if size > maximum {
            let (status, details) = match side {
                Side::Request => (413, "request_body_too_large"),
                Side::Response => (502, "response_body_too_large"),
            };
            return self.end(context, side, Ok(Flow::Reply(Reply::new(status).details(details))));
        }
        if !ended {
            return Action::Pause;
        }
        match self.run(context, Phase::Body(side), size) {
            None => Action::Pause,
            Some(Ok(Flow::Continue)) => Action::Continue,
            Some(other) => self.end(context, side, other),
        }
    }

    /// Hands a chunk to the filter. `None`: that ended the stream.
    fn chunk(&self, side: Side, context: u32, size: usize, end_of_stream: bool) -> Option<()> {
        // What the filter skips is in front.
        let skipped = self.with_stream(context, |stream| {
            let skip = &mut stream.half(side).skip;
            let skipped = usize::try_from(*skip).unwrap_or(usize::MAX).min(size);
            *skip -= skipped as u64;
            skipped
        })?;
        if skipped > 0 && skipped == size && !end_of_stream {
            return Some(());
        }
        let (filter, mut cx) = self.with_stream(context, Stream::borrow_idle).flatten()?;
        let mut chunk = Chunk::new(side, skipped, size, end_of_stream);
        let result = match side {
            Side::Request => filter.on_request_chunk(&mut cx, &mut chunk),
            Side::Response => filter.on_response_chunk(&mut cx, &mut chunk),
        };
        let skip = chunk.into_skip();
        self.with_stream(context, |stream| {
            stream.cx = Some(cx);
            let half = stream.half(side);
            half.skip = half.skip.saturating_add(skip);
        });
        match (result, side) {
            (Ok(()), _) => Some(()),
            (Err(error), Side::Request) => {
                self.end(context, side, Err(error));
                None
            }
            (Err(error), Side::Response) => {
                // The client has seen the headers: nothing but a reset tells it that this is not the whole answer.
                log_failure(&error);
                self.with_stream(context, |stream| stream.replied = true);
                abi::close_stream(side);
                None
            }
        }
    }

    /// A method that had waited is done: what its stream does next.
    fn resume(&self, context: u32, phase: Phase, result: Result<Flow>) {
        let side = phase.side();
        if !matches!(result, Ok(Flow::Continue)) {
            self.end(context, side, result);
            return;
        }
        let action = match phase {
            Phase::Headers(_) if Self::with_body(side) => self.after_headers(side, context),
            Phase::Headers(_) => self.deliver_held(side, context).map_or(Action::Pause, |_| Action::Continue),
            Phase::Body(_) => Action::Continue,
        };
        if action == Action::Continue {
            abi::continue_stream(side);
        }
        // Where both directions flow at once, the request's body had to wait for the response's method.
        if side == Side::Response && self.deliver_held(Side::Request, context) == Some(true) {
            abi::continue_stream(Side::Request);
        }
    }

    /// The chunk that arrived while a method waited, if there was one. `None`: that ended the stream.
    fn deliver_held(&self, side: Side, context: u32) -> Option<bool> {
        let held = self.with_stream(context, |stream| {
            let half = stream.half(side);
            half.held.take().map(|size| (size, half.ended))
        });
        match held.flatten() {
            Some((size, ended)) => self.chunk(side, context, size, ended).map(|()| true),
            None => Some(false),
        }
    }

    /// The stream ends here: with the author's reply, or with 500 for an error. Nothing of it resumes afterwards.
    fn end(&self, context: u32, side: Side, result: Result<Flow>) -> Action {
        let reply = match result {
            Ok(Flow::Continue) => return Action::Continue,
            Ok(Flow::Reply(reply)) => match reply.mistake() {
                None => reply,
                Some(error) => {
                    log_failure(&error);
                    Reply::new(500).details("filter_error")
                }
            },
            Err(error) => {
                log_failure(&error);
                Reply::new(500).details("filter_error")
            }
        };
        let replied = self.with_stream(context, |stream| std::mem::replace(&mut stream.replied, true)).unwrap_or(false);
        if replied && side == Side::Response {
            // Our own reply on its way back through us. A second one is not to be had: let it pass.
            return Action::Continue;
        }
        if reply.send().is_err() {
            abi::close_stream(side);
        }
        Action::Pause
    }

    /// Ends what a stream waits for, and keeps its `Ctx`.
    fn cancel(&self, context: u32) {
        if !F::CALLBACKS.waits {
            return;
        }
        let waiting = self.with_stream(context, |stream| stream.waiting.take());
        if let Some(Some(Waiting { task, .. })) = waiting {
            let cx = task.cancel();
            self.with_stream(context, |stream| stream.cx = cx);
        }
    }

    fn cancel_side(&self, context: u32, side: Side) {
        if F::CALLBACKS.waits
            && self.with_stream(context, |stream| {
                stream.waiting.as_ref().is_some_and(|waiting| waiting.phase.side() == side)
            }) == Some(true)
        {
            self.cancel(context);
        }
    }

    /// A stream under a filter that is not configured: it fails closed.
    fn unknown(&self, side: Side) -> Action {
        if side == Side::Request {
            let _ = Reply::new(500).details("filter_not_configured").send();
        }
        Action::Pause
    }
}

impl<F: HttpFilter + Present> Waking for Runtime<F> {
    fn wake(&self, owner: Owner) {
        let context = match owner {
            Owner::Stream(context) => context,
            Owner::Task(number) => return self.plugins.background.poll(number),
        };
        let Some(Waiting { mut task, phase }) = self.with_stream(context, |stream| stream.waiting.take()).flatten()
        else {
            return;
        };
        // The answer was read as the root; from here on everything belongs to the stream.
        abi::set_effective_context(context);
        let result = task.poll(context);
        if let Some(result) = self.settle(context, task, phase, result) {
            self.resume(context, phase, result);
        }
    }
}
