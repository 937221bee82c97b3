//! The pool of one configuration: what all connections of a worker have in common.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use fyke_sdk::crypto::{self, pbkdf2};
use fyke_sdk::lease::Reason;
use fyke_sdk::{Cluster, ConfigError, Env, Error, LeaseRefused, LeaseRequest, Opened, Result, random};
use sha2::{Digest, Sha256};

use super::config::{Pool, Writes};
use super::directory::{self, Directory, LABEL};
use super::exchange::{Environment, Lease, Settings, Target};
use super::failure::LeaseFailure;
use super::fleet::{Limits, ServerFacts};
use super::handshake::{Credential, Handshake, HandshakeError, Step};
use super::hello::HelloConfig;
use super::login::{ClientAuth, NoUsers};
use super::pins::{PinLimits, PinTable};
use super::scram::{self, Hash};
use super::stats::Stats;
use super::store::SharedPins;
use crate::bson::write::Document;
use crate::wire::write::op_msg;
use crate::wire::{self, HEADER, Header};

/// What handshakes tell the server.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The longest reply of a handshake, in bytes.
const LONGEST: usize = 64 << 10;
/// The part of the connections that is for those who keep theirs for long.
const LONG_LIVED: &str = "long-lived";
/// What the text of a handshake begins with whose credential was refused.
const REFUSED: &str = "authentication failed";

/// The pool.
pub struct Service {
    cluster: Cluster,
    identity: Vec<u8>,
    credential: Option<Credential>,
    password: String,
    queue_timeout: Option<Duration>,
    long_lived: u32,
    settings: Settings,
    pins: RefCell<PinTable<SharedPins>>,
    users: RefCell<NoUsers>,
    connections: Cell<i32>,
    pub denies_writes: bool,
    pub directory: RefCell<Directory>,
    pub stats: Stats,
}

impl Service {
    /// The pool of a configuration.
    ///
    /// # Errors
    /// What is wrong, and where; what the host refuses.
    pub fn new(config: &Pool, prefix: &str, env: &mut Env) -> Result<Self, ConfigError> {
        let credential = config.credential()?;
        let cluster = env.cluster(&config.cluster).map_err(|error| error.under("cluster"))?;
        let identity = credential.as_ref().map_or_else(Vec::new, |credential| {
            // Two passwords of one user are not the same to a connection that was made with the old one.
            let secret = Sha256::digest(config.password.as_bytes());
            let secret = secret.first_chunk::<8>().copied().unwrap_or_default();
            [credential.source.as_bytes(), b".", credential.user.as_bytes(), b"\0", &secret].concat()
        });
        let name = Sha256::digest(config.cluster.as_bytes());
        let service_id = name.first_chunk::<12>().copied().unwrap_or_default();
        let hello = HelloConfig { persona: config.persona(), service_id, mechanisms: Vec::new() };
        let scope = [config.cluster.as_bytes(), b"\0", &identity].concat();
        Ok(Self {
            directory: RefCell::new(Directory::new(cluster.clone(), env)?),
            pins: RefCell::new(PinTable::new(SharedPins::default(), &scope, PinLimits::default())),
            users: RefCell::new(NoUsers),
            settings: Settings { hello, limits: Limits::default(), auth: ClientAuth::Trusted },
            password: config.password.clone(),
            queue_timeout: config.queue_timeout,
            long_lived: config.long_lived.into(),
            denies_writes: config.writes == Writes::Deny,
            stats: Stats::define(prefix, env)?,
            connections: Cell::new(0),
            credential,
            identity,
            cluster,
        })
    }

    /// A number for a client's connection.
    pub fn number(&self) -> i32 {
        let number = self.connections.get().wrapping_add(1);
        self.connections.set(number);
        number
    }

    /// Runs a step of an exchange.
    pub fn with<T>(&self, step: impl FnOnce(&mut Environment<'_, SharedPins, NoUsers>) -> T) -> T {
        let now = directory::now();
        let mut directory = self.directory.borrow_mut();
        directory.refresh(now);
        let mut pins = self.pins.borrow_mut();
        let mut users = self.users.borrow_mut();
        let before = pins.counts();
        let outcome = step(&mut Environment {
            settings: &self.settings,
            pins: &mut pins,
            fleet: directory.fleet(),
            users: &mut *users,
            now,
        });
        self.stats.pins(before, pins.counts());
        outcome
    }

    /// A connection for an exchange.
    pub fn lease(&self, wanted: &Lease) -> LeaseRequest {
        let request = self.any();
        let request = match &wanted.target {
            Target::Any => request,
            Target::Label(role) => request.label(LABEL, role.label()),
            Target::Server(server) => request.endpoint(server.as_str()),
        };
        if wanted.long_lived { request.share(LONG_LIVED, self.long_lived) } else { request }
    }

    /// A connection to one server, to ask what it is.
    pub fn probe(&self, server: &str) -> LeaseRequest {
        self.any().endpoint(server)
    }

    fn any(&self) -> LeaseRequest {
        let request = self.cluster.lease().identity(&self.identity);
        match self.queue_timeout {
            Some(timeout) => request.timeout(timeout),
            None => request,
        }
    }

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
        match self.shake_hands(upstream).await {
            Ok(facts) => {
                self.stats.handshake("ok");
                self.directory.borrow_mut().observe(upstream.endpoint(), facts);
                Ok(())
            }
            Err(Flaw::Mongo(error)) => {
                if error == HandshakeError::NotLendable {
                    self.directory.borrow_mut().observe_unfit(upstream.endpoint());
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
        let mut handshake = Handshake::new(self.credential.clone(), VERSION, &entropy);
        let mut message = handshake.start();
        loop {
            upstream.write(&message)?;
            let (header, reply) = read_reply(upstream).await?;
            let document = wire::document(&reply).ok_or(HandshakeError::NotMongo)?;
            let mut step = handshake.on_reply(header.response_to, document)?;
            if let Step::Stretch(request) = step {
                let user = self.credential.as_ref().map_or("", |credential| &credential.user);
                let password = scram::prepared_password(request.hash, user, &self.password)
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
