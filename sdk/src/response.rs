//! A response, on its way back to the client.

use std::ops::{Deref, DerefMut};

use crate::abi::MapKind;
use crate::cookie::SetCookie;
use crate::error::Result;
use crate::headers::Headers;
use crate::property;
use crate::trace::{self, Span, StreamSpan};

/// The head of a response. It is its [`Headers`], with a name for the status.
#[derive(Debug)]
pub struct Response {
    headers: Headers,
    end_of_stream: bool,
}

impl Response {
    pub(crate) fn new(end_of_stream: bool) -> Self {
        Self { headers: Headers::new(MapKind::ResponseHeaders), end_of_stream }
    }

    /// `:status`; zero when there is none.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.get(":status").and_then(|status| std::str::from_utf8(status).ok()?.parse().ok()).unwrap_or(0)
    }

    /// Adds a `set-cookie` header.
    ///
    /// # Errors
    /// When the cookie is malformed ([`SetCookie::to_header`]), or as [`Headers::set`].
    pub fn set_cookie(&mut self, cookie: &SetCookie) -> Result<()> {
        self.add("set-cookie", cookie.to_header()?)
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

impl Deref for Response {
    type Target = Headers;

    fn deref(&self) -> &Headers {
        &self.headers
    }
}

impl DerefMut for Response {
    fn deref_mut(&mut self) -> &mut Headers {
        &mut self.headers
    }
}
