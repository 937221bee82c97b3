//! Authentication of clients, which ends at the proxy: upstream connections are authenticated already, with the
//! proxy's own credential, and are shared.
//!
//! - [`ClientAuth::Trusted`]: whoever reaches the listener is a client (mTLS, loopback). A password cannot be checked,
//!   and SCRAM proves the server to the client too, so it cannot be waved through: it is refused with an error that
//!   says so. `authenticate` (X.509) is accepted: the certificate was checked by TLS. `logout` is accepted.
//! - [`ClientAuth::Scram`]: SCRAM against stored verifiers. Until it succeeded nothing else than `hello` is served.

use crate::bson::Value;
use crate::bson::read::find;
use crate::bson::write::Document;

use super::errors::{Code, ErrorReply};
use super::sasl::{SaslCommand, answer};
use super::scram::{Hash, Server, Verifier};

/// How clients are authenticated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientAuth {
    /// Not here.
    #[default]
    Trusted,
    /// By SCRAM against stored verifiers.
    Scram,
}

/// Stored verifiers, and what conversations need beside them.
pub trait Users {
    /// The verifier of a user; for one that does not exist [`Verifier::decoy`], so that nobody learns who exists. None
    /// if the mechanism is not offered.
    fn verifier(&self, source: &str, user: &str, hash: Hash) -> Option<Verifier>;
    /// 24 random bytes, never the same.
    fn entropy(&mut self) -> [u8; 24];
}

/// Nobody can log in: for [`ClientAuth::Trusted`].
#[cfg(test)]
#[derive(Debug, Clone, Copy, Default)]
pub struct NoUsers;

#[cfg(test)]
impl Users for NoUsers {
    fn verifier(&self, _source: &str, _user: &str, _hash: Hash) -> Option<Verifier> {
        None
    }

    fn entropy(&mut self) -> [u8; 24] {
        [0; 24]
    }
}

/// Who a client proved to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Database of the user.
    pub source: String,
    /// Name of the user.
    pub user: String,
}

/// The authentication of one client connection.
#[derive(Debug, Default)]
pub struct Login {
    conversation: Option<Conversation>,
    identity: Option<Identity>,
}

#[derive(Debug)]
struct Conversation {
    server: Server,
    source: String,
    skip_empty_exchange: bool,
    /// The proof was right; the client still wants an empty exchange.
    proven: bool,
}

impl Login {
    /// Who the client is, once proven.
    pub fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    /// Answers `saslStart`, `saslContinue`, `authenticate` or `logout`: `name`, `database` and the whole document.
    ///
    /// # Errors
    /// The error reply.
    pub fn command(
        &mut self,
        auth: ClientAuth,
        name: &str,
        database: &str,
        document: &[u8],
        users: &mut impl Users,
    ) -> Result<Vec<u8>, ErrorReply> {
        match (name, auth) {
            ("logout", _) => {
                *self = Self::default();
                Ok(ok(|_| {}))
            }
            ("authenticate", ClientAuth::Trusted) => {
                let text = |name| find(document, name).and_then(Value::str);
                if text("mechanism") != Some("MONGODB-X509") {
                    return Err(refused());
                }
                Ok(ok(|reply| {
                    reply.string("dbname", "$external").string("user", text("user").unwrap_or_default());
                }))
            }
            ("saslStart" | "saslContinue", ClientAuth::Scram) => self.sasl(database, document, true, users),
            _ => Err(refused()),
        }
    }

    /// Answers `speculativeAuthenticate`. Failures are silent, as a server's: the client starts over with `saslStart`.
    pub fn speculative(&mut self, auth: ClientAuth, document: &[u8], users: &mut impl Users) -> Option<Vec<u8>> {
        if auth != ClientAuth::Scram {
            return None;
        }
        let source = find(document, "db").and_then(Value::str)?;
        self.sasl(source, document, false, users).ok()
    }

    fn sasl(
        &mut self,
        source: &str,
        document: &[u8],
        with_ok: bool,
        users: &mut impl Users,
    ) -> Result<Vec<u8>, ErrorReply> {
        // Whatever fails ends the conversation.
        let conversation = self.conversation.take();
        match SaslCommand::read(document).ok_or_else(failed)? {
            SaslCommand::Start { mechanism, skip_empty_exchange, payload } => {
                self.identity = None;
                let hash = Hash::of_mechanism(mechanism).ok_or_else(unsupported)?;
                let mut server = Server::start(payload).map_err(|_| failed())?;
                let verifier = users.verifier(source, server.user(), hash).filter(|verifier| verifier.hash == hash);
                let first = server.challenge(verifier.ok_or_else(unsupported)?, &users.entropy());
                let source = source.to_owned();
                self.conversation = Some(Conversation { server, source, skip_empty_exchange, proven: false });
                Ok(answer(1, false, &first, with_ok))
            }
            SaslCommand::Continue { payload } => {
                let mut conversation = conversation.ok_or_else(failed)?;
                if conversation.proven {
                    self.finish(conversation);
                    return Ok(answer(1, true, &[], with_ok));
                }
                let last = conversation.server.finish(payload).map_err(|_| failed())?;
                let done = conversation.skip_empty_exchange;
                if done {
                    self.finish(conversation);
                } else {
                    self.conversation = Some(Conversation { proven: true, ..conversation });
                }
                Ok(answer(1, done, &last, with_ok))
            }
        }
    }

    fn finish(&mut self, conversation: Conversation) {
        let user = conversation.server.user().to_owned();
        self.identity = Some(Identity { source: conversation.source, user });
    }
}

