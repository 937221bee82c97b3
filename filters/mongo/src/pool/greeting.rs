//! New connections: the handshake that makes one fit to be lent, and what it says of its server.

use fyke_sdk::crypto::{self, pbkdf2};
use fyke_sdk::lease::Reason;
use fyke_sdk::{Error, LeaseRefused, Opened, Result, random};

use super::directory::now;
use super::failure::LeaseFailure;
use super::fleet::ServerFacts;
use super::handshake::{Handshake, HandshakeError, Step};
use super::scram::{self, Hash};
use super::service::Service;
use crate::bson::write::Document;
use crate::wire::write::op_msg;
use crate::wire::{self, HEADER, Header};

/// What handshakes tell the server.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The longest reply of a handshake, in bytes.
const LONGEST: usize = 64 << 10;
/// What the text of a handshake begins with whose credential was refused.
const REFUSED: &str = "authentication failed";

impl Service {
    /// The question what a server is, on a connection that has served before: who asks was said already, and must not be said twice. Every server knows this name.
    pub fn question() -> Vec<u8> {
        let mut command = Document::new();
        command.int32("isMaster", 1).string("$db", "admin");
        op_msg(1, 0, 0, &command.finish())
    }

    /// Makes a new connection fit to be lent.
    ///
    /// # Errors
    /// Why it is not.
    pub async fn greet(&self, upstream: &mut Opened) -> Result<()> {
        let outcome = self.shake_hands(upstream).await;
        let way = self.ways.iter().find(|way| way.cluster.name() == upstream.cluster());
        let directory = &way.unwrap_or(self.ways.at(0)).directory;
        match outcome {
            Ok(facts) => {
                self.stats.handshake("ok");
                directory.borrow_mut().observe(upstream.endpoint(), facts, now());
                Ok(())
            }
            Err(Flaw::Mongo(error)) => {
                if error == HandshakeError::NotLendable {
                    directory.borrow_mut().observe_unfit(upstream.endpoint(), now());
                }
                let (outcome, text) = words(error);
                self.stats.handshake(outcome);
                Err(Error::new(text))
            }
            Err(Flaw::Other(error)) => {
                self.stats.handshake("broken");
                Err(error)
            }
        }
    }

    async fn shake_hands(&self, upstream: &mut Opened) -> Result<ServerFacts, Flaw> {
        let mut entropy = [0; 24];
        random::fill(&mut entropy);
        // Whoever asked for it says as whom; where there is one account, another generation may have asked, which had another password.
        let is_only = self.accounts.iter().count() == 1;
        let account = self.accounts.iter().find(|account| is_only || account.identity == upstream.identity());
        let Some(account) = account else {
            return Err(Error::new("nobody of this configuration asked for the connection").into());
        };
        let mut handshake = Handshake::new(account.credential.clone(), VERSION, &entropy);
        let mut message = handshake.start();
        loop {
            upstream.write(&message)?;
            let (header, reply) = read_reply(upstream).await?;
            let document = wire::document(&reply).ok_or(HandshakeError::NotMongo)?;
            let mut step = handshake.on_reply(header.response_to, document)?;
            if let Step::Stretch(request) = step {
                let user = account.credential.as_ref().map_or("", |credential| &credential.user);
                let password = scram::prepared_password(request.hash, user, &account.password)
                    .map_err(HandshakeError::Authentication)?;
                let hash = match request.hash {
                    Hash::Sha1 => crypto::Hash::Sha1,
                    Hash::Sha256 => crypto::Hash::Sha256,
                };
                let key = pbkdf2(hash, password.as_bytes(), &request.salt, request.rounds).await?;
                step = handshake.on_salted_password(&key)?;
            }
            match step {
                Step::Send(next) => message = next,
                Step::Ready(facts) => return Ok(facts),
                Step::Stretch(_) => return Err(HandshakeError::OutOfTurn.into()),
            }
        }
    }
}

/// Why a handshake failed.
enum Flaw {
    Mongo(HandshakeError),
    Other(Error),
}

impl From<HandshakeError> for Flaw {
    fn from(error: HandshakeError) -> Self {
        Self::Mongo(error)
    }
}

impl From<Error> for Flaw {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

async fn read_reply(upstream: &mut Opened) -> Result<(Header, Vec<u8>), Flaw> {
    let mut reply = upstream.read(HEADER).await?;
    let header = reply.first_chunk::<HEADER>().map(Header::read);
    let Some(Ok(header)) = header.filter(|header| header.is_ok_and(|header| header.length <= LONGEST)) else {
        return Err(HandshakeError::NotMongo.into());
    };
    reply.extend(upstream.read(header.length - HEADER).await?);
    Ok((header, reply))
}

/// An outcome for metrics, and for people.
fn words(error: HandshakeError) -> (&'static str, String) {
    match error {
        HandshakeError::NotMongo => ("not_mongo", "the endpoint does not answer as a MongoDB server does".to_owned()),
        HandshakeError::Refused(code) => ("refused", format!("the server refuses to greet (error {code})")),
        HandshakeError::TooOld => ("too_old", "the server is older than MongoDB 3.6".to_owned()),
        HandshakeError::NotLendable => ("not_lendable", "the server is an arbiter, hidden, or starting".to_owned()),
        HandshakeError::Authentication(why) => ("authentication", format!("{REFUSED}: {why:?}")),
        HandshakeError::OutOfTurn => ("out_of_turn", "the server answers what was not asked".to_owned()),
    }
}

/// What a refusal is to an exchange.
pub fn failure(refused: &LeaseRefused) -> LeaseFailure {
    match refused.reason {
        Reason::Busy => LeaseFailure::QueueFull,
        Reason::Timeout => LeaseFailure::QueueTimeout,
        Reason::Handshake if refused.text.contains(REFUSED) => LeaseFailure::Authentication,
        Reason::Connect | Reason::Handshake => LeaseFailure::Connect,
        _ => LeaseFailure::NoEndpoint,
    }
}
