//! Filters whose configuration, or whose code, is in resources of their own (ECDS).

use data_encoding::BASE64;
use fyke_peers::ControlPlane;
use serde_json::{Value, json};

use super::{LISTENER, bound, follower, listener, says, site, source};
use crate::{
    guests,
    support::{Upstream, eventually, proxy::get},
};

const EXTENSION: &str = "envoy.config.core.v3.TypedExtensionConfig";
const FAULT: &str = "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault";
const WASM: &str = "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm";

/// A control plane whose listener `web` has a filter that is discovered, of this type. `None`: there is no Python.
fn stage(upstream: &Upstream, name: &str, kind: &str) -> Option<ControlPlane> {
    let mut plane = ControlPlane::start()?;
    site(&mut plane, &[upstream]);
    let mut web = listener("web", "routes");
    let filters = web.pointer_mut("/filter_chains/0/filters/0/typed_config/http_filters").unwrap();
    let discovered = json!({ "name": name, "config_discovery": { "config_source": source(), "type_urls": [kind] } });
    filters.as_array_mut().unwrap().insert(0, discovered);
    plane.set(LISTENER, "web", web);
    Some(plane)
}

fn fault(percent: u32) -> Value {
    let share = json!({ "numerator": percent, "denominator": "HUNDRED" });
    let abort = json!({ "http_status": 418, "percentage": share });
    json!({ "name": "chaos", "typed_config": { "@type": FAULT, "abort": abort } })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_follows_its_configuration() {
    let upstream = Upstream::says("app").await;
    let Some(mut plane) = stage(&upstream, "chaos", FAULT) else { return };
    let proxy = follower(&plane, ", mode: delta").await;
    plane.set(EXTENSION, "chaos", fault(100));
    let address = bound(&proxy, "web").await;
    let becomes = async |status: u16| {
        eventually(format!("status {status}"), async || (get(address, "/", "").await.status() == status).then_some(()))
            .await;
    };
    becomes(418).await;
    plane.set(EXTENSION, "chaos", fault(0));
    becomes(200).await;
    plane.set(EXTENSION, "chaos", fault(100));
    becomes(418).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_code_of_a_filter_may_come_from_a_control_plane() {
    let upstream = Upstream::says("app").await;
    let Some(mut plane) = stage(&upstream, "stamp", WASM) else { return };
    let proxy = follower(&plane, "").await;
    let code = BASE64.encode(&std::fs::read(guests::OFFICIAL).unwrap());
    let stamp = |steps: &str| {
        let vm = json!({ "runtime": "envoy.wasm.runtime.v8", "code": { "local": { "inline_bytes": code } } });
        let text = json!({ "@type": "type.googleapis.com/google.protobuf.StringValue", "value": steps });
        let config = json!({ "name": "stamp", "vm_config": vm, "configuration": text });
        json!({ "name": "stamp", "typed_config": { "@type": WASM, "config": config } })
    };
    plane.set(EXTENSION, "stamp", stamp("tag one"));
    says(&proxy, "web", "app").await;
    let address = bound(&proxy, "web").await;
    assert_eq!(get(address, "/", "").await.header("x-chain"), Some("one"));
    plane.set(EXTENSION, "stamp", stamp("tag two"));
    eventually("the other tag", async || (get(address, "/", "").await.header("x-chain") == Some("two")).then_some(()))
        .await;
}
