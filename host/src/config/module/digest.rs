//! Digests as configuration and registries write them.

/// The hexadecimal digits of a digest as registries write them.
pub(crate) fn manifest_digest(text: &str) -> Result<String, String> {
    match text.split_once(':') {
        Some(("sha256", digits)) if is_sha256(digits) => Ok(digits.to_ascii_lowercase()),
        Some(("sha256", _)) => Err(format!("{text:?} is not a digest: sha256: and 64 hexadecimal digits are expected")),
        Some((algorithm, _)) => Err(format!("digests by {algorithm} are not supported: sha256 is")),
        None => Err(format!("{text:?} is not a digest: sha256: and 64 hexadecimal digits are expected")),
    }
}

/// Whether these are the digits of a SHA-256 digest.
pub(crate) fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}
