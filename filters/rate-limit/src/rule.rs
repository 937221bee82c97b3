//! Rules, ready.

use std::rc::Rc;

use fyke_limiter::redis::Question;
use fyke_limiter::{Limit, Meter, includes};
use fyke_sdk::ConfigError;

use crate::condition::Condition;
use crate::config::{self, Apply, Config, FailureMode};
use crate::cost::{Cost, DEBT, Known};
use crate::expression::Expressions;
use crate::key::Keys;
use crate::messages::Override;
use crate::part::Part;
use crate::service::override_of;
use crate::source::{Sources, Subject, Values};

/// Rules of one configuration.
const MOST: usize = 100;

/// All rules, and whom none is about.
#[derive(Debug)]
pub struct Rules {
    sources: Sources,
    pub rules: Vec<Rule>,
    allow: Vec<Condition>,
    deny: Vec<Condition>,
    apply: Apply,
}

/// One rule.
#[derive(Debug)]
pub struct Rule {
    pub name: String,
    when: Vec<Condition>,
    parts: Vec<Part>,
    /// Those of this process; of a global rule those of its fallback.
    pub meters: Rc<[Meter]>,
    /// Those that Redis counts, as many as there are of this process; none where it does not.
    pub shared: Rc<[Meter]>,
    /// What each of them is called in `ratelimit-policy`.
    pub policies: Vec<String>,
    pub global: bool,
    /// Who comes too early may wait.
    waits: bool,
    /// What the service is told.
    pub limit_override: Option<Override>,
    pub cost: Cost,
    shadow: bool,
    rollout: f64,
    pub near: f64,
    pub top: usize,
    rank: (usize, usize),
}

/// A rule that is about a stream.
#[derive(Debug)]
pub struct Applied {
    /// Which.
    pub rule: usize,
    pub key: Vec<u8>,
    /// What Redis knows it by; empty where that is not asked.
    pub name: Vec<u8>,
    /// The values of its parts, as text, where somebody wants them.
    pub entries: Vec<String>,
    /// Whether it has a say; else it is a shadow.
    pub enforced: bool,
    pub cost: Known,
}

/// With its rule.
pub type Asked<'a> = (&'a Applied, &'a Rule);

/// What rules say of a stream before anybody counts.
#[derive(Debug)]
pub enum Plan {
    /// It passes, as `allow` says.
    Allowed,
    /// It is refused, as `deny` says.
    Denied,
    /// These are about it.
    Counted(Vec<Applied>),
}

impl Rules {
    /// Makes them ready.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn new(config: &Config) -> Result<Self, ConfigError> {
        let (mut sources, mut expressions) = (Sources::default(), Expressions::default());
        if config.rules.len() > MOST {
            return Err(ConfigError::at("rules", format!("there are {}, of at most {MOST}", config.rules.len())));
        }
        let allow = conditions(&config.allow, "allow", &mut sources, &mut expressions)?;
        let deny = conditions(&config.deny, "deny", &mut sources, &mut expressions)?;
        let mut rules: Vec<Rule> = Vec::with_capacity(config.rules.len());
        for (at, written) in config.rules.iter().enumerate() {
            let rule = Rule::new(written, config, &mut sources, &mut expressions);
            let rule = rule.map_err(|error| error.under(format!("rules[{at}]")))?;
            if rules.iter().any(|known| known.name == rule.name) {
                let message = format!("\"{}\" is the name of another rule", rule.name);
                return Err(ConfigError::at(format!("rules[{at}].name"), message));
            }
            rules.push(rule);
        }
        crate::conflicts::find(config)?;
        Ok(Self { sources, rules, allow, deny, apply: config.apply })
    }

    /// What they say of a stream.
    pub fn plan(&self, subject: Subject<'_>, domain: &[u8], keys: &mut Keys) -> Plan {
        let mut values = self.sources.of(subject);
        let mut any = |list: &[Condition]| list.iter().any(|one| one.holds(&self.sources, &mut values));
        if any(&self.allow) {
            return Plan::Allowed;
        }
        if any(&self.deny) {
            return Plan::Denied;
        }
        let mut counted = Vec::new();
        for (index, rule) in self.rules.iter().enumerate() {
            if let Some(applied) = rule.apply(index, subject, &self.sources, &mut values, domain, keys) {
                counted.push(applied);
            }
        }
        if self.apply == Apply::MostSpecific {
            self.keep_most_specific(&mut counted);
        }
        Plan::Counted(counted)
    }

    /// Shadows have no say, so that they stand in nobody's way.
    fn keep_most_specific(&self, counted: &mut Vec<Applied>) {
        let rank = |applied: &Applied| self.rules.get(applied.rule).map_or((0, 0), |rule| rule.rank);
        let enforced = counted.iter().filter(|applied| applied.enforced);
        // Of equals `max_by_key` takes the last.
        let Some(best) = enforced.rev().max_by_key(|applied| rank(applied)).map(|applied| applied.rule) else { return };
        counted.retain(|applied| !applied.enforced || applied.rule == best);
    }

    /// Why each is not about a stream; `None`: it is.
    pub fn misses(&self, subject: Subject<'_>) -> Vec<Option<String>> {
        let mut values = self.sources.of(subject);
        self.rules.iter().map(|rule| rule.misses(&self.sources, &mut values)).collect()
    }

    /// Whether one of them is counted for all processes.
    #[must_use]
    pub fn has_global(&self) -> bool {
        self.rules.iter().any(|rule| rule.global)
    }

    /// Whether there is something to do at the end of a stream.
    pub fn settle(&self) -> bool {
        let holds = |rule: &Rule| rule.meters.iter().any(|meter| matches!(meter, Meter::Leases(_)));
        self.rules.iter().any(|rule| rule.cost.may_be_late() || holds(rule))
    }

    /// Whether a limit may give something back because another one refuses, or because too many wait.
    pub fn may_be_taken_back(&self) -> bool {
        self.has_global() || self.rules.iter().any(|rule| rule.waits || rule.cost.may_be_late())
    }
}

