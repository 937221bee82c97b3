//! A stream never leaves the thread on which it was accepted. That streams cannot be sent to another thread at all is checked by the
//! compiler (`host/tests/threads.rs`); here it is seen from outside.

use std::collections::{BTreeMap, BTreeSet};

use crate::support::{Launch, Proxy, Reply, Upstream, eventually, proxy::plain};

async fn streams(proxy: &Proxy) -> [f64; 2] {
    [
        proxy.metric("fyke_worker_streams_total", &[("worker", "0")]).await,
        proxy.metric("fyke_worker_streams_total", &[("worker", "1")]).await,
    ]
}

#[tokio::test]
async fn all_streams_of_a_connection_run_on_one_worker_and_so_do_their_upstream_connections() {
    let upstream = Upstream::http(|request| Reply::ok(request.connection.to_string())).await;
    let proxy = Launch::new(plain(upstream.address)).workers(2).start().await;
    let mut workers_of: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
    let mut total = 0.0;
    // The kernel spreads connections by their ports: forty of them leave no worker out but once in a million million times.
    for _ in 0..40 {
        let mut client = proxy.connect().await;
        let before = streams(&proxy).await;
        let mut used = BTreeSet::new();
        for _ in 0..10 {
            used.insert(client.exchange("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.text());
            total += 1.0;
        }
        let after = streams(&proxy).await;
        let grown = [after[0] - before[0], after[1] - before[1]];
        assert!(
            grown == [10.0, 0.0] || grown == [0.0, 10.0],
            "ten requests of one connection were served by both workers: {grown:?}"
        );
        let worker = usize::from(grown[1] > 0.0);
        for connection in used {
            workers_of.entry(connection).or_default().insert(worker);
        }
    }
    assert!(
        workers_of.values().all(|workers| workers.len() == 1),
        "an upstream connection was used by both workers: {workers_of:?}"
    );
    let both: BTreeSet<_> = workers_of.values().flatten().collect();
    assert_eq!(both.len(), 2, "one worker had nothing to do");
    let [first, second] = streams(&proxy).await;
    assert_eq!(first + second, total);
    proxy.metric_reaches("fyke_listener_requests_total", &[("class", "2xx")], total).await;
    assert_eq!(proxy.metric("fyke_listener_requests_total", &[]).await, total);
    // An idle client holds nothing but its connection.
    eventually("no stream", async || (proxy.metric("fyke_worker_streams_active", &[]).await == 0.0).then_some(()))
        .await;
}

#[tokio::test]
async fn there_is_one_thread_for_each_worker() {
    let upstream = Upstream::says("x").await;
    for count in [1, 3] {
        let proxy = Launch::new(plain(upstream.address)).workers(count).start().await;
        assert_eq!(proxy.get("/").await.status(), 200);
        // A thread has its name a moment after it has begun.
        eventually(format!("{count} threads that are named workers"), async || {
            let tasks = std::fs::read_dir(format!("/proc/{}/task", proxy.pid())).unwrap();
            let names = tasks.flatten().filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
            (names.filter(|name| name.contains("worker")).count() == count).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn memory_is_not_taken_in_huge_pages() {
    let upstream = Upstream::says("a").await;
    let proxy = Proxy::plain(upstream.address).await;
    let status = std::fs::read_to_string(format!("/proc/{}/status", proxy.pid())).unwrap();
    assert!(status.contains("THP_enabled:\t0\n"), "{status}");
}
