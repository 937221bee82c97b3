//! What is wrong is said, all of it, at its place.

use super::{brief, problem, problems, with, yaml};

/// Completes [`super::MINIMAL`].
const APP: &str = "clusters: { app: { endpoints: [127.0.0.1:1] } }\n";

#[test]
fn every_mistake_is_reported_at_once_in_order() {
    let text = "\
listners: {}
listeners:
  web: { address: 0.0.0.0:8080, filters: [ruoter], drain: 5 }
  two: { addres: 127.0.0.1:80, protocol: grpc }
filters:
  router: { module: builtin:router, on_failure: opne, limits: { memory: 1mb } }
clusters:
  app: { endpoints: [localhost:80, { address: 127.0.0.1:80, weight: 0 }], pool: [] }
";
    assert_eq!(
        problems(text),
        [
            "1:1 unknown key \"listners\"",
            "3:43 filter \"ruoter\" does not exist",
            "3:59 expected a duration such as \"5s\", found the number 5",
            "4:3 \"two\" lacks \"address\"",
            "4:10 unknown key \"addres\"",
            "4:42 unknown value \"grpc\"",
            "6:49 unknown value \"opne\"",
            "6:73 unknown unit \"mb\" in \"1mb\"",
            "8:22 \"localhost:80\" is not an address",
            "8:69 0 is out of range",
            "8:75 expected a map, found a list",
        ]
    );
}

#[test]
fn a_problem_is_shown_with_its_line_and_what_to_try() {
    let report = yaml("\nlistners:\n  web: { address: 127.0.0.1:0 }\n").unwrap_err();
    let text = report.to_string();
    let expected = "\
error: unknown key \"listners\"
 --> proxy.yaml:2:1
  |
2 | listners:
  | ^^^^^^^^
  |
  = help: did you mean \"listeners\"?
";
    assert!(text.contains(expected), "{text}");
    assert!(text.ends_with("\n\n1 error"), "{text}");
    assert!(report.render(true).contains('\u{1b}') && !text.contains('\u{1b}'));
}

#[test]
fn two_places_are_both_shown() {
    let text = yaml("listeners:\n  web: {}\n  web: {}\n").unwrap_err().to_string();
    assert!(
        text.contains("--> proxy.yaml:3:3") && text.contains("::: proxy.yaml:2:3") && text.contains("first here"),
        "{text}"
    );
}

#[test]
fn programs_get_json() {
    let json = yaml(&with("workers: 0\n")).unwrap_err().to_json();
    assert_eq!(json["errors"][0]["path"], "listeners.web.cluster");
    assert_eq!(json["errors"][1]["message"], "0 is out of range");
    assert_eq!(json["errors"][1]["path"], "workers");
    assert_eq!(json["errors"][1]["origin"]["line"], 3);
    assert_eq!(json["errors"][1]["origin"]["column"], 10);
    assert_eq!(json["errors"][1]["help"], "expected at least 1");
}

#[test]
fn slips_get_a_suggestion() {
    for (extra, message, help) in [
        ("nod: {}\n", "unknown key \"nod\"", "did you mean \"node\"?"),
        (
            "limits: { conections: 5 }\n",
            "unknown key \"conections\"",
            "did you mean \"connections\"? expected one of: connections, memory",
        ),
        (
            "sinks: { a: stdot }\n",
            "expected \"stdout\" or { file: ... } or { otlp: ... }, found the string \"stdot\"",
            "did you mean \"stdout\"?",
        ),
        (
            "upstreams: {}\n",
            "unknown key \"upstreams\"",
            "expected one of: include, node, workers, state, admin, limits, control_planes, listeners, register, filters, clusters, sinks, tracing, metrics, reload, tests",
        ),
    ] {
        let (found, found_help) = problem(&with(&format!("{APP}{extra}")));
        assert_eq!((found.split_once(' ').unwrap().1, found_help.as_str()), (message, help));
    }
}

