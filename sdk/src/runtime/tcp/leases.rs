//! Connections that borrow their upstream: what comes of a lease, and what it is when one is lost.

use super::TcpRuntime;
use crate::abi::{self, BufferKind, Level};
use crate::error::Result;
use crate::lease::{self, LeaseRefused, Leased};
use crate::runtime::Waking;
use crate::tcp::{Data, Side, TcpFilter, TcpFlow, TcpPresent};

/// What came of a lease.
pub(super) type Answer = Result<Leased, LeaseRefused>;

impl<F: TcpFilter + TcpPresent> TcpRuntime<F> {
    /// `proxy_on_foreign_function`; 3 ends waiting for a lease, 4 is `fyke.upstream.opened.v1`, 5 brings a key of `fyke.crypto.pbkdf2.v1`,
    /// 6 an answer of `fyke.redis.call.v1`.
    pub fn on_foreign_function(&self, context: u32, function: u32, size: usize) {
        match function {
            3 => self.leased(context, size),
            4 => self.opened(context, size),
            5 => self.on_key(size),
            6 => self.on_redis(size),
            _ => {}
        }
    }

    fn leased(&self, context: u32, size: usize) {
        let Some((token, answer)) = lease::answer(context, &abi::foreign_arguments(size)) else {
            return abi::log(Level::Warn, "the host says something of a lease that nobody understands");
        };
        let granted = answer.is_ok();
        let answer = self.with(context, |connection| {
            // What was given up in the meantime, or was never asked for, is nobody's.
            if connection.standing.asked != Some(token) {
                return None;
            }
            connection.standing.asked = None;
            if connection.gone || connection.standing.closed {
                if granted {
                    lease::give_back(token);
                }
                return None;
            }
            connection.standing.held = granted.then_some(token);
            if connection.connecting.is_some() {
                connection.answer = Some(answer);
                return None;
            }
            Some(answer)
        });
        if let Some(answer) = answer.flatten() {
            self.tell_of_lease(context, answer);
        }
    }

    /// Tells the filter what came of its request, and shows it what the host holds of the client.
    pub(super) fn tell_of_lease(&self, context: u32, answer: Answer) {
        let Some((filter, cx, skipped, ended)) = self.with(context, |connection| {
            let cx = connection.cx.take();
            let half = &connection.downstream;
            (connection.filter.clone(), cx, half.skipped, half.ended)
        }) else {
            return;
        };
        let size = abi::buffer_length(BufferKind::DownstreamData);
        let mut cx = cx.unwrap_or_default();
        let mut data = Data::new(Side::Downstream, skipped, size, ended);
        let result = self.within(context, || filter.on_leased(&mut cx, answer, &mut data));
        let outcome = data.outcome();
        self.with(context, |connection| connection.cx = Some(cx));
        let goes = matches!(result, Ok(TcpFlow::Continue));
        self.keep(Side::Downstream, context, outcome, &result);
        self.act(context, result);
        let closed = self.with(context, |connection| connection.standing.closed).unwrap_or(true);
        // A continue where nothing is held would be for the next pause.
        if goes && !closed && (size > 0 || outcome.passed) {
            outcome.let_go();
        }
    }

    /// The upstream is gone: whether that was a lease, and all there is to say about it is said.
    pub(super) fn loses_lease(&self, context: u32) -> bool {
        let lost = self.with(context, |connection| {
            let lost = connection.standing.held.take().is_some();
            if lost {
                // What was skipped of the answer does not come, and nothing of it is held. Of the client, what is held stays.
                connection.upstream = super::Half::default();
                connection.downstream.skip = 0;
                if let Some(answer @ Ok(_)) = &mut connection.answer {
                    // The filter has not heard of it yet.
                    *answer = Err(LeaseRefused::lost());
                    return false;
                }
            }
            lost && !connection.gone && !connection.standing.closed
        });
        if lost != Some(true) || F::CALLBACKS.on_close {
            return false;
        }
        abi::log(
            Level::Info,
            "a connection that was lent is lost, and the filter has no `on_close`: its client's is closed",
        );
        self.close(context);
        true
    }
}
