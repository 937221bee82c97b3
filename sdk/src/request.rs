//! A request, as the filter behind the previous one sees it.

use std::ops::{Deref, DerefMut};

use crate::abi::MapKind;
use crate::cookie;
use crate::error::Result;
use crate::headers::Headers;
use crate::property;
use crate::query::Query;
use crate::routes::{RouteHandle, RouteOverrides};
use crate::trace::{self, Span, StreamSpan};

/// The head of a request. It is its [`Headers`], with names for the pseudo headers.
#[derive(Debug)]
pub struct Request {
    headers: Headers,
    end_of_stream: bool,
}

impl Request {
    pub(crate) fn new(end_of_stream: bool) -> Self {
        Self { headers: Headers::new(MapKind::RequestHeaders), end_of_stream }
    }

    /// `:method`; empty when there is none.
    #[must_use]
    pub fn method(&self) -> &[u8] {
        self.get_known(":method").unwrap_or_default()
    }

    /// `:path`, with its query; empty when there is none.
    #[must_use]
    pub fn path(&self) -> &[u8] {
        self.get_known(":path").unwrap_or_default()
    }

    /// `:authority`, which is HTTP/1.1's `Host`; empty when there is none.
    #[must_use]
    pub fn authority(&self) -> &[u8] {
        self.get_known(":authority").unwrap_or_default()
    }

    /// `:scheme`; empty when there is none.
    #[must_use]
    pub fn scheme(&self) -> &[u8] {
        self.get_known(":scheme").unwrap_or_default()
    }

    /// The parameters of the path's query.
    #[must_use]
    pub fn query(&self) -> Query<'_> {
        Query::of_path(self.path())
    }

    /// The first value of a cookie.
    #[must_use]
    pub fn cookie(&self, name: &str) -> Option<Vec<u8>> {
        cookie::find(&self.values("cookie"), name)
    }

    /// Whether there is neither body nor trailers.
    #[must_use]
    pub fn end_of_stream(&self) -> bool {
        self.end_of_stream
    }

    /// A property of the stream, raw; see [`crate::property`] for typed reading.
    #[must_use]
    pub fn property(&self, path: &[&str]) -> Option<Vec<u8>> {
        property::read(path)
    }

    /// Sets a property that filters behind this one can read.
    ///
    /// # Errors
    /// When the host refuses it.
    pub fn set_property(&mut self, path: &[&str], value: impl AsRef<[u8]>) -> Result<()> {
        property::set(path, value)
    }

    /// Sends the stream along a route. The last selection wins; it is executed when the chain is through.
    ///
    /// # Errors
    /// When the host refuses it.
    pub fn select_route(&self, route: &RouteHandle, overrides: &RouteOverrides<'_>) -> Result<()> {
        route.select(overrides)
    }

    /// A span inside of the stream's, from here to where it is dropped; see [`crate::trace`].
    pub fn span(&self, name: &str) -> Span {
        trace::span(name)
    }

    /// The stream's own span, for tags that are about all of it.
    #[must_use]
    pub fn stream_span(&self) -> StreamSpan {
        trace::stream_span()
    }
}

impl Deref for Request {
    type Target = Headers;

    fn deref(&self) -> &Headers {
        &self.headers
    }
}

impl DerefMut for Request {
    fn deref_mut(&mut self) -> &mut Headers {
        &mut self.headers
    }
}
