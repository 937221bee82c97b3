//! Counters in a Redis Cluster: each key has a slot, and each slot a node.
//!
//! Keys of one request that have the same slot are one call of the script, the others are calls of their own, all at once: a call whose keys have
//! several slots is refused even where one node has all of them. Each node has a [`Link`], which alone connects; requests go where the map says,
//! and where a node says that it is another (`MOVED`, `ASK`) they follow it, if that one is connected, within their timeout. A node that
//! is away fails the keys that it has, and no others.
//!
//! A task keeps the map: it asks a node that is connected, who has which slots, whenever a connection was made, a node has pointed
//! elsewhere, or a request has failed; but never all the time. It begins and ends links, so that each node in the map has one, and the nodes of the settings have.
//!
//! The client for clusters of crate `redis` is not this: while it learns the map anew no request goes on, and requests for nodes that are away
//! are tried again with others.

mod keep;
mod slots;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use futures_util::future::join_all;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use self::slots::Range;
use super::super::{Charge, Count, StoreError};
use super::call::{Call, Mode};
use super::link::{Ask, Common, Elsewhere, Fault, Link};
use super::target::Access;
use crate::settings::Address;

/// How often a request is sent on.
const REDIRECTS: usize = 3;

/// Nodes that requests were sent on to; more are not remembered, nor connected to beside those of the map and of the settings.
const MOST_HINTS: usize = 64;

#[derive(Debug)]
pub(super) struct Cluster {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    map: ArcSwap<Map>,
    /// Where requests were sent on to since the map was made.
    hints: Mutex<BTreeSet<Address>>,
    /// The map may be wrong.
    doubt: Notify,
    common: Arc<Common>,
}

/// Who has what.
#[derive(Debug, Default)]
struct Map {
    ranges: Vec<Range>,
    links: HashMap<Address, Arc<Link>>,
}

/// Charges of one slot: which of them.
#[derive(Debug)]
struct Group {
    slot: u16,
    places: Vec<usize>,
}

impl Cluster {
    /// Begins to connect to these nodes, and to those that they name.
    pub fn new(seeds: Vec<Address>, access: Access, common: Arc<Common>) -> Self {
        let shared = Shared { map: ArcSwap::default(), hints: Mutex::default(), doubt: Notify::new(), common };
        let shared = Arc::new(shared);
        let task = tokio::spawn(Arc::clone(&shared).keep(seeds, access));
        Self { shared, task }
    }

    /// Whether charges are on more than one slot, so that no call can count all of them.
    pub fn are_apart(charges: &[Charge]) -> bool {
        let mut slots = charges.iter().map(|charge| slots::slot(&charge.key));
        let first = slots.next();
        slots.any(|slot| Some(slot) != first)
    }

    /// Asks whoever has the charges' slots, all at once, and waits no longer than until then. Of each charge: what came of it.
    pub async fn ask(&self, charges: &[Charge], mode: Mode, until: Instant) -> Vec<Result<Count, StoreError>> {
        let groups = groups(charges);
        let answers = join_all(groups.iter().map(|group| {
            let charges = group.places.iter().filter_map(|place| charges.get(*place)).collect();
            self.ask_one(group.slot, Call { charges, mode }, until)
        }));
        let mut found = vec![Err(StoreError::Failed); charges.len()];
        for (group, answer) in groups.iter().zip(answers.await) {
            if answer.is_err() {
                self.shared.doubt.notify_one();
            }
            for (at, place) in group.places.iter().enumerate() {
                let count = match &answer {
                    Ok(counts) => counts.get(at).copied().ok_or(StoreError::Failed),
                    Err(error) => Err(*error),
                };
                if let Some(slot) = found.get_mut(*place) {
                    *slot = count;
                }
            }
        }
        found
    }

    async fn ask_one(&self, slot: u16, call: Call<'_>, until: Instant) -> Result<Vec<Count>, StoreError> {
        let map = self.shared.map.load_full();
        let mut node = slots::owner(&map.ranges, slot).ok_or(StoreError::Unavailable)?.clone();
        let mut what = Ask::Charge(&call);
        for _ in 0..=REDIRECTS {
            let link = map.links.get(&node).ok_or(StoreError::Unavailable)?;
            let text = match link.ask(what, until).await {
                Ok(answer) => return call.read(&answer).ok_or(StoreError::Failed),
                Err(Fault::Store(error)) => return Err(error),
                Err(Fault::Elsewhere(Elsewhere::Moved(text))) => {
                    what = Ask::Charge(&call);
                    self.shared.doubt.notify_one();
                    text
                }
                Err(Fault::Elsewhere(Elsewhere::Moving(text))) => {
                    what = Ask::ChargeMoving(&call);
                    text
                }
            };
            node = Address::of_redis(&text, &node.host).ok_or(StoreError::Failed)?;
            self.shared.hint(&map, &node);
        }
        Err(StoreError::Failed)
    }

    /// Whether each slot has a node that is connected.
    pub fn is_up(&self) -> bool {
        let map = self.shared.map.load();
        let connected = |range: &&Range| map.links.get(&range.node).is_some_and(|link| link.is_up());
        let up: u32 = map.ranges.iter().filter(connected).map(|range| u32::from(range.last - range.first) + 1).sum();
        up == u32::from(slots::SLOTS)
    }

    /// How it is, in words.
    pub fn status(&self) -> String {
        let map = self.shared.map.load();
        let nodes: BTreeSet<&Address> = map.ranges.iter().map(|range| &range.node).collect();
        let is_up = |node: &&&Address| map.links.get(**node).is_some_and(|link| link.is_up());
        let (up, all) = (nodes.iter().filter(is_up).count(), nodes.len());
        match (all, self.is_up()) {
            (0, _) => "redis cluster not connected".to_owned(),
            (_, true) => format!("redis cluster of {all} primaries connected"),
            (_, false) if up < all => format!("redis cluster: {up} of {all} primaries connected"),
            (_, false) => "redis cluster: not all slots have a node".to_owned(),
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    /// A request was sent on to a node. Where that is not known, it is to be.
    fn hint(&self, map: &Map, node: &Address) {
        let mut hints = self.hints.lock().unwrap_or_else(PoisonError::into_inner);
        if hints.len() < MOST_HINTS {
            hints.insert(node.clone());
        }
        drop(hints);
        if !map.links.contains_key(node) {
            self.doubt.notify_one();
        }
    }
}

/// What can be counted together.
fn groups(charges: &[Charge]) -> Vec<Group> {
    let mut slots: Vec<(u16, usize)> =
        charges.iter().enumerate().map(|(place, charge)| (slots::slot(&charge.key), place)).collect();
    slots.sort_unstable();
    let same = slots.chunk_by(|one, next| one.0 == next.0);
    same.filter_map(|same| {
        let slot = same.first()?.0;
        Some(Group { slot, places: same.iter().map(|(_, place)| *place).collect() })
    })
    .collect()
}
