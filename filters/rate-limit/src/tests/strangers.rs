//! What strangers send.

use fyke_sdk::testing::{Ring, TestRequest};
use proptest::prelude::*;

use super::{of, passed, rule};
use crate::source::address;

#[test]
fn keys_of_64_kib_are_told_apart_by_all_of_their_bytes() {
    let mut host = rule("key: [{ from: { request_header: x-tenant } }], limit: 1/h");
    let long = "a".repeat(if host.ring() == Ring::Native { 65_536 } else { 8_192 });
    let (one, other) = (format!("{long}1"), format!("{long}2"));
    assert_eq!(passed(&mut host, &of(&one), 2), 1);
    assert_eq!(passed(&mut host, &of(&other), 2), 1);
}

#[test]
fn bytes_that_are_no_text_are_keys_too() {
    let mut host = rule("key: [{ from: { request_header: x-tenant } }], limit: 1/h, top: 3");
    for value in [&b"\xff\xfe"[..], b"\xff\xfd", b"a\tb", b"limit:x"] {
        assert_eq!(passed(&mut host, &TestRequest::get("/").header("x-tenant", value), 2), 1, "{value:?}");
    }
}

#[test]
fn expressions_look_at_the_beginning_of_long_values() {
    let mut host =
        rule("key: [{ from: { request_header: x-tenant }, regex: '^(a|b|aa|ab)*(.)$', default: rest }], limit: 1/h");
    for _ in 0..3 {
        let _ = host.send(of(&"a".repeat(60_000)));
    }
    assert_eq!(host.counter("rate_limit_total", [("rule", "r"), ("outcome", "over")]), 2);
}

proptest! {
    #[test]
    fn addresses_are_read_or_they_are_not(bytes in prop::collection::vec(any::<u8>(), 0..50)) {
        let _ = address(&bytes);
    }
}
