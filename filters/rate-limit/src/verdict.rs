//! What limits say of a stream, of this process or of Redis.

use fyke_limiter::{Charge, Decision, Meter, Outcome};

use crate::answer::Policy;
use crate::rule::Asked;
use crate::stats::{Stats, Word};

/// What limits say.
#[derive(Debug, Default)]
pub struct Verdict {
    pub refused: bool,
    /// Nanoseconds to wait before going on.
    pub wait: u64,
    /// Nanoseconds until it is worth trying again.
    pub retry_after: u64,
    /// What clients are told of it.
    pub policy: Option<Policy>,
}

impl Verdict {
    /// Adds what the meters of one rule read. `admitted`: whether all rules let it pass; where they do not, those that do were not charged, and do not count.
    pub fn add(&mut self, asked: Asked<'_>, meters: &[Meter], own: &Outcome, admitted: bool, stats: &Stats) {
        let (applied, rule) = asked;
        if own.admitted && !admitted {
            return;
        }
        let charge = Charge { key: &applied.key, meters, cost: applied.cost.now(), lease: 0 };
        let decision = Decision::of(&[charge], own);
        let near = decision.governing.is_some_and(|governing| governing.used() >= rule.near);
        stats.count(
            rule,
            if !own.admitted {
                Word::Over
            } else if near {
                Word::Near
            } else {
                Word::Ok
            },
        );
        stats.busy(applied, rule);
        self.refused |= !own.admitted;
        self.wait = self.wait.max(decision.wait);
        self.retry_after = self.retry_after.max(decision.retry_after);
        let policy = decision.governing.map(|governing| Policy::of(rule, meters, &governing));
        self.policy = Policy::tighter(self.policy.take(), policy);
    }
}
