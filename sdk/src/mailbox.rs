//! Where what the host brings later waits for the future that asked for it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::owner::Owner;

thread_local! {
    /// Whether the module exports `proxy_on_foreign_function`, which brings keys and replies.
    static HEARD: Cell<bool> = const { Cell::new(false) };
}

/// Says whether the module exports it.
pub(crate) fn heard(heard: bool) {
    HEARD.set(heard);
}

/// Whether the module exports it.
pub(crate) fn is_heard() -> bool {
    HEARD.get()
}

/// For one thing, that comes once.
#[derive(Debug)]
pub(crate) struct Mailbox<T> {
    owner: Owner,
    content: RefCell<Option<T>>,
    waker: RefCell<Option<Waker>>,
}

impl<T> Mailbox<T> {
    /// One whose future is `owner`'s.
    pub fn new(owner: Owner) -> Rc<Self> {
        Rc::new(Self { owner, content: RefCell::new(None), waker: RefCell::new(None) })
    }

    /// Whose future looks there; for the test kit.
    #[cfg(not(target_arch = "wasm32"))]
    pub const fn owner(&self) -> Owner {
        self.owner
    }

    /// Puts something there for the future to find, and tells whose it is.
    pub fn put(&self, content: T) -> Owner {
        self.content.replace(Some(content));
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
        self.owner
    }

    /// Whether something is there.
    pub fn is_full(&self) -> bool {
        self.content.borrow().is_some()
    }

    /// Takes what is there, or waits for it.
    pub fn poll(&self, cx: &Context<'_>) -> Poll<T> {
        match self.content.take() {
            Some(content) => Poll::Ready(content),
            None => {
                self.waker.replace(Some(cx.waker().clone()));
                Poll::Pending
            }
        }
    }
}
