//! Commands of a client that the host holds, as far as they were looked at.

use std::collections::VecDeque;

use fyke_sdk::{Data, Result, Side};

use super::session::is_local;
use crate::facts::Facts;
use crate::filter::Redis;
use crate::patience::BYTES;
use fyke_resp::{Bad, Cursor, Head, Requests, Step};

/// From how many bytes on a command goes before all of it is here. Less than any sensible `limits.buffer` of the host, which holds it until then.
const LARGE: usize = 32 << 10;

/// How much of the arguments of commands that are answered here is kept before they are, in bytes; of the last one, all.
const HEADS: usize = 1 << 10;

/// Commands for which room is kept.
const ROOM: usize = 16;

/// What is held, from its front: whole commands, the beginning of one, and what was not looked at.
#[derive(Debug, Default)]
pub struct Queue {
    requests: Requests,
    /// Whole ones.
    pub ready: VecDeque<Ready>,
    /// Bytes of their heads.
    heads: usize,
    /// Bytes of `ready`.
    whole: usize,
    /// Bytes that were looked at.
    scanned: usize,
    rest: Rest,
    /// Bytes that this call may still look at.
    left: usize,
    /// It has done so, and there is more.
    enough: bool,
    /// What follows is no RESP.
    pub bad: Option<Bad>,
}

/// A command that is whole.
#[derive(Debug)]
pub struct Ready {
    /// Its bytes.
    pub bytes: usize,
    /// What it is; `None`: nothing, and nobody answers it.
    pub facts: Option<Facts>,
    /// Its arguments, where it is answered here.
    pub head: Option<Box<Head>>,
}

/// What becomes of the rest of the command that is under way.
#[derive(Debug, Default)]
enum Rest {
    /// It is held.
    #[default]
    Held,
    /// Its beginning has gone, and it follows.
    Sent(Facts),
    /// Its beginning was answered.
    Dropped,
}

impl Queue {
    /// A new call of the host.
    pub const fn rest(&mut self) {
        (self.left, self.enough) = (BYTES, false);
    }

    /// Whether there is more than was looked at, because this call has looked at enough.
    pub const fn has_enough(&self) -> bool {
        self.enough
    }

    /// Whether a command has gone, but not all of it.
    pub const fn is_sending(&self) -> bool {
        matches!(self.rest, Rest::Sent(_))
    }

    /// Whether something was looked at that has not gone.
    pub const fn is_waiting(&self) -> bool {
        self.scanned > 0
    }

    /// What is left of a command that was sent goes nowhere.
    pub fn forget_rest(&mut self) {
        if self.is_sending() {
            self.rest = Rest::Dropped;
        }
    }

    /// Takes the rest of a command whose beginning is gone, behind the first `gone` bytes; whether it is over.
    ///
    /// # Errors
    /// It is no RESP, or the host refuses something.
    pub fn finish(&mut self, redis: &Redis, data: &mut Data, gone: &mut usize) -> Result<bool> {
        if matches!(self.rest, Rest::Held) {
            return Ok(true);
        }
        let mut cursor = Cursor::new(&*data, *gone).within(self.left);
        let step = cursor.next(&mut self.requests).inspect_err(|bad| redis.stats.bad(Side::Downstream, *bad))?;
        let taken = cursor.at() - *gone;
        (self.left, self.enough) = (cursor.left(), step == Step::More && cursor.has_more());
        if let Rest::Sent(facts) = &self.rest {
            // No more than is here: when the connection is lost, the host forgets what was to follow, and nobody would know where the command ends.
            let bytes = taken as u64;
            data.pass(bytes)?;
            redis.stats.request(facts, bytes);
            *gone += taken;
        } else {
            data.discard(taken)?;
        }
        let over = step != Step::More;
        if over {
            self.rest = Rest::Held;
        }
        Ok(over)
    }

    /// Looks at what was not looked at, up to `most` whole commands.
    pub fn scan(&mut self, redis: &Redis, most: usize, data: &Data, gone: usize) {
        let mut cursor = Cursor::new(data, gone + self.scanned).within(self.left);
        self.enough = false;
        while self.bad.is_none() && self.ready.len() < most && self.heads < HEADS {
            let step = match cursor.next(&mut self.requests) {
                Ok(Step::More) => {
                    self.enough = cursor.has_more();
                    break;
                }
                Ok(step) => step,
                Err(bad) => {
                    redis.stats.bad(Side::Downstream, bad);
                    self.bad = Some(bad);
                    break;
                }
            };
            let bytes = cursor.at() - gone - self.whole;
            self.whole += bytes;
            let ready = if step == Step::Nothing {
                Ready { bytes, facts: None, head: None }
            } else {
                let head = self.requests.head();
                let facts = redis.facts(head);
                let head = is_local(&facts, head).then(|| Box::new(head.clone()));
                self.heads += head.as_deref().map_or(0, Head::size);
                Ready { bytes, facts: Some(facts), head }
            };
            self.ready.push_back(ready);
        }
        self.scanned = cursor.at() - gone;
        self.left = cursor.left();
    }

    /// The command that is not whole, if it is too large to be held, behind all others.
    pub fn large(&self, redis: &Redis) -> Option<(Facts, Head)> {
        let head = self.requests.head();
        let is_large = self.ready.is_empty() && self.bad.is_none() && self.scanned.saturating_sub(self.whole) >= LARGE;
        // An inline command has a limit of its own, and its head is known at its end.
        (is_large && head.kept() > 0 && !self.requests.is_inline()).then(|| (redis.facts(head), head.clone()))
    }

    /// That command goes; how many of its bytes are here.
    pub fn send_large(&mut self, facts: Facts) -> u64 {
        self.rest = Rest::Sent(facts);
        self.whole = 0;
        std::mem::take(&mut self.scanned) as u64
    }

    /// That command was answered.
    ///
    /// # Errors
    /// The host refuses it.
    pub fn drop_large(&mut self, data: &mut Data) -> Result<()> {
        self.rest = Rest::Dropped;
        self.whole = 0;
        data.discard(std::mem::take(&mut self.scanned))
    }

    /// A client who has said much at once keeps no room for it.
    pub fn tidy(&mut self) {
        if self.ready.is_empty() {
            self.ready.shrink_to(ROOM);
        }
    }

    /// The first whole command leaves the queue.
    pub fn pop(&mut self) -> Option<Ready> {
        let ready = self.ready.pop_front()?;
        self.heads -= ready.head.as_deref().map_or(0, Head::size);
        self.whole = self.whole.saturating_sub(ready.bytes);
        self.scanned = self.scanned.saturating_sub(ready.bytes);
        Some(ready)
    }
}
