//! Filters that break: they lose their own streams and nobody else's.

use std::time::{Duration, Instant};

use crate::chain::{chain, misbehave};
use crate::support::{Neighbour, Proxy, Upstream, eventually, long, proxy::metric};

const KINDS: [&str; 4] = ["panic", "trap", "loop", "memory"];

/// Listener `web` has the filter that breaks; listener `good`, on the same worker, has none.
async fn beside(order: &str, more: &str, upstream: &Upstream, callout: &Upstream) -> Proxy {
    let limits = if more.contains("limits:") { "" } else { "limits: { memory: 16MiB }, " };
    let yaml = format!(
        "listeners:\n  web: {{ address: '127.0.0.1:0', filters: [bad], cluster: app }}\n  good: {{ address: '127.0.0.1:0', cluster: app }}\n\
         filters:\n  bad: {}\n\
         clusters:\n  app: {{ endpoints: ['{}'] }}\n  callout: {{ endpoints: ['{}'] }}\n",
        misbehave(order, &format!("allow: {{ clusters: [callout] }}, {limits}{more}")),
        upstream.address,
        callout.address
    );
    Proxy::start(yaml).await
}

/// A request with a body and trailers, so that every callback has its turn. `None`: the answer broke off, or none came.
async fn ask(proxy: &Proxy, order: &str) -> Option<u16> {
    let mut client = proxy.connect().await;
    client
        .send(format!(
            "POST / HTTP/1.1\r\nhost: a\r\nx-misbehave: {order}\r\nte: trailers\r\ntrailer: x-t\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-t: 1\r\n\r\n"
        ))
        .await;
    let head = client.head().await?;
    let status = head.status();
    client.body(head).await.map(|_| status)
}

/// Answers with chunks and trailers.
async fn upstream() -> Upstream {
    Upstream::scripted(|mut conn, _, recorder| async move {
        while let Some(request) = conn.request().await {
            recorder.saw(&request);
            conn.send(
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-t\r\n\r\n3\r\nabc\r\n0\r\nx-t: 1\r\n\r\n",
            )
            .await;
        }
    })
    .await
}

async fn every_kind_in(phase: &str, policy: &str, expected: impl Fn(Option<u16>) -> bool) {
    let (upstream, callout) = (upstream().await, Upstream::says("x").await);
    let proxy = beside("", &format!("on_failure: {policy}, "), &upstream, &callout).await;
    let neighbour = Neighbour::of(proxy.listener("good"));
    for (round, kind) in KINDS.into_iter().enumerate() {
        let got = ask(&proxy, &format!("{phase} {kind}")).await;
        assert!(expected(got), "{phase} {kind} with policy {policy}: {got:?}");
        proxy.metric_reaches("fyke_filter_traps_total", &[("filter", "bad")], round as f64 + 1.0).await;
        proxy.logged(&["filter trapped", "bad", phase]).await;
        // A fresh instance serves the next stream.
        assert_eq!(ask(&proxy, "never nothing").await, Some(200), "after {phase} {kind}");
    }
    assert_eq!(proxy.metric("fyke_filter_traps_total", &[("filter", "bad")]).await, KINDS.len() as f64);
    neighbour.unhurt().await;
}

macro_rules! phases {
    ($($name:ident: $phase:literal $policy:literal => $expected:pat,)*) => {
        $(
            #[tokio::test]
            async fn $name() {
                every_kind_in($phase, $policy, |got| matches!(got, $expected)).await;
            }
        )*
    };
}

phases! {
    request_headers_closed: "request_headers" "close" => Some(503),
    request_body_closed: "request_body" "close" => Some(503) | None,
    request_trailers_closed: "request_trailers" "close" => Some(503) | None,
    response_headers_closed: "response_headers" "close" => Some(503),
    // The head is out: what is left is to break the answer off.
    response_body_closed: "response_body" "close" => Some(503) | None,
    response_trailers_closed: "response_trailers" "close" => Some(503) | None,
    http_call_response_closed: "http_call_response" "close" => Some(503),
    // The client has its answer.
    log_closed: "log" "close" => Some(200),
    done_closed: "done" "close" => Some(200),
    request_headers_open: "request_headers" "open" => Some(200),
    request_body_open: "request_body" "open" => Some(200),
    request_trailers_open: "request_trailers" "open" => Some(200),
    response_headers_open: "response_headers" "open" => Some(200),
    response_body_open: "response_body" "open" => Some(200),
    response_trailers_open: "response_trailers" "open" => Some(200),
    http_call_response_open: "http_call_response" "open" => Some(200),
}

#[tokio::test]
async fn a_loop_ends_at_its_call_time() {
    let (upstream, callout) = (upstream().await, Upstream::says("x").await);
    let yaml = format!(
        "listeners:\n  web: {{ address: '127.0.0.1:0', filters: [bad], cluster: app }}\nfilters:\n  bad: {}\nclusters:\n  app: {{ endpoints: ['{}'] }}\n  callout: {{ endpoints: ['{}'] }}\n",
        misbehave("", "limits: { call_time: 300ms }, "),
        upstream.address,
        callout.address
    );
    let proxy = Proxy::start(yaml).await;
    let begun = Instant::now();
    assert_eq!(ask(&proxy, "request_headers loop").await, Some(503));
    assert!(begun.elapsed() >= Duration::from_millis(300), "stopped after {:?}, before its time", begun.elapsed());
    assert_eq!(proxy.metric("fyke_filter_traps_total", &[("reason", "deadline")]).await, 1.0);
}

