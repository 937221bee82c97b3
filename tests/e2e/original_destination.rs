//! Connections that the kernel has led to the proxy: the address that the client meant is known.
//!
//! Packets are redirected in a network namespace of the test's own, which takes root, or a kernel that lets users have such namespaces, and
//! `iptables`. Where that is not to be had nothing is tested.

use std::process::Command;

use crate::support::{Conn, Proxy, Upstream};

const ALONE: &str = "FYKE_TEST_ALONE";
const MEANT: [&str; 2] = ["10.9.9.9:443", "10.9.9.9:80"];

/// Whether this process has a network of its own. Otherwise the test of this name has run in one when this returns, if there can be any.
fn is_alone(test: &str) -> bool {
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let redirects = "ip link set lo up && ip address add 10.9.9.9/32 dev lo && iptables -t nat -L -n >/dev/null";
    let inside = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--net", "sh", "-c", script]);
        command
    };
    if !inside(redirects).output().is_ok_and(|output| output.status.success()) {
        eprintln!("packets cannot be redirected here: not tested");
        return false;
    }
    let output = inside(&format!("{redirects} && exec \"$@\""))
        .arg("sh")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(ALONE, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&output.stderr));
    false
}

#[tokio::test]
async fn chains_and_filters_go_by_the_address_that_the_client_meant() {
    if !is_alone("original_destination::chains_and_filters_go_by_the_address_that_the_client_meant") {
        return;
    }
    let upstream = Upstream::http(|request| {
        let told = request.header("x-meant").unwrap_or("-").to_owned();
        crate::support::Reply::ok(told)
    })
    .await;
    let route = |more: &str| {
        format!(
            "{{ routes: [{{ cluster: app, request_headers: {{ set: {{ x-meant: '%DOWNSTREAM_LOCAL_ADDRESS% {more}' }} }} }}] }}"
        )
    };
    let proxy = Proxy::start(format!(
        "listeners:\n  web:\n    address: '127.0.0.1:0'\n    original_destination: use\n    filters: [other]\n    \
         chains: [{{ match: {{ destination: [10.9.9.9], destination_port: 443 }}, filters: [secure] }}]\n\
         filters:\n  other: {{ module: builtin:router, config: {} }}\n  secure: {{ module: builtin:router, config: {} }}\n\
         clusters:\n  app: {{ endpoints: ['{}'] }}\n",
        route("other"),
        route("secure"),
        upstream.address
    ))
    .await;
    let port = proxy.web().port().to_string();
    let redirect = ["-t", "nat", "-A", "OUTPUT", "-p", "tcp", "-d", "10.9.9.9", "-j", "REDIRECT", "--to-ports", &port];
    assert!(Command::new("iptables").args(redirect).status().unwrap().success());
    for (meant, chain) in MEANT.into_iter().zip(["secure", "other"]) {
        let mut client = Conn::to(meant.parse().unwrap()).await;
        let answer = client.exchange("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert_eq!(answer.text(), format!("{meant} {chain}"));
    }
    // Whoever comes by itself has meant the proxy.
    assert_eq!(proxy.get("/").await.text(), format!("{} other", proxy.web()));
}
