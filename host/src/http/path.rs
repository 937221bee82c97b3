//! Makes a path safe to match on: RFC 3986, sections 6.2.2 and 5.2.4.
//!
//! What a filter matches must be what the upstream serves. Dot segments are removed, escapes of characters that need none are
//! undone, a backslash counts as a slash (as browsers and several servers read it). An escaped slash stays
//! escaped, and slashes are not merged: both mean something to some upstreams. The query is left alone.

use http::uri::PathAndQuery;

/// The path contains a NUL, plain or escaped, or an escape that is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Escapes;

/// The normal form, or `None` where the path is in it already.
///
/// # Errors
/// [`Escapes`].
pub fn normalize(target: &PathAndQuery) -> Result<Option<PathAndQuery>, Escapes> {
    let path = target.path().as_bytes();
    let clean = !path
        .windows(2)
        .any(|pair| matches!(pair, [b'/', b'.']) || matches!(pair, [b'%' | b'\\', _] | [_, b'%' | b'\\']));
    if clean || path == b"*" {
        return Ok(None);
    }
    let decoded = unescape(path)?;
    let mut normal = remove_dots(&decoded);
    if let Some(query) = target.query() {
        normal.push(b'?');
        normal.extend_from_slice(query.as_bytes());
    }
    PathAndQuery::try_from(normal.as_slice()).map(Some).map_err(|_| Escapes)
}

/// Whether a segment of the path leads up, in whatever way it is written.
#[must_use]
pub fn climbs(target: &PathAndQuery) -> bool {
    unescape(target.path().as_bytes())
        .is_ok_and(|path| path.split(|byte| *byte == b'/').any(|segment| segment == b".."))
}

fn unescape(path: &[u8]) -> Result<Vec<u8>, Escapes> {
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path;
    loop {
        match rest {
            [] => return Ok(out),
            [b'%', high, low, after @ ..] => {
                let (Some(high), Some(low)) = (char::from(*high).to_digit(16), char::from(*low).to_digit(16)) else {
                    return Err(Escapes);
                };
                let byte = u8::try_from(high * 16 + low).map_err(|_| Escapes)?;
                match byte {
                    0 => return Err(Escapes),
                    b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte),
                    _ => out.extend_from_slice(format!("%{byte:02X}").as_bytes()),
                }
                rest = after;
            }
            [b'%', ..] => return Err(Escapes),
            [b'\\', after @ ..] => {
                out.push(b'/');
                rest = after;
            }
            [byte, after @ ..] => {
                out.push(*byte);
                rest = after;
            }
        }
    }
}

fn remove_dots(path: &[u8]) -> Vec<u8> {
    let mut segments: Vec<&[u8]> = Vec::new();
    let mut parts = path.strip_prefix(b"/").unwrap_or(path).split(|byte| *byte == b'/').peekable();
    while let Some(part) = parts.next() {
        let last = parts.peek().is_none();
        match part {
            b"." | b".." => {
                if part == b".." {
                    segments.pop();
                }
                if last {
                    segments.push(b"");
                }
            }
            other => segments.push(other),
        }
    }
    let mut out = Vec::with_capacity(path.len());
    for segment in segments {
        out.push(b'/');
        out.extend_from_slice(segment);
    }
    if out.is_empty() {
        out.push(b'/');
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn normal(path: &str) -> Result<String, Escapes> {
        let target: PathAndQuery = path.parse().unwrap();
        normalize(&target).map(|normal| normal.unwrap_or(target).to_string())
    }

    #[test]
    fn dot_segments_escapes_and_backslashes() {
        for (path, expected) in [
            ("/a/b", "/a/b"),
            ("/a/../b", "/b"),
            ("/a/./b/", "/a/b/"),
            ("/a/b/..", "/a/"),
            ("/../../x", "/x"),
            ("/a/%2e%2E/b", "/b"),
            ("/%61dmin", "/admin"),
            ("/a%2fb", "/a%2Fb"),
            ("/a%252e", "/a%252e"),
            ("/a\\..\\b", "/b"),
            ("/.hidden", "/.hidden"),
            ("/a//b", "/a//b"),
            ("/a/..?q=/../%2e", "/?q=/../%2e"),
            ("/..", "/"),
        ] {
            assert_eq!(normal(path).as_deref(), Ok(expected), "{path}");
        }
    }

    #[test]
    fn what_leads_up_is_found_however_it_is_written() {
        for (path, up) in [
            ("/a/../b", true),
            ("/a/%2e%2E/b", true),
            ("/a\\..\\b", true),
            ("/a/..", true),
            ("/a/./b", false),
            ("/a../b", false),
            ("/..a", false),
            ("/a%2f..%2fb", false),
            ("/a?b=/../", false),
        ] {
            assert_eq!(climbs(&path.parse().unwrap()), up, "{path}");
        }
    }

    #[test]
    fn nul_and_broken_escapes_are_refused() {
        for path in ["/a%00", "/a%", "/a%2", "/a%zz"] {
            assert_eq!(normal(path), Err(Escapes), "{path}");
        }
    }

    proptest! {
        #[test]
        fn the_normal_form_is_stable_and_has_no_dot_segments(path in "/[a-z./%2eE\\\\]{0,24}") {
            let Ok(target) = path.parse::<PathAndQuery>() else { return Ok(()) };
            if let Ok(Some(once)) = normalize(&target) {
                let again = normalize(&once).unwrap();
                prop_assert!(again.is_none() || again.as_ref() == Some(&once), "{} {:?}", once, again);
                prop_assert!(!once.path().split('/').any(|segment| segment == "." || segment == ".."), "{}", once);
            }
        }
    }
}
