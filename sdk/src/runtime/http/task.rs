//! A task: one future that runs methods, one job after the other, for as many streams as come along.
//!
//! The future of a method cannot be named, stored in a struct or moved once polled, so it lives inside a boxed future that
//! never ends. Between jobs that future is idle and belongs to no stream, which is what saves the allocation.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::abi::Side;
use crate::body::Body;
use crate::error::{Error, Result};
use crate::filter::HttpFilter;
use crate::flow::Flow;
use crate::owner::{self, Owner};
use crate::request::Request;
use crate::response::Response;
use crate::runtime::Loan;

/// The methods that may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// `on_request`, `on_response`.
    Headers(Side),
    /// `on_request_with_body`, `on_response_with_body`.
    Body(Side),
}

impl Phase {
    pub fn side(self) -> Side {
        let (Self::Headers(side) | Self::Body(side)) = self;
        side
    }
}

/// One call of one method.
pub(super) struct Job<F: HttpFilter> {
    pub filter: Rc<F>,
    pub phase: Phase,
    pub end_of_stream: bool,
    pub size: usize,
}

impl<F: HttpFilter> Job<F> {
    async fn run(&self, cx: &mut F::Ctx) -> Result<Flow> {
        let Self { filter, phase, end_of_stream, size } = self;
        match phase {
            Phase::Headers(Side::Request) => filter.on_request(cx, &mut Request::new(*end_of_stream)).await,
            Phase::Headers(Side::Response) => filter.on_response(cx, &mut Response::new(*end_of_stream)).await,
            Phase::Body(side @ Side::Request) => {
                let mut body = Body::new(side.body(), *size);
                filter.on_request_with_body(cx, &mut Request::new(false), &mut body).await
            }
            Phase::Body(side @ Side::Response) => {
                let mut body = Body::new(side.body(), *size);
                filter.on_response_with_body(cx, &mut Response::new(false), &mut body).await
            }
        }
    }

    /// Runs a method that cannot wait, without a task.
    pub fn run_at_once(&self, cx: &mut F::Ctx) -> Result<Flow> {
        match pin!(self.run(cx)).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => result,
            // The macro that looked for an `await` knows of none.
            Poll::Pending => Err(Error::new("a method waited that has no `await`")),
        }
    }
}

pub(super) struct Task<F: HttpFilter> {
    desk: Rc<Desk<F>>,
    future: Pin<Box<dyn Future<Output = ()>>>,
}

/// What goes in and comes out.
struct Desk<F: HttpFilter> {
    job: Cell<Option<(Job<F>, F::Ctx)>>,
    result: Cell<Option<Result<Flow>>>,
    cx: Cell<Option<F::Ctx>>,
}

impl<F: HttpFilter> Task<F> {
    pub fn new() -> Self {
        let desk = Rc::new(Desk { job: Cell::new(None), result: Cell::new(None), cx: Cell::new(None) });
        let future = Box::pin(work(desk.clone()));
        Self { desk, future }
    }

    /// The next job. Polling runs it.
    pub fn give(&mut self, job: Job<F>, cx: F::Ctx) {
        self.desk.job.set(Some((job, cx)));
    }

    /// Runs up to the next wait; `Some` when the method is done. Callouts made meanwhile belong to `stream`.
    pub fn poll(&mut self, stream: u32) -> Option<Result<Flow>> {
        // Never ready: it goes on to wait for its next job.
        let _ =
            owner::with(Owner::Stream(stream), || self.future.as_mut().poll(&mut Context::from_waker(Waker::noop())));
        self.desk.result.take()
    }

    /// The stream's `Ctx`, after the method is done.
    pub fn take_cx(&self) -> Option<F::Ctx> {
        self.desk.cx.take()
    }

    /// Drops the method where it waits, and saves the stream's `Ctx`.
    pub fn cancel(self) -> Option<F::Ctx> {
        drop(self.future);
        self.desk.cx.take()
    }
}

async fn work<F: HttpFilter>(desk: Rc<Desk<F>>) {
    loop {
        let (job, cx) = poll_fn(|_| desk.job.take().map_or(Poll::Pending, Poll::Ready)).await;
        let mut loan = Loan { cx: Some(cx), lender: &desk.cx };
        let Some(cx) = &mut loan.cx else { continue };
        let result = job.run(cx).await;
        drop(loan);
        desk.result.set(Some(result));
    }
}
