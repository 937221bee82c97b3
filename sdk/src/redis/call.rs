//! Calls: commands that go together, and the futures that wait for their replies.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::poll_fn;
use std::rc::Rc;
use std::time::Duration;

use super::error::RedisError;
use super::follow::Follower;
use super::value::Value;
use super::{Redis, resp, slot};
use crate::abi::{self, Fields, Status};
use crate::hash::FastHash;
use crate::mailbox::Mailbox;
use crate::owner::{self, Owner};

const FUNCTION: &str = "fyke.redis.call.v1";

/// Commands of one call, as the host takes them.
const MOST_COMMANDS: usize = 1024;

const TOO_MANY: &str = "a call of redis has at most 1024 commands";

/// The longest that a call may wait, in milliseconds: an hour.
const LONGEST: u32 = 3_600_000;

/// Several commands that go in one call; from [`Redis::pipeline`]. They follow each other on one connection, and come back together.
///
/// ```no_run
/// # use fyke_sdk::{Redis, Result};
/// # async fn example(cache: &Redis) -> Result<()> {
/// let replies = cache.pipeline().command(&["INCR", "visits"]).command(&["EXPIRE", "visits", "60"]).call().await?;
/// for reply in replies {
///     reply.into_result()?;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "it is sent by `call` or `send`"]
pub struct Pipeline<'a> {
    pub(super) redis: &'a Redis,
    commands: Vec<u8>,
    /// Where each of them ends.
    ends: Vec<usize>,
    /// Of the first key, where slots matter.
    slot: Option<u16>,
    /// How many transactions begin in it.
    transactions: usize,
    wrong: Option<&'static str>,
}

/// When the time of a call is up, by the monotonic clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline(u64);

