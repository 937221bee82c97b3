//! Decides which hosts of a cluster are ejected, and for how long.
//!
//! One mutex around plain state. It is taken by a sweep, by changes of membership, and by a worker that saw a row of
//! failures complete: never by a request that went well. Nothing is awaited or called back under it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use fastrand::Rng;

use super::{
    Change, Counts, Detection, Evidence, HostOutlier, Reason, Return, Settings, Verdict,
    host::{Volume, Volumes},
    statistics::{Threshold, success_rate_threshold},
};

/// Outlier detection of one cluster. `K` names a host: its address, or the number of an endpoint.
#[derive(Debug)]
pub struct Detector<K> {
    state: Mutex<State<K>>,
}

/// What is known of a host, for an operator.
#[derive(Debug, Clone, PartialEq)]
pub struct HostReport<K> {
    /// Which host.
    pub host: K,
    /// When it was ejected, if it is.
    pub ejected: Option<Instant>,
    /// How often it has been ejected.
    pub ejections: u64,
    /// How many `base_ejection_time`s the last ejection lasted, less those that it has behaved away since.
    pub multiplier: u32,
    /// Percentage of answers in the interval before the last sweep that were no failures; `None` without any.
    pub success_rate: Option<f64>,
    /// Percentage of connections in that interval that were none; `None` without any.
    pub local_origin_success_rate: Option<f64>,
}

impl<K: Ord + Clone> Detector<K> {
    /// A detector without hosts. `random` draws for `enforcing_*` and jitter; cryptography it is not.
    #[must_use]
    pub fn new(settings: Settings, random: Rng) -> Self {
        let state = State { settings, random, members: BTreeMap::new(), counts: Counts::default() };
        Self { state: Mutex::new(state) }
    }

    /// The counters of `host`, made anew unless it is a member already. `workers` is how many workers will record.
    pub fn add(&self, host: K, workers: usize) -> Arc<HostOutlier> {
        let mut state = self.lock();
        let State { settings, members, .. } = &mut *state;
        let member = members.entry(host).or_insert_with(|| Member::new(Arc::new(HostOutlier::new(settings, workers))));
        Arc::clone(&member.outlier)
    }

    /// Forgets a host, and with it its ejection. Who still holds its counters may go on recording, to no effect.
    pub fn remove(&self, host: &K) {
        let mut state = self.lock();
        if let Some(member) = state.members.remove(host) {
            if member.is_ejected() {
                state.counts.forget_ejected();
            }
            member.outlier.set_ejected(false);
        }
    }

    /// Takes over other settings for all hosts; ejections that last are judged by the new times at the next sweep.
    pub fn configure(&self, settings: Settings) {
        let mut state = self.lock();
        for member in state.members.values() {
            member.outlier.configure(&settings);
        }
        state.settings = settings;
    }

    /// Acts on what [`HostOutlier::record`] returned, at once. Called from workers; takes the mutex.
    ///
    /// One change per row of the detection at most; none when the host is ejected already or no member any more.
    pub fn try_eject(&self, host: &K, detection: Detection, now: Instant) -> Vec<Change<K>> {
        let mut state = self.lock();
        let rows = detection.rows();
        rows.filter_map(|(reason, failures)| state.outlier(host, reason, Evidence::Consecutive { failures }, now))
            .collect()
    }

    /// An active health check of `host` passed. Ends its ejection if
    /// [`Settings::successful_active_health_check_uneject_host`] says so.
    pub fn health_check_passed(&self, host: &K, now: Instant) -> Option<Change<K>> {
        let mut state = self.lock();
        if !state.settings.successful_active_health_check_uneject_host {
            return None;
        }
        state.uneject(host, Return::HealthCheck, now)
    }

    /// To be called every [`Settings::interval`]. Brings back hosts whose time is over, then judges the interval's
    /// volumes, then lets the ejection times of hosts that behaved shrink.
    pub fn sweep(&self, now: Instant) -> Vec<Change<K>> {
        self.lock().sweep(now)
    }

