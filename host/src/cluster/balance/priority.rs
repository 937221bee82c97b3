//! How load is spread over priorities, and which of them are in panic: Envoy's `recalculatePerPriorityState`,
//! `recalculatePerPriorityPanic` and `recalculateLoadInTotalPanic`, in whole percents as there.
//!
//! A priority can bear its percentage of available hosts times the overprovisioning factor. Load fills the priorities
//! in order, first their healthy hosts, then their degraded ones. Only if all together cannot bear 100% may a priority
//! with fewer available hosts than the panic threshold be in panic; if all of them are, load goes by their number of
//! hosts.
//!
//! Draining hosts are Fyke's addition. They are missing where capacity is counted, as in Envoy; but panic asks for the
//! others only, because a host that announces its leave is no sign of a failing health check. Where nothing is
//! available they are used before the request fails, with panic switched off as well.

use crate::cluster::balance::settings::{Availability, Settings};

/// Who is at a priority.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Census {
    pub all: Tally,
    pub healthy: Tally,
    pub degraded: Tally,
    pub draining: Tally,
}

/// A number of hosts and their weight.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub hosts: u64,
    pub weight: u64,
}

impl Tally {
    /// One more host.
    pub fn add(&mut self, weight: u32) {
        self.hosts = self.hosts.saturating_add(1);
        self.weight = self.weight.saturating_add(u64::from(weight));
    }

    fn by(self, availability: Availability) -> u64 {
        match availability {
            Availability::Count => self.hosts,
            Availability::Weight => self.weight,
        }
    }
}

/// What a priority bears, in percent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Standing {
    /// What its healthy hosts could bear.
    pub health: u8,
    /// What its degraded hosts could bear.
    pub degraded_health: u8,
    /// What goes to its healthy hosts, or to those that its mode says.
    pub healthy_load: u8,
    /// What goes to its degraded hosts.
    pub degraded_load: u8,
    pub mode: Mode,
}

/// Who serves at a priority.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Mode {
    /// Healthy and degraded hosts, each their part.
    Normal,
    /// All hosts, health being implausible.
    Panic,
    /// Draining hosts, for want of others.
    Draining,
}

/// The standing of every priority, in order. Loads add up to 100, or to 0 where nobody can serve.
pub(crate) fn standings(levels: &[Census], settings: &Settings) -> Vec<Standing> {
    let bears = |part: Tally, all: Tally| {
        let (part, all) = (u128::from(part.by(settings.availability)), u128::from(all.by(settings.availability)));
        let percent = (u128::from(settings.overprovisioning_factor) * part).checked_div(all).unwrap_or(0);
        u8::try_from(percent.min(100)).unwrap_or(100)
    };
    let mut standings: Vec<Standing> = levels
        .iter()
        .map(|census| Standing {
            health: bears(census.healthy, census.all),
            degraded_health: bears(census.degraded, census.all),
            healthy_load: 0,
            degraded_load: 0,
            mode: Mode::Normal,
        })
        .collect();
    let total: u32 = standings.iter().map(|level| u32::from(level.health) + u32::from(level.degraded_health)).sum();
    let total = total.min(100);
    if total < 100 {
        for (standing, census) in standings.iter_mut().zip(levels) {
            if in_panic(census, settings.panic_threshold) {
                standing.mode = Mode::Panic;
            }
        }
    }
    if !standings.is_empty() && standings.iter().all(|standing| standing.mode == Mode::Panic) {
        by_size(&mut standings, levels, |census| census.all.hosts);
    } else if total > 0 {
        by_availability(&mut standings, total);
    } else {
        by_presence(&mut standings, levels);
    }
    standings
}

fn in_panic(census: &Census, threshold: u32) -> bool {
    let staying = u128::from(census.all.hosts.saturating_sub(census.draining.hosts));
    let available = u128::from(census.healthy.hosts) + u128::from(census.degraded.hosts);
    let threshold = u128::from(threshold.min(100));
    if staying == 0 { threshold > 0 } else { available * 100 < threshold * staying }
}

/// Fills priorities in order, healthy hosts of all of them before degraded ones. What rounding leaves goes to the first
/// that can bear any.
fn by_availability(standings: &mut [Standing], total: u32) {
    let mut left = 100;
    let mut fill = |bears: u8, load: &mut u8| {
        let part = (u32::from(bears) * 100).checked_div(total).unwrap_or(0).min(left);
        left -= part;
        *load = u8::try_from(part).unwrap_or(100);
    };
    for standing in &mut *standings {
        fill(standing.health, &mut standing.healthy_load);
    }
    for standing in &mut *standings {
        fill(standing.degraded_health, &mut standing.degraded_load);
    }
    let rest = u8::try_from(left).unwrap_or(0);
    if let Some(first) = standings.iter_mut().find(|standing| standing.health > 0) {
        first.healthy_load += rest;
    } else if let Some(first) = standings.iter_mut().find(|standing| standing.degraded_health > 0) {
        first.degraded_load += rest;
    }
}

/// Loads where the available hosts are too few for a whole percent, or there are none: those that there are serve
/// nevertheless, the best kind that is present.
fn by_presence(standings: &mut [Standing], levels: &[Census]) {
    if levels.iter().any(|census| census.healthy.hosts > 0) {
        by_size(standings, levels, |census| census.healthy.hosts);
    } else if levels.iter().any(|census| census.degraded.hosts > 0) {
        by_size(standings, levels, |census| census.degraded.hosts);
        for standing in standings {
            (standing.healthy_load, standing.degraded_load) = (0, standing.healthy_load);
        }
    } else {
        by_size(standings, levels, |census| census.draining.hosts);
        for standing in standings.iter_mut().filter(|standing| standing.mode == Mode::Normal) {
            standing.mode = Mode::Draining;
        }
    }
}

/// Loads by size; what rounding leaves goes to the first that has any.
fn by_size(standings: &mut [Standing], levels: &[Census], size: impl Fn(&Census) -> u64) {
    let total: u128 = levels.iter().map(|census| u128::from(size(census))).sum();
    if total == 0 {
        return;
    }
    let mut left = 100_u8;
    for (standing, census) in standings.iter_mut().zip(levels) {
        let part = u8::try_from(100 * u128::from(size(census)) / total).unwrap_or(100).min(left);
        (standing.healthy_load, standing.degraded_load) = (part, 0);
        left -= part;
    }
    if let Some((first, _)) = standings.iter_mut().zip(levels).find(|(_, census)| size(census) > 0) {
        first.healthy_load += left;
    }
}

#[cfg(test)]
mod tests;
