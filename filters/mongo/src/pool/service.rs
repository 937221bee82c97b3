//! The pool of one configuration: what all connections of a worker have in common.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::Duration;

use fyke_sdk::{ConfigError, Env, LeaseRequest};
use sha2::{Digest, Sha256};

use super::config::{Clients, Pool, Writes};
use super::directory::{self, Directory, LABEL};
use super::errors::{Code, ErrorReply};
use super::exchange::{Environment, Lease, Settings, Target};
use super::failure::denied;
use super::fleet::{Limits, Topology};
use super::handshake::Credential;
use super::hello::HelloConfig;
use super::login::{ClientAuth, Identity};
use super::operation::Operation;
use super::stats::Stats;
use super::store::{self, SharedPins};
use super::switch::{Position, Switch};
use super::users::KnownUsers;
use super::ways::{Account, Destination, Several, Way};
use crate::message::request::Request;

/// The part of the connections that is for those who keep theirs for long.
const LONG_LIVED: &str = "long-lived";
/// The most clusters beside the configuration's own.
const OTHERS: usize = 8;

/// The pool.
pub struct Service {
    pub(super) ways: Several<Way>,
    pub(super) accounts: Several<Account>,
    switch: Switch,
    queue_timeout: Option<Duration>,
    /// How long an operation waits for a server that may serve it.
    pub(super) selection_timeout: Duration,
    /// How long a server may say nothing, and how long a client may hold what is lent to it.
    pub patience: (Option<Duration>, Option<Duration>),
    long_lived: u32,
    settings: Settings,
    users: RefCell<KnownUsers>,
    connections: Cell<i32>,
    pub stats: Stats,
}

/// Zero is none.
fn limit(time: Duration) -> Option<Duration> {
    (!time.is_zero()).then_some(time)
}

impl Service {
    /// The pool of a configuration.
    ///
    /// # Errors
    /// What is wrong, and where; what the host refuses.
    pub fn new(config: &Pool, prefix: &str, env: &mut Env) -> Result<Self, ConfigError> {
        let own = Account::new(config.credential()?, &config.password);
        let (accounts, users) = accounts(config, own)?;
        if config.others.len() > OTHERS {
            return Err(ConfigError::at("others", format!("there are {}, of at most {OTHERS}", config.others.len())));
        }
        let first = Way::new(&config.cluster, &accounts, env).map_err(|error| error.under("cluster"))?;
        let mut others = Vec::with_capacity(config.others.len());
        for (at, name) in config.others.iter().enumerate() {
            if *name == config.cluster || config.others.iter().take(at).any(|known| known == name) {
                return Err(ConfigError::at(format!("others[{at}]"), format!("\"{name}\" is there already")));
            }
            others.push(Way::new(name, &accounts, env).map_err(|error| error.under(format!("others[{at}]")))?);
        }
        let position = Position { cluster: config.cluster.clone(), denies_writes: config.writes == Writes::Deny };
        // It must not change while the service runs, wherever that leads.
        let name = Sha256::digest(prefix.as_bytes());
        let service_id = name.first_chunk::<12>().copied().unwrap_or_default();
        let hello = HelloConfig { persona: config.persona(), service_id, mechanisms: users.offered().to_vec() };
        let auth = match config.clients {
            Clients::Trusted => ClientAuth::Trusted,
            Clients::Scram => ClientAuth::Scram,
        };
        Ok(Self {
            ways: Several::new(first, others),
            accounts,
            switch: Switch::new(prefix, position, env)?,
            users: RefCell::new(users),
            settings: Settings { hello, limits: Limits::default(), auth },
            queue_timeout: config.queue_timeout,
            selection_timeout: config.selection_timeout,
            patience: (limit(config.reply_timeout), limit(config.client_timeout)),
            long_lived: config.long_lived.into(),
            stats: Stats::define(prefix, env)?,
            connections: Cell::new(0),
        })
    }

    /// A number for a client's connection.
    pub fn number(&self) -> i32 {
        let number = self.connections.get().wrapping_add(1);
        self.connections.set(number);
        number
    }

    /// Whether clients prove here who they are.
    pub fn checks_logins(&self) -> bool {
        self.settings.auth == ClientAuth::Scram
    }

    /// The error for an operation that may not go on, whatever its server would say.
    pub fn refuses(&self, operation: &Operation, request: &Request, who: Option<&Identity>) -> Option<ErrorReply> {
        let command = request.command();
        if self.checks_logins() {
            // Who has not logged in is told so elsewhere.
            let users = self.users.borrow();
            let database = users.refused_database(who?, operation, request);
            if let Some(database) = database {
                let database = String::from_utf8_lossy(database);
                let text = format!("not authorized on {database} to execute command {}", command.name);
                return Some(ErrorReply::new(Code::UNAUTHORIZED, text));
            }
        }
        let is_denied = operation.may_write(command.name) && self.denies_writes();
        is_denied.then(|| denied(operation))
    }

