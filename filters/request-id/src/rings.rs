//! Tests in all rings.

use fyke_sdk::testing::{TestHost, TestRequest};

use crate::RequestId;

#[test]
fn the_upstream_and_the_client_get_the_same_new_id() {
    let mut host = TestHost::<RequestId>::configure("response: true").unwrap();
    let out = host.send(TestRequest::get("/").header("x-request-id", "a").header("x-request-id", "b"));
    let ids = out.upstream().values("x-request-id");
    assert_eq!((ids.len(), ids[0].len()), (1, 36));
    assert_eq!(out.values("x-request-id"), ids);
    let other = host.send(TestRequest::get("/"));
    assert_ne!(other.upstream().header("x-request-id"), ids[0]);
}

#[test]
fn a_sane_id_is_kept_and_the_edge_says_who_sent_it() {
    let mut host = TestHost::<RequestId>::configure("").unwrap();
    let out = host.send(TestRequest::get("/").header("x-request-id", "mine").header("x-forwarded-for", "6.6.6.6"));
    assert_eq!(out.upstream().values("x-request-id"), ["mine"]);
    assert!(!out.has_header("x-request-id"));
    assert_eq!(out.upstream().values("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(out.upstream().header("x-forwarded-proto"), "http");
    assert_eq!(out.upstream().header("x-forwarded-host"), "test.example");
}

#[test]
fn mistakes_are_refused_at_their_place() {
    for (configuration, path) in [("request_id: no", "request_id"), ("trusted_hops: -1", "trusted_hops"), ("x: 1", "x")]
    {
        let error = TestHost::<RequestId>::configure(configuration).err();
        assert_eq!(error.as_ref().map(|error| error.path()), Some(path), "{configuration}: {error:?}");
    }
}
