//! Why a set of resources cannot run, and which of them are to blame.

use fyke_envoy::{Finding, xds::ResourceType};

use super::Judge;
use crate::xds::{
    received::Received,
    sort_out::{Objection, Refused},
};

/// Findings that a refusal names.
const NAMED: usize = 3;

impl Judge {
    /// Whether something cannot run, and which of these resources are to blame.
    pub(super) fn object(&self, kind: ResourceType, names: &[String], received: &Received) -> Option<Objection> {
        let (text, findings) = received.translate(&self.translator);
        let mut about = Refused::new();
        for name in names {
            let of = findings.iter().filter(|finding| finding.kind == kind.kind() && finding.name == *name);
            about.extend(refusal(of).map(|why| (name.clone(), why)));
        }
        if !about.is_empty() {
            return Some(Objection { why: String::new(), about });
        }
        let report = self.keeper.could_follow(&self.name, &self.fragment(text)).err()?;
        let section = match kind {
            ResourceType::Cluster => "clusters",
            _ => "listeners",
        };
        if matches!(kind, ResourceType::Cluster | ResourceType::Listener) {
            for name in names {
                let (plain, quoted) = (format!("{section}.{name}"), format!("{section}.{name:?}"));
                let is_below = |path: &str| {
                    [&plain, &quoted].into_iter().any(|at| {
                        path.strip_prefix(at.as_str())
                            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
                    })
                };
                let of = report.problems().iter().filter(|problem| is_below(&problem.path));
                if let Some(problem) = of.into_iter().next() {
                    about.push((name.clone(), format!("{}: {}", problem.path, problem.message)));
                }
            }
        }
        Some(Objection { why: report.summary(), about })
    }
}

/// Why a resource is refused, if it is.
pub(super) fn refusal<'a>(findings: impl Iterator<Item = &'a Finding>) -> Option<String> {
    let mut texts: Vec<String> = findings
        .map(|Finding { resource, path, reason, .. }| match path.is_empty() {
            true => format!("{resource}: {reason}"),
            false => format!("{resource}: {path}: {reason}"),
        })
        .collect();
    if texts.is_empty() {
        return None;
    }
    let more = texts.len().saturating_sub(NAMED);
    texts.truncate(NAMED);
    if more > 0 {
        texts.push(format!("and {more} more"));
    }
    Some(texts.join("; "))
}
