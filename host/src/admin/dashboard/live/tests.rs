use serde_json::Value;

use super::*;
use crate::admin::dashboard::{model::Time, testing::Same};

/// Ids of the regions that a message brings, and whether it ends with a tick.
fn ids(message: &[u8]) -> Vec<String> {
    let text = std::str::from_utf8(message).unwrap();
    assert!(text.ends_with("\n\n"));
    let mut ids = Vec::new();
    for event in text.split("\n\n").filter(|event| !event.is_empty()) {
        for line in event.lines() {
            assert!(["data: ", "event: ", "retry: "].iter().any(|field| line.starts_with(field)), "{line}");
        }
        if let Some(json) = event.strip_prefix("data: ") {
            let update: Value = serde_json::from_str(json).unwrap();
            ids.push(update["id"].as_str().unwrap().to_owned());
        }
    }
    ids
}

#[test]
fn the_first_message_brings_everything_and_the_next_only_what_has_changed() {
    let mut source = Same::new("a\r\nb\u{2028}c\n\nevent: x");
    let mut feed = Feed::new("/dashboard", Viewer::default()).unwrap();
    let first = feed.poll(&source);
    assert_eq!(ids(&first), ["pages", "facts", "tiles", "warnings", "charts", "services", "reloads"]);
    assert!(first.starts_with(b"retry: 2000\n\n"));
    let second = feed.poll(&source);
    assert_eq!(ids(&second), [] as [&str; 0]);
    assert_eq!(second, b"event: tick\ndata: 02:40:00\n\n");
    source.requests = 8;
    assert_eq!(ids(&feed.poll(&source)), ["tiles"]);
    // An hour later ages are others, too.
    source.now = Time(source.now.0 + 3_600_000);
    let later = ids(&feed.poll(&source));
    assert!(later.contains(&"reloads".to_owned()) && later.len() < 7, "{later:?}");
}

#[test]
fn a_page_that_is_gone_is_told() {
    let mut feed = Feed::new("/dashboard/filters/abc", Viewer::default()).unwrap();
    assert!(ids(&feed.poll(&Same::new("abc"))).contains(&"versions".to_owned()));
    assert_eq!(feed.poll(&Same::new("other")), b"event: gone\ndata: gone\n\n");
}

#[test]
fn a_feed_sends_what_the_page_shows() {
    let location = "/dashboard/endpoints?health=draining";
    let mut feed = Feed::new(location, Viewer::default()).unwrap();
    let text = String::from_utf8(feed.poll(&Same::new("abc"))).unwrap();
    let table = text.split("\n\n").find(|event| event.contains("\"id\":\"table\"")).unwrap();
    assert!(table.contains("class=\\\"state drain\\\"") && !table.contains("class=\\\"state bad\\\""));
}

#[test]
fn only_our_own_pages_have_feeds() {
    for location in
        ["", "/", "/dashboardx", "https://evil.example/dashboard", "//evil.example", "/dashboard\\x", "/dashboard /x"]
    {
        assert!(Feed::new(location, Viewer::default()).is_none(), "{location}");
    }
    assert!(Feed::new(&format!("/dashboard?q={}", "x".repeat(LONGEST)), Viewer::default()).is_none());
    assert!(Feed::new("/dashboard/tap?status=5xx", Viewer::default()).is_some());
}
