//! Ten thousand routes: `cargo test --release -p fyke-filter-router --lib -- --ignored --nocapture ten_thousand`.

use std::hint::black_box;
use std::time::Instant;

use fyke_sdk::testing::Host;

use super::{route, send};
use crate::Router;
use crate::index::Index;
use crate::matching::Matcher;
use crate::scan::Scan;

const ROUTES: usize = 10_000;

fn configuration() -> String {
    let condition = |n: usize| match n % 4 {
        0 => serde_json::json!({"path": format!("/api/v1/service{n}/status")}),
        1 => serde_json::json!({"path_separated_prefix": format!("/api/v1/service{n}")}),
        2 => serde_json::json!({"path_template": format!("/api/v2/service{n}/{{id}}/items/**")}),
        _ => serde_json::json!({"path_regex": format!("/api/v3/service{n}/[0-9]+/[a-z]+")}),
    };
    let routes: Vec<_> = (0..ROUTES)
        .map(|n| serde_json::json!({"name": n.to_string(), "match": condition(n), "cluster": "c"}))
        .chain([serde_json::json!({"name": "rest", "cluster": "c"})])
        .collect();
    serde_json::json!({ "routes": routes }).to_string()
}

fn path(n: usize) -> String {
    match n % 4 {
        0 => format!("/api/v1/service{n}/status"),
        1 => format!("/api/v1/service{n}/a/b"),
        2 => format!("/api/v2/service{n}/42/items/a/b"),
        _ => format!("/api/v3/service{n}/42/abc"),
    }
}

#[test]
fn among_many_routes_the_right_one_is_found() {
    let host = Host::<Router>::configure(&configuration()).unwrap();
    for n in (0..ROUTES).step_by(97) {
        assert_eq!(route(&host, send(&host, &path(n), &[])).unwrap(), n.to_string());
    }
    assert_eq!(route(&host, send(&host, "/api/v3/service3/x/abc", &[])).unwrap(), "rest");
}

/// The figures: `cargo test --release -p fyke-filter-router ten_thousand -- --nocapture`.
#[test]
fn each_of_ten_thousand_routes_is_looked_up_by_its_path() {
    let configuration = configuration();
    let begun = Instant::now();
    let host = Host::<Router>::configure(&configuration).unwrap();
    println!("load: {:?}", begun.elapsed());
    drop(host);
    // The lookup and the path's condition, without the fake host.
    let config: crate::Config = serde_json::from_str(&configuration).unwrap();
    let matchers: Vec<Matcher> =
        config.routes.unwrap().into_iter().map(|route| Matcher::build(route.r#match).unwrap()).collect();
    let index = Index::build(matchers.iter().map(|matcher| matcher.path.key()));
    for (kind, name) in ["exact", "prefix", "template", "regex"].into_iter().enumerate() {
        let paths: Vec<(usize, String)> = (0..ROUTES).filter(|n| n % 4 == kind).map(|n| (n, path(n))).collect();
        // The best of several rounds: other work on the machine is not what is measured.
        let round = || {
            let begun = Instant::now();
            for (n, path) in &paths {
                let path = black_box(path.as_bytes());
                let found = index.first(path, |at| {
                    matchers[at].path.matches(path, &Scan::default())?;
                    Some(at)
                });
                assert_eq!(found, Some(*n));
            }
            begun.elapsed() / u32::try_from(paths.len()).unwrap()
        };
        println!("{name}: {:?} a lookup", (0..20).map(|_| round()).min().unwrap());
    }
}
