//! `tests:` of a configuration, and `fyke test`.

use std::{fs, path::PathBuf};

use serde_json::Value;

use crate::support::{
    process::{Ended, run},
    tls::Authority,
};

/// A configuration whose listener and endpoints are anywhere but here.
const ROUTES: &str = r#"
admin: { address: 127.0.0.1:1 }
listeners:
  web: { address: 192.0.2.1:80, filters: [log, router] }
filters:
  log: { module: builtin:access-log, config: { sink: requests } }
  router:
    module: builtin:router
    config:
      routes:
        - { name: users, match: { path_prefix: /users }, cluster: users, rewrite: { prefix: / }, request_headers: { set: { x-route: users } } }
        - { name: slow, match: { path: /slow }, cluster: users, timeout: 50ms }
        - { name: again, match: { path: /again }, cluster: users, retry: { on: [5xx, reset], attempts: 2, backoff: { base: 1ms, max: 1ms } } }
        - { name: split, match: { path: /split }, weighted_clusters: [{ cluster: users, weight: 3 }, { cluster: beta, weight: 1 }] }
        - { name: inside, match: { path: /inside, properties: [{ path: [source, address], prefix: "10.1.2.3:" }] }, respond: { status: 200, body: inside } }
clusters:
  users: { endpoints: [192.0.2.2:80, 192.0.2.3:80] }
  beta: { endpoints: [192.0.2.4:80] }
sinks:
  requests: { file: access.log }
"#;

struct File {
    folder: tempfile::TempDir,
}

impl File {
    fn new(configuration: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("proxy.yaml"), configuration).unwrap();
        Self { folder }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("proxy.yaml")
    }

    fn test(&self, more: &[&str]) -> Ended {
        let path = self.path();
        run(["test", path.to_str().unwrap()].iter().chain(more))
    }

    /// What a program is told.
    fn json(&self, code: i32) -> Value {
        let ended = self.test(&["--output", "json"]);
        assert_eq!(ended.code, Some(code), "{}{}", ended.stdout, ended.stderr);
        serde_json::from_str(&ended.stdout).unwrap()
    }
}

fn with(tests: &str) -> File {
    File::new(&format!("{ROUTES}tests:\n{tests}"))
}

