//! The task of the control plane: reads all series at an interval, and sends what is new.

use std::{sync::Arc, time::Duration};

use tokio::{
    select,
    task::yield_now,
    time::{Instant, MissedTickBehavior, interval_at, sleep_until},
};

use super::{
    line::Lines,
    network::Environment,
    outlet::Outlet,
    packet::{self, Packer, Push},
    settings::{Settings, SettingsError},
    statistics::{DropReason, Statistics},
};
use crate::telemetry::{otlp::stop::Stop, reading::MetricReading};

/// How many series are written before others of the runtime may do something.
const TURN: usize = 256;

/// Exports readings of all metrics at an interval.
pub struct Exporter<F> {
    lines: Lines,
    packer: Packer,
    outlet: Outlet,
    statistics: Arc<Statistics>,
    /// From the beginning to the first flush.
    first: Duration,
    interval: Duration,
    read: F,
}

impl<F, I> Exporter<F>
where
    F: FnMut() -> I + Send,
    I: IntoIterator<Item = MetricReading>,
    I::IntoIter: Send,
{
    /// `read` gives all series as they are; it is called when the exporter begins, once per interval, and once more at the
    /// end. Must be called inside of a runtime.
    ///
    /// # Errors
    /// [`SettingsError`] where the settings cannot be worked with.
    pub fn new(
        settings: Settings,
        read: F,
        statistics: Arc<Statistics>,
        environment: &Environment,
    ) -> Result<Self, SettingsError> {
        settings.check()?;
        let settings = Arc::new(settings);
        // Somewhere in the first interval, so that proxies that began together do not send together.
        let first = settings.interval.mul_f64(f64::from((environment.random)()) / f64::from(u32::MAX));
        Ok(Self {
            lines: Lines::new(&settings),
            packer: Packer::new(settings.datagram),
            outlet: Outlet::new(Arc::clone(&settings), environment, Arc::clone(&statistics)),
            statistics,
            first,
            interval: settings.interval,
            read,
        })
    }

    /// Exports until it is stopped, then flushes once within the time that it is given. What was counted before it is first
    /// polled is not sent.
    pub async fn run(mut self, stop: Stop) {
        self.look();
        let begun = Instant::now();
        // The first flush waits for the server's name to be found, but not for ever: its numbers would pile up.
        let patience = sleep_until(begun + self.interval);
        tokio::pin!(patience);
        while self.outlet.resolver.is_waiting() && !patience.is_elapsed() {
            select! {
                biased;
                () = stop.requested() => break,
                () = self.outlet.resolver.progress() => {}
                () = &mut patience => {}
            }
        }
        let mut ticks = interval_at(begun + self.first, self.interval);
        // A flush that took long must not be followed by others at once.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            select! {
                biased;
                () = stop.requested() => break,
                _ = ticks.tick() => self.flush(&stop).await,
                () = self.outlet.resolver.progress() => {}
            }
        }
        while self.outlet.resolver.is_waiting() {
            select! {
                biased;
                () = stop.expired() => break,
                () = self.outlet.resolver.progress() => {}
            }
        }
        self.flush(&stop).await;
    }

    /// Takes what is there as told.
    fn look(&mut self) {
        let mut units = Vec::new();
        self.lines.begin();
        for reading in (self.read)() {
            // Why a series has nothing to say, the first flush will find as well.
            let _ = self.lines.read(&reading, &mut units);
            units.clear();
        }
        self.lines.finish(&mut units);
    }

    async fn flush(&mut self, stop: &Stop) {
        let mut units = Vec::new();
        self.outlet.begin();
        self.lines.begin();
        for (number, reading) in (self.read)().into_iter().enumerate() {
            if number % TURN == TURN - 1 {
                yield_now().await;
            }
            if let Err(reason) = self.lines.read(&reading, &mut units) {
                self.statistics.count_dropped(reason, 1);
            }
            self.pack(&mut units, stop).await;
        }
        self.lines.finish(&mut units);
        self.pack(&mut units, stop).await;
        self.send(stop).await;
        self.outlet.finish();
    }

    /// Puts lines into the datagram, and sends it whenever it is full.
    async fn pack(&mut self, units: &mut Vec<String>, stop: &Stop) {
        for unit in units.drain(..) {
            let mut pushed = self.packer.push(&unit);
            if pushed == Push::Full {
                self.send(stop).await;
                pushed = self.packer.push(&unit);
            }
            if pushed != Push::Taken {
                self.statistics.count_dropped(DropReason::TooLong, packet::lines(&unit));
            }
        }
    }

    async fn send(&mut self, stop: &Stop) {
        let (datagram, lines) = self.packer.datagram();
        if !datagram.is_empty() {
            self.outlet.send(datagram, lines, stop).await;
            self.packer.clear();
        }
    }
}

#[cfg(test)]
mod tests;
