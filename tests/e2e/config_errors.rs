//! A configuration that is wrong: everything at once, each with its place, and nothing started.

use std::{fs, path::Path};

use crate::chain::{misbehave, official};
use crate::{
    guests,
    support::process::{Ended, run},
};

/// Runs each `fyke COMMAND` on a configuration with files beside it.
fn with_files<const N: usize>(commands: [&str; N], yaml: &str, files: &[(&str, &[u8])]) -> [Ended; N] {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        fs::write(folder.path().join(name), content).unwrap();
    }
    let file = folder.path().join("proxy.yaml");
    fs::write(&file, yaml).unwrap();
    commands.map(|command| run([command.as_ref(), file.as_os_str()]))
}

/// `run` and `validate` must both refuse with code 2, say the same, and start nothing. Returns what was said.
pub(crate) fn refused(yaml: &str, files: &[(&str, &[u8])]) -> String {
    let [ran, validated] = with_files(["run", "validate"], yaml, files);
    assert_eq!((ran.code, validated.code), (Some(2), Some(2)), "{}{}", ran.stderr, validated.stderr);
    assert!(!ran.stderr.contains("listening"), "{}", ran.stderr);
    let errors = |ended: &Ended| {
        ended.stderr.lines().filter(|line| line.starts_with("error")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(errors(&ran), errors(&validated));
    ran.stderr
}

/// A configuration around filters; line 3 is the first one's.
fn around(filters: &[(&str, &str)]) -> String {
    let names: Vec<_> = filters.iter().map(|(name, _)| *name).collect();
    let mut yaml = format!(
        "listeners: {{ web: {{ address: '127.0.0.1:0', filters: [{}], cluster: app }} }}\nfilters:\n",
        names.join(", ")
    );
    for (name, filter) in filters {
        yaml.push_str(&format!("  {name}: {filter}\n"));
    }
    yaml + "clusters: { app: { endpoints: ['127.0.0.1:1'] } }\n"
}

#[track_caller]
fn says(said: &str, words: &[&str]) {
    for word in words {
        assert!(said.contains(word), "{word:?} is missing in:\n{said}");
    }
}

#[test]
fn every_mistake_of_a_file_is_reported_at_once_with_its_place() {
    let yaml = "\
listeners:
  web:
    adress: 127.0.0.1:0
    address: 127.0.0.1:0
    filters: [rooter]
    limits: { header_timeout: 10 }
filters:
  router: { module: builtin:router, on_failure: explode }
clusters:
  app: { endpoints: [nowhere], load_balancer: round_robbin }
";
    let said = refused(yaml, &[]);
    says(
        &said,
        &[
            "proxy.yaml:3:5",
            "adress",
            "address",
            "proxy.yaml:5:15",
            "rooter",
            "router",
            "proxy.yaml:6:31",
            "header_timeout: 10",
            "proxy.yaml:8:49",
            "explode",
            "close",
            "proxy.yaml:10:22",
            "nowhere",
            "proxy.yaml:10:47",
            "round_robin",
            "did you mean",
            "6 errors",
        ],
    );
}

#[test]
fn yaml_that_cannot_be_read_is_placed_too() {
    says(&refused("listeners:\n  web: [\n", &[]), &["proxy.yaml:", "1 error"]);
    says(&refused("", &[]), &["listener"]);
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let ended = run(["run", "/nowhere/proxy.yaml"]);
    assert_eq!(ended.code, Some(2));
    says(&ended.stderr, &["/nowhere/proxy.yaml"]);
}

#[test]
fn a_missing_module_is_named_with_its_filter() {
    let said =
        refused(&around(&[("first", "{ module: nowhere.wasm }"), ("second", "{ module: 'builtin:rooter' }")]), &[]);
    says(
        &said,
        &[
            "filter \"first\"",
            "nowhere.wasm",
            "proxy.yaml:3:",
            "filter \"second\"",
            "builtin module \"rooter\"",
            "proxy.yaml:4:",
            "2 errors",
        ],
    );
}

fn wat(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap()
}

const ABI: &str = r#"(func (export "proxy_abi_version_0_2_1")) (memory (export "memory") 1) (func (export "proxy_on_memory_allocate") (param i32) (result i32) i32.const 0)"#;

#[test]
fn modules_that_cannot_be_loaded_say_why() {
    let unknown = wat(&format!(r#"(module (import "env" "proxy_brew_coffee" (func (param i32) (result i32))) {ABI})"#));
    let foreign = wat(r#"(module (memory (export "memory") 1) (func (export "run")))"#);
    let wrong = wat(&format!(r#"(module (import "env" "proxy_log" (func (param i64) (result i32))) {ABI})"#));
    let yaml = around(&[
        ("unknown-import", "{ module: unknown.wasm }"),
        ("no-abi", "{ module: foreign.wasm }"),
        ("wrong-type", "{ module: wrong.wasm }"),
        ("garbage", "{ module: garbage.wasm }"),
        ("empty", "{ module: empty.wasm }"),
    ]);
    let said = refused(
        &yaml,
        &[
            ("unknown.wasm", &unknown),
            ("foreign.wasm", &foreign),
            ("wrong.wasm", &wrong),
            ("garbage.wasm", b"#!/bin/sh\n"),
            ("empty.wasm", b""),
        ],
    );
    says(&said, &["filter \"unknown-import\"", "proxy_brew_coffee"]);
    says(&said, &["filter \"no-abi\"", "proxy_abi_version"]);
    says(&said, &["filter \"wrong-type\"", "proxy_log"]);
    says(&said, &["filter \"garbage\"", "filter \"empty\"", "5 errors"]);
}

#[test]
fn another_module_than_the_digest_says_is_refused() {
    let yaml = around(&[("f", &format!("{{ module: {:?}, sha256: '{}' }}", guests::HEADER, "0".repeat(64)))]);
    says(&refused(&yaml, &[]), &["filter \"f\"", "SHA-256", &"0".repeat(64)]);
}

#[test]
fn a_refused_configuration_is_named_with_its_filter_and_place() {
    let said = refused(&around(&[("picky", &official("refuse", ""))]), &[]);
    says(&said, &["filter \"picky\"", "proxy.yaml:3:", "1 error"]);
    let yaml = "\
listeners: { web: { address: '127.0.0.1:0', filters: [router] } }
filters:
  router:
    module: builtin:router
    config:
      routes:
        - { cluster: app }
        - { match: { path_regex: '(' }, cluster: app }
clusters: { app: { endpoints: ['127.0.0.1:1'] } }
";
    says(&refused(yaml, &[]), &["filter \"router\"", "routes[1]", "path_regex", "proxy.yaml:8:"]);
    says(
        &refused(&yaml.replace("'('", "x").replace("- { cluster: app }", "- { cluster: apq }"), &[]),
        &["filter \"router\"", "no cluster \"apq\"", "did you mean \"app\"", "routes[0].cluster", "proxy.yaml:7:"],
    );
    says(
        &refused(&yaml.replace("'('", "x").replace("- { cluster: app }", "- { clustre: app }"), &[]),
        &["filter \"router\"", "clustre", "did you mean \"cluster\"", "proxy.yaml:7:"],
    );
    // Requests do not go to servers of TCP.
    let tcp = yaml.replace("'('", "x").replace("clusters: { app: {", "clusters: { app: { protocol: tcp,");
    says(&refused(&tcp, &[]), &["cluster \"app\" has `protocol: tcp` and takes no requests", "proxy.yaml:7:"]);
    let tcp = around(&[]).replace("clusters: { app: {", "clusters: { app: { protocol: tcp,").replace("filters:\n", "");
    says(&refused(&tcp, &[]), &["cluster \"app\" has `protocol: tcp` and takes no requests", "proxy.yaml:1:"]);
    // A cluster that the filter needs and may not use is named before any request is.
    let busy = format!("{{ module: {:?} }}", guests::BUSY);
    says(
        &refused(&around(&[("busy", &busy)]).replace("clusters: {", "clusters: { echo: { endpoints: [] },"), &[]),
        &["the filter may not use cluster \"echo\"", "allow: { clusters: [echo] }"],
    );
    // What the module's schema tells is told before it runs, all at once.
    let busy = format!("{{ module: {:?}, config: {{ refresh_ms: -1, refesh_ms: 1 }} }}", guests::BUSY);
    says(
        &refused(&around(&[("busy", &busy)]), &[]),
        &[
            "config.refresh_ms: -1 is less than the minimum of 0",
            "unknown key \"refesh_ms\"; did you mean \"refresh_ms\"",
            "2 errors",
        ],
    );
}

#[test]
fn a_trap_in_configure_is_named_with_its_filter() {
    for kind in ["panic", "trap", "loop", "memory"] {
        let said = refused(
            &around(&[(
                "broken",
                &misbehave(&format!("configure {kind}"), "limits: { configure_time: 300ms, memory: 16MiB }, "),
            )]),
            &[],
        );
        says(&said, &["filter \"broken\"", "proxy.yaml:3:", "1 error"]);
    }
}

#[test]
fn a_configuration_that_a_route_carries_is_checked_as_well() {
    let yaml = format!(
        "listeners: {{ web: {{ address: '127.0.0.1:0', filters: [router, picky] }} }}\n\
         filters:\n  router: {{ module: 'builtin:router', config: {{ routes: [{{ cluster: app, filters: {{ picky: refuse }} }}] }} }}\n  picky: {}\n\
         clusters: {{ app: {{ endpoints: ['127.0.0.1:1'] }} }}\n",
        official("tag x", "")
    );
    says(&refused(&yaml, &[]), &["filter \"picky\"", "route"]);
}

#[test]
fn an_address_in_use_starts_nothing() {
    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = held.local_addr().unwrap();
    let yaml = format!(
        "listeners:\n  web: {{ address: '127.0.0.1:0', cluster: app }}\n  taken: {{ address: '{address}', cluster: app }}\nclusters: {{ app: {{ endpoints: [] }} }}\n"
    );
    let [ended] = with_files(["run"], &yaml, &[]);
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    says(&ended.stderr, &["taken", &address.to_string(), "proxy.yaml:3:"]);
    assert!(!ended.stderr.contains("listening listener"), "{}", ended.stderr);
}

#[test]
fn nothing_listens_before_every_filter_is_ready() {
    // An address of its own, so that no other test can be met there.
    let free = std::net::TcpListener::bind("127.77.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let yaml = around(&[("slow", &misbehave("configure loop", "limits: { configure_time: 2s }, "))])
        .replace("127.0.0.1:0", &address.to_string());
    let running = std::thread::spawn(move || with_files(["run"], &yaml, &[]));
    let mut looks = 0;
    while !running.is_finished() {
        assert!(std::net::TcpStream::connect(address).is_err(), "it listened before it was ready");
        looks += 1;
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let [ended] = running.join().unwrap();
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(looks > 20, "the filter was refused before its time was up");
}

#[test]
fn every_condition_of_a_chain_that_is_none_is_shown_at_its_place() {
    let yaml = "\
listeners:
  web:
    address: '127.0.0.1:0'
    cluster: app
    chains:
      - match: { source: [10.0.0.1/8, ten], source_ports: ['9-1'] }
        cluster: app
      - { match: { sni: ['*'] }, cluster: gone }
clusters: { app: { endpoints: [] } }
";
    let refused = refused(yaml, &[]);
    for words in [
        ["did you mean `10.0.0.0/8`?", "proxy.yaml:6:27"],
        ["`ten` is neither a network", "proxy.yaml:6:39"],
        ["did you mean `1-9`?", "proxy.yaml:6:60"],
        ["`*` would match any name", "proxy.yaml:8:26"],
        ["there are no certificates", "proxy.yaml:8:20"],
        ["cluster \"gone\" does not exist", "proxy.yaml:8:43"],
    ] {
        says(&refused, &words);
    }
}

#[test]
fn errors_can_be_read_by_programs() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("proxy.yaml");
    fs::write(&file, "listeners: { web: { address: nowhere, cluster: app } }\n").unwrap();
    let ended = run(["--output".as_ref(), "json".as_ref(), "validate".as_ref(), file.as_os_str()]);
    assert_eq!(ended.code, Some(2));
    let report: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    let error = report["errors"]
        .as_array()
        .unwrap()
        .iter()
        .find(|error| error["message"].as_str().unwrap().contains("\"nowhere\""))
        .unwrap();
    let origin = &error["origin"];
    assert_eq!(Path::new(origin["file"].as_str().unwrap()).file_name(), Some("proxy.yaml".as_ref()));
    assert_eq!((origin["line"].as_u64(), origin["column"].as_u64()), (Some(1), Some(30)));
}

#[test]
fn a_filter_that_a_listener_would_never_call_is_refused_by_name() {
    let yaml = "\
listeners:
  web: { address: '127.0.0.1:0', protocol: tcp, cluster: app, filters: [router] }
filters:
  router: { module: 'builtin:router', config: { routes: [{ cluster: app }] } }
clusters: { app: { endpoints: [] } }
";
    says(
        &refused(yaml, &[]),
        &["filter \"router\"", "listener \"web\" has `protocol: tcp`", "no callback for TCP", "proxy.yaml:4"],
    );
}