#[test]
fn what_is_as_expected_passes_and_nothing_is_left_behind() {
    let file = with(
        r#"
  - name: everything of one
    request: { method: POST, path: "/users/7?a=1", host: "api.example.com:81", headers: { x-a: [one, two] }, body: hello }
    upstreams: { users: { status: 201, headers: { x-b: "3" }, body: made } }
    expect:
      status: 201
      headers: [{ name: x-b, exact: "3" }, { name: x-c, absent: true }, { name: x-b, regex: "[0-9]" }]
      body: { prefix: ma }
      route: users
      cluster: users
      response_code_details: via_upstream
      upstream_request:
        method: POST
        path: "/7?a=1"
        host: api.example.com:81
        headers: [{ name: x-route, exact: users }, { name: x-a, exact: "one,two" }]
        body: hello
      upstreams: { beta: { requests: 0 } }
  - name: over HTTP/2 as well
    request: { path: /users, protocol: http2 }
    expect: { status: 2xx, upstream_request: { path: / } }
  - name: a timeout is a timeout
    request: { path: /slow }
    upstreams: { users: { delay: 60s } }
    expect: { status: 504, route: slow }
  - name: attempts are counted
    request: { path: /again }
    upstreams: { users: [{ status: 503 }, { reset: true }, { status: 200, body: third }] }
    expect: { status: 200, body: third, upstreams: { users: { requests: 3 } } }
  - name: nobody else
    request: { path: /nope }
    expect: { status: 404, replied_by: router, response_code_details: route_not_found }
  - name: who asks
    request: { path: /inside, from: 10.1.2.3 }
    expect: { status: 200, body: inside }
  - name: who else asks
    request: { path: /inside, from: 10.1.2.4 }
    expect: { status: 404 }
  - name: shares
    request: { path: /split }
    count: 200
    expect: { status: 200, share: { users: 75%, beta: 25% }, tolerance: 15% }
"#,
    );
    let ended = file.test(&[]);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{}", ended.stdout);
    assert!(ended.stdout.starts_with("8 tests: 8 passed, 0 failed"), "{}", ended.stdout);
    let left: Vec<_> = fs::read_dir(file.folder.path()).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left, ["proxy.yaml"]);
    // A proxy takes the file with its tests; here it is only looked at.
    let ended = run(["validate", file.path().to_str().unwrap()]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

#[test]
fn what_is_not_is_told_with_its_place_and_what_filters_did() {
    let file = with(
        r#"
  - name: "wrong <in> \"most\" points"
    request: { path: /users }
    expect:
      status: 404
      route: { prefix: other }
      cluster: beta
      headers: [{ name: x-a }]
      body: "a & b"
      replied_by: router
      upstream_request: { path: /users }
      upstreams: { users: { requests: 2 } }
  - name: right
    request: { path: /users }
    expect: { status: 200 }
"#,
    );
    let ended = file.test(&[]);
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    let path = file.path().display().to_string();
    for words in [
        "FAIL  wrong <in> \"most\" points (",
        &format!("status: expected 404, got 200 ({path}:26:15)"),
        "route: expected something that begins with \"other\", got \"users\"",
        "cluster: expected \"beta\", got \"users\"",
        "headers[0]: expected x-a: something, got nothing",
        "body: expected \"a & b\", got \"\"",
        "replied_by: expected \"router\", got no filter replied",
        "upstream_request.path: expected \"/users\", got \"/\"",
        "upstreams.users.requests: expected 2, got 1",
        "filter router: request   :path: /users -> /",
        "filter log: nothing",
        "2 tests: 1 passed, 1 failed",
    ] {
        assert!(ended.stdout.contains(words), "{words:?} is missing in:\n{}", ended.stdout);
    }
    let told = file.json(3);
    assert_eq!((&told["passed"], &told["failed"]), (&1.into(), &1.into()));
    let failures = told["tests"][0]["failures"].as_array().unwrap();
    assert_eq!(failures.len(), 8, "{failures:#?}");
    assert_eq!(failures[0]["origin"]["line"], 26);
    assert_eq!(told["tests"][1]["passed"], true);
    let junit = file.folder.path().join("junit.xml");
    let ended = file.test(&["--junit", junit.to_str().unwrap(), "--filter", "wrong"]);
    assert_eq!(ended.code, Some(3));
    let xml = fs::read_to_string(junit).unwrap();
    for words in [
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites ",
        "tests=\"1\" failures=\"1\" errors=\"0\" skipped=\"0\"",
        "<testcase name=\"wrong &lt;in&gt; &quot;most&quot; points\"",
        "<failure message=\"status: expected 404, got 200 (",
        "body: expected &quot;a &amp; b&quot;",
    ] {
        assert!(xml.contains(words), "{words:?} is missing in:\n{xml}");
    }
    let printed = file.test(&["--output", "junit", "--filter", "right"]);
    assert_eq!(printed.code, Some(0));
    assert!(printed.stdout.contains("<testcase name=\"right\"") && printed.stdout.ends_with("</testsuites>\n"));
}

#[test]
fn tests_do_not_meet_what_others_left_behind() {
    let file = with(
        r#"
  - name: first
    request: { path: /users }
    upstreams: { users: { status: 500 } }
    expect: { status: 500, upstreams: { users: { requests: 1 } } }
  - name: second
    request: { path: /users }
    expect: { status: 200, upstreams: { users: { requests: 1 } } }
"#,
    );
    assert_eq!(file.json(0)["passed"], 2);
}

#[test]
fn mistakes_are_mistakes_of_the_configuration() {
    for (test, words) in [
        ("{ name: a, request: { listener: wep }, expect: { status: 200 } }", "did you mean \"web\"?"),
        ("{ name: a, request: {}, expect: { cluster: user } }", "did you mean \"users\"?"),
        (
            "{ name: a, request: {}, upstreams: { other: {} }, expect: { status: 200 } }",
            "cluster \"other\" does not exist",
        ),
        ("{ name: a, request: {}, expect: { replied_by: routre } }", "did you mean \"router\"?"),
        ("{ name: a, request: { pth: / }, expect: { status: 200 } }", "did you mean \"path\"?"),
        ("{ name: a, request: {}, expect: {} }", "nothing is expected"),
        ("{ name: a, request: { path: nope }, expect: { status: 200 } }", "\"nope\" is not a path"),
        ("{ name: a, request: { scheme: https }, expect: { status: 200 } }", "has no certificates"),
        ("{ name: a, request: {}, expect: { status: 6xx } }", "is not a status"),
        ("{ name: a, request: {}, expect: { body: { regex: \"(\" } } }", "is not a regular expression"),
        ("{ name: a, request: {}, expect: { body: { prefix: a, suffix: b } } }", "this asks several things"),
        ("{ name: a, request: { headers: { \"a b\": x } }, expect: { status: 200 } }", "is not a header's name"),
        ("{ name: a, request: { from: here }, expect: { status: 200 } }", "\"here\" is not an IP address"),
    ] {
        let file = with(&format!("  - {test}\n"));
        for command in ["test", "validate"] {
            let ended = run([command, file.path().to_str().unwrap()]);
            assert_eq!(ended.code, Some(2), "{test}: {}", ended.stdout);
            assert!(
                ended.stderr.contains(words) && ended.stderr.contains("proxy.yaml:22:"),
                "{test}: {}",
                ended.stderr
            );
        }
    }
    let file = with(
        "  - { name: a, request: {}, expect: { status: 404 } }\n  - { name: a, request: {}, expect: { status: 404 } }\n",
    );
    let ended = file.test(&[]);
    assert!(ended.code == Some(2) && ended.stderr.contains("is there twice"), "{}", ended.stderr);
    let file = with("  - { name: a, request: {}, expect: { status: 404 } }\n");
    let ended = file.test(&["--filter", "b"]);
    assert!(ended.code == Some(2) && ended.stderr.contains("no test of"), "{}", ended.stderr);
    let ended = run(["--output", "junit", "validate", file.path().to_str().unwrap()]);
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
}

#[test]
fn chains_are_picked_by_name_and_client() {
    let authority = Authority::new();
    let certificate = authority.issue(&["a.example", "b.example"]);
    let file = File::new(
        r#"
listeners:
  web:
    address: 192.0.2.1:443
    tls: { certificates: [{ certificate: c.pem, key: c.key }] }
    cluster: rest
    chains:
      - { match: { sni: [a.example] }, cluster: a }
      - { match: { source: [10.0.0.0/8], alpn: [h2] }, cluster: inside }
clusters: { a: { endpoints: [192.0.2.2:80] }, inside: { endpoints: [192.0.2.2:80] }, rest: { endpoints: [192.0.2.2:80] } }
tests:
  - { name: sni, request: { host: a.example }, expect: { status: 200, cluster: a } }
  - { name: sni of its own, request: { host: b.example, sni: a.example }, expect: { cluster: a } }
  - { name: inside, request: { host: b.example, from: 10.2.3.4, protocol: http2 }, expect: { status: 200, cluster: inside } }
  - { name: rest, request: { host: b.example, from: 10.2.3.4 }, expect: { cluster: rest } }
  - { name: without TLS, request: { scheme: http }, expect: { status: 200 } }
"#,
    );
    fs::write(file.folder.path().join("c.pem"), &certificate.pem).unwrap();
    fs::write(file.folder.path().join("c.key"), &certificate.key).unwrap();
    let told = file.json(3);
    assert_eq!(told["passed"], 4, "{told:#}");
    assert_eq!(told["tests"][4]["passed"], false);
}
