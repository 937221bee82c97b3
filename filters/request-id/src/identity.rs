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
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = bytes;
    let quarters = [hex([a, b, c, d]), hex([e, f, g, h]), hex([i, j, k, l]), hex([m, n, o, p])];
    let digits = quarters.as_flattened();
    for (place, part) in [(0, 0..8), (9, 8..12), (14, 12..16), (19, 16..20), (24, 20..32)] {
        if let (Some(to), Some(from)) = (id.get_mut(place..place + part.len()), digits.get(part)) {
            to.copy_from_slice(from);
        }
    }
    id
}

/// Eight digits, all at once: this is done for every request.
fn hex(bytes: [u8; 4]) -> [u8; 8] {
    // The bytes apart, then the halves of each.
    let mut all = u64::from(u32::from_le_bytes(bytes));
    all = (all & 0xffff) | (all & 0xffff_0000) << 16;
    all = (all & 0x0000_00ff_0000_00ff) | (all & 0x0000_ff00_0000_ff00) << 8;
    all = (all >> 4 & 0x000f_000f_000f_000f) | (all & 0x000f_000f_000f_000f) << 8;
    // One in each byte that is a letter.
    let letters = (all + 0x0606_0606_0606_0606) >> 4 & 0x0101_0101_0101_0101;
    (all + 0x3030_3030_3030_3030 + letters * u64::from(b'a' - b'0' - 10)).to_le_bytes()
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
            assert_eq!(hex(bytes), expected.as_bytes());
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
