//! What time it is, as the embedded store and caches are told. Tests bring their own.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use fyke_limiter::Now;
use tokio::time::Instant;

/// A clock, shared by all that use it.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Now + Send + Sync>);

impl Clock {
    /// The machine's. Its steady time begins now.
    #[must_use]
    pub fn system() -> Self {
        let begun = Instant::now();
        Self::new(move || {
            let steady = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
            let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            Now { steady, wall: u64::try_from(wall.as_nanos()).unwrap_or(u64::MAX) }
        })
    }

    /// One that says what `now` says. It is called under locks and must not block.
    #[must_use]
    pub fn new(now: impl Fn() -> Now + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// What time it is.
    #[must_use]
    pub fn now(&self) -> Now {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}
