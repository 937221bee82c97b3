//! What was sent last of every series, and what is new since.
//!
//! A series that is not read any more is remembered for [`KEPT`] flushes, because it may come back where it was: the
//! metrics of a filter's older version do when the newer is rolled back. A gauge is not remembered, but its end is told once.
//! While memory is short, what a new series has counted so far is not told: it may be no new one.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    mem,
};

use super::{distribution::Observed, name::Labels, number, statistics::DropReason};
use crate::telemetry::reading::{Histogram, Number, UnixTime};

/// How many flushes a counter or a histogram is remembered that is not read: an hour of the default interval.
pub(super) const KEPT: u64 = 360;

#[derive(Debug)]
pub(super) struct Tracker {
    series: HashMap<Key, Entry>,
    bytes: usize,
    limit: usize,
    flush: u64,
    /// Whether what is not read any more was forgotten in this flush, for want of memory.
    swept: bool,
    /// Whether a series was refused for want of memory: in this flush, and in the one before.
    refused: bool,
    pressed: bool,
}

/// Kind, name and labels as they were read: what two series are written as may be the same.
type Key = Box<[u8]>;

#[derive(Debug)]
struct Entry {
    last: Last,
    start: UnixTime,
    seen: u64,
}

#[derive(Debug)]
enum Last {
    Counter(Number),
    /// What its lines have in common is kept by the caller's own type, as text.
    Gauge(Box<str>),
    Histogram(Box<Counts>),
}

#[derive(Debug)]
struct Counts {
    /// Of the bounds: other bounds are another histogram.
    hash: u64,
    counts: Box<[u64]>,
    sum: f64,
}

/// Of a series: its kind, its name and its labels.
pub(super) struct Id<'a> {
    pub(super) kind: u8,
    pub(super) name: &'a str,
    pub(super) labels: &'a Labels<'a>,
}

impl Id<'_> {
    /// 0xFF is in no text.
    fn key(&self) -> Key {
        let mut key = vec![self.kind];
        key.extend_from_slice(self.name.as_bytes());
        for (name, value) in self.labels {
            for part in [name, value.as_ref()] {
                key.push(0xff);
                key.extend_from_slice(part.as_bytes());
            }
        }
        key.into()
    }
}

impl Tracker {
    pub(super) fn new(limit: usize) -> Self {
        Self { series: HashMap::new(), bytes: 0, limit, flush: 0, swept: false, refused: false, pressed: false }
    }

    /// Begins a flush.
    pub(super) fn begin(&mut self) {
        self.flush = self.flush.saturating_add(1);
        self.swept = false;
        self.pressed = mem::replace(&mut self.refused, false);
    }

    /// What the counter has counted since the last flush: all of it where it is new or began anew.
    ///
    /// # Errors
    /// Why it cannot be told.
    pub(super) fn counter(&mut self, id: &Id<'_>, start: UnixTime, now: Number) -> Result<Number, DropReason> {
        if !number::is_finite(now) || number::is_negative(now) {
            return Err(DropReason::Number);
        }
        let key = id.key();
        let flush = self.flush;
        match self.series.get_mut(&key) {
            Some(entry) if entry.seen == flush => Err(DropReason::Duplicate),
            Some(Entry { last: Last::Counter(last), start: began, seen }) => {
                let same = start <= *began;
                let since = if same { difference(now, *last) } else { None };
                (*last, *began, *seen) = (now, start, flush);
                Ok(since.unwrap_or(now))
            }
            _ => {
                self.remember(key, Last::Counter(now), start)?;
                // It may be one that was refused before, and have counted for long.
                Ok(if self.pressed { Number::Integer(0) } else { now })
            }
        }
    }

    /// What the histogram observed since the last flush: all of it where it is new or began anew.
    ///
    /// # Errors
    /// Why it cannot be told.
    pub(super) fn histogram(&mut self, id: &Id<'_>, start: UnixTime, now: &Histogram) -> Result<Observed, DropReason> {
        let key = id.key();
        let flush = self.flush;
        let (hash, whole) = (hash(now.bounds()), Observed { counts: now.counts().to_vec(), sum: now.sum() });
        match self.series.get_mut(&key) {
            Some(entry) if entry.seen == flush => Err(DropReason::Duplicate),
            // Other bounds take another room.
            Some(Entry { last: Last::Histogram(last), start: began, seen })
                if last.counts.len() == whole.counts.len() =>
            {
                let same = start <= *began && last.hash == hash;
                let since = if same { observed_since(&whole, last) } else { None };
                last.hash = hash;
                last.counts.copy_from_slice(&whole.counts);
                (last.sum, *began, *seen) = (whole.sum, start, flush);
                Ok(since.unwrap_or(whole))
            }
            _ => {
                let counts = Counts { hash, counts: whole.counts.clone().into(), sum: whole.sum };
                self.remember(key, Last::Histogram(Box::new(counts)), start)?;
                Ok(if self.pressed { Observed { counts: vec![0; whole.counts.len()], sum: 0.0 } } else { whole })
            }
        }
    }

