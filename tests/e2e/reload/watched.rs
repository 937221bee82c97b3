//! Files that are watched, and somebody who goes back.

use std::time::{Duration, Instant};

use super::{GET, marked, runs};
use crate::{
    guests,
    support::{Conn, Launch, Proxy, Upstream, eventually, tls},
};

/// Files are looked at five times a second, and what has changed is looked at twice: this is several times as long.
const SEVERAL_LOOKS: Duration = Duration::from_millis(1500);

/// Keeps asking. Only ever a lower bound, for what must not happen.
async fn stays(proxy: &Proxy, generation: u64, header: (&str, Option<&str>)) {
    let began = Instant::now();
    while began.elapsed() < SEVERAL_LOOKS {
        assert_eq!(proxy.get("/").await.header(header.0), header.1);
        tokio::task::yield_now().await;
    }
    assert_eq!(proxy.page("/status").await["generation"], generation);
}

#[tokio::test]
async fn what_was_rolled_back_does_not_come_back_until_it_is_released() {
    let upstream = Upstream::says("hi").await;
    let yaml = |name: &str| format!("reload: watch\n{}", marked(upstream.address, name));
    let proxy = Proxy::start(yaml("g1")).await;
    proxy.rewrite(&yaml("g2"));
    runs(&proxy, 2.0).await;
    let ended = proxy.command(&["rollback"]);
    assert_eq!((ended.code, ended.stdout.trim()), (Some(0), "generation 3 runs"), "{}", ended.stderr);
    stays(&proxy, 3, ("x-generation", Some("g1"))).await;
    // An edit waits, and who wants it says so.
    proxy.rewrite(&yaml("g3"));
    stays(&proxy, 3, ("x-generation", Some("g1"))).await;
    let status = proxy.page("/status").await;
    assert_eq!(status["pinned"], 1, "{status}");
    assert!(status["warnings"].to_string().contains("rollback --release"), "{status}");
    proxy.rewrite(&yaml("g3").replace("cluster: app", "cluster: ap"));
    let refused = proxy.command(&["rollback", "--release"]);
    assert_ne!(refused.code, Some(0), "{}", refused.stdout);
    assert_eq!(proxy.page("/status").await["pinned"], 1);
    proxy.rewrite(&yaml("g4"));
    assert_eq!(proxy.command(&["rollback", "--release"]).code, Some(0));
    assert_eq!(proxy.get("/").await.header("x-generation"), Some("g4"));
    // From now on it is watched again.
    proxy.rewrite(&yaml("g5"));
    runs(&proxy, 5.0).await;
    // Written down when it is done, which is a little after it runs.
    let audit = eventually("five entries", async || {
        let audit = proxy.page("/audit").await;
        (audit.as_array().unwrap().len() == 5).then_some(audit)
    })
    .await;
    let did: Vec<_> = audit.as_array().unwrap().iter().map(|one| one["outcome"].as_str().unwrap()).collect();
    assert_eq!(did, ["applied", "rolled_back", "refused", "applied", "applied"], "{audit:#}");
}

/// Back to a generation that was not watched: its file is all the same, for the one after it was.
#[tokio::test]
async fn whoever_goes_back_before_the_watching_began_is_not_overtaken_either() {
    let upstream = Upstream::says("hi").await;
    let mut proxy = Proxy::start(marked(upstream.address, "g1")).await;
    proxy.reload(&format!("reload: watch\n{}", marked(upstream.address, "g2"))).await;
    // The first look at what is new to the watch counts as a change, and finds none.
    stays(&proxy, 2, ("x-generation", Some("g2"))).await;
    assert_eq!(proxy.command(&["rollback"]).code, Some(0));
    stays(&proxy, 3, ("x-generation", Some("g1"))).await;
    // Asked for, the file counts.
    let ended = proxy.command(&["reload"]);
    assert_eq!((ended.code, ended.stdout.trim()), (Some(0), "generation 4 runs"), "{}", ended.stderr);
    assert_eq!(proxy.get("/").await.header("x-generation"), Some("g2"));
}

#[tokio::test]
async fn a_watched_module_that_was_rolled_back_waits_for_the_next_one() {
    let upstream = Upstream::says("hi").await;
    let yaml = format!(
        "listeners:\n  web: {{ address: '127.0.0.1:0', filters: [f], cluster: app }}\nfilters:\n  f: {{ module: f.wasm, reload: watch \
         }}\nclusters:\n  app: {{ endpoints: ['{}'] }}\n",
        upstream.address
    );
    let file = |path: &str| std::fs::read(path).unwrap();
    let proxy = Launch::new(yaml).file("f.wasm", file(guests::HEADER_FYKE)).start().await;
    std::fs::write(proxy.path("f.wasm"), file(guests::HELLO)).unwrap();
    runs(&proxy, 2.0).await;
    assert_eq!(proxy.get("/").await.header("x-guest-response"), None);
    assert_eq!(proxy.command(&["rollback"]).code, Some(0));
    stays(&proxy, 3, ("x-guest-response", Some("seen"))).await;
    std::fs::write(proxy.path("f.wasm"), file(guests::MISBEHAVE)).unwrap();
    stays(&proxy, 3, ("x-guest-response", Some("seen"))).await;
    assert_eq!(proxy.command(&["rollback", "--release"]).code, Some(0));
    runs(&proxy, 4.0).await;
    assert_eq!(proxy.get("/").await.header("x-guest-response"), None);
}

/// Hours after a rollback a certificate is renewed: it is shown, and nothing else of the files counts.
#[tokio::test]
async fn a_certificate_is_renewed_while_a_rollback_is_pinned() {
    let upstream = Upstream::says("hi").await;
    let yaml = |name: &str| {
        let text = format!("reload: watch\n{}", marked(upstream.address, name));
        text.replace("0', filters", "0', tls: { certificates: [{ certificate: a.pem, key: a.key }] }, filters")
    };
    let (first, second) = (tls::Authority::new(), tls::Authority::new());
    let pair = first.issue(&["localhost"]);
    let proxy = Launch::new(yaml("g1")).file("a.pem", pair.pem).file("a.key", pair.key).start().await;
    proxy.rewrite(&yaml("g2"));
    runs(&proxy, 2.0).await;
    assert_eq!(proxy.command(&["rollback"]).code, Some(0));
    let pair = second.issue(&["localhost"]);
    std::fs::write(proxy.path("a.key"), pair.key).unwrap();
    std::fs::write(proxy.path("a.pem"), pair.pem).unwrap();
    runs(&proxy, 4.0).await;
    let client = second.client(None, &["http/1.1"]);
    let mut conn = Conn::over(tls::connect(proxy.web(), client, "localhost").await.unwrap());
    assert_eq!(conn.exchange(GET).await.header("x-generation"), Some("g1"));
    assert_eq!(proxy.page("/status").await["pinned"], 1);
}
