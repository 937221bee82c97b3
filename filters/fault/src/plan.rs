//! What becomes of one request.

use std::time::Duration;

use fyke_sdk::units::{Percent, parse_duration};
use fyke_sdk::{Request, random};

/// The longest delay that a header may ask for.
const LONGEST: Duration = Duration::from_secs(300);

/// A wait, an answer, or both.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub delay: Option<Duration>,
    pub abort: Option<u16>,
}

impl Plan {
    /// What a request's own headers ask for. What makes no sense asks for nothing.
    pub fn of_headers(request: &Request) -> Self {
        let text = |name: &str| request.get(name).and_then(|value| std::str::from_utf8(value).ok());
        let delay = text("x-fault-delay").and_then(|text| parse_duration(text).ok()).map(|delay| delay.min(LONGEST));
        let abort = text("x-fault-abort").and_then(|text| text.parse().ok());
        Self { delay, abort: abort.filter(|status| (200..=599).contains(status)) }
    }
}

/// Draws a lot.
pub fn drawn(fraction: Option<Percent>) -> bool {
    random::chance(fraction.map_or(1.0, Percent::fraction))
}
