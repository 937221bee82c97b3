//! The handshake on a new upstream connection: `hello` with metadata, then SCRAM with the proxy's own credential.
//!
//! One [`Handshake`] per connection, driven by documents: [`Handshake::start`], then [`Handshake::on_reply`] for each
//! reply and [`Handshake::on_salted_password`] when a stretched key was asked for, until [`Step::Ready`] or an error.
//! The connection is lent only after `Ready`. Commands go out as OP_MSG, which every server since 3.6 takes.

use crate::bson::Value;
use crate::bson::read::find;
use crate::bson::write::Document;
use crate::wire::write::op_msg;

use super::facts::Reply;
use super::fleet::{Role, ServerFacts};
use super::sasl::{SaslReply, resume, start};
use super::scram::{Client, Hash, KeyRequest, ScramError};

/// The proxy's own credential. The password is not here: key stretching happens at the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// Name of the user.
    pub user: String,
    /// Database that knows the user (`authSource`), default `admin`.
    pub source: String,
    /// Mechanism; none: SHA-256 if the server lists it for the user, else SHA-1.
    pub mechanism: Option<Hash>,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Write this message, then wait for its reply.
    Send(Vec<u8>),
    /// Stretch the prepared password ([`super::scram::prepared_password`]), then call
    /// [`Handshake::on_salted_password`].
    Stretch(KeyRequest),
    /// The connection may be lent. Publish [`Role::label`] for the endpoint and tell [`super::fleet::Fleet`].
    Ready(ServerFacts),
}

/// Why a connection cannot be used; it must be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandshakeError {
    /// The server's reply is not one to `hello`, or is unreadable.
    NotMongo,
    /// The server said `ok: 0` to `hello`, with this code.
    Refused(i32),
    /// The server speaks no OP_MSG (older than 3.6).
    TooOld,
    /// The server's role lends to nobody: arbiter, hidden, starting.
    NotLendable,
    /// The credential failed: misconfiguration, not weather; do not retry at once.
    Authentication(ScramError),
    /// A reply to something else than what was asked.
    OutOfTurn,
}

/// The handshake of one connection.
#[derive(Debug)]
pub struct Handshake {
    credential: Option<Credential>,
    version: &'static str,
    entropy: Vec<u8>,
    request_id: i32,
    state: State,
}

#[derive(Debug)]
enum State {
    New,
    Hello {
        legacy: bool,
        client: Option<Client>,
    },
    ServerFirst {
        facts: ServerFacts,
        client: Client,
    },
    Key {
        facts: ServerFacts,
        client: Client,
        conversation: i32,
    },
    ServerFinal {
        facts: ServerFacts,
        client: Client,
    },
    /// The server proved itself, but wants an empty exchange (before 4.4).
    EmptyExchange {
        facts: ServerFacts,
    },
    Ended,
}

/// Lowest wire version that has OP_MSG (MongoDB 3.6).
const MIN_WIRE_VERSION: i32 = 6;
/// The server does not know the command.
const COMMAND_NOT_FOUND: i32 = 59;

impl Handshake {
    /// A handshake with or without a credential. `version` is the proxy's, for the server's log; `entropy` as in
    /// [`Client::new`].
    pub fn new(credential: Option<Credential>, version: &'static str, entropy: &[u8]) -> Self {
        Self { credential, version, entropy: entropy.to_vec(), request_id: 0, state: State::New }
    }

    /// The first message.
    pub fn start(&mut self) -> Vec<u8> {
        self.hello(false)
    }

    /// Takes a reply: `response_to` from its header, and its document.
    ///
    /// # Errors
    /// [`HandshakeError`]; the connection must be closed.
    pub fn on_reply(&mut self, response_to: i32, document: &[u8]) -> Result<Step, HandshakeError> {
        let state = std::mem::replace(&mut self.state, State::Ended);
        if response_to != self.request_id {
            return Err(HandshakeError::OutOfTurn);
        }
        let reply = Reply::read(document).map_err(|_| HandshakeError::NotMongo)?;
        match state {
            State::Hello { legacy, client } => self.on_hello(&reply, document, legacy, client),
            State::ServerFirst { facts, client } => self.on_server_first(facts, client, sasl(&reply, document)?),
            State::ServerFinal { facts, mut client } => {
                let reply = sasl(&reply, document)?;
                client.on_server_final(reply.payload).map_err(HandshakeError::Authentication)?;
                if reply.done {
                    return Ok(Step::Ready(facts));
                }
                self.state = State::EmptyExchange { facts };
                let source = self.source();
                Ok(self.command(&source, |command| resume(command, reply.conversation, &[])))
            }
            State::EmptyExchange { facts } if sasl(&reply, document)?.done => Ok(Step::Ready(facts)),
            State::EmptyExchange { .. } => Err(HandshakeError::Authentication(ScramError::OutOfTurn)),
            State::New | State::Key { .. } | State::Ended => Err(HandshakeError::OutOfTurn),
        }
    }

