//! What clients are told.
//!
//! `RateLimit` and `RateLimit-Policy` are those of draft-ietf-httpapi-ratelimit-headers-10, sections 3 and 4: structured fields, of which names are
//! strings, `q` the quota, `w` its window and `t` the time until it is whole again, both in seconds, and `r` what remains.

use fyke_limiter::{Governing, Meter};
use fyke_sdk::{ConfigError, Reply, header_name, header_value};

use crate::config::{self, Shown};
use crate::limiter::NEVER;
use crate::rule::Rule;

/// Nanoseconds of a second.
const SECOND: u64 = 1_000_000_000;

/// RESOURCE_EXHAUSTED, as gRPC has it.
const RESOURCE_EXHAUSTED: u32 = 8;

/// The limit that has the say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    pub name: String,
    pub quota: u64,
    /// In seconds; zero: none.
    pub window: u64,
    pub remaining: u64,
    /// In seconds.
    pub reset: u64,
    pub refuses: bool,
}

/// What clients are told, ready.
#[derive(Debug)]
pub struct Answer {
    status: u16,
    deny_status: u16,
    body: String,
    headers: Vec<(String, String)>,
    retry_after: bool,
    ratelimit: Shown,
    x_ratelimit: Shown,
    grpc: bool,
}

/// A refusal.
#[derive(Debug, Default)]
pub struct Refusal {
    /// In nanoseconds.
    pub retry_after: u64,
    pub policy: Option<Policy>,
    /// What a service has added.
    pub headers: Vec<(String, Vec<u8>)>,
    /// What a service says in place of the body.
    pub body: Vec<u8>,
    /// Why, for logs.
    pub details: &'static str,
}

impl Policy {
    /// Of the meter of a rule that has the say, among the meters that were asked.
    pub fn of(rule: &Rule, meters: &[Meter], governing: &Governing) -> Self {
        let at = meters.iter().position(|meter| *meter == governing.meter);
        let name = at.and_then(|at| rule.policies.get(at)).unwrap_or(&rule.name);
        Self {
            name: name.clone(),
            quota: governing.meter.limit(),
            window: governing.window_seconds(),
            remaining: governing.reading.remaining,
            // Of those at the same time nobody knows.
            reset: if matches!(governing.meter, Meter::Leases(_)) { 0 } else { seconds(governing.reading.reset) },
            refuses: !governing.reading.passes,
        }
    }

    /// Of two the one that leaves less.
    pub fn tighter(one: Option<Self>, other: Option<Self>) -> Option<Self> {
        match (one, other) {
            (Some(one), Some(other)) => {
                let share = |policy: &Self, by: &Self| u128::from(policy.remaining) * u128::from(by.quota);
                let tighter = (!other.refuses, share(&other, &one)) < (!one.refuses, share(&one, &other));
                Some(if tighter { other } else { one })
            }
            (one, other) => one.or(other),
        }
    }
}

impl Answer {
    /// Makes it ready.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn new(written: &config::Answer) -> Result<Self, ConfigError> {
        for (key, status) in [("status", written.status), ("deny_status", written.deny_status)] {
            if !(400..=599).contains(&status) {
                return Err(ConfigError::at(key, format!("must be from 400 to 599, not {status}")));
            }
        }
        let header = |(name, value): (&String, &String)| {
            let place = format!("headers.{name}");
            let checked = header_name(name).map_err(|error| error.under(&place))?;
            Ok((checked, header_value(value.clone()).map_err(|error| error.under(place))?))
        };
        let mut headers: Vec<(String, String)> =
            written.headers.iter().map(header).collect::<Result<_, ConfigError>>()?;
        if !written.body.is_empty() {
            let content_type =
                header_value(written.content_type.clone()).map_err(|error| error.under("content_type"))?;
            headers.insert(0, ("content-type".to_owned(), content_type));
        }
        Ok(Self {
            status: written.status,
            deny_status: written.deny_status,
            body: written.body.clone(),
            headers,
            retry_after: written.retry_after,
            ratelimit: written.ratelimit,
            x_ratelimit: written.x_ratelimit,
            grpc: written.grpc_resource_exhausted,
        })
    }

    /// Whether answers of those that pass are told anything.
    #[must_use]
    pub fn is_always(&self) -> bool {
        self.ratelimit == Shown::Always || self.x_ratelimit == Shown::Always
    }

    /// The fields about a policy.
    pub fn fields(&self, policy: &Policy, refused: bool) -> Vec<(&'static str, String)> {
        let shown = |shown: Shown| shown == Shown::Always || (refused && shown == Shown::Refused);
        let Policy { name, quota, window, remaining, reset, refuses: _ } = policy;
        let mut fields = Vec::new();
        if shown(self.ratelimit) {
            let (window, time) =
                if *window > 0 { (format!(";w={window}"), format!(";t={reset}")) } else { Default::default() };
            fields.push(("ratelimit-policy", format!("\"{name}\";q={quota}{window}")));
            fields.push(("ratelimit", format!("\"{name}\";r={remaining}{time}")));
        }
        if shown(self.x_ratelimit) {
            fields.push(("x-ratelimit-limit", quota.to_string()));
            fields.push(("x-ratelimit-remaining", remaining.to_string()));
            fields.push(("x-ratelimit-reset", reset.to_string()));
        }
        fields
    }

    /// The answer to those that are over a limit.
    pub fn refuse(&self, refusal: &Refusal) -> Reply {
        let body = if refusal.body.is_empty() { self.body.as_bytes() } else { &refusal.body };
        let reply = Reply::new(self.status).body(body);
        let mut reply = self.headers.iter().fold(reply, |reply, (name, value)| reply.header(name, value));
        if self.grpc {
            reply = reply.grpc_status(RESOURCE_EXHAUSTED);
        }
        if self.retry_after && refusal.retry_after > 0 && refusal.retry_after != NEVER {
            reply = reply.header("retry-after", seconds(refusal.retry_after).to_string());
        }
        for (name, value) in refusal.policy.iter().flat_map(|policy| self.fields(policy, true)) {
            reply = reply.header(name, value);
        }
        for (name, value) in &refusal.headers {
            // With one that HTTP cannot carry, the client would get a 500.
            let fits = header_name(name).is_ok()
                && String::from_utf8(value.clone()).is_ok_and(|value| header_value(value).is_ok());
            if fits {
                reply = reply.header(name, value);
            }
        }
        reply.details(refusal.details)
    }

    /// The answer to those that `deny` has. Hosts make PERMISSION_DENIED of 403 for callers of gRPC.
    pub fn deny(&self) -> Reply {
        Reply::text(self.deny_status, "denied").details("rate_limit_denied")
    }
}

/// Whole seconds, none too few.
pub fn seconds(nanoseconds: u64) -> u64 {
    nanoseconds.div_ceil(SECOND)
}
