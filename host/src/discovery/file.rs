//! A file with hosts, looked at often and read when it has changed. Whoever replaces it by a rename, or rewrites it in place, is followed alike.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use super::{
    hosts,
    source::{Said, SourceError},
};

/// The largest file that is read.
const LARGEST: u64 = 16 << 20;

/// See the module.
#[derive(Debug)]
pub struct File {
    path: PathBuf,
    /// How the file looked that was read last, whether or not it could be meant.
    seen: Option<Sight>,
    /// Why it could not.
    failed: Option<SourceError>,
}

/// Device, number, length and time: what a change changes.
type Sight = (u64, u64, u64, i64, i64);

impl File {
    /// Nothing is read yet.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path, seen: None, failed: None }
    }

    /// Reads it, if it has changed.
    pub(super) fn ask(&mut self) -> Result<Said, SourceError> {
        let unreadable = |error: io::Error| SourceError::Unreachable(format!("{}: {error}", self.path.display()));
        let now = sight(&self.path).map_err(unreadable)?;
        if self.seen == Some(now) {
            return match &self.failed {
                Some(error) => Err(error.clone()),
                None => Ok(Said { hosts: None, version: String::new(), holds: None, lacks: None }),
            };
        }
        let read = self.read();
        // What could not be read may be readable without looking different: it is tried again. What is written meanwhile is found by the next look.
        self.seen = Some(now).filter(|_| !matches!(read, Err(SourceError::Unreachable(_))));
        self.failed = read.as_ref().err().cloned();
        read
    }

    fn read(&self) -> Result<Said, SourceError> {
        let at = self.path.display();
        let length = fs::metadata(&self.path).map_or(0, |facts| facts.len());
        if length > LARGEST {
            return Err(SourceError::Malformed(format!("{at}: {length} bytes are more than {LARGEST}")));
        }
        let text = fs::read(&self.path).map_err(|error| SourceError::Unreachable(format!("{at}: {error}")))?;
        let hosts = hosts::registration(&text).map_err(|error| SourceError::Malformed(format!("{at}: {error}")))?;
        let version = format!("{:016x}", xxhash_rust::xxh64::xxh64(&text, 0));
        Ok(Said { hosts: Some(hosts), version, holds: None, lacks: None })
    }
}

fn sight(path: &Path) -> io::Result<Sight> {
    let facts = fs::metadata(path)?;
    Ok((facts.dev(), facts.ino(), facts.len(), facts.mtime(), facts.mtime_nsec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(ports: &[u16]) -> String {
        let hosts: Vec<_> =
            ports.iter().map(|port| format!("{{\"ip_address\":\"127.0.0.1\",\"port\":{port}}}")).collect();
        format!("{{\"hosts\":[{}]}}", hosts.join(","))
    }

    #[test]
    fn a_file_is_read_again_when_it_has_changed_and_a_broken_one_says_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hosts.json");
        let mut file = File::new(path.clone());
        assert!(matches!(file.ask(), Err(SourceError::Unreachable(_))));
        fs::write(&path, hosts(&[1, 2])).unwrap();
        let said = file.ask().unwrap();
        assert_eq!(said.hosts.map(|hosts| hosts.len()), Some(2));
        assert_eq!(file.ask().unwrap().hosts, None);
        fs::write(&path, "{\"hosts\": [{").unwrap();
        assert!(matches!(file.ask(), Err(SourceError::Malformed(_))));
        assert!(matches!(file.ask(), Err(SourceError::Malformed(_))), "still broken");
        // One that cannot be read is tried again although it looks the same.
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(matches!(file.ask(), Err(SourceError::Unreachable(_))));
        assert!(file.seen.is_none());
        fs::remove_dir(&path).unwrap();
        // As editors do it.
        let next = folder.path().join("next");
        fs::write(&next, hosts(&[3])).unwrap();
        fs::rename(&next, &path).unwrap();
        let now = file.ask().unwrap();
        assert_eq!(now.hosts.map(|hosts| hosts[0].address.port()), Some(3));
        assert!(!now.version.is_empty() && now.version != said.version);
    }
}
