//! Rules that can never have a say, which nobody writes on purpose.

use std::collections::BTreeSet;

use fyke_limiter::Limit;
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
        let mut others = config.rules.iter().enumerate().filter(|(_, other)| asks_the_same(other, rule));
        if let Some((place, other)) = others.find(|other| shadows(*other, (at, rule), config)) {
            let behind = if place < at { "before" } else { "behind" };
            let why = match config.apply {
                Apply::MostSpecific => format!("rule \"{}\" before it is about the same, and as specific", other.name),
                Apply::All => format!("rule \"{}\" {behind} it counts the same, and refuses earlier", other.name),
            };
            return never("name", why);
        }
    }
    Ok(())
}

/// Rules that refuse nobody because another one, that counts all of theirs and more, always refuses first. They count, so that is worth a line of the log and no more.
pub fn idle(config: &Config) -> Vec<String> {
    let mut lines = Vec::new();
    for (at, rule) in config.rules.iter().enumerate() {
        let mut others = config.rules.iter().enumerate().filter(|(_, other)| !asks_the_same(other, rule));
        if let Some((_, other)) = others.find(|other| shadows(*other, (at, rule), config)) {
            let (name, other) = (&rule.name, &other.name);
            lines.push(format!("rule \"{name}\" never refuses anybody: rule \"{other}\" counts all of that and more, and refuses earlier"));
        }
    }
    lines
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

/// Whether one counts whatever the other does, by the same or by less.
fn counts_all(one: &Rule, other: &Rule) -> bool {
    let counts = |condition: &Condition| other.when.iter().any(|own| is_covered(own, condition));
    let part = |one: &crate::config::Part, other: &crate::config::Part| {
        (&one.from, &one.regex, &one.default, one.lower_case)
            == (&other.from, &other.regex, &other.default, other.lower_case)
    };
    one.when.iter().all(counts) && one.key.iter().all(|own| other.key.iter().any(|other| part(own, other)))
}

/// Whether the second has no say because of the first.
fn shadows((place, one): (usize, &Rule), (at, other): (usize, &Rule), config: &Config) -> bool {
    if place == at {
        return false;
    }
    let has_a_say = |rule: &Rule| !rule.shadow && rule.rollout.is_none_or(|share| share.fraction() >= 1.0);
    if !has_a_say(one) || !has_a_say(other) {
        return false;
    }
    match config.apply {
        // Whoever counts them.
        Apply::MostSpecific => place < at && asks_the_same(one, other),
        Apply::All => {
            // A service knows more of its limits than is written here, and one store may be gone while the other is not.
            if one.global != other.global || (one.global && config.redis.is_none()) {
                return false;
            }
            let plain = |rule: &Rule| matches!(rule.cost, crate::config::Cost::One);
            let (Some(limit), Some(others), true) = (&one.limit, &other.limit, plain(one) && plain(other)) else {
                return false;
            };
            // Of twins the second one is in vain.
            let twins = place > at && is_stricter(others, limit) && counts_all(other, one);
            counts_all(one, other) && is_stricter(limit, others) && !twins
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
    !other.is_slower_than(rate) && burst <= others
}
