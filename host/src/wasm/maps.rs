//! Header maps of a stream as guests see them: pseudo headers first, then the fields.
//!
//! `:authority` is the `host` field of the header map underneath, in every HTTP version, so that nothing
//! has to be moved for HTTP/1.1; `host` itself is hidden, as other proxies hide it.

use fyke_engine::{Map, Refused};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri,
    header::HOST,
    uri::{PathAndQuery, Scheme},
};

use super::{packed::Packed, scribe::Scribe};

/// Fields of a map, and bytes of them, that guests may write; what the ABI's serialised form may hold as well (PROXY-WASM.md 1.4).
const MOST_FIELDS: usize = 1024;
const MOST_BYTES: usize = 1 << 20;
const FEW_FIELDS: usize = 128;
const SMALL_FIELD: usize = 4096;

/// Whether a field is put beside those of its name, or in their place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// Beside.
    Beside,
    /// In their place.
    Instead,
}

/// A map that a guest writes to.
pub trait Written: Map {
    /// Writes one field, with the worker's stock of names and values where there is one.
    ///
    /// # Errors
    /// [`Refused`] when the name or the value is not legal, or the map has no room.
    fn write(&mut self, scribe: Option<&Scribe>, key: &[u8], value: &[u8], put: Put) -> Result<(), Refused>;
}

fn write_field(
    fields: &mut HeaderMap,
    scribe: Option<&Scribe>,
    key: &[u8],
    value: &[u8],
    put: Put,
) -> Result<(), Refused> {
    if !has_room(fields, key.len() + value.len()) {
        return Err(Refused);
    }
    // By reference: a name that the map has already is not cloned.
    let mut write = |name: &HeaderName, value| match put {
        Put::Beside => fields.try_append(name, value).map(|_| ()),
        Put::Instead => fields.try_insert(name, value).map(|_| ()),
    };
    match scribe {
        Some(scribe) => scribe.field(key, value, write),
        None => match (HeaderName::from_bytes(key), HeaderValue::from_bytes(value)) {
            (Ok(name), Ok(value)) => Some(write(&name, value)),
            _ => None,
        },
    }
    .and_then(Result::ok)
    .ok_or(Refused)
}

/// Whether a map may hold one more field. `http` allows any number of values under one name, and panics near 24,576 names.
fn has_room(fields: &HeaderMap, bytes: usize) -> bool {
    // Few small fields cannot add up to much: only then is there anything to count.
    if fields.len() < FEW_FIELDS && bytes <= SMALL_FIELD {
        return true;
    }
    let held: usize = fields.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    fields.len() < MOST_FIELDS && held + bytes <= MOST_BYTES
}

fn remove_field(fields: &mut HeaderMap, key: &[u8]) {
    if let Ok(key) = std::str::from_utf8(key) {
        fields.remove(key);
    }
}

fn field<'a>(fields: &'a HeaderMap, key: &[u8]) -> Option<&'a [u8]> {
    fields.get(std::str::from_utf8(key).ok()?).map(HeaderValue::as_bytes)
}

/// The head of a request.
#[derive(Debug, Clone)]
pub struct RequestHead {
    /// `:method`
    pub method: Method,
    /// `:path`, with the query.
    pub path: PathAndQuery,
    /// `:scheme`
    pub scheme: Scheme,
    /// Fields; `host` carries `:authority`. Empty while they are packed.
    pub fields: HeaderMap,
    packed: Option<Packed>,
}

impl RequestHead {
    /// A head with these fields.
    #[must_use]
    pub fn new(method: Method, path: PathAndQuery, scheme: Scheme, fields: HeaderMap) -> Self {
        Self { method, path, scheme, fields, packed: None }
    }

    /// Whether it has a path: a CONNECT has none (RFC 9113, section 8.5).
    #[must_use]
    pub fn has_path(&self) -> bool {
        self.method != Method::CONNECT
    }

    /// Takes the fields for the request that is sent, and keeps a copy that nobody has to pay for who does not look at it.
    pub fn pack(&mut self) -> HeaderMap {
        self.unpack();
        self.packed = Some(Packed::new(&self.fields));
        std::mem::take(&mut self.fields)
    }

    /// Makes the fields writable again, after they were sent. [`Map`]'s methods do so where it takes that.
    #[inline]
    pub fn unpack(&mut self) {
        if let Some(packed) = self.packed.take() {
            self.fields = packed.unpack();
        }
    }

