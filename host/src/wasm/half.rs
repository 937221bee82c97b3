//! One direction of an exchange: what came in, and what leaves the chain.

use bytes::Bytes;
use http::HeaderMap;

use super::rope::Rope;

/// One direction's bytes on their way out of the chain.
#[derive(Debug, Default)]
pub struct Outlet {
    /// The next filter (in this direction's order) that the headers have not passed.
    pub head: usize,
    /// The message has no body.
    pub head_end: bool,
    /// Bytes that have passed every filter.
    pub body: Rope,
    /// The body has ended; trailers are in the half when there are any.
    pub end: bool,
    /// Set when the direction has been started.
    pub started: bool,
}

/// One direction of the exchange.
#[derive(Debug, Default)]
pub struct Half {
    /// What leaves the chain.
    pub outlet: Outlet,
    /// Trailers.
    pub trailers: Option<HeaderMap>,
    /// Body bytes that came in, where filters are shown them or somebody counts them.
    pub bytes: u64,
    /// Body bytes that have left the chain: what the other side gets, whatever filters made of it.
    pub passed: u64,
    /// A filter has dropped some of them: they do not say how long the body is.
    pub lossy: bool,
    /// The filters have done what they can with what is here.
    pub settled: bool,
}

impl Half {
    /// Takes bytes that have passed every filter, to send them.
    pub fn pop(&mut self) -> Option<Bytes> {
        let bytes = self.outlet.body.pop()?;
        self.passed += bytes.len() as u64;
        Some(bytes)
    }

    /// Counts bytes that went by no filter.
    pub fn went_by(&mut self, count: usize) {
        self.bytes += count as u64;
        self.passed += count as u64;
    }
}
