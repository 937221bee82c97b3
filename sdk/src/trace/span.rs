//! Spans that a filter makes, and the stream's own.

use std::cell::RefCell;
use std::fmt;
use std::marker::PhantomData;

use super::tag::Tag;
use crate::abi;

/// What the host says where it records nothing.
const NOT_RECORDED: u32 = u32::MAX;
/// The stream's own span.
const STREAM: u32 = 0;

/// A piece of the filter's work, inside of the stream's span. It ends where it is dropped, also when that is because the client left
/// while a method waited. A stream has at most 64; what is beyond is not recorded.
#[must_use = "a span ends where it is dropped: `let span = ...`, not `let _ = ...`"]
pub struct Span {
    /// `None`: nothing is recorded, and the host is not asked.
    handle: Option<u32>,
    error: RefCell<String>,
    /// It belongs to one stream, which belongs to one thread.
    here: PhantomData<*const ()>,
}

impl Span {
    pub(super) fn start(name: &str) -> Self {
        let answer = abi::call_foreign_function("fyke.span.start.v1", name.as_bytes()).ok();
        let handle = answer.and_then(|bytes| bytes.as_slice().try_into().ok()).map(u32::from_le_bytes);
        Self {
            handle: handle.filter(|handle| !matches!(*handle, STREAM | NOT_RECORDED)),
            error: RefCell::default(),
            here: PhantomData,
        }
    }

    /// Says something of it, by a name. Saying it again replaces what was said.
    pub fn tag(&self, key: &str, value: impl Tag) -> &Self {
        if let Some(handle) = self.handle {
            write_tag(handle, key, &value);
        }
        self
    }

    /// What it was meant to do has failed, and why. The last word counts.
    pub fn error(&self, why: impl fmt::Display) {
        if self.handle.is_some()
            && let Ok(mut error) = self.error.try_borrow_mut()
        {
            *error = why.to_string();
            if error.is_empty() {
                // No text would mean no error.
                error.push_str("error");
            }
        }
    }

    /// Whether anything comes of it; for tags that cost something to make.
    #[must_use]
    pub fn is_recorded(&self) -> bool {
        self.handle.is_some()
    }

    /// Ends it here. Dropping it does the same.
    pub fn end(self) {
        drop(self);
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if let Some(handle) = self.handle {
            let mut arguments = handle.to_le_bytes().to_vec();
            arguments.extend_from_slice(self.error.get_mut().as_bytes());
            // There is nobody to tell.
            let _ = abi::call_foreign_function("fyke.span.end.v1", &arguments);
        }
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Span").field("handle", &self.handle).finish_non_exhaustive()
    }
}

/// The span of the whole stream, which the host begins and ends.
#[derive(Debug, Clone, Copy)]
pub struct StreamSpan {
    here: PhantomData<*const ()>,
}

impl StreamSpan {
    pub(super) const fn new() -> Self {
        Self { here: PhantomData }
    }

    /// Says something of the stream, by a name. Saying it again replaces what was said.
    pub fn tag(self, key: &str, value: impl Tag) -> Self {
        write_tag(STREAM, key, &value);
        self
    }

    /// Gives it a name in place of the host's: that of the operation, of which there are few. Not a path with ids in it.
    pub fn name(self, name: &str) -> Self {
        self.tag("span.name", name)
    }
}

fn write_tag(handle: u32, key: &str, value: &dyn Tag) {
    let mut arguments = Vec::with_capacity(8 + key.len() + 16);
    arguments.extend_from_slice(&handle.to_le_bytes());
    abi::push_field(&mut arguments, key.as_bytes());
    value.encode(&mut arguments);
    // A host without spans has nothing to write to.
    let _ = abi::call_foreign_function("fyke.span.tag.v1", &arguments);
}
