//! `multipart/form-data` (RFC 7578), as far as forms of our own pages need it: fields of text, and one file.

use crate::admin::dashboard::link::Query;

/// Most parts of a form.
const PARTS: usize = 32;
/// Most bytes of the headers of a part.
const HEAD: usize = 4 << 10;

/// The boundary of a content type; `None`: it is another one.
pub(super) fn boundary(content_type: &str) -> Option<&str> {
    let mut parts = content_type.split(';').map(str::trim);
    if !parts.next()?.eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let boundary = parts.find_map(|part| {
        let (name, value) = part.split_once('=')?;
        name.trim().eq_ignore_ascii_case("boundary").then(|| value.trim().trim_matches('"'))
    })?;
    // RFC 2046, section 5.1.1: 1 to 70 characters.
    (1..=70).contains(&boundary.len()).then_some(boundary)
}

/// The fields, and the content of the file.
pub(super) fn read(boundary: &str, body: &[u8]) -> Result<(Query, Option<Vec<u8>>), String> {
    let broken = || "the form is broken off".to_owned();
    let opening = format!("--{boundary}");
    let delimiter = format!("\r\n--{boundary}");
    let mut rest = body.strip_prefix(opening.as_bytes()).ok_or_else(broken)?;
    let (mut fields, mut file) = (Vec::new(), None);
    for _ in 0..PARTS {
        if rest.starts_with(b"--") {
            return Ok((Query::of(fields), file));
        }
        rest = rest.strip_prefix(b"\r\n").ok_or_else(broken)?;
        let window = rest.get(..rest.len().min(HEAD)).unwrap_or_default();
        let head_end = find(window, b"\r\n\r\n").ok_or_else(broken)?;
        let (head, after) = rest.split_at_checked(head_end).ok_or_else(broken)?;
        let after = after.get(4..).ok_or_else(broken)?;
        let end = find(after, delimiter.as_bytes()).ok_or_else(broken)?;
        let (content, next) = after.split_at_checked(end).ok_or_else(broken)?;
        rest = next.get(delimiter.len()..).ok_or_else(broken)?;
        let head = String::from_utf8_lossy(head);
        let name = parameter(&head, "name").ok_or_else(|| "a part of the form has no name".to_owned())?;
        if parameter(&head, "filename").is_some() {
            if file.is_some() {
                return Err("one file is enough".to_owned());
            }
            file = Some(content.to_vec());
        } else {
            let text = std::str::from_utf8(content).map_err(|_| format!("`{name}` is no text"))?;
            fields.push((name, text.to_owned()));
        }
    }
    Err("the form has too many parts".to_owned())
}

/// A parameter of the part's `content-disposition`.
fn parameter(head: &str, wanted: &str) -> Option<String> {
    let line = head.split("\r\n").find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.trim().eq_ignore_ascii_case("content-disposition").then_some(value)
    })?;
    line.split(';').find_map(|part| {
        let (name, value) = part.trim().split_once('=')?;
        name.eq_ignore_ascii_case(wanted).then(|| value.trim_matches('"').to_owned())
    })
}

/// The first place of `wanted`. Modules are large, so candidates are found by their first byte.
fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    let first = *wanted.first()?;
    let mut from = 0;
    loop {
        let rest = bytes.get(from..)?;
        let place = from + rest.iter().position(|byte| *byte == first)?;
        if bytes.get(place..)?.starts_with(wanted) {
            return Some(place);
        }
        from = place + 1;
    }
}
