//! Modules from web servers and registries, and whose signature is asked for.

use std::process::Command;

use serde_json::json;
use sha2::{Digest, Sha256};

use crate::{
    guests,
    support::{Launch, Message, Proxy, Reply, Upstream, process::run},
};

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn yaml(app: &Upstream, filter: &str) -> String {
    format!(
        "state: state\nlisteners:\n  web: {{ address: '127.0.0.1:0', filters: [f], cluster: app }}\nfilters:\n  f: {{ {filter} }}\nclusters:\n  \
         app: {{ endpoints: ['{}'] }}\n",
        app.address
    )
}

fn module() -> Vec<u8> {
    std::fs::read(guests::HEADER_FYKE).unwrap()
}

fn is_there(answer: &Message) -> bool {
    answer.header("x-guest-response") == Some("seen")
}

fn not_found() -> Reply {
    Reply::new(404)
}

// The proxy asks before it has started, and the test waits for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_module_comes_from_a_web_server_once() {
    let app = Upstream::says("hi").await;
    let server =
        Upstream::http(|request| if request.path() == "/f.wasm" { Reply::ok(module()) } else { not_found() }).await;
    let digest = sha256(&module());
    let source = format!("module: 'http://{}/f.wasm', sha256: {digest}", server.address);
    let mut proxy = Proxy::start(yaml(&app, &source)).await;
    assert!(is_there(&proxy.get("/").await));
    assert_eq!(server.seen().len(), 1);
    // Another filter with the same digest needs nobody, and neither does a process that starts anew with the same state.
    assert_eq!(proxy.reload(&yaml(&app, &format!("{source}, environment: {{ A: b }}"))).await, 2);
    assert!(is_there(&proxy.get("/").await));
    assert_eq!(server.seen().len(), 1);
}

// The proxy asks before it has started, and the test waits for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_module_comes_from_a_registry_by_tag_or_digest() {
    let layer = format!("sha256:{}", sha256(&module()));
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": { "mediaType": "application/vnd.wasm.config.v1+json", "digest": layer, "size": 2 },
        "layers": [{ "mediaType": "application/vnd.wasm.content.layer.v1+wasm", "digest": layer, "size": module().len() }],
    })
    .to_string();
    let digest = format!("sha256:{}", sha256(manifest.as_bytes()));
    let (text, by_digest) = (manifest.clone(), format!("/v2/team/f/manifests/{digest}"));
    let blob = format!("/v2/team/f/blobs/{layer}");
    let registry = Upstream::http(move |request| match request.path() {
        "/v2/team/f/manifests/1.0" => {
            Reply::ok(text.clone()).header("content-type", "application/vnd.oci.image.manifest.v1+json")
        }
        path if path == by_digest => {
            Reply::ok(text.clone()).header("content-type", "application/vnd.oci.image.manifest.v1+json")
        }
        path if path == blob => Reply::ok(module()),
        _ => not_found(),
    })
    .await;
    let app = Upstream::says("hi").await;
    let pinned = format!("module: 'oci://{}/team/f:1.0', sha256: {}", registry.address, sha256(&module()));
    let mut proxy = Proxy::start(yaml(&app, &pinned)).await;
    assert!(is_there(&proxy.get("/").await));
    proxy.reload(&yaml(&app, &format!("module: 'oci://{}/team/f@{digest}'", registry.address))).await;
    assert!(is_there(&proxy.get("/").await));
}

/// What runs goes on, and everybody who asks is told why.
#[tokio::test]
async fn a_server_that_dies_half_way_changes_nothing() {
    let app = Upstream::says("hi").await;
    let server = Upstream::scripted(|mut conn, _, _| async move {
        conn.request().await;
        conn.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", module().len())).await;
        conn.send(&module()[..100]).await;
    })
    .await;
    let proxy = Launch::new(yaml(&app, "module: f.wasm")).file("f.wasm", module()).start().await;
    let broken = format!("module: 'http://{}/f.wasm', sha256: {}", server.address, sha256(&module()));
    proxy.rewrite(&yaml(&app, &broken));
    let (status, value) = proxy.act("/reload", "").await;
    assert_eq!((status, value["error"].as_str().unwrap().contains("cannot fetch http://")), (422, true), "{value:#}");
    proxy.logged(&["refused, what ran goes on", "cannot fetch"]).await;
    let failed = proxy.metric("fyke_filter_module_failures_total", &[("filter", "f"), ("reason", "unreachable")]).await;
    assert_eq!(failed, 1.0);
    assert!(is_there(&proxy.get("/").await));
    let file = proxy.path("proxy.yaml").display().to_string();
    let ended = run(["validate", &file]);
    assert!(ended.code == Some(2) && ended.stderr.contains("cannot fetch http://"), "{}", ended.stderr);
}

#[tokio::test]
async fn a_module_is_signed_by_one_of_the_keys_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    let openssl = |arguments: &str| {
        let mut command = Command::new("openssl");
        assert!(command.args(arguments.split(' ')).current_dir(folder.path()).output().unwrap().status.success());
    };
    std::fs::write(folder.path().join("m.wasm"), module()).unwrap();
    openssl("genpkey -algorithm ed25519 -out team.key");
    openssl("pkey -in team.key -pubout -out team.pub");
    openssl("pkeyutl -sign -inkey team.key -rawin -in m.wasm -out m.wasm.sig");
    let file = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
    let app = Upstream::says("hi").await;
    let proxy = Launch::new(yaml(&app, "module: m.wasm, signed_by: [team.pub]"))
        .file("m.wasm", module())
        .file("m.wasm.sig", file("m.wasm.sig"))
        .file("team.pub", file("team.pub"))
        .start()
        .await;
    assert!(is_there(&proxy.get("/").await));
    // Another module with the same signature.
    std::fs::copy(guests::MISBEHAVE, proxy.path("m.wasm")).unwrap();
    let (status, value) = proxy.act("/reload", "").await;
    assert_eq!((status, value["error"].as_str().unwrap().contains("is not trusted")), (422, true), "{value:#}");
    // Uploads are asked for one as well.
    let (status, value) = proxy.change("PUT", "/filters/f", "application/wasm", module()).await;
    assert_eq!((status, value["error"].as_str().unwrap().contains("without a signature")), (422, true), "{value:#}");
    let object = json!({
        "wasm": data_encoding::BASE64.encode(&module()),
        "signature": data_encoding::BASE64.encode(&file("m.wasm.sig")),
    });
    let (status, value) = proxy.change("PUT", "/filters/f", "application/json", object.to_string()).await;
    assert_eq!(status, 200, "{value:#}");
    assert!(is_there(&proxy.get("/").await));
}
