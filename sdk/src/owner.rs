//! Who waits: the stream or the task whose future is being polled, so that what it begins wakes it again.

use std::cell::Cell;

/// A stream, by its context, or a task of the filter itself, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// A stream or connection.
    Stream(u32),
    /// A task.
    Task(u32),
}

thread_local! {
    static CURRENT: Cell<Option<Owner>> = const { Cell::new(None) };
}

/// Whose future is being polled; `None` outside of any.
pub(crate) fn current() -> Option<Owner> {
    CURRENT.get()
}

/// Runs `poll` on behalf of `owner`.
pub(crate) fn with<T>(owner: Owner, poll: impl FnOnce() -> T) -> T {
    let before = CURRENT.replace(Some(owner));
    let result = poll();
    CURRENT.set(before);
    result
}