impl Deadline {
    pub fn after(timeout: Duration) -> Self {
        let timeout = timeout.clamp(Duration::from_millis(1), Duration::from_millis(LONGEST.into()));
        Self(abi::monotonic().saturating_add(u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// What is left, as the host takes it.
    fn milliseconds(self) -> Result<u32, RedisError> {
        match self.0.saturating_sub(abi::monotonic()).div_ceil(1_000_000) {
            0 => Err(RedisError::Timeout),
            left => Ok(u32::try_from(left).unwrap_or(LONGEST)),
        }
    }
}

impl<'a> Pipeline<'a> {
    pub(super) const fn new(redis: &'a Redis) -> Self {
        Self { redis, commands: Vec::new(), ends: Vec::new(), slot: None, transactions: 0, wrong: None }
    }

    /// Adds a command: its name, and what follows. At most 1024.
    pub fn command(mut self, command: &[impl AsRef<[u8]>]) -> Self {
        match command.first() {
            None => self.wrong = Some("a command of redis has at least its name"),
            Some(name) => self.transactions += usize::from(name.as_ref().eq_ignore_ascii_case(b"MULTI")),
        }
        if self.slot.is_none() && self.redis.places.has_slots() {
            self.slot = slot::key(command).map(slot::of);
        }
        resp::push_command(&mut self.commands, command);
        self.ends.push(self.commands.len());
        self
    }

    /// How many commands there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Sends them, and waits for their replies: one of each, in their order, errors among them. Nothing is sent of no commands. Dropping the future forgets the replies,
    /// but takes nothing back.
    ///
    /// # Errors
    /// [`RedisError`], but neither [`RedisError::Server`] nor [`RedisError::Unavailable`].
    pub async fn call(self) -> Result<Vec<Value>, RedisError> {
        let deadline = Deadline::after(self.redis.timeout);
        self.until(deadline).await
    }

    /// The same, in what is left of the time.
    pub(super) async fn until(self, deadline: Deadline) -> Result<Vec<Value>, RedisError> {
        if self.is_empty() {
            return Ok(Vec::new());
        }
        self.check()?;
        let redis = self.redis;
        let mut asked = redis.place(self.slot);
        let mut said = redis.exchange(&asked, &self.commands, self.len(), deadline).await;
        let elsewhere = !asked.is_empty() && redis.endpoint.is_empty();
        if elsewhere && matches!(said, Err(RedisError::Connect(_) | RedisError::Greeting(_))) {
            // It was a guess, and the others may know better.
            asked = Rc::clone(&redis.endpoint);
            said = redis.exchange(&asked, &self.commands, self.len(), deadline).await;
        }
        // Who names an endpoint wants what that says.
        if redis.endpoint.is_empty() { Follower::new(&self, deadline).follow(said?, asked).await } else { said }
    }

    /// Sends them and waits for nothing: whether they were executed is never known, and nothing is sent on. May be called where nothing can wait, such as in
    /// [`on_log`](crate::HttpFilter::on_log) or while something is dropped; not in `configure`.
    ///
    /// # Errors
    /// [`RedisError`], where the host does not take them.
    pub fn send(self) -> Result<(), RedisError> {
        if self.is_empty() {
            return Ok(());
        }
        self.check()?;
        let redis = self.redis;
        redis.dispatch(&redis.place(self.slot), &self.commands, Deadline::after(redis.timeout)).map(drop)
    }

    fn check(&self) -> Result<(), RedisError> {
        match self.wrong {
            Some(wrong) => Err(RedisError::Invalid(wrong)),
            None if self.len() > MOST_COMMANDS => Err(RedisError::Invalid(TOO_MANY)),
            None => Ok(()),
        }
    }

    /// One of the commands, as it is sent.
    pub(super) fn bytes_of(&self, at: usize) -> &[u8] {
        let begin = at.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        let end = self.ends.get(at).copied().unwrap_or(begin);
        self.commands.get(begin..end).unwrap_or_default()
    }

    /// Whether a transaction begins in it.
    pub(super) const fn has_transactions(&self) -> bool {
        self.transactions > 0
    }

    /// Whether it is one, and nothing else.
    pub(super) fn is_transaction(&self) -> bool {
        let is = |at: usize, command: &[u8]| self.bytes_of(at).eq_ignore_ascii_case(command);
        self.transactions == 1 && is(0, b"*1\r\n$5\r\nMULTI\r\n") && is(self.len() - 1, b"*1\r\n$4\r\nEXEC\r\n")
    }
}

impl Redis {
    /// Where what is about such a slot is sent; empty: wherever the balancer says.
    fn place(&self, slot: Option<u16>) -> Rc<str> {
        let known = if self.endpoint.is_empty() { self.places.find(slot) } else { None };
        known.unwrap_or_else(|| Rc::clone(&self.endpoint))
    }

    /// Sends commands to an endpoint, and waits for their replies.
    pub(super) async fn exchange(
        &self,
        endpoint: &Rc<str>,
        commands: &[u8],
        count: usize,
        deadline: Deadline,
    ) -> Result<Vec<Value>, RedisError> {
        if count > MOST_COMMANDS {
            return Err(RedisError::Invalid(TOO_MANY));
        }
        let pending = Pending::begin(self, endpoint, commands, deadline)?;
        let answer = poll_fn(|cx| pending.mailbox.poll(cx)).await;
        if !endpoint.is_empty() && answer.is_err() {
            self.places.forget(endpoint);
        }
        resp::replies(&answer?, count).ok_or(RedisError::Malformed)
    }

    /// Hands commands to the host; the token of the call.
    fn dispatch(&self, endpoint: &str, commands: &[u8], deadline: Deadline) -> Result<u32, RedisError> {
        let mut arguments = deadline.milliseconds()?.to_le_bytes().to_vec();
        for part in [self.cluster.as_bytes(), endpoint.as_bytes(), &self.greeting, commands] {
            abi::push_field(&mut arguments, part);
        }
        let said = abi::call_foreign_function(FUNCTION, &arguments).map_err(|status| match status {
            Status::NOT_FOUND => RedisError::Unsupported,
            Status::BAD_ARGUMENT => RedisError::UnknownCluster,
            _ => RedisError::Overloaded,
        })?;
        Fields::new(&said).u32().ok_or(RedisError::Malformed)
    }
}

/// What the host says, not read yet.
type Answer = Result<Vec<u8>, RedisError>;

thread_local! {
    /// By token.
    static CALLS: RefCell<HashMap<u32, Rc<Mailbox<Answer>>, FastHash>> = const { RefCell::new(HashMap::with_hasher(FastHash::new())) };
}

struct Pending {
    token: u32,
    mailbox: Rc<Mailbox<Answer>>,
}

impl Pending {
    fn begin(redis: &Redis, endpoint: &str, commands: &[u8], deadline: Deadline) -> Result<Self, RedisError> {
        let nobody = "redis is called for a method or a task that waits, and there is none";
        let owner = owner::current().ok_or(RedisError::NobodyWaits(nobody))?;
        Redis::is_heard().map_err(RedisError::NobodyWaits)?;
        let token = redis.dispatch(endpoint, commands, deadline)?;
        let mailbox = Mailbox::new(owner);
        CALLS.with_borrow_mut(|calls| calls.insert(token, mailbox.clone()));
        Ok(Self { token, mailbox })
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        CALLS.with_borrow_mut(|calls| calls.remove(&self.token));
    }
}

/// An answer is here: puts it where its future looks, and tells whose it is. `None` when nobody waits any more, or never did.
pub(crate) fn answered(arguments: &[u8]) -> Option<Owner> {
    let mut fields = Fields::new(arguments);
    let token = fields.u32()?;
    let mailbox = CALLS.with_borrow_mut(|calls| calls.remove(&token))?;
    Some(mailbox.put(match fields.u32() {
        Some(0) => Ok(fields.rest().to_vec()),
        Some(outcome) => Err(RedisError::of(outcome, fields.rest())),
        None => Err(RedisError::Malformed),
    }))
}

/// How many calls streams and connections wait for; for the test kit.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn held_by_streams() -> usize {
    CALLS.with_borrow(|calls| calls.values().filter(|mailbox| matches!(mailbox.owner(), Owner::Stream(_))).count())
}
