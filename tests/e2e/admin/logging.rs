//! Levels of the log that change while the process runs.

use serde_json::json;

use crate::support::{Launch, Proxy, Upstream, eventually, proxy::plain};

#[tokio::test]
async fn a_level_holds_for_a_while_and_goes_back_by_itself() {
    let upstream = Upstream::says("x").await;
    let proxy = Proxy::plain(upstream.address).await;
    let before = proxy.page("/logging").await;
    assert_eq!(before["changes"], json!([]), "{before}");
    let quiet = json!({ "target": "fyke::audit", "level": "off", "for": "2s" }).to_string();
    let (status, levels) = proxy.change("POST", "/logging", "application/json", quiet).await;
    assert_eq!(status, 200, "{levels}");
    let change = &levels["changes"][0];
    assert_eq!((&change["target"], &change["level"]), (&json!("fyke::audit"), &json!("off")));
    assert!(change["seconds_left"].as_u64().unwrap() <= 2 && change["until"].is_u64(), "{change}");
    // Nobody hears of this one.
    assert_eq!(proxy.act("/reload", "").await.0, 200);
    eventually("the level to go back", async || {
        (proxy.page("/v1/logging").await["changes"] == json!([])).then_some(())
    })
    .await;
    proxy.logged(&["the level of the log is again what it was", "fyke::audit"]).await;
    assert_eq!(proxy.act("/v1/reload", "").await.0, 200);
    proxy.logged(&["nothing has changed"]).await;
    assert_eq!(proxy.log_lines(&["nothing has changed"]).len(), 1, "what was switched off was logged");
    let audit = proxy.page("/audit").await;
    let entry = audit.as_array().unwrap().iter().find(|entry| entry["what"] == "log-level fyke::audit off --for 2s");
    assert_eq!(entry.unwrap()["outcome"], "done", "{audit}");
}

#[tokio::test]
async fn the_command_line_changes_and_shows_levels() {
    let upstream = Upstream::says("x").await;
    let proxy = Launch::new(plain(upstream.address)).start().await;
    let set = proxy.command(&["log-level", "fyke::http", "debug", "--for", "10m"]);
    assert_eq!(set.code, Some(0), "{}", set.stderr);
    assert!(set.stdout.contains("fyke::http debug for ") && set.stdout.contains("9m"), "{}", set.stdout);
    let all = proxy.command(&["log-level", "all", "warn"]);
    assert!(all.stdout.contains("\n  all warn for "), "{}", all.stdout);
    let shown = proxy.command(&["log-level", "--output", "json"]);
    let shown: serde_json::Value = serde_json::from_str(&shown.stdout).unwrap();
    assert_eq!(shown["changes"].as_array().unwrap().len(), 2, "{shown}");
    let reset = proxy.command(&["log-level", "all", "--reset"]);
    assert!(reset.code == Some(0) && !reset.stdout.contains("all warn"), "{}{}", reset.stdout, reset.stderr);
    for (words, message) in [
        (vec!["log-level", "fyke::http", "dbug"], "did you mean \"debug\"?"),
        (vec!["log-level", "fyke::http", "debug", "--for", "2h"], "at most"),
        (vec!["log-level", "fyke=x", "debug"], "is no target"),
        (vec!["log-level", "fyke::http"], "a level is missing"),
    ] {
        let ended = proxy.command(&words);
        assert!(ended.code != Some(0) && ended.stderr.contains(message), "{words:?}: {}", ended.stderr);
    }
    let (status, _) = proxy.change("POST", "/logging", "application/json", "{\"levle\": 1}").await;
    assert_eq!(status, 400);
    let long = format!("{{\"target\":\"{}\"}}", "x".repeat(5000));
    assert_eq!(proxy.change("POST", "/logging", "application/json", long).await.0, 413);
}

#[tokio::test]
async fn levels_need_the_token() {
    let upstream = Upstream::says("x").await;
    let proxy = Proxy::plain(upstream.address).await;
    for path in ["/logging", "/v1/logging", "/v1/reload", "/v1/drain", "/v1/filters/f/promote"] {
        assert_eq!(crate::support::proxy::post(proxy.admin(), path, "").await.status(), 401, "{path}");
    }
}
