//! Who said what to whom: replies belong to commands in the order in which they were sent; and what state the commands leave in a connection.

use std::collections::VecDeque;
use std::time::SystemTime;

use crate::commands::{Kind, Topic};
use crate::facts::{Facts, Replying};
use fyke_resp::Reply;

/// Commands for which room is kept.
const ROOM: usize = 16;

/// One connection to a server, as its commands and replies make it.
#[derive(Debug, Default)]
pub struct Dialogue {
    waiting: VecDeque<Waiting>,
    /// How many of them begin a transaction.
    multis: usize,
    /// Bytes of the reply that is under way.
    pub reply_bytes: u64,
    /// Whether it speaks RESP3.
    pub resp3: bool,
    subscribed: Subscribed,
    multi: bool,
    watch: bool,
    monitor: bool,
    /// Something has happened of which nobody can say what it left.
    unknown: bool,
    replying: Option<Replying>,
}

/// A command that waits for its reply.
#[derive(Debug)]
pub struct Waiting {
    /// What it is.
    pub facts: Facts,
    /// When it was sent.
    pub sent: SystemTime,
}

/// Subscriptions, as the server counts them.
#[derive(Debug, Default)]
struct Subscribed {
    channels: u64,
    patterns: u64,
    shards: u64,
}

/// What a message of a server is.
#[derive(Debug)]
pub enum Said {
    /// No reply, but something that the server says by itself.
    Push,
    /// One of several confirmations that answer a command, and not the last one.
    Confirmation,
    /// The reply to this command.
    Reply(Waiting),
    /// A reply to nothing.
    Unasked,
}

impl Dialogue {
    /// How many commands wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none does.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Commands that wait, oldest first.
    pub fn waiting(&self) -> impl DoubleEndedIterator<Item = &Waiting> {
        self.waiting.iter()
    }

    /// Whether the connection is in a state that only its own client may use.
    pub fn is_pinned(&self) -> bool {
        self.multi || self.watch || self.monitor || self.unknown || self.subscribed.any()
    }

    /// Whether a transaction is open.
    pub const fn is_multi(&self) -> bool {
        self.multi
    }

    /// Whether a transaction may begin with a command that waits.
    pub const fn begins_multi(&self) -> bool {
        self.multis > 0
    }

    /// A command was sent; whether it will be answered.
    pub fn send(&mut self, facts: Facts, now: SystemTime) -> bool {
        let before = self.replying;
        match (before, facts.replies) {
            (_, Some(Replying::On)) => self.replying = None,
            (Some(Replying::Off), _) => return false,
            (_, Some(said)) => {
                self.replying = Some(said);
                return false;
            }
            (Some(Replying::Skip), None) => {
                self.replying = None;
                return false;
            }
            _ => {}
        }
        self.multis += usize::from(facts.kind == Kind::Multi);
        self.waiting.push_back(Waiting { facts, sent: now });
        true
    }

    /// A message of the server is whole.
    pub fn hear(&mut self, reply: &Reply) -> Said {
        let front = self.waiting.front().map(|front| (front.facts.kind, front.facts.name));
        let confirms = match front {
            Some((Kind::Subscribe(topic), name)) if self.confirms(reply, name) => Some((topic, true)),
            Some((Kind::Unsubscribe(topic), name)) if self.confirms(reply, name) => Some((topic, false)),
            _ => None,
        };
        if let Some((topic, more)) = confirms {
            return self.confirm(topic, more, reply);
        }
        if self.is_push(reply) {
            if reply.first == b"sunsubscribe" {
                let left = reply.number.and_then(|number| u64::try_from(number).ok());
                self.subscribed.shards = left.unwrap_or(self.subscribed.shards);
            }
            return Said::Push;
        }
        let Some(waiting) = self.waiting.pop_front() else { return Said::Unasked };
        self.multis -= usize::from(waiting.facts.kind == Kind::Multi);
        self.apply(&waiting.facts, reply);
        Said::Reply(waiting)
    }

    /// A connection on which many commands have waited keeps no room for them.
    pub fn tidy(&mut self) {
        if self.waiting.is_empty() {
            self.waiting.shrink_to(ROOM);
        }
    }

    /// The connection is gone, and its state with it.
    pub fn clear(&mut self) {
        *self = Self { resp3: self.resp3, ..Self::default() };
    }

    fn confirms(&self, reply: &Reply, name: &str) -> bool {
        reply.kind == (if self.resp3 { b'>' } else { b'*' }) && reply.first == name.as_bytes()
    }

    fn confirm(&mut self, topic: Topic, more: bool, reply: &Reply) -> Said {
        let held = self.subscribed.count(topic);
        let total = reply.number.and_then(|number| u64::try_from(number).ok()).unwrap_or_default();
        self.subscribed.change(topic, more, total);
        let Some(front) = self.waiting.front_mut() else { return Said::Unasked };
        if front.facts.confirmations == 0 {
            front.facts.confirmations = u32::try_from(held).unwrap_or(u32::MAX).max(1);
        }
        front.facts.confirmations -= 1;
        if front.facts.confirmations > 0 {
            return Said::Confirmation;
        }
        self.waiting.pop_front().map_or(Said::Unasked, Said::Reply)
    }

    fn is_push(&self, reply: &Reply) -> bool {
        match reply.kind {
            b'>' => true,
            b'*' if !self.resp3 && self.subscribed.any() => {
                // A shard's channels may go away by themselves.
                matches!(reply.first.as_slice(), b"message" | b"pmessage" | b"smessage" | b"sunsubscribe")
            }
            b'+' => self.monitor && reply.first.first().is_some_and(u8::is_ascii_digit),
            _ => false,
        }
    }

    /// What a reply says of the state.
    fn apply(&mut self, facts: &Facts, reply: &Reply) {
        match facts.kind {
            // Transactions that cannot be executed are over too.
            Kind::Exec | Kind::Discard if !reply.is_error() || reply.word() == b"EXECABORT" => {
                (self.multi, self.watch) = (false, false);
            }
            _ if reply.is_error() => {}
            Kind::Multi => self.multi = true,
            Kind::Watch => self.watch = true,
            Kind::Unwatch if !self.multi => self.watch = false,
            Kind::Monitor if !self.multi => self.monitor = true,
            // Queued in a transaction: what becomes of it is inside of another reply.
            Kind::Subscribe(_) | Kind::Unsubscribe(_) | Kind::Monitor => self.unknown = true,
            Kind::Hello => self.resp3 = facts.protocol.map_or(self.resp3, |protocol| protocol == 3),
            Kind::Reset => {
                let waiting = std::mem::take(&mut self.waiting);
                *self = Self { waiting, multis: self.multis, reply_bytes: self.reply_bytes, ..Self::default() };
            }
            _ => {}
        }
    }
}

impl Subscribed {
    const fn any(&self) -> bool {
        self.channels > 0 || self.patterns > 0 || self.shards > 0
    }

    const fn count(&self, topic: Topic) -> u64 {
        match topic {
            Topic::Channels => self.channels,
            Topic::Patterns => self.patterns,
            Topic::Shards => self.shards,
        }
    }

    /// Servers count channels and patterns together, and shards apart.
    fn change(&mut self, topic: Topic, more: bool, total: u64) {
        let (changed, other) = match topic {
            Topic::Channels => (&mut self.channels, self.patterns),
            Topic::Patterns => (&mut self.patterns, self.channels),
            Topic::Shards => (&mut self.shards, 0),
        };
        let count = total.saturating_sub(other);
        // What a server says of a subscription can not make there be none.
        *changed = if more { count.max(1) } else { count };
    }
}