#[tokio::test]
async fn memory_ends_at_its_cap() {
    let (upstream, callout) = (upstream().await, Upstream::says("x").await);
    // On a busy machine, touching 16 MiB takes longer than a call may by default.
    let proxy = beside("", "limits: { memory: 16MiB, call_time: 5s }, ", &upstream, &callout).await;
    assert_eq!(ask(&proxy, "never nothing").await, Some(200));
    let before = proxy.resident();
    for _ in 0..5 {
        assert_eq!(ask(&proxy, "request_headers memory").await, Some(503));
    }
    let grown = proxy.resident().saturating_sub(before);
    assert!(grown < 64 * 1024 * 1024, "five instances with a cap of 16 MiB left {grown} bytes behind");
    assert_eq!(proxy.metric("fyke_filter_traps_total", &[("reason", "memory")]).await, 5.0);
}

#[tokio::test]
async fn streams_that_wait_for_a_broken_instance_meet_its_policy_at_once() {
    for (policy, expected) in [("close", 503), ("open", 200)] {
        let upstream = upstream().await;
        // A callout that is never answered.
        let callout = Upstream::scripted(|mut conn, _, recorder| async move {
            recorder.saw(&conn.request().await.unwrap());
            conn.rest().await;
        })
        .await;
        let proxy = beside("", &format!("on_failure: {policy}, "), &upstream, &callout).await;
        let mut waiting = Vec::new();
        for _ in 0..5 {
            let mut client = proxy.connect().await;
            client.send("GET /waiting HTTP/1.1\r\nhost: a\r\nx-misbehave: http_call_response nothing\r\n\r\n").await;
            waiting.push(client);
        }
        callout.received(5).await;
        let begun = Instant::now();
        assert_eq!(ask(&proxy, "request_headers trap").await, Some(expected));
        for client in &mut waiting {
            assert_eq!(client.response("GET").await.status(), expected, "{policy}");
        }
        // The guest gives its callout five seconds; nobody waited for that.
        assert!(begun.elapsed() < Duration::from_secs(4), "{policy}: {:?}", begun.elapsed());
        assert_eq!(proxy.metric("fyke_filter_failed_streams_total", &[("policy", policy)]).await, 6.0);
    }
}

#[tokio::test]
async fn a_tick_that_always_traps_opens_the_breaker_and_hurts_nobody_else() {
    for (policy, expected) in [("close", 503), ("open", 200)] {
        let (upstream, callout) = (upstream().await, Upstream::says("x").await);
        let proxy = beside("tick panic", &format!("on_failure: {policy}, "), &upstream, &callout).await;
        let neighbour = Neighbour::of(proxy.listener("good"));
        proxy.metric_reaches("fyke_filter_breaker_open", &[("filter", "bad")], 1.0).await;
        proxy.logged(&["filter keeps trapping", "bad"]).await;
        eventually("a stream that meets the policy", async || {
            (ask(&proxy, "never nothing").await == Some(expected)).then_some(())
        })
        .await;
        neighbour.unhurt().await;
    }
}

#[tokio::test]
async fn many_streams_at_once_lose_only_those_that_break() {
    let (upstream, callout) = (upstream().await, Upstream::says("x").await);
    let proxy = beside("", "on_failure: open, ", &upstream, &callout).await;
    let neighbour = Neighbour::of(proxy.listener("good"));
    let asks = (0..60).map(|number| {
        let proxy = &proxy;
        async move {
            let order = match number % 4 {
                0 => "request_headers trap",
                1 => "response_headers panic",
                _ => "never nothing",
            };
            (order, ask(proxy, order).await)
        }
    });
    for (order, got) in futures_util::future::join_all(asks).await {
        assert_eq!(got, Some(200), "{order}");
    }
    neighbour.unhurt().await;
}

/// How long it takes, as the proxy measures it and as the next request notices.
#[tokio::test]
async fn another_instance_is_there_soon_after_a_trap() {
    let upstream = Upstream::says("hi").await;
    let proxy = Proxy::start(chain(upstream.address, &[("f", misbehave("", ""))])).await;
    let rounds = if long() { 2000 } else { 100 };
    let get = |more: &str| format!("GET / HTTP/1.1\r\nhost: a\r\n{more}\r\n");
    let mut conn = proxy.connect().await;
    let (mut usual, mut next) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let began = Instant::now();
        assert_eq!(conn.exchange(&get("")).await.status(), 200);
        usual.push(began.elapsed());
        assert_eq!(conn.exchange(&get("x-misbehave: request_headers trap\r\n")).await.status(), 503);
        let began = Instant::now();
        assert_eq!(conn.exchange(&get("")).await.status(), 200);
        next.push(began.elapsed());
    }
    for times in [&mut usual, &mut next] {
        times.sort();
    }
    let text = proxy.ask("/metrics").await.text();
    let of = |suffix: &str, labels: &[(&str, &str)]| {
        metric(&text, &format!("fyke_filter_instance_replacement_seconds_{suffix}"), labels)
    };
    let (count, sum) = (of("count", &[]), of("sum", &[]));
    println!(
        "{count} instances replaced, on average after {:.0} us; within 250 us {:.0}%, within 1 ms {:.0}%, within 5 ms {:.0}%; a request takes \
         {:?}, the one after a trap {:?} (medians), at most {:?}",
        sum / count * 1e6,
        of("bucket", &[("le", "0.00025")]) / count * 100.0,
        of("bucket", &[("le", "0.001")]) / count * 100.0,
        of("bucket", &[("le", "0.005")]) / count * 100.0,
        usual[rounds / 2],
        next[rounds / 2],
        next.last().unwrap(),
    );
    assert_eq!(count as usize, rounds);
    // Of a debug build on a busy machine.
    assert!(sum / count < 0.1, "{} s on average", sum / count);
}
