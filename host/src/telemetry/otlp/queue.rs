//! From the workers to the control plane: a bounded queue that never makes a worker wait.
//!
//! A push is one addition to the count of bytes and one place in a lock-free ring (`crossbeam_queue::ArrayQueue`),
//! whose places are allocated when the queue is made. What does not fit, by number or by bytes, is dropped and counted.
//! The consumer looks at the queue by a timer of its own; a worker wakes it only when a whole batch waits, and only one
//! worker does so per batch: the wake-up is a claim on a flag that the consumer raised.
//!
//! Invariants: the bytes of all records in the ring never exceed the limit; a record that was pushed is popped, or
//! counted as dropped by shutdown when the queue is closed or goes away.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use crossbeam_queue::ArrayQueue;
use tokio::sync::Notify;

use crate::telemetry::otlp::{
    record::Record,
    settings::{BatchLimits, QUEUE_RECORDS, QueueLimits},
    statistics::{DropReason, Statistics},
};

/// The queue. Clones are the same queue, one per producer.
#[derive(Debug)]
pub struct Queue<R> {
    inner: Arc<Inner<R>>,
}

impl<R> Clone for Queue<R> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

/// What became of a record that was pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// It waits to be exported.
    Queued,
    /// It is gone, and counted.
    Dropped(DropReason),
}

#[derive(Debug)]
struct Inner<R> {
    ring: ArrayQueue<Weighed<R>>,
    limit: usize,
    batch: BatchLimits,
    /// Bytes of records in the ring, and of those that are about to be.
    bytes: Apart<AtomicUsize>,
    /// The consumer sleeps and wants to be told of a full batch.
    sleeps: Apart<AtomicBool>,
    closed: AtomicBool,
    wake: Notify,
    statistics: Arc<Statistics>,
}

/// On cache lines of its own: what every push writes must not slow down what every push reads.
#[derive(Debug)]
#[repr(align(128))]
struct Apart<T>(T);

#[derive(Debug)]
struct Weighed<R> {
    weight: usize,
    record: R,
}

impl<R: Record> Queue<R> {
    /// An empty queue. A limit of zero is taken as one, and one beyond [`QUEUE_RECORDS`] as that.
    #[must_use]
    pub fn new(limits: QueueLimits, batch: BatchLimits, statistics: Arc<Statistics>) -> Self {
        let records = limits.records.clamp(1, QUEUE_RECORDS);
        // A batch that is larger than the queue would never be complete.
        let batch = BatchLimits {
            records: batch.records.clamp(1, records),
            bytes: batch.bytes.min(limits.bytes / 2).max(1),
            delay: batch.delay,
        };
        Self {
            inner: Arc::new(Inner {
                ring: ArrayQueue::new(records),
                limit: limits.bytes,
                batch,
                bytes: Apart(AtomicUsize::new(0)),
                sleeps: Apart(AtomicBool::new(false)),
                closed: AtomicBool::new(false),
                wake: Notify::new(),
                statistics,
            }),
        }
    }

    /// Hands over a record. Never waits, never allocates.
    pub fn push(&self, record: R) -> Pushed {
        let inner = &*self.inner;
        if inner.closed.load(Ordering::Relaxed) {
            return inner.drop_for(DropReason::Shutdown);
        }
        let weight = record.weight();
        // Claimed before it is there, so that pushes at the same time cannot pass the limit together. Only a record
        // that could fit claims: the sum of claims cannot overflow.
        if weight > inner.limit {
            return inner.drop_for(DropReason::Bytes);
        }
        let before = inner.bytes.0.fetch_add(weight, Ordering::SeqCst);
        if before > inner.limit.saturating_sub(weight) {
            inner.bytes.0.fetch_sub(weight, Ordering::SeqCst);
            return inner.drop_for(DropReason::Bytes);
        }
        if inner.ring.push(Weighed { weight, record }).is_err() {
            inner.bytes.0.fetch_sub(weight, Ordering::SeqCst);
            return inner.drop_for(DropReason::QueueFull);
        }
        // The flag first: it is seldom up while batches are far from full, and nobody writes it then.
        if inner.sleeps.0.load(Ordering::SeqCst) && inner.has_batch() && inner.sleeps.0.swap(false, Ordering::SeqCst) {
            inner.wake.notify_one();
        }
        Pushed::Queued
    }

    /// Records that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.inner.ring.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.inner.ring.is_empty()
    }

    /// Bytes of the records that wait.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.inner.bytes.0.load(Ordering::Relaxed)
    }

    /// The oldest record.
    pub(crate) fn pop(&self) -> Option<R> {
        let Weighed { weight, record } = self.inner.ring.pop()?;
        self.inner.bytes.0.fetch_sub(weight, Ordering::SeqCst);
        Some(record)
    }

    /// Whether enough waits for a batch.
    pub(crate) fn has_batch(&self) -> bool {
        self.inner.has_batch()
    }

    /// Waits until enough waits for a batch. Cancel safe. For one consumer.
    pub(crate) async fn batch(&self) {
        loop {
            // Raised before looking: whoever completes a batch after the look sees the flag.
            self.inner.sleeps.0.store(true, Ordering::SeqCst);
            if self.inner.has_batch() {
                self.inner.sleeps.0.store(false, Ordering::SeqCst);
                return;
            }
            self.inner.wake.notified().await;
        }
    }

    /// From now on pushes are dropped. What waits stays.
    pub(crate) fn close(&self) {
        self.inner.closed.store(true, Ordering::Relaxed);
    }

    pub(crate) fn statistics(&self) -> &Arc<Statistics> {
        &self.inner.statistics
    }
}

