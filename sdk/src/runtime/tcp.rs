//! TCP connections: which connection, which filter value, and what to answer the host.
//!
//! The rules: [`on_connect`](crate::TcpFilter::on_connect) may wait; what arrives meanwhile is held by the host and shown when it is done. A
//! method that wants more bytes leaves them with the host and is shown all of them again. After a close nothing is shown.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::abi::{self, Action, Level};
use crate::error::Result;
use crate::log::StreamLog;
use crate::owner::{self, Owner};
use crate::runtime::contexts::Contexts;
use crate::runtime::plugins::Plugins;
use crate::runtime::{Loan, Waking, log_failure};
use crate::tcp::{Conn, Data, Side, TcpFilter, TcpFlow, TcpPresent};

#[cfg(test)]
mod tests;

/// Everything that one instance knows about its filters and connections.
pub struct TcpRuntime<F: TcpFilter + TcpPresent> {
    plugins: Plugins<F>,
    connections: RefCell<Contexts<Connection<F>>>,
}

type Connecting = Pin<Box<dyn Future<Output = Result<TcpFlow>>>>;

struct Connection<F: TcpFilter> {
    /// The value with which it began.
    filter: Rc<F>,
    /// `None` before the first method, and while one has it.
    cx: Option<F::Ctx>,
    /// `on_connect`, which waits.
    connecting: Option<(Connecting, Lent<F>)>,
    closed: bool,
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
            cx: None,
            connecting: None,
            closed: false,
            downstream: Half::default(),
            upstream: Half::default(),
        };
        let old = self.connections.borrow_mut().insert(context, connection);
        drop(old);
    }

    /// `proxy_on_configure`.
    pub fn on_configure(&self, root: u32, size: usize) -> bool {
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
        let Some((filter, cx)) = self.with(context, |connection| (connection.filter.clone(), connection.cx.take()))
        else {
            abi::close_connection(Side::Downstream);
            return Action::Pause;
        };
        let lent: Lent<F> = Rc::new(Cell::new(None));
        let mut connecting: Connecting = Box::pin(connect(filter, cx.unwrap_or_default(), lent.clone()));
        match poll(context, &mut connecting) {
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
        let waits = self.with(context, |connection| {
            let waits = connection.connecting.is_some();
            if waits {
                connection.half(side).held = Some((size, end));
            }
            waits || connection.closed
        });
        if waits != Some(false) {
            return Action::Pause;
        }
        self.data(side, context, size, end)
    }

    fn data(&self, side: Side, context: u32, size: usize, end: bool) -> Action {
        let Some((filter, cx, skipped)) = self.with(context, |connection| {
            let half = connection.half(side);
            let fresh = u64::try_from(size.saturating_sub(half.skipped)).unwrap_or(u64::MAX).min(half.skip);
            half.skip -= fresh;
            half.skipped += usize::try_from(fresh).unwrap_or(usize::MAX);
            let skipped = half.skipped;
            (connection.filter.clone(), connection.cx.take(), skipped)
        }) else {
            return Action::Pause;
        };
        if skipped >= size && !end {
            self.with(context, |connection| {
                connection.cx = cx;
                connection.half(side).skipped = 0;
            });
            return Action::Continue;
        }
        let mut cx = cx.unwrap_or_default();
        let mut data = Data::new(side, skipped, size, end);
        let result = match side {
            Side::Downstream => filter.on_downstream(&mut cx, &mut data),
            Side::Upstream => filter.on_upstream(&mut cx, &mut data),
        };
        let skip = data.into_skip();
        self.with(context, |connection| {
            connection.cx = Some(cx);
            let half = connection.half(side);
            half.skip += skip;
            if !matches!(result, Ok(TcpFlow::NeedMore)) {
                half.skipped = 0;
            }
        });
        if end && matches!(result, Ok(TcpFlow::NeedMore)) {
            // There is no more: what is there goes on.
            return Action::Continue;
        }
        self.act(context, result)
    }

    /// `proxy_on_downstream_connection_close` and `proxy_on_upstream_connection_close`.
    pub fn on_close(&self, side: Side, context: u32) {
        if side == Side::Downstream {
            self.cancel(context);
        }
        if self.with(context, |connection| connection.connecting.is_none()) == Some(true) {
            self.tell(context, |filter, cx| filter.on_close(cx, side));
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
        method(&filter, &mut cx);
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
        match result {
            Ok(TcpFlow::Continue) => return Action::Continue,
            Ok(TcpFlow::NeedMore) => return Action::Pause,
            Ok(TcpFlow::Close) => {}
            Err(error) => log_failure(&error),
        }
        self.with(context, |connection| connection.closed = true);
        abi::close_connection(Side::Downstream);
        Action::Pause
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
        let Some((mut connecting, lent)) = self.with(context, |connection| connection.connecting.take()).flatten()
        else {
            return;
        };
        abi::set_effective_context(context);
        let Poll::Ready(result) = poll(context, &mut connecting) else {
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
            let action = held.map_or(Action::Continue, |(size, end)| self.data(side, context, size, end));
            if action == Action::Continue {
                abi::continue_connection(side);
            }
        }
    }
}

async fn connect<F: TcpFilter>(filter: Rc<F>, cx: F::Ctx, lent: Lent<F>) -> Result<TcpFlow> {
    let mut loan = Loan { cx: Some(cx), lender: &lent };
    match &mut loan.cx {
        Some(cx) => filter.on_connect(cx, &mut Conn::new()).await,
        None => Ok(TcpFlow::Continue),
    }
}

fn poll(context: u32, connecting: &mut Connecting) -> Poll<Result<TcpFlow>> {
    owner::with(Owner::Stream(context), || connecting.as_mut().poll(&mut Context::from_waker(Waker::noop())))
}
