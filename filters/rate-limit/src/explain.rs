//! What the rules would make of a request, for a person.

use fyke_sdk::Request;

use crate::cost::Known;
use crate::filter::RateLimit;
use crate::rule::{Applied, Plan, Rule};
use crate::source::Subject;

impl RateLimit {
    /// A line for each rule.
    pub fn lines(&self, request: &Request) -> Vec<String> {
        let subject = Subject::Http(request);
        let counted = match self.plan(subject) {
            Plan::Allowed => return vec!["`allow` has it: it passes, and no rule counts it".to_owned()],
            Plan::Denied => return vec!["`deny` has it: it is refused, and no rule counts it".to_owned()],
            Plan::Counted(counted) => counted,
        };
        let misses = self.rules.misses(subject);
        let line = |(at, (rule, miss)): (usize, (&Rule, Option<String>))| {
            let applied = counted.iter().find(|applied| applied.rule == at);
            let what = match (applied, miss) {
                (Some(applied), _) => self.counts(rule, applied),
                (None, Some(why)) => format!("is not about it: {why}"),
                (None, None) => "has no say: another one is more specific".to_owned(),
            };
            format!("rule \"{}\" {what}", rule.name)
        };
        self.rules.rules.iter().zip(misses).enumerate().map(line).collect()
    }

    fn counts(&self, rule: &Rule, applied: &Applied) -> String {
        let cost = match applied.cost {
            Known::Now(cost) => format!("counts it as {cost}"),
            Known::Later => "counts it when it is over".to_owned(),
        };
        let place = match (&self.store, &self.service) {
            (Some(store), _) if rule.global => {
                let name = String::from_utf8_lossy(&applied.name);
                format!("in redis (cluster \"{}\", key {name}), which is not asked here", store.cluster())
            }
            (_, Some(service)) if rule.global => {
                format!("in the service (cluster \"{}\"), which is not asked here", service.cluster())
            }
            _ => "in this process".to_owned(),
        };
        let say = match (rule.lot(), applied.enforced) {
            (Some(share), _) => format!(", with a say for {}% of the streams", (share * 1e8).round() / 1e6),
            (None, true) => String::new(),
            (None, false) => ", as a shadow".to_owned(),
        };
        format!("{cost}, {place}{say}")
    }
}
