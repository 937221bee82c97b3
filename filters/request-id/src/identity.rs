//! Ids: UUIDs, version 4.

use fyke_sdk::random;

/// The longest id of a client that is kept.
const LONGEST: usize = 128;

/// Whether an id that a client sent may go on: it will stand in logs, headers and shells.
pub fn is_sane(id: &[u8]) -> bool {
    (1..=LONGEST).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic)
}

/// A new id.
pub fn create() -> [u8; 36] {
    let mut bytes = [0; 16];
    random::fill(&mut bytes);
    format(bytes)
}

fn format(mut bytes: [u8; 16]) -> [u8; 36] {
    // RFC 9562, sections 4.1, 4.2 and 5.4: variant 10, version 0100.
    let [_, _, _, _, _, _, version, _, variant, ..] = &mut bytes;
    *version = (*version & 0x0f) | 0x40;
    *variant = (*variant & 0x3f) | 0x80;
    let mut id = [b'-'; 36];
    let mut places = id.iter_mut();
    for (at, byte) in bytes.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            places.next();
        }
        for digit in [byte >> 4, byte & 0xf] {
            if let Some(place) = places.next() {
                *place = if digit < 10 { b'0' + digit } else { b'a' + digit - 10 };
            }
        }
    }
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_uuids_of_version_4() {
        assert_eq!(&format([0; 16]), b"00000000-0000-4000-8000-000000000000");
        assert_eq!(&format([0xff; 16]), b"ffffffff-ffff-4fff-bfff-ffffffffffff");
    }

    #[test]
    fn digits_are_those_of_the_standard_library() {
        for first in 0..=u8::MAX {
            let bytes = [first, first ^ 0x5a, first.wrapping_mul(7), !first];
            let expected: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            let mut all = [0; 16];
            all[..4].copy_from_slice(&bytes);
            assert_eq!(format(all)[..8], *expected.as_bytes());
        }
        let id = format([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
        assert_eq!(&id, b"00010203-0405-4607-8809-0a0b0c0d0e0f");
    }

    #[test]
    fn only_ids_that_fit_on_a_line_are_sane() {
        assert!(is_sane(b"a"));
        assert!(is_sane(&[b'a'; 128]));
        for bad in [&b""[..], b"a b", b"a\n", b"\xc3\xa9", &[b'a'; 129]] {
            assert!(!is_sane(bad), "{bad:?}");
        }
    }
}
