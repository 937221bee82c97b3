//! Bootstrap files and what becomes of them: `convert/NAME.envoy.yaml`, `NAME.fyke.yaml` and `NAME.findings`. With `UPDATE_CONVERSIONS=1` what
//! becomes of them is written, to be read by a person before it is believed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a test may fail loudly"
)]

use std::{fs, path::PathBuf};

use fyke_envoy::{Format, Schema, Severity, Translator};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/convert")
}

fn names() -> Vec<String> {
    let files = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = files.filter_map(|name| name.strip_suffix(".envoy.yaml").map(str::to_owned)).collect();
    names.sort();
    names
}

#[test]
fn bootstraps_become_what_is_written_beside_them() {
    let translator = Translator::new(Schema::load().unwrap());
    let update = std::env::var_os("UPDATE_CONVERSIONS").is_some();
    let mut differences = Vec::new();
    let names = names();
    assert!(names.len() >= 15, "{names:?}");
    for name in names {
        let read = |kind: &str| fs::read_to_string(folder().join(format!("{name}.{kind}"))).unwrap_or_default();
        let conversion = translator.convert(&read("envoy.yaml"), Format::Yaml).unwrap();
        let findings: String = conversion.findings.iter().map(|finding| format!("{finding}\n")).collect();
        let without = fyke_envoy::Conversion { findings: Vec::new(), ..conversion };
        let config = without.to_yaml();
        for (kind, now) in [("fyke.yaml", config), ("findings", findings)] {
            let before = read(kind);
            if before == now {
                continue;
            }
            if update {
                fs::write(folder().join(format!("{name}.{kind}")), &now).unwrap();
            }
            let line = before.lines().zip(now.lines()).position(|(before, now)| before != now);
            let line = line.unwrap_or_else(|| before.lines().count().min(now.lines().count()));
            let shown = |text: &str| text.lines().nth(line).unwrap_or("(nothing)").to_owned();
            differences.push(format!(
                "{name}.{kind}:{}\n  expected {}\n  found    {}",
                line + 1,
                shown(&before),
                shown(&now)
            ));
        }
    }
    assert!(differences.is_empty() || update, "\n{}", differences.join("\n"));
}

/// Takes single fields out of a bootstrap, and puts one in that nobody knows: it must be told, wherever it is.
#[test]
fn a_field_that_nobody_knows_is_told_wherever_it_is() {
    let translator = Translator::new(Schema::load().unwrap());
    let (mut places, mut untold) = (0, Vec::new());
    for name in ["edge", "routes", "clusters", "databases", "tracing", "authorisation"] {
        let text = fs::read_to_string(folder().join(format!("{name}.envoy.yaml"))).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        for (index, line) in lines.iter().enumerate() {
            // The first message that stands on the line.
            let Some(at) = line.find("{ ").filter(|_| !line.trim_start().starts_with('#')) else { continue };
            if AS_A_WHOLE.iter().any(|word| line.contains(word)) || line[at..].starts_with("{ {") {
                continue;
            }
            let mut changed = lines.clone();
            let with = format!("{}{{ nobody_knows_this: 1, {}", &line[..at], &line[at + 2..]);
            changed[index] = &with;
            let conversion = translator.convert(&changed.join("\n"), Format::Yaml).unwrap();
            let told = conversion
                .findings
                .iter()
                .any(|finding| finding.severity == Severity::Refused && finding.path.contains("nobody_knows_this"));
            if !told {
                untold.push(format!("{name}.envoy.yaml:{}: {with}", index + 1));
            }
            places += 1;
        }
    }
    assert!(untold.is_empty(), "\n{}", untold.join("\n"));
    assert!(places > 100, "{places}");
}

/// Anything may be in these, or they are told as a whole.
const AS_A_WHOLE: &[&str] = &[
    "metadata",
    "static_layer",
    "json_format",
    "key_values",
    "default_subset",
    "triggers",
    "virtual_clusters",
    "unknown",
    "healthy_threshold: 2, tcp_health_check",
    "body: {",
    "with_request_body",
];

#[test]
fn both_spellings_mean_the_same() {
    let translator = Translator::new(Schema::load().unwrap());
    let snake = r#"{ "admin": { "address": { "socket_address": { "address": "127.0.0.1", "port_value": 9901 } } } }"#;
    let camel = r#"{ "admin": { "address": { "socketAddress": { "address": "127.0.0.1", "portValue": "9901" } } } }"#;
    for text in [snake, camel] {
        let conversion = translator.convert(text, Format::Json).unwrap();
        assert_eq!(conversion.config["admin"]["address"], "127.0.0.1:9901");
        assert!(conversion.findings.is_empty(), "{:?}", conversion.findings);
    }
}

#[test]
fn text_that_is_no_bootstrap_says_why() {
    let translator = Translator::new(Schema::load().unwrap());
    for (text, expected) in [("a: [", "line"), ("- a", "object"), ("", "nothing"), ("a: 1\n---\nb: 1", "several")] {
        let error = translator.convert(text, Format::Yaml).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
}

/// Each alias ten times the one before: a billion values in 400 bytes.
#[test]
fn aliases_of_aliases_are_bounded() {
    let translator = Translator::new(Schema::load().unwrap());
    let mut text = String::from("a0: &a0 [x]\n");
    for index in 1..10 {
        let ten = vec![format!("*a{}", index - 1); 10].join(", ");
        text.push_str(&format!("a{index}: &a{index} [{ten}]\n"));
    }
    assert!(translator.convert(&text, Format::Yaml).is_err());
}
