//! Envoy's request headers that change what a route says: `x-envoy-upstream-rq-timeout-ms` and its kin.
//!
//! They are honoured only where the configuration says so, because whoever can send them decides how often the upstream
//! is asked. They are consumed: the upstream does not see them. What cannot be read is as if it were not there, which
//! is also Envoy's way.

use std::time::Duration;

use fyke_sdk::{HeaderMatch, HedgePolicy, Request, Result, RetryOn, RetryPolicy, header_name};

/// So many statuses and headers are taken from a list.
const MOST: usize = 64;

const TIMEOUT: &str = "x-envoy-upstream-rq-timeout-ms";
const PER_TRY_TIMEOUT: &str = "x-envoy-upstream-rq-per-try-timeout-ms";
const ALT_RESPONSE: &str = "x-envoy-upstream-rq-timeout-alt-response";
const MAX_RETRIES: &str = "x-envoy-max-retries";
const RETRY_ON: &str = "x-envoy-retry-on";
const RETRY_GRPC_ON: &str = "x-envoy-retry-grpc-on";
const STATUS_CODES: &str = "x-envoy-retriable-status-codes";
const HEADER_NAMES: &str = "x-envoy-retriable-header-names";
const HEDGE: &str = "x-envoy-hedge-on-per-try-timeout";

const ALL: [&str; 9] =
    [TIMEOUT, PER_TRY_TIMEOUT, ALT_RESPONSE, MAX_RETRIES, RETRY_ON, RETRY_GRPC_ON, STATUS_CODES, HEADER_NAMES, HEDGE];

/// What a request asked for.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Wishes {
    pub timeout: Option<Duration>,
    per_try_timeout: Option<Duration>,
    attempts: Option<u32>,
    on: Vec<RetryOn>,
    statuses: Vec<u16>,
    headers: Vec<String>,
    hedge: Option<bool>,
    alt_response: bool,
}

impl Wishes {
    /// Takes them off a request. What `self` holds from an earlier look stays, unless the request says otherwise now.
    pub fn take(&mut self, request: &mut Request) -> Result<()> {
        let number = |name: &str| text(request, name).and_then(|text| text.parse::<u64>().ok());
        self.timeout = number(TIMEOUT).map(Duration::from_millis).or(self.timeout);
        self.per_try_timeout = number(PER_TRY_TIMEOUT).map(Duration::from_millis).or(self.per_try_timeout);
        self.attempts = number(MAX_RETRIES).map(|number| u32::try_from(number).unwrap_or(u32::MAX)).or(self.attempts);
        for (name, grpc) in [(RETRY_ON, false), (RETRY_GRPC_ON, true)] {
            for condition in list(request, name).filter_map(RetryOn::named) {
                if condition.is_grpc() == grpc && !self.on.contains(&condition) {
                    self.on.push(condition);
                }
            }
        }
        for status in list(request, STATUS_CODES).filter_map(|word| word.parse().ok()) {
            if (100..600).contains(&status) && self.statuses.len() < MOST && !self.statuses.contains(&status) {
                self.statuses.push(status);
            }
        }
        for name in list(request, HEADER_NAMES).filter_map(|word| header_name(word).ok()) {
            if self.headers.len() < MOST && !self.headers.contains(&name) {
                self.headers.push(name);
            }
        }
        self.hedge = match text(request, HEDGE) {
            Some("true") => Some(true),
            Some("false") => Some(false),
            _ => self.hedge,
        };
        self.alt_response |= request.contains(ALT_RESPONSE);
        for name in ALL {
            if request.contains(name) {
                request.remove(name)?;
            }
        }
        Ok(())
    }

