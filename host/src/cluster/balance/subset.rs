//! Subsets: groups of hosts by label, made with the plan and found without allocating. Envoy: `lb_subset_config`.
//!
//! A request asks by labels. It is served by the selector with exactly those keys, and there by the subset with exactly
//! those values; where either is missing the fallback decides, the selector's own if it has one. Each subset has
//! priorities, panic and tables of its own: under Maglev that is 128 KiB for every distinct set of values.

use std::collections::BTreeMap;

use xxhash_rust::xxh64::Xxh64;

use crate::cluster::balance::{
    group::{Group, Zoning},
    pool::Build,
    settings::{Fallback, Subsets},
};

/// All subsets of a cluster.
#[derive(Debug)]
pub(crate) struct Directory {
    shelves: Box<[Shelf]>,
    fallback: Fallback,
    default: Option<Group>,
}

/// The subsets of one selector.
#[derive(Debug)]
struct Shelf {
    keys: Box<[Box<str>]>,
    fallback: Fallback,
    /// By hash.
    subsets: Box<[Subset]>,
}

#[derive(Debug)]
struct Subset {
    hash: u64,
    /// In the order of the shelf's keys.
    values: Box<[Box<str>]>,
    group: Group,
}

/// Where a request belongs.
pub(crate) enum Place<'a> {
    Group(&'a Group),
    Anywhere,
    Nowhere,
}

impl Directory {
    /// All subsets that `build`'s hosts make.
    pub fn new(settings: &Subsets, zoning: &Zoning<'_>, build: &mut Build<'_>) -> Self {
        let shelves = settings
            .selectors
            .iter()
            .map(|selector| {
                let mut keys: Vec<Box<str>> = selector.keys.iter().map(|key| key.as_str().into()).collect();
                keys.sort_unstable();
                keys.dedup();
                let subsets = subsets(&keys, zoning, build);
                Shelf { keys: keys.into(), fallback: selector.fallback.unwrap_or(settings.fallback), subsets }
            })
            .collect();
        let mut directory = Self { shelves, fallback: settings.fallback, default: None };
        if directory.falls_back_to(Fallback::Default) {
            let labelled = |host: &crate::cluster::balance::host::Host| {
                settings.default_labels.iter().all(|(key, value)| host.labels.get(key) == Some(value))
            };
            let members: Vec<u32> =
                (0_u32..).zip(build.hosts).filter(|(_, host)| labelled(host)).map(|(member, _)| member).collect();
            directory.default = Group::new(&members, zoning, build);
        }
        directory
    }

    /// Whether any request may come to this fallback.
    pub fn falls_back_to(&self, fallback: Fallback) -> bool {
        self.fallback == fallback || self.shelves.iter().any(|shelf| shelf.fallback == fallback)
    }

    /// Where a request with these labels belongs.
    pub fn find(&self, labels: &[(&str, &str)]) -> Place<'_> {
        let found = self.shelves.iter().find(|shelf| shelf.matches(labels));
        if let Some(group) = found.and_then(|shelf| shelf.find(labels)) {
            return Place::Group(group);
        }
        match found.map_or(self.fallback, |shelf| shelf.fallback) {
            Fallback::None => Place::Nowhere,
            Fallback::Any => Place::Anywhere,
            Fallback::Default => self.default.as_ref().map_or(Place::Nowhere, Place::Group),
        }
    }

    /// Bytes on the heap.
    pub fn memory(&self) -> usize {
        let text = |words: &[Box<str>]| words.iter().map(|word| size_of::<Box<str>>() + word.len()).sum::<usize>();
        let subset = |subset: &Subset| size_of::<Subset>() + text(&subset.values) + subset.group.memory();
        let all = |shelf: &Shelf| shelf.subsets.iter().map(subset).sum::<usize>();
        let shelves = self.shelves.iter().map(|shelf| size_of::<Shelf>() + text(&shelf.keys) + all(shelf));
        shelves.sum::<usize>() + self.default.as_ref().map_or(0, Group::memory)
    }
}

impl Shelf {
    /// Whether `labels` have exactly the shelf's keys. No key at all asks for nothing.
    fn matches(&self, labels: &[(&str, &str)]) -> bool {
        !labels.is_empty()
            && labels.len() == self.keys.len()
            && self.keys.iter().all(|key| value(labels, key).is_some())
    }

    fn find(&self, labels: &[(&str, &str)]) -> Option<&Group> {
        let wanted = || self.keys.iter().filter_map(|key| value(labels, key));
        let hash = hash(wanted());
        let first = self.subsets.partition_point(|subset| subset.hash < hash);
        let mut candidates = self.subsets.get(first..)?.iter().take_while(|subset| subset.hash == hash);
        candidates.find(|subset| subset.values.iter().map(|value| &**value).eq(wanted())).map(|subset| &subset.group)
    }
}

fn subsets(keys: &[Box<str>], zoning: &Zoning<'_>, build: &mut Build<'_>) -> Box<[Subset]> {
    let mut members: BTreeMap<Vec<&str>, Vec<u32>> = BTreeMap::new();
    if !keys.is_empty() {
        for (member, host) in (0_u32..).zip(build.hosts) {
            let values: Option<Vec<&str>> =
                keys.iter().map(|key| host.labels.get(&**key).map(String::as_str)).collect();
            if let Some(values) = values {
                members.entry(values).or_default().push(member);
            }
        }
    }
    let mut subsets: Vec<Subset> = members
        .into_iter()
        .filter_map(|(values, members)| {
            let hash = hash(values.iter().copied());
            let group = Group::new(&members, zoning, build)?;
            Some(Subset { hash, values: values.into_iter().map(Box::from).collect(), group })
        })
        .collect();
    subsets.sort_by_key(|subset| subset.hash);
    subsets.into()
}

fn value<'a>(labels: &[(&str, &'a str)], key: &str) -> Option<&'a str> {
    labels.iter().find(|(name, _)| *name == key).map(|(_, value)| *value)
}

fn hash<'a>(values: impl Iterator<Item = &'a str>) -> u64 {
    let mut hash = Xxh64::new(0);
    for value in values {
        hash.update(value.as_bytes());
        // No text contains it, so that ("ab", "c") is not ("a", "bc").
        hash.update(&[0xff]);
    }
    hash.digest()
}
