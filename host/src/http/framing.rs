//! Who says how long a message is: the host. `Content-Length` is set by what will really follow, whatever filters wrote there, because
//! the next message on the connection begins where this one is said to end (RFC 9112, section 6).

use http::{HeaderMap, HeaderValue, header::CONTENT_LENGTH};

/// The body will have this many bytes.
pub(super) fn set_length(fields: &mut HeaderMap, length: u64) {
    let mut said = fields.get_all(CONTENT_LENGTH).iter();
    let digits = said.next().map(HeaderValue::as_bytes).filter(|value| value.iter().all(u8::is_ascii_digit));
    let first = digits.and_then(|value| std::str::from_utf8(value).ok()?.parse().ok());
    if first == Some(length) && said.next().is_none() {
        return;
    }
    fields.remove(CONTENT_LENGTH);
    // A map that has no room left for it is framed by the connection instead.
    let _ = fields.try_insert(CONTENT_LENGTH, HeaderValue::from(length));
}

/// There will be no body. A length of zero may be said and need not.
pub(super) fn without_body(fields: &mut HeaderMap) {
    if fields.contains_key(CONTENT_LENGTH) {
        set_length(fields, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(values: &[&'static str]) -> HeaderMap {
        values.iter().map(|value| (CONTENT_LENGTH, HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn one_true_length_is_left_of_whatever_was_said() {
        for said in [&["5"][..], &["7"], &["5", "5"], &["5", "7"], &["x"], &[], &["-1"], &["+5"], &[" 5"]] {
            let mut fields = fields(said);
            set_length(&mut fields, 5);
            let now: Vec<_> = fields.get_all(CONTENT_LENGTH).iter().collect();
            assert_eq!(now, ["5"], "{said:?}");
        }
    }

    #[test]
    fn without_a_body_the_length_is_nothing_or_zero() {
        let mut said = fields(&["10"]);
        without_body(&mut said);
        assert_eq!(said[CONTENT_LENGTH], "0");
        let mut silent = fields(&[]);
        without_body(&mut silent);
        assert!(silent.is_empty());
    }
}
