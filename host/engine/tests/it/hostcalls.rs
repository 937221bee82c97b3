//! The other hostcalls, one by one.

use fyke_engine::Status;

use crate::guest::{Guest, IMPORTS, on_headers, run};
use crate::recorder::Recorder;

fn answering(status: Status) -> Recorder {
    Recorder { answer: Some(status), ..Recorder::default() }
}

/// Data: pairs with `:method`, `:path`, `:authority`, at 300.
fn request(authority: &str) -> (String, usize) {
    let pairs = [(":method", "GET"), (":path", "/x"), (":authority", authority), ("X-Y", "Z")];
    let mut bytes = u32::try_from(pairs.len()).unwrap().to_le_bytes().to_vec();
    for (key, value) in pairs {
        bytes.extend(u32::try_from(key.len()).unwrap().to_le_bytes());
        bytes.extend(u32::try_from(value.len()).unwrap().to_le_bytes());
    }
    for (key, value) in pairs {
        bytes.extend(format!("{key}\0{value}\0").bytes());
    }
    let escaped: String = bytes.iter().map(|byte| format!("\\{byte:02x}")).collect();
    (format!("(data (i32.const 300) \"{escaped}\")"), bytes.len())
}

fn with_request(authority: &str, body: impl Fn(usize) -> String, host: Recorder) -> Recorder {
    let (data, length) = request(authority);
    let text = on_headers(&body(length)).strip_suffix(')').unwrap().to_owned() + &data + ")";
    let mut host = host;
    let mut guest = Guest::new(&text, &mut host);
    guest.headers(&mut host).unwrap();
    host
}

fn http_call(timeout: i64) -> impl Fn(usize) -> String {
    move |length| {
        format!(
            "(call $status (call $proxy_http_call (i32.const 100) (i32.const 3) (i32.const 300) (i32.const {length})
                (i32.const 106) (i32.const 5) (i32.const 0) (i32.const 0) (i32.const {timeout}) (i32.const 16)))
             (call $status (i32.load (i32.const 16)))"
        )
    }
}

#[test]
fn every_hostcall_of_every_version_links_and_is_listed() {
    let names: Vec<_> = IMPORTS.iter().map(|(name, _)| *name).collect();
    let module = crate::guest::compile(&on_headers("")).unwrap();
    assert_eq!(module.imports(), names);
    assert_eq!(names.len(), 39 + 4);
}

#[test]
fn http_calls_are_handed_over_decoded() {
    let host = with_request("a", http_call(1500), Recorder::default());
    assert_eq!(host.said(), ["0", "7"]);
    assert_eq!(host.asked, ["http 2 key [:method=GET,:path=/x,:authority=a,x-y=Z] [value] [] Some(1.5s)"]);
    let host = with_request("a", http_call(0), Recorder::default());
    assert!(host.asked[0].ends_with("None"));
}

#[test]
fn http_calls_that_are_no_request_are_bad_arguments() {
    let host = with_request("", http_call(0), Recorder::default());
    assert_eq!((host.said()[0], host.asked.len()), ("2", 0), "no :authority");
    let host = with_request("a", http_call(-1), Recorder::default());
    assert_eq!((host.said()[0], host.asked.len()), ("2", 0), "negative timeout");
    let host = with_request("a", http_call(0), answering(Status::BadArgument));
    assert_eq!(host.said()[0], "2", "no such cluster");
    let host = with_request("a", http_call(0), answering(Status::ParseFailure));
    assert_eq!(host.said()[0], ":", "only what the SDK survives");
}

#[test]
fn grpc_calls_are_handed_over_decoded() {
    let body = "(call $status (call $proxy_grpc_call (i32.const 100) (i32.const 3) (i32.const 103) (i32.const 3) (i32.const 106) (i32.const 5)
            (i32.const 0) (i32.const 0) (i32.const 100) (i32.const 3) (i32.const 20) (i32.const 16)))
        (call $status (call $proxy_grpc_stream (i32.const 100) (i32.const 3) (i32.const 103) (i32.const 3) (i32.const 106) (i32.const 5)
            (i32.const 0) (i32.const 0) (i32.const 16)))
        (call $status (call $proxy_grpc_send (i32.const 9) (i32.const 100) (i32.const 3) (i32.const 1)))
        (call $status (call $proxy_grpc_close (i32.const 9)))
        (call $status (call $proxy_grpc_cancel (i32.const 9)))";
    let host = run(body, Recorder::default());
    assert_eq!(host.said(), ["0", "0", "0", "0", "0"]);
    assert_eq!(
        host.asked,
        [
            "grpc 2 key KEY/value [] Some(\"key\") Some(20ms)",
            "grpc 2 key KEY/value [] None None",
            "grpc_send 9 key true",
            "grpc_close 9",
            "grpc_cancel 9"
        ]
    );
    assert_eq!(run(body, answering(Status::ParseFailure)).said(), ["4", "4", "1", "1", "1"]);
    assert_eq!(run(body, answering(Status::BadArgument)).said(), [":", ":", "2", "1", "1"]);
}

