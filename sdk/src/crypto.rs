//! Cryptography that costs too much for a filter's share of the worker: the host does it elsewhere, and the filter waits.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::poll_fn;
use std::rc::Rc;

use crate::abi::{self, Fields, Status};
use crate::error::{Error, Result};
use crate::hash::FastHash;
use crate::mailbox::{self, Mailbox};
use crate::owner::{self, Owner};

const FUNCTION: &str = "fyke.crypto.pbkdf2.v1";
/// What the host takes.
const MOST_ROUNDS: u32 = 10_000_000;
/// The same, of password and salt.
const LONGEST: usize = 1024;

/// A hash function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hash {
    /// SHA-1, for protocols that still ask for it: 20 bytes.
    Sha1,
    /// SHA-256: 32 bytes.
    Sha256,
}

/// Derives a key from a password (PBKDF2 of RFC 8018, with HMAC), as long as the hash is. Fyke only: off the worker, and remembered, so that asking
/// again costs nothing.
///
/// It may be awaited wherever a filter waits: in [`on_connect`](crate::TcpFilter::on_connect), [`on_opened`](crate::TcpFilter::on_opened),
/// [`on_request`](crate::HttpFilter::on_request) and its sisters, and in the tasks of [`Env::every`](crate::Env::every). The attribute finds a use of the word
/// `pbkdf2` inside the `impl`; where it is hidden in a helper, say `#[tcp_filter(answers)]` (or `#[http_filter(answers)]`).
///
/// ```no_run
/// # use fyke_sdk::{Result, crypto::{self, Hash}};
/// # async fn example(password: &str, salt: &[u8]) -> Result<()> {
/// let salted = crypto::pbkdf2(Hash::Sha256, password.as_bytes(), salt, 15_000).await?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// When password or salt is longer than 1 KiB, or `rounds` is not from 1 to 10,000,000; when the host cannot: it is not Fyke, or 16 keys of
/// this instance are being derived already; outside of anything that can wait.
pub async fn pbkdf2(hash: Hash, password: &[u8], salt: &[u8], rounds: u32) -> Result<Vec<u8>> {
    let pending = Pending::begin(hash, password, salt, rounds)?;
    let key = poll_fn(|cx| pending.mailbox.poll(cx)).await;
    key.ok_or_else(|| Error::new("the host could not derive the key"))
}

/// `None`: it could not be derived.
type Key = Option<Vec<u8>>;

thread_local! {
    /// By token.
    static KEYS: RefCell<HashMap<u32, Rc<Mailbox<Key>>, FastHash>> = const { RefCell::new(HashMap::with_hasher(FastHash::new())) };
}

struct Pending {
    token: u32,
    mailbox: Rc<Mailbox<Key>>,
}

impl Pending {
    fn begin(hash: Hash, password: &[u8], salt: &[u8], rounds: u32) -> Result<Self> {
        let Some(owner) = owner::current() else {
            return Err(Error::new("a key is derived for a method or a task that waits, and there is none"));
        };
        if !mailbox::is_heard() {
            return Err(Error::new(
                "the filter derives keys but its module is never told of them: say #[tcp_filter(answers)] or #[http_filter(answers)]",
            ));
        }
        if password.len() > LONGEST || salt.len() > LONGEST {
            return Err(Error::new("a key is derived of a password and a salt of at most 1 KiB each"));
        }
        if !(1..=MOST_ROUNDS).contains(&rounds) {
            return Err(Error::new("a key is derived in 1 to 10,000,000 rounds"));
        }
        let hash: u32 = match hash {
            Hash::Sha1 => 1,
            Hash::Sha256 => 256,
        };
        let mut arguments = [hash.to_le_bytes(), rounds.to_le_bytes()].concat();
        abi::push_field(&mut arguments, salt);
        abi::push_field(&mut arguments, password);
        let said = abi::call_foreign_function(FUNCTION, &arguments).map_err(|status| match status {
            Status::NOT_FOUND => Error::new(format!("this host derives no keys ({FUNCTION})")),
            _ => Error::new("the host is deriving too many keys for this filter already"),
        })?;
        let token =
            Fields::new(&said).u32().ok_or_else(|| Error::new(format!("the host has not answered {FUNCTION}")))?;
        let mailbox = Mailbox::new(owner);
        KEYS.with_borrow_mut(|keys| keys.insert(token, mailbox.clone()));
        Ok(Self { token, mailbox })
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        KEYS.with_borrow_mut(|keys| keys.remove(&self.token));
    }
}

/// A key is here: puts it where its future looks, and tells whose it is. `None` when nobody waits any more.
pub(crate) fn derived(arguments: &[u8]) -> Option<Owner> {
    let mut fields = Fields::new(arguments);
    let token = fields.u32()?;
    let mailbox = KEYS.with_borrow_mut(|keys| keys.remove(&token))?;
    let key = fields.rest();
    Some(mailbox.put((!key.is_empty()).then(|| key.to_vec())))
}
