//! Queries: `key=value` pairs, percent-encoded; `+` is a space.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// Bytes of a query that are read.
const LONGEST: usize = 8192;

/// The pairs of a query, in their order.
///
/// # Errors
/// In words: it is too long, or is not UTF-8 once it is decoded.
pub(super) fn pairs(query: &str) -> Result<Vec<(String, String)>, String> {
    if query.len() > LONGEST {
        return Err(format!("the query is longer than {LONGEST} bytes"));
    }
    let decoded = |text: &str| {
        let text = text.replace('+', " ");
        let decoded = percent_decode_str(&text).decode_utf8().map(Cow::into_owned);
        decoded.map_err(|_| "the query is not UTF-8".to_owned())
    };
    let one = |pair: &str| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        Ok((decoded(key)?, decoded(value)?))
    };
    query.split('&').filter(|pair| !pair.is_empty()).map(one).collect()
}

/// For a key that is not known.
pub(super) fn unknown(key: &str, known: &[&str]) -> String {
    match known {
        [] => format!("there is no parameter `{key}`; there are none"),
        known => format!("there is no parameter `{key}`; {}", crate::config::suggest::help(key, known)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn pairs_are_decoded_once() {
        let read = pairs("a=1&b=%2541+x&&c").unwrap();
        let expected = [("a", "1"), ("b", "%41 x"), ("c", "")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(read, expected);
        assert!(pairs("a=%ff").is_err());
        assert!(pairs(&"a".repeat(LONGEST + 1)).is_err());
    }

    proptest! {
        #[test]
        fn any_query_is_read_or_refused(query in any::<String>()) {
            let _ = pairs(&query);
        }
    }
}
