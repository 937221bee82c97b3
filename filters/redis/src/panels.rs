//! The charts of the filter's page. What a configuration does not define is left out.

use fyke_sdk::{Panel, Unit};

const BY_PREFIX: &[&str] = &["prefix"];

pub const PANELS: &[Panel] = &[
    Panel::stacked("Commands", "redis_commands_total").by(&["command"]).unit(Unit::PerSecond),
    Panel::line("Commands by prefix", "redis_commands_total")
        .by(BY_PREFIX)
        .unit(Unit::PerSecond)
        .describe("Prefixes of keys are counted where the configuration says so."),
    Panel::line("Latency", "redis_reply_time_microseconds").unit(Unit::Microseconds),
    Panel::table("Latency by command", "redis_reply_time_microseconds").by(&["command"]).unit(Unit::Microseconds),
    Panel::table("Latency by prefix", "redis_reply_time_microseconds").by(BY_PREFIX).unit(Unit::Microseconds),
    Panel::line("Errors", "redis_errors_total").by(&["command", "error"]).unit(Unit::PerSecond),
    Panel::top("Most commands", "redis_commands_total").by(&["command", "prefix"]).unit(Unit::PerSecond),
    Panel::top("Most bytes of replies", "redis_reply_bytes_total").by(&["command", "prefix"]).unit(Unit::Bytes),
    Panel::top("Most bytes of commands", "redis_request_bytes_total").by(&["command", "prefix"]).unit(Unit::Bytes),
    Panel::number("Clients", "redis_connections_active"),
    Panel::stacked("What servers say by themselves", "redis_pushes_total").by(&["kind"]).unit(Unit::PerSecond),
    Panel::line("Broken protocol", "redis_protocol_errors_total").by(&["side", "reason"]).unit(Unit::PerSecond),
    Panel::line("Wait for a connection", "redis_lease_wait_microseconds")
        .unit(Unit::Microseconds)
        .describe("Where clients share connections: how long one was waited for."),
    Panel::line("No connection", "redis_unserved_total").by(&["reason"]).unit(Unit::PerSecond),
    Panel::number("Connections lost while they were lent", "redis_lost_total").unit(Unit::PerSecond),
    Panel::line("Answered by the proxy", "redis_answered_here_total").by(&["command", "result"]).unit(Unit::PerSecond),
];
