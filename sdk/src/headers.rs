//! Header maps: bytes first, read one value at a time and only when asked, written straight through to the host.
//!
//! A filter that looks at one header costs one hostcall; only iterating fetches the whole map. What was read is kept for the
//! rest of the phase (no one else can change it meanwhile), and forgotten when it is written.

use std::borrow::Cow;
use std::cell::{Cell, OnceCell};

use crate::abi::{self, MapKind, Pairs};
use crate::error::{ConfigError, Error, Result};

/// The headers (or trailers) of one direction of a stream. Names are matched in any case and written in lower case.
#[derive(Debug)]
pub struct Headers {
    map: MapKind,
    seen: Page,
    /// How many are in `seen`.
    kept: Cell<u32>,
    all: OnceCell<Pairs>,
}

/// Values that were read, in the order of reading. A page is never moved once something in it was lent, hence the chain.
#[derive(Debug, Default)]
struct Page {
    entries: [OnceCell<Entry>; 4],
    next: OnceCell<Box<Page>>,
}

#[derive(Debug)]
struct Entry {
    name: Cow<'static, str>,
    value: Option<Vec<u8>>,
}

impl Headers {
    pub(crate) fn new(map: MapKind) -> Self {
        Self { map, seen: Page::default(), kept: Cell::new(0), all: OnceCell::new() }
    }

    /// The first value of a header. Where several would be dangerous to overlook, use [`Headers::values`].
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.find(name, || Cow::Owned(name.to_owned()))
    }

    /// As [`Headers::get`], for names that need not be copied.
    pub(crate) fn get_known(&self, name: &'static str) -> Option<&[u8]> {
        self.find(name, || Cow::Borrowed(name))
    }

    fn find(&self, name: &str, keep: impl Fn() -> Cow<'static, str>) -> Option<&[u8]> {
        if let Some(all) = self.all.get() {
            return all.first(name);
        }
        let mut page = &self.seen;
        loop {
            for cell in &page.entries {
                let entry = cell.get_or_init(|| {
                    self.kept.set(self.kept.get() + 1);
                    Entry { name: keep(), value: abi::header(self.map, name) }
                });
                if entry.name.eq_ignore_ascii_case(name) {
                    return entry.value.as_deref();
                }
            }
            page = page.next.get_or_init(Box::default);
        }
    }

    /// The first value of a header as text.
    ///
    /// # Errors
    /// When it is not UTF-8.
    pub fn get_str(&self, name: &str) -> Result<Option<&str>> {
        Ok(self.get(name).map(std::str::from_utf8).transpose()?)
    }

    /// Whether there is such a header.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// All values of a header, in order. On hosts without `fyke.headers.values.v1` this fetches the whole map.
    #[must_use]
    pub fn values(&self, name: &str) -> Vec<Vec<u8>> {
        if self.all.get().is_none() {
            let mut arguments = (self.map as u32).to_le_bytes().to_vec();
            arguments.extend_from_slice(name.as_bytes());
            if let Some(list) = abi::call_foreign_function("fyke.headers.values.v1", &arguments)
                .ok()
                .and_then(|bytes| parse_list(&bytes))
            {
                return list;
            }
        }
        self.iter()
            .filter(|(key, _)| key.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| value.to_vec())
            .collect()
    }

    /// Every header, pseudo headers first. Fetches the whole map, once per phase.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.all.get_or_init(|| abi::header_pairs(self.map)).iter()
    }

    /// Makes this the only value of the header.
    ///
    /// # Errors
    /// When name or value are not legal in HTTP, and when the host refuses: the map is read-only in this phase.
    pub fn set(&mut self, name: &str, value: impl AsRef<[u8]>) -> Result<()> {
        let value = value.as_ref();
        check(name, value)?;
        self.forget(name);
        Ok(abi::set_header(self.map, name, value)?)
    }

    /// Adds a value behind those that are there.
    ///
    /// # Errors
    /// As [`Headers::set`].
    pub fn add(&mut self, name: &str, value: impl AsRef<[u8]>) -> Result<()> {
        let value = value.as_ref();
        check(name, value)?;
        self.forget(name);
        Ok(abi::add_header(self.map, name, value)?)
    }

    /// Removes every value of the header; none is fine.
    ///
    /// # Errors
    /// As [`Headers::set`].
    pub fn remove(&mut self, name: &str) -> Result<()> {
        self.forget(name);
        Ok(abi::remove_header(self.map, name)?)
    }

    fn forget(&mut self, name: &str) {
        self.all.take();
        if self.kept.get() == 0 {
            return;
        }
        let mut page = Some(&mut self.seen);
        while let Some(current) = page {
            for cell in &mut current.entries {
                if cell.get().is_some_and(|entry| entry.name.eq_ignore_ascii_case(name)) {
                    cell.take();
                    self.kept.set(self.kept.get().saturating_sub(1));
                }
            }
            page = current.next.get_mut().map(|next| &mut **next);
        }
    }
}