#[test]
fn types_are_named_as_people_name_them() {
    for (extra, message, help) in [
        ("workers: many", "expected \"auto\" or a whole number, found the string \"many\"", ""),
        ("workers: 1.5", "expected \"auto\" or a whole number, found the number 1.5", ""),
        ("workers: 2000", "2000 is out of range", "expected at most 1024"),
        (
            "workers: 99999999999999999999999",
            "expected \"auto\" or a whole number, found the number 100000000000000000000000",
            "",
        ),
        ("workers: -1", "-1 is out of range", "expected at least 1"),
        ("workers: \"2\"", "expected \"auto\" or a whole number, found the string \"2\"", "write it without quotes"),
        ("state: 5", "expected a string, found the number 5", "write \"5\" with quotes"),
        ("state: true", "expected a string, found `true`", "write \"true\" with quotes"),
        ("state:", "expected a string, found nothing", "write a value, or take the key out"),
        ("state: \"\"", "a path cannot be empty", ""),
        ("include: a.yaml", "expected a list of strings, found the string \"a.yaml\"", "write [a.yaml]"),
        ("sinks: { a: { file: x, stdout: y } }", "\"stdout\" takes nothing", "write just `stdout`"),
        (
            "sinks: { a: file }",
            "expected \"stdout\" or { file: ... } or { otlp: ... }, found the string \"file\"",
            "write { file: ... }",
        ),
        ("sinks: { \"\": stdout }", "a name cannot be empty", ""),
        ("sinks: [a]", "expected a map, found a list", "write a map from names: `name: { ... }`"),
        (
            "admin: { address: 127.0.0.1:x }",
            "\"127.0.0.1:x\" is not an address",
            "expected an IP address and a port, such as 127.0.0.1:8080 or [::1]:8080",
        ),
        ("? [a]\n: b", "this cannot be a key", "a key is a plain string"),
        ("state: !secret x", "unknown tag \"!secret\"", "`!env NAME` is the only one"),
        ("state: .inf", "not a finite number", ""),
    ] {
        let (found, found_help) = problem(&with(&format!("{APP}{extra}\n")));
        assert_eq!((found.split_once(' ').unwrap().1, found_help.as_str()), (message, help), "{extra}");
    }
}

#[test]
fn addresses_say_how_they_are_written() {
    for (address, help) in [
        (":8080", "write 0.0.0.0:8080 for every address of this machine, 127.0.0.1:8080 for this machine only"),
        ("8080", "write 0.0.0.0:8080 for every address of this machine, 127.0.0.1:8080 for this machine only"),
        ("127.0.0.1", "a port is missing"),
        ("::1", "a port is missing"),
        ("localhost:80", "write 127.0.0.1:80"),
        ("http://127.0.0.1:80", "write only the IP address and the port"),
        ("app.internal:80", "expected an IP address and a port; names are not looked up by this version"),
        ("127.0.0.1:99999", "expected an IP address and a port, such as 127.0.0.1:8080 or [::1]:8080"),
    ] {
        let text = format!(
            "listeners: {{ a: {{ address: \"{address}\", cluster: c }} }}\nclusters: {{ c: {{ endpoints: [] }} }}\n"
        );
        assert_eq!(problem(&text), (format!("1:28 {address:?} is not an address"), help.to_owned()));
    }
}

#[test]
fn nothing_to_do_is_a_mistake() {
    for text in ["", "# only a comment\n", "listeners: {}\n", "{}"] {
        let (message, help) = problem(text);
        assert!(message.ends_with("there is nothing to do: no listeners"), "{message}");
        assert!(help.contains("listeners: { web:"));
    }
}

#[test]
fn a_listener_needs_somewhere_to_send_requests() {
    assert_eq!(
        problems("listeners:\n  web: { address: 127.0.0.1:0 }\n"),
        ["2:3 listener \"web\" sends requests nowhere"]
    );
}

