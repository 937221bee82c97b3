//! One stream, between callbacks.

use std::rc::Rc;

use super::task::{Phase, Task};
use crate::abi::Side;
use crate::filter::HttpFilter;

pub(super) struct Stream<F: HttpFilter> {
    /// The value with which the stream began.
    pub filter: Rc<F>,
    /// The root context under which it was created.
    pub root: u32,
    /// `None` before the first method, and while a method has it.
    pub cx: Option<F::Ctx>,
    /// The method that waits.
    pub waiting: Option<Waiting<F>>,
    /// Whether we answered it ourselves.
    pub replied: bool,
    request: Half,
    response: Half,
}

pub(super) struct Waiting<F: HttpFilter> {
    pub task: Task<F>,
    pub phase: Phase,
}

/// What is known about one direction.
#[derive(Default)]
pub(super) struct Half {
    /// Its last byte is here.
    pub ended: bool,
    /// Bytes of body that arrived while a method waited; the host keeps them.
    pub held: Option<usize>,
    /// The whole body was handed out.
    pub body_taken: bool,
    /// The filter does not want the body: it passes.
    pub passes: bool,
    /// Bytes to come that the filter skips, where the host does not.
    pub skip: u64,
}

impl<F: HttpFilter> Stream<F> {
    pub fn new(filter: Rc<F>, root: u32) -> Self {
        let (request, response) = (Half::default(), Half::default());
        Self { filter, root, cx: None, waiting: None, replied: false, request, response }
    }

    pub fn half(&mut self, side: Side) -> &mut Half {
        match side {
            Side::Request => &mut self.request,
            Side::Response => &mut self.response,
        }
    }

    /// What a method that cannot wait needs; nothing while another one waits.
    pub fn borrow_idle(&mut self) -> Option<(Rc<F>, F::Ctx)> {
        if self.waiting.is_some() {
            return None;
        }
        Some((self.filter.clone(), self.cx.take().unwrap_or_default()))
    }
}
