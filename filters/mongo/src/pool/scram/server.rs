//! The side that checks a credential: the proxy towards its clients, against a stored verifier.

use data_encoding::BASE64;

use super::message::{ClientFinal, ClientFirst, text};
use super::{Hash, MAX_ROUNDS, MIN_ROUNDS, ScramError, same, xor};

/// What is stored of a password: enough to check a proof, not enough to make one (as long as the stored key stays
/// secret, which also lets nobody pose as us).
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier {
    /// Hash function of the mechanism.
    pub hash: Hash,
    /// Salt of the stretching.
    pub salt: Vec<u8>,
    /// Rounds of the stretching.
    pub rounds: u32,
    /// H(client key).
    pub stored_key: Vec<u8>,
    /// Key of our own signature.
    pub server_key: Vec<u8>,
}

impl std::fmt::Debug for Verifier {
    /// Without the keys: whoever has the stored key and sees one conversation can pose as the user.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Verifier")
            .field("hash", &self.hash)
            .field("rounds", &self.rounds)
            .finish_non_exhaustive()
    }
}

impl Verifier {
    /// The verifier of a salted password (PBKDF2 of the prepared password).
    #[cfg(test)]
    pub fn new(hash: Hash, salt: Vec<u8>, rounds: u32, salted_password: &[u8]) -> Self {
        let stored_key = hash.digest(&hash.hmac(salted_password, b"Client Key"));
        Self { hash, salt, rounds, stored_key, server_key: hash.hmac(salted_password, b"Server Key") }
    }

    /// A verifier that no password fits, for a user that does not exist. The same user always gets the same salt, so
    /// that answers do not tell which users exist. `secret` is random and private to the process.
    pub fn decoy(hash: Hash, rounds: u32, secret: &[u8], user: &str) -> Self {
        let mut salt = hash.hmac(secret, user.as_bytes());
        // MongoDB's own salts have 16 and 28 bytes.
        salt.truncate(if hash == Hash::Sha1 { 16 } else { 28 });
        let unknown = hash.hmac(secret, &[user.as_bytes(), b"\0key"].concat());
        Self { hash, salt, rounds, stored_key: unknown.clone(), server_key: unknown }
    }

    /// Whether clients will accept it: rounds within the module's bounds, keys of the right length, a salt.
    pub fn is_usable(&self) -> bool {
        (MIN_ROUNDS..=MAX_ROUNDS).contains(&self.rounds)
            && self.stored_key.len() == self.hash.length()
            && self.server_key.len() == self.hash.length()
            && !self.salt.is_empty()
    }
}

/// One conversation of a server: [`Server::start`], look the verifier of [`Server::user`] up, [`Server::challenge`],
/// [`Server::finish`].
#[derive(Debug)]
pub struct Server {
    user: String,
    client_first: String,
    client_nonce: String,
    challenge: Option<Challenge>,
}

#[derive(Debug)]
struct Challenge {
    verifier: Verifier,
    server_first: String,
    nonce: String,
}

impl Server {
    /// Takes the `client-first-message`.
    ///
    /// # Errors
    /// [`ScramError::Malformed`], [`ScramError::Unsupported`] (channel binding, another identity, extensions).
    pub fn start(message: &[u8]) -> Result<Self, ScramError> {
        let first = ClientFirst::parse(text(message)?)?;
        Ok(Self {
            client_first: first.bare.to_owned(),
            client_nonce: first.nonce.to_owned(),
            user: first.user,
            challenge: None,
        })
    }

    /// Who the client says it is; proven only after [`Server::finish`].
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The `server-first-message`. `entropy` as in [`super::Client::new`].
    pub fn challenge(&mut self, verifier: Verifier, entropy: &[u8]) -> Vec<u8> {
        self.challenge_with(verifier, &BASE64.encode(entropy))
    }

    pub(super) fn challenge_with(&mut self, verifier: Verifier, server_nonce: &str) -> Vec<u8> {
        let nonce = format!("{}{server_nonce}", self.client_nonce);
        let server_first = format!("r={nonce},s={},i={}", BASE64.encode(&verifier.salt), verifier.rounds);
        let message = server_first.clone().into_bytes();
        self.challenge = Some(Challenge { verifier, server_first, nonce });
        message
    }

    /// Takes the `client-final-message`, checks the proof in constant time, gives the `server-final-message`. A
    /// conversation has one try.
    ///
    /// # Errors
    /// [`ScramError::Proof`] if the client does not know the password, [`ScramError::Nonce`],
    /// [`ScramError::Malformed`], [`ScramError::Unsupported`].
    pub fn finish(&mut self, message: &[u8]) -> Result<Vec<u8>, ScramError> {
        let Challenge { verifier, server_first, nonce } = self.challenge.take().ok_or(ScramError::OutOfTurn)?;
        let client_final = ClientFinal::parse(text(message)?)?;
        if client_final.nonce != nonce {
            return Err(ScramError::Nonce);
        }
        if client_final.binding != b"n,," && client_final.binding != b"y,," {
            return Err(ScramError::Unsupported);
        }
        let hash = verifier.hash;
        if client_final.proof.len() != hash.length() {
            return Err(ScramError::Proof);
        }
        let signed = format!("{},{server_first},{}", self.client_first, client_final.without_proof);
        let client_key = xor(&client_final.proof, &hash.hmac(&verifier.stored_key, signed.as_bytes()));
        if !same(&hash.digest(&client_key), &verifier.stored_key) {
            return Err(ScramError::Proof);
        }
        let signature = hash.hmac(&verifier.server_key, signed.as_bytes());
        Ok(format!("v={}", BASE64.encode(&signature)).into_bytes())
    }
}
