//! Where modules come from: built into the binary, a file, a web server, or a registry.
//!
//! Reading one blocks, for a minute at most, and happens on control threads only. What goes over the network
//! has a thread and a runtime of its own, so that it does not matter what the caller runs in.
//!
//! A module that must have a certain digest is the same wherever it is found, so what is in the cache is used and
//! nobody is asked. That is why a reload needs no registry for what has not changed. An image that is named by a tag
//! alone may change: there the registry is asked each time, and only while it is out of order does what it has last led
//! to stand in. A no is a no: whoever takes an image away, closes a repository or puts other bytes there is obeyed.
//!
//! Nothing gets into the cache, or out of it, that does not fit the digest and the keys that the configuration names
//! *now*.

mod answer;
mod archive;
mod cache;
mod client;
mod connection;
mod credentials;
mod digest;
mod error;
mod manifest;
mod registry;
#[cfg(test)]
mod tests;
mod token;

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use bytes::Bytes;
use rustls::RootCertStore;

use self::{
    cache::{Cache, Room},
    client::{Client, Limits},
    digest::check,
    registry::{Pulled, Registry},
};
use crate::config::{
    module::{PublicKey, Reference, SignatureError, Url, verify},
    resolved::ModuleSource,
    suggest,
};

pub use self::error::SourceError;

/// The modules that are part of the binary, by name. Built from `filters/*` by `build.rs`.
pub static BUILTIN: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/builtin.rs"));

/// How much is kept on disk.
const ROOM: Room = Room { files: 64, bytes: 1 << 30, file: 64 << 20 };

/// `O_NONBLOCK`.
const NONBLOCK: i32 = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();

/// More is no signature.
const SIGNATURE: usize = 4096;

/// What a filter asks for.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Where the module is.
    pub source: &'a ModuleSource,
    /// Its digest in 64 lower-case hexadecimal digits.
    pub sha256: Option<&'a str>,
    /// The keys of which one must have signed it; none: anybody's module is welcome.
    pub signed_by: &'a [PublicKey],
}

/// A module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// Its bytes, with the digest and a signature that were asked for.
    pub bytes: Bytes,
    /// Why this is what the tag last led to and not what it leads to now: the registry is out of order.
    pub fallback: Option<String>,
}

/// What reads modules. Clones share the directory on disk; there is nothing else to share.
#[derive(Debug, Clone)]
pub struct Fetcher {
    cache: Option<Cache>,
    limits: Limits,
    /// Where `docker login` keeps credentials.
    docker: Option<PathBuf>,
    /// Whose certificates are trusted; `None`: whose the system trusts.
    roots: Option<Arc<RootCertStore>>,
}

impl Fetcher {
    /// Keeps what it fetches in the directory, which it makes, private, when there is something to keep. `None`: keeps
    /// nothing, and knows no last good copy.
    #[must_use]
    pub fn new(cache: Option<PathBuf>) -> Self {
        let cache = cache.map(|directory| Cache { directory, room: ROOM });
        Self { cache, limits: Limits::default(), docker: credentials::file(), roots: None }
    }

    /// Reads a module and checks its digest and its signature. Blocks.
    ///
    /// # Errors
    /// [`SourceError`].
    pub fn read(&self, wanted: &Wanted<'_>) -> Result<Module, SourceError> {
        match wanted.source {
            ModuleSource::Builtin(name) => builtin(name, wanted.sha256),
            ModuleSource::File(path) => self.file(path, wanted),
            ModuleSource::Https(url) => self.https(url, wanted),
            ModuleSource::Oci(reference) => self.oci(reference, wanted),
            ModuleSource::Loaded(loaded) => {
                wanted.check_digest(&loaded.bytes)?;
                let signature = loaded.signature.as_deref();
                wanted.check_signature(&loaded.bytes, signature, || "it came without a signature".to_owned())?;
                Ok(Module { bytes: loaded.bytes.clone(), fallback: None })
            }
        }
    }

    fn file(&self, path: &Path, wanted: &Wanted<'_>) -> Result<Module, SourceError> {
        let bytes = read_file(path, self.limits.size)?;
        wanted.check_digest(&bytes)?;
        if !wanted.signed_by.is_empty() {
            let beside = beside(path);
            let signature = match read_file(&beside, SIGNATURE) {
                Err(SourceError::File { error, .. }) if error.kind() == io::ErrorKind::NotFound => None,
                read => Some(read?),
            };
            wanted.check_signature(&bytes, signature.as_deref(), || format!("{} does not exist", beside.display()))?;
        }
        Ok(Module::from(bytes))
    }

    fn https(&self, url: &Url, wanted: &Wanted<'_>) -> Result<Module, SourceError> {
        if let Some(module) = wanted.sha256.and_then(|sha256| self.cached(wanted, sha256)) {
            return Ok(module);
        }
        // There may be one with another signature.
        let cached = wanted.sha256.and_then(|sha256| self.cache.as_ref()?.module(sha256));
        let signed = self.over_the_network(async |client| {
            let bytes = match cached {
                Some(bytes) => bytes,
                None => client.get(url, self.limits.size).await?,
            };
            wanted.check_digest(&bytes)?;
            let mut signature = None;
            if !wanted.signed_by.is_empty()
                && let Some(url) = url.with_suffix(".sig")
            {
                signature = match client.get(&url, SIGNATURE).await {
                    Err(SourceError::NotFound { .. }) => None,
                    got => Some(got?),
                };
            }
            Ok(Pulled { bytes, signature })
        })?;
        let missing = || format!("there is no {}", url.with_suffix(".sig").as_ref().unwrap_or(url));
        self.checked(wanted, signed, missing).map(|(module, _)| module)
    }

