//! Modules that were fetched, on disk, by their digest.
//!
//! A module is in `<sha256>.wasm` and counts only while its bytes have that digest, so whoever damages a file costs a
//! download and nothing else. Beside it stands the signature that was last seen for it, `<sha256>.sig`, which is
//! checked anew with each use. `<sha256 of a reference>.ref` holds the digest of the module that the reference has led
//! to. Nothing else proves that, so the directory has to be private, as the one of compiled modules.
//!
//! Files are written under another name and renamed: readers, in this process or another, see all of it or none. The
//! directory can be lost at any time, and whatever fails here costs a download and a line in the log.

use std::{
    fs::{self, DirBuilder, File},
    io::{self, Read},
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use super::digest::digest;
use crate::{
    config::module::{Reference, is_sha256},
    files::{self, TEMPORARY},
};

const MODULE: &str = "wasm";
const SIGNATURE: &str = "sig";
const REFERENCE: &str = "ref";

/// A temporary file of this age belongs to a process that has died.
const ABANDONED: Duration = Duration::from_secs(60 * 60);

/// How much is kept of each kind of file; what was used longest ago goes first.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    pub files: usize,
    pub bytes: u64,
    /// Larger files are not read: none of ours are.
    pub file: usize,
}

/// A directory of modules.
#[derive(Debug, Clone)]
pub(super) struct Cache {
    pub directory: PathBuf,
    pub room: Room,
}

impl Cache {
    /// The module with this digest, if it is there and intact.
    pub fn module(&self, sha256: &str) -> Option<Vec<u8>> {
        let bytes = self.read(sha256, MODULE)?;
        if digest(&bytes) == sha256 {
            return Some(bytes);
        }
        let path = self.path(sha256, MODULE);
        tracing::warn!(path = %path.display(), "a module in the cache is damaged; it will be fetched again");
        // Who has just replaced it by a good one loses that: it is fetched once more.
        let _ = fs::remove_file(path);
        None
    }

    /// What was last seen as the signature of the module with this digest.
    pub fn signature(&self, sha256: &str) -> Option<Vec<u8>> {
        self.read(sha256, SIGNATURE)
    }

    /// The digest of the module that a reference has last led to.
    pub fn led_to(&self, reference: &Reference) -> Option<String> {
        let content = String::from_utf8(self.read(&name(reference), REFERENCE)?).ok()?;
        let sha256 = content.trim_end();
        is_sha256(sha256).then(|| sha256.to_owned())
    }

    /// Keeps a module and its signature.
    pub fn keep(&self, sha256: &str, bytes: &[u8], signature: Option<&[u8]>) {
        self.write(sha256, MODULE, bytes);
        if let Some(signature) = signature {
            self.write(sha256, SIGNATURE, signature);
        }
    }

    /// Remembers what a reference leads to.
    pub fn remember(&self, reference: &Reference, sha256: &str) {
        self.write(&name(reference), REFERENCE, format!("{sha256}\n").as_bytes());
    }

    fn path(&self, name: &str, kind: &str) -> PathBuf {
        self.directory.join(format!("{name}.{kind}"))
    }

    fn read(&self, name: &str, kind: &str) -> Option<Vec<u8>> {
        let path = self.path(name, kind);
        match self.check().and_then(|()| self.read_private(&path)) {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "cannot read a file of the cache of modules");
                None
            }
        }
    }

    fn read_private(&self, path: &Path) -> io::Result<Vec<u8>> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        private(&metadata)?;
        let mut bytes = Vec::new();
        let limit = self.room.file as u64;
        (&file).take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limit {
            return Err(io::Error::other(format!("it has more than {limit} bytes")));
        }
        // When it was last used. On a file system that is full or read-only it stays old.
        let _ = file.set_modified(SystemTime::now());
        Ok(bytes)
    }

    fn write(&self, name: &str, kind: &str, bytes: &[u8]) {
        let path = self.path(name, kind);
        let written = self.create().and_then(|()| files::replace(&path, bytes, false));
        if let Err(error) = written {
            tracing::warn!(path = %path.display(), %error, "cannot keep a file in the cache of modules");
        } else if let Err(error) = self.trim(kind, &path) {
            tracing::debug!(path = %self.directory.display(), %error, "cannot tidy up the cache of modules");
        }
    }

    fn create(&self) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)?;
        self.check()
    }

    /// Whether nobody else can write here. Not following a link: whoever owns the link decides where it leads.
    fn check(&self) -> io::Result<()> {
        let metadata = fs::symlink_metadata(&self.directory)?;
        if !metadata.is_dir() {
            return Err(io::Error::other(format!("{} is not a directory", self.directory.display())));
        }
        private(&metadata)
            .map_err(|error| io::Error::other(format!("{} is not private: {error}", self.directory.display())))
    }

    /// Removes what there is no room for, save for the file that was just written.
    fn trim(&self, kind: &str, written: &Path) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let path = entry?.path();
            let extension = path.extension().and_then(|extension| extension.to_str());
            // Others remove files as well.
            let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
            let used = metadata.modified()?;
            if extension == Some(TEMPORARY) && used.elapsed().is_ok_and(|age| age > ABANDONED) {
                let _ = fs::remove_file(&path);
            } else if extension == Some(kind) {
                files.push((path != written, used, metadata.len(), path));
            }
        }
        // Newest first, after the one that was written.
        files.sort_by_key(|(other, used, ..)| (*other, std::cmp::Reverse(*used)));
        let mut bytes: u64 = 0;
        for (index, (_, _, length, path)) in files.iter().enumerate() {
            bytes = bytes.saturating_add(*length);
            if index >= self.room.files || (bytes > self.room.bytes && index > 0) {
                tracing::debug!(path = %path.display(), "removing from the cache of modules what was used longest ago");
                let _ = fs::remove_file(path);
            }
        }
        Ok(())
    }
}

