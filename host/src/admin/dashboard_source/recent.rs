//! What was counted in the last ten seconds, by samples a second apart.

use std::collections::VecDeque;

use crate::admin::dashboard::model::Time;

/// Samples that are kept: the first is ten seconds old.
const MOST: usize = 11;

/// See the module.
#[derive(Default)]
pub(super) struct Recent<T>(VecDeque<(Time, T)>);

impl<T: Copy> Recent<T> {
    /// Adds what is counted now.
    pub fn push(&mut self, now: Time, count: T) {
        self.0.push_back((now, count));
        while self.0.len() > MOST {
            self.0.pop_front();
        }
    }

    /// What was counted last.
    pub fn last(&self) -> Option<T> {
        self.0.back().map(|(_, count)| *count)
    }

    /// The oldest count and the newest, and how many seconds lie between them.
    pub fn ends(&self) -> Option<(T, T, f64)> {
        let ((begin, first), (end, last)) = self.0.front().zip(self.0.back())?;
        Some((*first, *last, end.seconds_since(*begin)))
    }
}
