//! Handles, and the cells and series behind them.
//!
//! A handle is one owner's way to count. It holds a cell that nobody else writes to and the series that
//! reads it; when it is dropped it leaves the series and, where the metric only rises, what it counted there.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{
    exemplar::Exemplar,
    histogram::{Buckets, HistogramCell},
    names::Metric,
    reading::UnixTime,
};

/// Counts up.
#[derive(Debug, Clone)]
pub struct Counter(pub(super) Handle<CounterCell>);

impl Counter {
    /// Adds one.
    pub fn inc(&self) {
        self.add(1);
    }

    /// Adds one without an atomic addition, which costs a fifth: only for a handle that one thread alone counts with, else some are lost.
    pub fn bump(&self) {
        bump(&self.0.cell.0, 1);
    }

    /// Adds `amount`.
    pub fn add(&self, amount: u64) {
        self.0.cell.0.fetch_add(amount, Ordering::Relaxed);
    }

    /// Adds a time, for metrics of [`Kind::Time`](super::Kind::Time).
    pub fn add_time(&self, time: Duration) {
        self.add(nanoseconds(time));
    }

    /// Adds a time as [`Self::bump`] adds one.
    pub fn bump_time(&self, time: Duration) {
        bump(&self.0.cell.0, nanoseconds(time));
    }

    /// What this handle has counted, without its siblings.
    #[must_use]
    pub fn own(&self) -> u64 {
        self.0.cell.value()
    }
}

/// Goes up and down. A series shows the sum over its handles.
#[derive(Debug, Clone)]
pub struct Gauge(pub(super) Handle<GaugeCell>);

impl Gauge {
    /// Makes this handle's part `value`.
    pub fn set(&self, value: i64) {
        self.0.cell.0.store(value, Ordering::Relaxed);
    }

    /// Adds `amount` to this handle's part.
    pub fn add(&self, amount: i64) {
        self.0.cell.0.fetch_add(amount, Ordering::Relaxed);
    }

    /// Takes `amount` from this handle's part, which may become negative where another handle was added to.
    pub fn sub(&self, amount: i64) {
        self.0.cell.0.fetch_sub(amount, Ordering::Relaxed);
    }

    /// Adds `amount` as [`Counter::bump`] does, for a handle of one thread.
    pub fn shift(&self, amount: i64) {
        let cell = &self.0.cell.0;
        cell.store(cell.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
    }

    /// This handle's part.
    #[must_use]
    pub fn own(&self) -> i64 {
        self.0.cell.value()
    }
}

/// Sorts observations into buckets.
#[derive(Debug, Clone)]
pub struct Histogram {
    pub(super) handle: Handle<HistogramCell>,
    pub(super) buckets: Buckets,
}

impl Histogram {
    /// Observes a duration; for metrics in seconds.
    pub fn observe(&self, duration: Duration) {
        self.observe_value(nanoseconds(duration));
    }

    /// Observes a duration as [`Counter::bump`] counts, for a handle of one thread.
    pub fn note(&self, duration: Duration) {
        self.handle.cell.note(self.buckets, nanoseconds(duration));
    }

    /// Shows a duration, which has been observed, as the example of its bucket: for spans that are recorded. The last one of
    /// each exposed bucket is kept. `time` is now. Never waits; allocates the first time.
    pub fn exemplify(&self, duration: Duration, (trace, span): ([u8; 16], [u8; 8]), time: UnixTime) {
        let exemplar = Exemplar { trace, span, value: nanoseconds(duration), time };
        self.handle.cell.exemplify(self.buckets, &exemplar);
    }

    /// Observes a number; for metrics in seconds it is taken as nanoseconds.
    pub fn observe_value(&self, value: u64) {
        self.handle.cell.observe(self.buckets, value);
    }
}

/// Adds without an atomic addition.
pub(super) fn bump(cell: &AtomicU64, amount: u64) {
    cell.store(cell.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// One caller's cell, and the series that it leaves when it is dropped.
#[derive(Debug)]
pub(super) struct Handle<C: Cell> {
    cell: Arc<C>,
    series: Arc<Series<C>>,
}

impl<C: Cell> Handle<C> {
    pub(super) fn attach(series: Arc<Series<C>>) -> Self {
        let cell = Arc::new(C::default());
        lock(&series.state).live.push(Arc::clone(&cell));
        Self { cell, series }
    }

    /// Counts where nobody reads: the kind of the metric and the call do not agree, a mistake in the program.
    pub(super) fn detached(metric: &Metric) -> Self {
        debug_assert!(false, "{} is a {}", metric.name, metric.kind.word());
        tracing::error!(metric = metric.name, "a metric is used as another kind than its own; it shows nothing");
        Self::attach(Arc::new(Series::default()))
    }
}

impl<C: Cell> Clone for Handle<C> {
    fn clone(&self) -> Self {
        Self::attach(Arc::clone(&self.series))
    }
}

impl<C: Cell> Drop for Handle<C> {
    fn drop(&mut self) {
        let mut state = lock(&self.series.state);
        if let Some(index) = state.live.iter().position(|cell| Arc::ptr_eq(cell, &self.cell)) {
            state.live.swap_remove(index);
        }
        if C::PERSISTS {
            state.base.absorb(&self.cell);
        }
    }
}

/// What handles count in. Each is aligned to 128 bytes: a cache line and the one that is prefetched with it.
pub(super) trait Cell: Default {
    /// Whether what was counted stays when the handle is dropped.
    const PERSISTS: bool;
    fn absorb(&self, other: &Self);
}

#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct CounterCell(AtomicU64);

impl CounterCell {
    pub(super) fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Cell for CounterCell {
    const PERSISTS: bool = true;
    fn absorb(&self, other: &Self) {
        self.0.fetch_add(other.value(), Ordering::Relaxed);
    }
}

#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct GaugeCell(AtomicI64);

impl GaugeCell {
    pub(super) fn value(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Cell for GaugeCell {
    const PERSISTS: bool = false;
    fn absorb(&self, other: &Self) {
        self.0.fetch_add(other.value(), Ordering::Relaxed);
    }
}

impl Cell for HistogramCell {
    const PERSISTS: bool = true;
    fn absorb(&self, other: &Self) {
        self.absorb(other);
    }
}

#[derive(Debug, Default)]
pub(super) struct Series<C> {
    state: Mutex<State<C>>,
}

#[derive(Debug, Default)]
struct State<C> {
    live: Vec<Arc<C>>,
    base: C,
}

impl<C: Cell> Series<C> {
    /// Whether no handle is left.
    pub(super) fn is_idle(&self) -> bool {
        lock(&self.state).live.is_empty()
    }

    pub(super) fn sum(&self) -> C {
        let state = lock(&self.state);
        let sum = C::default();
        sum.absorb(&state.base);
        for cell in &state.live {
            sum.absorb(cell);
        }
        sum
    }
}

/// A panic elsewhere must not take the numbers with it: every critical section leaves them whole.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