    /// `:authority`, empty when there is none.
    #[must_use]
    pub fn authority(&self) -> &[u8] {
        self.host().unwrap_or_default()
    }

    fn host(&self) -> Option<&[u8]> {
        match &self.packed {
            Some(packed) => packed.values(HOST.as_str().as_bytes()).next(),
            None => self.fields.get(HOST).map(HeaderValue::as_bytes),
        }
    }

    /// The values of a field, in their order.
    pub fn values(&self, name: &[u8]) -> impl Iterator<Item = &[u8]> {
        let packed = self.packed.as_ref().map(|packed| packed.values(name));
        let name = std::str::from_utf8(name).ok().filter(|_| self.packed.is_none());
        let fields = name.map(|name| self.fields.get_all(name).iter().map(HeaderValue::as_bytes));
        packed.into_iter().flatten().chain(fields.into_iter().flatten())
    }

    /// Sets `:method`, `:path`, `:authority` or `:scheme`.
    ///
    /// # Errors
    /// [`Refused`] when the name is another or the value is not legal.
    pub fn set_pseudo(&mut self, key: &[u8], value: &[u8]) -> Result<(), Refused> {
        match key {
            // As long as a path may be; `http` itself bounds the path and the scheme.
            b":method" if value.len() > usize::from(u16::MAX) => return Err(Refused),
            b":method" => self.method = Method::from_bytes(value).map_err(|_| Refused)?,
            b":path" => self.path = PathAndQuery::try_from(value).map_err(|_| Refused)?,
            b":scheme" => self.scheme = Scheme::try_from(value).map_err(|_| Refused)?,
            b":authority" => {
                self.unpack();
                let value = HeaderValue::from_bytes(value).map_err(|_| Refused)?;
                if !has_room(&self.fields, HOST.as_str().len() + value.len()) {
                    return Err(Refused);
                }
                self.fields.try_insert(HOST, value).map_err(|_| Refused)?;
            }
            _ => return Err(Refused),
        }
        Ok(())
    }

    /// The request's target in origin form.
    #[must_use]
    pub fn target(&self) -> Uri {
        Uri::from(self.path.clone())
    }
}

impl Map for RequestHead {
    fn len(&self) -> usize {
        let fields = self.packed.as_ref().map_or(self.fields.len(), Packed::count);
        // Three pseudo headers, and the authority stands for `host`.
        fields + 2 + usize::from(self.has_path())
    }

    fn for_each(&self, each: &mut dyn FnMut(&[u8], &[u8])) {
        each(b":method", self.method.as_str().as_bytes());
        if self.has_path() {
            each(b":path", self.path.as_str().as_bytes());
        }
        if let Some(authority) = self.host() {
            each(b":authority", authority);
        }
        each(b":scheme", self.scheme.as_str().as_bytes());
        for (name, value) in self.packed.iter().flat_map(Packed::iter) {
            if name != HOST.as_str().as_bytes() {
                each(name, value);
            }
        }
        for (name, value) in &self.fields {
            if name != HOST {
                each(name.as_str().as_bytes(), value.as_bytes());
            }
        }
    }

    fn get(&self, key: &[u8]) -> Option<&[u8]> {
        if key.first() != Some(&b':') {
            return match &self.packed {
                Some(packed) => packed.values(key).next(),
                None => field(&self.fields, key),
            };
        }
        match key {
            b":path" if !self.has_path() => None,
            b":path" => Some(self.path.as_str().as_bytes()),
            b":method" => Some(self.method.as_str().as_bytes()),
            b":authority" => self.host(),
            b":scheme" => Some(self.scheme.as_str().as_bytes()),
            _ => None,
        }
    }

    fn add(&mut self, key: &[u8], value: &[u8]) -> Result<(), Refused> {
        self.write(None, key, value, Put::Beside)
    }

    fn replace(&mut self, key: &[u8], value: &[u8]) -> Result<(), Refused> {
        self.write(None, key, value, Put::Instead)
    }

    fn remove(&mut self, key: &[u8]) -> Result<(), Refused> {
        self.unpack();
        if key.first() == Some(&b':') {
            // A request without method, path or scheme is not a request; its authority may go.
            return if key == b":authority" {
                self.fields.remove(HOST);
                Ok(())
            } else {
                Err(Refused)
            };
        }
        remove_field(&mut self.fields, key);
        Ok(())
    }