#[test]
fn local_responses_are_handed_over_with_and_without_grpc_status() {
    let (data, length) = request("a");
    let text = on_headers(&format!(
        "(call $status (call $proxy_send_local_response (i32.const 403) (i32.const 100) (i32.const 3) (i32.const 106) (i32.const 5)
            (i32.const 300) (i32.const {length}) (i32.const -1)))
         (call $status (call $proxy_send_local_response (i32.const 200) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
            (i32.const 0) (i32.const 0) (i32.const 16)))"
    ));
    let text = text.strip_suffix(')').unwrap().to_owned() + &data + ")";
    let mut host = Recorder::default();
    let mut guest = Guest::new(&text, &mut host);
    guest.headers(&mut host).unwrap();
    assert_eq!(host.said(), ["0", "0"]);
    assert_eq!(
        host.asked,
        ["reply 2 403 [key] [value] [:method=GET,:path=/x,:authority=a,x-y=Z] None", "reply 2 200 [] [] [] Some(16)"]
    );
}

#[test]
fn streams_are_continued_and_closed() {
    let host = run(
        "(call $status (call $proxy_continue_stream (i32.const 1))) (call $status (call $proxy_close_stream (i32.const 2)))
         (call $status (call $proxy_continue_request)) (call $status (call $proxy_continue_response))
         (call $status (call $proxy_clear_route_cache)) (call $status (call $proxy_done))",
        Recorder::default(),
    );
    assert_eq!(host.said(), ["0"; 6]);
    let expected =
        ["continue 2 Response", "close 2 Downstream", "continue 2 Request", "continue 2 Response", "clear 2", "done 2"];
    assert_eq!(host.asked, expected);
}

#[test]
fn the_status_of_a_callout_has_code_and_message() {
    let host = run(
        "(call $status (call $proxy_get_status (i32.const 24) (i32.const 16) (i32.const 20)))
         (call $status (i32.load (i32.const 24))) (call $value)",
        Recorder::default(),
    );
    assert_eq!(host.said(), ["0", ">", "not today"]);
}

#[test]
fn shared_data_is_got_set_and_compared() {
    let get = "(call $status (call $proxy_get_shared_data (i32.const 100) (i32.const 3) (i32.const 16) (i32.const 20) (i32.const 24)))";
    let host = run(
        &format!(
            "{get}
             (call $status (call $proxy_set_shared_data (i32.const 100) (i32.const 3) (i32.const 106) (i32.const 5) (i32.const 99)))
             (call $status (call $proxy_set_shared_data (i32.const 100) (i32.const 3) (i32.const 106) (i32.const 5) (i32.const 0)))
             {get} (call $value) (call $status (i32.load (i32.const 24)))"
        ),
        Recorder::default(),
    );
    assert_eq!(host.said(), ["1", "8", "0", "0", "value", "5"]);
}

#[test]
fn queues_are_registered_resolved_filled_and_emptied() {
    let host = run(
        "(call $status (call $proxy_register_shared_queue (i32.const 100) (i32.const 3) (i32.const 24)))
         (call $status (i32.load (i32.const 24)))
         (call $status (call $proxy_resolve_shared_queue (i32.const 0) (i32.const 0) (i32.const 100) (i32.const 3) (i32.const 24)))
         (call $status (call $proxy_resolve_shared_queue (i32.const 100) (i32.const 3) (i32.const 100) (i32.const 3) (i32.const 24)))
         (call $status (call $proxy_enqueue_shared_queue (i32.const 3) (i32.const 106) (i32.const 5)))
         (call $status (call $proxy_enqueue_shared_queue (i32.const 4) (i32.const 106) (i32.const 5)))
         (call $status (call $proxy_dequeue_shared_queue (i32.const 3) (i32.const 16) (i32.const 20)))
         (call $value)
         (call $status (call $proxy_dequeue_shared_queue (i32.const 3) (i32.const 16) (i32.const 20)))
         (call $status (call $proxy_dequeue_shared_queue (i32.const 4) (i32.const 16) (i32.const 20)))",
        Recorder::default(),
    );
    assert_eq!(host.said(), ["0", "3", "0", "1", "0", "1", "0", "value", "7", "1"]);
}

#[test]
fn metrics_are_defined_recorded_incremented_and_read() {
    let body = "(call $status (call $proxy_define_metric (i32.const 1) (i32.const 100) (i32.const 3) (i32.const 24)))
         (call $status (i32.load (i32.const 24)))
         (call $status (call $proxy_record_metric (i32.const 4) (i64.const -1)))
         (call $status (call $proxy_increment_metric (i32.const 4) (i64.const -2)))
         (call $status (call $proxy_get_metric (i32.const 4) (i32.const 32)))
         (call $say (i32.const 32) (i32.const 8))";
    let host = run(body, Recorder::default());
    assert_eq!(host.said(), ["0", "4", "0", "0", "0", "metric!!"]);
    assert_eq!(host.asked, ["metric Gauge key", "record 4 18446744073709551615", "increment 4 -2"]);
    assert_eq!(run(body, answering(Status::BadArgument)).said()[..5], ["0", "0", "1", "2", "2"]);
    assert_eq!(run(body, answering(Status::NotFound)).said()[..5], ["0", "0", "1", "1", "1"]);
    let host = run(
        "(call $status (call $proxy_define_metric (i32.const 3) (i32.const 100) (i32.const 3) (i32.const 24)))",
        Recorder::default(),
    );
    assert_eq!((host.said(), host.asked.len()), (vec!["0"], 0), "a kind that does not exist");
}

