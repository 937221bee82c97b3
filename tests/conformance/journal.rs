//! What the probe said, and what it should have said.

use crate::stage::Version;

/// Statuses that the official SDK survives, for each hostcall that it has (PROXY-WASM.md, 1.3). Anything else would make its guests panic.
const SDK_SAFE: &[(&str, &[i32])] = &[
    ("log", &[0]),
    ("get_log_level", &[0]),
    ("get_current_time_nanoseconds", &[0]),
    ("set_tick_period_milliseconds", &[0]),
    ("set_effective_context", &[0, 2]),
    ("done", &[0]),
    ("get_buffer_bytes", &[0, 1]),
    ("set_buffer_bytes", &[0]),
    ("get_header_map_pairs", &[0]),
    ("set_header_map_pairs", &[0]),
    ("get_header_map_value", &[0, 1]),
    ("add_header_map_value", &[0]),
    ("replace_header_map_value", &[0]),
    ("remove_header_map_value", &[0]),
    ("continue_stream", &[0]),
    ("close_stream", &[0]),
    ("get_status", &[0]),
    ("send_local_response", &[0]),
    ("http_call", &[0, 2, 10]),
    ("grpc_call", &[0, 4, 10]),
    ("grpc_stream", &[0, 4, 10]),
    ("grpc_send", &[0, 1, 2]),
    ("grpc_cancel", &[0, 1]),
    ("grpc_close", &[0, 1]),
    ("set_shared_data", &[0, 8]),
    ("get_shared_data", &[0, 1]),
    ("register_shared_queue", &[0]),
    ("resolve_shared_queue", &[0, 1]),
    ("enqueue_shared_queue", &[0, 1]),
    ("dequeue_shared_queue", &[0, 1, 7]),
    ("define_metric", &[0]),
    ("record_metric", &[0, 1]),
    ("increment_metric", &[0, 1, 2]),
    ("get_metric", &[0, 1, 2]),
    ("get_property", &[0, 1, 3, 10]),
    ("set_property", &[0]),
    ("call_foreign_function", &[0, 1, 2, 3, 10]),
];

/// The lines that a pattern for this version means: `@old ` is 0.1.0's alone, `@new ` all others'.
fn of_version(version: Version, pattern: &str) -> Option<&str> {
    match pattern.split_once(' ') {
        Some(("@old", rest)) => version.is_old().then_some(rest),
        Some(("@new", rest)) => (!version.is_old()).then_some(rest),
        _ => Some(pattern),
    }
}

/// `*` is what there is up to the next space, `**` anything.
pub fn matches(pattern: &str, line: &str) -> bool {
    match pattern.find('*') {
        None => pattern == line,
        Some(at) => {
            let (head, rest) = pattern.split_at(at);
            let Some(line) = line.strip_prefix(head) else { return false };
            let (wide, rest) = match rest.strip_prefix("**") {
                Some(rest) => (true, rest),
                None => (false, &rest[1..]),
            };
            let end = if wide { line.len() } else { line.find(' ').unwrap_or(line.len()) };
            (0..=end).rev().filter(|at| line.is_char_boundary(*at)).any(|at| matches(rest, &line[at..]))
        }
    }
}

/// Whether the lines are there in this order, with anything in between. `absent LINE` must not be there at all, `once LINE` exactly
/// once. Every status must be one that the SDK survives.
#[track_caller]
pub fn check(version: Version, journal: &[String], expected: &[&str]) {
    let mut left = journal.iter();
    let said = || format!("version {}; the probe said:\n  {}", version.name, journal.join("\n  "));
    for pattern in expected.iter().filter_map(|pattern| of_version(version, pattern)) {
        if let Some(pattern) = pattern.strip_prefix("absent ") {
            let found = journal.iter().find(|line| matches(pattern, line));
            assert!(found.is_none(), "{found:?} should not be there; {}", said());
        } else if let Some(pattern) = pattern.strip_prefix("once ") {
            let count = journal.iter().filter(|line| matches(pattern, line)).count();
            assert_eq!(count, 1, "{pattern:?} should be there once; {}", said());
        } else {
            assert!(left.any(|line| matches(pattern, line)), "no {pattern:?} (in this order); {}", said());
        }
    }
    for line in journal {
        if let Some((call, status)) = call(line)
            && let Some((_, safe)) = SDK_SAFE.iter().find(|(name, _)| *name == call)
        {
            assert!(safe.contains(&status), "the official SDK does not survive {line:?}; {}", said());
        }
    }
}

/// Name and status of a line that tells of a hostcall.
fn call(line: &str) -> Option<(&str, i32)> {
    let (_, rest) = line.split_once("> ")?;
    let (name, rest) = rest.split_once(" = ")?;
    Some((name, rest.split(' ').next()?.parse().ok()?))
}
