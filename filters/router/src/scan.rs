//! How much text expressions are given.
//!
//! An expression looks at every byte, and the client says how many there are: 60 KiB take longer than a call may last
//! (`limits.call_time`), and a call that lasts too long costs more than the one stream. What is too long for an expression does
//! not count as no match, because the route behind it might be the one that lets everything in: the request is refused.

use std::cell::Cell;

use fyke_sdk::Reply;

/// Bytes that an expression may look at.
pub const LONGEST: usize = 8 * 1024;

/// Where a text comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Path or query.
    Target,
    /// A header or cookie.
    Header,
}

/// What expressions were asked to look at for one request.
#[derive(Debug, Default)]
pub struct Scan {
    too_long: Cell<Option<Part>>,
}

impl Scan {
    /// The text for an expression. `None` where it is not UTF-8, and where it is too long, which is noted.
    pub fn text<'t>(&self, bytes: &'t [u8], part: Part) -> Option<&'t str> {
        if bytes.len() > LONGEST {
            self.too_long.set(Some(part));
            return None;
        }
        std::str::from_utf8(bytes).ok()
    }

    /// The answer to a request of which something was too long.
    pub fn refusal(&self) -> Option<Reply> {
        let status = match self.too_long.get()? {
            Part::Target => 414,
            Part::Header => 431,
        };
        Some(Reply::new(status).details("too_long_for_expression"))
    }
}
