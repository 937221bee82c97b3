//! Names of metrics, in both forms.

/// Counters of a connection's messages: as Envoy has them below `mongo.<stat_prefix>.`, and as `mongo_<name>_total`. The last three are ours.
pub const BASE: [&str; 26] = [
    "decoding_error",
    "delays_injected",
    "op_msg",
    "op_command",
    "op_command_reply",
    "op_get_more",
    "op_insert",
    "op_kill_cursors",
    "op_query",
    "op_query_tailable_cursor",
    "op_query_no_cursor_timeout",
    "op_query_await_data",
    "op_query_exhaust",
    "op_query_no_max_time",
    "op_query_scatter_get",
    "op_query_multi_get",
    "op_reply",
    "op_reply_cursor_not_found",
    "op_reply_query_failure",
    "op_reply_valid_cursor",
    "cx_destroy_local_with_active_rq",
    "cx_destroy_remote_with_active_rq",
    "cx_drain_close",
    "op_compressed",
    "op_update",
    "op_delete",
];

/// One of [`BASE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Base {
    DecodingError,
    DelaysInjected,
    Msg,
    Command,
    CommandReply,
    GetMore,
    Insert,
    KillCursors,
    Query,
    TailableCursor,
    NoCursorTimeout,
    AwaitData,
    Exhaust,
    NoMaxTime,
    ScatterGet,
    MultiGet,
    Reply,
    CursorNotFound,
    QueryFailure,
    ValidCursor,
    DestroyLocal,
    DestroyRemote,
    #[expect(dead_code, reason = "the host does not tell filters that it drains; the metric is there for dashboards")]
    DrainClose,
    Compressed,
    Update,
    Delete,
}

/// Operations that wait for their replies.
pub const ACTIVE: &str = "op_query_active";
/// What all labelled names begin with.
pub const PREFIX: &str = "mongo_";

/// Labels of what is counted for each operation.
pub const LABELS: [&str; 6] = ["mongo_prefix", "mongo_db", "mongo_cmd", "mongo_collection", "mongo_callsite", "app"];
/// The same, with the server that answered.
pub const REPLY_LABELS: [&str; 7] =
    ["mongo_prefix", "mongo_db", "mongo_cmd", "mongo_collection", "mongo_callsite", "app", "server"];
/// Labels of errors.
pub const ERROR_LABELS: [&str; 8] =
    ["mongo_prefix", "mongo_db", "mongo_cmd", "mongo_collection", "mongo_callsite", "app", "server", "code"];

pub const OPERATIONS: &str = "mongo_operations_total";
pub const REQUEST_BYTES: &str = "mongo_request_bytes_total";
pub const REPLY_TIME: &str = "mongo_reply_time_microseconds";
pub const REPLY_SIZE: &str = "mongo_reply_size_bytes";
pub const REPLY_DOCUMENTS: &str = "mongo_reply_num_docs";
pub const SCATTER_GET: &str = "mongo_query_scatter_get_total";
pub const MULTI_GET: &str = "mongo_query_multi_get_total";
pub const ERRORS: &str = "mongo_errors_total";
pub const WRITE_ERRORS: &str = "mongo_write_errors_total";
pub const RETRY_LABELS: &str = "mongo_error_labels_total";
pub const PREFERENCES: &str = "mongo_read_preference_total";
pub const CURSOR_LIFETIME: &str = "mongo_cursor_lifetime_milliseconds";
pub const SLOW: &str = "mongo_slow_operations_total";
pub const REFUSED: &str = "mongo_refused_total";
/// Of those, what asks for no answer.
pub const DROPPED: &str = "mongo_dropped_total";
pub const LIMITS: &str = "mongo_limit_total";
pub const FORGOTTEN: &str = "mongo_forgotten_total";
pub const UNREADABLE: &str = "mongo_unreadable_total";

/// Upper bounds for how long replies take, in microseconds.
pub const TIME_BOUNDS: [u64; 15] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 5_000_000,
    30_000_000,
];
