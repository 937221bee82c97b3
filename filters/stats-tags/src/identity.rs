//! What a SPIFFE id says (SPIFFE-ID, section 2): `spiffe://trust.domain/path`, where the path of a workload in Kubernetes is
//! `/ns/namespace/sa/account`.

use crate::config::Identity;

/// A part of an id. What is no SPIFFE id has but the whole.
#[must_use]
pub fn part(id: &[u8], part: Identity) -> Option<&[u8]> {
    let rest = match part {
        Identity::Id => return Some(id),
        _ => id.strip_prefix(b"spiffe://")?,
    };
    let mut segments = rest.split(|byte| *byte == b'/');
    let domain = segments.next();
    let found = match part {
        Identity::TrustDomain => domain,
        Identity::Namespace => after(segments, b"ns"),
        _ => after(segments, b"sa"),
    };
    found.filter(|part| !part.is_empty())
}

/// Keys and values take turns, so that a namespace that is called `sa` is one.
fn after<'a>(mut segments: impl Iterator<Item = &'a [u8]>, key: &[u8]) -> Option<&'a [u8]> {
    while let Some(segment) = segments.next() {
        let value = segments.next();
        if segment == key {
            return value;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_an_id_are_found_in_their_places() {
        use Identity::{Id, Namespace, ServiceAccount, TrustDomain};
        let id = &b"spiffe://cluster.local/ns/sa/sa/ns"[..];
        for (wanted, found) in [
            (Id, Some(id)),
            (TrustDomain, Some(&b"cluster.local"[..])),
            (Namespace, Some(b"sa")),
            (ServiceAccount, Some(b"ns")),
        ] {
            assert_eq!(part(id, wanted), found, "{wanted:?}");
        }
        for broken in
            ["", "spiffe://", "spiffe:///ns", "spiffe://a/ns", "spiffe://a/ns//sa/", "https://a/ns/b", "\u{ff}"]
        {
            assert_eq!(part(broken.as_bytes(), Namespace), None, "{broken}");
            assert_eq!(part(broken.as_bytes(), Id), Some(broken.as_bytes()));
        }
        assert_eq!(part(b"spiffe://a", TrustDomain), Some(&b"a"[..]));
        assert_eq!(part(b"spiffe://", TrustDomain), None);
    }
}