impl Rule {
    fn new(
        written: &config::Rule,
        config: &Config,
        sources: &mut Sources,
        expressions: &mut Expressions,
    ) -> Result<Self, ConfigError> {
        check_name(&written.name)?;
        let cost = Cost::new(&written.cost).map_err(|error| error.under("cost"))?;
        let when = conditions(&written.when, "when", sources, expressions)?;
        let mut parts = Vec::new();
        for (at, part) in written.key.iter().enumerate() {
            let part = Part::new(part, sources, expressions);
            parts.push(part.map_err(|error| error.under(format!("key[{at}]")))?);
        }
        let (meters, policies) = match &written.limit {
            Some(limit) => meters(&written.name, limit, &cost)?,
            None if written.global && config.redis.is_none() => (Vec::new(), Vec::new()),
            None if written.global => return Err(ConfigError::at("limit", "is missing: redis has none of its own")),
            None => return Err(ConfigError::at("limit", "is missing: say how much may come, or `global: true`")),
        };
        let mut shared = Rc::default();
        let mut meters: Rc<[Meter]> = meters.into();
        match &config.redis {
            Some(redis) if written.global => {
                Question::check(&meters).map_err(|error| ConfigError::at("limit", error.to_string()))?;
                shared = Rc::clone(&meters);
                let mode = redis.failure_mode.unwrap_or(config.failure_mode);
                meters = fallback(("redis", redis.peers, mode), &shared, &cost)?;
            }
            None if written.global => {
                check_global(written, &cost)?;
                if let Some(service) = &config.global {
                    let mode = service.failure_mode.unwrap_or(config.failure_mode);
                    meters = fallback(("global", service.peers, mode), &meters, &cost)?;
                }
            }
            _ => {}
        }
        if written.top > 100 {
            return Err(ConfigError::at("top", format!("must be at most 100, not {}", written.top)));
        }
        let needed = written.key.iter().filter(|part| part.default.is_none()).count();
        Ok(Self {
            name: written.name.clone(),
            rank: (when.len(), needed),
            when,
            parts,
            meters,
            shared,
            policies,
            global: written.global,
            waits: written.limit.as_ref().is_some_and(|limit| limit.delay.is_some()),
            limit_override: written.limit.as_ref().filter(|_| written.global).and_then(override_of),
            cost,
            shadow: written.shadow,
            rollout: written.rollout.map_or(1.0, |share| share.fraction()),
            near: written.near.map_or(0.8, |share| share.fraction()),
            top: usize::from(written.top),
        })
    }

    /// The share of all streams for which it has a say, where that is drawn for each.
    pub fn lot(&self) -> Option<f64> {
        (self.parts.is_empty() && !self.shadow && self.rollout < 1.0).then_some(self.rollout)
    }

    fn apply(
        &self,
        index: usize,
        subject: Subject<'_>,
        sources: &Sources,
        values: &mut Values<'_>,
        domain: &[u8],
        keys: &mut Keys,
    ) -> Option<Applied> {
        if !self.when.iter().all(|condition| condition.holds(sources, values)) {
            return None;
        }
        keys.begin(!self.shared.is_empty());
        keys.push(domain);
        keys.push(self.name.as_bytes());
        let mut entries = Vec::new();
        // The same in every process, unlike the key, which may be hashed.
        let mut drawn_by = (self.rollout < 1.0).then(Vec::new);
        for part in &self.parts {
            let value = part.value(sources, values)?;
            keys.push(&value);
            if let Some(drawn_by) = &mut drawn_by {
                drawn_by.extend_from_slice(&value.len().to_le_bytes());
                drawn_by.extend_from_slice(&value);
            }
            if (self.global && self.shared.is_empty()) || self.top > 0 {
                // No service is told more of a value than an expression looks at.
                let seen = value.get(..crate::expression::REACH).unwrap_or(&value);
                entries.push(String::from_utf8_lossy(seen).into_owned());
            }
        }
        let (key, name) = keys.finish();
        let enforced = !self.shadow
            && match drawn_by {
                None => true,
                // Of everybody together there is no share but that of streams.
                Some(_) if self.parts.is_empty() => fyke_sdk::random::chance(self.rollout),
                Some(key) => includes(self.name.as_bytes(), &key, self.rollout),
            };
        Some(Applied { rule: index, key, name, entries, enforced, cost: self.cost.now(subject) })
    }