fn ok(write: impl FnOnce(&mut Document)) -> Vec<u8> {
    let mut reply = Document::new();
    write(&mut reply);
    reply.double("ok", 1.0);
    reply.finish()
}

fn refused() -> ErrorReply {
    ErrorReply::new(
        Code::AUTHENTICATION_FAILED,
        "The proxy authenticates to MongoDB by itself and does not take this credential: remove it from the client",
    )
}

/// One text for whatever failed, so that it tells nothing.
fn failed() -> ErrorReply {
    ErrorReply::new(Code::AUTHENTICATION_FAILED, "Authentication failed.")
}

fn unsupported() -> ErrorReply {
    ErrorReply::new(Code::AUTHENTICATION_FAILED, "The proxy does not offer this authentication mechanism")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::sasl::{SaslReply, resume, start};
    use crate::pool::scram::Client;

    const KEY: [u8; 32] = [3; 32];

    struct Table;

    impl Users for Table {
        fn verifier(&self, source: &str, user: &str, hash: Hash) -> Option<Verifier> {
            (hash == Hash::Sha256).then(|| match (source, user) {
                ("admin", "app") => Verifier::new(hash, vec![1; 28], 15_000, &KEY),
                _ => Verifier::decoy(hash, 15_000, b"secret", user),
            })
        }

        fn entropy(&mut self) -> [u8; 24] {
            [8; 24]
        }
    }

    fn document(write: impl FnOnce(&mut Document)) -> Vec<u8> {
        let mut document = Document::new();
        write(&mut document);
        document.finish()
    }

    fn log_in(user: &str, key: &[u8], skip: bool) -> (Login, Result<(), i32>) {
        let mut login = Login::default();
        let mut client = Client::new(Hash::Sha256, user, b"nonce");
        let mut run = || {
            let first = document(|d| {
                if skip {
                    start(d, Hash::Sha256, &client.first());
                } else {
                    d.int32("saslStart", 1).string("mechanism", "SCRAM-SHA-256").binary("payload", &client.first());
                }
            });
            let reply = login.command(ClientAuth::Scram, "saslStart", "admin", &first, &mut Table)?;
            client.on_server_first(SaslReply::read(&reply).unwrap().payload).unwrap();
            let proof = document(|d| resume(d, 1, &client.on_salted_password(key).unwrap()));
            let reply = login.command(ClientAuth::Scram, "saslContinue", "admin", &proof, &mut Table)?;
            let reply = SaslReply::read(&reply).unwrap();
            client.on_server_final(reply.payload).unwrap();
            assert_eq!(reply.done, skip);
            if !skip {
                assert_eq!(login.identity(), None);
                let empty = document(|d| resume(d, 1, &[]));
                let reply = login.command(ClientAuth::Scram, "saslContinue", "admin", &empty, &mut Table)?;
                assert!(SaslReply::read(&reply).unwrap().done);
            }
            Ok(())
        };
        let result = run().map_err(|error: ErrorReply| error.code.0);
        (login, result)
    }

    #[test]
    fn a_password_proves_an_identity() {
        for skip in [true, false] {
            let (mut login, result) = log_in("app", &KEY, skip);
            assert_eq!(result, Ok(()));
            assert_eq!(login.identity(), Some(&Identity { source: "admin".into(), user: "app".into() }));
            login.command(ClientAuth::Scram, "logout", "admin", &document(|_| {}), &mut Table).unwrap();
            assert_eq!(login.identity(), None);
        }
    }

    #[test]
    fn wrong_passwords_and_unknown_users_fail_alike() {
        for (user, key) in [("app", [4; 32]), ("nobody", KEY)] {
            let (login, result) = log_in(user, &key, true);
            assert_eq!((result, login.identity()), (Err(18), None));
        }
        let resumed = document(|d| resume(d, 1, &[]));
        let mut login = Login::default();
        assert!(login.command(ClientAuth::Scram, "saslContinue", "admin", &resumed, &mut Table).is_err());
    }

    #[test]
    fn trusted_clients_may_present_certificates_but_not_passwords() {
        let mut login = Login::default();
        let x509 =
            document(|d| _ = d.int32("authenticate", 1).string("mechanism", "MONGODB-X509").string("user", "CN=a"));
        let reply = login.command(ClientAuth::Trusted, "authenticate", "$external", &x509, &mut NoUsers).unwrap();
        assert_eq!(find(&reply, "user"), Some(Value::Text(b"CN=a")));
        let scram = document(|d| start(d, Hash::Sha256, b"n,,n=u,r=x"));
        let error = login.command(ClientAuth::Trusted, "saslStart", "admin", &scram, &mut NoUsers).unwrap_err();
        assert_eq!(error.code, Code::AUTHENTICATION_FAILED);
        assert_eq!(login.speculative(ClientAuth::Trusted, &scram, &mut NoUsers), None);
    }

    proptest::proptest! {
        #[test]
        fn no_document_panics_or_logs_in(
            noise in proptest::collection::vec(0_u8.., 0..60), payload in proptest::collection::vec(0_u8.., 0..60),
        ) {
            let mut login = Login::default();
            let begun = document(|d| start(d, Hash::Sha256, &payload));
            let resumed = document(|d| resume(d, 1, &payload));
            for bytes in [&noise, &begun, &resumed] {
                for name in ["saslStart", "saslContinue"] {
                    let _ = login.command(ClientAuth::Scram, name, "admin", bytes, &mut Table);
                }
            }
            proptest::prop_assert!(login.identity().is_none());
        }
    }
}
