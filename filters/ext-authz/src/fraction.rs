//! Which requests the service is asked about.

use fyke_sdk::random;
use fyke_sdk::units::Percent;

/// A share of requests.
#[derive(Debug, Clone, Copy)]
pub struct Fraction(f64);

impl Fraction {
    /// All of them, where nothing is said.
    pub fn new(share: Option<Percent>) -> Self {
        Self(share.map_or(1.0, Percent::fraction))
    }

    /// Draws a lot.
    pub fn draw(self) -> bool {
        // 53 random bits: every double in steps of 2^-53, below one.
        self.0 >= 1.0 || (self.0 > 0.0 && ((random::number() >> 11) as f64) < self.0 * (1_u64 << 53) as f64)
    }
}
