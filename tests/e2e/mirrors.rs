//! Copies of requests: they arrive whole, and whatever becomes of them is no matter of the request's.

use std::time::{Duration, Instant};

use crate::support::{
    Proxy, Site, Upstream, endpoints, eventually,
    faulty::{Resetting, answer, silent, slow},
    noise,
    upstream::Refusing,
};

/// Everything to `app`, and copies to `shadow`.
async fn mirrored(app: &Upstream, shadow: std::net::SocketAddr, mirror: &str, more: &str) -> Proxy {
    Site::app(&format!("mirror: [{{ cluster: shadow{mirror} }}]{more}"), &endpoints(&[app.address]))
        .cluster("shadow", &endpoints(&[shadow]))
        .start()
        .await
}

#[tokio::test]
async fn a_copy_arrives_with_its_body_and_another_host() {
    let (app, shadow) = (Upstream::says("app").await, Upstream::says("shadow").await);
    let proxy = mirrored(&app, shadow.address, "", "").await;
    let body = noise(60_000, 9);
    let mut client = proxy.connect().await;
    client
        .send(format!("POST /x?y HTTP/1.1\r\nhost: a.example:81\r\nx-a: 1\r\ncontent-length: {}\r\n\r\n", body.len()))
        .await;
    client.send(&body).await;
    assert_eq!(client.response("POST").await.text(), "app");
    let copy = shadow.received(1).await.pop().unwrap();
    assert_eq!((copy.method(), copy.path(), copy.header("x-a")), ("POST", "/x?y", Some("1")));
    assert_eq!((copy.header("host"), app.last().header("host")), (Some("a.example-shadow:81"), Some("a.example:81")));
    assert!(copy.body == body && app.last().body == body);
    let answer = client
        .exchange("POST /t HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntrailer: x-t\r\n\r\n2\r\nab\r\n0\r\nx-t: 1\r\n\r\n")
        .await;
    assert_eq!(answer.text(), "app");
    let copy = shadow.received(2).await.pop().unwrap();
    assert_eq!((copy.text().as_str(), copy.trailer("x-t")), ("ab", Some("1")));
}

#[tokio::test]
async fn a_mirror_that_hangs_refuses_resets_or_is_slow_is_not_noticed() {
    let app = Upstream::says("app").await;
    let (hanging, refusing, resetting) = (silent().await, Refusing::new(), Resetting::new().await);
    let slowly = slow(Duration::from_secs(5), "slow").await;
    let mut site = Site::default().cluster("app", &endpoints(&[app.address]));
    let shadows = [
        ("hang", hanging.address),
        ("refuse", refusing.address),
        ("reset", resetting.address),
        ("slow", slowly.address),
    ];
    for (name, shadow) in shadows {
        site = site
            .route(&format!(
                "match: {{ path_prefix: /{name} }}, cluster: app, timeout: 10s, mirror: [{{ cluster: {name} }}]"
            ))
            .cluster(name, &endpoints(&[shadow]));
    }
    let all: Vec<_> = shadows.iter().map(|(name, _)| format!("{{ cluster: {name} }}")).collect();
    let proxy = site.route(&format!("cluster: app, timeout: 10s, mirror: [{}]", all.join(", "))).start().await;
    let begun = Instant::now();
    for path in ["/hang", "/refuse", "/reset", "/slow", "/all"] {
        let mut client = proxy.connect().await;
        for round in 0..5 {
            let answer = client
                .exchange(&format!("POST {path}/{round} HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello"))
                .await;
            assert_eq!(answer.text(), "app", "{path}");
            assert_eq!(app.last().text(), "hello");
        }
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "the mirrors were waited for: {:?}", begun.elapsed());
    assert_eq!(proxy.metric("fyke_cluster_requests_total", &[("cluster", "app"), ("class", "2xx")]).await, 25.0);
}

#[tokio::test]
async fn a_header_may_name_who_gets_the_copy() {
    let (app, shadow) = (Upstream::says("app").await, Upstream::says("shadow").await);
    let proxy = Site::app("mirror: [{ cluster_header: X-Copy, keep_host: true }]", &endpoints(&[app.address]))
        .cluster("shadow", &endpoints(&[shadow.address]))
        .start()
        .await;
    for (path, header) in [("/none", ""), ("/unknown", "x-copy: nobody\r\n"), ("/known", "x-copy: shadow\r\n")] {
        let mut client = proxy.connect().await;
        let answer = client.exchange(&format!("GET {path} HTTP/1.1\r\nhost: a.example\r\n{header}\r\n")).await;
        assert_eq!(answer.text(), "app", "{path}");
    }
    let copies = shadow.received(1).await;
    let copies: Vec<_> = copies.iter().map(|copy| (copy.path(), copy.header("host"))).collect();
    assert_eq!(copies, [("/known", Some("a.example"))]);
}

