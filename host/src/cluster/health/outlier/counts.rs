//! Numbers for metrics, per reason, as Envoy has them under `outlier_detection.`.

use super::{Reason, Verdict};

/// What a detector has decided since it began. All but [`Self::active`] only grow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    detected: [u64; Reason::ALL.len()],
    enforced: [u64; Reason::ALL.len()],
    overflow: u64,
    active: usize,
}

impl Counts {
    /// Outliers found for `reason`, ejected or not (`ejections_detected_*`).
    #[must_use]
    pub fn detected(&self, reason: Reason) -> u64 {
        self.detected.get(reason as usize).copied().unwrap_or(0)
    }

    /// Hosts ejected for `reason` (`ejections_enforced_*`).
    #[must_use]
    pub fn enforced(&self, reason: Reason) -> u64 {
        self.enforced.get(reason as usize).copied().unwrap_or(0)
    }

    /// Hosts ejected for any reason (`ejections_enforced_total`).
    #[must_use]
    pub fn enforced_total(&self) -> u64 {
        self.enforced.iter().sum()
    }

    /// Outliers that `max_ejection_percent` let stay (`ejections_overflow`).
    #[must_use]
    pub fn overflow(&self) -> u64 {
        self.overflow
    }

    /// Hosts that are ejected now (`ejections_active`, a gauge).
    #[must_use]
    pub fn active(&self) -> usize {
        self.active
    }

    pub(super) fn add(&mut self, verdict: &Verdict) {
        if let Some(reason) = verdict.reason() {
            bump(&mut self.detected, reason);
        }
        match verdict {
            Verdict::Ejected { reason, .. } => {
                bump(&mut self.enforced, *reason);
                self.active = self.active.saturating_add(1);
            }
            Verdict::Overflow { .. } => self.overflow = self.overflow.saturating_add(1),
            Verdict::Unejected { .. } => self.forget_ejected(),
            Verdict::NotEnforced { .. } => {}
        }
    }

    /// An ejected host left the cluster.
    pub(super) fn forget_ejected(&mut self) {
        self.active = self.active.saturating_sub(1);
    }
}

fn bump(counts: &mut [u64], reason: Reason) {
    if let Some(count) = counts.get_mut(reason as usize) {
        *count = count.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_numbered_in_their_order() {
        for (index, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
        }
    }
}
