//! The endpoints that were last known, on disk.

use std::{fs, io, os::unix::fs::DirBuilderExt as _, path::PathBuf, sync::Arc};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use serde::Deserialize;
use serde_json::Value;

use super::hosts::{self, Hosts};
use crate::{
    config::{
        fingerprint::Fingerprint,
        resolved::{Endpoint, Place},
    },
    files,
};

/// Below `state`.
const FOLDER: &str = "discovery";
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_');

/// The name of a file for something with this name.
#[must_use]
pub fn file_name(name: &str) -> String {
    format!("{}.json", utf8_percent_encode(name, PLAIN))
}

/// A file for one cluster.
#[derive(Debug)]
pub struct Kept {
    folder: PathBuf,
    path: PathBuf,
    /// Tells whether what is in it is of the same source.
    place: String,
}

/// What is in it besides hosts.
#[derive(Deserialize)]
struct Origin {
    #[serde(default)]
    place: String,
}

impl Kept {
    /// The file of a cluster below a state directory, for what this source says.
    pub fn new(state: PathBuf, cluster: &str, place: &Place) -> Self {
        let folder = state.join(FOLDER);
        let path = folder.join(file_name(cluster));
        Self { folder, path, place: digest(place) }
    }

    /// What is in it; `None`: nothing that can be used.
    pub fn read(&self) -> Option<Hosts> {
        let text = fs::read(&self.path).ok()?;
        // What another source has said means nothing: its hosts may do something else.
        if serde_json::from_slice::<Origin>(&text).is_ok_and(|origin| origin.place != self.place) {
            return None;
        }
        match hosts::registration(&text) {
            Ok(hosts) => Some(hosts).filter(|hosts| !hosts.is_empty()),
            Err(error) => {
                tracing::warn!(file = %self.path.display(), "what was known of endpoints cannot be used: {error}");
                None
            }
        }
    }

    /// Keeps these.
    pub fn write(&self, hosts: &[Arc<Endpoint>]) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        let mut text = hosts::written(hosts);
        if let Value::Object(fields) = &mut text {
            fields.insert("place".to_owned(), self.place.clone().into());
        }
        files::replace(&self.path, text.to_string().as_bytes(), false)
    }
}

/// URLs may hold secrets, so it is not written as it is.
fn digest(place: &Place) -> String {
    let fingerprint = Fingerprint::of([format!("{place:?}").as_bytes()]);
    fingerprint.bytes().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_comes_back_and_garbage_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let of = |file: &str| Kept::new(folder.path().to_owned(), "../a/b", &Place::File(file.into()));
        let kept = of("users.json");
        assert!(kept.read().is_none());
        let mut endpoint = Endpoint::new("127.0.0.1:80".parse().unwrap());
        endpoint.zone = "a".to_owned();
        kept.write(&[Arc::new(endpoint)]).unwrap();
        let hosts = kept.read().unwrap();
        assert_eq!((hosts.len(), hosts[0].zone.as_str()), (1, "a"));
        assert!(kept.path.starts_with(folder.path().join(FOLDER)));
        assert!(of("orders.json").read().is_none(), "it is of another source");
        fs::write(&kept.path, "{").unwrap();
        assert!(kept.read().is_none());
    }
}
