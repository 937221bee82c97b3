//! One client, and the connection that it borrows.

mod answers;
mod lost;
mod replies;

use std::time::Duration;

use fyke_sdk::tcp::{self, show_again};
use fyke_sdk::{Data, LeaseRefused, LeaseToken, Leased, Result, Side, TcpFlow, time};

use super::queue::{Queue, Ready};
use super::session::Session;
use super::{LONG_LIVED, Pool, errors};
use crate::commands::Kind;
use crate::dialogue::Dialogue;
use crate::facts::Facts;
use crate::filter::Redis;
use crate::memory::{Memory, Share};
use crate::patience::later;
use fyke_resp::Replies;

/// One client.
pub struct Link {
    session: Session,
    lease: Lease,
    queue: Queue,
    dialogue: Dialogue,
    replies: Replies,
    share: Share,
    /// How long a server may say nothing, and how long a client may hold what is lent to it.
    patience: (Option<Duration>, Option<Duration>),
    /// How long what is lent may be silent as it stands.
    limit: Option<Duration>,
    /// A command is on its way, and not all of it is here.
    sends: bool,
}

/// The connection of an exchange.
#[derive(Debug, Default)]
enum Lease {
    #[default]
    None,
    Asked,
    Held(LeaseToken),
}

/// Whether the client's connection goes on.
#[derive(Debug, PartialEq, Eq)]
enum Turn {
    GoOn,
    /// Not before it is shown again what is left.
    Later,
    Over,
}

impl Link {
    /// A client that has said nothing.
    pub fn new(pool: &Pool, memory: &Memory) -> Self {
        Self {
            session: Session::new(pool),
            lease: Lease::None,
            queue: Queue::default(),
            dialogue: Dialogue::default(),
            replies: Replies::default(),
            share: memory.share(),
            patience: pool.patience,
            limit: None,
            sends: false,
        }
    }

    /// How many commands are remembered has changed.
    pub fn weigh(&mut self) {
        self.dialogue.tidy();
        self.queue.tidy();
        self.share.set(self.queue.ready.len() + self.dialogue.len());
    }

    /// Bytes of the client, or what of them is held.
    ///
    /// # Errors
    /// The connection has to be closed.
    pub fn on_downstream(&mut self, redis: &Redis, pool: &Pool, data: &mut Data) -> Result<TcpFlow> {
        let mut gone = 0;
        self.queue.rest();
        if !self.queue.finish(redis, data, &mut gone)? {
            return self.wait(data);
        }
        self.queue.scan(redis, pool.batch(redis), data, gone);
        match self.answer(redis, pool, data, gone)? {
            Turn::GoOn => {}
            Turn::Later => return later(Side::Downstream, data),
            Turn::Over => return Ok(TcpFlow::Close),
        }
        match self.lease {
            Lease::None => self.ask(redis, pool)?,
            Lease::Asked => {}
            Lease::Held(_) => self.send(redis, pool, data)?,
        }
        if self.queue.ready.is_empty()
            && self.is_quiet()
            && !matches!(self.lease, Lease::Asked)
            && let Some(bad) = self.queue.bad
        {
            data.write(Side::Downstream, errors::error(&format!("ERR Protocol error: {bad}")))?;
            return Ok(TcpFlow::Close);
        }
        self.wait(data)
    }

    /// What is here waits for more, or for its turn.
    fn wait(&mut self, data: &Data) -> Result<TcpFlow> {
        self.watch()?;
        if self.queue.has_enough() { later(Side::Downstream, data) } else { Ok(TcpFlow::NeedMore) }
    }

    /// Tells the host for how long nothing may move: in the middle of a command nobody but the client can go on, the server owes an answer to what was said,
    /// and where nothing was said (in a transaction, to a subscriber) nobody owes anything.
    fn watch(&mut self) -> Result<()> {
        if !matches!(self.lease, Lease::Held(_)) {
            return Ok(());
        }
        self.sends = self.queue.is_sending();
        let limit = match (self.sends, self.dialogue.is_empty()) {
            (true, _) => self.patience.1,
            (false, false) => self.patience.0,
            (false, true) => None,
        };
        if std::mem::replace(&mut self.limit, limit) != limit {
            tcp::limit_leases(limit, self.patience.1)?;
        }
        Ok(())
    }

