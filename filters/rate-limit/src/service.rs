//! Global limits: a service of Envoy's protocol.

use std::time::Duration;

use fyke_limiter::{Limit, Span};
use fyke_sdk::{Cluster, ConfigError, Env, Error, Result};
use prost::Message as _;

use crate::answer::Policy;
use crate::config::{Config, FailureMode};
use crate::messages::{
    Descriptor, DescriptorStatus, Entry, Override, RateLimitRequest, RateLimitResponse, UInt64Value,
};
use crate::rule::{Asked, Rule};

/// How long a request waits, where nothing says so.
const TIMEOUT: Duration = Duration::from_millis(20);

/// `RateLimitResponse.Code`
const OVER_LIMIT: i32 = 2;

/// Whom to ask.
#[derive(Debug)]
pub struct Service {
    cluster: Cluster,
    domain: String,
    timeout: Duration,
    pub failure_mode: FailureMode,
}

/// What it says.
#[derive(Debug, Default)]
pub struct Said {
    /// In the order of the rules; whether each is over its limit.
    pub over: Vec<bool>,
    /// In nanoseconds.
    pub retry_after: u64,
    pub policy: Option<Policy>,
    pub response_headers: Vec<(String, Vec<u8>)>,
    pub request_headers: Vec<(String, Vec<u8>)>,
    pub body: Vec<u8>,
}

/// Who shares a limit while nobody can be asked.
///
/// # Errors
/// What is wrong with it.
pub fn check_peers(key: &str, peers: Option<u32>, mode: FailureMode) -> Result<(), ConfigError> {
    match peers {
        Some(_) if mode != FailureMode::Local => Err(ConfigError::at(key, "belongs to `failure_mode: local`")),
        Some(0) => Err(ConfigError::at(key, "must be at least 1: this process is one")),
        _ => Ok(()),
    }
}

impl Service {
    /// Makes it ready.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn new(config: &Config, env: &mut Env) -> Result<Option<Self>, ConfigError> {
        let Some(global) = &config.global else { return Ok(None) };
        let domain = global.domain.as_ref().unwrap_or(&config.domain);
        if domain.is_empty() {
            return Err(ConfigError::at("global.domain", "must not be empty: services refuse to be asked about none"));
        }
        let failure_mode = global.failure_mode.unwrap_or(config.failure_mode);
        check_peers("global.peers", global.peers, failure_mode)?;
        Ok(Some(Self {
            cluster: env.cluster(&global.cluster).map_err(|error| error.under("global.cluster"))?,
            domain: domain.clone(),
            timeout: global.timeout.map_or(TIMEOUT, |span| Duration::from_nanos(span.nanoseconds())),
            failure_mode,
        }))
    }

    /// The service's cluster.
    #[must_use]
    pub fn cluster(&self) -> &str {
        self.cluster.name()
    }

    /// Asks about all rules at once.
    ///
    /// # Errors
    /// When it cannot be asked, or answers what cannot be read.
    pub async fn ask(&self, asked: &[Asked<'_>]) -> Result<Said> {
        let message = self.question(asked).encode_to_vec();
        let call =
            self.cluster.grpc("envoy.service.ratelimit.v3.RateLimitService", "ShouldRateLimit").timeout(self.timeout);
        let answer = call.send(message).await?;
        let answer = RateLimitResponse::decode(answer.message())
            .map_err(|error| Error::new(format!("the service's answer cannot be read: {error}")))?;
        Ok(said(answer, asked))
    }

    fn question(&self, asked: &[Asked<'_>]) -> RateLimitRequest {
        let costs: Vec<u64> = asked.iter().map(|(applied, _)| applied.cost.now()).collect();
        let first = costs.first().copied().unwrap_or(1);
        // Services of before Envoy 1.34 know of one cost for all.
        let same = costs.iter().all(|cost| *cost == first);
        let descriptor = |((applied, rule), cost): (&Asked<'_>, &u64)| Descriptor {
            entries: rule
                .entry_names()
                .zip(&applied.entries)
                .map(|(key, value)| Entry { key: key.to_owned(), value: value.clone() })
                .collect(),
            limit: rule.limit_override,
            hits_addend: (!same).then_some(UInt64Value { value: *cost }),
        };
        RateLimitRequest {
            domain: self.domain.clone(),
            descriptors: asked.iter().zip(&costs).map(descriptor).collect(),
            hits_addend: if same { u32::try_from(first).unwrap_or(u32::MAX) } else { 0 },
        }
    }
}

fn said(answer: RateLimitResponse, asked: &[Asked<'_>]) -> Said {
    // Whether anything is refused is said by the whole, as in Envoy: a service may have limits in shadow mode of its own.
    let overall = answer.overall_code == OVER_LIMIT;
    let mut said = Said { body: answer.raw_body, ..Said::default() };
    let whole = answer.statuses.len() == asked.len();
    let named = whole && answer.statuses.iter().any(|status| status.code == OVER_LIMIT);
    for (at, (_, rule)) in asked.iter().enumerate() {
        // One that does not say which it is about means all of them.
        let status = if whole { answer.statuses.get(at) } else { None };
        let over = overall && (!named || status.is_some_and(|status| status.code == OVER_LIMIT));
        said.over.push(over);
        let Some(status) = status else { continue };
        if over {
            said.retry_after = said.retry_after.max(until_reset(status));
        }
        said.policy = Policy::tighter(said.policy.take(), policy(rule, status, over));
    }
    said.response_headers = answer.response_headers_to_add.into_iter().map(|header| header.into_pair()).collect();
    said.request_headers = answer.request_headers_to_add.into_iter().map(|header| header.into_pair()).collect();
    said
}

fn until_reset(status: &DescriptorStatus) -> u64 {
    let Some(duration) = status.duration_until_reset else { return 0 };
    let seconds = u64::try_from(duration.seconds).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(duration.nanos).unwrap_or(0))
}

fn policy(rule: &Rule, status: &DescriptorStatus, over: bool) -> Option<Policy> {
    let limit = status.current_limit.as_ref()?;
    Some(Policy {
        name: rule.name.clone(),
        quota: u64::from(limit.requests_per_unit),
        window: match limit.unit {
            1 => 1,
            2 => 60,
            3 => 3_600,
            4 => 86_400,
            5 => 30 * 86_400,
            6 => 365 * 86_400,
            7 => 7 * 86_400,
            _ => 0,
        },
        remaining: u64::from(status.limit_remaining),
        reset: crate::answer::seconds(until_reset(status)),
        refuses: over,
    })
}

/// A limit as the protocol has it, where it can be said in it.
pub fn override_of(limit: &Limit) -> Option<Override> {
    let rate = limit.rate?;
    let second = Span::new(1_000_000_000)?;
    let units = [(second, 1), (Span::MINUTE, 2), (Span::HOUR, 3), (Span::DAY, 4)];
    let unit = units.into_iter().find(|(span, _)| *span == rate.per).map(|(_, unit)| unit)?;
    Some(Override { requests_per_unit: u32::try_from(rate.amount.get()).ok()?, unit })
}