    /// Numbers for metrics.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.lock().counts
    }

    /// What is known of each host, in the order of their names.
    #[must_use]
    pub fn report(&self) -> Vec<HostReport<K>> {
        let state = self.lock();
        let report = |(host, member): (&K, &Member)| HostReport {
            host: host.clone(),
            ejected: member.ejection.as_ref().map(|ejection| ejection.since),
            ejections: member.ejections,
            multiplier: member.multiplier,
            success_rate: member.volumes.external.success_rate(),
            local_origin_success_rate: member.volumes.local.success_rate(),
        };
        state.members.iter().map(report).collect()
    }

    /// A panic under the mutex cannot leave half a decision that matters: each field stands alone.
    fn lock(&self) -> MutexGuard<'_, State<K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct State<K> {
    settings: Settings,
    random: Rng,
    /// Ordered, so that decisions do not depend on the run of a hash.
    members: BTreeMap<K, Member>,
    counts: Counts,
}

#[derive(Debug)]
struct Member {
    outlier: Arc<HostOutlier>,
    ejection: Option<Ejection>,
    ejections: u64,
    /// Envoy's `eject_time_backoff`.
    multiplier: u32,
    last_unejection: Option<Instant>,
    /// Of the interval before the last sweep.
    volumes: Volumes,
}

#[derive(Debug)]
struct Ejection {
    since: Instant,
    jitter: Duration,
}

/// Whose volumes are judged.
#[derive(Debug, Clone, Copy)]
enum Origin {
    External,
    Local,
}

impl<K: Ord + Clone> State<K> {
    fn sweep(&mut self, now: Instant) -> Vec<Change<K>> {
        let mut changes = Vec::new();
        let mut over = Vec::new();
        for (host, member) in &mut self.members {
            member.volumes = member.outlier.harvest();
            if member.ejection.as_ref().is_some_and(|ejection| {
                now.saturating_duration_since(ejection.since) >= member.duration(&self.settings, ejection.jitter)
            }) {
                over.push(host.clone());
            }
        }
        changes.extend(over.iter().filter_map(|host| self.uneject(host, Return::Elapsed, now)));
        for origin in [Origin::External, Origin::Local] {
            self.judge(origin, now, &mut changes);
        }
        for member in self.members.values_mut().filter(|member| !member.is_ejected()) {
            let behaved = member.last_unejection.map(|since| now.saturating_duration_since(since));
            if behaved.is_some_and(|behaved| behaved >= self.settings.interval) {
                member.multiplier = member.multiplier.saturating_sub(1);
            }
        }
        changes
    }

    /// Who had enough requests is settled before anybody is ejected, so that neither kind of detection hides hosts
    /// from the other.
    fn judge(&mut self, origin: Origin, now: Instant, changes: &mut Vec<Change<K>>) {
        let (success_rate, failure_percentage) =
            (self.settings.success_rate.clone(), self.settings.failure_percentage.clone());
        let judged = self.success_rates(origin, success_rate.request_volume, success_rate.minimum_hosts);
        let candidates =
            self.success_rates(origin, failure_percentage.request_volume, failure_percentage.minimum_hosts);

        let rates: Vec<f64> = judged.iter().map(|(_, rate)| *rate).collect();
        if let Some(Threshold { average, ejection }) = success_rate_threshold(&rates, success_rate.stdev_factor) {
            let reason = match origin {
                Origin::External => Reason::SuccessRate,
                Origin::Local => Reason::LocalOriginSuccessRate,
            };
            for (host, rate) in judged.into_iter().filter(|(_, rate)| *rate < ejection) {
                let evidence = Evidence::SuccessRate { host: rate, average, threshold: ejection };
                changes.extend(self.outlier(&host, reason, evidence, now));
            }
        }

        let threshold = failure_percentage.threshold;
        let reason = match origin {
            Origin::External => Reason::FailurePercentage,
            Origin::Local => Reason::LocalOriginFailurePercentage,
        };
        for (host, failed) in candidates.into_iter().map(|(host, rate)| (host, 100.0 - rate)) {
            if failed >= f64::from(threshold) {
                let evidence = Evidence::FailurePercentage { host: failed, threshold };
                changes.extend(self.outlier(&host, reason, evidence, now));
            }
        }
    }

