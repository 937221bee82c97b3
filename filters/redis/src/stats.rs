//! What is counted.

use std::cell::RefCell;
use std::collections::HashSet;
use std::time::Duration;

use fyke_sdk::lease::Reason;
use fyke_sdk::{ConfigError, Counter, DynamicHistogram, Env, Gauge, Side};

use crate::dialogue::Waiting;
use crate::facts::Facts;
use fyke_resp::{Bad, Reply};

/// Microseconds.
const BOUNDS: [u64; 16] = [
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 5_000_000,
    30_000_000,
];
/// How many words of errors a worker keeps; more are `_overflow`.
const ERRORS: usize = 64;

/// All metrics of one configuration.
pub struct Stats {
    connections: Counter<0>,
    active: Gauge<0>,
    commands: Counter<2>,
    request_bytes: Counter<2>,
    reply_bytes: Counter<2>,
    time: DynamicHistogram,
    errors: Counter<2>,
    words: RefCell<HashSet<String>>,
    pushes: Counter<1>,
    push_bytes: Counter<1>,
    bad: Counter<2>,
    local: Counter<2>,
    waits: DynamicHistogram,
    unserved: Counter<1>,
    lost: Counter<0>,
}

impl Stats {
    /// Defines them.
    ///
    /// # Errors
    /// The host refuses one.
    pub fn define(env: &mut Env) -> Result<Self, ConfigError> {
        let by = ["command", "prefix"];
        Ok(Self {
            connections: env.counter("redis_connections_total", [])?,
            active: env.gauge("redis_connections_active", [])?,
            commands: env.counter("redis_commands_total", by)?,
            request_bytes: env.counter("redis_request_bytes_total", by)?,
            reply_bytes: env.counter("redis_reply_bytes_total", by)?,
            time: env
                .metric("redis_reply_time_microseconds")
                .labels(["command", "prefix", "result"])
                .buckets(BOUNDS)
                .histogram()?,
            errors: env.counter("redis_errors_total", ["command", "error"])?,
            words: RefCell::default(),
            pushes: env.counter("redis_pushes_total", ["kind"])?,
            push_bytes: env.counter("redis_push_bytes_total", ["kind"])?,
            bad: env.counter("redis_protocol_errors_total", ["side", "reason"])?,
            local: env.counter("redis_answered_here_total", ["command", "result"])?,
            waits: env
                .metric("redis_lease_wait_microseconds")
                .labels(Vec::<String>::new())
                .buckets(BOUNDS)
                .histogram()?,
            unserved: env.counter("redis_unserved_total", ["reason"])?,
            lost: env.counter("redis_lost_total", [])?,
        })
    }

    /// A client is there.
    pub fn connected(&self) {
        self.connections.increment([]);
        self.active.add(1);
    }

    /// It is gone.
    pub fn disconnected(&self) {
        self.active.add(-1);
    }

    /// A command, of so many bytes.
    pub fn command(&self, facts: &Facts) {
        self.commands.increment([facts.name, &facts.prefix]);
    }

    /// Bytes of it.
    pub fn request(&self, facts: &Facts, bytes: u64) {
        self.request_bytes.add(u32::try_from(bytes).unwrap_or(u32::MAX), [facts.name, &facts.prefix]);
    }

    /// It was answered.
    pub fn reply(&self, waiting: &Waiting, reply: &Reply, bytes: u64, took: Duration) {
        let Facts { name, prefix, .. } = &waiting.facts;
        self.reply_bytes.add(u32::try_from(bytes).unwrap_or(u32::MAX), [name, prefix]);
        let result = if reply.is_error() { "error" } else { "ok" };
        self.time.record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), [name, &**prefix, result]);
        if reply.is_error() {
            self.error(name, reply.word());
        }
    }

    fn error(&self, command: &str, word: &[u8]) {
        let word = match std::str::from_utf8(word) {
            Ok(word)
                if (1..=32).contains(&word.len())
                    && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') =>
            {
                word
            }
            _ => "other",
        };
        let mut words = self.words.borrow_mut();
        let known = words.contains(word) || (words.len() < ERRORS && words.insert(word.to_owned()));
        self.errors.increment([command, if known { word } else { "_overflow" }]);
    }

    /// Something that the server said by itself.
    pub fn push(&self, reply: &Reply, bytes: u64) {
        const KINDS: [&str; 8] =
            ["message", "pmessage", "smessage", "invalidate", "subscribe", "unsubscribe", "sunsubscribe", "psubscribe"];
        let known = KINDS.into_iter().find(|kind| reply.first == kind.as_bytes());
        let kind = known.unwrap_or(if reply.kind == b'+' { "monitor" } else { "other" });
        self.pushes.increment([kind]);
        self.push_bytes.add(u32::try_from(bytes).unwrap_or(u32::MAX), [kind]);
    }

    /// What a side says is no RESP.
    pub fn bad(&self, side: Side, bad: Bad) {
        let side = if side == Side::Downstream { "downstream" } else { "upstream" };
        self.bad.increment([side, bad.reason()]);
    }

    /// A command was answered by the filter itself.
    pub fn local(&self, command: &str, refused: bool) {
        self.local.increment([command, if refused { "refused" } else { "ok" }]);
    }

    /// A connection was lent after a while.
    pub fn leased(&self, waited: Duration) {
        self.waits.record(u64::try_from(waited.as_micros()).unwrap_or(u64::MAX), []);
    }

    /// None was lent.
    pub fn unserved(&self, reason: Reason) {
        self.unserved.increment([match reason {
            Reason::NoEndpoint => "no_endpoint",
            Reason::Busy => "busy",
            Reason::Timeout => "timeout",
            Reason::Connect => "connect",
            Reason::Handshake => "handshake",
            Reason::UnknownCluster => "unknown_cluster",
            _ => "other",
        }]);
    }

    /// A connection was lost that was lent.
    pub fn lost(&self) {
        self.lost.increment([]);
    }
}
