//! A direction of a TCP connection: what filters have to do with it.

use std::{cell::RefCell, rc::Rc, task::Context};

use bytes::Bytes;

use crate::{
    filter::{flow, pump::Pump},
    transport::{
        both::Both,
        way::{self, Between},
    },
    wasm::{
        env::Env,
        exchange::{Direction, Exchange, Waiting},
    },
};

pub(super) type Way = way::Way<Direction>;
/// Both directions.
pub(super) type Joined = Both<Direction>;

/// A connection whose bytes pass filters.
pub(super) trait Filtered {
    fn env(&self) -> &Rc<Env>;
    fn exchange(&self) -> &Rc<RefCell<Exchange>>;

    /// Lets the filters of a direction do what they can, and remembers whom to wake when there is more.
    fn pump(&self, direction: Direction, cx: &Context<'_>) {
        let mut exchange = self.exchange().borrow_mut();
        let weak = Rc::downgrade(self.exchange());
        Pump { env: self.env(), weak: &weak, waker: Some(cx.waker()) }.run(&mut exchange, direction);
        exchange.wait(Waiting::Main, cx.waker());
    }
}

impl<F: Filtered> Between for F {
    type Direction = Direction;

    fn scratch(&self) -> &RefCell<Box<[u8]>> {
        &self.env().stock.scratch.0
    }

    fn passed(&self, direction: Direction, count: usize) {
        self.exchange().borrow_mut().half(direction).went_by(count);
    }

    fn work(&self, direction: Direction, cx: &Context<'_>) {
        self.pump(direction, cx);
    }

    fn wants_more(&self, direction: Direction) -> bool {
        self.exchange().borrow_mut().wants_more(direction)
    }

    fn push(&self, direction: Direction, bytes: Bytes) {
        flow::push_data(&mut self.exchange().borrow_mut(), direction, 0, bytes);
    }

    fn push_end(&self, direction: Direction) {
        flow::push_end(&mut self.exchange().borrow_mut(), direction, 0, None);
    }

    fn pop(&self, direction: Direction) -> Option<Bytes> {
        self.exchange().borrow_mut().half(direction).pop()
    }

    fn is_over(&self, direction: Direction) -> bool {
        self.exchange().borrow_mut().half(direction).outlet.end
    }

    fn finish(&self, direction: Direction) {
        self.exchange().borrow_mut().half(direction).outlet.end = true;
    }
}
