//! No text can make it panic, run away, or overflow the stack.

use std::path::Path;

use proptest::prelude::*;

use super::{environment, problem, problems};
use crate::config::{Format, load_with};

const VALID: &str = r#"# comment
include: []
node: { id: "a", metadata: { x: [1, 2.5, null, true] } }
workers: auto
admin: { address: 127.0.0.1:9900 }
listeners:
  web: &web
    address: 0.0.0.0:8080
    filters: [router]
    limits: { header_timeout: 10s, buffer: 1MiB }
filters:
  router:
    module: builtin:router
    config:
      routes: [{ match: { path: "/é" }, cluster: app }]
      text: |
        - a
        - b
    environment: { A: !env TOKEN }
clusters:
  app: { endpoints: [127.0.0.1:3000, { address: "[::1]:80", weight: 2 }] }
sinks: { out: stdout, f: { file: a.log } }
"#;

const FORMATS: [Format; 3] = [Format::Yaml, Format::Json, Format::Toml];

/// Loads and renders; the result does not matter.
fn survive(text: &str, format: Format) {
    if let Err(report) = load_with("fuzz", text, format, Path::new("/nonexistent"), &environment) {
        assert!(!report.is_empty());
        let _ = (report.render(false), report.render(true), report.to_json());
        for problem in report.problems() {
            assert_eq!(problem.origin.file, "fuzz");
        }
    }
}

/// What a mutation puts in: the characters that mean something.
fn fragment() -> impl Strategy<Value = String> {
    prop_oneof![
        proptest::sample::select(vec![
            "",
            "\n",
            " ",
            "  ",
            "\t",
            ":",
            ": ",
            "- ",
            "? ",
            "[",
            "]",
            "{",
            "}",
            ",",
            "&a ",
            "*a",
            "*web",
            "!env X",
            "!!int ",
            "!",
            "|\n",
            ">",
            "'",
            "\"",
            "#",
            "---\n",
            "...\n",
            "%YAML 1.2\n",
            "<<: ",
            "~",
            "5",
            "-1",
            "1e999",
            ".nan",
            "é",
            "\u{0}",
            "\u{feff}",
            "\u{2028}",
            "\r",
            "\r\n",
            "web",
            "5s",
            "=",
            "[[a]]\n",
            "\\u0000",
            "😀",
        ])
        .prop_map(str::to_owned),
        ".{0,8}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_text_is_survived(text in "(?s).{0,200}", format in 0..3_usize) {
        survive(&text, FORMATS[format]);
    }

    #[test]
    fn arbitrary_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200), format in 0..3_usize) {
        survive(&String::from_utf8_lossy(&bytes), FORMATS[format]);
    }

    #[test]
    fn punctuation_is_survived(parts in proptest::collection::vec(fragment(), 0..60), format in 0..3_usize) {
        survive(&parts.concat(), FORMATS[format]);
    }

    #[test]
    fn mutations_are_survived(edits in proptest::collection::vec((any::<prop::sample::Index>(), 0..12_usize, fragment()), 1..6)) {
        let mut characters: Vec<char> = VALID.chars().collect();
        for (at, length, text) in edits {
            let start = at.index(characters.len() + 1).min(characters.len());
            let end = (start + length).min(characters.len());
            characters.splice(start..end, text.chars());
        }
        survive(&characters.into_iter().collect::<String>(), Format::Yaml);
    }

    #[test]
    fn durations_and_sizes_are_survived(text in "[0-9.eE+-]{0,24}(ns|us|ms|s|m|h|d|B|KiB|GiB|%| )?[0-9]{0,3}[a-z]{0,2}") {
        use crate::config::units::{parse_as};
        for unit in ["duration", "bytes", "percent"] {
            let _ = parse_as(unit, &text);
        }
    }
}

#[test]
fn the_valid_text_is_valid() {
    let result = load_with("fuzz", VALID, Format::Yaml, Path::new(""), &environment);
    assert!(result.is_ok(), "{}", result.unwrap_err());
}

#[test]
fn depth_is_bounded_in_every_format() {
    let deep = 100_000;
    for text in [
        "- ".repeat(deep),
        "[".repeat(deep),
        "? ".repeat(deep),
        "a: {".repeat(deep),
        "- &a ".repeat(deep),
        "!x ".repeat(deep),
    ] {
        survive(&text, Format::Yaml);
    }
    let staircase: String = (0..2000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    assert!(problem(&staircase).0.contains("nested deeper"), "indentation");
    assert!(problem(&"- ".repeat(1000)).0.contains("nested deeper"), "dashes");
    let brackets = problems(&format!("a: {}1{}", "[".repeat(100), "]".repeat(100)));
    assert!(brackets.iter().any(|problem| problem == "1:68 nested deeper than 64 levels"), "{brackets:?}");
    for text in ["[".repeat(deep), "{\"a\":".repeat(deep), format!("{}1{}", "[".repeat(100), "]".repeat(100))] {
        survive(&text, Format::Json);
    }
    for text in [
        format!("a = {}", "[".repeat(deep)),
        format!("a = {}", "{a=".repeat(deep)),
        format!("{}a = 1", "a.".repeat(deep)),
    ] {
        survive(&text, Format::Toml);
    }
}

#[test]
fn anchors_cannot_explode() {
    let mut bomb = String::from("a: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let previous = format!("*a{}, ", level - 1).repeat(9);
        bomb.push_str(&format!("a{level}: &a{level} [{previous}]\n"));
    }
    assert!(problem(&bomb).0.contains("alias expansion"), "bounded");
    survive("a: &a [*a]\n", Format::Yaml);
    survive("&a { *a : 1 }\n", Format::Yaml);
}

#[test]
fn large_files_take_no_longer_than_they_must() {
    let clusters: String = (0..3000).map(|n| format!("  c{n}: {{ endpoints: [127.0.0.1:1, 5] }}\n")).collect();
    let report = load_with(
        "large",
        &format!("listeners: {{}}\nclusters:\n{clusters}"),
        Format::Yaml,
        Path::new(""),
        &environment,
    )
    .unwrap_err();
    assert_eq!(report.problems().len(), 3000);
    let text = report.to_string();
    assert!(text.contains("... and 2900 more") && text.ends_with("3000 errors"));
    // One line: what is shown of it is cut.
    let line = format!("{{\"a\": [{}]}}", "1,".repeat(100_000) + "1");
    let report = load_with("line", &line, Format::Json, Path::new(""), &environment).unwrap_err();
    assert!(report.to_string().len() < 2000);
}
