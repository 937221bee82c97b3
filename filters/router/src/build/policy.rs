//! What the host executes: retries, hedging, mirroring, and how it picks an endpoint.

use std::collections::BTreeMap;
use std::time::Duration;

use fyke_sdk::units::Percent;
use fyke_sdk::{
    Backoff, ConfigError, Connect, HeaderMatch, HeaderTest, HedgePolicy, InternalRedirect, Mirror, RateLimitedBackoff,
    ResetFormat, ResetHeader, RetryOn, RetryPolicy, Upgrade, header_name,
};

use super::{Scope, not_empty};
use crate::action::{Redirects, Retry};
use crate::config;
use crate::matching::conditions;
use crate::table::EnvoyHeaders;
use crate::values::Condition;

pub fn retry(raw: Option<config::Retry>, scope: &Scope<'_>) -> Result<Option<Retry>, ConfigError> {
    let build = |mut raw: config::Retry| {
        let only = conditions(std::mem::take(&mut raw.request_headers), "request_headers")?;
        Ok(Retry { policy: policy(raw, scope)?, only: only.into() })
    };
    raw.map(build).transpose().map_err(|error: ConfigError| error.under("retry"))
}

fn policy(raw: config::Retry, scope: &Scope<'_>) -> Result<RetryPolicy, ConfigError> {
    let defaults = RetryPolicy::default();
    let mut on = Vec::with_capacity(raw.on.len());
    for (at, word) in raw.on.iter().enumerate() {
        let condition = condition(word).map_err(|error| error.under(format!("on[{at}]")))?;
        if on.contains(&condition) {
            return Err(ConfigError::at(format!("on[{at}]"), "is there already"));
        }
        on.push(condition);
    }
    let headers = raw.headers.into_iter().enumerate();
    let headers = headers
        .map(|(at, raw)| header(raw).map_err(|error| error.under(format!("headers[{at}]"))))
        .collect::<Result<Vec<_>, _>>()?;
    if let Some((at, bad)) = raw.statuses.iter().enumerate().find(|(_, status)| !(100..=599).contains(*status)) {
        return Err(ConfigError::at(format!("statuses[{at}]"), format!("must be from 100 to 599, not {bad}")));
    }
    // With `envoy_headers` the request may bring the other half.
    if scope.envoy_headers == EnvoyHeaders::Passed {
        halves(&on, RetryOn::StatusCodes, "statuses", raw.statuses.is_empty())?;
        halves(&on, RetryOn::Headers, "headers", headers.is_empty())?;
    }
    Ok(RetryPolicy {
        on,
        attempts: raw.attempts.unwrap_or(defaults.attempts),
        per_try_timeout: raw.per_try_timeout.filter(|limit| !limit.is_zero()),
        per_try_idle_timeout: raw.per_try_idle_timeout.filter(|limit| !limit.is_zero()),
        statuses: raw.statuses,
        headers,
        backoff: raw.backoff.as_ref().map(backoff).transpose().map_err(|error| error.under("backoff"))?,
        rate_limited_backoff: raw
            .rate_limited_backoff
            .map(rate_limited)
            .transpose()
            .map_err(|error| error.under("rate_limited_backoff"))?,
        avoid_previous_hosts: raw.avoid_previous_hosts.unwrap_or(defaults.avoid_previous_hosts),
        avoid_previous_priorities: raw.avoid_previous_priorities,
        avoid_labels: labels(raw.avoid_labels, "avoid_labels")?,
        host_attempts: raw.host_attempts.unwrap_or(defaults.host_attempts),
        buffer: raw.buffer,
    })
}

fn condition(word: &str) -> Result<RetryOn, ConfigError> {
    if word == "http3-post-connect-failure" {
        return Err(ConfigError::new("is about HTTP/3, which no cluster speaks here"));
    }
    RetryOn::named(word).ok_or_else(|| {
        let all: Vec<&str> = RetryOn::ALL.into_iter().map(RetryOn::name).collect();
        ConfigError::new(format!("\"{word}\" is none of {}", all.join(", ")))
    })
}

/// A condition and the list that it speaks of need each other.
fn halves(on: &[RetryOn], condition: RetryOn, key: &str, empty: bool) -> Result<(), ConfigError> {
    match (on.iter().position(|one| *one == condition), empty) {
        (Some(at), true) => Err(ConfigError::at(format!("on[{at}]"), format!("needs `{key}`"))),
        (None, false) => Err(ConfigError::at(key, format!("mean nothing without `{}` in `on`", condition.name()))),
        _ => Ok(()),
    }
}

