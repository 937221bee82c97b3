//! Changes to headers, and what answers say.

use super::{get, router, send};

fn values(host: &fyke_sdk::testing::Host<crate::Router>, stream: u32, map: usize, name: &str) -> Vec<String> {
    host.stream(stream, |stream| {
        let same = stream.maps[map].iter().filter(|(known, _)| known == name.as_bytes());
        same.map(|(_, value)| String::from_utf8(value.clone()).unwrap()).collect()
    })
}

#[test]
fn each_manner_of_writing_keeps_its_word() {
    let host = router(
        r#"{"routes": [{"cluster": "c", "request_headers": {"set": {"a": "2"}, "set_if_present": {"b": "2", "c": "2"},
            "add": {"d": "2"}, "add_if_absent": {"e": "2", "f": "2"}, "remove": ["g"]}}]}"#,
    );
    let stream = send(&host, "/", &[("a", "1"), ("b", "1"), ("d", "1"), ("e", "1"), ("g", "1")]);
    for (name, expected) in
        [("a", &["2"][..]), ("b", &["2"]), ("c", &[]), ("d", &["1", "2"]), ("e", &["1"]), ("f", &["2"]), ("g", &[])]
    {
        assert_eq!(values(&host, stream, 0, name), expected, "{name}");
    }
}

#[test]
fn levels_follow_each_other_from_the_inside() {
    let level = |name: &str| {
        format!(
            r#""request_headers": {{"set": {{"last": "{name}"}}, "add": {{"x": "{name}"}}}}, "response_headers": {{"add": {{"y": "{name}"}}}}"#
        )
    };
    let host = router(&format!(
        r#"{{{}, "virtual_hosts": [{{"domains": ["*"], {}, "routes": [{{{}, "weighted_clusters": [{{"cluster": "a", "weight": 1, {}}}]}}]}}]}}"#,
        level("router"),
        level("host"),
        level("route"),
        level("cluster")
    ));
    let stream = get(&host, "/");
    let order = ["cluster", "route", "host", "router"];
    assert_eq!(values(&host, stream, 0, "x"), order);
    assert_eq!(values(&host, stream, 0, "last"), ["router"]);
    host.response_headers(stream, &[(":status", "200")], true);
    assert_eq!(values(&host, stream, 2, "y"), order);
    // Deciding again changes nothing twice.
    host.reroute(stream);
    assert_eq!(values(&host, stream, 0, "x"), order);
}

#[test]
fn values_speak_of_the_request() {
    let host = router(
        r#"{"routes": [{"match": {"path_prefix": "/a"}, "cluster": "c", "rewrite": {"prefix": "/b"}, "request_headers": {"set": {
            "x-path": "%REQ(x-none?:path):6%", "x-both": "%REQ(a)%-%{request.headers.b}", "x-percent": "5%%", "x-none": "%REQ(nothing)%"},
            "add": {"x-gone": "%REQ(nothing)%"}, "remove": ["a"]}}]}"#,
    );
    let stream = send(&host, "/a/1234", &[("a", "1"), ("b", "2\u{1}"), ("x-none", "")]);
    assert_eq!(host.request_header(stream, "x-path").unwrap(), "/a/123");
    assert_eq!(host.request_header(stream, "x-both").unwrap(), "1-2_");
    assert_eq!(host.request_header(stream, "x-percent").unwrap(), "5%");
    assert_eq!(host.request_header(stream, "x-gone"), None);
    assert_eq!(host.request_header(stream, "x-none"), None);
    assert_eq!(host.request_header(stream, ":path").unwrap(), "/b/1234");
}

#[test]
fn answers_and_redirects_take_the_changes_of_all_levels() {
    let host = router(
        r#"{"response_headers": {"add": {"x-all": "%REQ(:path)%"}}, "routes": [
            {"match": {"path": "/r"}, "redirect": {"https": true}, "response_headers": {"set": {"x-r": "1"}}},
            {"respond": {"status": 200, "body_format": "you asked for %REQ(:path)%", "headers": {"x-a": "1"}},
             "response_headers": {"remove": ["x-a"], "set_if_present": {"content-type": "text/html"}}}]}"#,
    );
    let reply = host.reply(get(&host, "/r")).unwrap();
    assert_eq!(reply.header("location").unwrap(), "https://a.example/r");
    assert_eq!((reply.header("x-r").unwrap(), reply.header("x-all").unwrap()), ("1".to_owned(), "/r".to_owned()));
    let reply = host.reply(get(&host, "/x")).unwrap();
    assert_eq!(reply.body, b"you asked for /x");
    assert_eq!((reply.header("x-a"), reply.header("content-type").unwrap()), (None, "text/html".to_owned()));
    assert_eq!(reply.header("x-all").unwrap(), "/x");
}

#[test]
fn the_clients_host_is_told_where_it_changes() {
    let host = router(
        r#"{"routes": [
            {"match": {"path": "/a"}, "cluster": "c", "rewrite": {"host": "b"}, "append_x_forwarded_host": true},
            {"cluster": "c", "auto_host": true, "append_x_forwarded_host": true}]}"#,
    );
    assert_eq!(values(&host, get(&host, "/a"), 0, "x-forwarded-host"), ["a.example"]);
    let stream = send(&host, "/b", &[("x-forwarded-host", "first")]);
    assert_eq!(values(&host, stream, 0, "x-forwarded-host"), ["first,a.example"]);
    let stream = send(&host, "/b", &[("x-forwarded-host", "first, a.example")]);
    assert_eq!(values(&host, stream, 0, "x-forwarded-host"), ["first, a.example"]);
}
