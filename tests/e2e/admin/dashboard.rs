//! The dashboard of a running proxy, as a browser meets it: pages, what keeps them up to date, forms.

use std::sync::{
    Arc,
    atomic::{AtomicU16, Ordering},
};

use crate::support::{Conn, Launch, Message, Proxy, Reply, Site, Upstream, endpoints, eventually, proxy::plain, soon};

/// A request to the admin endpoint with these header lines, each ended by CRLF.
pub(super) async fn browse(proxy: &Proxy, method: &str, path: &str, headers: &str, body: impl AsRef<[u8]>) -> Message {
    let mut conn = Conn::to(proxy.admin()).await;
    let (host, body) = (proxy.admin(), body.as_ref());
    let length = if body.is_empty() { String::new() } else { format!("content-length: {}\r\n", body.len()) };
    conn.send(format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{length}{headers}\r\n")).await;
    conn.send(body).await;
    conn.response(method).await
}

/// A form as a page of the proxy itself sends it.
pub(super) async fn submit(proxy: &Proxy, path: &str, cookie: &str, body: &str) -> Message {
    let origin = proxy.admin();
    let headers = format!(
        "origin: http://{origin}\r\ncookie: {cookie}\r\naccept: text/html\r\ncontent-type: application/x-www-form-urlencoded\r\n"
    );
    browse(proxy, "POST", path, &headers, body).await
}

/// The events of a page.
pub(super) struct Live(Conn, String);

impl Live {
    pub(super) async fn of(proxy: &Proxy, page: &str) -> Self {
        let mut conn = Conn::to(proxy.admin()).await;
        let host = proxy.admin();
        conn.send(format!(
            "GET /dashboard/live?page={page} HTTP/1.1\r\nhost: {host}\r\naccept: text/event-stream\r\n\r\n"
        ))
        .await;
        let head = conn.head().await.unwrap();
        assert_eq!((head.status(), head.header("content-type")), (200, Some("text/event-stream")));
        Self(conn, String::new())
    }

    /// Reads on until something was sent.
    pub(super) async fn sends(&mut self, text: &str) {
        soon(format!("{text:?} in the stream"), async {
            while !self.1.contains(text) {
                let chunk = self.0.chunk().await.expect("the stream goes on");
                self.1.push_str(&String::from_utf8(chunk).unwrap());
            }
        })
        .await;
        self.1.clear();
    }
}

/// Signs in. Returns the cookie, and the secret of its forms.
pub(super) async fn signed_in(proxy: &Proxy) -> (String, String) {
    let token = std::fs::read_to_string(proxy.path("token")).unwrap();
    let answer =
        submit(proxy, "/dashboard/sign-in", "", &format!("token={}&to=/dashboard/filters", token.trim())).await;
    assert_eq!((answer.status(), answer.header("location")), (303, Some("/dashboard/filters")), "{answer:?}");
    let set = answer.header("set-cookie").unwrap();
    assert!(set.contains("HttpOnly") && set.contains("SameSite=Strict"), "{set}");
    let cookie = set.split(';').next().unwrap().to_owned();
    let page = browse(proxy, "GET", "/dashboard", &format!("cookie: {cookie}\r\n"), "").await.text();
    let (_, rest) = page.split_once("name=\"csrf\" value=\"").expect("a form");
    (cookie, rest.split('"').next().unwrap().to_owned())
}

#[tokio::test]
async fn every_page_is_there_and_nothing_of_it_comes_from_elsewhere() {
    let upstream = Upstream::says("x").await;
    let proxy = Site::app("", &endpoints(&[upstream.address])).start().await;
    let root = browse(&proxy, "GET", "/", "accept: text/html,*/*\r\n", "").await;
    assert_eq!((root.status(), root.header("location")), (303, Some("/dashboard")));
    assert!(proxy.ask("/").await.text().contains("/dashboard"));
    let filter = proxy.page("/filters").await.as_object().unwrap().keys().next().unwrap().clone();
    for page in [
        "".to_owned(),
        "/services/listener/web".to_owned(),
        "/services/cluster/app".to_owned(),
        "/flow".to_owned(),
        "/endpoints".to_owned(),
        "/filters".to_owned(),
        format!("/filters/{filter}"),
        "/explain?url=/x".to_owned(),
        "/tap".to_owned(),
        "/certificates".to_owned(),
        "/events".to_owned(),
        "/find?q=app".to_owned(),
        "/sign-in".to_owned(),
    ] {
        let answer = proxy.ask(&format!("/dashboard{page}")).await;
        assert_eq!((answer.status(), answer.header("content-type")), (200, Some("text/html; charset=utf-8")), "{page}");
        assert!(answer.header("content-security-policy").unwrap().contains("default-src 'self'"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        // Whoever has not signed in is offered nothing that works.
        let text = answer.text();
        let buttons = text.matches(">Drain<").count();
        assert!(!text.contains("class=\"act weight\"") && text.matches("disabled").count() >= buttons, "{page}");
    }
    let head = browse(&proxy, "HEAD", "/dashboard", "", "").await;
    assert_eq!((head.status(), head.body.len()), (200, 0));
    for missing in ["/dashboard/nothing", "/dashboard/filters/nothing", "/dashboard/services/cluster/nothing"] {
        assert_eq!(proxy.ask(missing).await.status(), 404, "{missing}");
    }
    assert_eq!(proxy.ask("/dashboard/live?page=/metrics").await.status(), 400);
    let other = browse(&proxy, "PUT", "/dashboard", "", "").await;
    assert_eq!((other.status(), other.header("allow")), (405, Some("GET, HEAD, POST")));
    // A name of somebody's that leads here.
    let mut conn = Conn::to(proxy.admin()).await;
    assert_eq!(conn.exchange("GET /dashboard HTTP/1.1\r\nhost: evil.example\r\n\r\n").await.status(), 403);
}

#[tokio::test]
async fn traffic_shows_on_pages_and_in_streams() {
    let upstream = Upstream::http(|request| Reply::new(if request.path() == "/bad" { 500 } else { 200 })).await;
    let proxy = Launch::new(plain(upstream.address)).workers(2).start().await;
    let mut live = Live::of(&proxy, "/dashboard").await;
    live.sends("event: tick").await;
    live.sends("event: tick").await;
    for _ in 0..7 {
        proxy.get("/").await;
    }
    live.sends("7 in the last hour").await;
    for _ in 0..2 {
        proxy.get("/bad").await;
    }
    live.sends("9 in the last hour").await;
    let page = proxy.ask("/dashboard").await.text();
    assert!(page.contains("9 in the last hour") && page.contains("2 failed"), "{page}");
    for service in ["listener/web", "cluster/app"] {
        let data = proxy.page(&format!("/dashboard/data/services/{service}?chart=traffic")).await;
        let rates = data["series"][0]["values"].as_array().unwrap();
        assert!(rates.iter().filter_map(serde_json::Value::as_f64).any(|rate| rate > 0.0), "{service}: {data}");
    }
}

#[tokio::test]
async fn so_many_pages_are_kept_up_to_date_and_whoever_goes_makes_room() {
    let upstream = Upstream::says("x").await;
    let proxy = Proxy::plain(upstream.address).await;
    let mut open = Vec::new();
    for _ in 0..32 {
        open.push(Live::of(&proxy, "/dashboard/flow").await);
    }
    let path = "/dashboard/live?page=/dashboard";
    let refused = proxy.ask(path).await;
    assert_eq!((refused.status(), refused.header("retry-after")), (503, Some("5")));
    for live in &mut open {
        live.sends("event: tick").await;
    }
    open.pop();
    eventually("room for another one", async || {
        let mut conn = Conn::to(proxy.admin()).await;
        conn.send(format!("GET {path} HTTP/1.1\r\nhost: {}\r\n\r\n", proxy.admin())).await;
        (conn.head().await?.status() == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_endpoint_that_is_down_shows_with_its_reason() {
    let status = Arc::new(AtomicU16::new(200));
    let now = Arc::clone(&status);
    let a = Upstream::http(move |_| Reply::new(now.load(Ordering::SeqCst))).await;
    let b = Upstream::says("b").await;
    let check = "health_check: { http: /healthz, interval: 50ms, no_traffic_interval: 50ms, healthy: 1, unhealthy: 2 }";
    let proxy = Site::app("", &format!("{check}, {}", endpoints(&[a.address, b.address]))).start().await;
    let mut live = Live::of(&proxy, "/dashboard/endpoints?cluster=app").await;
    live.sends("http /healthz every 50ms").await;
    status.store(503, Ordering::SeqCst);
    live.sends("health check failed: ").await;
    let overview = eventually("a warning", async || {
        Some(proxy.ask("/dashboard").await.text()).filter(|page| page.contains("of app is unhealthy"))
    })
    .await;
    assert!(overview.contains("1 of 2 endpoints take its requests") && overview.contains("503"), "{overview}");
    let page = proxy.ask("/dashboard/endpoints?health=unhealthy").await.text();
    assert!(page.contains(&a.address.to_string()) && !page.contains(&b.address.to_string()), "{page}");
    status.store(200, Ordering::SeqCst);
    eventually("nothing to need attention", async || {
        (!proxy.ask("/dashboard").await.text().contains("is unhealthy")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn whoever_signs_in_reloads_by_form_and_nobody_else() {
    let upstream = Upstream::says("x").await;
    let proxy = Proxy::plain(upstream.address).await;
    let reload = "action=reload&confirmed=yes";
    assert_eq!(submit(&proxy, "/dashboard/act", "", reload).await.status(), 403);
    assert_eq!(submit(&proxy, "/dashboard/sign-in", "", "token=wrong").await.status(), 403);
    proxy.logged(&["somebody asked with a wrong token"]).await;
    let (cookie, csrf) = signed_in(&proxy).await;
    let with = |form: &str| format!("csrf={csrf}&{form}");
    // Without the secret of its forms, or from another page, a session changes nothing.
    assert_eq!(submit(&proxy, "/dashboard/act", &cookie, reload).await.status(), 403);
    assert_eq!(submit(&proxy, "/dashboard/act", "", &with(reload)).await.status(), 403);
    let headers = format!(
        "origin: http://evil.example\r\ncookie: {cookie}\r\ncontent-type: application/x-www-form-urlencoded\r\n"
    );
    assert_eq!(browse(&proxy, "POST", "/dashboard/act", &headers, with(reload)).await.status(), 403);
    assert_eq!(proxy.page("/audit").await.as_array().unwrap().len(), 0);

    let asked = submit(&proxy, "/dashboard/act", &cookie, &with("action=reload")).await;
    assert_eq!((asked.status(), asked.text().contains("value=\"yes\"")), (200, true), "{asked:?}");
    proxy.rewrite(&(plain(upstream.address) + "  other: { endpoints: ['127.0.0.1:9'] }\n"));
    let done = submit(&proxy, "/dashboard/act", &cookie, &with(reload)).await;
    assert_eq!((done.status(), done.header("location")), (303, Some("/dashboard?done=reload")), "{done:?}");
    let audit = proxy.page("/audit").await;
    assert_eq!((audit[0]["who"].as_str(), audit[0]["generation"].as_u64()), (Some("dashboard (127.0.0.1)"), Some(2)));
    let page = proxy.ask("/dashboard").await.text();
    assert!(page.contains("cluster other added") && page.contains("dashboard (127.0.0.1)"), "{page}");

    proxy.rewrite("listeners: { web: { adress: x } }\n");
    let broken = submit(&proxy, "/dashboard/act", &cookie, &with(reload)).await;
    assert_eq!((broken.status(), broken.text().contains("adress")), (422, true), "{broken:?}");
    assert!(proxy.ask("/dashboard/events").await.text().contains("reload was refused"));
    let back = submit(&proxy, "/dashboard/act", &cookie, &with("action=rollback&to=1&confirmed=yes")).await;
    assert_eq!(back.status(), 303, "{back:?}");
    assert_eq!(proxy.page("/config").await["generation"], 3);
    let drain = with("action=drain&cluster=app&address=127.0.0.1:9&confirmed=yes");
    assert_eq!(submit(&proxy, "/dashboard/act", &cookie, &drain).await.status(), 404);

    let out = submit(&proxy, "/dashboard/sign-out", &cookie, &with("")).await;
    assert_eq!(out.status(), 303);
    assert_eq!(submit(&proxy, "/dashboard/act", &cookie, &with(reload)).await.status(), 403);
}

#[tokio::test]
async fn a_canary_is_loaded_and_taken_back_by_form() {
    let upstream = Upstream::says("x").await;
    let proxy = Site::app("", &endpoints(&[upstream.address])).start().await;
    let (cookie, csrf) = signed_in(&proxy).await;
    let act = async |form: &str| submit(&proxy, "/dashboard/act", &cookie, &format!("csrf={csrf}&{form}")).await;
    let page = async || proxy.ask("/dashboard/filters/router").await.text();
    let loaded = act("action=load&filter=router&module=builtin:router&canary=5").await;
    assert_eq!((loaded.status(), loaded.header("location")), (303, Some("/dashboard/filters/router?done=load")));
    let text = page().await;
    assert!(text.contains("filter load router builtin:router --canary 5% by dashboard (127.0.0.1)"), "{text}");
    assert_eq!(proxy.page("/filters/router").await["canary"]["percent"], 5.0);
    let aborted = act("action=abort&filter=router&confirmed=yes").await;
    assert_eq!(aborted.status(), 303, "{aborted:?}");
    assert!(proxy.page("/filters/router").await["canary"].is_null());
    let elsewhere = act("action=load&filter=router&module=file.wasm").await;
    assert_eq!((elsewhere.status(), elsewhere.text().contains("builtin:NAME")), (422, true), "{elsewhere:?}");
    let broken = act("action=load&filter=router&configuration=%7B%22x%22%3A1%7D").await;
    assert_eq!(broken.status(), 422, "{broken:?}");
    assert!(page().await.contains("filter load router by dashboard"), "the refusal is not told");
}