fn header(raw: config::ValueMatch) -> Result<HeaderMatch, ConfigError> {
    let name = header_name(&raw.name).map_err(|error| error.under("name"))?;
    for (key, given) in [
        ("any_of", raw.any_of.is_some()),
        ("range", raw.range.is_some()),
        ("ignore_case", raw.ignore_case),
        ("treat_missing_as_empty", raw.treat_missing_as_empty),
    ] {
        if given {
            return Err(ConfigError::at(key, "is not possible for headers of answers; `regex` may do"));
        }
    }
    let tests = [
        raw.exact.clone().map(HeaderTest::Exact),
        raw.prefix.clone().map(HeaderTest::Prefix),
        raw.suffix.clone().map(HeaderTest::Suffix),
        raw.contains.clone().map(HeaderTest::Contains),
        raw.regex.clone().map(HeaderTest::Regex),
    ];
    // Absence is the opposite of presence, which leaves one form of it.
    let (present, invert) = (raw.present.unwrap_or(true), raw.invert);
    let test = tests.into_iter().flatten().next();
    Condition::build(raw)?;
    let invert = if test.is_none() { invert == present } else { invert };
    Ok(HeaderMatch { name, test: test.unwrap_or(HeaderTest::Present(true)), invert })
}

fn backoff(raw: &config::Backoff) -> Result<Backoff, ConfigError> {
    let base = raw.base.unwrap_or(Backoff::default().base);
    if base.is_zero() {
        return Err(ConfigError::at("base", "must be above zero"));
    }
    let max = raw.max.unwrap_or_else(|| base.saturating_mul(10));
    if max < base {
        return Err(ConfigError::at("max", "must not be below `base`"));
    }
    Ok(Backoff { base, max })
}

fn rate_limited(raw: config::RateLimitedBackoff) -> Result<RateLimitedBackoff, ConfigError> {
    if raw.headers.is_empty() {
        return Err(ConfigError::at("headers", "must not be empty"));
    }
    let max = raw.max.unwrap_or(Duration::from_mins(5));
    if max.is_zero() {
        return Err(ConfigError::at("max", "must be above zero"));
    }
    let headers = raw.headers.into_iter().enumerate().map(|(at, raw)| {
        let name = header_name(&raw.name).map_err(|error| error.under(format!("headers[{at}].name")))?;
        let format = match raw.format {
            config::ResetFormat::Seconds => ResetFormat::Seconds,
            config::ResetFormat::UnixTimestamp => ResetFormat::UnixTimestamp,
        };
        Ok(ResetHeader { name, format })
    });
    Ok(RateLimitedBackoff { headers: headers.collect::<Result<_, ConfigError>>()?, max })
}

pub fn hedge(raw: Option<config::Hedge>) -> Option<HedgePolicy> {
    raw.map(|raw| HedgePolicy { on_per_try_timeout: raw.on_per_try_timeout })
}

/// A hedge of the route's own needs the timeout that it waits for.
pub fn check_hedge(
    own: Option<HedgePolicy>,
    retry: Option<&RetryPolicy>,
    scope: &Scope<'_>,
) -> Result<(), ConfigError> {
    let waits = own.is_some_and(|hedge| hedge.on_per_try_timeout);
    let limited = retry.is_some_and(|retry| retry.per_try_timeout.is_some());
    if waits && !limited && scope.envoy_headers == EnvoyHeaders::Passed {
        return Err(ConfigError::at("hedge.on_per_try_timeout", "needs `retry.per_try_timeout`"));
    }
    Ok(())
}

/// `None`: nothing was said, and the virtual host's mirrors count.
pub fn mirror(raw: Option<Vec<config::Mirror>>) -> Result<Option<Vec<Mirror>>, ConfigError> {
    let build = |(at, raw): (usize, config::Mirror)| {
        let under = |error: ConfigError, key: &str| error.under(format!("mirror[{at}]{key}"));
        let to = match (raw.cluster, raw.cluster_header) {
            (Some(cluster), None) => Mirror::to(not_empty(cluster).map_err(|error| under(error, ".cluster"))?),
            (None, Some(name)) => {
                Mirror::by_header(header_name(&name).map_err(|error| under(error, ".cluster_header"))?)
            }
            _ => return Err(under(ConfigError::new("needs one of cluster and cluster_header"), "")),
        };
        Ok(Mirror { percent: raw.fraction.map_or(100.0, percent), keep_host: raw.keep_host, ..to })
    };
    raw.map(|raw| raw.into_iter().enumerate().map(build).collect()).transpose()
}

