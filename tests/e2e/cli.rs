//! The command line.

use std::fs;

use crate::support::process::run;

#[test]
fn it_tells_its_version() {
    let ended = run(["--version"]);
    assert_eq!((ended.code, ended.stdout.trim()), (Some(0), concat!("fyke ", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn the_schema_is_json_and_describes_the_configuration() {
    let ended = run(["schema"]);
    assert_eq!(ended.code, Some(0));
    let schema: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    let properties = schema["properties"].as_object().unwrap();
    for key in ["listeners", "filters", "clusters", "sinks", "workers", "admin"] {
        assert!(properties.contains_key(key), "{key} is missing");
    }
    assert_eq!(schema["additionalProperties"], false);
    // Editors know the builtin filters' configurations too.
    let rules = schema["$defs"]["Filter"]["allOf"].as_array().unwrap();
    let router = rules.iter().find(|rule| rule["if"]["properties"]["module"]["const"] == "builtin:router").unwrap();
    assert!(router["then"]["properties"]["config"]["properties"]["virtual_hosts"].is_object(), "{router}");
}

#[test]
fn a_module_is_checked_without_running_it() {
    let ended = run(["filter", "check", "builtin:request-id"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    for words in [
        "builtin:request-id: loads; fyke-filter-request-id 0.1.0",
        "ABI           0.2.1",
        "request_headers, response_headers",
        "trusted_hops",
    ] {
        assert!(ended.stdout.contains(words), "{words:?} is missing in:\n{}", ended.stdout);
    }
    let ended = run(["--output", "json", "filter", "check", crate::guests::FRAMES]);
    let facts: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(
        (&facts["may_need"], &facts["name"]),
        (&serde_json::json!(["clusters"]), &"guest-frames".into()),
        "{facts}"
    );
    let ended = run(["filter", "check", "Cargo.toml"]);
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("Cargo.toml would not load: not a valid WebAssembly module"), "{}", ended.stderr);
}

#[tokio::test]
async fn a_module_whose_panels_are_wrong_is_refused_by_check_and_serves_all_the_same() {
    let ended = run(["filter", "check", "builtin:stats-tags"]);
    assert!(ended.code == Some(0) && ended.stdout.contains("Requests (stats_requests_total)"), "{}", ended.stdout);
    let module = wat::parse_str(
        r#"(module
            (@custom "fyke.manifest" "{\"name\":\"m\",\"panels\":[{\"title\":\"a\",\"metric\":\"m\"},{\"title\":\"b\",\"metric\":\"m\",\"chart\":\"pie\"}]}")
            (memory (export "memory") 1)
            (func (export "proxy_abi_version_0_2_1"))
            (func (export "proxy_on_memory_allocate") (param i32) (result i32) i32.const 1024))"#,
    )
    .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("m.wasm");
    fs::write(&file, &module).unwrap();
    let ended = run(["filter", "check", file.to_str().unwrap()]);
    assert_eq!(ended.code, Some(2), "{}", ended.stdout);
    assert!(ended.stderr.contains("its manifest is wrong: panels[1].chart"), "{}", ended.stderr);
    let upstream = crate::support::Upstream::says("x").await;
    let yaml = format!(
        "listeners: {{ web: {{ address: '127.0.0.1:0', filters: [m], cluster: app }} }}\nfilters: {{ m: {{ module: m.wasm }} }}\n\
         clusters: {{ app: {{ endpoints: ['{}'] }} }}\n",
        upstream.address
    );
    let proxy = crate::support::Launch::new(yaml).file("m.wasm", &module).start().await;
    assert_eq!(proxy.get("/").await.status(), 200);
    proxy.logged(&["the module's panels", "panels[1].chart"]).await;
    assert_eq!(proxy.ask("/dashboard/filters/m/panels").await.status(), 404);
}

#[test]
fn nobody_who_reads_is_no_failure_and_a_full_disk_is() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.json");
    fs::write(&file, r#"{ "listeners": { "web": { "address": "127.0.0.1:0", "cluster": "app" } }, "clusters": { "app": { "endpoints": [] } } }"#).unwrap();
    for (command, code) in [("validate", 0), ("schema", 0)] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut fyke = std::process::Command::new(crate::support::process::fyke());
        fyke.arg(command).args((command == "validate").then_some(&file)).stdout(writer);
        let ended = fyke.stderr(std::process::Stdio::piped()).output().unwrap();
        assert_eq!(
            (ended.status.code(), String::from_utf8_lossy(&ended.stderr).as_ref()),
            (Some(code), ""),
            "{command}"
        );
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let ended = fyke.stdout(full).output().unwrap();
        assert_eq!(ended.status.code(), Some(1), "{command}");
        assert!(String::from_utf8_lossy(&ended.stderr).contains("cannot write to standard output"), "{command}");
    }
}

#[test]
fn validate_accepts_what_is_right_in_every_format_and_touches_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("access.log");
    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    // An address that is in use: nothing is bound by a check.
    let address = held.local_addr().unwrap();
    let files = [
        (
            "a.yaml",
            format!(
                "listeners: {{ web: {{ address: '{address}', filters: [access-log], cluster: app }} }}\nfilters: {{ access-log: {{ module: 'builtin:access-log', config: {{ sink: log }} }} }}\nsinks: {{ log: {{ file: {log:?} }} }}\nclusters: {{ app: {{ endpoints: ['127.0.0.1:1'] }} }}\n"
            ),
        ),
        (
            "b.json",
            format!(
                r#"{{ "listeners": {{ "web": {{ "address": "{address}", "cluster": "app" }} }}, "clusters": {{ "app": {{ "endpoints": [] }} }} }}"#
            ),
        ),
        (
            "c.toml",
            format!("[listeners.web]\naddress = \"{address}\"\ncluster = \"app\"\n[clusters.app]\nendpoints = []\n"),
        ),
    ];
    for (name, text) in files {
        let file = folder.path().join(name);
        fs::write(&file, text).unwrap();
        let ended = run(["validate".as_ref(), file.as_os_str()]);
        assert_eq!(ended.code, Some(0), "{name}: {}", ended.stderr);
        assert!(ended.stdout.contains("valid") && ended.stderr.is_empty(), "{name}: {}{}", ended.stdout, ended.stderr);
    }
    assert!(!log.exists(), "validate has created the file of a sink");
}

#[test]
fn a_wrong_command_line_is_code_2() {
    for arguments in [&["fly"][..], &["run"], &["demo", "--duration", "soon"], &["--log", "fyke=loud", "schema"]] {
        let ended = run(arguments);
        assert_eq!(ended.code, Some(2), "{arguments:?}");
        assert!(!ended.stderr.is_empty() && ended.stdout.is_empty(), "{arguments:?}: {}", ended.stdout);
    }
}