#[test]
fn properties_are_got_and_set() {
    let get = |length: u32| {
        format!(
            "(call $status (call $proxy_get_property (i32.const 100) (i32.const {length}) (i32.const 16) (i32.const 20)))"
        )
    };
    let host = run(
        &format!(
            "{} (call $value) {} (call $status (call $proxy_set_property (i32.const 100) (i32.const 3) (i32.const 106) (i32.const 5)))",
            get(3),
            get(2)
        ),
        Recorder::default(),
    );
    assert_eq!(host.said(), ["0", "property", "1", "0"]);
    assert_eq!(host.asked, ["property 2 key=value"]);
    assert_eq!(run(&get(2), answering(Status::BadArgument)).said(), ["1"]);
    assert_eq!(run(&get(2), answering(Status::InternalFailure)).said(), [":"]);
}

#[test]
fn foreign_functions_give_results_to_those_who_want_them() {
    let call = |name: u32, address: u32, length: u32| {
        format!(
            "(call $status (call $proxy_call_foreign_function (i32.const {name}) (i32.const 3) (i32.const 106) (i32.const 5) (i32.const {address}) (i32.const {length})))"
        )
    };
    let host = run(&format!("{} (call $value) {}", call(100, 16, 20), call(100, 0, 0)), Recorder::default());
    assert_eq!(host.said(), ["0", "result", "0"]);
    assert_eq!(host.asked, ["foreign value", "foreign value"]);
    assert_eq!(host.allocations(), 1);
    assert_eq!(run(&call(103, 16, 20), Recorder::default()).said(), ["1"], "unknown");
    assert_eq!(run(&call(103, 16, 20), answering(Status::BadArgument)).said(), ["2"]);
    assert_eq!(run(&call(103, 16, 20), answering(Status::Empty)).said(), [":"]);
}

#[test]
fn clear_route_cache_is_a_foreign_function_too() {
    let text = on_headers(
        "(call $status (call $proxy_call_foreign_function (i32.const 400) (i32.const 17) (i32.const 0) (i32.const 0) (i32.const 16) (i32.const 20)))",
    );
    let text = text.strip_suffix(')').unwrap().to_owned() + r#"(data (i32.const 400) "clear_route_cache"))"#;
    let mut host = Recorder::default();
    Guest::new(&text, &mut host).headers(&mut host).unwrap();
    assert_eq!(host.said(), ["0"]);
    assert_eq!(host.asked, ["clear 2"]);
}

#[test]
fn time_and_log_level_are_told() {
    let host = run(
        "(call $status (call $proxy_get_current_time_nanoseconds (i32.const 32))) (call $say (i32.const 32) (i32.const 8))
         (call $status (call $proxy_get_log_level (i32.const 24))) (call $status (i32.load (i32.const 24)))",
        Recorder::default(),
    );
    assert_eq!(host.said(), ["0", "\u{8}\u{7}\u{6}\u{5}\u{4}\u{3}\u{2}\u{1}", "0", "3"]);
}

#[test]
fn calls_are_made_for_the_effective_context_and_ticks_for_its_root() {
    let host = run(
        "(call $status (call $proxy_set_tick_period_milliseconds (i32.const 100)))
         (call $status (call $proxy_set_effective_context (i32.const 77)))
         (call $status (call $proxy_set_effective_context (i32.const 0)))
         (call $status (call $proxy_set_effective_context (i32.const 1)))
         (drop (call $proxy_continue_request))
         (call $status (call $proxy_set_effective_context (local.get $cx)))
         (call $status (call $proxy_set_tick_period_milliseconds (i32.const 0)))
         (drop (call $proxy_continue_request))",
        Recorder::default(),
    );
    assert_eq!(host.said(), ["0", "2", "2", "0", "0", "0"]);
    assert_eq!(host.asked, ["tick 1 Some(100ms)", "continue 1 Request", "tick 1 None", "continue 2 Request"]);
}

#[test]
fn the_effective_context_is_forgotten_when_the_call_ends() {
    let mut host = Recorder::default();
    let mut guest = Guest::new(
        &on_headers("(drop (call $proxy_continue_request)) (drop (call $proxy_set_effective_context (i32.const 1)))"),
        &mut host,
    );
    guest.headers(&mut host).unwrap();
    guest.headers(&mut host).unwrap();
    assert_eq!(host.asked, ["continue 2 Request", "continue 2 Request"]);
}
