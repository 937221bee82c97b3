//! The last good state on disk, so that a restart without a control plane serves.
//!
//! One file: a line that says what it is, a SHA-256 of the rest, then a message. It is written beside its place and moved there, so it is whole
//! or the one before. Certificates' keys are in it: nobody but its owner may read it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use prost::Message;
use sha2::{Digest, Sha256};

use super::{ResourceType, machine::Kept};

const MAGIC: &[u8] = b"fyke-xds-state 1\n";
const CHECKSUM: usize = 32;
/// A larger state is not written, and not read.
const LARGEST: u64 = 512 << 20;

/// Why a state could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file system said no.
    #[error("{path}: {source}")]
    Io {
        /// Of the file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// It is not a state, or not whole.
    #[error("{path}: {reason}")]
    Damaged {
        /// Of the file.
        path: PathBuf,
        /// What is wrong.
        reason: &'static str,
    },
    /// It is larger than what is kept.
    #[error("{path}: a state of {size} bytes is not kept; at most {LARGEST} are")]
    TooLarge {
        /// Of the file.
        path: PathBuf,
        /// Bytes.
        size: u64,
    },
}

#[derive(Clone, PartialEq, Eq, Message)]
struct State {
    #[prost(message, repeated, tag = "1")]
    resources: Vec<SavedResource>,
    #[prost(message, repeated, tag = "2")]
    versions: Vec<SavedVersion>,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct SavedResource {
    #[prost(string, tag = "1")]
    kind: String,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(string, tag = "3")]
    version: String,
    #[prost(string, tag = "4")]
    type_url: String,
    #[prost(bytes = "bytes", tag = "5")]
    value: Bytes,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct SavedVersion {
    #[prost(string, tag = "1")]
    kind: String,
    #[prost(string, tag = "2")]
    version: String,
}

/// Resources, and the version of each type.
pub(super) type Saved = (Vec<Kept>, BTreeMap<ResourceType, String>);

/// Writes a state: all of it or nothing.
pub(super) fn save(path: &Path, (resources, versions): &Saved) -> Result<(), StoreError> {
    let state = State {
        resources: resources
            .iter()
            .map(|kept| SavedResource {
                kind: kept.kind.message().to_owned(),
                name: kept.name.clone(),
                version: kept.version.clone(),
                type_url: kept.type_url.clone(),
                value: kept.bytes.clone(),
            })
            .collect(),
        versions: versions
            .iter()
            .map(|(kind, version)| SavedVersion { kind: kind.message().to_owned(), version: version.clone() })
            .collect(),
    };
    let size = u64::try_from(state.encoded_len()).unwrap_or(u64::MAX);
    if size > LARGEST {
        return Err(StoreError::TooLarge { path: path.to_owned(), size });
    }
    let bytes = state.encode_to_vec();
    let failed = |source| StoreError::Io { path: path.to_owned(), source };
    let beside = beside(path);
    let written = write(&beside, &bytes).and_then(|()| fs::rename(&beside, path));
    if let Err(error) = written {
        // What is left of it is of no use to anybody.
        let _ = fs::remove_file(&beside);
        return Err(failed(error));
    }
    // The name is safe when its folder is.
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
    }
    Ok(())
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    path.with_file_name(name)
}

fn write(path: &Path, state: &[u8]) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    let mut file = options.open(path)?;
    file.write_all(MAGIC)?;
    file.write_all(&Sha256::digest(state))?;
    file.write_all(state)?;
    file.sync_all()
}

/// Reads a state. `None`: there is no file.
pub(super) fn load(path: &Path) -> Result<Option<Saved>, StoreError> {
    let failed = |source| StoreError::Io { path: path.to_owned(), source };
    let damaged = |reason| StoreError::Damaged { path: path.to_owned(), reason };
    let size = match fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    if size > LARGEST {
        return Err(StoreError::TooLarge { path: path.to_owned(), size });
    }
    let bytes = Bytes::from(fs::read(path).map_err(failed)?);
    if !bytes.starts_with(MAGIC) {
        return Err(damaged("is not a state of a control plane, or of another version"));
    }
    let rest = bytes.slice(MAGIC.len()..);
    if rest.len() < CHECKSUM {
        return Err(damaged("is cut short"));
    }
    let (checksum, state) = (rest.slice(..CHECKSUM), rest.slice(CHECKSUM..));
    if Sha256::digest(&state).as_slice() != checksum.as_ref() {
        return Err(damaged("is not what was written: its checksum is another"));
    }
    let state = State::decode(state).map_err(|_| damaged("cannot be read"))?;
    let kind = |name: &str| ResourceType::ALL.into_iter().find(|kind| kind.message() == name);
    // Types that this version does not know are not missed.
    let resources = state.resources.into_iter().filter_map(|saved| {
        Some(Kept {
            kind: kind(&saved.kind)?,
            name: saved.name,
            version: saved.version,
            type_url: saved.type_url,
            bytes: saved.value,
        })
    });
    let versions = state.versions.into_iter().filter_map(|saved| Some((kind(&saved.kind)?, saved.version)));
    Ok(Some((resources.collect(), versions.collect())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> Saved {
        let kept = |kind: ResourceType, name: &str| Kept {
            kind,
            name: name.to_owned(),
            version: "7".to_owned(),
            type_url: kind.type_url(),
            bytes: Bytes::from_static(b"\x0a\x01a"),
        };
        let resources = vec![kept(ResourceType::Cluster, "a"), kept(ResourceType::Listener, "b")];
        (resources, BTreeMap::from([(ResourceType::Cluster, "7".to_owned())]))
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        assert!(load(&path).unwrap().is_none());
        save(&path, &state()).unwrap();
        assert_eq!(load(&path).unwrap(), Some(state()));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn every_damage_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        save(&path, &state()).unwrap();
        let good = fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x20;
            fs::write(&path, &bad).unwrap();
            assert!(matches!(load(&path), Err(StoreError::Damaged { .. })), "byte {at}");
            fs::write(&path, &good[..at]).unwrap();
            assert!(matches!(load(&path), Err(StoreError::Damaged { .. })), "cut at {at}");
        }
    }

    #[test]
    fn a_folder_that_is_not_there_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let error = save(&folder.path().join("no/state"), &state()).unwrap_err();
        assert!(matches!(error, StoreError::Io { .. }), "{error}");
    }
}
