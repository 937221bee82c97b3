//! A decision: from a request, by the rules and the store, to a response.
//!
//! 1. Each descriptor gets a limit: its own, or that of the rule that matches.
//! 2. Limits whose name another one of the request replaces are dropped.
//! 3. What is left is charged to the store, all at once.
//! 4. Counts become statuses, metrics and headers.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use crate::messages::{
    Code, DescriptorStatus, Duration as ProtoDuration, HeaderValue, RateLimitDescriptor, RateLimitRequest,
    RateLimitResponse, Unit,
};
use crate::metrics::{Hit, Registry, RuleStats};
use crate::rules::{Algorithm, Match, Measure, Rules};
use crate::service::Shared;
use crate::settings::ResponseHeaders;
use crate::store::{Charge, Count, StoreError};

/// More hits of a descriptor count as this: what is beyond is exact nowhere.
const MOST_HITS: u64 = 1 << 52;

/// Why there is no decision.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The request makes no sense, or is too large.
    #[error("{0}")]
    Invalid(String),
    /// The store failed, and the settings leave it to the client.
    #[error("{0}")]
    Store(#[from] StoreError),
}

/// What stands against a descriptor.
struct Limited<'r> {
    measure: Measure,
    unlimited: bool,
    shadow: bool,
    name: &'r str,
    replaces: &'r [String],
    stats: Arc<RuleStats>,
    found: Option<Match<'r>>,
    hits: u64,
}

impl Shared {
    /// Decides.
    pub async fn decide(&self, request: &RateLimitRequest) -> Result<RateLimitResponse, Refusal> {
        self.check(request)?;
        let rules = self.rules.load_full();
        let mut limits = Vec::with_capacity(request.descriptors.len());
        for descriptor in &request.descriptors {
            // Zero of the request is what a client sends that has not set it; a descriptor can say zero and mean it.
            let of_request = u64::from(request.hits_addend).max(1);
            let hits = descriptor.hits_addend.map_or(of_request, |hits| hits.value).min(MOST_HITS);
            limits.push(limit(&rules, &self.registry, &request.domain, descriptor, hits)?);
        }
        drop_replaced(&mut limits);

        let mut charges = Vec::with_capacity(limits.len());
        for (limited, descriptor) in limits.iter().zip(&request.descriptors) {
            if let Some(limited) = limited.as_ref().filter(|limited| !limited.unlimited) {
                let measure = limited.measure;
                let entries = &descriptor.entries;
                let key = match &limited.found {
                    Some(found) => self.keys.key(&request.domain, found.counted(entries), &measure),
                    None => {
                        let entries = entries.iter().map(|entry| (entry.key.as_str(), entry.value.as_str()));
                        self.keys.key(&request.domain, entries, &measure)
                    }
                };
                charges.push(Charge { key, measure, hits: limited.hits });
            }
        }
        let counts = match charges.is_empty() {
            true => Vec::new(),
            false => self.store.charge(&charges, self.settings.over_limit_hits).await?,
        };
        Ok(self.respond(&limits, &counts))
    }

    fn check(&self, request: &RateLimitRequest) -> Result<(), Refusal> {
        let limits = &self.settings.limits;
        let invalid = |message: String| Err(Refusal::Invalid(message));
        if request.domain.is_empty() {
            return invalid("rate limit domain must not be empty".to_owned());
        }
        if request.descriptors.is_empty() {
            return invalid("rate limit descriptor list must not be empty".to_owned());
        }
        if request.descriptors.len() > limits.descriptors {
            return invalid(format!("more than {} descriptors", limits.descriptors));
        }
        if request.descriptors.iter().any(|descriptor| descriptor.entries.len() > limits.entries) {
            return invalid(format!("more than {} entries in a descriptor", limits.entries));
        }
        Ok(())
    }

