use proptest::prelude::*;

use crate::admin::dashboard::{
    link::{self, escaped},
    model::{Time, Viewer},
    route::{Request, respond},
    testing::Same,
};

const HOSTILE: &str = "</title></textarea></script><script>alert(1)</script><img src=x onerror=alert(1)>\" onclick=\"x' y=javascript:&lt;\0\r\n\u{202e}";

/// All pages, with the text in every place of their addresses.
fn pages(text: &str) -> Vec<String> {
    let text = escaped(text);
    let name = if text == "." || text == ".." || text.is_empty() { "x".to_owned() } else { text.clone() };
    [
        String::new(),
        format!("?sort={text}&done={text}"),
        format!("/services/cluster/{name}"),
        format!("/services/listener/{name}"),
        "/flow".into(),
        format!("/endpoints?cluster={text}&sort=-rate"),
        format!("/endpoints?q={text}"),
        format!("/filters?q={text}&sort=name"),
        format!("/filters/{name}"),
        format!("/filters/{name}/panels"),
        format!("/explain?url={text}&method={text}&listener={text}&headers={text}%3A{text}"),
        format!("/tap?listener={text}&header={text}"),
        format!("/tap?status={text}&latency={text}&path={text}"),
        "/sources".into(),
        "/certificates?sort=-expires".into(),
        format!("/events?q={text}&kind=trap&severity=warning"),
        format!("/find?q={text}"),
        format!("/sign-in?to={text}"),
        format!("/{name}"),
    ]
    .map(|path| format!("{}{path}", link::BASE))
    .into()
}

fn html(source: &Same, path: &str, viewer: &Viewer) -> (u16, String) {
    let response = respond(&Request { path_and_query: path, if_none_match: None, viewer }, source);
    assert_eq!(response.content_type, "text/html; charset=utf-8");
    (response.status, String::from_utf8(response.body.into_owned()).unwrap())
}

/// Names of tags with their attributes. Knows that our pages quote all values with `"`.
fn tags(html: &str) -> Vec<(String, Vec<(String, String)>)> {
    let mut tags = Vec::new();
    let mut rest = html;
    while let Some(start) = rest.find('<') {
        rest = &rest[start + 1..];
        let name_end = rest.find([' ', '>']).unwrap();
        let name = rest[..name_end].to_owned();
        rest = &rest[name_end..];
        let mut attributes = Vec::new();
        loop {
            rest = rest.trim_start_matches(' ');
            if let Some(after) = rest.strip_prefix('>') {
                rest = after;
                break;
            }
            let end = rest.find(['=', ' ', '>']).unwrap();
            let key = rest[..end].to_owned();
            rest = &rest[end..];
            let value = match rest.strip_prefix("=\"") {
                Some(quoted) => {
                    let end = quoted.find('"').unwrap();
                    rest = &quoted[end + 1..];
                    quoted[..end].to_owned()
                }
                None => String::new(),
            };
            attributes.push((key, value));
        }
        tags.push((name, attributes));
    }
    tags
}

