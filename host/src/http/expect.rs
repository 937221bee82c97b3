//! `Expect: 100-continue` end to end: the body stays with the client until the upstream has asked for it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use futures_util::task::AtomicWaker;
use tokio::time::Sleep;

/// An upstream that says nothing for so long does not know the expectation (RFC 9110, section 10.1.1).
const PATIENCE: Duration = Duration::from_secs(1);

/// Opened by the upstream's `100 Continue`. hyper asks that its callback is `Send`, hence the atomics.
#[derive(Debug, Default)]
pub struct Gate {
    open: AtomicBool,
    waker: AtomicWaker,
}

impl Gate {
    /// Lets the body go.
    pub fn open(&self) {
        self.open.store(true, Ordering::Release);
        self.waker.wake();
    }
}

/// The body's side of a gate.
#[derive(Debug)]
pub struct Waiting {
    gate: Arc<Gate>,
    patience: std::pin::Pin<Box<Sleep>>,
}

impl Waiting {
    /// Begins to wait.
    #[must_use]
    pub fn new(gate: Arc<Gate>) -> Self {
        Self { gate, patience: Box::pin(tokio::time::sleep(PATIENCE)) }
    }

    /// Ready when the body may be read.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.gate.open.load(Ordering::Acquire) {
            return Poll::Ready(());
        }
        self.gate.waker.register(cx.waker());
        if self.gate.open.load(Ordering::Acquire) {
            return Poll::Ready(());
        }
        self.patience.as_mut().poll(cx)
    }
}
