//! What is counted of filters and their instances, on one worker.

use std::cell::Cell;

use fyke_engine::{Trap, TrapKind};
use serde_json::{Value, json};

use crate::telemetry::registry::{Counter, Gauge, Histogram};

/// Of so many calls one is timed: the clock costs as much as several calls.
const SAMPLED: u32 = 128;

/// Bytes of a backtrace that an event has.
const BACKTRACE: usize = 4096;

/// What an event tells programs of a trap.
pub(super) fn told(worker: usize, trap: &Trap) -> Value {
    let backtrace = trap.backtrace.get(..trap.backtrace.floor_char_boundary(BACKTRACE)).unwrap_or_default();
    json!({ "worker": worker, "callback": trap.callback, "reason": trap.kind.label(), "backtrace": backtrace })
}

/// Counters of one filter on one worker.
#[derive(Debug)]
pub struct PluginMetrics {
    /// Calls for streams.
    pub calls: Counter,
    /// Processor time of some of them.
    pub cpu: Histogram,
    /// Calls until the next one that is timed.
    pub until_sample: Cell<u32>,
    /// Streams that reached the filter.
    pub streams: Counter,
    /// Replies that the filter gave.
    pub replies: Counter,
    /// Streams that met `on_failure`.
    pub failures: Counter,
}

impl PluginMetrics {
    /// Counts a call. Says whether it shall be timed.
    pub fn call(&self) -> bool {
        self.calls.bump();
        let left = self.until_sample.get();
        self.until_sample.set(if left == 0 { SAMPLED - 1 } else { left - 1 });
        left == 0
    }
}

/// Counters of one VM on one worker.
#[derive(Debug)]
pub struct VmMetrics {
    /// Traps, by reason.
    pub traps: [Counter; 6],
    /// Instances built in place of trapped ones.
    pub replaced: Counter,
    /// From a trap to the instance in its place.
    pub replacement: Histogram,
    /// Instances built in place of those that had come close to their memory limit.
    pub recycled: Counter,
    /// Callouts begun.
    pub calls: Counter,
    /// Callouts that failed.
    pub failed_calls: Counter,
    /// 1 while the VM pauses.
    pub breaker: Gauge,
    /// Generations whose streams were ended.
    pub expired: Counter,
}

impl VmMetrics {
    /// Registers a VM's metrics for a worker.
    #[must_use]
    pub fn new(registry: &crate::telemetry::registry::Registry, filter: &str) -> Self {
        use crate::telemetry::names;
        let labels = [("filter", filter)];
        Self {
            traps: TRAP_REASONS
                .map(|reason| registry.counter(&names::FILTER_TRAPS, &[("filter", filter), ("reason", reason)])),
            replaced: registry.counter(&names::FILTER_INSTANCES_REPLACED, &labels),
            replacement: registry.histogram(&names::FILTER_REPLACEMENT, &labels),
            recycled: registry.counter(&names::FILTER_INSTANCES_RECYCLED, &labels),
            calls: registry.counter(&names::FILTER_CALLOUTS, &labels),
            failed_calls: registry.counter(&names::FILTER_CALLOUTS_FAILED, &labels),
            breaker: registry.gauge(&names::FILTER_BREAKER, &labels),
            expired: registry.counter(&names::FILTER_EXPIRED, &labels),
        }
    }

    pub(super) fn trap(&self, kind: TrapKind) {
        let reason = kind.label();
        if let Some(index) = TRAP_REASONS.iter().position(|known| *known == reason)
            && let Some(counter) = self.traps.get(index)
        {
            counter.inc();
        }
    }
}

/// The reasons that [`TrapKind::label`] gives for calls that were made.
pub const TRAP_REASONS: [&str; 6] = ["unreachable", "deadline", "memory", "exit", "bad_pointer", "other"];
