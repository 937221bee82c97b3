//! Weighted clusters whose choice is the router's, because something hangs on it that the host cannot know: header
//! changes of one cluster, or a number that a request brings along. All others are drawn by the host.

use fyke_sdk::{RouteHandle, random};

use crate::headers::HeaderChanges;
use crate::subject::Subject;

/// The clusters, and what decides.
#[derive(Debug)]
pub struct WeightedClusters {
    pub choices: Vec<Choice>,
    pub by: By,
    /// Whether one of them is a route of its own.
    pub differ: bool,
}

/// What decides.
#[derive(Debug)]
pub enum By {
    /// A random number.
    Random,
    /// The route's hash.
    Hash,
    /// The number in this header.
    Header(String),
}

/// Where a choice leads.
#[derive(Debug)]
pub enum Target {
    /// To this cluster.
    Cluster(String),
    /// To the one that this request header names.
    Header(String),
}

/// One cluster.
#[derive(Debug)]
pub struct Choice {
    /// The route as it is with this cluster, where that is not the same as with the others.
    pub handle: Option<RouteHandle>,
    pub target: Target,
    pub weight: u32,
    pub host: Option<String>,
    pub request_headers: HeaderChanges,
    pub response_headers: HeaderChanges,
}

impl WeightedClusters {
    /// Whether the router has to choose by itself.
    pub fn is_needed(&self) -> bool {
        self.differ
            || !matches!(self.by, By::Random)
            || self.choices.iter().any(|choice| {
                matches!(choice.target, Target::Header(_))
                    || choice.host.is_some()
                    || !choice.request_headers.is_empty()
                    || !choice.response_headers.is_empty()
            })
    }

    /// The number of the chosen one. `draw` is the stream's random number, drawn when it is first needed, so that every
    /// look gives the same cluster.
    pub fn choose(&self, subject: &Subject<'_>, hash: Option<u64>, draw: &mut Option<u64>) -> Option<usize> {
        let given = match &self.by {
            By::Random => None,
            By::Hash => hash,
            By::Header(name) => {
                subject.header(name, |value| std::str::from_utf8(value?).ok()?.trim().parse::<u64>().ok())
            }
        };
        let number = given.unwrap_or_else(|| *draw.get_or_insert_with(random::number));
        let total = self.choices.iter().map(|choice| u64::from(choice.weight)).sum();
        let mut left = number.checked_rem(total)?;
        self.choices.iter().position(|choice| match left.checked_sub(u64::from(choice.weight)) {
            None => true,
            Some(rest) => {
                left = rest;
                false
            }
        })
    }
}