/// Most names are lower-case letters, digits and dashes; eight of them are looked at in one go.
fn is_plain_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    let Some(last) = bytes.last_chunk::<8>() else {
        return !bytes.is_empty() && bytes.iter().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
    };
    bytes.as_chunks::<8>().0.iter().chain([last]).all(|eight| {
        let eight = u64::from_le_bytes(*eight);
        let wanted = within(eight, b'a', b'z') | within(eight, b'0', b'9') | within(eight, b'-', b'-');
        wanted & HIGH == HIGH && eight & HIGH == 0
    })
}

/// The highest bit of each of eight bytes.
const HIGH: u64 = 0x8080_8080_8080_8080;

const fn each(byte: u8) -> u64 {
    u64::from_le_bytes([byte; 8])
}

/// For each of eight bytes, whether its lower seven bits lie in a range: its highest bit says so.
const fn within(eight: u64, low: u8, high: u8) -> u64 {
    let eight = eight & !HIGH;
    (eight + each(0x80 - low)) & !(eight + each(0x7f - high))
}

/// RFC 9110, section 5.6.2. Patterns become a test of bits; a list would be searched for every dash of every name that is written.
fn is_token(name: &str) -> bool {
    if is_plain_name(name) {
        return true;
    }
    let token = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'A'..=b'Z' | b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~');
    !name.is_empty() && name.bytes().all(token)
}

fn fits_a_line(value: &[u8]) -> bool {
    // Eight in one go, where none of them is below a space or DEL; whatever else there is, is looked at one by one.
    if let Some(last) = value.last_chunk::<8>() {
        let plain = |eight: &[u8; 8]| {
            let eight = u64::from_le_bytes(*eight);
            let ordinary = within(eight, b' ', 0x7e) | eight;
            ordinary & HIGH == HIGH
        };
        if value.as_chunks::<8>().0.iter().chain([last]).all(plain) {
            return true;
        }
    }
    !value.iter().any(|byte| (*byte < b' ' && *byte != b'\t') || *byte == 0x7f)
}

/// Hosts say OK to what they cannot write, and leave it out; the author should hear of it.
pub(crate) fn check(name: &str, value: &[u8]) -> Result<()> {
    if !is_token(name.strip_prefix(':').unwrap_or(name)) {
        return Err(Error::new(format!("\"{name}\" is not the name of a header")));
    }
    if !fits_a_line(value) {
        return Err(Error::new(format!(
            "the value for the header \"{name}\" has a line break or another control character"
        )));
    }
    Ok(())
}

/// A header's name as HTTP has it (RFC 9110, section 5.1), in lower case; for names in configurations.
///
/// # Errors
/// When it is none: empty, a pseudo header, or with other characters than a token's.
///
/// ```
/// assert_eq!(fyke_sdk::header_name("X-User").unwrap(), "x-user");
/// assert!(fyke_sdk::header_name("x user").is_err());
/// ```
pub fn header_name(name: &str) -> Result<String, ConfigError> {
    if !is_token(name) {
        return Err(ConfigError::new(format!("\"{name}\" is not the name of a header")));
    }
    Ok(name.to_ascii_lowercase())
}

/// A header's value that fits on its line (RFC 9110, section 5.5); for values in configurations.
///
/// # Errors
/// When there is a control character other than a tab in it.
pub fn header_value(value: String) -> Result<String, ConfigError> {
    if !fits_a_line(value.as_bytes()) {
        return Err(ConfigError::new("must not contain line breaks or other control characters"));
    }
    Ok(value)
}

/// `u32` count, then `u32` lengths, then the values.
fn parse_list(bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let (count, rest) = split_number(bytes)?;
    let lengths = rest.get(..count.checked_mul(4)?)?;
    let mut values = rest.get(lengths.len()..)?;
    let mut list = Vec::with_capacity(count);
    for length in lengths.chunks_exact(4) {
        let (length, _) = split_number(length)?;
        let (value, others) = values.split_at_checked(length)?;
        list.push(value.to_vec());
        values = others;
    }
    Some(list)
}

