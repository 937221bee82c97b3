//! Listeners that are files.

use std::os::unix::{fs::PermissionsExt, net::UnixListener};

use tokio::net::UnixStream;

use crate::{
    chain::official,
    support::{Conn, Launch, Upstream, h2::Client, soon},
};

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

fn configuration(upstream: &Upstream, file: &str, more: &str) -> String {
    let shows = official("properties source.address,source.port,destination.address", "");
    format!(
        "state: state\nlisteners:\n  web: {{ address: 'unix:{file}', filters: [shows], cluster: app{more} }}\nfilters:\n  shows: {shows}\n\
         clusters:\n  app: {{ endpoints: ['{}'] }}\n",
        upstream.address
    )
}

async fn connect(path: &std::path::Path) -> Conn {
    Conn::over(soon("a connection", UnixStream::connect(path)).await.unwrap())
}

#[tokio::test]
async fn requests_come_in_through_a_file_that_goes_with_the_process() {
    let upstream = Upstream::says("x").await;
    let launch = Launch::new(configuration(&upstream, "app.sock", ", mode: '0640'")).workers(2);
    let mut proxy = launch.start().await;
    let path = proxy.path("app.sock");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    for _ in 0..4 {
        let mut conn = connect(&path).await;
        let answer = conn.exchange(GET).await;
        assert_eq!((answer.status(), answer.text()), (200, "x".to_owned()));
        assert_eq!(answer.header("x-request-source.address").unwrap_or_default(), "");
        assert_eq!(answer.header("x-request-source.port"), None);
        assert_eq!(answer.header("x-request-destination.address"), path.to_str());
        // Kept alive, and without a host.
        conn.send("GET / HTTP/1.0\r\n\r\n").await;
        assert_eq!(conn.response("GET").await.status(), 200);
        assert_eq!(upstream.last().header("host"), Some("localhost"));
    }
    let stream = UnixStream::connect(&path).await.unwrap();
    assert_eq!(Client::over(stream).await.get("/").await.body, b"x");
    assert_eq!(proxy.page("/status").await["listeners"]["web"], format!("unix:{}", path.display()));
    proxy.signal(rustix::process::Signal::TERM);
    assert_eq!(proxy.ended().await, Some(0));
    assert!(!path.exists());
}

#[tokio::test]
async fn a_file_that_was_left_behind_is_replaced() {
    let upstream = Upstream::says("x").await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.sock");
    drop(UnixListener::bind(&path).unwrap());
    let proxy = Launch::new(configuration(&upstream, path.to_str().unwrap(), "")).start().await;
    assert_eq!(connect(&path).await.exchange(GET).await.status(), 200);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    drop(proxy);
}

#[tokio::test]
async fn a_reload_keeps_it_and_removes_it_with_its_listener() {
    let upstream = Upstream::says("x").await;
    let yaml = configuration(&upstream, "app.sock", "");
    let mut proxy = Launch::new(yaml.clone()).start().await;
    let path = proxy.path("app.sock");
    let mut conn = connect(&path).await;
    assert_eq!(conn.exchange(GET).await.text(), "x");
    proxy.reload(&yaml.replace("filters: [shows], ", "mode: '0666', ")).await;
    assert_eq!(conn.exchange(GET).await.header("x-request-destination.address"), None);
    assert_eq!(connect(&path).await.exchange(GET).await.text(), "x");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o666);
    proxy.reload(&yaml.replace("app.sock", "next.sock")).await;
    assert!(!path.exists());
    assert_eq!(connect(&proxy.path("next.sock")).await.exchange(GET).await.text(), "x");
}

#[tokio::test]
async fn another_process_takes_it_over() {
    let upstream = Upstream::says("x").await;
    let mut proxy = Launch::new(configuration(&upstream, "app.sock", "")).workers(2).start().await;
    let path = proxy.path("app.sock");
    for workers in [1, 3] {
        let mut before = connect(&path).await;
        assert_eq!(before.exchange(GET).await.status(), 200);
        let old = proxy.take_over(workers);
        assert_eq!(connect(&path).await.exchange(GET).await.status(), 200);
        assert_eq!(old.code().await, Some(0));
        assert!(path.exists());
        assert_eq!(connect(&path).await.exchange(GET).await.status(), 200);
    }
    proxy.signal(rustix::process::Signal::TERM);
    assert_eq!(proxy.ended().await, Some(0));
    assert!(!path.exists());
}
