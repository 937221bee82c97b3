//! The side that proves a credential: the proxy towards a server.

use data_encoding::BASE64;

use super::message::{GS2_HEADER, ServerFirst, quoted, server_final, text};
use super::{Hash, ScramError, same, xor};

/// What to stretch: PBKDF2 with this hash over the prepared password, giving [`Hash::length`] bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRequest {
    /// Hash function of the stretching's HMAC.
    pub hash: Hash,
    /// Salt, as the server sent it.
    pub salt: Vec<u8>,
    /// Rounds, within the bounds of this module.
    pub rounds: u32,
}

/// One conversation of a client. Calls in order: [`Client::first`], [`Client::on_server_first`],
/// [`Client::on_salted_password`], [`Client::on_server_final`]. After an error every call fails.
#[derive(Debug)]
pub struct Client {
    hash: Hash,
    first_bare: String,
    nonce: String,
    state: State,
}

#[derive(Debug)]
enum State {
    AwaitingServerFirst,
    AwaitingKey { server_first: String, combined_nonce: String },
    AwaitingServerFinal { signature: Vec<u8> },
    Done,
    Failed,
}

impl Client {
    /// A conversation for `user`. `entropy` is random: 18 bytes or more from the system's generator, never reused.
    pub fn new(hash: Hash, user: &str, entropy: &[u8]) -> Self {
        Self::with_nonce(hash, user, BASE64.encode(entropy))
    }

    /// Base64 has no comma, which a nonce may not have.
    pub(super) fn with_nonce(hash: Hash, user: &str, nonce: String) -> Self {
        let first_bare = format!("n={},r={nonce}", quoted(user));
        Self { hash, first_bare, nonce, state: State::AwaitingServerFirst }
    }

    /// The mechanism's hash.
    pub fn hash(&self) -> Hash {
        self.hash
    }

    /// The `client-first-message`; the same however often it is asked for.
    pub fn first(&self) -> Vec<u8> {
        format!("{GS2_HEADER}{}", self.first_bare).into_bytes()
    }

    /// Takes the `server-first-message`; says which key is needed.
    ///
    /// # Errors
    /// [`ScramError::Malformed`], [`ScramError::Nonce`], [`ScramError::Rounds`], [`ScramError::Unsupported`].
    pub fn on_server_first(&mut self, message: &[u8]) -> Result<KeyRequest, ScramError> {
        let State::AwaitingServerFirst = std::mem::replace(&mut self.state, State::Failed) else {
            return Err(ScramError::OutOfTurn);
        };
        let message = text(message)?;
        let first = ServerFirst::parse(message)?;
        // The server must add to our nonce: an unchanged one lets a recorded conversation be replayed.
        if !first.nonce.starts_with(&self.nonce) || first.nonce.len() == self.nonce.len() {
            return Err(ScramError::Nonce);
        }
        self.state = State::AwaitingKey { server_first: message.to_owned(), combined_nonce: first.nonce.to_owned() };
        Ok(KeyRequest { hash: self.hash, salt: first.salt, rounds: first.rounds })
    }

    /// Takes the salted password that [`KeyRequest`] asked for; gives the `client-final-message`.
    ///
    /// # Errors
    /// [`ScramError::Password`] if the key has not the length of the hash.
    pub fn on_salted_password(&mut self, salted_password: &[u8]) -> Result<Vec<u8>, ScramError> {
        let State::AwaitingKey { server_first, combined_nonce } = std::mem::replace(&mut self.state, State::Failed)
        else {
            return Err(ScramError::OutOfTurn);
        };
        if salted_password.len() != self.hash.length() {
            return Err(ScramError::Password);
        }
        let hash = self.hash;
        let without_proof = format!("c={},r={combined_nonce}", BASE64.encode(GS2_HEADER.as_bytes()));
        let signed = format!("{},{server_first},{without_proof}", self.first_bare);
        let client_key = hash.hmac(salted_password, b"Client Key");
        let stored_key = hash.digest(&client_key);
        let proof = xor(&client_key, &hash.hmac(&stored_key, signed.as_bytes()));
        let server_key = hash.hmac(salted_password, b"Server Key");
        self.state = State::AwaitingServerFinal { signature: hash.hmac(&server_key, signed.as_bytes()) };
        Ok(format!("{without_proof},p={}", BASE64.encode(&proof)).into_bytes())
    }

    /// Takes the `server-final-message` and checks the server's signature, in constant time.
    ///
    /// # Errors
    /// [`ScramError::Refused`] if the server turned the credential down, [`ScramError::Signature`] if it does not know
    /// the credential itself.
    pub fn on_server_final(&mut self, message: &[u8]) -> Result<(), ScramError> {
        let State::AwaitingServerFinal { signature } = std::mem::replace(&mut self.state, State::Failed) else {
            return Err(ScramError::OutOfTurn);
        };
        if !same(&signature, &server_final(text(message)?)?) {
            return Err(ScramError::Signature);
        }
        self.state = State::Done;
        Ok(())
    }

    /// Whether the server has proved itself: only then may the connection be lent.
    #[cfg(test)]
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }
}
