//! What helps to understand a problem, in one archive that may be sent to somebody else.
//!
//! No secret is in it. The configuration is shown as `/config` shows it, with secrets masked; and because such a value may have found its
//! way into a log line, everything that goes into the archive is searched for the values that are known to be secret, and those are masked
//! wherever they are.

use std::{
    collections::BTreeSet,
    fs,
    io::{self, Write as _},
    sync::Arc,
    time::SystemTime,
};

use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};

use super::{Admin, filter_pages, logging, openapi, pages};
use crate::{
    clock,
    config::secrets::{self, MASK},
    snapshot::Snapshot,
    telemetry::prometheus,
};

/// Bytes of one file; what is longer is cut, and says so.
const FILE: usize = 8 << 20;
/// Bytes of a file of `/proc`.
const PROC: usize = 1 << 20;
/// Files of the process that are looked at.
const FILES: [&str; 6] = ["status", "limits", "statm", "io", "sched", "cgroup"];
/// And of the machine.
const MACHINE: [&str; 4] = ["loadavg", "meminfo", "version", "sys/net/core/somaxconn"];
/// Shorter values are no secrets worth the name, and would blot out too much.
const SHORTEST: usize = 6;
/// An archive, `.tar.gz`.
///
/// # Errors
/// Of the archive's format; nothing is written to disk.
pub(super) fn make(admin: &Admin, draining: bool) -> io::Result<Vec<u8>> {
    let proxy = &admin.keeper.proxy;
    let (snapshot, registry) = (proxy.snapshot(), proxy.registry());
    let secrets = known(&snapshot, admin.access.secret());
    let now = pages::Circumstances {
        draining,
        overload: proxy.overload(),
        last_change: admin.keeper.audit.last_change(),
        log_levels: admin.log.levels.changes().len(),
        control_planes: admin.keeper.control_planes.states(),
        pinned: admin.keeper.pinned(),
    };
    let mut archive = Archive {
        tar: tar::Builder::new(GzEncoder::new(Vec::new(), Compression::default())),
        secrets,
        names: Vec::new(),
    };
    let mut page = |name: &str, value: Value| archive.add(name, &format!("{value:#}\n"), FILE);
    page("status.json", pages::status(&snapshot, registry, &now))?;
    page("config.json", pages::config(&snapshot))?;
    page("generations.json", pages::generations(&proxy.history(), &snapshot))?;
    page("audit.json", pages::audit(&admin.keeper.audit.entries()))?;
    let clusters = pages::Clusters { snapshot: &snapshot, registry };
    page("clusters.json", serde_json::to_value(clusters).unwrap_or_default())?;
    page("filters.json", filter_pages::filters(&snapshot, registry))?;
    page("logging.json", logging::page(&admin.log.levels))?;
    let news = registry.events().after(0);
    let events: Vec<_> = news.events.iter().map(|event| &**event).collect();
    page("events.json", json!({ "last": news.last, "missed": news.missed, "events": events }))?;
    page("versions.json", versions(&snapshot))?;
    page("openapi.json", openapi::document())?;
    archive.add("metrics.txt", &prometheus::render(registry, proxy.metrics().more()), FILE)?;
    archive.add("log.txt", &admin.log.recent(), FILE)?;
    for name in FILES {
        archive.file(&format!("process/{name}"), &format!("/proc/self/{name}"))?;
    }
    for name in MACHINE {
        archive.file(&format!("machine/{}", name.replace('/', "_")), &format!("/proc/{name}"))?;
    }
    archive.end()
}

fn versions(snapshot: &Snapshot) -> Value {
    json!({
        "fyke": env!("CARGO_PKG_VERSION"),
        "commit": option_env!("FYKE_COMMIT").unwrap_or("unknown"),
        "debug_assertions": cfg!(debug_assertions),
        "os": std::env::consts::OS,
        "arch": std::env::consts::ARCH,
        "processors": std::thread::available_parallelism().map_or(0, usize::from),
        "workers": snapshot.config.workers,
        "files": snapshot.config.files,
        "made": clock::seconds(SystemTime::now()),
    })
}

