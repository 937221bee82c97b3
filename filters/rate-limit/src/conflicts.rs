//! Rules that can never have a say, which nobody writes on purpose.

use std::collections::BTreeSet;

use fyke_limiter::{Limit, Rate};
use fyke_sdk::ConfigError;

use crate::config::{Apply, Condition, Config, Rule, Source};

/// Finds the first one.
///
/// # Errors
/// Which it is, and why.
pub fn find(config: &Config) -> Result<(), ConfigError> {
    for (at, rule) in config.rules.iter().enumerate() {
        let never = |place: &str, why: String| {
            let place = format!("rules[{at}].{place}");
            Err(ConfigError::at(place, format!("rule \"{}\" can never match: {why}", rule.name)))
        };
        if let Some((one, other)) = contradiction(&rule.when) {
            return never(&format!("when[{other}]"), format!("when[{one}] asks the same value to be something else"));
        }
        for (list, conditions) in [("allow", &config.allow), ("deny", &config.deny)] {
            for (entry, condition) in conditions.iter().enumerate() {
                if let Some(place) = rule.when.iter().position(|own| is_covered(own, condition)) {
                    return never(&format!("when[{place}]"), format!("`{list}[{entry}]` has all of these before"));
                }
            }
        }
        let before = config.rules.iter().take(at);
        if let Some(earlier) =
            before.filter(|earlier| asks_the_same(earlier, rule)).find(|earlier| shadows(earlier, rule, config.apply))
        {
            let why = match config.apply {
                Apply::MostSpecific => {
                    format!("rule \"{}\" before it is about the same, and as specific", earlier.name)
                }
                Apply::All => format!("rule \"{}\" counts the same, and refuses earlier", earlier.name),
            };
            return never("name", why);
        }
        if config.apply == Apply::All
            && let Some(later) = config
                .rules
                .iter()
                .skip(at + 1)
                .find(|later| asks_the_same(later, rule) && shadows(later, rule, config.apply))
        {
            return never("name", format!("rule \"{}\" behind it counts the same, and refuses earlier", later.name));
        }
    }
    Ok(())
}

/// Two conditions of one rule that cannot both be true.
fn contradiction(when: &[Condition]) -> Option<(usize, usize)> {
    let values = when.iter().enumerate().filter_map(|(at, condition)| Some((at, condition, values(condition)?)));
    let values: Vec<(usize, &Condition, BTreeSet<&str>)> = values.collect();
    for (index, (at, condition, allowed)) in values.iter().enumerate() {
        for (later, other, others) in values.iter().skip(index + 1) {
            if condition.from == other.from && allowed.is_disjoint(others) {
                return Some((*at, *later));
            }
        }
    }
    let absent = |condition: &Condition| condition.present == Some(condition.not);
    for (at, condition) in when.iter().enumerate().filter(|(_, condition)| absent(condition)) {
        let needs = |other: &Condition| other.from == condition.from && !other.not && !absent(other);
        if let Some(other) = when.iter().position(needs) {
            return Some((at, other));
        }
    }
    None
}

/// All values of which a condition is true, where they can be listed.
fn values(condition: &Condition) -> Option<BTreeSet<&str>> {
    if condition.not || (condition.is.is_none() && condition.any_of.is_empty()) {
        return None;
    }
    Some(condition.is.iter().chain(&condition.any_of).map(String::as_str).collect())
}

/// Whether whatever the one is true of, the other is.
fn is_covered(one: &Condition, other: &Condition) -> bool {
    if one == other {
        return true;
    }
    if one.from != other.from || other.not {
        return false;
    }
    match (values(one), values(other), &other.prefix) {
        (Some(own), Some(others), _) => own.is_subset(&others),
        (Some(own), None, Some(prefix)) => own.iter().all(|value| value.starts_with(prefix)),
        _ => false,
    }
}

/// Whether both are about the same streams, and count them by the same.
fn asks_the_same(one: &Rule, other: &Rule) -> bool {
    let conditions = |rule: &Rule| rule.when.iter().cloned().collect::<BTreeSet<Condition>>();
    let parts = |rule: &Rule| {
        let part =
            |part: &crate::config::Part| (part.from.clone(), part.regex.clone(), part.default.clone(), part.lower_case);
        rule.key.iter().map(part).collect::<Vec<(Source, Option<String>, Option<String>, bool)>>()
    };
    conditions(one) == conditions(other) && parts(one) == parts(other)
}

/// Whether the second has no say because of the first.
fn shadows(one: &Rule, other: &Rule, apply: Apply) -> bool {
    let has_a_say = |rule: &Rule| !rule.shadow && rule.rollout.is_none_or(|share| share.fraction() >= 1.0);
    if !has_a_say(one) || !has_a_say(other) || one.global || other.global {
        return false;
    }
    match apply {
        Apply::MostSpecific => true,
        Apply::All => {
            let plain = |rule: &Rule| matches!(rule.cost, crate::config::Cost::One);
            let (Some(one), Some(other), true) = (&one.limit, &other.limit, plain(one) && plain(other)) else {
                return false;
            };
            is_stricter(one, other)
        }
    }
}

/// Whether a limit that is but a rate lets through no more than another that is but a rate, and at no time.
fn is_stricter(one: &Limit, other: &Limit) -> bool {
    let alone = |limit: &Limit| {
        let Limit { rate, burst, sustained, quota, concurrency, lease: _, delay } = limit;
        let more = sustained.is_some() || quota.is_some() || concurrency.is_some() || delay.is_some();
        rate.filter(|_| !more).map(|rate| (rate, burst.unwrap_or(rate.amount).get()))
    };
    let (Some((rate, burst)), Some((other, others))) = (alone(one), alone(other)) else { return false };
    let product = |rate: Rate, by: Rate| u128::from(rate.amount.get()) * u128::from(by.per.nanoseconds());
    product(rate, other) <= product(other, rate) && burst <= others
}