fn split_number(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (number, rest) = bytes.split_first_chunk::<4>()?;
    Some((usize::try_from(u32::from_le_bytes(*number)).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::World;

    #[test]
    fn a_read_is_one_hostcall_and_a_write_forgets_it() {
        World::reset();
        World::with(|world| {
            world.stream_mut(1).set_headers(MapKind::RequestHeaders, &[("a", "1"), ("b", "2"), ("b", "3")])
        });
        let mut headers = Headers::new(MapKind::RequestHeaders);
        assert_eq!(headers.get("a"), Some(&b"1"[..]));
        assert_eq!(headers.get("A"), Some(&b"1"[..]));
        assert_eq!(headers.get("missing"), None);
        assert_eq!(World::with(|world| world.header_reads), 2);
        headers.set("a", "9").unwrap();
        assert_eq!(headers.get("a"), Some(&b"9"[..]));
        assert_eq!(headers.values("b"), [b"2", b"3"]);
        headers.remove("b").unwrap();
        assert!(headers.values("b").is_empty());
    }

    #[test]
    fn names_have_the_characters_of_the_standard_and_no_others() {
        for byte in 0..=127_u8 {
            let listed = byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
            assert_eq!(is_token(char::from(byte).encode_utf8(&mut [0; 4])), listed, "{byte}");
        }
        assert!(!is_token("é") && !is_token(""));
    }

    #[test]
    fn a_byte_is_judged_alike_wherever_it_stands() {
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        let fits = |byte: u8| byte == b'\t' || (byte >= b' ' && byte != 0x7f);
        for length in 1..=20 {
            for at in 0..length {
                for byte in 0..=255_u8 {
                    let mut text = vec![b'a'; length];
                    text[at] = byte;
                    assert_eq!(fits_a_line(&text), fits(byte), "{byte} at {at} of {length}");
                    if let Ok(name) = str::from_utf8(&text) {
                        assert_eq!(is_token(name), token(byte), "{byte} at {at} of {length}");
                    }
                }
            }
        }
        assert!(!is_token("aaaaaaa\u{e9}aaaaaaaa") && fits_a_line("aaaaaaa\u{e9}aaaaaaaa".as_bytes()));
    }

    #[test]
    fn what_http_cannot_carry_is_an_error_and_changes_nothing() {
        World::reset();
        World::with(|world| world.stream_mut(1).set_headers(MapKind::RequestHeaders, &[("a", "1")]));
        let mut headers = Headers::new(MapKind::RequestHeaders);
        for (name, value) in [("a", &b"x\ny"[..]), ("a", b"\0"), ("a", b"\x7f"), ("a b", b"x"), ("", b"x"), (":", b"x")]
        {
            assert!(headers.set(name, value).is_err() && headers.add(name, value).is_err(), "{name:?} {value:?}");
        }
        assert_eq!(headers.values("a"), [b"1"]);
        headers.set("a", b"\xff\t\"").unwrap();
        headers.set(":path", "/").unwrap();
        assert_eq!(headers.get("a"), Some(&b"\xff\t\""[..]));
    }

    #[test]
    fn more_names_than_a_page_holds_are_kept_apart() {
        World::reset();
        let pairs: Vec<(String, String)> = (0..11).map(|n| (format!("h{n}"), n.to_string())).collect();
        let borrowed: Vec<(&str, &str)> = pairs.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        World::with(|world| world.stream_mut(1).set_headers(MapKind::RequestHeaders, &borrowed));
        let headers = Headers::new(MapKind::RequestHeaders);
        for (name, value) in pairs.iter().chain(&pairs) {
            assert_eq!(headers.get(name), Some(value.as_bytes()));
        }
        assert_eq!(World::with(|world| world.header_reads), 11);
    }

    #[test]
    fn another_host_has_all_values_too() {
        World::reset();
        World::with(|world| {
            world.knows_fyke = false;
            world.stream_mut(1).set_headers(MapKind::RequestHeaders, &[("b", "2"), ("b", "3")]);
        });
        assert_eq!(Headers::new(MapKind::RequestHeaders).values("B"), [b"2", b"3"]);
    }
}
