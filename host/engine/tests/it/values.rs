//! PROXY-WASM.md 1.4: buffers, maps, pairs.

use fyke_engine::{BufferKind, MapKind};

use crate::guest::{Guest, module, run};
use crate::recorder::Recorder;

const GET_KEY: &str = "(call $status (call $proxy_get_header_map_value
    (i32.const 0) (i32.const 100) (i32.const 3) (i32.const 16) (i32.const 20)))";

fn request_headers(pairs: &[(&str, &str)]) -> Recorder {
    Recorder::default().with_map(MapKind::RequestHeaders, pairs)
}

#[test]
fn the_first_value_of_a_header_is_given() {
    let host = run(&format!("{GET_KEY} (call $value)"), request_headers(&[("key", "one"), ("key", "two")]));
    assert_eq!(host.said(), ["0", "one"]);
    assert_eq!(host.allocations(), 1);
}

#[test]
fn an_empty_value_is_null_and_allocates_nothing() {
    let host = run(
        &format!(
            "(i64.store (i32.const 16) (i64.const -1)) {GET_KEY} (call $status (i32.load (i32.const 16))) (call $status (i32.load (i32.const 20)))"
        ),
        request_headers(&[("key", "")]),
    );
    assert_eq!(host.said(), ["0", "0", "0"]);
    assert_eq!(host.allocations(), 0);
}

#[test]
fn a_missing_header_and_a_missing_map_are_not_found() {
    assert_eq!(run(GET_KEY, request_headers(&[])).said(), ["1"]);
    assert_eq!(run(GET_KEY, Recorder::default()).said(), ["1"]);
}

#[test]
fn in_0_1_0_a_missing_header_is_an_empty_value() {
    for mut host in [request_headers(&[]), Recorder::default()] {
        let callback = format!(
            r#"(func (export "proxy_on_request_headers") (param i32 i32) (result i32)
                (i32.store (i32.const 20) (i32.const 9)) {GET_KEY} (call $status (i32.load (i32.const 20))) (i32.const 1))"#
        );
        let mut guest = Guest::new(&module("0_1_0", &callback), &mut host);
        assert_eq!(guest.headers(&mut host).unwrap(), fyke_engine::HeadersAction::Pause);
        assert_eq!(host.said(), ["0", "0"]);
        assert_eq!(host.allocations(), 0);
    }
}

#[test]
fn keys_are_lower_case_when_written() {
    let host = run(
        "(call $status (call $proxy_add_header_map_value (i32.const 0) (i32.const 103) (i32.const 3) (i32.const 106) (i32.const 5)))
         (call $status (call $proxy_replace_header_map_value (i32.const 2) (i32.const 103) (i32.const 3) (i32.const 106) (i32.const 5)))
         (call $status (call $proxy_remove_header_map_value (i32.const 1) (i32.const 103) (i32.const 3)))",
        request_headers(&[("key", "x")])
            .with_map(MapKind::ResponseHeaders, &[("key", "x"), ("key", "y")])
            .with_map(MapKind::RequestTrailers, &[("key", "x"), ("other", "y")]),
    );
    assert_eq!(host.said(), ["0", "0", "0"]);
    assert_eq!(host.map(MapKind::RequestHeaders), [("key", "x"), ("key", "value")]);
    assert_eq!(host.map(MapKind::ResponseHeaders), [("key", "value")]);
    assert_eq!(host.map(MapKind::RequestTrailers), [("other", "y")]);
}

#[test]
fn writes_to_a_map_that_is_missing_or_refuses_are_ignored() {
    let write = "(call $status (call $proxy_add_header_map_value (i32.const 0) (i32.const 100) (i32.const 3) (i32.const 106) (i32.const 5)))
        (call $status (call $proxy_set_header_map_pairs (i32.const 0) (i32.const 0) (i32.const 0)))";
    assert_eq!(run(write, Recorder::default()).said(), ["0", "0"]);
    let mut host = request_headers(&[("a", "b")]);
    host.maps.get_mut(&MapKind::RequestHeaders).unwrap().1 = true;
    let host = run(write, host);
    assert_eq!(host.said(), ["0", "0"]);
    assert_eq!(host.map(MapKind::RequestHeaders), [("a", "b")]);
}

#[test]
fn pairs_travel_both_ways() {
    let host = run(
        "(call $status (call $proxy_get_header_map_size (i32.const 0) (i32.const 24)))
         (call $status (call $proxy_get_header_map_pairs (i32.const 0) (i32.const 16) (i32.const 20)))
         (call $status (i32.sub (i32.load (i32.const 24)) (i32.load (i32.const 20))))
         (call $status (call $proxy_set_header_map_pairs (i32.const 2) (i32.load (i32.const 16)) (i32.load (i32.const 20))))",
        request_headers(&[(":path", "/"), ("Upper", "Value"), ("key", "")]).with_map(MapKind::ResponseHeaders, &[]),
    );
    assert_eq!(host.said(), ["0", "0", "0", "0"]);
    assert_eq!(host.map(MapKind::ResponseHeaders), [(":path", "/"), ("upper", "Value"), ("key", "")]);
}

#[test]
fn malformed_pairs_are_an_empty_list() {
    let host = run(
        "(i32.store (i32.const 200) (i32.const 1))
         (call $status (call $proxy_set_header_map_pairs (i32.const 0) (i32.const 200) (i32.const 4)))",
        request_headers(&[("a", "b")]),
    );
    assert_eq!(host.said(), ["0"]);
    assert!(host.map(MapKind::RequestHeaders).is_empty());
}