    /// Remembers that the gauge is there. `line` is told when it is not any more.
    ///
    /// # Errors
    /// Why its end will not be told.
    pub(super) fn gauge(&mut self, id: &Id<'_>, line: impl FnOnce() -> String) -> Result<(), DropReason> {
        let key = id.key();
        let flush = self.flush;
        match self.series.get_mut(&key) {
            Some(entry) if entry.seen == flush => Err(DropReason::Duplicate),
            Some(entry) => {
                entry.seen = flush;
                Ok(())
            }
            None => self.remember(key, Last::Gauge(line().into()), UnixTime(0)),
        }
    }

    /// Ends a flush: hands out what was to be told of gauges that were not read in it.
    pub(super) fn finish(&mut self) -> Vec<String> {
        let flush = self.flush;
        let mut ended = Vec::new();
        let bytes = &mut self.bytes;
        self.series.retain(|key, entry| {
            let kept = match &mut entry.last {
                _ if entry.seen == flush => true,
                Last::Gauge(line) => {
                    ended.push(line.to_string());
                    false
                }
                _ => flush.saturating_sub(entry.seen) <= KEPT,
            };
            if !kept {
                *bytes = bytes.saturating_sub(weight(key, &entry.last));
            }
            kept
        });
        ended
    }

    fn remember(&mut self, key: Key, last: Last, start: UnixTime) -> Result<(), DropReason> {
        // What it had is of another shape.
        if let Some(old) = self.series.remove(&key) {
            self.bytes = self.bytes.saturating_sub(weight(&key, &old.last));
        }
        let weight = weight(&key, &last);
        if self.bytes.saturating_add(weight) > self.limit {
            self.sweep();
        }
        if self.bytes.saturating_add(weight) > self.limit {
            self.refused = true;
            return Err(DropReason::Memory);
        }
        self.bytes = self.bytes.saturating_add(weight);
        self.series.insert(key, Entry { last, start, seen: self.flush });
        Ok(())
    }

    /// Forgets counters and histograms that were not read in the last flush; gauges are never so old.
    fn sweep(&mut self) {
        if self.swept {
            return;
        }
        self.swept = true;
        let flush = self.flush;
        let bytes = &mut self.bytes;
        self.series.retain(|key, entry| {
            let kept = flush.saturating_sub(entry.seen) <= 1;
            if !kept {
                *bytes = bytes.saturating_sub(weight(key, &entry.last));
            }
            kept
        });
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

/// What an entry occupies, its share of the table included, which may be half empty.
fn weight(key: &Key, last: &Last) -> usize {
    let beside = match last {
        Last::Counter(_) => 0,
        Last::Gauge(line) => line.len(),
        Last::Histogram(counts) => {
            size_of::<Counts>().saturating_add(size_of::<u64>().saturating_mul(counts.counts.len()))
        }
    };
    let place = size_of::<(Key, Entry)>().saturating_add(1).saturating_mul(2);
    place.saturating_add(key.len()).saturating_add(beside)
}

/// `None`: it began anew.
#[expect(clippy::cast_precision_loss, reason = "only where a series changes from whole numbers to others")]
fn difference(now: Number, last: Number) -> Option<Number> {
    match (now, last) {
        (Number::Integer(now), Number::Integer(last)) => {
            now.checked_sub(last).filter(|since| *since >= 0).map(Number::Integer)
        }
        (Number::Float(now), Number::Float(last)) => (now >= last).then_some(Number::Float(now - last)),
        (Number::Float(now), Number::Integer(last)) => (now >= last as f64).then_some(Number::Float(now - last as f64)),
        (Number::Integer(now), Number::Float(last)) => (now as f64 >= last).then_some(Number::Float(now as f64 - last)),
    }
}

/// `None`: it began anew.
fn observed_since(now: &Observed, last: &Counts) -> Option<Observed> {
    let counts: Option<Vec<u64>> =
        now.counts.iter().zip(&last.counts).map(|(now, last)| now.checked_sub(*last)).collect();
    Some(Observed { counts: counts?, sum: now.sum - last.sum })
}

fn hash(bounds: &[f64]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bounds.len().hash(&mut hasher);
    for bound in bounds {
        bound.to_bits().hash(&mut hasher);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests;
