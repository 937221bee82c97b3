//! How much is done in one call. Hosts end a filter that takes too long over one, and with it the connections of everybody else; so of many small messages, or of
//! some that inflate to much, a part is done, and the rest after a moment.

use std::time::Duration;

use crate::wire::frames::Event;

/// What may be done in one call: some milliseconds, with all that counting and refusing cost.
const MOST: usize = 1024;
/// What a message costs about which something is decided, or which is complained about, in the same units; other events cost one.
const DECISION: usize = 3;
/// Bytes that are inflated for one unit.
const INFLATED: usize = 1 << 10;

/// What is left of it.
#[derive(Debug)]
pub struct Patience(usize);

impl Default for Patience {
    fn default() -> Self {
        Self(MOST)
    }
}

impl Patience {
    /// When the rest is looked at: the host's shortest time.
    pub const PAUSE: Duration = Duration::from_millis(1);

    /// Something was found, for which so many bytes were inflated.
    pub fn spend(&mut self, event: Option<&Event>, inflated: usize) {
        let cost = match event {
            None => 0,
            Some(Event::Known | Event::Bad(_)) => DECISION,
            Some(_) => 1,
        };
        self.0 = self.0.saturating_sub(cost + inflated / INFLATED);
    }

    /// Whether the rest has to wait.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        self.0 == 0
    }
}
