//! The archive for support: whole, and without a secret.

use std::{collections::BTreeMap, process::Command};

use crate::chain::{chain, official};
use crate::support::{Launch, Upstream};

/// The files of an archive.
fn unpacked(archive: &std::path::Path) -> BTreeMap<String, String> {
    let folder = tempfile::tempdir().unwrap();
    let done = Command::new("tar").arg("-xzf").arg(archive).arg("-C").arg(folder.path()).status().unwrap();
    assert!(done.success());
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.path().join("fyke-support")];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder.path()).unwrap().display().to_string();
                files.insert(name, std::fs::read_to_string(&path).unwrap());
            }
        }
    }
    files
}

#[tokio::test]
async fn it_has_everything_and_no_secret() {
    let upstream = Upstream::says("x").await;
    let secrets = ["env-s3cret-one", "env-s3cret-two", "plain-s3cret-three", "plain-s3cret-four"];
    let filter = official(
        "tag a",
        "environment: { API_TOKEN: !env SECRET_ONE, PLAIN: plain-s3cret-four, OTHER: !env SECRET_TWO }, ",
    );
    let yaml = chain(upstream.address, &[("f", filter)])
        .replace("{ endpoints", "{ metadata: { password: plain-s3cret-three }, endpoints");
    let proxy = Launch::new(yaml).env("SECRET_ONE", secrets[0]).env("SECRET_TWO", secrets[1]).start().await;
    proxy.get("/").await;
    // It is in the log, and must not come out of there.
    let named = format!("{{ \"target\": \"{}\", \"level\": \"info\" }}", secrets[2]);
    assert_eq!(proxy.change("POST", "/v1/logging", "application/json", named).await.0, 200);
    proxy.logged(&[secrets[2]]).await;
    let file = proxy.path("bundle.tar.gz");
    let made = proxy.command(&["support-bundle", file.to_str().unwrap()]);
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    let files = unpacked(&file);
    for name in [
        "status.json",
        "config.json",
        "audit.json",
        "clusters.json",
        "filters.json",
        "events.json",
        "logging.json",
        "versions.json",
        "metrics.txt",
        "log.txt",
        "process/limits",
        "process/status",
        "README.txt",
    ] {
        assert!(files.contains_key(&format!("fyke-support/{name}")), "{name} is missing: {:?}", files.keys());
    }
    let token = std::fs::read_to_string(proxy.path("token")).unwrap();
    for (name, text) in &files {
        assert!(!text.is_empty() || name.contains("process/"), "{name} is empty");
        for secret in secrets.into_iter().chain([token.trim()]) {
            assert!(!text.contains(secret), "{name} has {secret}");
        }
    }
    assert!(files["fyke-support/config.json"].contains("tag a"), "it is of no use");
    assert!(files["fyke-support/log.txt"].contains("***") && files["fyke-support/log.txt"].contains("listening"));
    // It replaces nothing.
    let again = proxy.command(&["support-bundle", file.to_str().unwrap()]);
    assert!(again.code == Some(1) && again.stderr.contains("cannot write"), "{}", again.stderr);
    let answer = proxy.ask("/v1/support-bundle").await;
    assert_eq!((answer.status(), answer.header("content-type")), (200, Some("application/gzip")));
    assert!(answer.body.starts_with(&[0x1f, 0x8b]) && answer.body.len() < 4 << 20);
}
