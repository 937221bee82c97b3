//! The candidates among many routes. Few are simply walked; beyond that, they are looked up by what their paths begin
//! with.
//!
//! Every route is filed under literal text: a whole path, or the beginning of all paths that it can match (nothing, if
//! need be). The texts are sorted, and each knows the longest other one that it begins with. One binary search finds
//! the last text that is not above a path; all texts that the path begins with are that one or those that it begins
//! with in turn. Their routes are then merged in the order of the configuration, because the first match wins. What the
//! index leaves out cannot match. A lookup allocates nothing, unless more than [`AT_ONCE`] texts fit, or a route
//! ignores case and the path has capitals.

use std::borrow::Cow;
use std::collections::BTreeMap;

use smallvec::SmallVec;

use crate::case::Case;

/// Up to here walking is at least as fast.
const WALK: usize = 16;

/// So many lists of candidates are merged without an allocation.
const AT_ONCE: usize = 8;

/// Where a route is filed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    /// Under the only path that it matches.
    Whole(String, Case),
    /// Under what all of its paths begin with.
    Beginning(String, Case),
}

/// The routes of one virtual host, by path.
#[derive(Debug)]
pub enum Index {
    /// All of them, this many.
    Walk(usize),
    /// Looked up.
    Lookup(Box<Lookup>),
}

#[derive(Debug)]
pub struct Lookup {
    as_written: Texts,
    /// Those that ignore case, in lower case.
    lower: Texts,
}

/// Sorted by text.
#[derive(Debug, Default)]
struct Texts {
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    text: Box<[u8]>,
    /// The longest text that this one begins with.
    parent: Option<u32>,
    /// Routes for this very path, in order.
    whole: Vec<u32>,
    /// Routes for paths that begin so, in order.
    beginning: Vec<u32>,
}

impl Index {
    pub fn build(keys: impl ExactSizeIterator<Item = Key>) -> Self {
        if keys.len() <= WALK {
            return Self::Walk(keys.len());
        }
        let (mut as_written, mut lower) = (BTreeMap::new(), BTreeMap::new());
        for (at, key) in (0..).zip(keys) {
            let (Key::Whole(text, case) | Key::Beginning(text, case)) = &key;
            let texts: &mut BTreeMap<String, Routes> =
                if *case == Case::Ignored { &mut lower } else { &mut as_written };
            let text = if *case == Case::Ignored { text.to_ascii_lowercase() } else { text.clone() };
            let routes = texts.entry(text).or_default();
            match key {
                Key::Whole(..) => routes.whole.push(at),
                Key::Beginning(..) => routes.beginning.push(at),
            }
        }
        Self::Lookup(Box::new(Lookup { as_written: Texts::build(as_written), lower: Texts::build(lower) }))
    }

    /// What `try_route` says about the first candidate that it says anything about.
    pub fn first<T>(&self, path: &[u8], mut try_route: impl FnMut(usize) -> Option<T>) -> Option<T> {
        let lookup = match self {
            Self::Walk(count) => return (0..*count).find_map(try_route),
            Self::Lookup(lookup) => lookup,
        };
        let mut lists = SmallVec::new();
        lookup.as_written.collect(path, &mut lists);
        if !lookup.lower.entries.is_empty() {
            let lower = if path.iter().any(u8::is_ascii_uppercase) {
                Cow::Owned(path.to_ascii_lowercase())
            } else {
                Cow::Borrowed(path)
            };
            lookup.lower.collect(&lower, &mut lists);
        }
        while let Some(route) = next(&mut lists) {
            if let Some(found) = try_route(usize::try_from(route).ok()?) {
                return Some(found);
            }
        }
        None
    }
}

type Lists<'i> = SmallVec<[&'i [u32]; AT_ONCE]>;

/// Takes the lowest number off the lists, each of which rises.
fn next(lists: &mut Lists<'_>) -> Option<u32> {
    let lowest = lists.iter_mut().min_by_key(|list| list.first().copied().unwrap_or(u32::MAX))?;
    let (first, rest) = lowest.split_first()?;
    *lowest = rest;
    Some(*first)
}

#[derive(Default)]
struct Routes {
    whole: Vec<u32>,
    beginning: Vec<u32>,
}

impl Texts {
    fn build(texts: BTreeMap<String, Routes>) -> Self {
        let mut entries: Vec<Entry> = Vec::with_capacity(texts.len());
        // The texts that the last one begins with, itself on top.
        let mut open: Vec<u32> = Vec::new();
        for (at, (text, Routes { whole, beginning })) in (0..).zip(texts) {
            let text = text.into_bytes().into_boxed_slice();
            while let Some(top) = open.last() {
                if entry(&entries, *top).is_some_and(|entry| text.starts_with(&entry.text)) {
                    break;
                }
                open.pop();
            }
            let parent = open.last().copied();
            open.push(at);
            entries.push(Entry { text, parent, whole, beginning });
        }
        Self { entries }
    }

    /// The routes of every text that `path` begins with, a list for each.
    fn collect<'i>(&'i self, path: &[u8], lists: &mut Lists<'i>) {
        let above = self.entries.partition_point(|entry| *entry.text <= *path);
        let mut at = above.checked_sub(1).and_then(|at| self.entries.get(at));
        // Once one fits, so do all that it begins with.
        let mut fits = false;
        while let Some(found) = at {
            fits = fits || path.starts_with(&found.text);
            if fits {
                if found.text.len() == path.len() && !found.whole.is_empty() {
                    lists.push(&found.whole);
                }
                if !found.beginning.is_empty() {
                    lists.push(&found.beginning);
                }
            }
            at = found.parent.and_then(|parent| entry(&self.entries, parent));
        }
    }
}

fn entry(entries: &[Entry], at: u32) -> Option<&Entry> {
    entries.get(usize::try_from(at).ok()?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fits(key: &Key, path: &str) -> bool {
        match key {
            Key::Whole(text, case) => case.equal(path.as_bytes(), text.as_bytes()),
            Key::Beginning(text, case) => case.after(path.as_bytes(), text.as_bytes()).is_some(),
        }
    }

    fn key() -> impl Strategy<Value = Key> {
        ("[aAb/]{0,5}", any::<bool>(), any::<bool>()).prop_map(|(text, whole, ignored)| {
            let case = Case::ignored(ignored);
            if whole { Key::Whole(text, case) } else { Key::Beginning(text, case) }
        })
    }

    proptest! {
        #[test]
        fn candidates_come_in_order_and_none_is_left_out(keys in prop::collection::vec(key(), 17..80), path in "[aAb/]{0,7}") {
            let index = Index::build(keys.clone().into_iter());
            let mut seen = Vec::new();
            let nothing: Option<()> = index.first(path.as_bytes(), |at| {
                seen.push(at);
                None
            });
            prop_assert!(nothing.is_none());
            let expected: Vec<usize> = (0..keys.len()).filter(|at| fits(&keys[*at], &path)).collect();
            prop_assert_eq!(seen, expected);
        }
    }
}
