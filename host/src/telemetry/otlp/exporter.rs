//! The tasks of the control plane: one that empties a queue of spans or log records, one that reads all metrics now and
//! then.
//!
//! Both run until they are stopped, then flush once within the time that they are given. Neither holds more than its
//! queue (or its reading), one request, and one record that is for the next.

use std::{sync::Arc, time::Duration};

use tokio::{
    select,
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};

use crate::telemetry::otlp::{
    backoff::TOTAL,
    batch::{Batch, Offer},
    delivery::{Delivered, Delivery, Environment},
    metric::{MetricReading, chunks},
    queue::Queue,
    record::{Head, Record, Signal},
    settings::{Settings, SettingsError},
    statistics::{DropReason, Statistics},
    stop::Stop,
};

/// Default of how often metrics are exported (`OTEL_METRIC_EXPORT_INTERVAL`).
pub const METRICS_INTERVAL: Duration = Duration::from_mins(1);

/// Exports what a queue holds.
#[derive(Debug)]
pub struct Exporter<R: Record> {
    delivery: Delivery,
    head: Head,
    queue: Queue<R>,
    /// Taken out of the queue, but for the next request.
    carried: Option<R::Message>,
}

impl<R: Record> Exporter<R> {
    /// One exporter per queue: it is the queue's only consumer.
    ///
    /// # Errors
    /// [`SettingsError`] where the settings cannot be worked with.
    pub fn new(
        settings: Settings,
        head: Head,
        queue: Queue<R>,
        environment: Environment,
    ) -> Result<Self, SettingsError> {
        let statistics = Arc::clone(queue.statistics());
        let delivery = Delivery::new(R::SIGNAL, settings, environment, statistics, TOTAL)?;
        Ok(Self { delivery, head, queue, carried: None })
    }

    /// Exports until it is stopped. Dropped before, it closes the queue and counts what is left as dropped by shutdown.
    pub async fn run(mut self, stop: Stop) {
        let delay = self.delivery.settings().batch.delay;
        loop {
            let tick = Instant::now() + delay;
            let due = select! {
                biased;
                () = stop.requested() => break,
                () = self.queue.batch() => 0,
                // What waits now, in as many requests as it needs; not what is pushed meanwhile, which would
                // make ever smaller requests.
                () = sleep_until(tick) => self.waiting(),
            };
            if self.export(due, &stop).await == Delivered::Expired {
                return;
            }
        }
        self.queue.close();
        self.export(usize::MAX, &stop).await;
    }

    /// Sends at least `due` of what waits, and all full batches.
    async fn export(&mut self, due: usize, stop: &Stop) -> Delivered {
        let mut due = due.min(self.waiting());
        while due > 0 || self.queue.has_batch() {
            let Some(batch) = self.fill() else { break };
            due = due.saturating_sub(batch.len());
            let records = u64::try_from(batch.len()).unwrap_or(u64::MAX);
            let request = batch.encode(&self.head);
            if self.delivery.deliver(request, records, stop).await == Delivered::Expired {
                return Delivered::Expired;
            }
            // Close the queue first, or workers could keep it going.
            if due == 0 && stop.is_requested() {
                break;
            }
        }
        Delivered::Taken
    }

    fn fill(&mut self) -> Option<Batch<R>> {
        let mut batch = Batch::new(&self.head, self.delivery.settings().batch);
        while !batch.is_full() {
            let next = self.carried.take().or_else(|| self.queue.pop().map(Record::into_message));
            let Some(message) = next else { break };
            match batch.offer(message) {
                Offer::Taken => {}
                Offer::TooLarge => self.delivery.statistics().count_dropped(DropReason::Bytes, 1),
                Offer::Next(message) => {
                    self.carried = Some(message);
                    break;
                }
            }
        }
        (batch.len() > 0).then_some(batch)
    }

    fn waiting(&self) -> usize {
        self.queue.len().saturating_add(usize::from(self.carried.is_some()))
    }
}

impl<R: Record> Drop for Exporter<R> {
    fn drop(&mut self) {
        self.queue.close();
        let mut left = u64::from(self.carried.is_some());
        while self.queue.pop().is_some() {
            left = left.saturating_add(1);
        }
        self.delivery.statistics().count_dropped(DropReason::Shutdown, left);
    }
}

/// Exports readings of all metrics at an interval.
pub struct MetricsExporter<F> {
    delivery: Delivery,
    head: Head,
    interval: Duration,
    read: F,
}

impl<F, I> MetricsExporter<F>
where
    F: FnMut() -> I + Send,
    I: IntoIterator<Item = MetricReading>,
    I::IntoIter: Send,
{
    /// `read` gives all series, those of one metric best one after another; it is called once per `interval` and once
    /// more at the end. `settings.batch.bytes` bounds a request; the other limits of batches and queues are not for
    /// metrics. An interval below a millisecond is taken as that.
    ///
    /// # Errors
    /// [`SettingsError`] where the settings cannot be worked with.
    pub fn new(
        settings: Settings,
        head: Head,
        interval: Duration,
        read: F,
        statistics: Arc<Statistics>,
        environment: Environment,
    ) -> Result<Self, SettingsError> {
        let interval = interval.max(Duration::from_millis(1));
        // The next reading says all that this one says, so there is no use in trying longer.
        let total = TOTAL.min(interval);
        let delivery = Delivery::new(Signal::Metrics, settings, environment, statistics, total)?;
        Ok(Self { delivery, head, interval, read })
    }

    /// Exports until it is stopped.
    pub async fn run(mut self, stop: Stop) {
        let mut ticks = interval(self.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first tick is at once.
        ticks.tick().await;
        loop {
            select! {
                biased;
                () = stop.requested() => break,
                _ = ticks.tick() => {}
            }
            if self.export(&stop).await == Delivered::Expired {
                return;
            }
        }
        self.export(&stop).await;
    }

    async fn export(&mut self, stop: &Stop) -> Delivered {
        let limit = self.delivery.settings().batch.bytes;
        let mut chunks = chunks(&self.head, (self.read)(), limit);
        let mut last = Delivered::Taken;
        for chunk in &mut chunks {
            self.delivery.statistics().count_dropped(DropReason::Bytes, chunk.too_large);
            if chunk.points == 0 {
                continue;
            }
            last = self.delivery.deliver(chunk.request, chunk.points, stop).await;
            if last != Delivered::Taken {
                break;
            }
        }
        // To try each of the others as long would hold up the next reading.
        let left = chunks.left();
        let reason = if last == Delivered::Expired { DropReason::Shutdown } else { DropReason::Failed };
        self.delivery.statistics().count_dropped(reason, left);
        last
    }
}

#[cfg(test)]
mod tests;
