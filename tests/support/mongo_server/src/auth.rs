//! SCRAM-SHA-256 and SCRAM-SHA-1 as servers speak them (RFC 5802, RFC 7677, MongoDB's authentication specification).
//!
//! Passwords are used as they are: no SASLprep, so tests keep to ASCII.

use std::num::NonZeroU32;

use data_encoding::BASE64;
use md5::{Digest, Md5};
use ring::{digest, hmac, pbkdf2};

use crate::error::{Failure, Result};

/// A mechanism.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mechanism {
    Sha1,
    Sha256,
}

impl Mechanism {
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name {
            "SCRAM-SHA-1" => Some(Self::Sha1),
            "SCRAM-SHA-256" => Some(Self::Sha256),
            _ => None,
        }
    }

    fn hmac(self) -> hmac::Algorithm {
        match self {
            Self::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => hmac::HMAC_SHA256,
        }
    }

    fn sign(self, key: &[u8], data: &[u8]) -> Vec<u8> {
        hmac::sign(&hmac::Key::new(self.hmac(), key), data).as_ref().to_vec()
    }

    fn hash(self, data: &[u8]) -> Vec<u8> {
        let algorithm = match self {
            Self::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => &digest::SHA256,
        };
        digest::digest(algorithm, data).as_ref().to_vec()
    }
}

/// What a server keeps of a password, by mechanism.
#[derive(Debug, Clone)]
struct Verifier {
    salt: Vec<u8>,
    iterations: u32,
    stored: Vec<u8>,
    server: Vec<u8>,
}

impl Verifier {
    fn new(mechanism: Mechanism, name: &str, password: &str, iterations: u32) -> Self {
        let iterations = NonZeroU32::new(iterations).unwrap_or(NonZeroU32::MIN);
        let (algorithm, secret, length) = match mechanism {
            // SCRAM-SHA-1 of MongoDB salts the hexadecimal MD5 of user and password.
            Mechanism::Sha1 => {
                let digested = Md5::digest(format!("{name}:mongo:{password}"));
                (pbkdf2::PBKDF2_HMAC_SHA1, data_encoding::HEXLOWER.encode(&digested), 20)
            }
            Mechanism::Sha256 => (pbkdf2::PBKDF2_HMAC_SHA256, password.to_owned(), 32),
        };
        let salt: Vec<u8> = (0..length - 4).map(|_| fastrand::u8(..)).collect();
        let mut salted = vec![0; length];
        pbkdf2::derive(algorithm, iterations, &salt, secret.as_bytes(), &mut salted);
        let stored = mechanism.hash(&mechanism.sign(&salted, b"Client Key"));
        let server = mechanism.sign(&salted, b"Server Key");
        Self { salt, iterations: iterations.get(), stored, server }
    }
}

/// The users of a server.
#[derive(Debug, Default)]
pub(crate) struct Users {
    known: Vec<(String, Verifier, Verifier)>,
}

impl Users {
    pub(crate) fn new(users: &[(String, String)], iterations: u32) -> Self {
        let verify = |(name, password): &(String, String)| {
            let sha1 = Verifier::new(Mechanism::Sha1, name, password, (iterations * 2 / 3).max(4096));
            let sha256 = Verifier::new(Mechanism::Sha256, name, password, iterations);
            (name.clone(), sha1, sha256)
        };
        Self { known: users.iter().map(verify).collect() }
    }

    /// Whether nobody has to authenticate.
    pub(crate) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        self.known.iter().any(|(known, _, _)| known == name)
    }

    fn verifier(&self, mechanism: Mechanism, name: &str) -> Option<&Verifier> {
        let (_, sha1, sha256) = self.known.iter().find(|(known, _, _)| known == name)?;
        Some(match mechanism {
            Mechanism::Sha1 => sha1,
            Mechanism::Sha256 => sha256,
        })
    }
}

/// A conversation under way.
#[derive(Debug)]
pub(crate) struct Conversation {
    mechanism: Mechanism,
    pub(crate) user: String,
    pub(crate) database: String,
    verifier: Verifier,
    nonce: String,
    /// Client's first message without its header, a comma, and the server's first.
    transcript: String,
    skip_empty_exchange: bool,
    proven: bool,
}

/// The server's next message, and whether it was the last.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) payload: Vec<u8>,
    pub(crate) done: bool,
}

pub(crate) fn denied() -> Failure {
    Failure::new(18, "Authentication failed.")
}

impl Conversation {
    /// Answers the client's first message.
    pub(crate) fn start(
        users: &Users,
        mechanism: Mechanism,
        database: &str,
        payload: &[u8],
        skip_empty_exchange: bool,
    ) -> Result<(Self, Answer)> {
        let first = std::str::from_utf8(payload).map_err(|_| denied())?;
        // No channel binding: the header is `n,,` or `y,,`.
        let bare = first.strip_prefix("n,,").or(first.strip_prefix("y,,")).ok_or_else(denied)?;
        let user = field(bare, "n=").ok_or_else(denied)?.replace("=2C", ",").replace("=3D", "=");
        let client_nonce = field(bare, "r=").ok_or_else(denied)?;
        let verifier = users.verifier(mechanism, &user).ok_or_else(denied)?.clone();
        let own: Vec<u8> = (0..24).map(|_| fastrand::u8(..)).collect();
        let nonce = format!("{client_nonce}{}", BASE64.encode(&own));
        let answer = format!("r={nonce},s={},i={}", BASE64.encode(&verifier.salt), verifier.iterations);
        let conversation = Self {
            mechanism,
            user,
            database: database.to_owned(),
            verifier,
            nonce,
            transcript: format!("{bare},{answer}"),
            skip_empty_exchange,
            proven: false,
        };
        Ok((conversation, Answer { payload: answer.into_bytes(), done: false }))
    }

    /// Answers the client's proof, or its empty last message.
    pub(crate) fn proceed(&mut self, payload: &[u8]) -> Result<Answer> {
        if self.proven {
            return if payload.is_empty() { Ok(Answer { payload: Vec::new(), done: true }) } else { Err(denied()) };
        }
        let last = std::str::from_utf8(payload).map_err(|_| denied())?;
        let (without_proof, proof) = last.rsplit_once(",p=").ok_or_else(denied)?;
        if field(without_proof, "r=") != Some(self.nonce.as_str()) {
            return Err(denied());
        }
        let message = format!("{},{without_proof}", self.transcript);
        let proof = BASE64.decode(proof.as_bytes()).map_err(|_| denied())?;
        let signature = self.mechanism.sign(&self.verifier.stored, message.as_bytes());
        if proof.len() != signature.len() {
            return Err(denied());
        }
        let client_key: Vec<u8> = proof.iter().zip(&signature).map(|(a, b)| a ^ b).collect();
        if self.mechanism.hash(&client_key) != self.verifier.stored {
            return Err(denied());
        }
        self.proven = true;
        let server = self.mechanism.sign(&self.verifier.server, message.as_bytes());
        let payload = format!("v={}", BASE64.encode(&server)).into_bytes();
        Ok(Answer { payload, done: self.skip_empty_exchange })
    }
}

fn field<'a>(message: &'a str, name: &str) -> Option<&'a str> {
    message.split(',').find_map(|part| part.strip_prefix(name))
}
