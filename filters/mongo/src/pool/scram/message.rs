//! The comma-separated messages of RFC 5802, section 7.

use data_encoding::BASE64;

use super::{MAX_MESSAGE, MAX_ROUNDS, MIN_ROUNDS, ScramError};

/// `server-first-message`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ServerFirst<'a> {
    pub nonce: &'a str,
    pub salt: Vec<u8>,
    pub rounds: u32,
}

/// `client-first-message`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ClientFirst<'a> {
    /// The message without its GS2 header, part of what is signed.
    pub bare: &'a str,
    pub user: String,
    pub nonce: &'a str,
}

/// `client-final-message`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ClientFinal<'a> {
    /// The message without its proof, part of what is signed.
    pub without_proof: &'a str,
    pub binding: Vec<u8>,
    pub nonce: &'a str,
    pub proof: Vec<u8>,
}

/// The GS2 header of everything we send: no channel binding, no other identity.
pub(super) const GS2_HEADER: &str = "n,,";

/// A user name as it is written: `=` and `,` are quoted.
pub(super) fn quoted(user: &str) -> String {
    user.replace('=', "=3D").replace(',', "=2C")
}

/// The text of a message.
pub(super) fn text(message: &[u8]) -> Result<&str, ScramError> {
    if message.len() > MAX_MESSAGE {
        return Err(ScramError::Malformed);
    }
    std::str::from_utf8(message).map_err(|_| ScramError::Malformed)
}

impl<'a> ServerFirst<'a> {
    pub fn parse(text: &'a str) -> Result<Self, ScramError> {
        let mut fields = text.split(',');
        let nonce = attribute(fields.next(), "r=")?;
        let salt = base64(attribute(fields.next(), "s=")?)?;
        let rounds = attribute(fields.next(), "i=")?;
        if salt.is_empty() || !rounds.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(ScramError::Malformed);
        }
        // Any text of digits that is no u32 is out of bounds as well.
        let rounds = rounds.parse().unwrap_or(u32::MAX);
        if !(MIN_ROUNDS..=MAX_ROUNDS).contains(&rounds) {
            return Err(ScramError::Rounds);
        }
        Ok(Self { nonce, salt, rounds })
    }
}

impl<'a> ClientFirst<'a> {
    pub fn parse(text: &'a str) -> Result<Self, ScramError> {
        // "y": the client could bind channels and takes us for a server that cannot, which is right.
        let rest = text.strip_prefix("n,").or_else(|| text.strip_prefix("y,")).ok_or(ScramError::Unsupported)?;
        // An identity other than the user's own would be needed here only for impersonation.
        let bare = rest.strip_prefix(',').ok_or(ScramError::Unsupported)?;
        let mut fields = bare.split(',');
        let user = unquoted(attribute(fields.next(), "n=")?)?;
        let nonce = attribute(fields.next(), "r=")?;
        if user.is_empty() || nonce.is_empty() {
            return Err(ScramError::Malformed);
        }
        Ok(Self { bare, user, nonce })
    }
}

impl<'a> ClientFinal<'a> {
    pub fn parse(text: &'a str) -> Result<Self, ScramError> {
        let (without_proof, proof) = text.rsplit_once(",p=").ok_or(ScramError::Malformed)?;
        let mut fields = without_proof.split(',');
        let binding = base64(attribute(fields.next(), "c=")?)?;
        let nonce = attribute(fields.next(), "r=")?;
        Ok(Self { without_proof, binding, nonce, proof: base64(proof)? })
    }
}

/// The signature in a `server-final-message`.
pub(super) fn server_final(text: &str) -> Result<Vec<u8>, ScramError> {
    let first = text.split(',').next();
    if attribute(first, "e=").is_ok() {
        return Err(ScramError::Refused);
    }
    base64(attribute(first, "v=")?)
}

fn attribute<'a>(field: Option<&'a str>, name: &str) -> Result<&'a str, ScramError> {
    let field = field.ok_or(ScramError::Malformed)?;
    // RFC 5802, 5.1: an extension that is not understood must end the conversation.
    if field.starts_with("m=") {
        return Err(ScramError::Unsupported);
    }
    field.strip_prefix(name).ok_or(ScramError::Malformed)
}

fn unquoted(user: &str) -> Result<String, ScramError> {
    let plain = user.replace("=2C", ",");
    let mut parts = plain.split("=3D");
    if parts.clone().any(|part| part.contains('=')) {
        return Err(ScramError::Malformed);
    }
    let first = parts.next().unwrap_or_default().to_owned();
    Ok(parts.fold(first, |user, part| user + "=" + part))
}

fn base64(text: &str) -> Result<Vec<u8>, ScramError> {
    BASE64.decode(text.as_bytes()).map_err(|_| ScramError::Malformed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn user_names_survive_quoting(user in "[=,a2CD3é]{0,12}") {
            prop_assert_eq!(unquoted(&quoted(&user)), Ok(user));
        }

        #[test]
        fn parsers_never_panic(text in "[nyrsicpvem=,A-Za-z0-9+/]{0,60}") {
            let _ = (ServerFirst::parse(&text), ClientFirst::parse(&text), ClientFinal::parse(&text));
            let _ = server_final(&text);
        }
    }
}