/// Values that nobody outside may see: the token, what comes from the environment, what keys call secret.
fn known(snapshot: &Snapshot, token: &str) -> Vec<String> {
    let mut found = BTreeSet::from([token.to_owned()]);
    let written = snapshot.config.sources.with_secrets();
    named(&written, &mut |name| found.extend(std::env::var(name)));
    secrets::keyed(written, &mut |value| found.extend([value.to_owned()]));
    for filter in snapshot.config.filters.values() {
        found.extend(filter.environment.iter().map(|(_, value)| value.clone()));
    }
    // Also as they are written within JSON.
    let escaped: Vec<String> =
        found.iter().map(|value| json!(value).to_string()).map(|quoted| quoted.trim_matches('"').to_owned()).collect();
    found.extend(escaped);
    let mut found: Vec<String> = found.into_iter().filter(|value| value.len() >= SHORTEST).collect();
    // One may be part of another.
    found.sort_by_key(|value| std::cmp::Reverse(value.len()));
    found
}

/// Names of variables of the environment in a value: `!env NAME` stands for what they hold.
fn named(value: &Value, found: &mut impl FnMut(&str)) {
    match value {
        Value::String(text) => {
            if let Some(name) = text.strip_prefix("!env ") {
                found(name.trim());
            }
        }
        Value::Array(items) => items.iter().for_each(|item| named(item, found)),
        Value::Object(fields) => fields.values().for_each(|value| named(value, found)),
        _ => {}
    }
}

struct Archive {
    tar: tar::Builder<GzEncoder<Vec<u8>>>,
    secrets: Vec<String>,
    names: Vec<String>,
}

impl Archive {
    fn add(&mut self, name: &str, text: &str, most: usize) -> io::Result<()> {
        let mut text = self.secrets.iter().fold(text.to_owned(), |text, secret| {
            if text.contains(secret.as_str()) { text.replace(secret.as_str(), MASK) } else { text }
        });
        if text.len() > most {
            let whole = text.len();
            text.truncate(text.floor_char_boundary(most));
            text.push_str(&format!("\n... cut: it has {whole} bytes\n"));
        }
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(clock::seconds(SystemTime::now()));
        self.names.push(name.to_owned());
        self.tar.append_data(&mut header, format!("fyke-support/{name}"), text.as_bytes())
    }

    /// A file of `/proc`. One that is not there, or not for us to read, is passed over.
    fn file(&mut self, name: &str, path: &str) -> io::Result<()> {
        match fs::read(path) {
            Ok(bytes) => self.add(name, &String::from_utf8_lossy(&bytes), PROC),
            Err(_) => Ok(()),
        }
    }

    fn end(mut self) -> io::Result<Vec<u8>> {
        let names = self.names.join("\n");
        let about = format!(
            "What a proxy of the name Fyke was and did. Secrets are masked; look through it before you send it.\n\n{names}\n"
        );
        self.add("README.txt", &about, FILE)?;
        let mut compressed = self.tar.into_inner()?;
        compressed.flush()?;
        compressed.finish()
    }
}

/// `/v1/support-bundle`, made on a thread that may take its time.
pub(super) async fn answer(admin: &Arc<Admin>) -> io::Result<Vec<u8>> {
    let made = Arc::clone(admin);
    let draining = admin.draining.load(std::sync::atomic::Ordering::Relaxed);
    tokio::task::spawn_blocking(move || make(&made, draining)).await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn variables_of_the_environment_are_known_by_their_names() {
        let mut names = Vec::new();
        named(&json!({ "a": ["!env ONE"], "token": "!env TWO", "b": "three" }), &mut |name| {
            names.push(name.to_owned())
        });
        assert_eq!(names, ["ONE", "TWO"]);
    }

    #[test]
    fn files_are_masked_before_they_are_cut() {
        let tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
        let mut archive = Archive { tar, secrets: vec!["s3cret-value".to_owned()], names: Vec::new() };
        // The cut would go through the middle of it.
        archive.add("a.txt", &format!("{}s3cret-value", "x".repeat(10)), 16).unwrap();
        let bytes = archive.end().unwrap();
        let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(bytes.as_slice()));
        let mut files = std::collections::BTreeMap::new();
        for entry in tar.entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            files.insert(entry.path().unwrap().display().to_string(), text);
        }
        assert_eq!(files["fyke-support/a.txt"], "xxxxxxxxxx***");
        assert!(files["fyke-support/README.txt"].contains("a.txt"));
    }
}
