//! What workers read.

use std::sync::atomic::{AtomicU32, Ordering};

use super::{Action, Level};

/// What all workers have to do, in one word. Written by the manager, read on the way of each request.
#[derive(Debug, Default)]
pub struct Flags(AtomicU32);

impl Flags {
    /// What to do now. One relaxed load: it may be a moment old, and is consistent in itself.
    #[must_use]
    pub fn load(&self) -> Decisions {
        Decisions(self.0.load(Ordering::Relaxed))
    }

    pub(super) fn store(&self, decisions: Decisions) {
        self.0.store(decisions.0, Ordering::Relaxed);
    }
}

/// What to do. The default is to do as always.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Decisions(u32);

impl Decisions {
    /// Nothing is wrong. What most requests ask, and no more than a comparison.
    #[must_use]
    pub fn is_normal(self) -> bool {
        self.0 == 0
    }

    /// Leave new connections in the kernel's queue.
    #[must_use]
    pub fn stops_accepting(self) -> bool {
        self.level(Action::StopAccepting) > Level::OFF
    }

    /// Close connections after the answer: `connection: close` with HTTP/1.1, GOAWAY with HTTP/2.
    #[must_use]
    pub fn disables_keep_alive(self) -> bool {
        self.level(Action::DisableKeepAlive) > Level::OFF
    }

    /// Answer this request with 503, given a random number: true for [`Level::fraction`] of all numbers. None are shed
    /// at [`Level::OFF`], all at [`Level::FULL`], and a number that is shed at one level is at every higher one.
    #[must_use]
    pub fn sheds(self, random: u32) -> bool {
        // The upper five bits: 32 steps.
        random >> 27 < u32::from(self.level(Action::ShedRequests).steps())
    }

    /// How far an action is taken.
    #[must_use]
    pub fn level(self, action: Action) -> Level {
        Level::from_steps(u8::try_from(self.0 >> shift(action) & 0xff).unwrap_or(u8::MAX))
    }

    pub(super) fn with(self, action: Action, level: Level) -> Self {
        Self(self.0 & !(0xff << shift(action)) | u32::from(level.steps()) << shift(action))
    }
}

/// A byte for each action.
const fn shift(action: Action) -> u32 {
    match action {
        Action::StopAccepting => 0,
        Action::DisableKeepAlive => 8,
        Action::ShedRequests => 16,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ACTIONS: [Action; 3] = [Action::StopAccepting, Action::DisableKeepAlive, Action::ShedRequests];

    #[test]
    fn nothing_is_done_by_default() {
        let decisions = Flags::default().load();
        assert!(decisions.is_normal() && !decisions.stops_accepting() && !decisions.disables_keep_alive());
        assert!(!decisions.sheds(0));
    }

    #[test]
    fn the_share_of_numbers_that_are_shed_is_exact() {
        for steps in 0..=Level::STEPS {
            let decisions = Decisions::default().with(Action::ShedRequests, Level::from_steps(steps));
            let shed = (0..1024_u32).filter(|number| decisions.sheds(number << 22)).count();
            assert_eq!(shed, usize::from(steps) * 32);
        }
        assert!(Decisions::default().with(Action::ShedRequests, Level::FULL).sheds(u32::MAX));
    }

    proptest! {
        #[test]
        fn actions_do_not_touch_each_other(levels in prop::collection::vec((0..3_usize, 0..=32_u8), 0..20)) {
            let mut expected = [Level::OFF; 3];
            let mut decisions = Decisions::default();
            for (index, steps) in levels {
                expected[index] = Level::from_steps(steps);
                decisions = decisions.with(ACTIONS[index], expected[index]);
            }
            prop_assert_eq!(ACTIONS.map(|action| decisions.level(action)), expected);
            prop_assert_eq!(decisions.is_normal(), expected == [Level::OFF; 3]);
        }
    }
}
