//! `fyke run --resume`: the last configuration that ran, when its file is broken.

use rustix::process::Signal;

use crate::{
    guests,
    support::{Launch, Upstream},
};

#[tokio::test]
async fn a_broken_file_does_not_keep_a_process_from_starting() {
    let upstream = Upstream::says("hi").await;
    let yaml = format!(
        "state: state\ninclude: ['more/*.yaml']\nlisteners:\n  web: {{ address: '127.0.0.1:0', filters: [f], cluster: app }}\nfilters:\n  f: {{ \
         module: f.wasm }}\nclusters:\n  app: {{ endpoints: ['{}'] }}\n",
        upstream.address
    );
    let launch = Launch::new(yaml).file("f.wasm", std::fs::read(guests::HEADER_FYKE).unwrap());
    let mut proxy = launch.start().await;
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.ended().await, Some(0));
    // Both the configuration and a module that it needs.
    std::fs::write(proxy.path("f.wasm"), "no module").unwrap();
    proxy.rewrite("state: state\nlisteners: [\n");
    proxy.restart(&["--resume"]).await;
    assert_eq!(proxy.get("/").await.header("x-guest-response"), Some("seen"));
    proxy.logged(&["IS BROKEN AND NOT USED", "fyke reload"]).await;
    let audit = proxy.page("/audit").await;
    assert_eq!((&audit[0]["what"], &audit[0]["outcome"]), (&"run --resume".into(), &"refused".into()));
    // What is mended is used.
    std::fs::copy(guests::MISBEHAVE, proxy.path("f.wasm")).unwrap();
    let mended = format!(
        "state: state\nlisteners:\n  web: {{ address: '127.0.0.1:0', filters: [f], cluster: app }}\nfilters:\n  f: {{ module: f.wasm \
         }}\nclusters:\n  app: {{ endpoints: ['{}'] }}\n",
        upstream.address
    );
    proxy.reload(&mended).await;
    let answer = proxy.get("/").await;
    assert_eq!((answer.status(), answer.header("x-guest-response")), (200, None));
}
