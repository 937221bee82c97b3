//! The few messages of protocol buffers that guests hand over, as filters made for Envoy write them.

/// A plain name, or the one inside of a serialized `envoy.config.core.v3.GrpcService`: field 1 (`envoy_grpc`), in it field 1 (`cluster_name`).
pub fn cluster_name(bytes: &[u8]) -> Option<&str> {
    let name = field_one(bytes).and_then(field_one).unwrap_or(bytes);
    std::str::from_utf8(name).ok().filter(|name| !name.is_empty())
}

/// Field 1 of a message, where it comes first and is a string or a message.
fn field_one(bytes: &[u8]) -> Option<&[u8]> {
    let (length, rest) = varint(bytes.strip_prefix(&[0x0a])?)?;
    rest.get(..usize::try_from(length).ok()?)
}

/// Envoy's `SetEnvoyFilterStateArguments`: `path` is field 1 and `value` field 2, both strings; how long it lasts (field 3) is always the stream.
pub fn filter_state(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (mut path, mut value) = (&b""[..], &b""[..]);
    fields(bytes, |number, field| match (number, field) {
        (1, Field::Bytes(text)) => {
            path = text;
            Some(())
        }
        (2, Field::Bytes(text)) => {
            value = text;
            Some(())
        }
        (3, Field::Number) => Some(()),
        _ => None,
    })?;
    (!path.is_empty()).then_some((path, value))
}

/// The name in Envoy's `DeclarePropertyArguments`: field 1; the others are `readonly` (2), `type` (3), `schema` (4) and `span` (5).
pub fn declared_property(bytes: &[u8]) -> Option<&[u8]> {
    let mut name = &b""[..];
    fields(bytes, |number, field| match (number, field) {
        (1, Field::Bytes(text)) => {
            name = text;
            Some(())
        }
        (4, Field::Bytes(_)) | (2 | 3 | 5, Field::Number) => Some(()),
        _ => None,
    })?;
    (!name.is_empty()).then_some(name)
}

enum Field<'a> {
    Number,
    Bytes(&'a [u8]),
}

/// Calls `each` with the number and the value of every field. `None`: the bytes are no message, or `each` has refused.
fn fields<'a>(mut bytes: &'a [u8], mut each: impl FnMut(u64, Field<'a>) -> Option<()>) -> Option<()> {
    while !bytes.is_empty() {
        let (tag, rest) = varint(bytes)?;
        let (number, rest) = varint(rest)?;
        let field = match tag & 7 {
            0 => {
                bytes = rest;
                Field::Number
            }
            2 => {
                let (text, rest) = rest.split_at_checked(usize::try_from(number).ok()?)?;
                bytes = rest;
                Field::Bytes(text)
            }
            _ => return None,
        };
        each(tag >> 3, field)?;
    }
    Some(())
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut number = 0_u64;
    for (at, byte) in bytes.iter().enumerate().take(9) {
        number |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((number, bytes.get(at + 1..)?));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_is_named_plainly_or_as_envoys_service() {
        assert_eq!(cluster_name(b"authz"), Some("authz"));
        assert_eq!(cluster_name(b"\x0a\x07\x0a\x05authz"), Some("authz"));
        assert_eq!(cluster_name(b"\x0a\x0b\x0a\x05authz\x12\x02ab\x1a\x01x"), Some("authz"), "more fields follow");
        for bad in [&b""[..], b"\xff", b"\x0a\x00"] {
            assert!(cluster_name(bad).is_none_or(|name| name.contains('\n')), "{bad:?}");
        }
    }

    #[test]
    fn a_declared_property_has_a_name() {
        assert_eq!(declared_property(b"\x0a\x01k\x10\x01\x18\x02\x22\x01s\x28\x01"), Some(&b"k"[..]));
        for bad in [&b""[..], b"\x0a\x00", b"\x0a\x7f", b"\x10", b"\x0d\x01\x02\x03\x04"] {
            assert_eq!(declared_property(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn envoys_filter_state_is_read_whatever_it_is() {
        assert_eq!(filter_state(b"\x0a\x01k\x12\x02vw\x18\x01"), Some((&b"k"[..], &b"vw"[..])));
        assert_eq!(filter_state(b"\x12\x01v\x0a\x01k"), Some((&b"k"[..], &b"v"[..])));
        for bad in [
            &b""[..],
            b"\x0a",
            b"\x0a\x05k",
            b"\x0a\x00",
            b"\x22\x01k",
            b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        ] {
            assert_eq!(filter_state(bad), None, "{bad:?}");
        }
    }
}
