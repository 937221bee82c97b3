//! What could not be carried over, by name.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::fmt;

use serde_json::{Value, json};

use crate::place::ResourceKind;

/// More are counted, not kept: a file can make one for every line that it has.
const MOST: usize = 1000;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// It has no counterpart, or is wrong: without it the proxy would do something else. A resource with one of these is not accepted from a
    /// control plane.
    Refused,
    /// It means nothing here, and nobody misses it: buffers of statistics, names that only Envoy shows, what Fyke always does.
    Ignored,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused => "refused",
            Self::Ignored => "ignored",
        })
    }
}

/// Something of Envoy's configuration that is not in Fyke's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What kind of resource it is in.
    pub kind: ResourceKind,
    /// That resource's name.
    pub name: String,
    /// What it belongs to: `listener "http" filter_chains[0].filters[0].http_filters[2]`.
    pub resource: String,
    /// Where in that: `typed_config.rules`. Empty: all of it.
    pub path: String,
    /// Why.
    pub reason: String,
    /// How much it matters.
    pub severity: Severity,
}

impl Finding {
    /// For `--output json`: an object with `resource`, `path`, `reason` and `severity`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "resource": self.resource,
            "path": self.path,
            "reason": self.reason,
            "severity": self.severity.to_string(),
        })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.severity, self.resource)?;
        if !self.path.is_empty() {
            write!(f, ": {}", self.path)?;
        }
        write!(f, ": {}", self.reason)
    }
}

/// Collects findings while values are read; each is kept once.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    list: RefCell<Vec<Finding>>,
    seen: RefCell<HashSet<(String, String, String)>>,
    /// Of those beyond the bound, how many are refused and ignored.
    beyond: Cell<(usize, usize)>,
    refused: Cell<usize>,
}

impl Findings {
    pub fn push(&self, finding: Finding) {
        if finding.severity == Severity::Refused {
            self.refused.set(self.refused.get() + 1);
        }
        let mut list = self.list.borrow_mut();
        if list.len() >= MOST {
            let (refused, ignored) = self.beyond.get();
            self.beyond.set(match finding.severity {
                Severity::Refused => (refused + 1, ignored),
                Severity::Ignored => (refused, ignored + 1),
            });
            return;
        }
        let identity = (finding.resource.clone(), finding.path.clone(), finding.reason.clone());
        if self.seen.borrow_mut().insert(identity) {
            list.push(finding);
        }
    }

    /// How often something was refused so far, repetitions included.
    pub fn refused(&self) -> usize {
        self.refused.get()
    }

    /// All of them: those that matter more first, else in order.
    pub fn finish(self) -> Vec<Finding> {
        let mut list = self.list.into_inner();
        let (refused, ignored) = self.beyond.get();
        for (count, severity) in [(refused, Severity::Refused), (ignored, Severity::Ignored)] {
            if count > 0 {
                list.push(Finding {
                    kind: ResourceKind::Bootstrap,
                    name: String::new(),
                    resource: "configuration".to_owned(),
                    path: String::new(),
                    reason: format!("{count} more are not listed"),
                    severity,
                });
            }
        }
        list.sort_by_key(|finding| finding.severity);
        list
    }
}
