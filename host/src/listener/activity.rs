//! What a connection's timer looks at. Reads and writes only count; the clock is asked once a period, by the timer.
//!
//! hyper wants `Send` transports for upgrades, so these are atomics; nobody but the connection's own thread uses them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::time::Instant;

/// Counts of one connection.
#[derive(Debug, Default)]
pub struct Activity {
    /// Streams in flight.
    streams: AtomicU32,
    /// Streams begun.
    begun: AtomicU64,
    /// Streams begun, ended, and pieces of bodies that have moved.
    progress: AtomicU64,
    /// Streams that the peer gave up before they were answered.
    given_up: AtomicU32,
    received: AtomicU64,
    sent: AtomicU64,
    /// The last write did not go through: bytes wait to be sent.
    blocked: AtomicBool,
    /// Bytes have come since the last stream ended: a head is being read.
    reading_head: AtomicBool,
    /// The last request was answered before it had come whole.
    unread: AtomicBool,
}

impl Activity {
    /// Bytes were read.
    pub fn count_received(&self, count: usize) {
        self.received.store(self.received.load(Relaxed) + count as u64, Relaxed);
        if self.streams.load(Relaxed) == 0 {
            self.reading_head.store(true, Relaxed);
        }
    }

    /// Bytes of HTTP/2 were read; `head` says that a request's head is open behind them.
    pub fn count_frames(&self, count: usize, head: bool) {
        self.received.store(self.received.load(Relaxed) + count as u64, Relaxed);
        self.reading_head.store(head, Relaxed);
    }

    /// A stream has moved on.
    pub fn move_on(&self) {
        self.progress.store(self.progress.load(Relaxed) + 1, Relaxed);
    }

    /// Bytes were written.
    pub fn count_sent(&self, count: usize) {
        self.sent.store(self.sent.load(Relaxed) + count as u64, Relaxed);
        self.blocked.store(false, Relaxed);
    }

    /// Nothing waits to be sent any more.
    pub fn unblock(&self) {
        self.blocked.store(false, Relaxed);
    }

    /// A write has to wait.
    pub fn block(&self) {
        self.blocked.store(true, Relaxed);
    }

    /// Bytes read and written so far.
    #[must_use]
    pub fn bytes(&self) -> (u64, u64) {
        (self.received.load(Relaxed), self.sent.load(Relaxed))
    }

    /// Streams in flight.
    #[must_use]
    pub fn streams(&self) -> u32 {
        self.streams.load(Relaxed)
    }

    /// Streams begun so far.
    #[must_use]
    pub fn begun(&self) -> u64 {
        self.begun.load(Relaxed)
    }

    /// Streams that the peer gave up, of late.
    #[must_use]
    pub fn given_up(&self) -> u32 {
        self.given_up.load(Relaxed)
    }

    /// Half of them are forgotten.
    pub fn forgive(&self) {
        self.given_up.store(self.given_up.load(Relaxed) / 2, Relaxed);
    }

    /// A part of a head is here, and the rest has to come.
    pub fn expect_head(&self) {
        self.reading_head.store(true, Relaxed);
    }

    /// Whether the peer may be sending what nobody reads any more.
    #[must_use]
    pub fn is_unread(&self) -> bool {
        self.unread.load(Relaxed) || self.reading_head.load(Relaxed)
    }

    /// The head that was being read came to nothing (or was a part of the protocol): wait for the next one.
    pub fn head_done(&self) {
        self.reading_head.store(false, Relaxed);
    }
}

/// One stream in flight.
#[derive(Debug)]
pub struct Busy {
    activity: Arc<Activity>,
    answered: std::cell::Cell<bool>,
}

impl Busy {
    /// A request's head is complete.
    #[must_use]
    pub fn begin(activity: Arc<Activity>) -> Self {
        activity.streams.store(activity.streams.load(Relaxed) + 1, Relaxed);
        activity.begun.store(activity.begun.load(Relaxed) + 1, Relaxed);
        activity.reading_head.store(false, Relaxed);
        activity.unread.store(false, Relaxed);
        activity.move_on();
        Self { activity, answered: std::cell::Cell::new(false) }
    }

    /// A piece of a body has moved.
    pub fn move_on(&self) {
        self.activity.move_on();
    }

    /// The answer went out before the request had come whole.
    pub fn unread(&self) {
        self.activity.unread.store(true, Relaxed);
    }

    /// The answer went out: its end is not the peer's giving up.
    pub fn answered(&self) {
        self.answered.set(true);
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let streams = &self.activity.streams;
        streams.store(streams.load(Relaxed).saturating_sub(1), Relaxed);
        self.activity.move_on();
        if !self.answered.get() {
            self.activity.given_up.store(self.activity.given_up.load(Relaxed) + 1, Relaxed);
        }
    }
}

/// What a connection's timer finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    /// All is well.
    Fine,
    /// Nothing has happened since the last look, and nothing is under way.
    Quiet,
    /// A request's head takes longer than it may.
    SlowHead,
    /// Nothing has moved for longer than it may.
    Idle,
}

/// Bytes sent within a period that are more than answers to pings.
const MORE_THAN_PINGS: u64 = 4096;

/// What a connection is measured by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// Bytes in both directions.
    Bytes,
    /// Streams and their bodies.
    Streams,
}

/// A connection's timer: looks at its activity once a period.
#[derive(Debug)]
pub struct Watch {
    header_timeout: Duration,
    idle_timeout: Duration,
    /// What counts as moving: bytes, or with HTTP/2, whose pings and settings are bytes too, streams.
    measure: Measure,
    seen: (u64, u64),
    sent: u64,
    begun: u64,
    moved: Instant,
    head: Option<Instant>,
}

