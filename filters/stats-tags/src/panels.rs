//! The charts of the filter's page. Which metrics and labels there are, the configuration says: what it does not define is left out.

use fyke_sdk::{Panel, Unit};

const ALL: &[&str] = &["*"];
/// Of Istio's two dozen labels, those by which its own dashboards are split.
const CALLER_AND_CALLED: &[&str] = &["source_workload", "destination_service_name"];

pub const PANELS: &[Panel] = &[
    Panel::line("Requests", "stats_requests_total")
        .by(ALL)
        .unit(Unit::PerSecond)
        .describe("By all labels that the configuration gives them."),
    Panel::line("Errors", "stats_requests_total")
        .by(ALL)
        .only(&[("class", "5*")])
        .unit(Unit::PerSecond)
        .describe("Answers whose label class is 5xx."),
    Panel::line("Errors", "stats_requests_total")
        .by(ALL)
        .only(&[("response_code", "5*")])
        .unit(Unit::PerSecond)
        .describe("Answers whose label response_code is 500 to 599."),
    Panel::line("Latency", "stats_request_duration_milliseconds").unit(Unit::Milliseconds),
    Panel::line("Latency", "stats_request_duration_microseconds").unit(Unit::Microseconds),
    Panel::table("Latency by labels", "stats_request_duration_milliseconds").by(ALL).unit(Unit::Milliseconds),
    Panel::table("Latency by labels", "stats_request_duration_microseconds").by(ALL).unit(Unit::Microseconds),
    Panel::top("Most requests", "stats_requests_total").by(ALL).unit(Unit::PerSecond),
    Panel::bar("Size of requests", "stats_request_bytes").by(ALL).unit(Unit::Bytes),
    Panel::bar("Size of answers", "stats_response_bytes").by(ALL).unit(Unit::Bytes),
    Panel::stacked("gRPC messages of clients", "stats_request_messages_total").by(ALL).unit(Unit::PerSecond),
    Panel::stacked("gRPC messages to clients", "stats_response_messages_total").by(ALL).unit(Unit::PerSecond),
    Panel::line("Connections opened", "stats_tcp_connections_opened_total").by(ALL).unit(Unit::PerSecond),
    Panel::line("Connections closed", "stats_tcp_connections_closed_total").by(ALL).unit(Unit::PerSecond),
    Panel::stacked("Received over TCP", "stats_tcp_received_bytes_total").by(ALL).unit(Unit::Bytes),
    Panel::stacked("Sent over TCP", "stats_tcp_sent_bytes_total").by(ALL).unit(Unit::Bytes),
    Panel::line("Requests", "istio_requests_total").by(CALLER_AND_CALLED).unit(Unit::PerSecond),
    Panel::line("Errors", "istio_requests_total")
        .by(CALLER_AND_CALLED)
        .only(&[("response_code", "5*")])
        .unit(Unit::PerSecond),
    Panel::line("Latency", "istio_request_duration_milliseconds").unit(Unit::Milliseconds),
    Panel::table("Latency by service", "istio_request_duration_milliseconds")
        .by(CALLER_AND_CALLED)
        .unit(Unit::Milliseconds),
    Panel::stacked("Answers", "istio_requests_total").by(&["response_code"]).unit(Unit::PerSecond),
    Panel::line("Connections opened", "istio_tcp_connections_opened_total").by(CALLER_AND_CALLED).unit(Unit::PerSecond),
];
