//! Rules are read again when their files change, and what is broken changes nothing.

use std::fs;
use std::path::Path;

use fyke_ratelimit_service::messages::Code;
use fyke_ratelimit_service::{Env, Span, StartError};

use super::client::{Client, get, metric, request};
use super::{Running, settings, soon, until};

fn rules(domain: &str, requests: u32) -> String {
    format!(
        "domain: {domain}\ndescriptors:\n- {{ key: k, rate_limit: {{ unit: day, requests_per_unit: {requests} }} }}\n"
    )
}

async fn watching(directory: &Path) -> Running {
    let mut settings = settings(directory);
    settings.poll = Span::new(20_000_000).unwrap();
    Running::start(settings, Env::default()).await
}

#[tokio::test]
async fn files_that_change_are_read_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    fs::write(path("a.yaml"), rules("a", 5)).unwrap();
    fs::write(path("b.yml"), rules("b", 5)).unwrap();
    fs::write(path(".hidden.yaml"), "nonsense: [").unwrap();
    fs::write(path("notes.txt"), "not rules").unwrap();
    let running = watching(directory.path()).await;
    let limit = |domain: &str| {
        let rules = running.handle.rules();
        rules.limit(domain, &[("k", "v")]).map(|limit| limit.measure.requests_per_unit)
    };
    assert_eq!((limit("a"), limit("b")), (Some(5), Some(5)));
    fs::write(path("a.yaml"), rules("a", 6)).unwrap();
    until(async || limit("a") == Some(6)).await;
    // As long, and within the same tick of the file system's clock.
    fs::write(path("a.yaml"), rules("a", 7)).unwrap();
    until(async || limit("a") == Some(7)).await;
    fs::write(path("c.yaml"), rules("c", 8)).unwrap();
    fs::remove_file(path("b.yml")).unwrap();
    until(async || limit("c") == Some(8) && limit("b").is_none()).await;
}

/// As Kubernetes does with the files of a ConfigMap.
#[tokio::test]
async fn links_that_are_swapped_are_followed() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    for (version, requests) in [("..1", 5), ("..2", 6)] {
        fs::create_dir(path(version)).unwrap();
        fs::write(path(version).join("rules.yaml"), rules("d", requests)).unwrap();
    }
    std::os::unix::fs::symlink("..1", path("..data")).unwrap();
    std::os::unix::fs::symlink("..data/rules.yaml", path("rules.yaml")).unwrap();
    let running = watching(directory.path()).await;
    let limit = || running.handle.rules().limit("d", &[("k", "v")]).map(|limit| limit.measure.requests_per_unit);
    assert_eq!(limit(), Some(5));
    std::os::unix::fs::symlink("..2", path("..new")).unwrap();
    fs::rename(path("..new"), path("..data")).unwrap();
    until(async || limit() == Some(6)).await;
}

#[tokio::test]
async fn a_broken_file_keeps_the_rules_there_were_and_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("rules.yaml");
    fs::write(&file, rules("d", 2)).unwrap();
    let running = watching(directory.path()).await;
    let client = Client::connect(running.address()).await;
    let left = async || client.ask(request("d", &[&[("k", "v")]])).await.unwrap().statuses[0].limit_remaining;
    assert_eq!(left().await, 1);
    fs::write(&file, "domain: d\ndescriptors:\n- { key: k, rate_limit: { unit: dya, requests_per_unit: 2 } }\n")
        .unwrap();
    until(async || metric(&running.handle.metrics(), "ratelimit_service_config_load_error") == Some(1.0)).await;
    let health = get(running.address(), "/healthcheck").await;
    assert_eq!((health.status, health.body.lines().next()), (200, Some("OK")));
    let mistake = "rules.yaml:3:33: descriptors[0].rate_limit.unit: \"dya\" is no unit";
    assert!(health.body.contains(mistake), "{}", health.body);
    assert_eq!(left().await, 0, "the rules before apply, with their counters");
    let error = running.handle.reload().await.unwrap_err().to_string();
    assert!(error.contains(mistake), "{error}");
    fs::write(&file, rules("d", 9)).unwrap();
    running.handle.reload().await.unwrap();
    assert_eq!(left().await, 6, "counters stay when rules are read again");
    assert!(!get(running.address(), "/healthcheck").await.body.contains("dya"));
}

#[tokio::test]
async fn a_service_does_not_start_with_broken_rules() {
    let directory = tempfile::tempdir().unwrap();
    let start = async |settings| fyke_ratelimit_service::Service::start(settings).await.unwrap_err();
    let empty = start(settings(directory.path())).await;
    assert!(empty.to_string().ends_with("has no files whose names end with .yaml or .yml"), "{empty}");
    let missing = start(settings(&directory.path().join("missing"))).await;
    assert!(missing.to_string().contains("missing: cannot be read: "), "{missing}");
    fs::write(directory.path().join("a.yaml"), "domain: d\nrules: []\n").unwrap();
    fs::write(directory.path().join("b.yaml"), "descriptors: []\n").unwrap();
    let StartError::Rules(mistakes) = start(settings(directory.path())).await else { panic!() };
    assert_eq!(mistakes.0.len(), 2, "{mistakes}");
    assert!(mistakes.to_string().contains("a.yaml:2:1: unknown key \"rules\""), "{mistakes}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reading_rules_again_under_load_fails_no_request() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("rules.yaml");
    fs::write(&file, rules("d", 1_000_000)).unwrap();
    let running = watching(directory.path()).await;
    let client = Client::connect(running.address()).await;
    let load = tokio::spawn(async move {
        for _ in 0..2_000 {
            let response = client.ask(request("d", &[&[("k", "v")]])).await.unwrap();
            assert_eq!(response.overall_code(), Code::Ok);
            assert!(response.statuses[0].current_limit.is_some(), "a rule is always there");
        }
    });
    while !load.is_finished() {
        running.handle.reload().await.unwrap();
        tokio::task::yield_now().await;
    }
    soon(load).await.unwrap();
}