impl Watch {
    /// A watch that begins now.
    #[must_use]
    pub fn new(measure: Measure, header_timeout: Duration, idle_timeout: Duration, now: Instant) -> Self {
        Self { header_timeout, idle_timeout, measure, seen: (0, 0), sent: 0, begun: 0, moved: now, head: None }
    }

    /// How often to look.
    #[must_use]
    pub fn period(&self) -> Duration {
        (self.header_timeout.min(self.idle_timeout) / 8).clamp(Duration::from_millis(20), Duration::from_secs(1))
    }

    /// Looks.
    pub fn look(&mut self, activity: &Activity, now: Instant) -> Finding {
        let count = match self.measure {
            Measure::Bytes => activity.bytes(),
            Measure::Streams => (activity.progress.load(Relaxed), 0),
        };
        let sent = activity.bytes().1;
        // Of what is sent over HTTP/2, so much within a period cannot be pings: an answer that is through for us is still on its way.
        let flows =
            self.measure == Measure::Streams && sent - std::mem::replace(&mut self.sent, sent) > MORE_THAN_PINGS;
        let moved = count != self.seen || flows;
        if moved {
            self.seen = count;
            self.moved = now;
        }
        let begun = activity.begun.load(Relaxed);
        if begun != self.begun || !activity.reading_head.load(Relaxed) {
            self.begun = begun;
            self.head = None;
        }
        // While an answer still waits to be read, the next head is not late: there is no place for a 408 to go.
        if activity.reading_head.load(Relaxed) && !activity.blocked.load(Relaxed) {
            // The head began at most one period before it is seen here for the first time.
            let since = *self.head.get_or_insert(now);
            if now.duration_since(since) + self.period() > self.header_timeout {
                return Finding::SlowHead;
            }
            return Finding::Fine;
        }
        if now.duration_since(self.moved) >= self.idle_timeout {
            return Finding::Idle;
        }
        if !moved && activity.streams() == 0 && !activity.blocked.load(Relaxed) {
            return Finding::Quiet;
        }
        Finding::Fine
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: Duration = Duration::from_secs(8);
    const IDLE: Duration = Duration::from_secs(60);

    type Step<'a> = &'a dyn Fn(&Activity);

    fn run(steps: &[(u64, Step<'_>)]) -> Vec<Finding> {
        let start = Instant::now();
        let activity = Activity::default();
        let mut watch = Watch::new(Measure::Bytes, HEADER, IDLE, start);
        steps
            .iter()
            .map(|(second, step)| {
                step(&activity);
                watch.look(&activity, start + Duration::from_secs(*second))
            })
            .collect()
    }

    #[test]
    fn a_trickled_head_is_cut_off_although_bytes_keep_coming() {
        let trickle: Step<'_> = &|activity| activity.count_received(1);
        let found = run(&[(1, trickle), (2, trickle), (4, trickle), (6, trickle), (9, trickle)]);
        assert_eq!(found.last(), Some(&Finding::SlowHead));
        assert!(found[..4].iter().all(|finding| *finding == Finding::Fine));
    }

    #[test]
    fn a_stream_in_flight_is_neither_quiet_nor_slow() {
        let start = Instant::now();
        let activity = Arc::new(Activity::default());
        let mut watch = Watch::new(Measure::Bytes, HEADER, IDLE, start);
        activity.count_received(10);
        let busy = Busy::begin(Arc::clone(&activity));
        assert_eq!(watch.look(&activity, start + Duration::from_secs(30)), Finding::Fine);
        assert_eq!(watch.look(&activity, start + Duration::from_secs(50)), Finding::Fine);
        drop(busy);
        assert_eq!(watch.look(&activity, start + Duration::from_secs(51)), Finding::Quiet);
        assert_eq!(watch.look(&activity, start + Duration::from_secs(95)), Finding::Idle);
    }

    #[test]
    fn unsent_bytes_keep_a_connection_awake() {
        let found = run(&[
            (1, &|activity: &Activity| activity.block()),
            (2, &|_| {}),
            (3, &|activity| activity.count_sent(1)),
            (4, &|_| {}),
        ]);
        assert_eq!(found, [Finding::Fine, Finding::Fine, Finding::Fine, Finding::Quiet]);
    }

    #[test]
    fn frames_that_belong_to_no_stream_keep_no_connection_alive() {
        let start = Instant::now();
        let activity = Activity::default();
        let mut watch = Watch::new(Measure::Streams, HEADER, IDLE, start);
        for second in [10, 30, 50] {
            activity.count_frames(17, false);
            assert_ne!(watch.look(&activity, start + Duration::from_secs(second)), Finding::Idle);
        }
        activity.count_frames(17, false);
        assert_eq!(watch.look(&activity, start + Duration::from_secs(60)), Finding::Idle);
    }

    #[test]
    fn an_answer_that_nobody_reads_is_no_slow_head() {
        let start = Instant::now();
        let activity = Activity::default();
        let mut watch = Watch::new(Measure::Bytes, HEADER, IDLE, start);
        activity.block();
        activity.count_received(5);
        assert_eq!(watch.look(&activity, start + Duration::from_secs(1)), Finding::Fine);
        assert_eq!(watch.look(&activity, start + Duration::from_secs(30)), Finding::Fine);
        assert_eq!(watch.look(&activity, start + Duration::from_secs(90)), Finding::Idle);
    }
}
