//! Header fields in one block of memory.
//!
//! A request's fields go to the upstream as they are, while filters may still ask for them when they see the answer, or log.
//! Hardly any does, so what stays behind is the cheapest copy there is: one allocation and no reference to anything.

use bytes::{Buf, Bytes};
use http::{HeaderMap, HeaderName, HeaderValue};

/// Set in a value's length: it is sensitive.
const SENSITIVE: u32 = 1 << 31;

/// For each field the length of its name and of its value, name, value.
#[derive(Debug, Clone)]
pub struct Packed(Vec<u8>);

impl Packed {
    /// Copies fields.
    #[must_use]
    pub fn new(fields: &HeaderMap) -> Self {
        let size = fields.iter().map(|(name, value)| 8 + name.as_str().len() + value.len()).sum();
        let mut bytes = Vec::with_capacity(size);
        for (name, value) in fields {
            let sensitive = if value.is_sensitive() { SENSITIVE } else { 0 };
            // No header has 2 GiB.
            bytes.extend_from_slice(&length(name.as_str().len()).to_le_bytes());
            bytes.extend_from_slice(&(length(value.len()) | sensitive).to_le_bytes());
            bytes.extend_from_slice(name.as_str().as_bytes());
            bytes.extend_from_slice(value.as_bytes());
        }
        Self(bytes)
    }

    /// Names and values, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut rest = self.0.as_slice();
        std::iter::from_fn(move || {
            let (name, others) = rest.split_first_chunk::<4>()?;
            let (value, others) = others.split_first_chunk::<4>()?;
            let (name, value) = (u32::from_le_bytes(*name), u32::from_le_bytes(*value) & !SENSITIVE);
            let (name, others) = others.split_at_checked(name as usize)?;
            let (value, others) = others.split_at_checked(value as usize)?;
            rest = others;
            Some((name, value))
        })
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.iter().count()
    }

    /// The values of a name, in whatever case it is written.
    pub fn values(&self, name: &[u8]) -> impl Iterator<Item = &[u8]> {
        self.iter().filter(move |(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// The fields, in their order.
    #[must_use]
    pub fn unpack(self) -> HeaderMap {
        let mut bytes = Bytes::from(self.0);
        let mut fields = HeaderMap::new();
        while bytes.remaining() >= 8 {
            let name = bytes.get_u32_le() as usize;
            let value = bytes.get_u32_le();
            let sensitive = value & SENSITIVE != 0;
            let value = (value & !SENSITIVE) as usize;
            if bytes.remaining() < name.saturating_add(value) {
                break;
            }
            let name = HeaderName::from_bytes(&bytes.split_to(name));
            let value = HeaderValue::from_maybe_shared(bytes.split_to(value));
            if let (Ok(name), Ok(mut value)) = (name, value) {
                value.set_sensitive(sensitive);
                let _ = fields.try_append(name, value);
            }
        }
        fields
    }
}

fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX) & !SENSITIVE
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_packed_comes_out_again(pairs in prop::collection::vec(("[a-z-]{1,20}", prop::collection::vec(0x20_u8..0x7f, 0..100), any::<bool>()), 0..30)) {
            let mut fields = HeaderMap::new();
            for (name, value, sensitive) in &pairs {
                let mut value = HeaderValue::from_bytes(value).unwrap();
                value.set_sensitive(*sensitive);
                fields.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value);
            }
            let packed = Packed::new(&fields);
            let told: Vec<_> = packed.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
            let all: Vec<_> = fields.iter().map(|(name, value)| (name.as_str().into(), value.as_bytes().to_vec())).collect();
            prop_assert_eq!((told, packed.count()), (all, fields.len()));
            for name in fields.keys() {
                let values: Vec<_> = fields.get_all(name).iter().map(HeaderValue::as_bytes).collect();
                let capitals = name.as_str().to_ascii_uppercase();
                prop_assert_eq!(packed.values(capitals.as_bytes()).collect::<Vec<_>>(), values);
            }
            prop_assert_eq!(packed.values(b"none-of-them-is-called-so").count(), 0);
            let unpacked = packed.unpack();
            prop_assert_eq!(&unpacked, &fields);
            for (name, value) in &fields {
                let same = unpacked.get_all(name).iter().filter(|other| *other == value && other.is_sensitive() == value.is_sensitive());
                prop_assert!(same.count() > 0);
            }
        }
    }
}
