//! `include`.

use std::{fs, path::Path};

use super::brief;
use crate::config::{Config, Report, load};

const MAIN: &str = "\
include: [conf.d/*.yaml, clusters.toml]
listeners: { web: { address: 127.0.0.1:0, filters: [f], cluster: a } }
";

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

fn load_from(folder: &Path) -> Result<Config, Report> {
    load(&folder.join("proxy.yaml"))
}

/// `file:line:column message`, files relative to the folder.
fn located(report: &Report, folder: &Path) -> Vec<String> {
    let prefix = format!("{}/", folder.display());
    let place = |problem: &crate::config::Problem| problem.origin.file.replace(&prefix, "");
    report.problems().iter().zip(brief(report)).map(|(problem, text)| format!("{}:{text}", place(problem))).collect()
}

#[test]
fn included_objects_know_their_file() {
    let folder = folder(&[
        ("proxy.yaml", MAIN),
        ("clusters.toml", "[clusters.a]\nendpoints = []\n"),
        ("conf.d/b.yaml", "listeners:\n  two: { address: 127.0.0.1:0, cluster: b }\n"),
        ("conf.d/a.yaml", "filters:\n  f: { module: here.wasm }\nclusters: { b: { endpoints: [] } }\n"),
        ("conf.d/ignored.txt", "?"),
        ("conf.d/.hidden.yaml", "?"),
    ]);
    let config = load_from(folder.path()).unwrap_or_else(|report| panic!("{report}"));
    let names: Vec<_> = config.listeners.iter().map(|listener| listener.name.as_str()).collect();
    assert_eq!(names, ["two", "web"]);
    let here = folder.path().join("conf.d");
    assert_eq!(config.listeners[0].origin.file, here.join("b.yaml").display().to_string());
    assert_eq!((config.listeners[0].origin.line, config.listeners[0].origin.column), (2, 3));
    assert_eq!(config.filters["f"].module, crate::config::resolved::ModuleSource::File(here.join("here.wasm")));
    assert_eq!(config.sources.file_names().count(), 4);
}

#[test]
fn problems_of_all_files_are_reported_together() {
    let folder = folder(&[
        ("proxy.yaml", MAIN),
        ("clusters.toml", "[clusters.a]\nendpoints = [5]\n"),
        ("conf.d/a.yaml", "filters:\n  f: { module: x, modul: y }\nfilter: {}\n"),
        ("conf.d/b.yaml", "workers: 1\ninclude: []\ntracing: {}\nclusters: []\n"),
    ]);
    let report = load_from(folder.path()).unwrap_err();
    assert_eq!(
        located(&report, folder.path()),
        [
            "conf.d/a.yaml:2:19 unknown key \"modul\"",
            "conf.d/a.yaml:3:1 unknown key \"filter\"",
            "conf.d/b.yaml:1:1 \"workers\" belongs in the main file",
            "conf.d/b.yaml:2:1 an included file cannot include more",
            "conf.d/b.yaml:3:1 \"tracing\" belongs in the main file",
            "conf.d/b.yaml:4:1 expected a map, found a list",
            "clusters.toml:2:14 expected a string or a map, found the number 5",
        ]
    );
    assert!(report.to_string().contains("2 |   f: { module: x, modul: y }"));
}

#[test]
fn a_name_is_defined_once() {
    let folder = folder(&[
        ("proxy.yaml", MAIN),
        ("clusters.toml", "[clusters.a]\nendpoints = []\n"),
        ("conf.d/a.yaml", "filters: { f: { module: x } }\nclusters: { a: { endpoints: [] } }\n"),
    ]);
    let report = load_from(folder.path()).unwrap_err();
    assert_eq!(located(&report, folder.path()), ["clusters.toml:1:11 cluster \"a\" is defined twice"]);
    let text = report.to_string();
    assert!(text.contains("conf.d/a.yaml:2:13") && text.contains("- first here"), "{text}");
}

#[test]
fn a_file_that_is_not_there_is_a_mistake_unless_it_is_any_file() {
    let folder = folder(&[(
        "proxy.yaml",
        "include:\n  - none.d/*.yaml\n  - none.yaml\n  - a*/b.yaml\nlisteners: { web: { address: 127.0.0.1:0, cluster: a } }\n",
    )]);
    let report = load_from(folder.path()).unwrap_err();
    let found = located(&report, folder.path());
    assert_eq!(found.len(), 2, "what the missing file may define is not reported: {found:?}");
    assert!(
        found[0].starts_with("proxy.yaml:3:5 cannot read ") && found[0].ends_with("No such file or directory"),
        "{found:?}"
    );
    assert_eq!(found[1], "proxy.yaml:4:5 `*` is only understood in the last part of a path");
}

#[test]
fn a_wildcard_may_match_the_main_file_and_others_twice() {
    let folder = folder(&[
        ("proxy.yaml", "include: [\"*.yaml\", other.yaml]\nlisteners: { web: { address: 127.0.0.1:0, cluster: a } }\n"),
        ("other.yaml", "clusters: { a: { endpoints: [] } }\n"),
    ]);
    assert!(load_from(folder.path()).is_ok());
}

#[test]
fn an_included_file_that_does_not_parse_is_the_only_problem() {
    let folder = folder(&[("proxy.yaml", MAIN), ("conf.d/a.yaml", "a: [\n"), ("clusters.toml", "")]);
    let report = load_from(folder.path()).unwrap_err();
    let found = located(&report, folder.path());
    assert!(
        matches!(found.as_slice(), [only] if only.starts_with("conf.d/a.yaml:") && only.contains("not YAML")),
        "{found:?}"
    );
}
