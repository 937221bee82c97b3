//! Clients that log in at the proxy: what is stored of their passwords, where they may go, and as whom.

use std::collections::BTreeMap;

use data_encoding::BASE64;
use fyke_sdk::{ConfigError, random};
use sha2::{Digest, Sha256};

use super::config::{Stored, User};
use super::login::{Identity, Users};
use super::operation::{Kind, Operation};
use super::scram::{Hash, Verifier};
use crate::message::parts;
use crate::message::request::Request;
use crate::rules::Texts;

/// Mechanisms, the better one first.
const HASHES: [Hash; 2] = [Hash::Sha256, Hash::Sha1];
/// Rounds of those who do not exist, where nobody exists.
const ROUNDS: u32 = 15_000;

/// Commands that name `admin`, tell nothing of anybody's data, and are allowed to whoever has logged in by servers too.
const FOR_ALL: [&str; 2] = ["buildInfo", "refreshSessions"];

/// Those who may log in.
#[derive(Debug, Default)]
pub struct KnownUsers {
    /// By database and name.
    known: BTreeMap<(String, String), Known>,
    /// Mechanisms that all of them have.
    offered: Vec<Hash>,
    /// What the salts of those who do not exist are made of: the same on all workers.
    secret: Vec<u8>,
    rounds: [u32; 2],
}

#[derive(Debug)]
struct Known {
    verifiers: [Option<Verifier>; 2],
    databases: Texts,
    account: usize,
}

impl KnownUsers {
    /// Of the configuration, with the account as which each goes on.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn new(users: &BTreeMap<String, User>, account: impl Fn(&str) -> usize) -> Result<Self, ConfigError> {
        let mut all = Self { rounds: [ROUNDS; 2], ..Self::default() };
        let mut secret = Sha256::new();
        for (name, user) in users {
            let known = Known::new(user, account(name)).map_err(|error| error.under(name))?;
            for (rounds, verifier) in all.rounds.iter_mut().zip(&known.verifiers) {
                if let Some(verifier) = verifier {
                    secret.update(&verifier.server_key);
                    *rounds = verifier.rounds;
                }
            }
            all.known.insert((user.source().to_owned(), name.clone()), known);
        }
        all.secret = secret.finalize().to_vec();
        // What differs from user to user would tell which exist.
        let everybody_has =
            |at: usize| all.known.values().all(|known| known.verifiers.get(at).is_some_and(Option::is_some));
        all.offered =
            HASHES.into_iter().enumerate().filter(|(at, _)| everybody_has(*at)).map(|(_, hash)| hash).collect();
        if all.offered.is_empty() {
            return Err(ConfigError::new("there is no mechanism that all of them have"));
        }
        Ok(all)
    }

    /// Mechanisms that are offered to everybody.
    pub fn offered(&self) -> &[Hash] {
        &self.offered
    }

    /// As which account somebody goes on.
    pub fn account(&self, identity: &Identity) -> usize {
        self.find(identity).map_or(0, |known| known.account)
    }

    /// A database that an operation names and somebody may not use. What ends a session or sets up a connection names `admin`, whoever says it.
    pub fn refused_database<'r>(
        &self,
        identity: &Identity,
        operation: &Operation,
        request: &'r Request,
    ) -> Option<&'r [u8]> {
        let command = request.command();
        if command.handshake || FOR_ALL.contains(&command.name) || matches!(operation.kind, Kind::Commit | Kind::Abort)
        {
            return None;
        }
        let databases = self.find(identity).map(|known| &known.databases);
        let may_use = |database: &[u8]| databases.is_some_and(|databases| databases.fits(database));
        let is_whole = request.names_all_collections();
        if request.namespaces.is_empty() || !is_whole {
            let database = request.database.bytes();
            // Where not all of them were seen, one may be another's.
            let may = may_use(database) && (is_whole || databases.is_some_and(Texts::is_all));
            return (!may).then_some(database);
        }
        // Of a `bulkWrite` all namespaces count, in place of the database `admin`.
        request.namespaces.iter().map(|namespace| parts(namespace.bytes()).0).find(|database| !may_use(database))
    }

    fn find(&self, identity: &Identity) -> Option<&Known> {
        self.known.get(&(identity.source.clone(), identity.user.clone()))
    }
}

impl Users for KnownUsers {
    fn verifier(&self, source: &str, user: &str, hash: Hash) -> Option<Verifier> {
        let at = self.offered.contains(&hash).then(|| HASHES.iter().position(|known| *known == hash)).flatten()?;
        let known = self.known.get(&(source.to_owned(), user.to_owned()));
        let verifier = known.and_then(|known| known.verifiers.get(at)?.clone());
        Some(verifier.unwrap_or_else(|| {
            let rounds = self.rounds.get(at).copied().unwrap_or(ROUNDS);
            Verifier::decoy(hash, rounds, &self.secret, &format!("{user}@{source}"))
        }))
    }

    fn entropy(&mut self) -> [u8; 24] {
        let mut entropy = [0; 24];
        random::fill(&mut entropy);
        entropy
    }
}

