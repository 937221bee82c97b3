//! The candidates among many routes. Few are simply walked; beyond that, exact paths and prefixes are looked up.
//!
//! Candidates come in the order of the configuration, because the first match wins. What the index leaves out cannot match.

use std::collections::BTreeMap;

use crate::matching::PathMatch;

/// Up to here walking is at least as fast.
const WALK: usize = 16;

/// The routes of one virtual host, by path.
#[derive(Debug)]
pub enum Index {
    /// All of them, this many.
    Walk(usize),
    /// Looked up.
    Lookup(Lookup),
}

#[derive(Debug, Default)]
pub struct Lookup {
    exact: BTreeMap<Vec<u8>, Vec<usize>>,
    /// By length, so that each length costs one lookup.
    prefixes: BTreeMap<usize, BTreeMap<Vec<u8>, Vec<usize>>>,
    /// Those that may match any path.
    others: Vec<usize>,
}

impl Index {
    pub fn build<'a>(paths: impl ExactSizeIterator<Item = &'a PathMatch>) -> Self {
        if paths.len() <= WALK {
            return Self::Walk(paths.len());
        }
        let mut lookup = Lookup::default();
        for (at, path) in paths.enumerate() {
            match path {
                PathMatch::Exact(text) => lookup.exact.entry(text.clone().into_bytes()).or_default().push(at),
                PathMatch::Prefix(text) | PathMatch::SeparatedPrefix(text) => {
                    let same_length = lookup.prefixes.entry(text.len()).or_default();
                    same_length.entry(text.clone().into_bytes()).or_default().push(at);
                }
                PathMatch::Any | PathMatch::Regex(_) => lookup.others.push(at),
            }
        }
        Self::Lookup(lookup)
    }

    /// What `try_route` says about the first candidate that it says anything about.
    pub fn first<T>(&self, path: &[u8], mut try_route: impl FnMut(usize) -> Option<T>) -> Option<T> {
        match self {
            Self::Walk(count) => (0..*count).find_map(try_route),
            Self::Lookup(lookup) => {
                let mut candidates = lookup.others.clone();
                candidates.extend(lookup.exact.get(path).into_iter().flatten());
                for (length, prefixes) in &lookup.prefixes {
                    let Some(beginning) = path.get(..*length) else {
                        break;
                    };
                    candidates.extend(prefixes.get(beginning).into_iter().flatten());
                }
                candidates.sort_unstable();
                candidates.into_iter().find_map(&mut try_route)
            }
        }
    }
}
