//! The protocol as Envoy publishes it, spoken by somebody else's gRPC: grpcio and xds-protos.

use std::process::Stdio;

use super::{Running, Stopped, soon};

const RULES: &str = "
domain: edge
descriptors:
- key: user
  rate_limit: { unit: week, requests_per_unit: 3, name: weekly }
- key: free
  rate_limit: { unlimited: true }
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grpcio_understands_every_field() {
    let Some(python) = std::env::var_os("FYKE_PYTHON") else {
        eprintln!("skipped: FYKE_PYTHON is not set (tests/run sets it)");
        return;
    };
    let change = |settings: &mut fyke_ratelimit_service::Settings| settings.response_headers.enabled = true;
    let running = Running::with_env(RULES, Stopped::new().env(), change).await;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/client.py");
    let mut command = std::process::Command::new(python);
    command.args([script, &running.address().to_string()]).stdin(Stdio::null());
    let output = soon(tokio::task::spawn_blocking(move || command.output())).await.unwrap().unwrap();
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}{errors}");
    assert_eq!(text.trim(), "all is as it should be");
}
