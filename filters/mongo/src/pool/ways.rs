//! Where operations may go: clusters, with what is known of their servers, and as whom.
//!
//! The first of each is the configuration's own. New operations go where the switch stands ([`super::switch`]); who goes on with a cursor or a
//! transaction goes on where that is.

use std::cell::RefCell;

use fyke_sdk::{Cluster, ConfigError, Env};
use sha2::{Digest, Sha256};

use super::directory::Directory;
use super::handshake::Credential;
use super::operation::Operation;
use super::pins::{PinLimits, PinTable};
use super::store::SharedPins;

/// A list with something in it.
#[derive(Debug)]
pub struct Several<T> {
    first: T,
    others: Vec<T>,
}

/// Where an operation goes, and as whom: places in the lists.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Destination {
    pub way: usize,
    pub account: usize,
}

/// A cluster.
pub struct Way {
    pub cluster: Cluster,
    pub directory: RefCell<Directory>,
    /// What is pinned to its servers, by account: what one user has opened is never looked for as another.
    pins: Several<RefCell<PinTable<SharedPins>>>,
}

/// As whom the proxy logs in.
#[derive(Clone)]
pub struct Account {
    pub credential: Option<Credential>,
    pub password: String,
    /// What connections that are logged in so are told apart by.
    pub identity: Vec<u8>,
}

impl<T> Several<T> {
    /// With this one first.
    pub const fn new(first: T, others: Vec<T>) -> Self {
        Self { first, others }
    }

    /// The one in this place; where there is none, the first.
    pub fn at(&self, place: usize) -> &T {
        place.checked_sub(1).and_then(|at| self.others.get(at)).unwrap_or(&self.first)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        std::iter::once(&self.first).chain(&self.others)
    }
}

impl Way {
    /// Of a cluster that the filter was granted.
    ///
    /// # Errors
    /// The host refuses it.
    pub fn new(name: &str, accounts: &Several<Account>, env: &mut Env) -> Result<Self, ConfigError> {
        let cluster = env.cluster(name)?;
        let mut pins = accounts.iter().map(|account| {
            let scope = [name.as_bytes(), b"\0", &account.identity].concat();
            RefCell::new(PinTable::new(SharedPins::default(), &scope, PinLimits::default()))
        });
        let first = pins.next().ok_or_else(|| ConfigError::new("nobody can log in"))?;
        let pins = Several::new(first, pins.collect());
        Ok(Self { directory: RefCell::new(Directory::new(cluster.clone(), env)?), cluster, pins })
    }

    /// What this account has pinned.
    pub fn pins(&self, account: usize) -> &RefCell<PinTable<SharedPins>> {
        self.pins.at(account)
    }

    /// Whether an operation goes on with what one of its servers has.
    pub fn has(&self, account: usize, operation: &Operation, now: u64) -> bool {
        self.pins(account).borrow_mut().has(operation, now)
    }
}

impl Account {
    /// Of a credential; `None`: nobody.
    pub fn new(credential: Option<Credential>, password: &str) -> Self {
        let identity = credential.as_ref().map_or_else(Vec::new, |credential| {
            // Two passwords of one user are not the same to a connection that was made with the old one.
            let secret = Sha256::digest(password.as_bytes());
            let secret = secret.first_chunk::<8>().copied().unwrap_or_default();
            [credential.source.as_bytes(), b".", credential.user.as_bytes(), b"\0", &secret].concat()
        });
        Self { credential, password: password.to_owned(), identity }
    }
}
