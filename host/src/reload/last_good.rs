//! The last configuration that ran, on disk: for a start whose file is broken (`fyke run --resume`).
//!
//! Kept are the texts of the configuration and what it includes, and copies of modules that are files. Certificates, keys and values of
//! `!env` are read where they are: secrets are not copied.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};

use crate::{
    clock,
    config::{
        self, Config, Format, Fragment, Report, Written,
        resolved::{Filter, Loaded, ModuleSource},
    },
    files,
    snapshot::Snapshot,
    wasm::source,
};

/// Below `state`.
const FOLDER: &str = "last-good";
const FILE: &str = "configuration.json";

#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    /// Seconds since 1970.
    since: u64,
    /// Names and texts, the main file first.
    files: Vec<(String, String)>,
    /// Digests of the modules that are files, by filter.
    modules: BTreeMap<String, String>,
    /// Control planes are kept away, since a rollback to this generation.
    #[serde(default)]
    pinned: Option<u64>,
}

/// Keeps what runs.
///
/// # Errors
/// Of the operating system. What was kept before is still there then.
pub fn keep(state: &Path, snapshot: &Snapshot, pinned: Option<u64>) -> io::Result<()> {
    let folder = state.join(FOLDER);
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
    let mut modules = BTreeMap::new();
    for (name, filter) in &snapshot.written.filters {
        let ModuleSource::File(path) = &filter.module else { continue };
        let Some(facts) = snapshot.blueprint.facts(name) else { continue };
        let copy = folder.join(format!("{}.wasm", facts.hash));
        if !copy.exists() {
            let bytes = fs::read(path)?;
            // It may have changed since it was loaded.
            if source::digest(&bytes) != facts.hash {
                continue;
            }
            files::replace(&copy, &bytes, true)?;
        }
        modules.insert(name.clone(), facts.hash);
    }
    let since = clock::seconds(snapshot.since);
    let files = snapshot.written.sources.texts().map(|(name, text)| (name.to_owned(), text.to_owned())).collect();
    let kept = Kept { since, files, modules, pinned };
    files::replace(&folder.join(FILE), &serde_json::to_vec_pretty(&kept)?, true)?;
    // Copies that nothing needs any more.
    for entry in fs::read_dir(&folder)?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Some(digest) = name.strip_suffix(".wasm")
            && !kept.modules.values().any(|known| known == digest)
        {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// The last configuration that ran, and since when it did.
///
/// # Errors
/// Why there is none, for people.
pub fn load(state: &Path) -> Result<(Config, SystemTime), String> {
    let folder = state.join(FOLDER);
    let kept = Kept::read(state)?;
    let (files, received) = kept.texts();
    let mut config = config::load_kept(&files, &received).map_err(|report| report.summary())?;
    for (name, digest) in &kept.modules {
        let Some(filter) = config.filters.get(name) else { continue };
        let ModuleSource::File(path) = &filter.module else { continue };
        if fs::read(path).is_ok_and(|bytes| source::digest(&bytes) == *digest) {
            continue;
        }
        let bytes = fs::read(folder.join(format!("{digest}.wasm"))).unwrap_or_default();
        if source::digest(&bytes) != *digest {
            return Err(format!("the copy of the module of filter {name} is damaged"));
        }
        let signature = fs::read(source::beside(path)).ok();
        let loaded = Loaded { sha256: digest.clone(), signature, bytes: bytes.into() };
        let replaced = Filter { module: ModuleSource::Loaded(loaded), ..(**filter).clone() };
        config.put(&Arc::new(replaced));
    }
    Ok((config, SystemTime::UNIX_EPOCH + Duration::from_secs(kept.since)))
}

impl Kept {
    /// What is kept there. Why there is nothing, for people.
    fn read(state: &Path) -> Result<Self, String> {
        let path = state.join(FOLDER).join(FILE);
        let text = fs::read(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        serde_json::from_slice(&text).map_err(|error| format!("{}: {error}", path.display()))
    }

    /// Those of files, and what control planes had sent.
    fn texts(&self) -> (Vec<(String, String)>, Vec<Fragment>) {
        let (received, files): (Vec<_>, Vec<_>) =
            self.files.iter().cloned().partition(|(name, _)| config::sender_of(name).is_some());
        (files, received.into_iter().map(|(name, text)| Fragment { name, text }).collect())
    }
}

/// The generation that control planes were kept away from when the process before ended.
#[must_use]
pub fn pinned(state: &Path) -> Option<u64> {
    Kept::read(state).ok()?.pinned
}

/// A configuration as a process starts with it: with what control planes had sent to the one before, if that still fits.
///
/// # Errors
/// Everything that is wrong with it, at once.
pub fn with_received(file: &Written) -> Result<Config, Report> {
    let alone = file.load(&[]);
    let state = match &alone {
        Ok(config) => config.state.clone().filter(|_| !config.control_planes.is_empty()),
        // It may refer to what is sent.
        Err(_) => state_of(&file.path),
    };
    // Where nothing can be read, nothing had been sent.
    let received = state.and_then(|state| Kept::read(&state).ok()).map(|kept| kept.texts().1).unwrap_or_default();
    if received.is_empty() {
        return alone;
    }
    match file.load(&received) {
        Ok(with_received) => Ok(with_received),
        Err(report) => {
            if alone.is_ok() {
                tracing::warn!("what control planes had sent does not fit any more: {}", report.summary());
            }
            alone
        }
    }
}

/// Where the state of a configuration is that may be broken: what can be told from its text alone.
#[must_use]
pub fn state_of(file: &Path) -> Option<PathBuf> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| {
        let line = line.trim_start().trim_start_matches(['{', '"']);
        let rest = line.strip_prefix("state")?.trim_start_matches('"').trim_start();
        let rest = match Format::of(file) {
            Format::Toml => rest.strip_prefix('=')?,
            Format::Yaml | Format::Json => rest.strip_prefix(':')?,
        };
        Some(rest.split(" #").next().unwrap_or(rest).trim().trim_end_matches([',', '}']).trim())
    })?;
    let path = line.trim_matches(['"', '\'']);
    (!path.is_empty()).then(|| file.parent().unwrap_or(Path::new("")).join(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_found_in_a_text_that_is_broken() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text, found) in [
            ("a.yaml", "workers: [\nstate: ./here # kept\n", Some("./here")),
            ("b.yaml", "state: \"/var/lib/fyke\"\n: :\n", Some("/var/lib/fyke")),
            ("c.json", "{\n  \"state\": \"x\",\n  oops", Some("x")),
            ("d.toml", "state = 'x'\n[[[", Some("x")),
            ("e.yaml", "statement: x\n", None),
        ] {
            let file = folder.path().join(name);
            fs::write(&file, text).unwrap();
            assert_eq!(state_of(&file), found.map(|found| folder.path().join(found)), "{text}");
        }
    }
}
