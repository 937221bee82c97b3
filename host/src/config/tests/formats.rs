//! YAML, JSON and TOML say the same, and say where they do not parse.

use std::{fs, path::Path};

use super::{brief, environment, problem, yaml};
use crate::config::{Config, Format, Report, load, load_with};

fn json(text: &str) -> Result<Config, Report> {
    load_with("proxy.json", text, Format::Json, Path::new(""), &environment)
}

fn toml(text: &str) -> Result<Config, Report> {
    load_with("proxy.toml", text, Format::Toml, Path::new(""), &environment)
}

const JSON: &str = r#"{
  "$schema": "https://example.com/fyke.json",
  "listeners": { "wéb": { "address": "127.0.0.1:0", "filters": ["f"] } },
  "filters": { "f": { "module": "m.wasm", "config": { "b": [1, -2, 1.5e3, true, null, "\u00e9\"\\"], "a": {} } } }
}
"#;

const TOML: &str = r#"
workers = 2
[listeners.web]
address = "127.0.0.1:0"
filters = ["f"]
limits.header_timeout = "3s"

[filters.f]
module = "m.wasm"
[filters.f.config]
number = 0x10
when = 2026-01-01
[[filters.f.config.routes]]
path = "/"
"#;

#[test]
fn json_resolves_with_places() {
    let config = json(JSON).unwrap();
    let filter = &config.filters["f"];
    assert_eq!(String::from_utf8_lossy(&filter.configuration), r#"{"b":[1,-2,1500.0,true,null,"é\"\\"],"a":{}}"#);
    let origin = filter.locations.nearest("b[2]").unwrap();
    assert_eq!((origin.file.as_str(), origin.line, origin.column), ("proxy.json", 4, 68));
    assert_eq!((config.listeners[0].name.as_str(), config.listeners[0].origin.column), ("wéb", 18));
}

#[test]
fn json_mistakes_have_places() {
    let report = json("{\n  \"listeners\": { \"wéb\": { \"address\": 5, \"clster\": \"c\" } }\n}").unwrap_err();
    assert_eq!(brief(&report), ["2:38 expected a string, found the number 5", "2:41 unknown key \"clster\""]);
    for (text, problem) in [
        ("{\n  \"a\": 1,\n}", "3:1 not JSON: trailing comma"),
        ("{ // no\n}", "1:3 not JSON: key must be a string"),
        ("{\"a\": 1, \"a\": 2}", "1:10 key \"a\" is there twice"),
        ("", "1:1 not JSON: EOF while parsing a value"),
        ("{} {}", "1:4 not JSON: trailing characters"),
        ("[1", "1:2 not JSON: EOF while parsing a list"),
        ("[]", "1:1 expected a map, found a list"),
    ] {
        let found = brief(&json(text).unwrap_err());
        assert!(found.iter().any(|found| found == problem), "{text}: {found:?}");
    }
}

#[test]
fn toml_resolves_with_places() {
    let config = toml(TOML).unwrap();
    assert_eq!((config.workers, config.listeners[0].limits.header_timeout.as_secs()), (2, 3));
    assert_eq!(config.listeners[0].origin.line, 3);
    let filter = &config.filters["f"];
    assert_eq!(
        String::from_utf8_lossy(&filter.configuration),
        r#"{"number":16,"when":"2026-01-01","routes":[{"path":"/"}]}"#
    );
    let origin = filter.locations.nearest("routes[0].path").unwrap();
    assert_eq!((origin.line, origin.column), (14, 8));
}

#[test]
fn toml_mistakes_have_places() {
    let report = toml("listners = 1\n[listeners.web]\naddress = 5\ncluster = \"c\"\n").unwrap_err();
    assert_eq!(brief(&report), ["1:1 unknown key \"listners\"", "3:11 expected a string, found the number 5"]);
    let report = toml("a = \nb = 1\nb = 2\nc = [").unwrap_err();
    assert!(report.problems().len() >= 3, "every syntax error: {report}");
    assert_eq!(report.problems()[0].origin.line, 1);
    assert!(report.problems().iter().all(|problem| problem.message.starts_with("not TOML: ")), "{report}");
}

#[test]
fn yaml_that_does_not_parse_has_a_place() {
    assert_eq!(problem("a: [1,\nb: 2\n").0, "2:1 not YAML: invalid indentation in flow construct");
    assert!(problem("a: b\n  c: d\n").0.starts_with("2:4 not YAML: "));
    assert_eq!(problem("a: 1\n---\nb: 2\n").0, "3:1 several documents in one file");
    assert_eq!(problem("[]").0, "1:1 expected a map, found a list");
    assert_eq!(problem("text").0, "1:1 expected a map, found the string \"text\"");
}

#[test]
fn keys_are_unique() {
    let report = yaml("listeners:\n  # one\n  web: { a: 1 }\n\n  # two\n  \"x\": {}\n  web: {}\n").unwrap_err();
    assert_eq!(brief(&report), ["7:3 key \"web\" is there twice"]);
    assert_eq!(report.problems()[0].related[0].0.line, 3);
    assert_eq!(problem("{ a: 1, a: 2 }").0, "1:9 key \"a\" is there twice");
    // Another map's key of the same name is not the first.
    let report = yaml("a:\n  x: 1\nb:\n  - x: 1\n    x: 2\n").unwrap_err();
    assert_eq!(report.problems()[0].related[0].0.line, 4);
    // The same name, once as a number.
    assert_eq!(problem("node: { metadata: { 1: a, \"1\": b } }\nlisteners: { w: { address: 127.0.0.1:0, cluster: c } }\nclusters: { c: { endpoints: [] } }\n").0, "1:27 key \"1\" is there twice");
}

#[test]
fn line_ends_and_byte_order_marks_do_not_shift_places() {
    assert_eq!(problem("\u{feff}\r\nlisteners:\r\n  web: 5\r\n").0, "3:8 expected a map, found the number 5");
    assert_eq!(
        problem(
            "# é\nlisteners:\n  wéb: { é: 1, address: 127.0.0.1:0, cluster: c }\nclusters: { c: { endpoints: [] } }\n"
        )
        .0,
        "3:10 unknown key \"é\""
    );
}

#[test]
fn the_extension_says_the_format() {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("a.json", JSON),
        ("a.toml", TOML),
        ("a.yaml", "listeners: { w: { address: 127.0.0.1:0, filters: [f] } }\nfilters: { f: { module: m.wasm } }\n"),
    ] {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        let config = load(&path).unwrap_or_else(|report| panic!("{report}"));
        assert_eq!(config.listeners[0].origin.file, path.display().to_string());
    }
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let report = load(Path::new("/nonexistent/proxy.yaml")).unwrap_err();
    let text = report.to_string();
    assert!(text.contains("error: cannot read \"/nonexistent/proxy.yaml\": No such file or directory"), "{text}");
    assert!(text.contains("--> /nonexistent/proxy.yaml\n"), "{text}");
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), b"a: b\nc: \xff\n").unwrap();
    assert_eq!(brief(&load(file.path()).unwrap_err()), ["2:1 not UTF-8"]);
}
