//! The charts of the filter's page. Those of what a configuration does not have are left out.

use fyke_sdk::{Panel, Unit};

const TOTAL: &str = "rate_limit_total";

pub const PANELS: &[Panel] = &[
    Panel::stacked("Requests by outcome", TOTAL)
        .by(&["outcome"])
        .unit(Unit::PerSecond)
        .describe("Once for each rule that is about a request; of one that is refused only the rules that refuse."),
    Panel::line("Refused, by rule", TOTAL).only(&[("outcome", "over")]).by(&["rule"]).unit(Unit::PerSecond),
    Panel::line("Close to the limit, by rule", TOTAL).only(&[("outcome", "near")]).by(&["rule"]).unit(Unit::PerSecond),
    Panel::line("Shadows would refuse", TOTAL).only(&[("outcome", "shadow")]).by(&["rule"]).unit(Unit::PerSecond),
    Panel::line("Not looked up", TOTAL)
        .only(&[("outcome", "error")])
        .by(&["rule"])
        .unit(Unit::PerSecond)
        .describe("The limits could not be looked up, and the failure mode decided."),
    Panel::table("Rules", TOTAL).by(&["rule", "outcome"]).unit(Unit::PerSecond),
    Panel::top("Busiest keys", "rate_limit_top_requests")
        .by(&["rule", "key"])
        .describe("Of rules with `top`: requests of the last seconds, older ones counting half."),
    Panel::line("Redis answers within", "rate_limit_store_microseconds").by(&["rule"]).unit(Unit::Microseconds),
    Panel::line("Known without asking Redis", "rate_limit_cached_total").by(&["rule"]).unit(Unit::PerSecond),
    Panel::line("The service answers within", "rate_limit_service_microseconds").by(&["rule"]).unit(Unit::Microseconds),
    Panel::line("Allowed and denied by lists", "rate_limit_listed_total").by(&["list"]).unit(Unit::PerSecond),
    Panel::number("Waiting now", "rate_limit_delayed"),
    Panel::line("Delay", "rate_limit_delay_milliseconds").unit(Unit::Milliseconds),
];