/// To a millionth: the share was divided by a hundred, which does not come back exactly.
fn percent(fraction: Percent) -> f64 {
    (fraction.fraction() * 1e8).round() / 1e6
}

pub fn labels(raw: BTreeMap<String, String>, key: &str) -> Result<BTreeMap<String, String>, ConfigError> {
    if raw.contains_key("") {
        return Err(ConfigError::at(key, "a label needs a name"));
    }
    Ok(raw)
}

/// `connect` says that the route is for CONNECT: then that is allowed, unless `raw` says otherwise.
pub fn upgrades(raw: Vec<config::Upgrade>, connect: bool) -> Result<Vec<Upgrade>, ConfigError> {
    let mut upgrades: Vec<Upgrade> = Vec::with_capacity(raw.len());
    for (at, raw) in raw.into_iter().enumerate() {
        let (kind, enabled) = match raw {
            config::Upgrade::Enabled(kind) => (kind, true),
            config::Upgrade::Said(config::UpgradeRule { r#type, enabled }) => (r#type, enabled),
        };
        let place = format!("upgrades[{at}]");
        let Ok(kind) = header_name(&kind) else {
            return Err(ConfigError::at(place, format!("\"{kind}\" is not a protocol, such as websocket or connect")));
        };
        if upgrades.iter().any(|upgrade| upgrade.kind == kind) {
            return Err(ConfigError::at(place, format!("\"{kind}\" is there already")));
        }
        upgrades.push(Upgrade { kind, enabled });
    }
    if connect && !upgrades.iter().any(|upgrade| upgrade.kind == "connect") {
        upgrades.push(Upgrade { kind: "connect".to_owned(), enabled: true });
    }
    Ok(upgrades)
}

pub fn connect(raw: Option<config::Connect>) -> Option<Connect> {
    raw.map(|config::Connect {}| Connect {})
}

/// What the router itself says of redirects, which the host asks it about.
pub fn redirects(raw: Option<&config::InternalRedirect>) -> Option<Redirects> {
    raw.map(|raw| Redirects { allowed: raw.allowed_routes.clone(), avoids_previous: raw.avoid_previous_routes })
}

pub fn internal_redirect(raw: Option<config::InternalRedirect>) -> Result<Option<InternalRedirect>, ConfigError> {
    let Some(raw) = raw else { return Ok(None) };
    let config::InternalRedirect { codes, max_hops, cross_scheme, safe_cross_scheme, copy_headers, .. } = raw;
    let defaults = InternalRedirect::default();
    let codes = codes.unwrap_or(defaults.codes);
    if codes.is_empty() {
        return Err(ConfigError::at("internal_redirect.codes", "must not be empty"));
    }
    if let Some((at, bad)) = codes.iter().enumerate().find(|(_, code)| !matches!(code, 301 | 302 | 303 | 307 | 308)) {
        let place = format!("internal_redirect.codes[{at}]");
        return Err(ConfigError::at(place, format!("must be 301, 302, 303, 307 or 308, not {bad}")));
    }
    let max_hops = max_hops.unwrap_or(defaults.max_hops);
    if max_hops == 0 {
        return Err(ConfigError::at("internal_redirect.max_hops", "must be above zero"));
    }
    if safe_cross_scheme && !cross_scheme {
        return Err(ConfigError::at(
            "internal_redirect.safe_cross_scheme",
            "means nothing without `cross_scheme: true`",
        ));
    }
    let copied = |(at, name): (usize, String)| {
        let name = header_name(&name).map_err(|error| error.under(format!("internal_redirect.copy_headers[{at}]")))?;
        if matches!(name.as_str(), "host" | "content-length" | "transfer-encoding" | "connection") {
            let place = format!("internal_redirect.copy_headers[{at}]");
            return Err(ConfigError::at(place, format!("\"{name}\" belongs to one message")));
        }
        Ok(name)
    };
    let copy_headers = copy_headers.into_iter().enumerate().map(copied).collect::<Result<_, _>>()?;
    Ok(Some(InternalRedirect { codes, max_hops, cross_scheme, safe_cross_scheme, copy_headers }))
}
