//! Where a test runs, for hosts of every kind.

use std::cell::RefCell;
use std::time::Duration;

use super::services::Services;
use crate::testing::native;
use crate::testing::pipe::Driven;

/// Where a test runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ring {
    /// In this process.
    Native,
    /// The built module, in the engine of the `fyke` binary.
    Wasm,
    /// The built module, in Envoy. Time is real there.
    Envoy,
}

/// What the native hosts have in common.
pub(in crate::testing) trait InProcess {
    fn services(&mut self) -> &mut Services;
    fn advance(&mut self, duration: Duration);
}

/// The host `N` in this process, or one that is driven over a pipe.
pub(super) enum Place<N> {
    Native(Box<N>),
    /// Reading a metric is talking to it.
    Driven(Ring, Box<RefCell<Driven>>),
}

impl<N: InProcess> Place<N> {
    pub fn driven(ring: Ring, driven: Driven) -> Self {
        Self::Driven(ring, Box::new(RefCell::new(driven)))
    }

    pub fn ring(&self) -> Ring {
        match self {
            Self::Native(_) => Ring::Native,
            Self::Driven(ring, _) => *ring,
        }
    }

    pub fn services(&mut self) -> &mut Services {
        match self {
            Self::Native(native) => native.services(),
            Self::Driven(_, driven) => &mut driven.get_mut().services,
        }
    }

    #[track_caller]
    pub fn advance(&mut self, duration: Duration) {
        match self {
            Self::Native(native) => native.advance(duration),
            Self::Driven(_, driven) => driven.get_mut().advance(duration),
        }
    }

    /// The value of a counter or gauge, and how many values a histogram was given.
    #[track_caller]
    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> (i64, usize) {
        match self {
            Self::Native(_) => native::metric(name, labels),
            Self::Driven(_, driven) => driven.borrow_mut().metric(name, labels),
        }
    }

    #[track_caller]
    pub fn logs(&self) -> Vec<String> {
        match self {
            Self::Native(_) => native::logs(),
            Self::Driven(_, driven) => driven.borrow_mut().logs(),
        }
    }
}
