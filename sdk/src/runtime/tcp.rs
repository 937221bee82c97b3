//! TCP connections: which connection, which filter value, and what to answer the host.
//!
//! The rules: [`on_connect`](crate::TcpFilter::on_connect) may wait; what arrives meanwhile is held by the host and shown when it is done. A
//! method that wants more bytes leaves them with the host and is shown all of them again. One that waits is shown nothing of that direction until its time
//! has come (`waiting.rs`). After a close nothing is shown.
//!
//! A connection may borrow its upstream (`leases.rs`). A context may turn out to be a new connection to an endpoint, which a filter makes fit to be
//! lent (`opening.rs`): then it is that and nothing else.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::abi::{self, Action, Level};
use crate::error::{Error, Result};
use crate::log::StreamLog;
use crate::owner::{self, Owner};
use crate::runtime::contexts::Contexts;
use crate::runtime::plugins::Plugins;
use crate::runtime::{Loan, Waking, log_failure};
use crate::tcp::current::{self, Standing};
use crate::tcp::{Conn, Data, Outcome, Side, TcpFilter, TcpFlow, TcpPresent};
use crate::timer::Alarm;

use leases::Answer;
use opening::Opening;

mod leases;
mod opening;
#[cfg(test)]
mod tests;
mod waiting;

/// Everything that one instance knows about its filters and connections.
pub struct TcpRuntime<F: TcpFilter + TcpPresent> {
    plugins: Plugins<F>,
    connections: RefCell<Contexts<Connection<F>>>,
}

type Connecting = Pin<Box<dyn Future<Output = Result<TcpFlow>>>>;

struct Connection<F: TcpFilter> {
    /// The value with which it began.
    filter: Rc<F>,
    /// It is a client's.
    begun: bool,
    /// `None` before the first method, and while one has it.
    cx: Option<F::Ctx>,
    /// `on_connect`, which waits.
    connecting: Option<(Connecting, Lent<F>)>,
    /// It is no client's, but a new connection to an endpoint.
    opening: Option<Opening>,
    standing: Standing,
    /// What came of a lease while `on_connect` waited.
    answer: Option<Answer>,
    /// The client is gone.
    gone: bool,
    downstream: Half,
    upstream: Half,
}

/// Where `on_connect` puts the `Ctx` when it is done, or dropped.
type Lent<F> = Rc<Cell<Option<<F as TcpFilter>::Ctx>>>;

/// What is known about one direction.
#[derive(Default)]
struct Half {
    /// Bytes that arrived while `on_connect` waited, and whether they were the last.
    held: Option<(usize, bool)>,
    /// Bytes in front that the filter skips.
    skip: u64,
    /// How many of those are in front of what the host holds now.
    skipped: usize,
    /// The direction has ended.
    ended: bool,
    /// Nothing is shown before it has rung.
    alarm: Option<Alarm>,
}

impl<F: TcpFilter> Connection<F> {
    fn half(&mut self, side: Side) -> &mut Half {
        match side {
            Side::Downstream => &mut self.downstream,
            Side::Upstream => &mut self.upstream,
        }
    }
}

impl<F: TcpFilter + TcpPresent> Default for TcpRuntime<F> {
    fn default() -> Self {
        Self::new()
    }
}

