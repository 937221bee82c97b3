//! What happens to the process, for whoever watches: the last [`KEPT`] events, in the order in which they came.
//!
//! Whoever tells of one waits for nobody: it goes into a ring, and readers come to the ring at their own pace. A reader that is too slow
//! for it learns how many it has missed. Events of a kind that comes in crowds and of one subject that come within [`QUIET`] of each other are told once,
//! with their number, so that a filter that traps a thousand times a second does not wash everything else away.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};
use tokio::sync::watch;

use super::event_kinds::{Kind, Rate};

/// Events that are kept.
pub const KEPT: usize = 1000;
/// Events like one that was just told are counted for so long, and told with the next one.
pub const QUIET: Duration = Duration::from_secs(1);
/// Kinds and subjects that are remembered for that.
const REMEMBERED: usize = 256;
/// Bytes of a message, and of a subject.
const TEXT: usize = 2048;

/// The events of a process. Clones are the same.
#[derive(Debug, Clone)]
pub struct Events {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    ring: Mutex<Ring>,
    /// The number of the last event.
    last: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Ring {
    events: VecDeque<Arc<Event>>,
    last: u64,
    /// When an event of this kind and subject was told, and how many have come since.
    lately: HashMap<(&'static str, String), (Instant, u64)>,
}

/// Something that happened.
#[derive(Debug)]
pub struct Event {
    /// Rises by one with each event.
    pub id: u64,
    /// When.
    pub at: SystemTime,
    /// What kind of thing.
    pub kind: &'static Kind,
    /// To what it happened; empty: the process.
    pub subject: String,
    /// In words.
    pub message: String,
    /// Those like this one that came just before it and were not told singly.
    pub repeats: u64,
    /// What programs want to know.
    pub fields: Map<String, Value>,
}

impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut value = json!({
            "id": self.id,
            "at": milliseconds(self.at),
            "kind": self.kind.name,
            "level": self.kind.level.word(),
            "subject": self.subject,
            "message": self.message,
        });
        if let Some(fields) = value.as_object_mut() {
            if self.repeats > 0 {
                fields.insert("repeats".to_owned(), self.repeats.into());
            }
            if !self.fields.is_empty() {
                fields.insert("fields".to_owned(), self.fields.clone().into());
            }
        }
        value.serialize(serializer)
    }
}

