//! From requests to answers. The host brings bytes and carries out actions; everything else is here.
//!
//! | request | who answers |
//! |---|---|
//! | `GET /dashboard/live?page=...` | [`feed`], then [`Feed::poll`] once a second |
//! | any other `GET` or `HEAD` below `/dashboard` | [`respond`] |
//! | `POST` to the paths of [`crate::admin::dashboard::action`] | [`post`], the host, then [`done`] or [`signed_in`] |
//!
//! `HEAD` is answered like `GET`, and the host leaves out the body.

mod post;
mod respond;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

pub use self::{
    post::{Post, Refused, Wish, done, post, signed_in, signed_out},
    respond::{Request, respond},
};
use crate::admin::dashboard::{
    link::{self, Query},
    live::Feed,
    model::Viewer,
};

/// Where events come from.
pub const LIVE: &str = "/dashboard/live";

/// Only our own files, no frames, nothing inline.
const POLICY: &str =
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'";

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// HTTP status.
    pub status: u16,
    /// Value of `content-type`; empty: no body.
    pub content_type: &'static str,
    /// Further headers, names in lower case.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Cow<'static, [u8]>,
}

impl Response {
    fn new(status: u16, content_type: &'static str, body: impl Into<Cow<'static, [u8]>>) -> Self {
        let headers = vec![
            ("content-security-policy", POLICY.to_owned()),
            ("x-content-type-options", "nosniff".to_owned()),
            ("referrer-policy", "same-origin".to_owned()),
            ("cross-origin-opener-policy", "same-origin".to_owned()),
            ("cross-origin-resource-policy", "same-origin".to_owned()),
        ];
        Self { status, content_type, headers, body: body.into() }
    }

    /// What must not be kept: numbers of a moment, and forms with secrets.
    fn fresh(status: u16, content_type: &'static str, body: impl Into<Cow<'static, [u8]>>) -> Self {
        Self::new(status, content_type, body).with("cache-control", "no-store")
    }

    fn html(status: u16, body: String) -> Self {
        Self::fresh(status, "text/html; charset=utf-8", body.into_bytes())
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| *key == name).map(|(_, value)| value.as_str())
    }
}

/// Whether a path is one of the dashboard's.
#[must_use]
pub fn is_ours(path: &str) -> bool {
    path == link::BASE || path.strip_prefix(link::BASE).is_some_and(|rest| rest.starts_with('/'))
}

/// The feed that `GET /dashboard/live?page=...` asks for, and the head of the answer, whose body is what [`Feed::poll`]
/// returns. `None`: it asks for no page of ours, which is a 400.
#[must_use]
pub fn feed(query: &str, viewer: Viewer) -> Option<(Response, Feed)> {
    let query = Query::read(query);
    let feed = Feed::new(query.value("page"), viewer)?;
    // Proxies in between must not collect what is sent.
    let head = Response::fresh(200, "text/event-stream", Vec::new()).with("x-accel-buffering", "no");
    Some((head, feed))
}
