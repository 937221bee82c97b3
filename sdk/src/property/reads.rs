//! Many values of a stream at once.

use std::cell::Cell;

use super::Path;
use crate::abi::{self, MapKind, Status};

/// What says that an item is a property. The others are types of maps.
const PROPERTY: u8 = 255;
const NONE: u32 = u32::MAX;

/// Properties and headers that are read together, for every stream the same: with one call of the host where it can
/// (`fyke.values.read.v1`), one by one elsewhere. Worth it from the second value on.
///
/// ```
/// # use fyke_sdk::testing::World;
/// # World::reset();
/// use fyke_sdk::property::{Path, Reads};
///
/// // When the filter is configured:
/// let mut reads = Reads::default();
/// let route = reads.property(&Path::new(&["route_name"]));
/// let agent = reads.request_header("user-agent");
/// // For each stream:
/// let values = reads.read();
/// assert_eq!((values.get(route), values.get(agent)), (None, None));
/// ```
#[derive(Debug, Clone, Default)]
pub struct Reads {
    items: Vec<Item>,
    /// The same as the host is told.
    written: Vec<u8>,
    /// This host has no such call.
    unknown: Cell<bool>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Item {
    /// `None`: a property.
    map: Option<MapKind>,
    name: Vec<u8>,
}

impl Reads {
    /// Adds a property, and says at which place its value will be. The same one twice is read once.
    pub fn property(&mut self, path: &Path) -> usize {
        self.add(None, path.as_bytes())
    }

    /// Adds the first value of a request header, or of a pseudo header.
    pub fn request_header(&mut self, name: &str) -> usize {
        self.add(Some(MapKind::RequestHeaders), name.as_bytes())
    }

    /// Adds the first value of a response header.
    pub fn response_header(&mut self, name: &str) -> usize {
        self.add(Some(MapKind::ResponseHeaders), name.as_bytes())
    }

    /// Adds the first value of a response trailer.
    pub fn response_trailer(&mut self, name: &str) -> usize {
        self.add(Some(MapKind::ResponseTrailers), name.as_bytes())
    }

    fn add(&mut self, map: Option<MapKind>, name: &[u8]) -> usize {
        let item = Item { map, name: name.to_vec() };
        if let Some(known) = self.items.iter().position(|known| *known == item) {
            return known;
        }
        self.written.push(map.map_or(PROPERTY, |map| u8::try_from(map as u32).unwrap_or(PROPERTY)));
        abi::push_field(&mut self.written, name);
        self.items.push(item);
        self.items.len() - 1
    }

    /// How many values there are to read.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there is nothing to read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The values in the current stream.
    #[must_use]
    pub fn read(&self) -> Values {
        if self.items.len() > 1 && !self.unknown.get() {
            match abi::call_foreign_function("fyke.values.read.v1", &self.written) {
                Ok(bytes) => {
                    if let Some(values) = Values::parse(bytes, self.items.len()) {
                        return values;
                    }
                }
                Err(Status::NOT_FOUND) => self.unknown.set(true),
                // Too many for one call, or too much.
                Err(_) => {}
            }
        }
        self.one_by_one()
    }

    fn one_by_one(&self) -> Values {
        let mut values = Values { bytes: Vec::new(), places: Vec::with_capacity(self.items.len()) };
        for item in &self.items {
            let value = match item.map {
                None => abi::property(&item.name),
                Some(map) => std::str::from_utf8(&item.name).ok().and_then(|name| abi::header(map, name)),
            };
            let start = values.bytes.len();
            let length = value.as_ref().map_or(NONE, |value| u32::try_from(value.len()).unwrap_or(NONE));
            values.bytes.extend(value.into_iter().flatten());
            values.places.push((start, length));
        }
        values
    }
}

/// What was read of a stream.
#[derive(Debug, Clone, Default)]
pub struct Values {
    bytes: Vec<u8>,
    /// Of each value, where it begins and how long it is.
    places: Vec<(usize, u32)>,
}

impl Values {
    fn parse(bytes: Vec<u8>, count: usize) -> Option<Self> {
        let mut places = Vec::with_capacity(count);
        let mut at = 0_usize;
        for _ in 0..count {
            let (length, rest) = bytes.get(at..)?.split_first_chunk::<4>()?;
            let length = u32::from_le_bytes(*length);
            at += 4;
            places.push((at, length));
            if length != NONE {
                let length = usize::try_from(length).ok()?;
                rest.get(..length)?;
                at += length;
            }
        }
        Some(Self { bytes, places })
    }

    /// The value at the place that [`Reads`] gave it, raw; `None` where the stream has none.
    #[must_use]
    pub fn get(&self, place: usize) -> Option<&[u8]> {
        let (start, length) = *self.places.get(place)?;
        if length == NONE {
            return None;
        }
        self.bytes.get(start..start.checked_add(usize::try_from(length).ok()?)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::World;

    fn stream() {
        World::reset();
        World::with(|world| {
            let stream = world.stream_mut(1);
            stream.set_headers(MapKind::RequestHeaders, &[("a", "1"), ("a", "2"), (":path", "/")]);
            stream.set_property("route_name", "main");
            stream.set_property("empty", "");
            world.effective = 1;
        });
    }

    #[test]
    fn a_host_that_can_is_asked_once_and_any_other_for_each() {
        for (knows_fyke, header_reads) in [(true, 0), (false, 2)] {
            stream();
            World::with(|world| world.knows_fyke = knows_fyke);
            let mut reads = Reads::default();
            let places = [
                reads.property(&Path::new(&["route_name"])),
                reads.request_header("a"),
                reads.property(&Path::new(&["none"])),
                reads.property(&Path::new(&["empty"])),
                reads.request_header(":path"),
                reads.response_header("a"),
            ];
            assert_eq!(reads.request_header("a"), places[1]);
            let values = reads.read();
            let got = places.map(|place| values.get(place));
            let expected: [Option<&[u8]>; 6] = [Some(b"main"), Some(b"1"), None, Some(b""), Some(b"/"), None];
            assert_eq!(got, expected, "{knows_fyke}");
            assert_eq!(values.get(reads.len()), None);
            // The response's map is looked for as well, where one by one is.
            assert_eq!(World::with(|world| world.header_reads) > 0, header_reads > 0);
        }
    }

    #[test]
    fn an_answer_that_is_cut_is_none() {
        let whole = [&2_u32.to_le_bytes()[..], b"ab", &NONE.to_le_bytes(), &0_u32.to_le_bytes()].concat();
        let values = Values::parse(whole.clone(), 3).unwrap();
        assert_eq!((values.get(0), values.get(1), values.get(2)), (Some(&b"ab"[..]), None, Some(&b""[..])));
        for length in 0..whole.len() {
            assert!(Values::parse(whole[..length].to_vec(), 3).is_none(), "{length}");
        }
    }
}