fn check(path: &str, html: &str) {
    const TAGS: &str = " !DOCTYPE html head meta title link script body a header svg path circle rect g text tspan form label \
        input p button nav div ul ol li dl dt dd main section h1 h2 h3 b span time table caption thead tbody tr th td details summary \
        pre ins del figure figcaption select option textarea fieldset legend article dialog kbd ";
    for (name, attributes) in tags(html) {
        let bare = name.trim_start_matches('/');
        assert!(TAGS.contains(&format!(" {bare} ")), "<{name}> in {path}");
        for (key, value) in attributes {
            assert!(!key.starts_with("on") && key != "style" && key != "srcdoc", "{key} in {path}");
            assert!(key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'), "{key} in {path}");
            if ["href", "src", "action", "data-chart", "data-live"].contains(&key.as_str()) {
                assert!(value.starts_with("/dashboard") || value == "#main", "{key}={value} in {path}");
            }
        }
    }
}

#[test]
fn no_text_becomes_markup_on_any_page() {
    let source = Same::new(HOSTILE);
    for viewer in [
        Viewer { csrf: Some(HOSTILE.to_owned()), signs_in: true },
        Viewer { csrf: None, signs_in: true },
        Viewer::default(),
    ] {
        for path in pages(HOSTILE) {
            let (_, html) = html(&source, &path, &viewer);
            check(&path, &html);
            assert!(!html.contains("<script>"), "{path}");
        }
    }
}

#[test]
fn the_checks_of_these_tests_find_what_they_are_for() {
    let fails = |html: &'static str| std::panic::catch_unwind(|| check("", html)).is_err();
    assert!(
        fails("<img src=\"x\">")
            && fails("<p onclick=\"x\">")
            && fails("<a href=\"https://x\">")
            && fails("<p style=\"x\">")
    );
    assert!(!fails("<p class=\"x\"><a href=\"/dashboard\">a</a></p>"));
}

#[test]
fn every_page_is_there_has_one_heading_and_says_what_it_was_given() {
    let source = Same::new("abc");
    for path in pages("abc") {
        let (status, html) = html(&source, &path, &Viewer::default());
        assert_eq!(status, if path == "/dashboard/abc" { 404 } else { 200 }, "{path}");
        assert_eq!(html.matches("<h1>").count(), 1, "{path}");
        assert!(html.contains("abc"), "{path}");
        let ids: Vec<String> = tags(&html)
            .into_iter()
            .flat_map(|(_, attributes)| attributes)
            .filter(|(key, _)| key == "id")
            .map(|(_, value)| value)
            .collect();
        let mut unique = ids.clone();
        unique.sort();
        unique.dedup();
        assert_eq!(unique.len(), ids.len(), "{path}: {ids:?}");
    }
}

#[test]
fn whoever_may_not_change_anything_gets_no_button_that_works() {
    let source = Same::new("abc");
    for path in pages("abc") {
        let (_, html) = html(&source, &path, &Viewer { csrf: None, signs_in: true });
        let submits = tags(&html).into_iter().filter(|(name, attributes)| {
            name == "button"
                && attributes.iter().any(|(key, value)| key == "title" && value == "sign in to change something")
        });
        for (_, attributes) in submits {
            // The one in a fieldset is disabled by that.
            let is_disabled =
                attributes.iter().any(|(key, _)| key == "disabled") || html.contains("<fieldset disabled>");
            assert!(is_disabled, "{path}: {attributes:?}");
        }
        assert_eq!(html.matches("name=\"csrf\" value=\"").count(), 0, "{path}");
    }
}

#[test]
fn absurd_numbers_and_times_are_written_too() {
    for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, 0.0, 1e300, f64::MIN_POSITIVE] {
        for now in [0, 1, u64::MAX] {
            let source = Same { number, now: Time(now), ..Same::new("abc") };
            for path in pages("abc") {
                let (_, html) = html(&source, &path, &Viewer::default());
                assert!(!html.contains("NaN") && !html.contains(">inf<") && !html.contains(">-inf"), "{path} {number}");
            }
        }
    }
}

#[test]
fn a_page_does_not_grow_with_the_configuration() {
    let source = Same { copies: 5_000, ..Same::new("abc") };
    for path in pages("abc") {
        let (_, html) = html(&source, &path, &Viewer { csrf: Some("x".into()), signs_in: false });
        assert!(html.len() < 3 << 20, "{path}: {} bytes", html.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_text_is_only_text(text in "(.|<|>|\"|'|&|/|\\?|#){0,24}") {
        let source = Same::new(&text);
        for path in pages(&text) {
            let (_, html) = html(&source, &path, &Viewer { csrf: Some(text.clone()), signs_in: true });
            check(&path, &html);
        }
    }
}
