//! The tasks of a filter itself, from [`Env::every`](crate::Env::every): they belong to a plugin context, not to a stream.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Waker};

use crate::hash::FastHash;
use crate::owner::{self, Owner};

pub(crate) type BoxedTask = Pin<Box<dyn Future<Output = ()>>>;

struct Running {
    root: u32,
    /// `None` while it is polled.
    future: Option<BoxedTask>,
}

/// The tasks of an instance, by number.
pub(super) struct Background {
    tasks: RefCell<HashMap<u32, Running, FastHash>>,
    next: Cell<u32>,
}

impl Background {
    pub const fn new() -> Self {
        Self { tasks: RefCell::new(HashMap::with_hasher(FastHash::new())), next: Cell::new(0) }
    }

    /// Replaces the tasks of a plugin context and begins the new ones.
    pub fn replace(&self, root: u32, futures: Vec<BoxedTask>) {
        let old = self.take(root);
        let begun: Vec<u32> = futures
            .into_iter()
            .map(|future| {
                let number = self.next.get().wrapping_add(1);
                self.next.set(number);
                self.tasks.borrow_mut().insert(number, Running { root, future: Some(future) });
                number
            })
            .collect();
        // Dropped with nothing borrowed: that runs the author's code.
        drop(old);
        for number in begun {
            self.poll(number);
        }
    }

    /// Drops the tasks of a plugin context that is gone.
    pub fn remove(&self, root: u32) {
        let old = self.take(root);
        drop(old);
    }

    fn take(&self, root: u32) -> Vec<Running> {
        self.tasks.borrow_mut().extract_if(|_, running| running.root == root).map(|(_, running)| running).collect()
    }

    /// Runs a task up to its next wait.
    pub fn poll(&self, number: u32) {
        let future = self.tasks.borrow_mut().get_mut(&number).and_then(|running| running.future.take());
        let Some(mut future) = future else { return };
        let done = owner::with(Owner::Task(number), || future.as_mut().poll(&mut Context::from_waker(Waker::noop())));
        let mut tasks = self.tasks.borrow_mut();
        if done.is_ready() {
            tasks.remove(&number);
        } else if let Some(running) = tasks.get_mut(&number) {
            running.future = Some(future);
        } else {
            // Its plugin context went away meanwhile.
            drop(tasks);
            drop(future);
        }
    }
}
