//! What was written here a moment ago, and what the server still has to be told.
//!
//! Reading the server takes time, and what is read may be older than what was written here meanwhile. So every write leaves its trace: while it is on its way,
//! and until a read has begun after it, the reader leaves its host alone. A write that fails, or whose client goes before it is done, is owed.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::host::ServiceName;

/// A host.
pub(super) type Place = (ServiceName, SocketAddr);

/// More traces are not kept. A host without one may be as the server has it for a second.
const MOST: usize = 200_000;

#[derive(Debug, Default)]
pub(super) struct Touched(Mutex<Traces>);

#[derive(Debug, Default)]
struct Traces {
    /// Rises with each write, at its beginning and at its end.
    step: u64,
    places: HashMap<Place, Trace>,
}

#[derive(Debug, Default)]
struct Trace {
    under_way: u32,
    step: u64,
    owed: Owed,
}

/// What the server has to be told of a host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Owed {
    pub(super) put: bool,
    pub(super) weigh: bool,
    /// It went then, in milliseconds since 1970.
    pub(super) removed: Option<u64>,
}

/// What a write does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Put,
    Weigh,
    Remove { at: u64 },
}

/// A write under way. Dropped without [`Self::done`] it is owed.
#[derive(Debug)]
pub(super) struct Touch<'a> {
    touched: &'a Touched,
    places: Vec<Place>,
    what: What,
    done: bool,
}

impl Touched {
    fn traces(&self) -> MutexGuard<'_, Traces> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn begin(&self, places: Vec<Place>, what: What) -> Touch<'_> {
        let mut traces = self.traces();
        traces.step += 1;
        let step = traces.step;
        let room = MOST.saturating_sub(traces.places.len());
        let places: Vec<Place> = places.into_iter().take(room).collect();
        for place in &places {
            let trace = traces.places.entry(place.clone()).or_default();
            trace.under_way += 1;
            trace.step = step;
        }
        drop(traces);
        Touch { touched: self, places, what, done: false }
    }

    /// Before the server is read.
    pub(super) fn step(&self) -> u64 {
        self.traces().step
    }

    /// Whether a host has changed here since then, or is owed.
    pub(super) fn newer(&self, place: &Place, since: u64) -> bool {
        let traces = self.traces();
        traces.places.get(place).is_some_and(|trace| !trace.settled(since))
    }

    /// Forgets what was written before then, after the server was read.
    pub(super) fn forget(&self, since: u64) {
        self.traces().places.retain(|_, trace| !trace.settled(since));
    }

    /// What is owed and not under way.
    pub(super) fn owed(&self) -> Vec<(Place, Owed, u64)> {
        let traces = self.traces();
        let owed = traces.places.iter().filter(|(_, trace)| trace.under_way == 0 && trace.owed != Owed::default());
        owed.map(|(place, trace)| (place.clone(), trace.owed, trace.step)).collect()
    }

    /// The server has been told what was owed then.
    pub(super) fn paid(&self, place: &Place, step: u64) {
        let mut traces = self.traces();
        traces.step += 1;
        let now = traces.step;
        if let Some(trace) = traces.places.get_mut(place)
            && trace.step == step
        {
            trace.owed = Owed::default();
            trace.step = now;
        }
    }
}

impl Trace {
    fn settled(&self, since: u64) -> bool {
        self.under_way == 0 && self.step <= since && self.owed == Owed::default()
    }
}

impl Touch<'_> {
    /// The server has it.
    pub(super) fn done(mut self) {
        self.done = true;
    }
}

impl Drop for Touch<'_> {
    fn drop(&mut self) {
        let mut traces = self.touched.traces();
        traces.step += 1;
        let step = traces.step;
        for place in &self.places {
            let Some(trace) = traces.places.get_mut(place) else { continue };
            trace.under_way = trace.under_way.saturating_sub(1);
            trace.step = step;
            let owed = &mut trace.owed;
            match (self.what, self.done) {
                // What the server has now, it need not be told later.
                (What::Put, true) => owed.put = false,
                (What::Put, false) => (owed.put, owed.removed) = (true, None),
                (What::Weigh, done) => owed.weigh = !done,
                (What::Remove { .. }, true) => *owed = Owed::default(),
                (What::Remove { at }, false) => *owed = Owed { removed: Some(at), ..Owed::default() },
            }
            if (self.what, self.done) == (What::Put, true) {
                owed.removed = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        (ServiceName::parse("users").unwrap(), "10.0.0.1:80".parse().unwrap())
    }

    #[test]
    fn a_write_is_newer_until_a_read_begins_after_its_end() {
        let touched = Touched::default();
        let read_before = touched.step();
        let touch = touched.begin(vec![place()], What::Put);
        let read_during = touched.step();
        assert!(touched.newer(&place(), read_before) && touched.newer(&place(), read_during));
        touch.done();
        assert!(touched.newer(&place(), read_during));
        touched.forget(read_during);
        let read_after = touched.step();
        assert!(!touched.newer(&place(), read_after));
        touched.forget(read_after);
        assert!(touched.traces().places.is_empty());
    }

    #[test]
    fn what_failed_is_owed_until_it_is_paid_or_overtaken() {
        let touched = Touched::default();
        drop(touched.begin(vec![place()], What::Put));
        drop(touched.begin(vec![place()], What::Weigh));
        let owed = touched.owed();
        assert_eq!(owed[0].1, Owed { put: true, weigh: true, removed: None });
        assert!(touched.newer(&place(), touched.step()));
        // What happens while it is paid stays owed.
        drop(touched.begin(vec![place()], What::Remove { at: 7 }));
        touched.paid(&place(), owed[0].2);
        let owed = touched.owed();
        assert_eq!(owed[0].1, Owed { put: false, weigh: false, removed: Some(7) });
        touched.paid(&place(), owed[0].2);
        assert!(touched.owed().is_empty());
        drop(touched.begin(vec![place()], What::Remove { at: 7 }));
        touched.begin(vec![place()], What::Put).done();
        assert!(touched.owed().is_empty());
    }
}