impl<F: TcpFilter + TcpPresent> TcpRuntime<F> {
    /// Knows nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { plugins: Plugins::new(), connections: RefCell::new(Contexts::new()) }
    }

    /// `proxy_on_context_create`.
    pub fn on_context_create(&self, context: u32, parent: u32) {
        if parent == 0 {
            return self.plugins.create(context);
        }
        let Some(filter) = self.plugins.filter(parent) else {
            abi::log(Level::Critical, "a connection began under a filter that is not configured");
            return;
        };
        let connection = Connection {
            filter,
            begun: false,
            cx: None,
            connecting: None,
            opening: None,
            standing: Standing::default(),
            answer: None,
            gone: false,
            downstream: Half::default(),
            upstream: Half::default(),
        };
        let old = self.connections.borrow_mut().insert(context, connection);
        drop(old);
    }

    /// `proxy_on_configure`.
    pub fn on_configure(&self, root: u32, size: usize) -> bool {
        crate::mailbox::heard(F::CALLBACKS.answers);
        self.plugins.configure(root, size, F::CALLBACKS.tasks, F::configure, |_| {})
    }

    /// The filter value for the connections of a context that is configured elsewhere.
    pub(super) fn share(&self, root: u32, filter: Rc<F>) {
        self.plugins.share(root, filter);
    }

    /// Whether there is such a connection.
    pub(super) fn has(&self, context: u32) -> bool {
        self.connections.borrow().get(context).is_some()
    }

    /// `proxy_on_new_connection`.
    pub fn on_new_connection(&self, context: u32) -> Action {
        let Some((filter, cx)) = self.with(context, |connection| {
            connection.begun = true;
            (connection.filter.clone(), connection.cx.take())
        }) else {
            abi::close_connection(Side::Downstream);
            return Action::Pause;
        };
        let lent: Lent<F> = Rc::new(Cell::new(None));
        let mut connecting: Connecting =
            Box::pin(connect(filter, cx.unwrap_or_default(), lent.clone(), F::CALLBACKS.on_leased));
        match self.poll_connect(context, &mut connecting) {
            Poll::Ready(result) => {
                self.with(context, |connection| connection.cx = lent.take());
                self.act(context, result)
            }
            Poll::Pending => {
                self.with(context, |connection| connection.connecting = Some((connecting, lent)));
                Action::Pause
            }
        }
    }

    /// `proxy_on_downstream_data` and `proxy_on_upstream_data`; `size` counts what the host holds.
    pub fn on_data(&self, side: Side, context: u32, size: usize, end: bool) -> Action {
        if self.said(side, context, size, end) {
            return Action::Continue;
        }
        let waits = self.with(context, |connection| {
            let waits = connection.connecting.is_some();
            if waits {
                connection.half(side).held = Some((size, end));
            }
            let hurries = std::mem::take(connection.standing.hurries(side));
            let half = connection.half(side);
            if hurries {
                half.alarm = None;
            }
            half.ended |= end && half.alarm.is_some();
            waits || half.alarm.is_some() || connection.standing.closed
        });
        if waits != Some(false) {
            return Action::Pause;
        }
        self.data(side, context, size, end).0
    }

    /// Shows data; what the host is to do with it, and what became of it.
    fn data(&self, side: Side, context: u32, size: usize, end: bool) -> (Action, Option<Outcome>) {
        let looks = match side {
            Side::Downstream => F::CALLBACKS.on_downstream,
            Side::Upstream => F::CALLBACKS.on_upstream,
        };
        if !looks {
            // Exported for other connections than this one.
            return (Action::Continue, None);
        }
        let Some((filter, cx, skipped)) = self.with(context, |connection| {
            let half = connection.half(side);
            let fresh = u64::try_from(size.saturating_sub(half.skipped)).unwrap_or(u64::MAX).min(half.skip);
            half.skip -= fresh;
            half.skipped += usize::try_from(fresh).unwrap_or(usize::MAX);
            half.ended |= end;
            let skipped = half.skipped;
            (connection.filter.clone(), connection.cx.take(), skipped)
        }) else {
            return (Action::Pause, None);
        };
        if skipped >= size && !end {
            self.with(context, |connection| {
                connection.cx = cx;
                connection.half(side).skipped = 0;
            });
            return (Action::Continue, None);
        }
        let mut cx = cx.unwrap_or_default();
        let mut data = Data::new(side, skipped, size, end);
        let mut result = self.within(context, || match side {
            Side::Downstream => filter.on_downstream(&mut cx, &mut data),
            Side::Upstream => filter.on_upstream(&mut cx, &mut data),
        });
        if end && matches!(result, Ok(TcpFlow::NeedMore)) {
            result = self.last(side, context, &mut data);
        }
        if end && matches!(result, Ok(TcpFlow::Wait(_))) && data.outcome().left == 0 {
            // An end that comes alone cannot be shown again.
            result = Ok(TcpFlow::Continue);
        }
        let outcome = data.outcome();
        self.with(context, |connection| connection.cx = Some(cx));
        self.keep(side, context, outcome, &result);
        (self.act(context, result), Some(outcome))
    }

    /// A filter wants more, and there is no more.
    fn last(&self, side: Side, context: u32, data: &mut Data) -> Result<TcpFlow> {
        let standing = self.with(context, |connection| connection.standing).unwrap_or_default();
        if side == Side::Upstream || !standing.borrows || data.outcome().left == 0 {
            return Ok(TcpFlow::Continue);
        }
        if standing.expects() {
            return Ok(TcpFlow::NeedMore);
        }
        // It would wait for a lease that nobody asks for.
        data.drop_rest();
        Ok(TcpFlow::Continue)
    }

    /// Remembers what became of data.
    fn keep(&self, side: Side, context: u32, outcome: Outcome, result: &Result<TcpFlow>) {
        self.with(context, |connection| {
            let half = connection.half(side);
            half.skip = half.skip.saturating_add(outcome.skip);
            if outcome.passed || !matches!(result, Ok(TcpFlow::NeedMore | TcpFlow::Wait(_))) {
                half.skipped = 0;
            }
        });
        if let Ok(TcpFlow::Wait(time)) = result {
            self.wait(side, context, *time);
        }
    }

    /// `proxy_on_downstream_connection_close` and `proxy_on_upstream_connection_close`.
    pub fn on_close(&self, side: Side, context: u32, by_host: bool) {
        if self.said_its_last(context) {
            return;
        }
        if side == Side::Downstream {
            self.cancel(context);
            self.with(context, |connection| {
                connection.gone = true;
                (connection.downstream.alarm, connection.upstream.alarm) = (None, None);
            });
        } else if self.loses_lease(context) {
            return;
        }
        if self.with(context, |connection| connection.connecting.is_none()) == Some(true) {
            current::ending(by_host, || self.tell(context, |filter, cx| filter.on_close(cx, side)));
        }
    }

    /// `proxy_on_log`.
    pub fn on_log(&self, context: u32) {
        self.cancel(context);
        self.tell(context, |filter, cx| filter.on_log(cx, &StreamLog::new()));
    }

    /// Runs a method that answers nothing. Nothing is borrowed meanwhile.
    fn tell(&self, context: u32, method: impl FnOnce(&F, &mut F::Ctx)) {
        let Some((filter, cx)) = self.with(context, |connection| (connection.filter.clone(), connection.cx.take()))
        else {
            return;
        };
        let mut cx = cx.unwrap_or_default();
        self.within(context, || method(&filter, &mut cx));
        self.with(context, |connection| connection.cx = Some(cx));
    }

    /// `proxy_on_delete`.
    pub fn on_delete(&self, context: u32) {
        // Taken out first: dropping it runs the author's code, which must find nothing borrowed.
        let connection = self.connections.borrow_mut().remove(context);
        if connection.is_none() {
            self.plugins.remove(context);
        }
        drop(connection);
    }

    /// How many connections there are.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.borrow().len()
    }

    /// Ends what a connection waits for, and keeps its `Ctx`.
    fn cancel(&self, context: u32) {
        let connecting = self.with(context, |connection| connection.connecting.take()).flatten();
        if let Some((connecting, lent)) = connecting {
            drop(connecting);
            self.with(context, |connection| connection.cx = lent.take());
        }
    }

    fn act(&self, context: u32, result: Result<TcpFlow>) -> Action {
        let closed = self.with(context, |connection| connection.standing.closed).unwrap_or(false);
        match result {
            Ok(TcpFlow::Continue) if !closed => return Action::Continue,
            Ok(TcpFlow::NeedMore | TcpFlow::Wait(_)) if !closed => return Action::Pause,
            Ok(_) => {}
            Err(error) => log_failure(&error),
        }
        if !closed {
            self.close(context);
        }
        Action::Pause
    }

    fn close(&self, context: u32) {
        self.with(context, |connection| connection.standing.closed = true);
        abi::close_connection(Side::Downstream);
    }

    /// Runs a method of a connection.
    fn within<T>(&self, context: u32, method: impl FnOnce() -> T) -> T {
        let standing = self.with(context, |connection| connection.standing).unwrap_or_default();
        let (result, standing) = current::within(context, standing, method);
        self.with(context, |connection| connection.standing = standing);
        result
    }

    /// Polls `on_connect`.
    fn poll_connect(&self, context: u32, connecting: &mut Connecting) -> Poll<Result<TcpFlow>> {
        self.within(context, || poll(context, connecting.as_mut()))
    }

    fn with<T>(&self, context: u32, look: impl FnOnce(&mut Connection<F>) -> T) -> Option<T> {
        self.connections.borrow_mut().get_mut(context).map(look)
    }
}

