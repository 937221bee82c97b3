//! Rules, ready.

use std::rc::Rc;

use fyke_limiter::{KeyBuilder, Limit, Meter, includes};
use fyke_sdk::ConfigError;

use crate::condition::Condition;
use crate::config::{self, Apply, Config};
use crate::cost::{Cost, DEBT, Known};
use crate::expression::Expressions;
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
    /// The local ones; of a global rule those of its fallback.
    pub meters: Rc<[Meter]>,
    /// What each of them is called in `ratelimit-policy`.
    pub policies: Vec<String>,
    pub global: bool,
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
    /// The values of its parts, as text, where somebody wants them.
    pub entries: Vec<String>,
    /// Whether it has a say; else it is a shadow.
    pub enforced: bool,
    pub cost: Known,
}

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
        let mut conditions = |written: &[config::Condition], key: &str| {
            let ready = |(at, condition)| {
                Condition::new(condition, &mut sources, &mut expressions)
                    .map_err(|error: ConfigError| error.under(format!("{key}[{at}]")))
            };
            written.iter().enumerate().map(ready).collect::<Result<Vec<_>, _>>()
        };
        let (allow, deny) = (conditions(&config.allow, "allow")?, conditions(&config.deny, "deny")?);
        let mut rules: Vec<Rule> = Vec::with_capacity(config.rules.len());
        for (at, written) in config.rules.iter().enumerate() {
            let rule = Rule::new(written, &mut sources, &mut expressions);
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
    pub fn plan(&self, subject: Subject<'_>, domain: &[u8], keys: &mut KeyBuilder) -> Plan {
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

    /// Whether one of them is asked of the service.
    #[must_use]
    pub fn has_global(&self) -> bool {
        self.rules.iter().any(|rule| rule.global)
    }
}

impl Rule {
    fn new(written: &config::Rule, sources: &mut Sources, expressions: &mut Expressions) -> Result<Self, ConfigError> {
        check_name(&written.name)?;
        let cost = Cost::new(&written.cost).map_err(|error| error.under("cost"))?;
        let mut when = Vec::new();
        for (at, condition) in written.when.iter().enumerate() {
            let condition = Condition::new(condition, sources, expressions);
            when.push(condition.map_err(|error| error.under(format!("when[{at}]")))?);
        }
        let mut parts = Vec::new();
        for (at, part) in written.key.iter().enumerate() {
            let part = Part::new(part, sources, expressions);
            parts.push(part.map_err(|error| error.under(format!("key[{at}]")))?);
        }
        let (meters, policies) = match &written.limit {
            Some(limit) => meters(&written.name, limit, &cost)?,
            None if written.global => (Vec::new(), Vec::new()),
            None => return Err(ConfigError::at("limit", "is missing: say how much may come, or `global: true`")),
        };
        if written.global {
            check_global(written)?;
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
            meters: meters.into(),
            policies,
            global: written.global,
            limit_override: if written.global { written.limit.as_ref().and_then(override_of) } else { None },
            cost,
            shadow: written.shadow,
            rollout: written.rollout.map_or(1.0, |share| share.fraction()),
            near: written.near.map_or(0.8, |share| share.fraction()),
            top: usize::from(written.top),
        })
    }

    fn apply(
        &self,
        index: usize,
        subject: Subject<'_>,
        sources: &Sources,
        values: &mut Values<'_>,
        domain: &[u8],
        keys: &mut KeyBuilder,
    ) -> Option<Applied> {
        if !self.when.iter().all(|condition| condition.holds(sources, values)) {
            return None;
        }
        keys.clear();
        keys.push(domain);
        keys.push(self.name.as_bytes());
        let mut entries = Vec::new();
        for part in &self.parts {
            let value = part.value(sources, values)?;
            keys.push(&value);
            if self.global || self.top > 0 {
                // No service is told more of a value than an expression looks at.
                let seen = value.get(..crate::expression::REACH).unwrap_or(&value);
                entries.push(String::from_utf8_lossy(seen).into_owned());
            }
        }
        let key = keys.key().to_vec();
        let enforced = !self.shadow && (self.rollout >= 1.0 || includes(self.name.as_bytes(), &key, self.rollout));
        Some(Applied { rule: index, key, entries, enforced, cost: self.cost.now(subject) })
    }

    /// What the entries of a descriptor are called.
    pub fn entry_names(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().map(|part| part.name.as_str())
    }
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

fn check_global(written: &config::Rule) -> Result<(), ConfigError> {
    if written.key.is_empty() {
        return Err(ConfigError::at("key", "must not be empty: it is what the service is told"));
    }
    let late = match &written.cost {
        config::Cost::Of(of) => !matches!(of.from, config::CostSource::RequestHeader(_)),
        _ => false,
    };
    if late {
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
