//! Keeping the map, and the links.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::super::link::{Ask, Link};
use super::super::target::{Access, Target};
use super::slots::{self, Range};
use super::{MOST_HINTS, Map, Shared};
use crate::settings::Address;

/// How long a node may take to say who has which slots.
const ANSWER: Duration = Duration::from_millis(500);

/// The shortest and the longest time between two maps that were asked for because of a doubt. It is longer while nothing changes.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// How old a map gets that nobody doubts.
const AGE: Duration = Duration::from_secs(10);

/// How many nodes are asked, if those before them do not answer, or do not know of all slots.
const MOST_ASKED: usize = 4;

/// For how long a node that knows less of the cluster's history than the present map's is not believed. Later there may be nobody who knows it: a
/// cluster may be made anew.
const TRUSTED: Duration = Duration::from_secs(60);

/// How long a node is remembered that requests were sent on to, and that has no slots.
const HINTED: Duration = Duration::from_secs(60);

/// Who has which slots, as a node says.
#[derive(Debug)]
struct Found {
    ranges: Vec<Range>,
    /// The highest that the node has heard of.
    epoch: u64,
}

impl Shared {
    /// For as long as the cluster is used.
    pub(super) async fn keep(self: Arc<Self>, seeds: Vec<Address>, access: Access) {
        let (shortest, longest) = PAUSE;
        let (mut pause, mut told) = (shortest, false);
        let mut hinted: BTreeMap<Address, Instant> = BTreeMap::new();
        // Of the present map, and when a node last knew as much.
        let (mut epoch, mut known) = (0, Instant::now());
        self.replace(Vec::new(), &seeds, &access);
        loop {
            let new = std::mem::take(&mut *self.hints.lock().unwrap_or_else(PoisonError::into_inner));
            let found = self.look(&new, if known.elapsed() < TRUSTED { epoch } else { 0 }).await;
            let now = Instant::now();
            hinted.retain(|_, since| since.elapsed() < HINTED);
            for node in new {
                let is_new = !self.map.load().links.contains_key(&node) && hinted.len() < MOST_HINTS;
                if is_new || hinted.contains_key(&node) {
                    hinted.insert(node, now);
                }
            }
            match &found {
                Some(found) => (told, epoch, known) = (false, found.epoch, now),
                None if !told && self.is_connected() => {
                    told = true;
                    tracing::warn!(target: "fyke::ratelimit", "no node of the redis cluster says who has which slots");
                }
                None => {}
            }
            let ranges = found.map_or_else(|| self.map.load().ranges.clone(), |found| found.ranges);
            let besides: Vec<Address> = seeds.iter().chain(hinted.keys()).cloned().collect();
            let changed = self.replace(ranges, &besides, &access);
            pause = if changed { shortest } else { (pause * 2).min(longest) };
            tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
            let doubted = async {
                tokio::select! {
                    () = self.doubt.notified() => {}
                    () = self.common.connected.notified() => {}
                }
            };
            if tokio::time::timeout(AGE.mul_f64(0.5 + fastrand::f64() / 2.0), doubted).await.is_err() {
                pause = shortest;
            }
        }
    }

    fn is_connected(&self) -> bool {
        self.map.load().links.values().any(|link| link.is_up())
    }

    /// Asks who has which slots: first those who were pointed to, for they know best. Who knows of all slots is believed, or else who knows of most;
    /// but nobody whose cluster has not reached this epoch: cut off from the others, it answers what was so before.
    async fn look(&self, first: &BTreeSet<Address>, epoch: u64) -> Option<Found> {
        let map = self.map.load_full();
        let mut others: Vec<&Address> = map.links.keys().collect();
        fastrand::shuffle(&mut others);
        let mut asked = Vec::new();
        let mut best: Option<Found> = None;
        let (mut info, mut slots) = (redis::cmd("CLUSTER"), redis::cmd("CLUSTER"));
        info.arg("INFO");
        slots.arg("SLOTS");
        for node in first.iter().chain(others) {
            let Some(link) = map.links.get(node).filter(|link| link.is_up()) else { continue };
            if asked.len() == MOST_ASKED {
                break;
            }
            if asked.contains(&node) {
                continue;
            }
            asked.push(node);
            let until = Instant::now() + ANSWER;
            // The epoch first: the map is not older.
            let answer = link.ask(Ask::Command(&info), until).await;
            let reached = answer.ok().and_then(|answer| slots::epoch(&answer)).unwrap_or(0);
            if reached < epoch {
                continue;
            }
            let answer = link.ask(Ask::Command(&slots), until).await;
            let Some(ranges) = answer.ok().and_then(|answer| slots::read(&answer, &node.host)) else { continue };
            let known = slots::covered(&ranges);
            if known > best.as_ref().map_or(0, |best| slots::covered(&best.ranges)) {
                best = Some(Found { ranges, epoch: reached });
            }
            if known == slots::SLOTS {
                break;
            }
        }
        best
    }

    /// Has a link for each node that is in the map, or wanted besides; links that are there go on. Whether anything is new.
    fn replace(&self, ranges: Vec<Range>, besides: &[Address], access: &Access) -> bool {
        let old = self.map.load_full();
        let mut links: HashMap<Address, Arc<Link>> = HashMap::new();
        let mut is_new = old.ranges != ranges;
        for node in ranges.iter().map(|range| &range.node).chain(besides) {
            if links.contains_key(node) {
                continue;
            }
            let link = match old.links.get(node) {
                Some(link) => Arc::clone(link),
                None => match access.client(node) {
                    Ok(client) => {
                        is_new = true;
                        Arc::new(Link::new(Target::Server(Box::new(client)), Arc::clone(&self.common)))
                    }
                    Err(error) => {
                        tracing::debug!(target: "fyke::ratelimit", %node, %error, "no node of a redis cluster");
                        continue;
                    }
                },
            };
            links.insert(node.clone(), link);
        }
        if is_new || links.len() != old.links.len() {
            self.map.store(Arc::new(Map { ranges, links }));
        }
        is_new
    }
}