    /// What was asked for is lent, or not.
    ///
    /// # Errors
    /// The connection has to be closed.
    pub fn on_leased(
        &mut self,
        redis: &Redis,
        pool: &Pool,
        lease: Result<Leased, LeaseRefused>,
        data: &mut Data,
    ) -> Result<TcpFlow> {
        match lease {
            Ok(leased) => {
                redis.stats.leased(leased.waited);
                self.lease = Lease::Held(leased.token);
                self.dialogue.resp3 = self.session.resp3;
            }
            Err(refused) => {
                redis.stats.unserved(refused.reason);
                self.lease = Lease::None;
                if self.refuse(redis, &errors::refused(&refused), data)? == Turn::Over {
                    return Ok(TcpFlow::Close);
                }
            }
        }
        self.on_downstream(redis, pool, data)
    }

    /// Whether nobody waits for anything, so that something can be said to the client.
    fn is_quiet(&self) -> bool {
        self.dialogue.is_empty() && self.replies.is_idle()
    }

    fn is_local(&self, facts: Option<&Facts>, head: bool) -> bool {
        !self.session.admitted || head || facts.is_none_or(|facts| self.dialogue.is_multi() && listens(facts.kind))
    }

    /// Asks for a connection, if something is to go.
    fn ask(&mut self, redis: &Redis, pool: &Pool) -> Result<()> {
        let kind = match self.queue.ready.front() {
            Some(Ready { facts: Some(facts), head: None, .. }) => facts.kind,
            Some(_) => return Ok(()),
            None => match self.queue.large(redis) {
                Some((facts, _)) => facts.kind,
                None => return Ok(()),
            },
        };
        if !self.session.admitted {
            return Ok(());
        }
        let mut request = pool.cluster.lease().identity(self.session.identity());
        if is_long(kind) {
            request = request.share(LONG_LIVED, pool.long_lived);
        }
        if let Some(timeout) = pool.queue_timeout {
            request = request.timeout(timeout);
        }
        request.ask()?;
        self.lease = Lease::Asked;
        Ok(())
    }

    /// The next command that may go in this exchange, of which `count` were taken.
    fn next(&mut self, redis: &Redis, pinned: bool, count: usize) -> Option<(Facts, usize)> {
        let front = self.queue.ready.front()?;
        let facts = front.facts.as_ref()?;
        if self.is_local(Some(facts), front.head.is_some()) || !self.may_go(redis, facts, pinned, count) {
            return None;
        }
        let ready = self.queue.pop()?;
        Some((ready.facts?, ready.bytes))
    }

    fn may_go(&self, redis: &Redis, facts: &Facts, pinned: bool, count: usize) -> bool {
        // What may take long begins an exchange, and is alone in it.
        let alone = is_long(facts.kind) && count > 0;
        // And what subscribes never begins inside of a transaction, where nobody would see it happen.
        let begins = listens(facts.kind) && self.dialogue.begins_multi();
        let behind = self.dialogue.waiting().next_back().is_some_and(|last| is_long(last.facts.kind));
        self.dialogue.len() < redis.in_flight() && !begins && (pinned || (!alone && !behind))
    }

    fn send(&mut self, redis: &Redis, pool: &Pool, data: &mut Data) -> Result<()> {
        let pinned = self.dialogue.is_pinned();
        if !pinned && !self.dialogue.is_empty() {
            return Ok(());
        }
        let now = time::now();
        let (mut count, mut bytes) = (0, 0_u64);
        while let Some((facts, length)) = self.next(redis, pinned, count) {
            redis.stats.command(&facts);
            redis.stats.request(&facts, length as u64);
            self.dialogue.send(facts, now);
            bytes += length as u64;
            count += 1;
        }
        if let Some((facts, head)) = self.queue.large(redis)
            && !self.is_local(Some(&facts), super::session::is_local(&facts, &head))
            && self.may_go(redis, &facts, pinned, count)
        {
            redis.stats.command(&facts);
            let length = self.queue.send_large(facts.clone());
            redis.stats.request(&facts, length);
            self.dialogue.send(facts, now);
            bytes = bytes.saturating_add(length);
            count += 1;
        }
        data.pass(bytes)?;
        if pinned && count >= pool.batch(redis) {
            show_again(Side::Downstream)?;
        }
        self.release_if_done()
    }

    /// Gives the connection back once nobody waits and it is as it was.
    fn release_if_done(&mut self) -> Result<()> {
        if !self.is_quiet() || self.dialogue.is_pinned() || self.queue.is_sending() {
            return Ok(());
        }
        if let Lease::Held(token) = std::mem::take(&mut self.lease) {
            token.release();
            show_again(Side::Downstream)?;
        }
        Ok(())
    }
}

/// Whether a command may keep its connection for long.
fn is_long(kind: Kind) -> bool {
    kind == Kind::Blocking || listens(kind)
}

/// Whether a command decides what the server says by itself.
fn listens(kind: Kind) -> bool {
    matches!(kind, Kind::Subscribe(_) | Kind::Unsubscribe(_) | Kind::Monitor)
}
