//! One direction of a TCP connection: what filters have to do with it.

use std::{cell::RefCell, rc::Rc, task::Context};

use bytes::Bytes;

use super::serve::Session;
use crate::{
    filter::flow,
    transport::way::{self, Between},
    wasm::exchange::Direction,
};

pub(super) type Way = way::Way<Direction>;

impl Between for Rc<Session> {
    type Direction = Direction;

    fn scratch(&self) -> &RefCell<Box<[u8]>> {
        &self.runtime.env.stock.scratch.0
    }

    fn passed(&self, direction: Direction, count: usize) {
        self.exchange.borrow_mut().half(direction).bytes += count as u64;
    }

    fn work(&self, direction: Direction, cx: &Context<'_>) {
        self.pump(direction, cx);
    }

    fn wants_more(&self, direction: Direction) -> bool {
        self.exchange.borrow_mut().wants_more(direction)
    }

    fn push(&self, direction: Direction, bytes: Bytes) {
        flow::push_data(&mut self.exchange.borrow_mut(), direction, 0, bytes);
    }

    fn push_end(&self, direction: Direction) {
        flow::push_end(&mut self.exchange.borrow_mut(), direction, 0, None);
    }

    fn pop(&self, direction: Direction) -> Option<Bytes> {
        self.exchange.borrow_mut().half(direction).outlet.body.pop()
    }

    fn is_over(&self, direction: Direction) -> bool {
        self.exchange.borrow_mut().half(direction).outlet.end
    }

    fn finish(&self, direction: Direction) {
        self.exchange.borrow_mut().half(direction).outlet.end = true;
    }
}
