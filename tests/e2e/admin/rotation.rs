//! SIGUSR1: files of sinks are opened anew.

use std::fs;

use rustix::process::Signal;

use crate::support::{Launch, Upstream, eventually, load::Load};

#[tokio::test]
async fn a_log_that_is_moved_away_and_signalled_loses_nothing() {
    let upstream = Upstream::says("x").await;
    let yaml = format!(
        "listeners:\n  web: {{ address: '127.0.0.1:0', filters: [log], cluster: app }}\n\
         filters:\n  log: {{ module: 'builtin:access-log', config: {{ sink: requests, format: json, fields: {{ path: request.path }} }} }}\n\
         clusters:\n  app: {{ endpoints: ['{}'] }}\nsinks: {{ requests: {{ file: access.log }} }}\n",
        upstream.address
    );
    let mut proxy = Launch::new(yaml).workers(2).start().await;
    let (log, web) = (proxy.path("access.log"), proxy.web());
    let mut load = Load::default();
    for _ in 0..2 {
        load.client(move |turn| async move {
            while turn.goes_on() {
                assert_eq!(crate::support::proxy::get(web, "/some/path", "").await.status(), 200);
                turn.answered();
            }
        });
    }
    for number in 1..=3 {
        eventually("records", async || fs::metadata(&log).is_ok_and(|facts| facts.len() > 0).then_some(())).await;
        fs::rename(&log, proxy.path(&format!("access.log.{number}"))).unwrap();
        proxy.signal(Signal::USR1);
        eventually("a new file", async || log.exists().then_some(())).await;
    }
    proxy.logged(&["SIGUSR1"]).await;
    let answered = load.end().await;
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.ended().await, Some(0));
    let mut records = 0;
    for name in ["access.log", "access.log.1", "access.log.2", "access.log.3"] {
        let text = fs::read_to_string(proxy.path(name)).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'), "{name} ends within a record");
        for line in text.lines() {
            let record: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(record["path"], "/some/path");
            records += 1;
        }
    }
    assert_eq!(records, answered, "records were lost or written twice");
}