impl<F: TcpFilter + TcpPresent> Waking for TcpRuntime<F> {
    fn wake(&self, owner: Owner) {
        let context = match owner {
            Owner::Stream(context) => context,
            Owner::Task(number) => return self.plugins.background.poll(number),
        };
        if self.with(context, |connection| connection.opening.is_some()) == Some(true) {
            abi::set_effective_context(context);
            return self.shake(context);
        }
        let Some((mut connecting, lent)) = self.with(context, |connection| connection.connecting.take()).flatten()
        else {
            return self.show_what_waited(context);
        };
        abi::set_effective_context(context);
        let Poll::Ready(result) = self.poll_connect(context, &mut connecting) else {
            self.with(context, |connection| connection.connecting = Some((connecting, lent)));
            return;
        };
        self.with(context, |connection| connection.cx = lent.take());
        if self.act(context, result) == Action::Pause {
            return;
        }
        // In the order in which a connection lives: its first bytes, then what the server says.
        for side in [Side::Downstream, Side::Upstream] {
            let held = self.with(context, |connection| connection.half(side).held.take()).flatten();
            match held.map(|(size, end)| self.data(side, context, size, end)) {
                Some((Action::Continue, Some(outcome))) => outcome.let_go(),
                Some((Action::Pause, _)) => {}
                Some((Action::Continue, None)) | None => abi::continue_connection(side),
            }
        }
        if let Some(answer) = self.with(context, |connection| connection.answer.take()).flatten() {
            self.tell_of_lease(context, answer);
        }
    }
}

async fn connect<F: TcpFilter>(filter: Rc<F>, cx: F::Ctx, lent: Lent<F>, leases: bool) -> Result<TcpFlow> {
    let mut loan = Loan { cx: Some(cx), lender: &lent };
    match &mut loan.cx {
        Some(cx) => match filter.on_connect(cx, &mut Conn::new(leases)).await {
            Ok(TcpFlow::Wait(_)) => {
                Err(Error::new("on_connect waits with `sleep`: there is nothing to show again yet"))
            }
            other => other,
        },
        None => Ok(TcpFlow::Continue),
    }
}

fn poll<T>(context: u32, future: Pin<&mut (impl Future<Output = T> + ?Sized)>) -> Poll<T> {
    owner::with(Owner::Stream(context), || future.poll(&mut Context::from_waker(Waker::noop())))
}