    fn replace_all(&mut self, pairs: &[(&[u8], &[u8])]) -> Result<(), Refused> {
        let mut next = Self { fields: HeaderMap::with_capacity(pairs.len()), packed: None, ..self.clone() };
        for (key, value) in pairs {
            Map::add(&mut next, key, value)?;
        }
        *self = next;
        Ok(())
    }
}

impl Written for RequestHead {
    fn write(&mut self, scribe: Option<&Scribe>, key: &[u8], value: &[u8], put: Put) -> Result<(), Refused> {
        self.unpack();
        if key.first() == Some(&b':') {
            return self.set_pseudo(key, value);
        }
        // There is one host, whatever is said.
        let put = if key.eq_ignore_ascii_case(b"host") { Put::Instead } else { put };
        write_field(&mut self.fields, scribe, key, value, put)
    }
}

/// The head of a response.
#[derive(Debug, Clone, Default)]
pub struct ResponseHead {
    /// `:status`
    pub status: StatusCode,
    /// Fields.
    pub fields: HeaderMap,
}

impl ResponseHead {
    fn set_status(&mut self, key: &[u8], value: &[u8]) -> Result<(), Refused> {
        if key != b":status" {
            return Err(Refused);
        }
        let status = StatusCode::from_bytes(value).map_err(|_| Refused)?;
        if status.as_u16() < 200 || status.as_u16() > 599 {
            return Err(Refused);
        }
        self.status = status;
        Ok(())
    }
}

impl Map for ResponseHead {
    fn len(&self) -> usize {
        self.fields.len() + 1
    }

    fn for_each(&self, each: &mut dyn FnMut(&[u8], &[u8])) {
        each(b":status", self.status.as_str().as_bytes());
        for (name, value) in &self.fields {
            each(name.as_str().as_bytes(), value.as_bytes());
        }
    }

    fn get(&self, key: &[u8]) -> Option<&[u8]> {
        match key {
            b":status" => Some(self.status.as_str().as_bytes()),
            [b':', ..] => None,
            _ => field(&self.fields, key),
        }
    }

    fn add(&mut self, key: &[u8], value: &[u8]) -> Result<(), Refused> {
        self.write(None, key, value, Put::Beside)
    }

    fn replace(&mut self, key: &[u8], value: &[u8]) -> Result<(), Refused> {
        self.write(None, key, value, Put::Instead)
    }

    fn remove(&mut self, key: &[u8]) -> Result<(), Refused> {
        if key.first() == Some(&b':') {
            return Err(Refused);
        }
        remove_field(&mut self.fields, key);
        Ok(())
    }

    fn replace_all(&mut self, pairs: &[(&[u8], &[u8])]) -> Result<(), Refused> {
        let mut next = Self { status: self.status, fields: HeaderMap::with_capacity(pairs.len()) };
        for (key, value) in pairs {
            Map::add(&mut next, key, value)?;
        }
        *self = next;
        Ok(())
    }
}

impl Written for ResponseHead {
    fn write(&mut self, scribe: Option<&Scribe>, key: &[u8], value: &[u8], put: Put) -> Result<(), Refused> {
        if key.first() == Some(&b':') {
            return self.set_status(key, value);
        }
        write_field(&mut self.fields, scribe, key, value, put)
    }
}

/// Trailers, or any map without pseudo headers.
#[derive(Debug)]
pub struct Fields<'a>(pub &'a mut HeaderMap);

impl Map for Fields<'_> {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn for_each(&self, each: &mut dyn FnMut(&[u8], &[u8])) {
        for (name, value) in self.0.iter() {
            each(name.as_str().as_bytes(), value.as_bytes());
        }
    }

    fn get(&self, key: &[u8]) -> Option<&[u8]> {
        field(self.0, key)
    }

    fn add(&mut self, key: &[u8], value: &[u8]) -> Result<(), Refused> {
        self.write(None, key, value, Put::Beside)
    }

    fn replace(&mut self, key: &[u8], value: &[u8]) -> Result<(), Refused> {
        self.write(None, key, value, Put::Instead)
    }

    fn remove(&mut self, key: &[u8]) -> Result<(), Refused> {
        remove_field(self.0, key);
        Ok(())
    }

    fn replace_all(&mut self, pairs: &[(&[u8], &[u8])]) -> Result<(), Refused> {
        let mut next = HeaderMap::with_capacity(pairs.len());
        for (key, value) in pairs {
            write_field(&mut next, None, key, value, Put::Beside)?;
        }
        *self.0 = next;
        Ok(())
    }
}

