//! One request until it is taken or given up, and counted either way.
//!
//! While a request is tried the next one waits, so a collector gets one request at a time from each exporter, and what
//! a slow one costs is what does not fit into the queue meanwhile.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use tokio::{
    select,
    time::{Instant, sleep, sleep_until},
};
use tracing::{debug, info, warn};

use crate::telemetry::otlp::{
    backoff::{Backoff, LONGEST_PAUSE, Next},
    body,
    client::{self, Client, Failure, Retry},
    connect::Connect,
    record::{PartialSuccess, Signal},
    settings::{Settings, SettingsError},
    statistics::{DropReason, Statistics},
    stop::Stop,
};

/// What an exporter gets from outside.
#[derive(Debug, Clone)]
pub struct Environment {
    /// Connects to the collector.
    pub connector: Arc<dyn Connect>,
    /// The wall clock, for `Retry-After` with a date.
    pub wall: fn() -> SystemTime,
    /// Uniform over all of `u32`, for the jitter of retries.
    pub random: fn() -> u32,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Delivered {
    /// The collector took it.
    Taken,
    /// It was given up.
    GivenUp,
    /// The time of the last flush is over.
    Expired,
}

#[derive(Debug)]
pub(crate) struct Delivery {
    signal: Signal,
    settings: Arc<Settings>,
    client: Client,
    random: fn() -> u32,
    statistics: Arc<Statistics>,
    /// How long one request is tried.
    total: Duration,
    /// The collector wants no request before.
    not_before: Option<Instant>,
    mood: Mood,
}

/// What was last said in the log: it hears of changes only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Well,
    Rejecting,
    Failing,
}

impl Delivery {
    pub(crate) fn new(
        signal: Signal,
        settings: Settings,
        environment: Environment,
        statistics: Arc<Statistics>,
        total: Duration,
    ) -> Result<Self, SettingsError> {
        settings.check()?;
        let settings = Arc::new(settings);
        let client = Client::new(Arc::clone(&settings), environment.connector, environment.wall);
        let random = environment.random;
        Ok(Self { signal, settings, client, random, statistics, total, not_before: None, mood: Mood::Well })
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(crate) fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    /// Sends a request that holds so many records. Dropped before its end, it counts them as dropped by shutdown.
    pub(crate) async fn deliver(&mut self, message: Vec<u8>, records: u64, stop: &Stop) -> Delivered {
        let body = body::encode(message, self.settings.protocol, self.settings.compression);
        let statistics = Arc::clone(&self.statistics);
        let fate = Fate { statistics: &statistics, records, reason: DropReason::Shutdown };
        if let Some(not_before) = self.not_before.take() {
            // At the end there is no time for manners.
            select! {
                biased;
                () = stop.requested() => {}
                () = sleep_until(not_before) => {}
            }
        }
        let begun = Instant::now();
        let mut backoff = Backoff::new(self.total);
        loop {
            let failure = match self.attempt(&body, stop).await {
                Some(Ok(partial)) => {
                    self.taken(&partial);
                    fate.accepted(partial.rejected);
                    return Delivered::Taken;
                }
                Some(Err(failure)) => failure,
                None => return Delivered::Expired,
            };
            self.statistics.count_failure(failure.reason);
            debug!(signal = self.signal.name(), reason = failure.reason.name(), "a request failed: {}", failure.text);
            let next = match failure.retry {
                Retry::Never => Next::GiveUp,
                Retry::Later(asked) => backoff.next(begun.elapsed(), asked, (self.random)()),
            };
            let Next::After(wait) = next else {
                self.given_up(&failure);
                fate.failed();
                return Delivered::GivenUp;
            };
            let hurried = stop.is_requested();
            select! {
                biased;
                () = stop.expired() => return Delivered::Expired,
                // One more try at once when the end begins.
                () = stop.requested(), if !hurried => {}
                () = sleep(wait) => {}
            }
        }
    }

    /// `None`: the time of the last flush is over.
    async fn attempt(&mut self, body: &Bytes, stop: &Stop) -> Option<Result<PartialSuccess, Failure>> {
        self.statistics.count_request();
        select! {
            biased;
            () = stop.expired() => None,
            answer = self.client.send(self.signal, body) => Some(answer),
        }
    }

    fn taken(&mut self, partial: &PartialSuccess) {
        let (signal, endpoint) = (self.signal.name(), &self.settings.endpoint);
        let mood = if partial.rejected > 0 { Mood::Rejecting } else { Mood::Well };
        match (self.mood, mood) {
            (Mood::Failing | Mood::Well, Mood::Rejecting) => {
                let why = client::quoted(&partial.message);
                warn!(signal, %endpoint, "the collector rejects some of what it is sent: {why}");
            }
            (Mood::Failing | Mood::Rejecting, Mood::Well) => {
                info!(signal, %endpoint, "the collector takes everything again");
            }
            _ => {}
        }
        self.mood = mood;
    }

    fn given_up(&mut self, failure: &Failure) {
        let (signal, endpoint) = (self.signal.name(), &self.settings.endpoint);
        if self.mood != Mood::Failing {
            let reason = failure.reason.name();
            warn!(signal, %endpoint, reason, "the collector cannot be sent to, records are dropped: {}", failure.text);
        }
        self.mood = Mood::Failing;
        if let Retry::Later(Some(asked)) = failure.retry {
            self.not_before = Instant::now().checked_add(asked.min(LONGEST_PAUSE));
        }
    }
}

/// What is counted for the records of a request, once, whichever way it ends.
struct Fate<'a> {
    statistics: &'a Statistics,
    records: u64,
    reason: DropReason,
}

impl Fate<'_> {
    fn accepted(mut self, rejected: u64) {
        self.statistics.count_accepted(self.records, rejected);
        self.records = 0;
    }

    fn failed(mut self) {
        self.reason = DropReason::Failed;
    }
}

impl Drop for Fate<'_> {
    fn drop(&mut self) {
        self.statistics.count_dropped(self.reason, self.records);
    }
}
