//! Rules: which limit a descriptor has.
//!
//! The files are those of envoyproxy/ratelimit. A [`Rules`] is made of all of them at once, is immutable, and is replaced whole.
//!
//! # Matching
//! A descriptor's entries are walked from the first to the last, and the rules with them, level by level. At each level the most specific
//! rule is taken: one with exactly this key and value, else the first in the file whose value ends with `*` and begins as the entry's does,
//! else one with this key and no value. The walk never goes back: where the rule that was taken leads nowhere, there is no limit. Only a
//! rule as deep as the descriptor is long counts.
//!
//! | file | owns |
//! |---|---|
//! | `read.rs` | YAML to rules, and every mistake in it |
//! | `load.rs` | files and directories |
//! | `limit.rs` | what a rule allows |
//! | `dump.rs` | rules as text, for `/rlconfig` |

mod dump;
mod limit;
mod load;
mod read;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use smallvec::SmallVec;

pub use limit::{Algorithm, Limit, Measure};
pub(crate) use load::{Loaded, Signature, fingerprint, load};

use crate::messages::Entry;
use crate::yaml::Mistake;

/// The rules of all domains.
#[derive(Debug, Default)]
pub struct Rules {
    domains: HashMap<String, Domain>,
    /// What is not wrong but does nothing.
    warnings: Vec<Mistake>,
}

/// The rules of one domain.
#[derive(Debug)]
pub(crate) struct Domain {
    /// The file, and the line of its `domain`.
    file: String,
    line: usize,
    top: Level,
}

/// Rules that are looked for with the same entry: by key, then by value.
#[derive(Debug, Default)]
pub(crate) struct Level {
    keys: HashMap<String, Values>,
}

#[derive(Debug, Default)]
struct Values {
    exact: HashMap<String, Rule>,
    /// Prefixes, without the `*`, in the order of the file.
    wildcards: Vec<(String, Rule)>,
    any: Option<Rule>,
}

/// One rule. It need not have a limit: it may be there for those below it.
#[derive(Debug)]
pub(crate) struct Rule {
    /// `key`, `key_value` or `key_prefix*`, for metrics.
    label: String,
    /// The value as it is written, of a wildcard whose values share one counter.
    shared: Option<String>,
    value_to_metric: bool,
    is_exact: bool,
    limit: Option<Limit>,
    below: Level,
}

/// The limit that a descriptor has, and the rules on the way to it, one for each entry.
#[derive(Debug)]
pub(crate) struct Match<'a> {
    pub limit: &'a Limit,
    path: SmallVec<[&'a Rule; 4]>,
}

impl Rules {
    /// Whether there are rules for a domain.
    #[must_use]
    pub fn has_domain(&self, domain: &str) -> bool {
        self.domains.contains_key(domain)
    }

    /// The names of the domains, in their order.
    #[must_use]
    pub fn domains(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.domains.keys().map(String::as_str).collect();
        names.sort_unstable();
        names
    }

    /// What is not wrong but does nothing, like a wildcard behind another that has all of its values.
    #[must_use]
    pub fn warnings(&self) -> &[Mistake] {
        &self.warnings
    }

    /// The limit of a descriptor.
    pub(crate) fn find(&self, domain: &str, entries: &[Entry]) -> Option<Match<'_>> {
        let mut level = &self.domains.get(domain)?.top;
        let mut path = SmallVec::new();
        for entry in entries {
            let rule = level.find(entry)?;
            path.push(rule);
            level = &rule.below;
        }
        let limit = path.last().and_then(|rule: &&Rule| rule.limit.as_ref())?;
        Some(Match { limit, path })
    }

    /// The limit that a descriptor of these keys and values has, for those who want to know and not to count.
    #[must_use]
    pub fn limit(&self, domain: &str, entries: &[(&str, &str)]) -> Option<&Limit> {
        let entries: Vec<Entry> =
            entries.iter().map(|(key, value)| Entry { key: (*key).to_owned(), value: (*value).to_owned() }).collect();
        self.find(domain, &entries).map(|found| found.limit)
    }
}

impl Level {
    fn find(&self, entry: &Entry) -> Option<&Rule> {
        let values = self.keys.get(&entry.key)?;
        if let Some(rule) = values.exact.get(&entry.value) {
            return Some(rule);
        }
        let wildcard = values.wildcards.iter().find(|(prefix, _)| entry.value.starts_with(prefix.as_str()));
        wildcard.map(|(_, rule)| rule).or(values.any.as_ref())
    }
}

impl Match<'_> {
    /// The values by which hits are counted: the descriptor's own, but for wildcards that share.
    pub fn counted<'e>(&'e self, entries: &'e [Entry]) -> impl Iterator<Item = (&'e str, &'e str)> {
        entries
            .iter()
            .zip(&self.path)
            .map(|(entry, rule)| (entry.key.as_str(), rule.shared.as_deref().unwrap_or(entry.value.as_str())))
    }

    /// The labels of the metrics, where they are not the rule's own.
    pub fn labels(&self, entries: &[Entry]) -> Option<Vec<String>> {
        let has_values = |rule: &Rule| !rule.is_exact && (rule.value_to_metric || self.limit.detailed_metric);
        self.path.iter().any(|rule| has_values(rule)).then(|| {
            let labels = entries.iter().zip(&self.path).map(|(entry, rule)| {
                if has_values(rule) && !entry.value.is_empty() {
                    format!("{}_{}", entry.key, entry.value)
                } else {
                    rule.label.clone()
                }
            });
            labels.collect()
        })
    }
}

/// What all of a domain's files are read with.
#[derive(Debug, Clone)]
pub(crate) struct Reading {
    pub registry: Arc<crate::metrics::Registry>,
}
