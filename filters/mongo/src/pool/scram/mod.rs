//! SCRAM-SHA-1 and SCRAM-SHA-256 as MongoDB speaks them (RFC 5802, RFC 7677, MongoDB's driver authentication
//! specification).
//!
//! [`Client`] proves a credential to a server, [`Server`] checks a client's against a stored [`Verifier`]. Neither
//! stretches keys: PBKDF2 takes milliseconds and would stall everything else on the worker, so the client says what it
//! needs ([`KeyRequest`]) and is given the salted password. User names are not prepared with SASLprep, against the RFC,
//! because MongoDB's specification forbids it; passwords are for SHA-256 only, see [`prepared_password`].

mod client;
mod message;
mod server;
#[cfg(test)]
mod tests;

use hmac::{Hmac, KeyInit, Mac};
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256};

pub use client::{Client, KeyRequest};
pub use server::{Server, Verifier};

/// Fewest rounds of key stretching that we take part in. RFC 7677 and MongoDB's specification ask for it: with fewer, a
/// server in the middle gets a proof from which the password is cheap to guess.
pub const MIN_ROUNDS: u32 = 4096;
/// Most rounds that we take part in: MongoDB defaults to 10,000 and 15,000; a million cost about a second of one core,
/// and a server that asks for billions would have us work for days.
pub const MAX_ROUNDS: u32 = 1_000_000;
/// Longest SCRAM message that is read, in bytes; real ones have fewer than 300.
pub const MAX_MESSAGE: usize = 4096;

/// The hash function of a mechanism.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hash {
    /// SCRAM-SHA-1: users made before MongoDB 4.0.
    Sha1,
    /// SCRAM-SHA-256: the default since MongoDB 4.0.
    Sha256,
}

/// Why a conversation ended. No message quotes secrets or what the peer sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScramError {
    /// A message that is not SCRAM, or is longer than [`MAX_MESSAGE`].
    Malformed,
    /// The nonce does not extend ours: the answer belongs to another conversation.
    Nonce,
    /// Rounds outside of [`MIN_ROUNDS`] to [`MAX_ROUNDS`].
    Rounds,
    /// The peer demands an extension (`m=`) or channel binding, which MongoDB does not use.
    Unsupported,
    /// The peer said that authentication failed.
    Refused,
    /// The server does not know the credential that it asked about: somebody poses as the server.
    Signature,
    /// The client does not know the password.
    Proof,
    /// The password cannot be prepared: it has characters that RFC 4013 prohibits.
    Password,
    /// A message at a point of the conversation where none fits.
    OutOfTurn,
}

impl Hash {
    /// The mechanism's name in `saslStart`.
    pub const fn mechanism(self) -> &'static str {
        match self {
            Self::Sha1 => "SCRAM-SHA-1",
            Self::Sha256 => "SCRAM-SHA-256",
        }
    }

    /// The hash of a mechanism's name.
    pub fn of_mechanism(name: &str) -> Option<Self> {
        [Self::Sha1, Self::Sha256].into_iter().find(|hash| hash.mechanism() == name)
    }

    /// Length of a key, in bytes: 20 or 32.
    pub const fn length(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }

    /// H(data).
    fn digest(self, data: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha1 => Sha1::digest(data).to_vec(),
            Self::Sha256 => Sha256::digest(data).to_vec(),
        }
    }

    /// HMAC(key, data).
    fn hmac(self, key: &[u8], data: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha1 => mac::<Hmac<Sha1>>(key, data),
            Self::Sha256 => mac::<Hmac<Sha256>>(key, data),
        }
    }
}

/// The bytes to stretch for a password: SASLprep for SHA-256, for SHA-1 the hex form of md5("user:mongo:password").
///
/// # Errors
/// [`ScramError::Password`] if SASLprep prohibits a character of it.
pub fn prepared_password(hash: Hash, user: &str, password: &str) -> Result<String, ScramError> {
    match hash {
        Hash::Sha1 => {
            let digest = Md5::digest(format!("{user}:mongo:{password}").as_bytes());
            Ok(data_encoding::HEXLOWER.encode(&digest))
        }
        Hash::Sha256 => stringprep::saslprep(password).map(|text| text.into_owned()).map_err(|_| ScramError::Password),
    }
}

fn mac<M: Mac + KeyInit>(key: &[u8], data: &[u8]) -> Vec<u8> {
    // HMAC takes keys of any length; the empty result cannot happen and would match no proof.
    let Ok(mut mac) = <M as KeyInit>::new_from_slice(key) else { return Vec::new() };
    mac.update(data);
    mac.finalize().into_bytes().to_vec()
}

/// The bytes of `left` XOR those of `right`; both are keys of one hash.
fn xor(left: &[u8], right: &[u8]) -> Vec<u8> {
    left.iter().zip(right).map(|(left, right)| left ^ right).collect()
}

/// Whether two secrets are equal, in a time that depends on their length only. Empty ones never are.
fn same(left: &[u8], right: &[u8]) -> bool {
    use subtle::ConstantTimeEq;
    !left.is_empty() && bool::from(left.ct_eq(right))
}
