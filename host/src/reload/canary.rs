//! Canaries: which there are, and how they are judged while they run.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use super::keeper::{self, Keeper};
use crate::{
    config::{Config, fingerprint::Fingerprint},
    snapshot::Snapshot,
    wasm::{
        build::Blueprint,
        trial::{Reading, Trial},
    },
};

/// How often canaries are looked at.
const PERIOD: Duration = Duration::from_millis(100);
/// Looks that are remembered, beside the count of all: a canary that was good for hours can be bad from now on.
const WINDOW: usize = 100;
/// Looks of the short time in which many traps are an alarm: a second.
const SECOND: usize = 10;

/// The canaries of a configuration. One whose two versions are still the same goes on with what was counted.
pub(super) fn trials(
    config: &Config,
    blueprint: &Blueprint,
    before: Option<&Snapshot>,
) -> BTreeMap<String, Arc<Trial>> {
    let one = |name: &String| {
        let filter = config.filters.get(name)?;
        let canary = filter.canary.as_ref()?;
        let (old, new) = (blueprint.facts(name)?, blueprint.facts(&canary.version.name)?);
        let identity = Fingerprint::of([filter.fingerprint.bytes(), old.hash.as_bytes(), new.hash.as_bytes()]);
        let known = before.and_then(|before| before.trials.get(name)).filter(|known| known.identity == identity);
        let trial = known.map_or_else(|| Arc::new(Trial::new(name.clone(), (**canary).clone(), identity)), Arc::clone);
        Some((name.clone(), trial))
    };
    config.filters.keys().filter_map(one).collect()
}

/// Judges canaries until it is aborted. One that is found to be bad goes, and its filter is as it was.
pub async fn judge(keeper: Arc<Keeper>) {
    let mut timer = tokio::time::interval(PERIOD);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut looks: BTreeMap<String, Looks> = BTreeMap::new();
    loop {
        timer.tick().await;
        let snapshot = keeper.proxy.snapshot();
        looks.retain(|name, looks| {
            snapshot.trials.get(name).is_some_and(|trial| trial.identity == looks.trial.identity)
        });
        for (name, trial) in &snapshot.trials {
            let looks = looks.entry(name.clone()).or_insert_with(|| Looks::at(trial));
            let Some(why) = looks.verdict() else { continue };
            let (name, identity, keeper) = (name.clone(), trial.identity, Arc::clone(&keeper));
            let taken_back = keeper::aside(move || keeper.take_back_canary(&name, identity, &why)).await;
            if let Err(error) = taken_back {
                tracing::error!("a canary cannot be taken back: {error}");
            }
        }
    }
}

/// Counts of one canary and its filter over time.
struct Looks {
    trial: Arc<Trial>,
    /// Oldest first.
    seen: VecDeque<(Reading, Reading)>,
}

impl Looks {
    fn at(trial: &Arc<Trial>) -> Self {
        Self { trial: Arc::clone(trial), seen: VecDeque::new() }
    }

    /// Why the canary must go: by all that was counted, by what was lately, or by a bad second.
    fn verdict(&mut self) -> Option<String> {
        let now = self.trial.read();
        let lately = self.seen.front().map(|(stable, canary)| (now.0.since(stable), now.1.since(canary)));
        let second = self.seen.len().checked_sub(SECOND).and_then(|index| self.seen.get(index));
        let second = second.map(|(_, canary)| now.1.since(canary));
        self.seen.push_back(now);
        if self.seen.len() > WINDOW {
            self.seen.pop_front();
        }
        let judged = |(stable, canary): (Reading, Reading)| self.trial.verdict(&stable, &canary);
        judged(now).or_else(|| lately.and_then(judged)).or_else(|| second.and_then(|canary| self.trial.alarm(&canary)))
    }
}
