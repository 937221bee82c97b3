//! Pins as bytes, for a store that knows nothing of them.

/// Kind of a key: a cursor.
pub(super) const CURSOR: u8 = b'c';
/// Kind of a key: the transaction of a session.
pub(super) const SESSION: u8 = b't';
/// Version of the values: a worker that was replaced may have left others behind.
const VERSION: u8 = 1;

/// What is pinned where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// Address of the server.
    pub server: String,
    /// When it expires, in milliseconds of the caller's clock.
    pub expires: u64,
    /// A cursor that waits for news.
    pub long_lived: bool,
    /// Number of the transaction; none for a cursor.
    pub txn_number: Option<i64>,
}

impl Pin {
    pub(super) fn cursor(server: &str, long_lived: bool) -> Self {
        Self { server: server.to_owned(), expires: 0, long_lived, txn_number: None }
    }

    pub(super) fn transaction(server: &str, txn_number: Option<i64>) -> Self {
        Self { server: server.to_owned(), expires: 0, long_lived: false, txn_number }
    }

    /// As bytes: version, flags, expiry, number, then the address up to the end.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(18 + self.server.len());
        bytes.extend([VERSION, u8::from(self.long_lived) | u8::from(self.txn_number.is_some()) << 1]);
        bytes.extend(self.expires.to_le_bytes());
        bytes.extend(self.txn_number.unwrap_or_default().to_le_bytes());
        bytes.extend(self.server.as_bytes());
        bytes
    }

    /// From bytes; none if they are not a pin of this version.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let ([version, flags], rest) = bytes.split_first_chunk::<2>()?;
        let (expires, rest) = rest.split_first_chunk()?;
        let (number, server) = rest.split_first_chunk()?;
        if *version != VERSION || *flags > 3 {
            return None;
        }
        Some(Self {
            server: std::str::from_utf8(server).ok()?.to_owned(),
            expires: u64::from_le_bytes(*expires),
            long_lived: flags & 1 != 0,
            txn_number: (flags & 2 != 0).then(|| i64::from_le_bytes(*number)),
        })
    }
}

/// A key: kind, scope with its length in front, fixed part, name. None if the name is longer than `longest`, or empty.
pub(super) fn key(kind: u8, scope: &[u8], fixed: &[u8], name: &[u8], longest: usize) -> Option<Vec<u8>> {
    if name.is_empty() || name.len() > longest {
        return None;
    }
    let mut key = Vec::with_capacity(2 + scope.len() + fixed.len() + name.len());
    key.extend([kind, u8::try_from(scope.len()).ok()?]);
    key.extend(scope);
    key.extend(fixed);
    key.extend(name);
    Some(key)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn pins_read_back(
            server in ".{0,30}", expires: u64, long_lived: bool, txn_number in proptest::option::of(any::<i64>()),
        ) {
            let pin = Pin { server, expires, long_lived, txn_number };
            prop_assert_eq!(Pin::decode(&pin.encode()), Some(pin));
        }

        #[test]
        fn decoding_never_panics_and_is_exact(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Some(pin) = Pin::decode(&bytes) {
                prop_assert_eq!(Pin::decode(&pin.encode()), Some(pin));
            }
        }

        #[test]
        fn keys_differ_if_anything_does(
            a in ("[ct]", "[ab]{0,2}", any::<i8>(), "[ab.]{1,3}"), b in ("[ct]", "[ab]{0,2}", any::<i8>(), "[ab.]{1,3}"),
        ) {
            let key = |(kind, scope, id, name): &(String, String, i8, String)| {
                key(kind.as_bytes()[0], scope.as_bytes(), &i64::from(*id).to_le_bytes(), name.as_bytes(), 255).unwrap()
            };
            prop_assert_eq!(key(&a) == key(&b), a == b);
        }
    }
}
