//! What becomes of a stream: local limits, waiting in line, Redis, and the service.

use std::rc::Rc;
use std::time::Duration;

use fyke_limiter::Outcome;
use fyke_sdk::{abi, sleep};

use crate::answer::{Policy, Refusal};
use crate::config::FailureMode;
use crate::filter::{Ctx, RateLimit};
use crate::redis::Store;
use crate::rule::{Asked, Plan};
use crate::service::Said;
use crate::source::Subject;
use crate::stats::Word;
use crate::verdict::Verdict;

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
        let asked = counted.iter().filter_map(|applied| Some((applied, self.rules.rules.get(applied.rule)?)));
        let (global, local): (Vec<Asked<'_>>, Vec<Asked<'_>>) = asked.partition(|(_, rule)| rule.global);
        if let Some(refusal) = self.check_local(cx, &local).await {
            return (Checked::Refused(refusal), Vec::new());
        }
        if global.is_empty() || self.explains.get() {
            return (Checked::Passes, Vec::new());
        }
        let said = match &self.store {
            Some(store) => self.check_redis(cx, store, &global).await.map_or(Ok(Vec::new()), Err),
            None => self.check_global(cx, &global).await,
        };
        match said {
            Ok(request_headers) => (Checked::Passes, request_headers),
            Err(refusal) => {
                // Where one refuses, none is charged.
                self.limiter.take_back(&self.rules, &mut cx.account);
                (Checked::Refused(refusal), Vec::new())
            }
        }
    }

    pub(crate) fn plan(&self, subject: Subject<'_>) -> Plan {
        match self.keys.try_borrow_mut() {
            Ok(mut keys) => self.rules.plan(subject, &self.domain, &mut keys),
            Err(_) => {
                debug_assert!(false, "a stream began while the key of another was made");
                Plan::Counted(Vec::new())
            }
        }
    }

    /// Takes from local limits, and waits where they say so.
    async fn check_local(&self, cx: &mut Ctx, asked: &[Asked<'_>]) -> Option<Box<Refusal>> {
        if asked.is_empty() {
            return None;
        }
        let verdict = match self.limiter.take(asked, &mut cx.account, &self.stats) {
            Ok(verdict) => verdict,
            Err(error) => {
                return self.failed(self.failure_mode, &format!("limits cannot be looked up: {error}"));
            }
        };
        self.obey(cx, verdict).await
    }

    /// Refuses, waits, or goes on, as limits say.
    async fn obey(&self, cx: &mut Ctx, verdict: Verdict) -> Option<Box<Refusal>> {
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

    /// Takes from limits that Redis counts, unless one is known to refuse.
    async fn check_redis(&self, cx: &mut Ctx, store: &Rc<Store>, global: &[Asked<'_>]) -> Option<Box<Refusal>> {
        let (mut verdict, mut shadows, mut asked) = (Verdict::default(), Vec::new(), Vec::new());
        for one in global {
            match store.known(*one) {
                Some(readings) if one.0.enforced => {
                    self.stats.cached(one.1);
                    verdict.add(*one, &one.1.shared, &Outcome { admitted: false, readings }, false, &self.stats);
                }
                Some(_) => shadows.push(*one),
                None => asked.push(*one),
            }
        }
        if verdict.refused {
            return self.obey(cx, verdict).await;
        }
        if !asked.is_empty() {
            let begun = abi::monotonic();
            let said = store.take(&asked, &mut cx.account.debts).await;
            let taken = abi::monotonic().saturating_sub(begun);
            asked.iter().for_each(|(_, rule)| self.stats.stored(rule, taken));
            match said {
                Ok(outcome) => self.look(&asked, &outcome, &mut verdict),
                Err(error) => return self.without_redis(cx, store, &asked, &error.to_string()).await,
            }
        }
        if !verdict.refused {
            for (applied, rule) in shadows {
                self.stats.cached(rule);
                self.stats.count(rule, Word::Shadow);
                self.stats.busy(applied, rule);
            }
        }
        self.obey(cx, verdict).await
    }

    /// What the answer of Redis comes to, of each rule.
    fn look(&self, asked: &[Asked<'_>], outcome: &Outcome, verdict: &mut Verdict) {
        let each = outcome.each(asked.iter().map(|(_, rule)| rule.shared.len()));
        for ((applied, rule), own) in asked.iter().zip(each) {
            if applied.enforced {
                verdict.add((applied, rule), &rule.shared, &own, outcome.admitted, &self.stats);
            } else if outcome.admitted {
                self.stats.count(rule, if own.admitted { Word::Ok } else { Word::Shadow });
                self.stats.busy(applied, rule);
            }
        }
    }

    /// Redis cannot be asked.
    async fn without_redis(
        &self,
        cx: &mut Ctx,
        store: &Store,
        asked: &[Asked<'_>],
        error: &str,
    ) -> Option<Box<Refusal>> {
        asked.iter().for_each(|(_, rule)| self.stats.count(rule, Word::Error));
        let message = format!("limits in redis cannot be looked up: {error}");
        if store.failure_mode != FailureMode::Local {
            return self.failed(store.failure_mode, &message);
        }
        self.complaints.say(&format!("{message}; this process applies its part of them"));
        self.check_local(cx, asked).await
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
    async fn check_global(&self, cx: &mut Ctx, asked: &[Asked<'_>]) -> Result<Added, Box<Refusal>> {
        let Some(service) = &self.service else { return Ok(Vec::new()) };
        let begun = abi::monotonic();
        let said = service.ask(asked).await;
        let taken = abi::monotonic().saturating_sub(begun);
        asked.iter().for_each(|(_, rule)| self.stats.asked(rule, taken));
        match said {
            Ok(said) => self.decide(cx, asked, said),
            Err(error) => {
                asked.iter().for_each(|(_, rule)| self.stats.count(rule, Word::Error));
                let message = format!("the rate limit service cannot be asked: {error}");
                if service.failure_mode != FailureMode::Local {
                    return self.failed(service.failure_mode, &message).map_or(Ok(Vec::new()), Err);
                }
                self.complaints.say(&format!("{message}; its local limits apply"));
                let own: Vec<Asked<'_>> = asked.iter().copied().filter(|(_, rule)| !rule.meters.is_empty()).collect();
                self.check_local(cx, &own).await.map_or(Ok(Vec::new()), Err)
            }
        }
    }

    fn decide(&self, cx: &mut Ctx, asked: &[Asked<'_>], said: Said) -> Result<Added, Box<Refusal>> {
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
        self.complaints.say(&format!("{message}; {end}"));
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
