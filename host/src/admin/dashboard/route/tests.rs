use super::*;
use crate::admin::dashboard::{action::Action, testing::Same};

const FORM: &str = "application/x-www-form-urlencoded";

fn get(path: &str, known: Option<&str>) -> Response {
    respond(&Request { path_and_query: path, if_none_match: known, viewer: &Viewer::default() }, &Same::new("abc"))
}

fn send(path: &str, body: &str, csrf: Option<&str>, accept: &str) -> Result<Wish, Response> {
    let viewer = Viewer { csrf: csrf.map(str::to_owned), signs_in: true };
    let posted = Post { path, content_type: FORM, accept, body: body.as_bytes(), viewer: &viewer };
    post(&posted, &Same::new("abc"))
}

#[test]
fn every_answer_says_what_a_page_may_do() {
    for path in [
        "/dashboard",
        "/dashboard/nope",
        "/dashboard/assets/dashboard.js",
        "/dashboard/assets/x",
        "/dashboard/data/total?chart=traffic",
    ] {
        let response = get(path, None);
        let policy = response.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'self';") && !policy.contains("unsafe"), "{path}");
        assert_eq!(response.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert!(response.header("cache-control").is_some(), "{path}");
    }
}

#[test]
fn files_are_kept_by_their_content_and_pages_are_not() {
    let page = get("/dashboard", None);
    assert_eq!(page.header("cache-control"), Some("no-store"));
    let html = String::from_utf8(page.body.into_owned()).unwrap();
    for name in ["dashboard.css", "dashboard.js", "uplot.js", "uplot.css", "fyke.svg"] {
        let start = html.find(&format!("/dashboard/assets/{name}?v=")).unwrap_or_else(|| panic!("{name}"));
        let address = html[start..].split('"').next().unwrap();
        let file = get(address, None);
        assert_eq!(file.header("cache-control"), Some("public, max-age=31536000, immutable"));
        assert!(!file.body.is_empty());
        let tag = file.header("etag").unwrap();
        for known in [tag.to_owned(), format!("W/{tag}"), format!("\"other\", {tag}"), "*".to_owned()] {
            let again = get(address, Some(&known));
            assert_eq!((again.status, again.body.len()), (304, 0), "{known}");
        }
        assert_eq!(get(address, Some("\"other\"")).status, 200);
        let old = get(&format!("/dashboard/assets/{name}?v=1"), None);
        assert_eq!((old.status, old.header("cache-control")), (200, Some("no-cache")));
    }
    assert_eq!(get("/dashboard/assets/../dashboard.css", None).status, 404);
    assert_eq!(get("/dashboard/assets/uplot.LICENSE", None).content_type, "text/plain; charset=utf-8");
}

#[test]
fn charts_get_their_numbers_as_json() {
    let numbers = |path: &str| -> serde_json::Value { serde_json::from_slice(&get(path, None).body).unwrap() };
    let traffic = numbers("/dashboard/data/services/cluster/abc?chart=traffic");
    assert_eq!(traffic["unit"], "per_second");
    assert_eq!(traffic["series"][0]["values"], serde_json::json!([0.5, null, 0.5, 2.0]));
    assert_eq!(numbers("/dashboard/data/total?chart=latency")["series"].as_array().unwrap().len(), 3);
    let panel = numbers("/dashboard/data/panels/abc/1");
    assert_eq!((panel["stacked"].as_bool(), panel["series"].as_array().unwrap().len()), (Some(true), 12));
    for path in [
        "total",
        "services/cluster/abc?chart=x",
        "services/x/abc?chart=traffic",
        "panels/abc/9",
        "panels/abc/-1",
        "panels/x/0",
        "",
        "%ff",
    ] {
        assert_eq!(get(&format!("/dashboard/data/{path}"), None).status, 404, "{path}");
    }
}

#[test]
fn numbers_that_are_none_are_null() {
    let source = Same { number: f64::NAN, ..Same::new("abc") };
    let request = Request {
        path_and_query: "/dashboard/data/total?chart=traffic",
        if_none_match: None,
        viewer: &Viewer::default(),
    };
    let body: serde_json::Value = serde_json::from_slice(&respond(&request, &source).body).unwrap();
    assert!(body["series"][0]["values"][0].is_null());
}

#[test]
fn a_form_needs_the_secret_and_a_second_thought() {
    let drain = "action=drain&cluster=a&address=b";
    let status = |result: Result<Wish, Response>| result.map_err(|response| response.status);
    assert_eq!(status(send("/dashboard/act", drain, None, "")), Err(403));
    for csrf in ["", "csrf=", "csrf=secreT", "csrf=secret2"] {
        let body = format!("{drain}&confirmed=yes&{csrf}");
        assert_eq!(status(send("/dashboard/act", &body, Some("secret"), "")), Err(403), "{csrf}");
    }
    assert_eq!(status(send("/dashboard/act", &format!("{drain}&csrf="), Some(""), "")), Err(403));
    let question = send("/dashboard/act", &format!("{drain}&csrf=secret"), Some("secret"), "").unwrap_err();
    let html = String::from_utf8(question.body.into_owned()).unwrap();
    assert_eq!(question.status, 200);
    assert!(html.contains("name=\"confirmed\" value=\"yes\"") && html.contains("name=\"address\" value=\"b\""));
    let sure = send("/dashboard/act", &format!("{drain}&csrf=secret&confirmed=yes"), Some("secret"), "");
    assert_eq!(sure, Ok(Wish::Act(Action::Drain { cluster: "a".into(), address: "b".into() })));
    assert_eq!(status(send("/dashboard/act", "action=x&csrf=secret", Some("secret"), "")), Err(400));
    assert_eq!(status(send("/dashboard/other", drain, Some("secret"), "")), Err(404));
    let error = send("/dashboard/act", drain, None, "application/json").unwrap_err();
    assert_eq!(error.content_type, "application/json");
}

#[test]
fn what_was_done_is_told_on_the_page_it_was_asked_for() {
    let action = Action::Drain { cluster: "a&b".into(), address: "c".into() };
    let (source, viewer) = (Same::new("abc"), Viewer::default());
    let page = done(&action, Ok(()), "text/html", &viewer, &source);
    assert_eq!((page.status, page.header("location")), (303, Some("/dashboard/endpoints?cluster=a%26b&done=drain")));
    let json = done(&action, Ok(()), "application/json", &viewer, &source);
    assert_eq!(json.body, br#"{"ok":true,"text":"c drains.","report":""}"#.as_slice());
    let refused = Refused { status: 200, text: "no <b>".into(), report: "why".into() };
    let page = done(&action, Err(refused), "", &viewer, &source);
    let html = String::from_utf8(page.body.into_owned()).unwrap();
    assert_eq!(page.status, 400);
    assert!(
        html.contains("no &lt;b&gt;") && html.contains("why") && html.contains("/dashboard/endpoints?cluster=a%26b")
    );
    let html = String::from_utf8(get("/dashboard/flow?done=drain", None).body.into_owned()).unwrap();
    assert!(html.contains("The endpoint drains."));
}

#[test]
fn signing_in_leads_to_our_own_pages_only() {
    let to = |to: &str| match send("/dashboard/sign-in", &format!("token=+x+&to={}", link::escaped(to)), None, "") {
        Ok(Wish::SignIn { token, to }) => {
            assert_eq!(token, "x");
            to
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(to("/dashboard/flow?a=b"), "/dashboard/flow?a=b");
    for elsewhere in
        ["", "https://evil.example", "//evil.example/dashboard", "/dashboard\r\nset-cookie: x", "/dashboard/\\evil"]
    {
        assert_eq!(to(elsewhere), "/dashboard", "{elsewhere}");
    }
    let (source, viewer) = (Same::new("abc"), Viewer::default());
    let good = signed_in(Some("k=v".into()), "//evil.example", &viewer, &source);
    assert_eq!(
        (good.status, good.header("location"), good.header("set-cookie")),
        (303, Some("/dashboard"), Some("k=v"))
    );
    assert_eq!(signed_in(None, "/dashboard", &viewer, &source).status, 403);
    assert_eq!(send("/dashboard/sign-out", "csrf=secret", Some("secret"), ""), Ok(Wish::SignOut));
    assert!(send("/dashboard/sign-out", "csrf=x", Some("secret"), "").is_err());
}

#[test]
fn paths_are_ours_or_not() {
    assert!(is_ours("/dashboard") && is_ours("/dashboard/flow"));
    assert!(!is_ours("/dashboards") && !is_ours("/") && !is_ours("/metrics"));
    assert_eq!(get("/dashboards", None).status, 404);
    assert!(feed("page=%2Fdashboard%2Fflow", Viewer::default()).is_some());
    assert!(feed("page=%2Fmetrics", Viewer::default()).is_none() && feed("", Viewer::default()).is_none());
}
