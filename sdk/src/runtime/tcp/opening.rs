//! New connections to endpoints, which a filter makes fit to be lent: a future for each, and what the endpoint has said.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use super::{TcpRuntime, poll};
use crate::abi::{self, BufferKind};
use crate::error::Result;
use crate::lease::{self, Inbox, Opened};
use crate::tcp::{Side, TcpFilter, TcpPresent};

/// A handshake.
pub(super) struct Opening {
    /// `None` while it is polled, and when it is over.
    future: Option<Pin<Box<dyn Future<Output = Result<()>>>>>,
    inbox: Rc<Inbox>,
}

impl<F: TcpFilter + TcpPresent> TcpRuntime<F> {
    /// `fyke.upstream.opened.v1`.
    pub(super) fn opened(&self, context: u32, size: usize) {
        let Some((filter, known)) = self
            .with(context, |connection| (connection.filter.clone(), connection.begun || connection.opening.is_some()))
        else {
            return lease::refuse_opened("the filter is not configured");
        };
        if known {
            // It is a client's, or said to be new a second time.
            return;
        }
        let inbox = Rc::new(Inbox::default());
        let Some(mut opened) = Opened::of_event(&abi::foreign_arguments(size), inbox.clone()) else {
            return lease::refuse_opened("the filter does not understand what the host says of it");
        };
        let future = Box::pin(async move { filter.on_opened(&mut F::Ctx::default(), &mut opened).await });
        self.with(context, |connection| connection.opening = Some(Opening { future: Some(future), inbox }));
        self.shake(context);
    }

    /// The endpoint has said something: whether this is such a connection.
    pub(super) fn said(&self, side: Side, context: u32, size: usize, end: bool) -> bool {
        let Some(inbox) = self.inbox(context) else { return false };
        if side == Side::Upstream {
            if size > 0 {
                inbox.push(&abi::buffer(BufferKind::UpstreamData, 0, size).unwrap_or_default());
            }
            if end {
                inbox.end("the endpoint has closed the connection");
            }
            self.shake(context);
        }
        true
    }

    /// One of its ends is gone: whether this is such a connection.
    pub(super) fn said_its_last(&self, context: u32) -> bool {
        self.said(Side::Upstream, context, 0, true)
    }

    fn inbox(&self, context: u32) -> Option<Rc<Inbox>> {
        self.with(context, |connection| connection.opening.as_ref().map(|opening| opening.inbox.clone())).flatten()
    }

    /// Goes on with the handshake, and says what has come of it.
    pub(super) fn shake(&self, context: u32) {
        let future = self.with(context, |connection| connection.opening.as_mut()?.future.take()).flatten();
        let Some(mut future) = future else { return };
        let Poll::Ready(result) = poll(context, future.as_mut()) else {
            self.with(context, |connection| {
                if let Some(opening) = &mut connection.opening {
                    opening.future = Some(future);
                }
            });
            return;
        };
        // Dropped before the verdict: it may still write.
        drop(future);
        let flaw = self.inbox(context).and_then(|inbox| inbox.flaw());
        match (result, flaw) {
            (Ok(()), None) => lease::give_back(lease::OPENED),
            (Ok(()), Some(flaw)) => lease::refuse_opened(flaw),
            (Err(error), _) => lease::refuse_opened(&error.to_string()),
        }
    }
}
