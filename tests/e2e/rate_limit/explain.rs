//! `fyke explain` and `fyke test` of rules that Redis counts: there is none, and nobody needs one.

use crate::support::process::{Ended, run};

/// Nobody listens at these addresses.
const RULES: &str = "
admin: { address: 127.0.0.1:1 }
listeners:
  web: { address: 192.0.2.1:80, filters: [rate-limit], cluster: app }
filters:
  rate-limit:
    module: builtin:rate-limit
    allow: { shared_data: true, clusters: [limits] }
    config:
      domain: shop
      redis: { cluster: limits, password: hunter2, timeout: 10s, failure_mode: MODE }
      rules:
        - { name: tenant, global: true, key: [{ from: { request_header: x-tenant } }], limit: 2/d }
        - { name: posts, when: [{ from: method, is: POST }], limit: 1/s }
clusters:
  app: { endpoints: ['192.0.2.2:80'] }
  limits: { protocol: tcp, endpoints: ['192.0.2.3:6379'] }
tests:
  - name: as the mode says
    request: { path: /, headers: { x-tenant: blue } }
    count: 3
    expect: { status: STATUS }
";

fn fyke(mode: &str, status: &str, words: &[&str]) -> Ended {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("proxy.yaml");
    std::fs::write(&file, RULES.replace("MODE", mode).replace("STATUS", status)).unwrap();
    let file = file.to_str().unwrap();
    run(words.iter().map(|word| if *word == "FILE" { file } else { word }))
}

#[test]
fn an_explanation_says_where_a_request_would_be_counted_and_asks_nobody() {
    for mode in ["open", "closed", "local"] {
        let words = ["explain", "--config", "FILE", "http://192.0.2.1/", "-H", "x-tenant: blue"];
        let ended = fyke(mode, "200", &words);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{mode}: {}", ended.stdout);
        for line in [
            "rule \"tenant\" counts it as 1, in redis (cluster \"limits\", key fyke:limit:shop:tenant:blue), which is not asked here",
            "rule \"posts\" is not about it: `when[0]` is not true",
            "the upstream is sent GET /",
        ] {
            assert!(ended.stdout.contains(line), "{mode}: {line:?} is missing in:\n{}", ended.stdout);
        }
        assert!(!ended.stdout.contains("hunter2"));
    }
}

#[test]
fn in_a_test_there_is_no_redis_and_the_mode_decides() {
    for (mode, status) in [("open", "200"), ("closed", "429"), ("local, peers: 1", "2xx")] {
        let ended = fyke(mode, status, &["test", "FILE"]);
        // Of `local` the third is over the limit.
        let code = if mode.starts_with("local") { 3 } else { 0 };
        assert_eq!(ended.code, Some(code), "{mode}: {}{}", ended.stdout, ended.stderr);
    }
}
