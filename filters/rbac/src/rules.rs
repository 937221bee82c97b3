//! Policies, and what they say.

use std::collections::BTreeMap;

use fyke_sdk::ConfigError;

use crate::config::{self, Action};
use crate::rule::Rule;
use crate::subject::Subject;

/// Policies in the order of their names.
#[derive(Debug)]
pub struct Rules {
    action: Action,
    policies: Vec<Policy>,
}

#[derive(Debug)]
struct Policy {
    name: String,
    /// Empty: anything.
    permissions: Vec<Rule>,
    /// Empty: anybody.
    principals: Vec<Rule>,
}

/// What becomes of a request or connection, and by which policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict<'a> {
    pub allowed: bool,
    pub policy: Option<&'a str>,
}

impl Rules {
    pub fn build(action: Action, policies: BTreeMap<String, config::Policy>) -> Result<Self, ConfigError> {
        let each = policies.into_iter().map(|(name, raw)| {
            Policy::build(name.clone(), raw).map_err(|error| error.under(format!("policies.{name}")))
        });
        Ok(Self { action, policies: each.collect::<Result<_, _>>()? })
    }

    /// The first policy that matches says it; none says the opposite.
    pub fn decide(&self, subject: &Subject<'_>) -> Verdict<'_> {
        let policy = self.policies.iter().find(|policy| policy.matches(subject)).map(|policy| policy.name.as_str());
        Verdict { allowed: (self.action == Action::Allow) == policy.is_some(), policy }
    }
}

impl Policy {
    fn build(name: String, raw: config::Policy) -> Result<Self, ConfigError> {
        if raw.permissions.is_none() && raw.principals.is_none() {
            return Err(ConfigError::new("says neither who nor what: `principals: [{ any: true }]` is everybody"));
        }
        let rules = |raw: Option<Vec<config::Rule>>, key: &str| {
            let Some(raw) = raw else { return Ok(Vec::new()) };
            if raw.is_empty() {
                return Err(ConfigError::at(key, "must not be empty: `[{ any: true }]` is anything"));
            }
            let each = raw.into_iter().enumerate();
            let each =
                each.map(|(index, rule)| Rule::build(rule).map_err(|error| error.under(format!("{key}[{index}]"))));
            each.collect::<Result<Vec<_>, _>>()
        };
        Ok(Self {
            name,
            permissions: rules(raw.permissions, "permissions")?,
            principals: rules(raw.principals, "principals")?,
        })
    }

    fn matches(&self, subject: &Subject<'_>) -> bool {
        let any = |rules: &[Rule]| rules.is_empty() || rules.iter().any(|rule| rule.holds(subject));
        any(&self.permissions) && any(&self.principals)
    }
}
