//! SHA-256, as configuration, registries and the cache name things.

use sha2::{Digest, Sha256};

use super::error::SourceError;

/// SHA-256 in hexadecimal digits.
pub(super) fn digest(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(&Sha256::digest(bytes))
}

/// Checks a digest, if there is one to have.
pub(super) fn check(
    what: &'static str,
    bytes: &[u8],
    whose: &'static str,
    expected: Option<&str>,
) -> Result<String, SourceError> {
    let actual = digest(bytes);
    match expected {
        Some(expected) if actual != expected => {
            Err(SourceError::Digest { what: what.into(), actual, whose, expected: expected.to_owned() })
        }
        _ => Ok(actual),
    }
}
