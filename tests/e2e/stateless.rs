//! Filters that keep nothing of a stream (`fyke.callbacks.skip.v1`): no contexts, and the same work.

use crate::chain::chain;
use crate::{
    guests,
    support::{Launch, Proxy, Reply, Upstream},
};

#[tokio::test]
async fn sdk_filters_without_a_ctx_do_their_work_and_others_keep_theirs() {
    let upstream = Upstream::http(|request| Reply::ok(request.header("x-guest-request").unwrap_or("-"))).await;
    let header = format!("{{ module: {:?} }}", guests::HEADER_FYKE);
    let id = "{ module: 'builtin:request-id', config: { response: true } }".to_owned();
    let filters = [("id", id), ("a", header.clone()), ("b", header)];
    let proxy = Proxy::start(chain(upstream.address, &filters)).await;
    let mut clients = [proxy.connect().await, proxy.connect().await];
    for _ in 0..3 {
        for client in &mut clients {
            client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        }
        let mut ids = Vec::new();
        for client in &mut clients {
            let answer = client.response("GET").await;
            assert_eq!((answer.status(), answer.text().as_str()), (200, "seen"));
            assert_eq!(answer.all("x-guest-response"), ["seen"]);
            ids.extend(answer.header("x-request-id").map(str::to_owned));
        }
        ids.dedup();
        assert_eq!(ids.len(), 2, "each stream has its own");
    }
    for filter in ["id", "a", "b"] {
        assert_eq!(proxy.metric("fyke_filter_streams_total", &[("filter", filter)]).await, 6.0);
        assert_eq!(proxy.metric("fyke_filter_traps_total", &[("filter", filter)]).await, 0.0);
    }
}

/// Skips contexts and the log, traps where it gets them all the same, and answers `ACTION` to request headers.
const SKIPS: &str = r#"(module
    (import "env" "proxy_call_foreign_function" (func $call (param i32 i32 i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 100) "fyke.callbacks.skip.v1")
    (data (i32.const 200) "context_create,log")
    (func (export "proxy_abi_version_0_2_1"))
    (func (export "proxy_on_memory_allocate") (param i32) (result i32) (i32.const 1024))
    (func (export "proxy_on_context_create") (param i32 i32) (if (local.get 1) (then unreachable)))
    (func (export "proxy_on_configure") (param i32 i32) (result i32)
        (i32.eqz (call $call (i32.const 100) (i32.const 22) (i32.const 200) (i32.const 18) (i32.const 300) (i32.const 304))))
    (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (i32.const ACTION))
    (func (export "proxy_on_log") (param i32) unreachable))"#;

async fn skipping(action: &str, settings: &str) -> (Proxy, Upstream) {
    let upstream = Upstream::says("x").await;
    let yaml = chain(upstream.address, &[("f", format!("{{ module: skips.wasm{settings} }}"))]);
    let module = wat::parse_str(SKIPS.replace("ACTION", action)).unwrap();
    (Launch::new(yaml).file("skips.wasm", module).start().await, upstream)
}

#[tokio::test]
async fn what_is_skipped_is_not_called() {
    let (proxy, _upstream) = skipping("0", "").await;
    for _ in 0..3 {
        assert_eq!(proxy.get("/").await.status(), 200);
    }
    assert_eq!(proxy.metric("fyke_filter_traps_total", &[("filter", "f")]).await, 0.0);
}

#[tokio::test]
async fn a_pause_that_nobody_could_end_meets_the_policy() {
    let (proxy, _upstream) = skipping("1", "").await;
    assert_eq!(proxy.get("/").await.status(), 503);
    let (proxy, _upstream) = skipping("1", ", on_failure: open").await;
    assert_eq!(proxy.get("/").await.status(), 200);
    assert_eq!(proxy.metric("fyke_filter_failed_streams_total", &[("filter", "f"), ("policy", "open")]).await, 1.0);
}
