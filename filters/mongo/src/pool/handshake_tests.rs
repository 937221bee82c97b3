//! The handshake against a scripted server whose SCRAM is our own server side.

use proptest::prelude::*;

use super::*;
use crate::pool::sasl::{SaslCommand, answer};
use crate::pool::scram::{Server, Verifier};

const KEY: [u8; 32] = [7; 32];

/// A server that does one thing differently, at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Modern,
    NoSpeculation,
    NoHello,
    EmptyExchange,
    OnlySha1,
}

struct Script {
    kind: Kind,
    scram: Option<Server>,
    commands: Vec<String>,
}

fn document_of(message: &[u8]) -> (i32, &[u8]) {
    (i32::from_le_bytes(message[4..8].try_into().unwrap()), &message[21..])
}

impl Script {
    fn begin(&mut self, hash: Hash, payload: &[u8]) -> Vec<u8> {
        let mut server = Server::start(payload).unwrap();
        assert_eq!(server.user(), "app");
        let verifier = Verifier::new(hash, vec![1; 16], 15_000, &KEY[..hash.length()]);
        let first = server.challenge(verifier, b"0123456789");
        self.scram = Some(server);
        first
    }

    fn reply(&mut self, command: &[u8]) -> Vec<u8> {
        let (name, _) = crate::bson::read::elements(command).next().unwrap().unwrap();
        self.commands.push(name.to_owned());
        match SaslCommand::read(command) {
            Some(SaslCommand::Start { mechanism, payload, .. }) => {
                assert_eq!(find(command, "$db"), Some(Value::Text(b"users")));
                let first = self.begin(Hash::of_mechanism(mechanism).unwrap(), payload);
                answer(1, false, &first, true)
            }
            Some(SaslCommand::Continue { payload: [] }) => answer(1, true, &[], true),
            Some(SaslCommand::Continue { payload }) => match self.scram.as_mut().unwrap().finish(payload) {
                Ok(last) => answer(1, self.kind != Kind::EmptyExchange, &last, true),
                Err(_) => crate::pool::errors::ErrorReply::new(crate::pool::errors::Code::AUTHENTICATION_FAILED, "no")
                    .document(),
            },
            None => self.hello(command, name),
        }
    }

    fn hello(&mut self, command: &[u8], name: &str) -> Vec<u8> {
        let mut reply = Document::new();
        if self.kind == Kind::NoHello && name == "hello" {
            reply.double("ok", 0.0).int32("code", 59);
            return reply.finish();
        }
        reply.bool("ismaster", true).string("setName", "rs").int32("maxWireVersion", 21);
        if let Some(Value::Document(start)) = find(command, "speculativeAuthenticate") {
            assert_eq!(find(start, "db"), Some(Value::Text(b"users")));
            let only_sha1 = self.kind == Kind::OnlySha1;
            reply.array("saslSupportedMechs", |names| {
                names.string(if only_sha1 { "SCRAM-SHA-1" } else { "SCRAM-SHA-256" });
            });
            if let (Kind::Modern | Kind::EmptyExchange, Some(SaslCommand::Start { payload, .. })) =
                (self.kind, SaslCommand::read(start))
            {
                let first = self.begin(Hash::Sha256, payload);
                reply.raw_document("speculativeAuthenticate", &answer(1, false, &first, false));
            }
        }
        reply.double("ok", 1.0);
        reply.finish()
    }
}

fn run(kind: Kind, credential: Option<Credential>, key: &[u8]) -> (Result<ServerFacts, HandshakeError>, Vec<String>) {
    let mut script = Script { kind, scram: None, commands: Vec::new() };
    let mut handshake = Handshake::new(credential, "0.1.0", &[9; 24]);
    let mut step = Ok(Step::Send(handshake.start()));
    loop {
        step = match step {
            Ok(Step::Send(message)) => {
                let (request_id, document) = document_of(&message);
                let reply = script.reply(document);
                handshake.on_reply(request_id, &reply)
            }
            Ok(Step::Stretch(request)) => {
                assert_eq!((request.rounds, request.salt.as_slice()), (15_000, &[1; 16][..]));
                handshake.on_salted_password(&key[..request.hash.length()])
            }
            Ok(Step::Ready(facts)) => return (Ok(facts), script.commands),
            Err(error) => return (Err(error), script.commands),
        };
    }
}

fn credential() -> Option<Credential> {
    Some(Credential { user: "app".into(), source: "users".into(), mechanism: None })
}

#[test]
fn a_server_without_authentication_is_ready_after_hello() {
    let (facts, commands) = run(Kind::Modern, None, &KEY);
    let facts = facts.unwrap();
    assert_eq!((facts.role, facts.set_name.as_deref()), (Role::Primary, Some("rs")));
    assert_eq!(commands, ["hello"]);
}

#[test]
fn speculation_and_skipped_exchanges_save_round_trips() {
    for (kind, expected) in [
        (Kind::Modern, &["hello", "saslContinue"][..]),
        (Kind::NoSpeculation, &["hello", "saslStart", "saslContinue"]),
        (Kind::NoHello, &["hello", "isMaster", "saslStart", "saslContinue"]),
        (Kind::EmptyExchange, &["hello", "saslContinue", "saslContinue"]),
        (Kind::OnlySha1, &["hello", "saslStart", "saslContinue"]),
    ] {
        let (facts, commands) = run(kind, credential(), &KEY);
        assert!(facts.is_ok(), "{kind:?}: {facts:?}");
        assert_eq!(commands, expected, "{kind:?}");
    }
}

#[test]
fn a_wrong_password_is_an_authentication_error() {
    let (facts, _) = run(Kind::Modern, credential(), &[8; 32]);
    assert_eq!(facts, Err(HandshakeError::Authentication(ScramError::Refused)));
}

#[test]
fn replies_out_of_turn_and_useless_servers_are_refused() {
    let hello = |write: &dyn Fn(&mut Document)| {
        let mut handshake = Handshake::new(None, "0", &[]);
        let (request_id, _) = document_of(&handshake.start()).to_owned();
        let mut reply = Document::new();
        write(&mut reply);
        handshake.on_reply(request_id, &reply.finish())
    };
    assert_eq!(hello(&|d| _ = d.bool("ismaster", true).double("ok", 1.0)), Err(HandshakeError::TooOld));
    let arbiter = |d: &mut Document| {
        d.bool("arbiterOnly", true).string("setName", "r").int32("maxWireVersion", 21).double("ok", 1.0);
    };
    assert_eq!(hello(&arbiter), Err(HandshakeError::NotLendable));
    assert_eq!(hello(&|d| _ = d.double("ok", 0.0).int32("code", 13)), Err(HandshakeError::Refused(13)));
    let mut handshake = Handshake::new(None, "0", &[]);
    handshake.start();
    assert_eq!(handshake.on_reply(999, &Document::new().finish()), Err(HandshakeError::OutOfTurn));
    assert_eq!(handshake.on_salted_password(&KEY), Err(HandshakeError::OutOfTurn));
}

proptest! {
    #[test]
    fn never_panics(replies in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 0..4)) {
        let mut handshake = Handshake::new(credential(), "0", &[9; 24]);
        handshake.start();
        for reply in replies {
            prop_assert!(!matches!(handshake.on_reply(1, &reply), Ok(Step::Ready(_))));
        }
    }
}