    fn oci(&self, reference: &Reference, wanted: &Wanted<'_>) -> Result<Module, SourceError> {
        let led_to = || self.cache.as_ref()?.led_to(reference);
        // What a digest leads to never changes.
        let certain = wanted.sha256.map(str::to_owned).or_else(|| reference.digest().and_then(|_| led_to()));
        if let Some(module) = certain.and_then(|sha256| self.cached(wanted, &sha256)) {
            return Ok(module);
        }
        let pulled = self.over_the_network(async |client| {
            Registry::new(&client, reference, self.docker.as_deref()).pull(wanted.sha256, self.cache.as_ref()).await
        });
        match pulled {
            Ok(pulled) => {
                let missing = || format!("the layer has no annotation `{}`", manifest::SIGNATURE);
                let (module, sha256) = self.checked(wanted, pulled, missing)?;
                if let Some(cache) = &self.cache {
                    cache.remember(reference, &sha256);
                }
                Ok(module)
            }
            Err(error) if error.is_outage() => match led_to().and_then(|sha256| self.cached(wanted, &sha256)) {
                Some(module) => Ok(Module { fallback: Some(error.to_string()), ..module }),
                None => Err(error),
            },
            Err(error) => Err(error),
        }
    }

    /// What is in the cache, if it is what is wanted.
    fn cached(&self, wanted: &Wanted<'_>, sha256: &str) -> Option<Module> {
        let cache = self.cache.as_ref()?;
        if wanted.sha256.is_some_and(|wanted| wanted != sha256) {
            return None;
        }
        let bytes = cache.module(sha256)?;
        if !wanted.signed_by.is_empty() {
            verify(wanted.signed_by, &bytes, &cache.signature(sha256)?).ok()?;
        }
        Some(Module::from(bytes))
    }

    /// Checks what was fetched and keeps it.
    fn checked(
        &self,
        wanted: &Wanted<'_>,
        pulled: Pulled,
        missing: impl FnOnce() -> String,
    ) -> Result<(Module, String), SourceError> {
        let Pulled { bytes, signature } = pulled;
        let sha256 = wanted.check_digest(&bytes)?;
        wanted.check_signature(&bytes, signature.as_deref(), missing)?;
        if let Some(cache) = &self.cache {
            cache.keep(&sha256, &bytes, signature.as_deref());
        }
        Ok((Module::from(bytes), sha256))
    }

    fn over_the_network<T: Send>(
        &self,
        work: impl AsyncFnOnce(Client) -> Result<T, SourceError> + Send,
    ) -> Result<T, SourceError> {
        let failed = |error| SourceError::Start { error };
        let fetch = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
            let result = runtime.block_on(async { work(Client::new(self.limits, self.roots.clone())).await });
            // Not waiting for a resolver that does not come back.
            runtime.shutdown_background();
            result
        };
        thread::scope(|scope| {
            let thread = thread::Builder::new().name("fyke-fetch".to_owned()).spawn_scoped(scope, fetch);
            thread.map_err(failed)?.join().unwrap_or_else(|_| Err(failed(io::Error::other("the thread has died"))))
        })
    }
}

impl From<Vec<u8>> for Module {
    fn from(bytes: Vec<u8>) -> Self {
        Self { bytes: bytes.into(), fallback: None }
    }
}

impl Wanted<'_> {
    fn check_digest(&self, bytes: &[u8]) -> Result<String, SourceError> {
        check("its", bytes, "the configuration", self.sha256)
    }

    fn check_signature(
        &self,
        bytes: &[u8],
        signature: Option<&[u8]>,
        missing: impl FnOnce() -> String,
    ) -> Result<(), SourceError> {
        if self.signed_by.is_empty() {
            return Ok(());
        }
        let verified = match signature {
            None => Err(SignatureError::Missing(missing())),
            Some(signature) => verify(self.signed_by, bytes, signature),
        };
        verified.map_err(|error| SourceError::Signature { at: self.source.to_string(), error })
    }
}

/// What is part of the binary needs nobody's signature.
fn builtin(name: &str, sha256: Option<&str>) -> Result<Module, SourceError> {
    let Some((_, bytes)) = BUILTIN.iter().find(|(known, _)| *known == name) else {
        let help = suggest::help(name, &BUILTIN.iter().map(|(name, _)| *name).collect::<Vec<_>>());
        return Err(SourceError::UnknownBuiltin { name: name.to_owned(), help });
    };
    check("its", bytes, "the configuration", sha256)?;
    Ok(Module { bytes: Bytes::from_static(bytes), fallback: None })
}

/// Where the signature of a file is.
#[must_use]
pub fn beside(path: &Path) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(".sig");
    path.into()
}

/// The SHA-256 of a module, in lower-case hexadecimal.
#[must_use]
pub fn digest(bytes: &[u8]) -> String {
    digest::digest(bytes)
}

fn read_file(path: &Path, limit: usize) -> Result<Vec<u8>, SourceError> {
    let mut bytes = Vec::new();
    let open = || {
        // A pipe would be waited for until somebody writes.
        let file = File::options().read(true).custom_flags(NONBLOCK).open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is no regular file"));
        }
        Ok(file)
    };
    let read = open().and_then(|file| file.take(limit as u64 + 1).read_to_end(&mut bytes));
    read.map_err(|error| SourceError::File { path: path.to_owned(), error })?;
    if bytes.len() > limit {
        return Err(SourceError::TooLarge { at: path.display().to_string(), limit });
    }
    Ok(bytes)
}
