//! Shares of operations.

use fyke_sdk::random;
use fyke_sdk::units::Percent;

/// A share of all.
#[derive(Debug, Clone, Copy)]
pub struct Chance(f64);

impl Chance {
    /// Default: all.
    #[must_use]
    pub fn new(share: Option<Percent>) -> Self {
        Self(share.map_or(1.0, Percent::fraction))
    }

    /// Draws a lot.
    #[must_use]
    pub fn is_drawn(self) -> bool {
        random::chance(self.0)
    }
}
