//! Scripts, which a server executes at once and knows by their hash.

use std::borrow::Cow;

use sha1::{Digest, Sha1};

use super::call::Deadline;
use super::error::RedisError;
use super::value::Value;
use super::{Pipeline, Redis};

/// A script in Lua, for [`Redis::eval`]. Make it once, in `configure`: its hash is computed then.
#[derive(Clone)]
pub struct Script {
    text: Cow<'static, str>,
    hash: String,
}

impl std::fmt::Debug for Script {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Script").field("hash", &self.hash).finish_non_exhaustive()
    }
}

impl Script {
    /// One of this text.
    #[must_use]
    pub fn new(text: impl Into<Cow<'static, str>>) -> Self {
        let text = text.into();
        // Not for security: the protocol names scripts so.
        let hash = Sha1::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
        Self { text, hash }
    }

    /// Its text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What servers know it by: SHA-1, in hexadecimal digits.
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.hash
    }

    fn command<'a>(
        &'a self,
        command: &'a [u8],
        keys: &'a [impl AsRef<[u8]>],
        arguments: &'a [impl AsRef<[u8]>],
        count: &'a str,
    ) -> Vec<&'a [u8]> {
        let script = if command == b"EVAL" { self.text.as_bytes() } else { self.hash.as_bytes() };
        let head = [command, script, count.as_bytes()];
        let parts = head.into_iter().chain(keys.iter().map(AsRef::as_ref)).chain(arguments.iter().map(AsRef::as_ref));
        parts.collect()
    }
}

impl Redis {
    /// Executes a script, by its hash (`EVALSHA`); where the server does not know it, by its text (`EVAL`), from which the server learns it. Both together within
    /// the [timeout](Redis::timeout). A script without keys or arguments has `&[""; 0]`.
    ///
    /// ```no_run
    /// # use fyke_sdk::redis::Script;
    /// # use fyke_sdk::{Redis, Result};
    /// # async fn example(cache: &Redis, swap: &Script) -> Result<()> {
    /// let before = cache.eval(swap, &["motd"], &["hello"]).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`RedisError`]; [`RedisError::Server`] where the script fails.
    pub async fn eval(
        &self,
        script: &Script,
        keys: &[impl AsRef<[u8]>],
        arguments: &[impl AsRef<[u8]>],
    ) -> Result<Value, RedisError> {
        let deadline = Deadline::after(self.timeout);
        let count = keys.len().to_string();
        match self.call_until(&script.command(b"EVALSHA", keys, arguments, &count), deadline).await {
            Err(RedisError::Server(error)) if error.code() == "NOSCRIPT" => {}
            said => return said,
        }
        self.call_until(&script.command(b"EVAL", keys, arguments, &count), deadline).await
    }
}

impl Pipeline<'_> {
    /// Adds a script by its hash (`EVALSHA`), whose reply is an error (`NOSCRIPT`) where the server does not know it.
    pub fn script(self, script: &Script, keys: &[impl AsRef<[u8]>], arguments: &[impl AsRef<[u8]>]) -> Self {
        let count = keys.len().to_string();
        let command = script.command(b"EVALSHA", keys, arguments, &count);
        self.command(&command)
    }

    /// Adds a script by its text (`EVAL`), from which the server learns it: for where nobody hears that it does not know the hash.
    pub fn script_text(self, script: &Script, keys: &[impl AsRef<[u8]>], arguments: &[impl AsRef<[u8]>]) -> Self {
        let count = keys.len().to_string();
        let command = script.command(b"EVAL", keys, arguments, &count);
        self.command(&command)
    }
}