#[tokio::test]
async fn a_mirror_ends_with_the_routes_timeout() {
    let (app, hanging) = (Upstream::says("app").await, silent().await);
    let proxy = mirrored(&app, hanging.address, "", ", timeout: 1s").await;
    assert_eq!(proxy.get("/x").await.text(), "app");
    hanging.received(1).await;
    eventually("the copy to be given up", async || (hanging.open() == 0).then_some(())).await;
    eventually("its connection to be forgotten", async || {
        (proxy.metric("fyke_cluster_connections_active", &[("cluster", "shadow")]).await == 0.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_request_that_fails_and_is_retried_is_copied_once() {
    let (app, shadow) = (crate::support::faulty::breaks_off("").await, Upstream::says("shadow").await);
    let proxy =
        mirrored(&app, shadow.address, "", ", retry: { on: [reset], attempts: 2, backoff: { base: 1ms } }").await;
    let mut client = proxy.connect().await;
    let answer = client.exchange("POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello").await;
    assert_eq!((answer.status(), app.seen().len()), (503, 3));
    assert_eq!(shadow.received(1).await[0].text(), "hello");
    // Another request arrives after it, and nothing in between.
    client.exchange("GET /end HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let copies: Vec<_> = shadow.received(2).await.iter().map(|seen| seen.path().to_owned()).collect();
    assert_eq!(copies, ["/x", "/end"]);
}

#[tokio::test]
async fn a_share_of_the_requests_is_copied() {
    let (app, shadow) = (Upstream::says("app").await, Upstream::says("shadow").await);
    let proxy = mirrored(&app, shadow.address, ", fraction: 50%", "").await;
    let mut client = proxy.connect().await;
    for _ in 0..400 {
        assert_eq!(client.exchange("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.text(), "app");
    }
    // Six standard deviations of ten requests each.
    let copies = eventually("the copies to arrive", async || {
        let count = shadow.seen().len();
        (count >= 140).then_some(count)
    })
    .await;
    assert!(copies <= 260, "{copies} of 400");
}

#[tokio::test]
async fn no_share_is_none() {
    let (app, shadow) = (Upstream::says("app").await, Upstream::says("shadow").await);
    let proxy = mirrored(&app, shadow.address, ", fraction: 0%", "").await;
    for _ in 0..20 {
        assert_eq!(proxy.get("/").await.text(), "app");
    }
    assert_eq!(shadow.connections(), 0);
}

#[tokio::test]
async fn a_body_that_nobody_reads_any_more_does_not_hold_the_client() {
    // The endpoint answers and closes without having read the body; the mirror waits for the rest of it.
    let app = Upstream::scripted(|mut conn, _, recorder| async move {
        recorder.saw(&conn.head().await.unwrap());
        answer(&mut conn, "early").await.unwrap();
    })
    .await;
    let shadow = silent().await;
    let proxy = mirrored(&app, shadow.address, "", ", timeout: 0s").await;
    let mut client = proxy.connect().await;
    client.send("POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\nsome").await;
    assert_eq!(client.response("POST").await.text(), "early");
    eventually("the copy to be given up", async || (shadow.connections() > 0 && shadow.open() == 0).then_some(()))
        .await;
}

#[tokio::test]
async fn copies_that_pile_up_are_limited_by_the_mirrors_own_breakers() {
    let (app, hanging) = (Upstream::says("app").await, silent().await);
    let proxy = Site::app("mirror: [{ cluster: shadow }]", &endpoints(&[app.address]))
        .cluster(
            "shadow",
            &format!("circuit_breakers: {{ connections: 3, pending: 0 }}, {}", endpoints(&[hanging.address])),
        )
        .start()
        .await;
    for _ in 0..20 {
        assert_eq!(proxy.get("/").await.text(), "app");
    }
    assert!(hanging.connections() <= 3);
    proxy.metric_reaches("fyke_cluster_overflows_total", &[("cluster", "shadow"), ("limit", "pending")], 17.0).await;
}