    fn respond(&self, limits: &[Option<Limited<'_>>], counts: &[Count]) -> RateLimitResponse {
        let mut counts = counts.iter();
        let mut statuses = Vec::with_capacity(limits.len());
        let mut over = false;
        for limited in limits {
            let Some(limited) = limited else {
                statuses.push(DescriptorStatus { code: Code::Ok.into(), ..DescriptorStatus::default() });
                continue;
            };
            if limited.unlimited {
                limited.stats.count_unlimited(limited.hits);
                statuses.push(DescriptorStatus {
                    code: Code::Ok.into(),
                    limit_remaining: u32::MAX,
                    ..DescriptorStatus::default()
                });
                continue;
            }
            // A store answers every charge.
            let count = counts.next().copied().unwrap_or_default();
            limited.stats.count(&hit(limited, &count, self.settings.near_limit_ratio));
            let refused = count.over && !limited.shadow;
            over |= refused;
            let left = if count.over { 0 } else { limited.measure.capacity().saturating_sub(count.after) };
            statuses.push(DescriptorStatus {
                code: if refused { Code::OverLimit.into() } else { Code::Ok.into() },
                current_limit: Some(limited.measure.current(limited.name)),
                limit_remaining: u32::try_from(left).unwrap_or(u32::MAX),
                duration_until_reset: Some(ProtoDuration { seconds: whole_seconds(count.reset), nanos: 0 }),
            });
        }
        let response_headers_to_add = headers(&self.settings.response_headers, &statuses);
        if over && self.settings.shadow_mode {
            self.metrics.global_shadow_mode.add(1);
            over = false;
        }
        let overall_code = if over { Code::OverLimit } else { Code::Ok };
        RateLimitResponse { overall_code: overall_code.into(), statuses, response_headers_to_add }
    }
}

fn limit<'r>(
    rules: &'r Rules,
    registry: &Registry,
    domain: &str,
    descriptor: &RateLimitDescriptor,
    hits: u64,
) -> Result<Option<Limited<'r>>, Refusal> {
    if let Some(own) = descriptor.limit.filter(|_| rules.has_domain(domain)) {
        let unit = Unit::try_from(own.unit).unwrap_or(Unit::Unknown);
        if unit == Unit::Unknown {
            return Err(Refusal::Invalid(format!("{} is no unit of a limit", own.unit)));
        }
        let measure = Measure { requests_per_unit: own.requests_per_unit, unit, algorithm: Algorithm::FixedWindow };
        // Values would be as many series as there are clients.
        let labels = descriptor.entries.iter().map(|entry| entry.key.clone()).collect();
        let other = || registry.of_rule(domain, &["other".to_owned()]);
        let stats = registry.of_values(domain, labels).unwrap_or_else(other);
        let (name, replaces) = ("", &[][..]);
        let found = None;
        return Ok(Some(Limited { measure, unlimited: false, shadow: false, name, replaces, stats, found, hits }));
    }
    let Some(found) = rules.find(domain, &descriptor.entries) else { return Ok(None) };
    let limit = found.limit;
    let of_values = found.labels(&descriptor.entries).and_then(|labels| registry.of_values(domain, labels));
    Ok(Some(Limited {
        measure: limit.measure,
        unlimited: limit.unlimited,
        shadow: limit.shadow_mode,
        name: &limit.name,
        replaces: &limit.replaces,
        stats: of_values.unwrap_or_else(|| Arc::clone(&limit.stats)),
        found: Some(found),
        hits,
    }))
}

fn drop_replaced(limits: &mut [Option<Limited<'_>>]) {
    let replaced: HashSet<&str> =
        limits.iter().flatten().flat_map(|limited| limited.replaces).map(String::as_str).collect();
    if replaced.is_empty() {
        return;
    }
    let dropped: Vec<bool> =
        limits.iter().map(|limited| limited.as_ref().is_some_and(|limited| replaced.contains(limited.name))).collect();
    for (limited, dropped) in limits.iter_mut().zip(dropped) {
        if dropped {
            *limited = None;
        }
    }
}

fn hit(limited: &Limited<'_>, count: &Count, near_limit_ratio: f64) -> Hit {
    let limit = limited.measure.capacity();
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "limits are 32 bits, and the ratio is from 0 to 1"
    )]
    let near = (limit as f64 * near_limit_ratio) as u64;
    Hit {
        before: count.before,
        after: count.after,
        hits: limited.hits,
        limit,
        near,
        over: count.over,
        cached: count.cached,
        shadow: limited.shadow,
    }
}

fn whole_seconds(duration: Duration) -> i64 {
    let seconds = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    i64::try_from(seconds).unwrap_or(i64::MAX)
}

/// Of the first status that is over its limit, or else of the one with least left.
fn headers(settings: &ResponseHeaders, statuses: &[DescriptorStatus]) -> Vec<HeaderValue> {
    if !settings.enabled {
        return Vec::new();
    }
    let limited = statuses.iter().filter(|status| status.current_limit.is_some());
    let governing = limited.min_by_key(|status| (status.code() != Code::OverLimit, status.limit_remaining));
    let Some((status, limit)) = governing.and_then(|status| Some((status, status.current_limit.as_ref()?))) else {
        return Vec::new();
    };
    let reset = status.duration_until_reset.map_or(0, |reset| reset.seconds);
    let header = |key: &str, value: String| HeaderValue { key: key.to_owned(), value };
    vec![
        header(&settings.limit, limit.requests_per_unit.to_string()),
        header(&settings.remaining, status.limit_remaining.to_string()),
        header(&settings.reset, reset.to_string()),
    ]
}