fn name(reference: &Reference) -> String {
    digest(reference.to_string().as_bytes())
}

fn private(metadata: &fs::Metadata) -> io::Result<()> {
    let user = rustix::process::geteuid().as_raw();
    if metadata.uid() != user {
        return Err(io::Error::other(format!("it belongs to user {}, not to {user}", metadata.uid())));
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o022 == 0 { Ok(()) } else { Err(io::Error::other(format!("others may write to it (mode {mode:04o})"))) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn cache(folder: &tempfile::TempDir, room: Room) -> Cache {
        Cache { directory: folder.path().join("state/downloads"), room }
    }

    const ROOM: Room = Room { files: 2, bytes: 100, file: 65 };

    fn keep(cache: &Cache, bytes: &[u8]) -> String {
        let sha256 = digest(bytes);
        cache.keep(&sha256, bytes, Some(b"signature"));
        sha256
    }

    fn aged(cache: &Cache, sha256: &str, seconds: u64) {
        let file = File::open(cache.path(sha256, MODULE)).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(seconds)).unwrap();
    }

    fn names(cache: &Cache, kind: &str) -> usize {
        let entries = fs::read_dir(&cache.directory).unwrap();
        entries.filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|found| found == kind)).count()
    }

    #[test]
    fn what_is_kept_is_private_and_found() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(&folder, ROOM);
        let reference = Reference::parse("oci://ghcr.io/a/b:1").unwrap();
        let absent = digest(b"");
        assert_eq!((cache.module(&absent), cache.signature(&absent), cache.led_to(&reference)), (None, None, None));
        let sha256 = keep(&cache, b"module");
        cache.remember(&reference, &sha256);
        assert_eq!(cache.module(&sha256).unwrap(), b"module");
        assert_eq!(cache.signature(&sha256).unwrap(), b"signature");
        assert_eq!(cache.led_to(&reference).unwrap(), sha256);
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!((mode(&cache.directory), mode(&cache.path(&sha256, MODULE))), (0o700, 0o600));
        assert_eq!(names(&cache, TEMPORARY), 0);
    }

    #[test]
    fn what_was_used_longest_ago_makes_room() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(&folder, ROOM);
        let (first, second) = (keep(&cache, b"first"), keep(&cache, b"second"));
        aged(&cache, &first, 60);
        aged(&cache, &second, 30);
        assert!(cache.module(&first).is_some(), "and is new again by that");
        let third = keep(&cache, b"third");
        assert_eq!(names(&cache, MODULE), 2);
        assert!(cache.module(&second).is_none() && cache.module(&first).is_some() && cache.module(&third).is_some());
        let (large, larger) = (keep(&cache, &[1; 60]), keep(&cache, &[2; 61]));
        assert!(cache.module(&large).is_none() && cache.module(&larger).is_some(), "more bytes than there is room for");
    }

    #[test]
    fn what_dead_processes_have_left_goes() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(&folder, ROOM);
        keep(&cache, b"module");
        for (name, age) in [("old.tmp", ABANDONED * 2), ("new.tmp", Duration::ZERO)] {
            let file = File::create(cache.directory.join(name)).unwrap();
            file.set_modified(SystemTime::now() - age).unwrap();
        }
        keep(&cache, b"other");
        assert_eq!(names(&cache, TEMPORARY), 1);
    }

    #[test]
    fn what_others_may_have_written_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(&folder, ROOM);
        let sha256 = keep(&cache, b"module");
        let allow = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        allow(&cache.path(&sha256, SIGNATURE), 0o622);
        assert!(cache.signature(&sha256).is_none() && cache.module(&sha256).is_some());
        allow(&cache.directory, 0o777);
        assert!(cache.module(&sha256).is_none());
        keep(&cache, b"other");
        assert_eq!(names(&cache, MODULE), 1);
    }

    #[test]
    fn damaged_and_bloated_files_are_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(&folder, ROOM);
        let sha256 = keep(&cache, b"module");
        fs::write(cache.path(&sha256, MODULE), b"modul").unwrap();
        assert!(cache.module(&sha256).is_none());
        assert!(!cache.path(&sha256, MODULE).exists());
        assert!(cache.module(&keep(&cache, &[0; 66])).is_none());
        let reference = Reference::parse("oci://ghcr.io/a/b:1").unwrap();
        cache.remember(&reference, "../../etc/passwd");
        assert_eq!(cache.led_to(&reference), None);
    }
}