#[test]
fn what_is_broken_is_reported_once() {
    // The filter and the cluster are broken, the references to them are not.
    let text = "\
listeners: { web: { address: 127.0.0.1:0, filters: [f], cluster: c } }
filters: { f: { module: 5 } }
clusters: { c: {} }
";
    assert_eq!(
        problems(text),
        ["2:25 expected a string, found the number 5", "3:13 cluster \"c\" has neither endpoints nor discovery"]
    );
    // A listener that lost its filters does not also send requests nowhere.
    let text = "listeners: { web: { address: 127.0.0.1:0, filters: f } }\n";
    assert_eq!(problems(text), ["1:52 expected a list of strings, found the string \"f\""]);
    // Nor are the listeners missing when the only one is broken.
    assert_eq!(problems("listeners: { web: 5 }\n"), ["1:19 expected a map, found the number 5"]);
}

#[test]
fn references_must_lead_somewhere() {
    let (message, help) =
        problem("listeners: { w: { address: 127.0.0.1:0, cluster: ap } }\nclusters: { app: { endpoints: [] } }\n");
    assert_eq!((message.as_str(), help.as_str()), ("1:50 cluster \"ap\" does not exist", "did you mean \"app\"?"));
    let (message, help) = problem("listeners: { w: { address: 127.0.0.1:0, cluster: ap } }\n");
    assert_eq!(
        (message.as_str(), help.as_str()),
        ("1:50 cluster \"ap\" does not exist", "there are no clusters; define it under `clusters:`")
    );
    let text = "\
listeners: { w: { address: 127.0.0.1:0, filters: [f, f] } }
filters: { f: { module: m.wasm, allow: { clusters: [nope] } } }
clusters: { app: { endpoints: [] } }
";
    assert_eq!(problems(text), ["1:54 filter \"f\" is twice in one chain", "2:53 cluster \"nope\" does not exist"]);
}

#[test]
fn an_address_is_used_once() {
    let text = "\
admin: { address: 127.0.0.1:9 }
listeners:
  a: { address: 127.0.0.1:0, cluster: c }
  b: { address: 127.0.0.1:0, cluster: c }
  c: { address: 127.0.0.1:9, cluster: c }
  d: { address: 127.0.0.1:8, cluster: c }
  e: { address: 127.0.0.1:8, cluster: c }
clusters: { c: { endpoints: [] } }
";
    let report = yaml(text).unwrap_err();
    assert_eq!(
        brief(&report),
        ["5:17 address \"127.0.0.1:9\" is used twice", "7:17 address \"127.0.0.1:8\" is used twice"]
    );
    assert_eq!(report.problems()[0].related[0].0.line, 1);
    assert_eq!(report.problems()[1].related[0].0.line, 6);
}

#[test]
fn filters_are_checked() {
    for (filter, message) in [
        ("module: \"builtin:\"", "a name is missing"),
        ("module: \"\"", "a module is missing"),
        ("module: http://x/y.wasm", "plain http is only for hosts on the loopback interface; use https://"),
        ("module: m.wasm, sha256: abc", "\"abc\" is not a SHA-256 digest"),
        ("module: m.wasm, callbacks: [request_header]", "unknown value \"request_header\""),
        ("module: m.wasm, limits: { memory: 5GiB }", "\"5GiB\" is out of range"),
        ("module: m.wasm, limits: { memory: 1KiB }", "\"1KiB\" is out of range"),
        ("module: m.wasm, limits: { call_time: 0s }", "this cannot be zero"),
        ("module: m.wasm, limits: { call_time: 400d }", "duration \"400d\" is too long"),
        ("module: m.wasm, vm: \"\"", "this cannot be empty"),
        ("module: m.wasm, environment: { a=b: c }", "\"a=b\" cannot be a variable's name"),
        ("module: m.wasm, environment: { a: 5 }", "expected a string, found the number 5"),
    ] {
        let text =
            format!("listeners: {{ w: {{ address: 127.0.0.1:0, filters: [f] }} }}\nfilters: {{ f: {{ {filter} }} }}\n");
        let (found, _) = problem(&text);
        assert_eq!(found.split_once(' ').unwrap().1, message, "{filter}");
    }
}

