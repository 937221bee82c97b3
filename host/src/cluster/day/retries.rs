//! Who is asked again.

use std::{sync::Arc, time::SystemTime};

use http::{HeaderMap, StatusCode};

use crate::{
    cluster::breakers::{Breakers, RetryPermit},
    config::resolved::Thresholds,
    upstream::{
        RetryPolicy,
        retry::{Verdict, conditions},
    },
};

/// Decides whether a failed request is sent again.
pub(super) trait Retry {
    /// A request starts.
    fn start(&mut self);
    /// Whether a request that failed `attempts` times goes out once more.
    fn allows(&mut self, attempts: u32) -> bool;
    /// A request that went out again has ended.
    fn end(&mut self, attempts: u32);
    /// A request has ended.
    fn finish(&mut self);
}

pub(super) struct Never;

impl Retry for Never {
    fn start(&mut self) {}
    fn allows(&mut self, _: u32) -> bool {
        false
    }
    fn end(&mut self, _: u32) {}
    fn finish(&mut self) {}
}

/// One retry, within the budget that clusters have by default.
pub(super) struct Budget {
    policy: RetryPolicy,
    breakers: Arc<Breakers>,
    permits: Vec<RetryPermit>,
}

impl Default for Budget {
    fn default() -> Self {
        let policy = serde_json::from_str(r#"{ "on": ["5xx"], "attempts": 1 }"#).unwrap();
        let breakers = Arc::new(Breakers::new(Thresholds { requests: u32::MAX, ..Thresholds::default() }));
        Self { policy, breakers, permits: Vec::new() }
    }
}

impl Retry for Budget {
    fn start(&mut self) {
        assert!(self.breakers.begin_request());
    }

    fn allows(&mut self, attempts: u32) -> bool {
        let (status, fields) = (StatusCode::SERVICE_UNAVAILABLE, HeaderMap::new());
        let verdict = conditions::of_answer(&self.policy, status, &fields, SystemTime::UNIX_EPOCH);
        if verdict == Verdict::Stands || attempts > self.policy.attempts {
            return false;
        }
        let permit = RetryPermit::of(&self.breakers);
        let allowed = permit.is_some();
        self.permits.extend(permit);
        allowed
    }

    fn end(&mut self, attempts: u32) {
        if attempts > 1 {
            self.permits.pop();
        }
    }

    fn finish(&mut self) {
        self.breakers.end_request();
    }
}
