//! Keeps an open page up to date, as server-sent events.
//!
//! A [`Feed`] belongs to one connection. Once a second the host asks it what to send: regions of the page whose HTML is not
//! what was sent last, and a tick by which the browser knows that the connection lives. It keeps one number for each
//! region, no HTML; what it sends is bounded by what pages show.
//!
//! ```text
//! data: {"id":"tiles","html":"<h2 ..."}
//!
//! event: tick
//! data: 12:03:04
//! ```
//!
//! A host polls its feeds right after it has taken a sample for the [`crate::admin::dashboard::history`], so that what happens is seen within
//! one period and not two.
//!
//! A browser that cannot read as fast as the host writes must not be waited for: the host drops the connection when its
//! buffer is full, and the browser comes back.

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

use serde::Serialize;

use crate::admin::dashboard::{
    link::{self, Query},
    model::Viewer,
    page::{self, Context},
    source::Source,
    units,
};

/// How often a feed is polled, in milliseconds.
pub const PERIOD: u64 = 1_000;
/// Most feeds at a time that a host should have open; each costs as much as loading its page once a second.
pub const FEEDS: usize = 32;
/// Longest path and query of a page.
const LONGEST: usize = 20 << 10;

/// What one open page is sent.
#[derive(Debug)]
pub struct Feed {
    path: String,
    query: Query,
    viewer: Viewer,
    /// Hashes of what was sent last.
    sent: BTreeMap<&'static str, u64>,
    has_begun: bool,
}

#[derive(Serialize)]
struct Update<'a> {
    id: &'a str,
    html: &'a str,
}

impl Feed {
    /// For the page at this path and query; `None`: that is none of ours.
    #[must_use]
    pub fn new(location: &str, viewer: Viewer) -> Option<Self> {
        if location.len() > LONGEST || !link::is_own(location) {
            return None;
        }
        let (path, query) = location.split_once('?').unwrap_or((location, ""));
        let (path, query) = (path.to_owned(), Query::read(query));
        // A question is answered once: each answer takes a proxy of its own.
        if path.trim_end_matches('/') == link::page("explain") {
            return None;
        }
        Some(Self { path, query, viewer, sent: BTreeMap::new(), has_begun: false })
    }

    /// What to send now; never empty.
    pub fn poll(&mut self, source: &dyn Source) -> Vec<u8> {
        let now = source.now();
        let context = Context { source, query: &self.query, viewer: &self.viewer, now };
        let mut out = Vec::new();
        if !self.has_begun {
            // When the connection breaks, the browser waits two seconds.
            out.extend_from_slice(b"retry: 2000\n\n");
            self.has_begun = true;
        }
        let Some(page) = page::page(&self.path, &context) else {
            // A filter or a cluster that was removed.
            out.extend_from_slice(b"event: gone\ndata: gone\n\n");
            return out;
        };
        let frame = page::frame_regions(&page, &context);
        for region in frame.into_iter().chain(page.regions) {
            let html = region.html.into_string();
            let mut hasher = DefaultHasher::new();
            html.hash(&mut hasher);
            let hash = hasher.finish();
            if self.sent.insert(region.id, hash) == Some(hash) {
                continue;
            }
            out.extend_from_slice(b"data: ");
            // JSON has no line breaks of its own; texts cannot fail to be written.
            let _ = serde_json::to_writer(&mut out, &Update { id: region.id, html: &html });
            out.extend_from_slice(b"\n\n");
        }
        out.extend_from_slice(format!("event: tick\ndata: {}\n\n", units::clock(now)).as_bytes());
        out
    }
}