impl Written for Fields<'_> {
    fn write(&mut self, scribe: Option<&Scribe>, key: &[u8], value: &[u8], put: Put) -> Result<(), Refused> {
        write_field(self.0, scribe, key, value, put)
    }
}

/// Reads like the map underneath and refuses every write: what a guest meets while it logs.
pub struct Frozen<'a>(pub &'a mut dyn Map);

impl Map for Frozen<'_> {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn for_each(&self, each: &mut dyn FnMut(&[u8], &[u8])) {
        self.0.for_each(each);
    }

    fn get(&self, key: &[u8]) -> Option<&[u8]> {
        self.0.get(key)
    }

    fn add(&mut self, _key: &[u8], _value: &[u8]) -> Result<(), Refused> {
        Err(Refused)
    }

    fn replace(&mut self, _key: &[u8], _value: &[u8]) -> Result<(), Refused> {
        Err(Refused)
    }

    fn remove(&mut self, _key: &[u8]) -> Result<(), Refused> {
        Err(Refused)
    }

    fn replace_all(&mut self, _pairs: &[(&[u8], &[u8])]) -> Result<(), Refused> {
        Err(Refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_takes_a_bounded_number_of_fields_and_bytes() {
        let mut many = HeaderMap::new();
        for _ in 0..2 * MOST_FIELDS {
            let _ = write_field(&mut many, None, b"x-same", b"1", Put::Beside);
        }
        assert_eq!(many.len(), MOST_FIELDS);
        let mut names = HeaderMap::new();
        for number in 0..2 * MOST_FIELDS {
            let _ = write_field(&mut names, None, format!("x-{number}").as_bytes(), b"1", Put::Instead);
        }
        assert_eq!(names.len(), MOST_FIELDS);
        let mut large = HeaderMap::new();
        let value = vec![b'a'; MOST_BYTES / 4];
        let written = (0..8).filter(|_| write_field(&mut large, None, b"x-large", &value, Put::Beside).is_ok()).count();
        assert_eq!(written, 3, "with their names, four are more than the limit");
        let mut head = RequestHead::new(Method::GET, PathAndQuery::from_static("/"), Scheme::HTTP, HeaderMap::new());
        let huge = vec![b'a'; MOST_BYTES];
        for key in [b":authority".as_slice(), b":method", b":path", b":scheme"] {
            assert_eq!(head.set_pseudo(key, &huge), Err(Refused));
        }
    }

    #[test]
    fn a_connect_has_no_path() {
        let mut head =
            RequestHead::new(Method::CONNECT, PathAndQuery::from_static("/"), Scheme::HTTP, HeaderMap::new());
        head.set_pseudo(b":authority", b"a.example:443").unwrap();
        let mut keys = Vec::new();
        head.for_each(&mut |key, _| keys.push(String::from_utf8_lossy(key).into_owned()));
        assert_eq!(keys, [":method", ":authority", ":scheme"]);
        assert_eq!((head.len(), head.get(b":path")), (keys.len(), None));
    }

    #[test]
    fn what_was_sent_reads_as_before_and_can_be_written() {
        let mut head = RequestHead::new(Method::GET, PathAndQuery::from_static("/"), Scheme::HTTP, HeaderMap::new());
        for (key, value) in [("host", "a"), ("x-a", "1"), ("x-b", "2"), ("x-a", "3")] {
            head.add(key.as_bytes(), value.as_bytes()).unwrap();
        }
        let mut sent = head.clone();
        assert_eq!(sent.pack(), head.fields);
        let all = |head: &RequestHead| {
            let mut pairs = Vec::new();
            head.for_each(&mut |key, value| pairs.push((key.to_vec(), value.to_vec())));
            pairs
        };
        assert_eq!((all(&sent), sent.len(), sent.authority()), (all(&head), head.len(), head.authority()));
        for key in [&b"X-A"[..], b"x-b", b"x-c", b"host", b":authority", b"\xff"] {
            assert_eq!(sent.get(key), head.get(key), "{key:?}");
            assert!(sent.values(key).eq(head.values(key)), "{key:?}");
        }
        assert!(sent.fields.is_empty(), "reading takes nothing");
        for head in [&mut sent, &mut head] {
            head.replace(b"x-b", b"4").unwrap();
            head.remove(b"x-a").unwrap();
            head.set_pseudo(b":authority", b"b").unwrap();
        }
        assert_eq!((all(&sent), sent.len()), (all(&head), head.len()));
    }
}
