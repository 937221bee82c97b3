//! The charts of the filter's page. What a configuration does not define is left out: charts of the pool, and of limits.

use fyke_sdk::{Panel, Unit};

use crate::names;

const BY_COLLECTION: &[&str] = &["mongo_db", "mongo_collection"];
const BY_CALLSITE: &[&str] = &["mongo_callsite"];
const BY_APPLICATION: &[&str] = &["app"];

pub const PANELS: &[Panel] = &[
    Panel::stacked("Operations by command", names::OPERATIONS).by(&["mongo_cmd"]).unit(Unit::PerSecond),
    Panel::line("Operations by collection", names::OPERATIONS).by(BY_COLLECTION).unit(Unit::PerSecond),
    Panel::line("Operations by call site", names::OPERATIONS)
        .by(BY_CALLSITE)
        .unit(Unit::PerSecond)
        .describe("Call sites are named by comments of operations; without one it is an empty name."),
    Panel::line("Latency", names::REPLY_TIME).unit(Unit::Microseconds),
    Panel::table("Latency by collection", names::REPLY_TIME).by(BY_COLLECTION).unit(Unit::Microseconds),
    Panel::table("Latency by call site", names::REPLY_TIME).by(BY_CALLSITE).unit(Unit::Microseconds),
    Panel::line("Latency by server", names::REPLY_TIME).by(&["server"]).unit(Unit::Microseconds),
    Panel::line("Errors by collection", names::ERRORS)
        .by(&["mongo_db", "mongo_collection", "code"])
        .unit(Unit::PerSecond)
        .describe("Failed commands, single writes and write concerns, by MongoDB's name for the error."),
    Panel::line("Errors by call site", names::ERRORS).by(&["mongo_callsite", "code"]).unit(Unit::PerSecond),
    Panel::top("Top talkers by operations", names::OPERATIONS).by(BY_APPLICATION).unit(Unit::PerSecond),
    Panel::top("Top talkers by bytes", names::REQUEST_BYTES).by(BY_APPLICATION).unit(Unit::Bytes),
    Panel::top("Busiest call sites", names::OPERATIONS)
        .by(&["app", "mongo_callsite", "mongo_collection"])
        .unit(Unit::PerSecond),
    Panel::top("Queries without _id", names::SCATTER_GET)
        .by(&["mongo_callsite", "mongo_collection"])
        .unit(Unit::PerSecond),
    Panel::top("Slow operations", names::SLOW)
        .by(&["mongo_callsite", "mongo_collection", "mongo_cmd"])
        .unit(Unit::PerSecond),
    Panel::number("Operations that wait for a reply", "mongo_op_query_active"),
    Panel::line("Refused", names::REFUSED).by(&["reason", "name"]).unit(Unit::PerSecond),
    Panel::line("Limits", names::LIMITS).by(&["limit", "outcome"]).unit(Unit::PerSecond),
    Panel::number("Connections lent", "mongo_pool_lent")
        .describe("Connections of the pool on which an operation is under way."),
    Panel::number("Operations that wait for a connection", "mongo_pool_waiting"),
    Panel::line("Wait for a connection", "mongo_pool_queue_time_microseconds").unit(Unit::Microseconds),
    Panel::stacked("Connections borrowed, by server", "mongo_pool_checkouts_total")
        .by(&["server", "reused"])
        .unit(Unit::PerSecond),
    Panel::line("Refused by the pool", "mongo_pool_refused_total").by(&["reason"]).unit(Unit::PerSecond),
    Panel::line("Lost connections", "mongo_pool_broken_total").by(&["reason"]).unit(Unit::PerSecond),
];
