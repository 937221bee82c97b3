//! Cursors that are open, and since when. A worker knows those that were opened and closed through it: a driver may well use another
//! connection, and so another worker, for the end.

use std::rc::Rc;

use crate::flight::Numbered;
use crate::series::Series;

/// Cursors that a worker keeps; more, and the oldest is forgotten.
const MOST: usize = 4096;

/// Open cursors.
#[derive(Debug, Default)]
pub struct Cursors {
    open: Numbered<i64, (u64, Rc<Series>)>,
}

impl Cursors {
    /// One was opened. `true`: another one was forgotten for it.
    pub fn open(&mut self, id: i64, now: u64, series: &Rc<Series>) -> bool {
        self.open.insert(id, (now, Rc::clone(series)), MOST).is_some()
    }

    /// One was closed: how long it was open, in nanoseconds, and who had opened it.
    pub fn close(&mut self, id: i64, now: u64) -> Option<(u64, Rc<Series>)> {
        self.open.remove(id).map(|(began, series)| (now.saturating_sub(began), series))
    }
}