#[test]
fn who_shares_an_instance_shares_its_module_and_its_environment() {
    let text = "\
listeners: { w: { address: 127.0.0.1:0, filters: [a, b] } }
filters:
  a: { module: a.wasm, vm: x }
  b: { module: b.wasm, vm: x, environment: { A: b } }
";
    assert_eq!(
        problems(text),
        [
            "4:28 filters \"a\" and \"b\" share vm \"x\", but their `module` differs",
            "4:28 filters \"a\" and \"b\" share vm \"x\", but their `environment` differs",
        ]
    );
}

#[test]
fn limits_have_limits() {
    for (limits, message) in [
        ("header_bytes: 1KiB", "\"1KiB\" is out of range"),
        ("headers: 0", "0 is out of range"),
        ("streams: 4294967296", "4294967296 is out of range"),
        ("header_timeout: 0s", "this cannot be zero"),
        ("header_timeout: \"10\"", "\"10\" has no unit"),
        ("buffer: 2GiB", "\"2GiB\" is out of range"),
    ] {
        let text = format!(
            "listeners: {{ w: {{ address: 127.0.0.1:0, cluster: c, limits: {{ {limits} }} }} }}\nclusters: {{ c: {{ endpoints: [] }} }}\n"
        );
        let (found, _) = problem(&text);
        assert_eq!(found.split_once(' ').unwrap().1, message, "{limits}");
    }
}

#[test]
fn endpoints_are_checked() {
    for (endpoint, message) in [
        ("127.0.0.1:0", "an endpoint cannot have port 0"),
        ("{ address: 127.0.0.1:1, weight: 0 }", "0 is out of range"),
        ("{ weight: 1 }", "\"address\" is missing"),
        ("5", "expected a string or a map, found the number 5"),
    ] {
        let text = format!(
            "listeners: {{ w: {{ address: 127.0.0.1:0, cluster: c }} }}\nclusters: {{ c: {{ endpoints: [{endpoint}] }} }}\n"
        );
        let (found, _) = problem(&text);
        assert_eq!(found.split_once(' ').unwrap().1, message, "{endpoint}");
    }
}

#[test]
fn others_can_add_problems() {
    use crate::config::{Problem, Report};
    let config = yaml(&with(APP)).unwrap();
    let filter = &config.filters["router"];
    let mut report = Report::new(config.sources.clone());
    assert!(report.is_empty());
    report.push(Problem::new(filter.origin.clone(), "refused: no routes").help("add `config:`").path("filters.router"));
    report.push(Problem::new(config.listeners[0].origin.clone(), "cannot bind"));
    assert_eq!(brief(&report), ["1:14 cannot bind", "2:12 refused: no routes"]);
    let text = report.to_string();
    assert!(text.contains("2 | filters: { router: { module: builtin:router } }\n  |            ^^^^^^\n"), "{text}");
}

#[test]
fn an_endpoint_has_sixteen_further_addresses_at_most() {
    let text = |count: usize| {
        let all: Vec<_> = (0..count).map(|number| format!("'127.0.0.2:{}'", number + 1)).collect();
        format!(
            "listeners: {{ web: {{ address: '127.0.0.1:0', cluster: app }} }}\nclusters:\n  app: {{ endpoints: [{{ address: '127.0.0.1:1', additional_addresses: [{}] }}] }}\n",
            all.join(", ")
        )
    };
    assert_eq!(yaml(&text(16)).unwrap().clusters["app"].endpoints[0].others.len(), 16);
    let (problem, _) = problem(&text(17));
    assert!(problem.ends_with("at most 16 addresses"), "{problem}");
}