    fn misses(&self, sources: &Sources, values: &mut Values<'_>) -> Option<String> {
        if let Some(at) = self.when.iter().position(|condition| !condition.holds(sources, values)) {
            return Some(format!("`when[{at}]` is not true"));
        }
        let at = self.parts.iter().position(|part| part.value(sources, values).is_none())?;
        Some(format!("`key[{at}]` has no value"))
    }

    /// What the entries of a descriptor are called.
    pub fn entry_names(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().map(|part| part.name.as_str())
    }
}

/// The list under `key`, ready.
fn conditions(
    written: &[config::Condition],
    key: &str,
    sources: &mut Sources,
    expressions: &mut Expressions,
) -> Result<Vec<Condition>, ConfigError> {
    let ready = |(at, condition)| {
        let ready = Condition::new(condition, sources, expressions);
        ready.map_err(|error| error.under(format!("{key}[{at}]")))
    };
    written.iter().enumerate().map(ready).collect()
}

fn check_name(name: &str) -> Result<(), ConfigError> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    if name.is_empty() || name.len() > 64 || !name.bytes().all(fits) {
        let message = "must have 1 to 64 letters, digits, `_`, `-` and `.`: it is in metrics and headers";
        return Err(ConfigError::at("name", message));
    }
    Ok(())
}

/// The meters of a limit, and what each is called.
fn meters(name: &str, limit: &Limit, cost: &Cost) -> Result<(Vec<Meter>, Vec<String>), ConfigError> {
    let debt = if cost.may_be_late() { DEBT } else { 0 };
    let meters = limit.meters(debt).map_err(|error| ConfigError::at(error.field, error.message).under("limit"))?;
    if limit.concurrency.is_some() && !matches!(cost, Cost::Fixed(1)) {
        return Err(ConfigError::at("cost", "a rule with `limit.concurrency` counts each as one"));
    }
    let smallest = meters.iter().map(Meter::limit).min().unwrap_or(0);
    match cost {
        Cost::Fixed(cost) if *cost > smallest => {
            return Err(ConfigError::at(
                "cost",
                format!("{cost} is more than ever fits: the limit holds {smallest} at once"),
            ));
        }
        Cost::Of { minimum, .. } if *minimum > smallest => {
            let message = format!("{minimum} is more than ever fits: the limit holds {smallest} at once");
            return Err(ConfigError::at("cost.minimum", message));
        }
        _ => {}
    }
    let kinds = [
        (limit.rate.is_some(), ""),
        (limit.sustained.is_some(), "-sustained"),
        (limit.quota.is_some(), "-quota"),
        (limit.concurrency.is_some(), "-concurrency"),
    ];
    let policies = kinds.into_iter().filter(|(there, _)| *there).map(|(_, kind)| format!("{name}{kind}"));
    Ok((meters, policies.collect()))
}

/// What this process applies while nobody can be asked: its part of the limit.
fn fallback(
    (key, peers, mode): (&str, Option<u32>, FailureMode),
    shared: &Rc<[Meter]>,
    cost: &Cost,
) -> Result<Rc<[Meter]>, ConfigError> {
    let peers = peers.map_or(1, u64::from).max(1);
    let meters: Rc<[Meter]> = shared.iter().map(|meter| meter.divided(peers)).collect();
    let smallest = meters.iter().map(Meter::limit).min().unwrap_or(0);
    let least = match cost {
        Cost::Fixed(cost) => *cost,
        Cost::Of { minimum, .. } => *minimum,
    };
    if mode == FailureMode::Local && !meters.is_empty() && least > smallest {
        let message = format!(
            "{least} is more than ever fits while nobody can be asked: divided by `{key}.peers` the limit holds {smallest} at once"
        );
        return Err(ConfigError::at("cost", message));
    }
    Ok(meters)
}

fn check_global(written: &config::Rule, cost: &Cost) -> Result<(), ConfigError> {
    if written.key.is_empty() {
        return Err(ConfigError::at("key", "must not be empty: it is what the service is told"));
    }
    if cost.may_be_late() {
        return Err(ConfigError::at(
            "cost.from",
            "of a global rule must be a request_header: the service is asked before the answer",
        ));
    }
    if let Some(limit) = &written.limit
        && (limit.concurrency.is_some() || limit.delay.is_some())
    {
        return Err(ConfigError::at("limit", "of a global rule has neither concurrency nor delay"));
    }
    Ok(())
}