    /// The hosts that take part in load balancing and had enough requests, with their rates; none if they are too few.
    fn success_rates(&self, origin: Origin, request_volume: u32, minimum_hosts: u32) -> Vec<(K, f64)> {
        let volume = |member: &Member| -> Volume {
            match origin {
                Origin::External => member.volumes.external,
                Origin::Local => member.volumes.local,
            }
        };
        let members = self.members.iter().filter(|(_, member)| !member.is_ejected());
        let rates: Vec<(K, f64)> = members
            .filter(|(_, member)| volume(member).total() >= request_volume)
            .filter_map(|(host, member)| Some((host.clone(), volume(member).success_rate()?)))
            .collect();
        let few = u32::try_from(rates.len()).is_ok_and(|hosts| hosts < minimum_hosts);
        if few { Vec::new() } else { rates }
    }

    /// `host` is an outlier: decides what becomes of it.
    ///
    /// A host that is ejected already is let be. Envoy may eject a host by success rate and by failure percentage in
    /// one sweep, and counts it twice as active from then on.
    fn outlier(&mut self, host: &K, reason: Reason, evidence: Evidence, now: Instant) -> Option<Change<K>> {
        let fits = self.one_more_fits();
        let member = self.members.get_mut(host).filter(|member| !member.is_ejected())?;
        let verdict = if !fits {
            Verdict::Overflow { reason, evidence }
        } else if chance(&mut self.random, self.settings.enforcing.of(reason)) {
            let duration = member.eject(&self.settings, &mut self.random, now);
            Verdict::Ejected { reason, evidence, duration }
        } else {
            Verdict::NotEnforced { reason, evidence }
        };
        self.counts.add(&verdict);
        Some(Change { host: host.clone(), verdict })
    }

    fn uneject(&mut self, host: &K, cause: Return, now: Instant) -> Option<Change<K>> {
        let member = self.members.get_mut(host)?;
        let ejection = member.ejection.take()?;
        member.outlier.clear_rows();
        member.outlier.set_ejected(false);
        member.last_unejection = Some(now);
        let verdict = Verdict::Unejected { cause, after: now.saturating_duration_since(ejection.since) };
        self.counts.add(&verdict);
        Some(Change { host: host.clone(), verdict })
    }

    /// Whether the ejected share stays within bounds with one more. Exact: no percentage is rounded.
    fn one_more_fits(&self) -> bool {
        let active = self.counts.active();
        if active == 0 && self.settings.always_eject_one_host {
            return true;
        }
        let percent = u128::from(self.settings.max_ejection_percent.min(100));
        (active as u128 + 1) * 100 <= percent * self.members.len() as u128
    }
}

impl Member {
    fn new(outlier: Arc<HostOutlier>) -> Self {
        Self {
            outlier,
            ejection: None,
            ejections: 0,
            multiplier: 0,
            last_unejection: None,
            volumes: Volumes::default(),
        }
    }

    fn is_ejected(&self) -> bool {
        self.ejection.is_some()
    }

    fn eject(&mut self, settings: &Settings, random: &mut Rng, now: Instant) -> Duration {
        let base = settings.base_ejection_time;
        // One step beyond the longest time at most, so that good behaviour soon shows.
        if base.saturating_mul(self.multiplier) < settings.max_ejection_time.saturating_add(base) {
            self.multiplier = self.multiplier.saturating_add(1);
        }
        let jitter = jitter(random, settings.max_ejection_time_jitter);
        self.ejection = Some(Ejection { since: now, jitter });
        self.ejections = self.ejections.saturating_add(1);
        self.outlier.set_ejected(true);
        self.duration(settings, jitter)
    }

    fn duration(&self, settings: &Settings, jitter: Duration) -> Duration {
        let grown = settings.base_ejection_time.saturating_mul(self.multiplier);
        grown.min(settings.max_ejection_time).saturating_add(jitter)
    }
}

fn chance(random: &mut Rng, percent: u32) -> bool {
    percent >= 100 || (percent > 0 && random.u32(0..100) < percent)
}

/// Whole milliseconds from 0 to `max`, both included.
fn jitter(random: &mut Rng, max: Duration) -> Duration {
    let max = u64::try_from(max.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(if max == 0 { 0 } else { random.u64(0..=max) })
}

#[cfg(test)]
mod tests;