#[test]
fn a_missing_or_empty_map_has_no_pairs_and_size_zero() {
    for host in [Recorder::default(), request_headers(&[])] {
        let host = run(
            "(i32.store (i32.const 24) (i32.const 9)) (i64.store (i32.const 16) (i64.const -1))
             (call $status (call $proxy_get_header_map_size (i32.const 0) (i32.const 24)))
             (call $status (i32.load (i32.const 24)))
             (call $status (call $proxy_get_header_map_pairs (i32.const 0) (i32.const 16) (i32.const 20)))
             (call $status (i32.load (i32.const 16))) (call $status (i32.load (i32.const 20)))",
            host,
        );
        assert_eq!(host.said(), ["0", "0", "0", "0", "0"]);
        assert_eq!(host.allocations(), 0);
    }
}

#[test]
fn enumerations_that_do_not_exist_do_no_harm() {
    let host = run(
        "(call $status (call $proxy_get_header_map_size (i32.const 8) (i32.const 24)))
         (call $status (call $proxy_get_header_map_pairs (i32.const 8) (i32.const 16) (i32.const 20)))
         (call $status (call $proxy_set_header_map_pairs (i32.const 8) (i32.const 0) (i32.const 0)))
         (call $status (call $proxy_get_header_map_value (i32.const -1) (i32.const 100) (i32.const 3) (i32.const 16) (i32.const 20)))
         (call $status (call $proxy_add_header_map_value (i32.const 8) (i32.const 100) (i32.const 3) (i32.const 0) (i32.const 0)))
         (call $status (call $proxy_get_buffer_bytes (i32.const 9) (i32.const 0) (i32.const 9) (i32.const 16) (i32.const 20)))
         (call $status (call $proxy_set_buffer_bytes (i32.const 9) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)))
         (call $status (call $proxy_get_buffer_status (i32.const 9) (i32.const 16) (i32.const 20)))
         (call $status (call $proxy_continue_stream (i32.const 4)))
         (call $status (call $proxy_close_stream (i32.const 4)))
         (call $status (call $proxy_log (i32.const 6) (i32.const 100) (i32.const 3)))",
        Recorder::default(),
    );
    assert_eq!(host.said(), ["2", "0", "0", "1", "0", "1", "0", "2", "0", "0", "key", "0"]);
    assert!(host.asked.is_empty());
}

fn get_buffer(start: i64, length: i64) -> String {
    format!(
        "(call $status (call $proxy_get_buffer_bytes (i32.const 0) (i32.const {start}) (i32.const {length}) (i32.const 16) (i32.const 20)))
         (call $value)"
    )
}

#[test]
fn buffers_are_read_in_ranges_clipped_to_what_is_there() {
    let body = || Recorder::default().with_buffer(BufferKind::RequestBody, "0123456789");
    assert_eq!(run(&get_buffer(0, 0xffff_ffff), body()).said(), ["0", "0123456789"]);
    assert_eq!(run(&get_buffer(2, 3), body()).said(), ["0", "234"]);
    assert_eq!(run(&get_buffer(8, 0xffff_ffff), body()).said(), ["0", "89"]);
    for (start, length) in [(10, 5), (11, 5), (0xffff_ffff, 0xffff_ffff), (3, 0)] {
        let host = run(&get_buffer(start, length), body());
        assert_eq!(host.said(), ["0", ""], "{start} {length}");
        assert_eq!(host.allocations(), 0);
    }
}

#[test]
fn a_missing_buffer_is_not_found_and_ignores_writes() {
    let host = run(
        &format!(
            "{} (call $status (call $proxy_set_buffer_bytes (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 100) (i32.const 3)))
             (call $status (call $proxy_get_buffer_status (i32.const 0) (i32.const 16) (i32.const 20)))",
            get_buffer(0, 9)
        ),
        Recorder::default(),
    );
    assert_eq!(host.said(), ["1", "", "0", "1"]);
}

#[test]
fn buffers_are_prepended_to_appended_to_and_replaced() {
    for (start, length, expected) in [
        (0, 0, "key0123"),
        (4, 0, "0123key"),
        (99, 99, "0123key"),
        (0, 4, "key"),
        (0, 99, "key"),
        (0, 2, "key23"),
        (1, 2, "0key3"),
        (1, 0, "0key123"),
        (2, 0xffff_ffff_i64, "01key"),
    ] {
        let host = run(
            &format!(
                "(call $status (call $proxy_set_buffer_bytes (i32.const 0) (i32.const {start}) (i32.const {length}) (i32.const 100) (i32.const 3)))"
            ),
            Recorder::default().with_buffer(BufferKind::RequestBody, "0123"),
        );
        assert_eq!(host.said(), ["0"]);
        assert_eq!(host.buffer(BufferKind::RequestBody), expected, "{start} {length}");
    }
}

#[test]
fn a_buffer_has_a_size_and_no_flags() {
    let host = run(
        "(i32.store (i32.const 20) (i32.const 9))
         (call $status (call $proxy_get_buffer_status (i32.const 1) (i32.const 16) (i32.const 20)))
         (call $status (i32.load (i32.const 16))) (call $status (i32.load (i32.const 20)))",
        Recorder::default().with_buffer(BufferKind::ResponseBody, "1234"),
    );
    assert_eq!(host.said(), ["0", "4", "0"]);
}
