//! Compiled modules on disk.
//!
//! Loading one is a tenth of a millisecond instead of a second, and unsafe on bytes that somebody altered: they
//! are machine code. So the directory has to be private, each file carries a digest of its contents, and both are
//! checked before the bytes are used. Anything that does not fit is ignored and written anew; a cache
//! can be lost at any time.
//!
//! A file is `MAGIC`, the 32 bytes of the engine's compatibility (version, target, settings), the
//! 32 bytes of the digest of compatibility, module hash and code, then the code.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::hash::{Hash, Hasher};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest, Sha256};
use wasmtime::{Engine, Module};

use crate::error::EngineError;

const MAGIC: &[u8; 8] = b"fyke-cw1";
const DIGEST: usize = 32;
const HEADER: usize = MAGIC.len() + 2 * DIGEST;

/// A directory of compiled modules.
#[derive(Debug)]
pub(crate) struct Cache {
    directory: PathBuf,
    compatibility: [u8; DIGEST],
    /// Makes the names of temporary files unique within the process.
    sequence: AtomicU64,
}

impl Cache {
    /// Creates the directory if need be and checks that nobody else can write into it.
    pub(crate) fn open(directory: PathBuf, engine: &Engine) -> Result<Cache, EngineError> {
        let failed = |source| EngineError::CacheDirectory { path: directory.clone(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(&directory).map_err(failed)?;
        // Not following a link: whoever owns the link decides where it leads.
        let metadata = fs::symlink_metadata(&directory).map_err(failed)?;
        if !metadata.is_dir() {
            let reason = "it is not a directory".to_owned();
            return Err(EngineError::CacheNotPrivate { path: directory, reason });
        }
        if let Some(reason) = intruder(&metadata) {
            return Err(EngineError::CacheNotPrivate { path: directory, reason });
        }
        Ok(Cache { directory, compatibility: compatibility(engine), sequence: AtomicU64::new(0) })
    }

    /// The module of that hash, if it is there, intact and made by this very engine.
    pub(crate) fn load(&self, engine: &Engine, hash: &str) -> Option<Module> {
        let path = self.path(hash);
        let bytes = match read_private(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "cannot read a cached module; compiling it anew");
                return None;
            }
        };
        let Some(code) = self.check(hash, &bytes) else {
            tracing::debug!(path = %path.display(), "a cached module is stale or damaged; compiling it anew");
            return None;
        };
        // SAFETY: these bytes were made by `Module::serialize`: they are in a file that belongs to this user and that nobody
        // else can write, in a directory for which the same holds, and they match the digest that was written with
        // them, so they are complete and undamaged. They were read into memory, so nobody can alter them now.
        let module = unsafe { Module::deserialize(engine, code) };
        match module {
            Ok(module) => Some(module),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "a cached module does not load; compiling it anew");
                None
            }
        }
    }

    /// Keeps a module. A failure costs a compilation later, so it is only logged.
    pub(crate) fn store(&self, hash: &str, module: &Module) {
        let path = self.path(hash);
        let written = module.serialize().map_err(io::Error::other).and_then(|code| self.write(&path, hash, &code));
        if let Err(error) = written {
            tracing::warn!(path = %path.display(), %error, "cannot keep a compiled module");
        }
    }

    fn path(&self, hash: &str) -> PathBuf {
        self.directory.join(format!("{hash}.cwasm"))
    }

    /// The code in the file, if its header says that it is what it should be.
    fn check<'a>(&self, hash: &str, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let (header, code) = bytes.split_at_checked(HEADER)?;
        let (magic, header) = header.split_at_checked(MAGIC.len())?;
        let (compatibility, digest) = header.split_at_checked(DIGEST)?;
        let intact = magic == MAGIC && compatibility == self.compatibility && digest == self.digest(hash, code);
        intact.then_some(code)
    }

    fn write(&self, path: &Path, hash: &str, code: &[u8]) -> io::Result<()> {
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed);
        let temporary = self.directory.join(format!("{hash}.{}.{sequence}.tmp", std::process::id()));
        let result = (|| {
            // A leftover of a process that had this number before.
            let _ = fs::remove_file(&temporary);
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
            file.write_all(MAGIC)?;
            file.write_all(&self.compatibility)?;
            file.write_all(&self.digest(hash, code))?;
            file.write_all(code)?;
            fs::rename(&temporary, path)
        })();
        if result.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        result
    }

    fn digest(&self, hash: &str, code: &[u8]) -> [u8; DIGEST] {
        let mut digest = Sha256::new();
        digest.update(self.compatibility);
        digest.update(hash.as_bytes());
        digest.update(code);
        digest.finalize().into()
    }
}

fn read_private(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    if let Some(reason) = intruder(&metadata) {
        return Err(io::Error::other(reason));
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Who else could have written here.
fn intruder(metadata: &fs::Metadata) -> Option<String> {
    let user = rustix::process::geteuid().as_raw();
    if metadata.uid() != user {
        return Some(format!("it belongs to user {}, not to {user}", metadata.uid()));
    }
    let mode = metadata.mode() & 0o7777;
    (mode & 0o022 != 0).then(|| format!("others may write to it (mode {mode:04o})"))
}

fn compatibility(engine: &Engine) -> [u8; DIGEST] {
    let mut hasher = ShaHasher(Sha256::new());
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.0.finalize().into()
}

/// Feeds a digest from `Hash`, whose own hashers may change between two builds.
struct ShaHasher(Sha256);

impl Hasher for ShaHasher {
    fn finish(&self) -> u64 {
        0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }
}

/// Bytes as lower-case hexadecimal digits.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}