    /// Where an operation of a client goes. `None`: where this configuration cannot lead.
    pub fn destination(&self, operation: &Operation, who: Option<&Identity>) -> Option<Destination> {
        let account = who.map_or(0, |who| self.users.borrow().account(who));
        let position = self.switch.position();
        let way = self.ways.iter().position(|way| way.cluster.name() == position.cluster);
        let count = self.ways.iter().count();
        if operation.goes_on() && (count > 1 || way.is_none()) {
            let now = store::now();
            // Where new operations go comes first.
            let all = way.into_iter().chain((0..count).filter(|at| Some(*at) != way));
            let found = all.into_iter().find(|at| self.ways.at(*at).has(account, operation, now));
            if let Some(way) = found {
                return Some(Destination { way, account });
            }
        }
        Some(Destination { way: way?, account })
    }

    /// Whether new operations go elsewhere.
    pub fn is_left(&self, to: Destination) -> bool {
        self.ways.at(to.way).cluster.name() != self.switch.position().cluster
    }

    /// Whether nothing may be written.
    pub fn denies_writes(&self) -> bool {
        self.switch.position().denies_writes
    }

    /// What is known of the servers there.
    pub fn directory(&self, to: Destination) -> &RefCell<Directory> {
        &self.ways.at(to.way).directory
    }

    /// Whether any of the servers there was heard.
    pub fn has_heard(&self, to: Destination) -> bool {
        self.with(to, |environment| environment.fleet.topology() != Topology::Unknown)
    }

    /// Runs a step of an exchange.
    pub fn with<T>(&self, to: Destination, step: impl FnOnce(&mut Environment<'_, SharedPins, KnownUsers>) -> T) -> T {
        let way = self.ways.at(to.way);
        let mut directory = way.directory.borrow_mut();
        directory.refresh(directory::now());
        let mut pins = way.pins(to.account).borrow_mut();
        let mut users = self.users.borrow_mut();
        let before = pins.counts();
        let outcome = step(&mut Environment {
            settings: &self.settings,
            pins: &mut pins,
            fleet: directory.fleet(),
            users: &mut *users,
            now: store::now(),
        });
        self.stats.pins(before, pins.counts());
        outcome
    }

    /// A connection for an exchange.
    pub fn lease(&self, to: Destination, wanted: &Lease) -> LeaseRequest {
        let request = self.any(to);
        let request = match &wanted.target {
            Target::Any => request,
            Target::Label(role) => request.label(LABEL, role.label()),
            Target::Server(server) => request.endpoint(server.as_str()),
        };
        if wanted.long_lived { request.share(LONG_LIVED, self.long_lived) } else { request }
    }

    /// A connection to one server, to ask what it is.
    pub fn probe(&self, to: Destination, server: &str) -> LeaseRequest {
        self.any(to).endpoint(server)
    }

    fn any(&self, to: Destination) -> LeaseRequest {
        let request = self.ways.at(to.way).cluster.lease().identity(&self.accounts.at(to.account).identity);
        match self.queue_timeout {
            Some(timeout) => request.timeout(timeout),
            None => request,
        }
    }
}

/// As whom operations may go on, the pool's own account first, and who may log in.
fn accounts(config: &Pool, own: Account) -> Result<(Several<Account>, KnownUsers), ConfigError> {
    if config.clients == Clients::Trusted {
        return match config.users.is_empty() {
            true => Ok((Several::new(own, Vec::new()), KnownUsers::default())),
            false => Err(ConfigError::at("users", "are of no use without `clients: scram`")),
        };
    }
    if config.users.is_empty() {
        return Err(ConfigError::at("users", "is missing: nobody could log in"));
    }
    let mut others: Vec<Account> = Vec::new();
    let mut places = BTreeMap::new();
    for (name, user) in &config.users {
        let Some(upstream) = &user.upstream else { continue };
        let credential = upstream.credential().map_err(|error| error.under(format!("users.{name}.upstream")))?;
        let mechanism = credential.mechanism.or(own.credential.as_ref().and_then(|own| own.mechanism));
        let account = Account::new(Some(Credential { mechanism, ..credential }), &upstream.password);
        let known = others.iter().position(|known| known.identity == account.identity);
        let place = known.unwrap_or(others.len()) + 1;
        if known.is_none() {
            others.push(account);
        }
        places.insert(name.clone(), place);
    }
    let users = KnownUsers::new(&config.users, |name| places.get(name).copied().unwrap_or(0));
    Ok((Several::new(own, others), users.map_err(|error| error.under("users"))?))
}