impl Known {
    fn new(user: &User, account: usize) -> Result<Self, ConfigError> {
        let read = |key: &str, hash: Hash, stored: Option<&Stored>| {
            stored.map(|stored| verifier(hash, stored).map_err(|error| error.under(key))).transpose()
        };
        let sha256 = read("scram_sha_256", Hash::Sha256, user.scram_sha_256.as_ref())?;
        let sha1 = read("scram_sha_1", Hash::Sha1, user.scram_sha_1.as_ref())?;
        if sha256.is_none() && sha1.is_none() {
            return Err(ConfigError::new("needs `scram_sha_256` or `scram_sha_1`"));
        }
        let databases = Texts::new("databases", &user.databases)?;
        Ok(Self { verifiers: [sha256, sha1], databases, account })
    }
}

fn verifier(hash: Hash, stored: &Stored) -> Result<Verifier, ConfigError> {
    let bytes = |key: &str, text: &str, length: Option<usize>| {
        let bytes = BASE64.decode(text.as_bytes()).map_err(|_| ConfigError::at(key, "must be base64"))?;
        match length {
            Some(length) if bytes.len() != length => {
                Err(ConfigError::at(key, format!("must be {length} bytes, and has {}", bytes.len())))
            }
            None if bytes.is_empty() => Err(ConfigError::at(key, "must not be empty")),
            _ => Ok(bytes),
        }
    };
    let verifier = Verifier {
        hash,
        salt: bytes("salt", &stored.salt, None)?,
        rounds: stored.iterations,
        stored_key: bytes("stored_key", &stored.stored_key, Some(hash.length()))?,
        server_key: bytes("server_key", &stored.server_key, Some(hash.length()))?,
    };
    if verifier.is_usable() {
        return Ok(verifier);
    }
    // That is all that is left to be wrong.
    Err(ConfigError::at("iterations", "must be from 4096 to 1000000, as drivers ask for"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(hash: Hash) -> Stored {
        let verifier = Verifier::new(hash, vec![7; 16], 5000, &[1; 32]);
        Stored {
            stored_key: BASE64.encode(&verifier.stored_key),
            server_key: BASE64.encode(&verifier.server_key),
            salt: BASE64.encode(&verifier.salt),
            iterations: 5000,
        }
    }

    fn user(sha256: bool, sha1: bool, databases: &[&str]) -> User {
        User {
            scram_sha_256: sha256.then(|| stored(Hash::Sha256)),
            scram_sha_1: sha1.then(|| stored(Hash::Sha1)),
            databases: databases.iter().map(|name| (*name).to_owned()).collect(),
            ..User::default()
        }
    }

    fn users(all: Vec<(&str, User)>) -> Result<KnownUsers, ConfigError> {
        KnownUsers::new(&all.into_iter().map(|(name, user)| (name.to_owned(), user)).collect(), |_| 3)
    }

    #[test]
    fn what_everybody_has_is_offered_and_nobody_learns_who_exists() {
        let all = users(vec![("a", user(true, true, &[])), ("b", user(true, false, &["shop*"]))]).unwrap();
        assert_eq!(all.offered(), [Hash::Sha256]);
        assert!(all.verifier("admin", "a", Hash::Sha1).is_none());
        let known = all.verifier("admin", "a", Hash::Sha256).unwrap();
        let unknown = all.verifier("admin", "nobody", Hash::Sha256).unwrap();
        assert_eq!((unknown.rounds, unknown.is_usable()), (known.rounds, true));
        // Whoever asks again sees the same salt, on every worker, and another one for another name or database.
        let again = users(vec![("a", user(true, true, &[])), ("b", user(true, false, &["shop*"]))]).unwrap();
        assert_eq!(again.verifier("admin", "nobody", Hash::Sha256).unwrap(), unknown);
        assert_ne!(all.verifier("shop", "a", Hash::Sha256).unwrap().salt, known.salt);
        assert_ne!(all.verifier("shop", "nobody", Hash::Sha256).unwrap().salt, unknown.salt);
    }

    #[test]
    fn everybody_has_an_account() {
        let all = users(vec![("a", user(true, false, &[]))]).unwrap();
        let of = |source: &str| Identity { source: source.to_owned(), user: "a".to_owned() };
        assert_eq!((all.account(&of("admin")), all.account(&of("shop"))), (3, 0));
    }

    #[test]
    fn mistakes_have_their_places() {
        let path = |all: Vec<(&str, User)>| users(all).unwrap_err().path().to_owned();
        assert_eq!(path(vec![("a", user(false, false, &[]))]), "a");
        assert_eq!(path(vec![("a", user(true, false, &[])), ("b", user(false, true, &[]))]), "");
        let mut short = user(true, false, &[]);
        short.scram_sha_256.as_mut().unwrap().stored_key = BASE64.encode(&[1; 20]);
        assert_eq!(path(vec![("a", short)]), "a.scram_sha_256.stored_key");
        let mut odd = user(true, false, &[]);
        odd.scram_sha_256.as_mut().unwrap().salt = "%".to_owned();
        assert_eq!(path(vec![("a", odd)]), "a.scram_sha_256.salt");
        let mut few = user(false, true, &[]);
        few.scram_sha_1.as_mut().unwrap().iterations = 4095;
        assert_eq!(path(vec![("a", few)]), "a.scram_sha_1.iterations");
    }
}