/// Milliseconds since 1970.
#[must_use]
pub fn milliseconds(moment: SystemTime) -> u64 {
    let since = moment.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// What a reader finds behind the event that it has seen last.
#[derive(Debug)]
pub struct News {
    /// Oldest first.
    pub events: Vec<Arc<Event>>,
    /// Events behind that one that are not kept any more.
    pub missed: u64,
    /// The number of the last event that there is.
    pub last: u64,
}

impl Default for Events {
    fn default() -> Self {
        Self { inner: Arc::new(Inner { ring: Mutex::default(), last: watch::Sender::new(0) }) }
    }
}

impl Events {
    /// Tells of something. `fields` is an object with what programs want to know, or nothing.
    pub fn tell(&self, kind: &'static Kind, subject: &str, message: impl Into<String>, fields: Value) {
        self.tell_at(kind, subject, message.into(), fields, Instant::now());
    }

    fn tell_at(&self, kind: &'static Kind, subject: &str, message: String, fields: Value, now: Instant) {
        let subject = cut(subject.to_owned());
        let mut ring = self.lock();
        let Some(repeats) = ring.admit(kind, &subject, now) else { return };
        ring.last += 1;
        let fields = if let Value::Object(fields) = fields { fields } else { Map::new() };
        let (id, message) = (ring.last, cut(message));
        ring.events.push_back(Arc::new(Event { id, at: SystemTime::now(), kind, subject, message, repeats, fields }));
        if ring.events.len() > KEPT {
            ring.events.pop_front();
        }
        // Under the lock: numbers only rise.
        self.inner.last.send_replace(id);
    }

    /// What there is behind an event; behind 0: everything that is kept.
    #[must_use]
    pub fn after(&self, seen: u64) -> News {
        let ring = self.lock();
        let first = ring.events.front().map_or(ring.last + 1, |event| event.id);
        // Whoever has seen more than there is has seen another process: to them everything is new.
        let seen = if seen > ring.last { 0 } else { seen };
        let skip = usize::try_from((seen + 1).saturating_sub(first)).unwrap_or(usize::MAX);
        let events = ring.events.iter().skip(skip).map(Arc::clone).collect();
        News { events, missed: first.saturating_sub(seen + 1), last: ring.last }
    }

    /// Rises with each event.
    #[must_use]
    pub fn last(&self) -> watch::Receiver<u64> {
        self.inner.last.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.inner.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ring {
    /// How many have come before this one and were not told; `None`: this one is not told either.
    fn admit(&mut self, kind: &'static Kind, subject: &str, now: Instant) -> Option<u64> {
        if kind.rate == Rate::Few {
            return Some(0);
        }
        match self.lately.get_mut(&(kind.name, subject.to_owned())) {
            Some((told, since)) if now.saturating_duration_since(*told) < QUIET => {
                *since += 1;
                None
            }
            Some((told, since)) => {
                *told = now;
                Some(std::mem::take(since))
            }
            None => {
                if self.lately.len() >= REMEMBERED {
                    self.lately.retain(|_, (told, _)| now.saturating_duration_since(*told) < QUIET);
                }
                if self.lately.len() < REMEMBERED {
                    self.lately.insert((kind.name, subject.to_owned()), (now, 0));
                }
                Some(0)
            }
        }
    }
}

fn cut(mut text: String) -> String {
    if text.len() > TEXT {
        text.truncate(text.floor_char_boundary(TEXT));
        text.push_str("...");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::event_kinds::{DRAIN, TRAP};
    use super::*;

    fn ids(news: &News) -> Vec<u64> {
        news.events.iter().map(|event| event.id).collect()
    }

    #[test]
    fn readers_go_on_where_they_were() {
        let events = Events::default();
        let subjects: Vec<String> = (0..5).map(|number| format!("f{number}")).collect();
        for subject in &subjects {
            events.tell(&TRAP, subject, "it", Value::Null);
        }
        assert_eq!(ids(&events.after(0)), [1, 2, 3, 4, 5]);
        assert_eq!(ids(&events.after(3)), [4, 5]);
        let none = events.after(5);
        assert_eq!((ids(&none).len(), none.missed, none.last), (0, 0, 5));
        // Another process had more of them.
        assert_eq!(ids(&events.after(99)), [1, 2, 3, 4, 5]);
        assert_eq!(ids(&Events::default().after(7)), Vec::<u64>::new());
    }

    #[test]
    fn the_ring_is_bounded_and_says_what_is_gone() {
        let events = Events::default();
        let total = KEPT as u64 + 10;
        for number in 0..total {
            events.tell(&TRAP, &number.to_string(), "x".repeat(2 * TEXT), Value::Null);
        }
        let news = events.after(0);
        assert_eq!((news.events.len(), news.missed, news.last), (KEPT, 10, total));
        assert!(news.events.iter().all(|event| event.message.len() <= TEXT + 3));
        let some = events.after(5);
        assert_eq!((some.events.len(), some.missed), (KEPT, 5));
        assert_eq!(events.after(10).missed, 0);
        assert!(events.lock().lately.len() <= REMEMBERED);
        assert_eq!(*events.last().borrow(), total);
    }

    #[test]
    fn many_of_a_kind_are_told_once_a_second_with_their_number() {
        let (events, now) = (Events::default(), Instant::now());
        for _ in 0..100 {
            events.tell_at(&TRAP, "f", "it".to_owned(), Value::Null, now);
        }
        events.tell_at(&TRAP, "g", "it".to_owned(), Value::Null, now);
        events.tell_at(&DRAIN, "f", "it".to_owned(), Value::Null, now);
        events.tell_at(&TRAP, "f", "it".to_owned(), json!({ "a": 1 }), now + QUIET);
        let told = events.after(0).events;
        let told: Vec<_> = told.iter().map(|event| (event.subject.as_str(), event.repeats)).collect();
        assert_eq!(told, [("f", 0), ("g", 0), ("f", 0), ("f", 99)]);
        let last = serde_json::to_value(&*events.after(3).events[0]).unwrap();
        assert_eq!((&last["kind"], &last["repeats"], &last["fields"]["a"]), (&"trap".into(), &99.into(), &1.into()));
    }
}
