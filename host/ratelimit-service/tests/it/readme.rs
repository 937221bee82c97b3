//! What README.md shows is what happens.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use fyke_ratelimit_service::{Env, Rules, Settings};

use super::{Running, Stopped, soon};

const README: &str = include_str!("../../README.md");

/// The code blocks of a language, without their fences.
fn blocks(language: &str) -> Vec<&'static str> {
    let fence = format!("```{language}\n");
    let after = README.split(fence.as_str()).skip(1);
    after.map(|text| text.split("\n```").next().unwrap()).collect()
}

/// The block that begins with a comment that is the file's name.
fn file(name: &str) -> &'static str {
    let head = format!("# {name}\n");
    blocks("yaml").into_iter().find(|block| block.starts_with(&head)).unwrap_or_else(|| panic!("no {name}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_quick_start_is_so() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("rules")).unwrap();
    fs::write(directory.path().join("rules/edge.yaml"), file("rules/edge.yaml")).unwrap();
    let mut settings = Settings::from_yaml("settings.yaml", file("settings.yaml")).unwrap();
    assert_eq!(settings.listeners[0].address.to_string(), "127.0.0.1:8081");
    // Where the tests may not be: relative paths, and a port that somebody else may have.
    settings.rules = directory.path().join(&settings.rules);
    settings.listeners[0].address.set_port(0);
    let running = Running::start(settings, Stopped::new().env()).await;
    let command = blocks("sh")[0].replace("127.0.0.1:8081", &running.address().to_string());
    let mut shell = Command::new("sh");
    shell.args(["-c", &command]).stdin(Stdio::null());
    let output = soon(tokio::task::spawn_blocking(move || shell.output())).await.unwrap().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), blocks("text")[0], "{output:?}");
}

#[test]
fn the_rules_are_rules() {
    let name = "rules/messaging.yaml";
    let rules = Rules::parse([(name, file(name))]).unwrap();
    assert!(rules.warnings().is_empty(), "{:?}", rules.warnings());
    let limit =
        |entries: &[(&str, &str)]| rules.limit("messaging", entries).map(|limit| limit.measure.requests_per_unit);
    assert_eq!(limit(&[("message_type", "marketing"), ("to_number", "+49333")]), Some(5));
    assert_eq!(limit(&[("to_number", "+49333")]), Some(100));
    assert_eq!(limit(&[("to_number", "+495551")]), Some(1000));
    assert_eq!(limit(&[("to_number", "+49110")]), Some(0));
    assert_eq!(limit(&[("path", "/files/a")]), Some(50));
    assert_eq!(limit(&[("tenant", "t")]), Some(10));
}

#[test]
fn the_mistake_is_that_mistake() {
    let rules = file("rules/edge.yaml").replace("# rules/edge.yaml\n", "").replace("minute", "fortnight");
    let mistakes = Rules::parse([("rules/edge.yaml", rules.as_str())]).unwrap_err();
    assert_eq!(mistakes.to_string(), blocks("text")[1]);
}

#[tokio::test]
async fn the_settings_with_redis_are_settings() {
    let name = "settings-redis.yaml";
    let mut settings = Settings::from_yaml(name, file(name)).unwrap();
    let redis = settings.redis.clone().unwrap();
    assert_eq!((redis.url.as_deref(), redis.prefix.as_str()), (Some("redis://127.0.0.1:6379"), "fyke:"));
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("edge.yaml"), file("rules/edge.yaml")).unwrap();
    settings.rules = Path::new(directory.path()).to_owned();
    settings.listeners[0].address.set_port(0);
    let running = Running::start(settings, Env::default()).await;
    assert!(running.handle.health().is_serving, "whether Redis is there or not");
}

#[test]
fn the_settings_with_sentinels_and_with_a_cluster_are_settings() {
    let redis = |name| Settings::from_yaml(name, file(name)).unwrap().redis.unwrap();
    let sentinel = redis("settings-sentinel.yaml").sentinel.unwrap();
    assert_eq!((sentinel.name.as_str(), sentinel.servers.len()), ("main", 3));
    assert_eq!(redis("settings-cluster.yaml").cluster.unwrap(), ["10.0.0.2:6379", "10.0.0.3:6379"]);
}