    /// Takes the key that [`Step::Stretch`] asked for.
    ///
    /// # Errors
    /// [`HandshakeError`]; the connection must be closed.
    pub fn on_salted_password(&mut self, salted_password: &[u8]) -> Result<Step, HandshakeError> {
        let State::Key { facts, mut client, conversation } = std::mem::replace(&mut self.state, State::Ended) else {
            return Err(HandshakeError::OutOfTurn);
        };
        let proof = client.on_salted_password(salted_password).map_err(HandshakeError::Authentication)?;
        self.state = State::ServerFinal { facts, client };
        let source = self.source();
        Ok(self.command(&source, |command| resume(command, conversation, &proof)))
    }

    fn hello(&mut self, legacy: bool) -> Vec<u8> {
        let credential = self.credential.clone();
        // The first step goes along with `hello`, for the mechanism that is likely.
        let client = credential.as_ref().map(|credential| {
            Client::new(credential.mechanism.unwrap_or(Hash::Sha256), &credential.user, &self.entropy)
        });
        let version = self.version;
        let message = self.message("admin", |hello| {
            hello.int32(if legacy { "isMaster" } else { "hello" }, 1).bool("helloOk", true);
            hello.document("client", |metadata| {
                metadata.document("application", |part| _ = part.string("name", "fyke"));
                metadata.document("driver", |part| _ = part.string("name", "fyke").string("version", version));
                metadata.document("os", |part| _ = part.string("type", "unknown"));
            });
            if let (Some(credential), Some(client)) = (&credential, &client) {
                if credential.mechanism.is_none() {
                    hello.string("saslSupportedMechs", &format!("{}.{}", credential.source, credential.user));
                }
                hello.document("speculativeAuthenticate", |command| {
                    start(command, client.hash(), &client.first());
                    command.string("db", &credential.source);
                });
            }
        });
        self.state = State::Hello { legacy, client };
        message
    }

    fn on_hello(
        &mut self,
        reply: &Reply<'_>,
        document: &[u8],
        legacy: bool,
        client: Option<Client>,
    ) -> Result<Step, HandshakeError> {
        if !reply.ok {
            // `hello` came with 4.4.2; its older name works everywhere.
            return match reply.code {
                Some(COMMAND_NOT_FOUND) if !legacy => Ok(Step::Send(self.hello(true))),
                code => Err(HandshakeError::Refused(code.unwrap_or_default())),
            };
        }
        let facts = ServerFacts::read(document).ok_or(HandshakeError::NotMongo)?;
        if facts.limits.max_wire_version < MIN_WIRE_VERSION {
            return Err(HandshakeError::TooOld);
        }
        if facts.role == Role::Other {
            return Err(HandshakeError::NotLendable);
        }
        let (Some(client), Some(credential)) = (client, self.credential.clone()) else {
            return Ok(Step::Ready(facts));
        };
        if let Some(Value::Document(speculative)) = find(document, "speculativeAuthenticate") {
            let reply = SaslReply::read(speculative).ok_or(HandshakeError::NotMongo)?;
            return self.on_server_first(facts, client, reply);
        }
        // The server took no part: it is older, or the user has no such mechanism.
        let hash = credential.mechanism.unwrap_or_else(|| offered(document));
        let client = if hash == client.hash() { client } else { Client::new(hash, &credential.user, &self.entropy) };
        let first = client.first();
        self.state = State::ServerFirst { facts, client };
        Ok(self.command(&credential.source, |command| start(command, hash, &first)))
    }

    fn on_server_first(
        &mut self,
        facts: ServerFacts,
        mut client: Client,
        reply: SaslReply<'_>,
    ) -> Result<Step, HandshakeError> {
        let request = client.on_server_first(reply.payload).map_err(HandshakeError::Authentication)?;
        self.state = State::Key { facts, client, conversation: reply.conversation };
        Ok(Step::Stretch(request))
    }

    fn source(&self) -> String {
        self.credential.as_ref().map_or_else(|| "admin".to_owned(), |credential| credential.source.clone())
    }

    fn command(&mut self, database: &str, write: impl FnOnce(&mut Document)) -> Step {
        Step::Send(self.message(database, write))
    }

    fn message(&mut self, database: &str, write: impl FnOnce(&mut Document)) -> Vec<u8> {
        let mut command = Document::new();
        write(&mut command);
        command.string("$db", database);
        self.request_id = self.request_id.wrapping_add(1);
        op_msg(self.request_id, 0, 0, &command.finish())
    }
}

/// The reply to a step of the conversation. A refusal is one of the credential, whatever its code.
fn sasl<'a>(reply: &Reply<'_>, document: &'a [u8]) -> Result<SaslReply<'a>, HandshakeError> {
    if !reply.ok {
        return Err(HandshakeError::Authentication(ScramError::Refused));
    }
    SaslReply::read(document).ok_or(HandshakeError::NotMongo)
}

/// The mechanism to use after `saslSupportedMechs`, by MongoDB's specification: SHA-256 if listed, else SHA-1.
fn offered(hello: &[u8]) -> Hash {
    let Some(Value::Array(names)) = find(hello, "saslSupportedMechs") else { return Hash::Sha1 };
    let mut names = crate::bson::read::elements(names).map_while(Result::ok);
    let sha256 = names.any(|(_, name)| name.str() == Some(Hash::Sha256.mechanism()));
    if sha256 { Hash::Sha256 } else { Hash::Sha1 }
}

#[cfg(test)]
#[path = "handshake_tests.rs"]
mod tests;
