//! What becomes of a stream: local limits, waiting in line, and the service.

use std::time::Duration;

use fyke_sdk::abi::{self, Level};
use fyke_sdk::{log, sleep};

use crate::answer::{Policy, Refusal};
use crate::config::FailureMode;
use crate::filter::{Ctx, RateLimit};
use crate::limiter::Verdict;
use crate::rule::{Applied, Plan, Rule};
use crate::service::Said;
use crate::source::Subject;
use crate::stats::Word;

/// What the service adds to a request.
type Added = Vec<(String, Vec<u8>)>;

/// What becomes of a stream.
pub enum Checked {
    /// It goes on.
    Passes,
    /// `deny` has it.
    Denied,
    /// It is over a limit.
    Refused(Box<Refusal>),
}

/// One of those that wait. Ends also when the client leaves, for then it is dropped.
struct Waiting<'a>(&'a RateLimit);

impl RateLimit {
    /// What becomes of a stream, and what the service adds to its request.
    pub async fn check(&self, cx: &mut Ctx, subject: Subject<'_>) -> (Checked, Added) {
        let counted = match self.plan(subject) {
            Plan::Allowed => {
                self.stats.listed("allow");
                return (Checked::Passes, Vec::new());
            }
            Plan::Denied => {
                self.stats.listed("deny");
                return (Checked::Denied, Vec::new());
            }
            Plan::Counted(counted) => counted,
        };
        let is_global = |applied: &&Applied| self.rules.rules.get(applied.rule).is_some_and(|rule| rule.global);
        let (global, local): (Vec<&Applied>, Vec<&Applied>) = counted.iter().partition(is_global);
        if let Some(refusal) = self.check_local(cx, &local).await {
            return (Checked::Refused(refusal), Vec::new());
        }
        if global.is_empty() {
            return (Checked::Passes, Vec::new());
        }
        match self.check_global(cx, &global).await {
            Ok(request_headers) => (Checked::Passes, request_headers),
            Err(refusal) => {
                // Where one refuses, none is charged.
                self.limiter.take_back(&self.rules, &mut cx.account);
                (Checked::Refused(refusal), Vec::new())
            }
        }
    }

    fn plan(&self, subject: Subject<'_>) -> Plan {
        match self.keys.try_borrow_mut() {
            Ok(mut keys) => self.rules.plan(subject, &self.domain, &mut keys),
            Err(_) => {
                debug_assert!(false, "a stream began while the key of another was made");
                Plan::Counted(Vec::new())
            }
        }
    }

    /// Takes from local limits, and waits where they say so.
    async fn check_local(&self, cx: &mut Ctx, applied: &[&Applied]) -> Option<Box<Refusal>> {
        if applied.is_empty() {
            return None;
        }
        let verdict = match self.limiter.take(&self.rules, applied, &mut cx.account, &self.stats) {
            Ok(verdict) => verdict,
            Err(error) => {
                return self.failed(self.failure_mode, &format!("limits cannot be looked up: {error}"));
            }
        };
        cx.policy = Policy::tighter(cx.policy.take(), verdict.policy.clone());
        if verdict.refused {
            return Some(Box::new(Refusal {
                retry_after: verdict.retry_after,
                policy: verdict.policy,
                details: "rate_limited",
                ..Refusal::default()
            }));
        }
        self.wait(cx, verdict).await
    }

    async fn wait(&self, cx: &mut Ctx, verdict: Verdict) -> Option<Box<Refusal>> {
        if verdict.wait == 0 {
            return None;
        }
        let time = Duration::from_nanos(verdict.wait);
        match Waiting::begin(self, time) {
            Some(_waiting) => {
                sleep(time).await;
                None
            }
            None => {
                self.limiter.take_back(&self.rules, &mut cx.account);
                Some(Box::new(Refusal {
                    retry_after: verdict.wait,
                    policy: verdict.policy,
                    details: "rate_limit_queue_full",
                    ..Refusal::default()
                }))
            }
        }
    }

    /// Asks the service; `Ok` has what it adds to the request.
    async fn check_global(&self, cx: &mut Ctx, applied: &[&Applied]) -> Result<Added, Box<Refusal>> {
        let Some(service) = &self.service else { return Ok(Vec::new()) };
        let with_rules = applied.iter().filter_map(|applied| Some((*applied, self.rules.rules.get(applied.rule)?)));
        let asked: Vec<(&Applied, &Rule)> = with_rules.collect();
        let begun = abi::monotonic();
        let said = service.ask(&asked).await;
        let taken = abi::monotonic().saturating_sub(begun);
        asked.iter().for_each(|(_, rule)| self.stats.asked(rule, taken));
        match said {
            Ok(said) => self.decide(cx, &asked, said),
            Err(error) => {
                asked.iter().for_each(|(_, rule)| self.stats.count(rule, Word::Error));
                let message = format!("the rate limit service cannot be asked: {error}");
                if service.failure_mode != FailureMode::Local {
                    return self.failed(service.failure_mode, &message).map_or(Ok(Vec::new()), Err);
                }
                log::write(Level::Warn, &format!("{message}; its local limits apply"));
                let own: Vec<&Applied> =
                    asked.iter().filter(|(_, rule)| !rule.meters.is_empty()).map(|(applied, _)| *applied).collect();
                self.check_local(cx, &own).await.map_or(Ok(Vec::new()), Err)
            }
        }
    }

    fn decide(&self, cx: &mut Ctx, asked: &[(&Applied, &Rule)], said: Said) -> Result<Added, Box<Refusal>> {
        let mut refused = false;
        for ((applied, rule), over) in asked.iter().zip(&said.over) {
            refused |= *over && applied.enforced;
            self.stats.busy(applied, rule);
            let near =
                said.policy.as_ref().is_some_and(|policy| policy.name == rule.name && is_near(policy, rule.near));
            self.stats.count(
                rule,
                match (over, applied.enforced) {
                    (true, true) => Word::Over,
                    (true, false) => Word::Shadow,
                    (false, _) if near => Word::Near,
                    (false, _) => Word::Ok,
                },
            );
        }
        cx.policy = Policy::tighter(cx.policy.take(), said.policy.clone());
        if refused {
            return Err(Box::new(Refusal {
                retry_after: said.retry_after,
                policy: said.policy,
                headers: said.response_headers,
                body: said.body,
                details: "rate_limited",
            }));
        }
        cx.headers = said.response_headers;
        Ok(said.request_headers)
    }

    /// What becomes of a stream whose limits cannot be looked up.
    fn failed(&self, mode: FailureMode, message: &str) -> Option<Box<Refusal>> {
        let refuses = mode == FailureMode::Closed;
        let end = if refuses { "the stream is refused" } else { "the stream goes on" };
        log::write(Level::Warn, &format!("{message}; {end}"));
        refuses.then(|| Box::new(Refusal { details: "rate_limit_error", ..Refusal::default() }))
    }
}

fn is_near(policy: &Policy, near: f64) -> bool {
    #[expect(clippy::cast_precision_loss, reason = "a share for people")]
    let used = 1.0 - policy.remaining as f64 / policy.quota.max(1) as f64;
    used >= near
}

impl<'a> Waiting<'a> {
    fn begin(filter: &'a RateLimit, time: Duration) -> Option<Self> {
        let waiting = filter.delayed.get();
        if waiting >= filter.max_delayed {
            return None;
        }
        filter.delayed.set(waiting + 1);
        filter.stats.waits(time);
        Some(Self(filter))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.delayed.set(self.0.delayed.get().saturating_sub(1));
        self.0.stats.waited();
    }
}
