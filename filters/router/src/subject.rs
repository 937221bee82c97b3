//! A request, as far as routes look at it.

use std::cell::RefCell;

use fyke_sdk::Request;

use crate::scan::Scan;
use crate::values::cookie_value;

/// A request, as far as routes look at it. What was asked once is kept: many routes ask for the same header.
pub struct Subject<'a> {
    pub request: &'a Request,
    /// Without the query.
    pub path: &'a [u8],
    /// Without its question mark.
    pub query: Option<&'a [u8]>,
    /// What expressions have looked at.
    pub scan: Scan,
    joined: RefCell<Vec<(String, Option<Vec<u8>>)>>,
}

impl<'a> Subject<'a> {
    pub fn new(request: &'a Request, target: &'a [u8]) -> Self {
        let (path, query) = split_query(target);
        Self { request, path, query, scan: Scan::default(), joined: RefCell::default() }
    }

    /// All values of a header, joined by commas: a second one cannot hide behind the first.
    pub fn header<T>(&self, name: &str, look: impl FnOnce(Option<&[u8]>) -> T) -> T {
        if name.starts_with(':') {
            return look(self.request.get(name));
        }
        self.value(name, b",", look)
    }

    pub fn cookie<T>(&self, name: &str, look: impl FnOnce(Option<&[u8]>) -> T) -> T {
        // HTTP/2 may send one `cookie` header for each.
        self.value("cookie", b";", |cookies| look(cookies.and_then(|cookies| cookie_value(cookies, name))))
    }

    fn value<T>(&self, name: &str, separator: &[u8], look: impl FnOnce(Option<&[u8]>) -> T) -> T {
        let mut joined = self.joined.borrow_mut();
        if let Some((_, value)) = joined.iter().find(|(known, _)| known == name) {
            return look(value.as_deref());
        }
        let mut values = self.request.values(name).into_iter();
        let value = values.next().map(|mut first| {
            for value in values {
                first.extend_from_slice(separator);
                first.extend_from_slice(&value);
            }
            first
        });
        let result = look(value.as_deref());
        joined.push((name.to_owned(), value));
        result
    }
}

/// The path and, without its question mark, the query. A fragment, which no request should have, counts as query.
pub fn split_query(target: &[u8]) -> (&[u8], Option<&[u8]>) {
    let at = target.iter().position(|byte| matches!(byte, b'?' | b'#')).unwrap_or(target.len());
    match target.split_at_checked(at) {
        Some((path, [_, query @ ..])) => (path, Some(query)),
        _ => (target, None),
    }
}
