//! `!env`: what comes from the environment is used, and never shown. Neither is what keys call a secret.

use super::{problem, with, yaml};

#[test]
fn values_come_from_the_environment() {
    let config = yaml(
        "\
workers: !env PORT
listeners: { w: { address: 127.0.0.1:0, filters: [f], limits: { headers: !env PORT } } }
filters: { f: { module: m.wasm, config: { token: !env TOKEN }, environment: { T: !env TOKEN }, allow: { shared_data: !env FLAG } } }
",
    );
    // 8080 workers are too many, 8080 headers are not: text is read as what the place wants.
    let report = config.unwrap_err();
    let [only] = report.problems() else { panic!("{report}") };
    assert_eq!(only.message, "the value of !env PORT is out of range");
}

#[test]
fn the_filter_gets_the_value() {
    let text = "\
listeners: { w: { address: 127.0.0.1:0, filters: [f, g], limits: { headers: !env PORT } } }
filters:
  f: { module: m.wasm, config: { token: !env TOKEN }, environment: { T: !env TOKEN }, allow: { shared_data: !env FLAG } }
  g: { module: m.wasm, config: !env TOKEN }
";
    let config = yaml(text).unwrap();
    assert_eq!(config.listeners[0].limits.headers, 8080);
    let filter = &config.filters["f"];
    assert_eq!(filter.configuration, br#"{"token":"s3cret"}"#);
    assert_eq!(filter.environment, [("T".to_owned(), "s3cret".to_owned())]);
    assert!(filter.allow.shared_data);
    assert_eq!(config.filters["g"].configuration, b"s3cret");
    let written = config.sources.as_written().to_string();
    assert!(written.contains("!env TOKEN") && !written.contains("s3cret"), "{written}");
    assert!(!format!("{:?}", config.sources).contains("s3cret"));
    let shown = format!("{:?}", config.filters);
    assert!(shown.contains("m.wasm") && !shown.contains("s3cret"), "{shown}");
}

#[test]
fn what_a_key_calls_a_secret_is_used_and_not_shown() {
    let text = "\
listeners: { w: { address: 127.0.0.1:0, filters: [f] } }
filters: { f: { module: m.wasm, config: { pool: { password: hunter22 } }, environment: { T: hunter33 } } }
";
    let config = yaml(text).unwrap();
    assert_eq!(config.filters["f"].configuration, br#"{"pool":{"password":"hunter22"}}"#);
    let written = config.sources.as_written().to_string();
    assert!(written.contains(r#""password":"***""#) && !written.contains("hunter"), "{written}");
}

#[test]
fn no_message_shows_a_value_from_the_environment() {
    for (listener, filter) in [
        ("address: !env TOKEN, cluster: c", "module: m"),
        ("address: 127.0.0.1:0, cluster: !env TOKEN", "module: m"),
        ("address: 127.0.0.1:0, filters: [!env TOKEN]", "module: m"),
        ("address: 127.0.0.1:0, cluster: c, protocol: !env TOKEN", "module: m"),
        ("address: 127.0.0.1:0, cluster: c, drain: !env TOKEN", "module: m"),
        ("address: 127.0.0.1:0, cluster: c, limits: { headers: !env TOKEN, buffer: !env TOKEN }", "module: m"),
        (
            "address: 127.0.0.1:0, cluster: c, tls: { certificates: [{ certificate: !env TOKEN, key: !env TOKEN }] }",
            "module: m",
        ),
        ("address: 127.0.0.1:0, cluster: c, tls: !env TOKEN", "module: m"),
        ("address: 127.0.0.1:0, cluster: c", "module: m, sha256: !env TOKEN"),
        ("address: 127.0.0.1:0, cluster: c", "module: m, callbacks: [!env TOKEN]"),
        ("address: 127.0.0.1:0, cluster: c", "module: m, limits: !env TOKEN"),
    ] {
        let text = format!(
            "listeners: {{ w: {{ {listener} }} }}\nfilters: {{ f: {{ {filter} }} }}\nclusters: {{ c: {{ endpoints: [] }} }}\n"
        );
        let report = yaml(&text).unwrap_err();
        for shown in [report.to_string(), report.to_json().to_string()] {
            assert!(!shown.contains("s3cret"), "{shown}");
            assert!(shown.contains("!env TOKEN"), "{shown}");
        }
    }
}

#[test]
fn a_missing_variable_is_named_with_its_place() {
    let (message, help) =
        problem("listeners: { w: { address: !env NOWHERE, cluster: c } }\nclusters: { c: { endpoints: [] } }\n");
    assert_eq!(message, "1:28 environment variable \"NOWHERE\" is not set");
    assert_eq!(help, "start Fyke with NOWHERE=... or write the value");
}

#[test]
fn env_takes_a_name() {
    for text in ["state: !env [a]", "state: !env {}", "state: !env"] {
        let (message, _) = problem(&with(&format!("clusters: {{ app: {{ endpoints: [] }} }}\n{text}\n")));
        assert!(message.ends_with("!env takes the name of an environment variable"), "{message}");
    }
}