    /// The retry policy that comes of the route's and these; `None`: the route's stands. `timeout` is that of the whole
    /// request.
    pub fn retry(&self, route: Option<&RetryPolicy>, timeout: Duration) -> Option<RetryPolicy> {
        let asks = self.per_try_timeout.is_some()
            || self.attempts.is_some()
            || !self.on.is_empty()
            || !self.statuses.is_empty()
            || !self.headers.is_empty();
        if !asks {
            return None;
        }
        let mut policy = route.cloned().unwrap_or_default();
        for condition in &self.on {
            if !policy.on.contains(condition) {
                policy.on.push(*condition);
            }
        }
        for status in &self.statuses {
            if !policy.statuses.contains(status) {
                policy.statuses.push(*status);
            }
        }
        policy.headers.extend(self.headers.iter().map(HeaderMatch::present));
        policy.attempts = self.attempts.unwrap_or(policy.attempts);
        policy.per_try_timeout = self.per_try_timeout.or(policy.per_try_timeout);
        // A try that may last as long as the request has no limit of its own.
        policy.per_try_timeout =
            policy.per_try_timeout.filter(|limit| !limit.is_zero() && (timeout.is_zero() || *limit < timeout));
        Some(policy)
    }

    pub fn hedge(&self) -> Option<HedgePolicy> {
        self.hedge.map(|on_per_try_timeout| HedgePolicy { on_per_try_timeout })
    }

    /// 204 in place of 504, for clients that take every answer of a timeout for an error of theirs.
    pub fn timeout_status(&self) -> Option<u16> {
        self.alt_response.then_some(204)
    }
}

fn text<'r>(request: &'r Request, name: &str) -> Option<&'r str> {
    request.get(name).and_then(|value| std::str::from_utf8(value).ok()).map(str::trim)
}

fn list<'r>(request: &'r Request, name: &str) -> impl Iterator<Item = &'r str> {
    text(request, name).unwrap_or_default().split(',').map(str::trim)
}

/// What a `grpc-timeout` header may do (Envoy's `max_stream_duration.grpc_timeout_header_max` and `_offset`).
#[derive(Debug, Clone, Copy)]
pub struct GrpcTimeout {
    pub max: Option<Duration>,
    pub offset: Duration,
}

impl GrpcTimeout {
    /// The timeout that a request's header asks for, if it has a legal one.
    pub fn of(&self, request: &Request) -> Option<Duration> {
        let mut timeout = grpc_timeout(request.get("grpc-timeout")?)?;
        if timeout > self.offset {
            timeout = timeout.saturating_sub(self.offset);
        }
        // Less than a millisecond would be written as zero, which means no limit.
        let timeout = timeout.max(Duration::from_millis(1));
        Some(self.max.map_or(timeout, |max| timeout.min(max)))
    }
}

/// At most eight digits and a unit: the gRPC protocol over HTTP/2, `Timeout`.
fn grpc_timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(match unit {
        b'H' => Duration::from_secs(number * 3600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_timeouts_are_read_as_the_protocol_has_them() {
        for (text, milliseconds) in
            [("1H", 3_600_000), ("2M", 120_000), ("3S", 3000), ("4m", 4), ("5000u", 5), ("99999999n", 99)]
        {
            assert_eq!(grpc_timeout(text.as_bytes()).unwrap().as_millis(), milliseconds, "{text}");
        }
        assert!(grpc_timeout(b"99999999H").is_some());
        for bad in ["", "S", "1", "1s", "123456789S", "-1S", "1.5S", " 1S"] {
            assert_eq!(grpc_timeout(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn wishes_are_added_to_what_the_route_says() {
        let route = RetryPolicy::on([RetryOn::Reset]).attempts(3).per_try_timeout(Duration::from_secs(1));
        let wishes =
            Wishes { on: vec![RetryOn::ServerError, RetryOn::Reset], statuses: vec![418], ..Wishes::default() };
        let both = wishes.retry(Some(&route), Duration::from_secs(2)).unwrap();
        assert_eq!((both.on.as_slice(), both.attempts), (&[RetryOn::Reset, RetryOn::ServerError][..], 3));
        assert_eq!((both.per_try_timeout, both.statuses), (Some(Duration::from_secs(1)), vec![418]));
        assert_eq!(wishes.retry(None, Duration::ZERO).unwrap().attempts, 1);
        assert_eq!(wishes.retry(Some(&route), Duration::from_secs(1)).unwrap().per_try_timeout, None);
        assert_eq!(Wishes::default().retry(Some(&route), Duration::ZERO), None);
    }
}