impl<R> Inner<R> {
    fn has_batch(&self) -> bool {
        let records = self.ring.len();
        // Bytes may be claimed before their record is there, and an empty queue is no batch.
        records >= self.batch.records || (records > 0 && self.bytes.0.load(Ordering::SeqCst) >= self.batch.bytes)
    }

    fn drop_for(&self, reason: DropReason) -> Pushed {
        self.statistics.count_dropped(reason, 1);
        Pushed::Dropped(reason)
    }
}

impl<R> Drop for Inner<R> {
    /// A push that met the closing may have left a record behind.
    fn drop(&mut self) {
        let left = u64::try_from(self.ring.len()).unwrap_or(u64::MAX);
        self.statistics.count_dropped(DropReason::Shutdown, left);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::telemetry::otlp::testing::{poll_once, span};

    fn queue(
        records: usize,
        bytes: usize,
        batch: usize,
    ) -> (Queue<crate::telemetry::otlp::span::SpanRecord>, Arc<Statistics>) {
        let statistics = Arc::new(Statistics::default());
        let batch = BatchLimits { records: batch, ..BatchLimits::default() };
        (Queue::new(QueueLimits { records, bytes }, batch, Arc::clone(&statistics)), statistics)
    }

    #[test]
    fn a_full_queue_drops_the_new_record_and_says_why() {
        let (queue, statistics) = queue(2, 1 << 20, 10);
        assert_eq!(queue.push(span("a")), Pushed::Queued);
        assert_eq!(queue.push(span("b")), Pushed::Queued);
        let bytes = queue.bytes();
        assert_eq!(queue.push(span("c")), Pushed::Dropped(DropReason::QueueFull));
        assert_eq!((queue.bytes(), statistics.dropped(DropReason::QueueFull)), (bytes, 1));
        assert_eq!(queue.pop().unwrap().name, "a");
        assert_eq!(queue.push(span("d")), Pushed::Queued);
    }

    #[test]
    fn bytes_are_bounded_as_well_and_given_back() {
        let weight = span("a").weight();
        let (queue, statistics) = queue(100, weight * 3, 10);
        for _ in 0..3 {
            assert_eq!(queue.push(span("a")), Pushed::Queued);
        }
        assert_eq!(queue.push(span("a")), Pushed::Dropped(DropReason::Bytes));
        assert_eq!(queue.push(span(&"long".repeat(10_000))), Pushed::Dropped(DropReason::Bytes));
        assert_eq!((queue.bytes(), statistics.dropped(DropReason::Bytes)), (weight * 3, 2));
        while queue.pop().is_some() {}
        assert_eq!(queue.bytes(), 0);
    }

    #[tokio::test]
    async fn the_consumer_is_woken_once_per_batch_and_not_before() {
        let (queue, _) = queue(100, 1 << 20, 3);
        let mut waits = Box::pin(queue.batch());
        for expected in [false, false, true] {
            assert!(!poll_once(&mut waits) || expected);
            queue.push(span("a"));
            assert_eq!(poll_once(&mut waits), expected);
        }
        drop(waits);
        // The flag is down: whoever pushes now wakes nobody.
        queue.push(span("a"));
        assert!(!queue.inner.sleeps.0.load(Ordering::SeqCst));
    }

    #[tokio::test]
    async fn a_batch_by_bytes_wakes_too() {
        let statistics = Arc::new(Statistics::default());
        let batch = BatchLimits { records: 1000, bytes: span("a").weight() * 2, delay: Duration::from_secs(1) };
        let queue = Queue::new(QueueLimits::default(), batch, statistics);
        let mut waits = Box::pin(queue.batch());
        assert!(!poll_once(&mut waits));
        queue.push(span("a"));
        assert!(!poll_once(&mut waits));
        queue.push(span("a"));
        assert!(poll_once(&mut waits));
    }

    #[test]
    fn what_is_left_behind_is_counted_when_the_queue_goes() {
        let (queue, statistics) = queue(10, 1 << 20, 10);
        queue.push(span("a"));
        queue.close();
        assert_eq!(queue.push(span("b")), Pushed::Dropped(DropReason::Shutdown));
        drop(queue);
        assert_eq!(statistics.dropped(DropReason::Shutdown), 2);
    }

    #[test]
    fn many_producers_lose_nothing_uncounted() {
        let (queue, statistics) = queue(64, 1 << 20, 1000);
        let producers: Vec<_> = (0..4)
            .map(|_| {
                let queue = queue.clone();
                std::thread::spawn(move || (0..2000).for_each(|_| _ = queue.push(span("a"))))
            })
            .collect();
        let mut popped = 0;
        while !producers.iter().all(std::thread::JoinHandle::is_finished) || !queue.is_empty() {
            popped += u64::from(queue.pop().is_some());
        }
        assert_eq!(popped + statistics.dropped(DropReason::QueueFull), 8000);
        assert_eq!(queue.bytes(), 0);
    }
}
