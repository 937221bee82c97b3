//! Rules as text, one line for each limit, as envoyproxy/ratelimit writes them.

use std::fmt;

use super::{Algorithm, Level, Rule, Rules};

impl fmt::Display for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for name in self.domains() {
            if let Some(domain) = self.domains.get(name) {
                level(f, name, &domain.top)?;
            }
        }
        Ok(())
    }
}

fn level(f: &mut fmt::Formatter<'_>, above: &str, level: &Level) -> fmt::Result {
    let mut rules: Vec<&Rule> = level
        .keys
        .values()
        .flat_map(|values| {
            values.exact.values().chain(values.wildcards.iter().map(|(_, rule)| rule)).chain(&values.any)
        })
        .collect();
    rules.sort_by(|one, other| one.label.cmp(&other.label));
    for rule in rules {
        let key = format!("{above}.{}", rule.label);
        if let Some(limit) = &rule.limit {
            if limit.unlimited {
                write!(f, "{key}: unlimited")?;
            } else {
                let unit = limit.measure.unit.name().to_ascii_uppercase();
                write!(f, "{key}: unit={unit} requests_per_unit={}", limit.measure.requests_per_unit)?;
            }
            if let Algorithm::Gcra { burst } = limit.measure.algorithm {
                write!(f, " algorithm=gcra burst={burst}")?;
            }
            writeln!(f, ", shadow_mode: {}", limit.shadow_mode)?;
        }
        self::level(f, &key, &rule.below)?;
    }
    Ok(())
}
