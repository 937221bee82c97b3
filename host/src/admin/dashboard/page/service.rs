//! A listener or a cluster, with its last hour.

use maud::html;

use super::{
    Context, Page, Region, Section,
    chart::{self, Data},
    widget,
};
use crate::admin::dashboard::{
    link,
    model::{ServiceKind, Summary},
    units,
};

pub(super) fn page(context: &Context<'_>, kind: ServiceKind, name: &str) -> Option<Page> {
    let service = context.source.service(kind, name, chart::POINTS)?;
    let address = |which| format!("{}/data/services/{}/{}?chart={which}", link::BASE, kind.word(), link::escaped(name));
    let column = |summary: &Summary| {
        html! {
            td.num { (units::rate(summary.rate)) }
            td.num { (units::count(summary.requests)) }
            td.num { (widget::success(summary.success)) }
            td.num { (units::duration(summary.p50)) }
            td.num { (units::duration(summary.p90)) }
            td.num { (units::duration(summary.p99)) }
        }
    };
    let numbers = html! {
        caption.hidden { "Numbers of " (name) }
        thead { tr {
            th scope="col" { "" span.hidden { "Time" } } th.num scope="col" { "Rate" } th.num scope="col" { "Requests" } th.num scope="col" { "Success" }
            th.num scope="col" { "p50" } th.num scope="col" { "p90" } th.num scope="col" { "p99" }
        } }
        tbody {
            tr { th scope="row" { "Now" } (column(&service.now)) }
            tr { th scope="row" { "Last hour" } (column(&service.hour)) }
        }
    };
    let facts = html! {
        p.lead { (service.detail) " · " (widget::provenance(&service.provenance, context.now)) }
        (widget::table("Numbers", "dense fit", &numbers))
        p.links {
            @if service.kind == ServiceKind::Cluster {
                a href={ (link::page("endpoints")) "?cluster=" (link::escaped(name)) } {
                    "Endpoints" @if let Some((up, all)) = service.endpoints { " (" (up) " of " (all) " up)" }
                }
            }
            @if let Some(active) = service.active { span { (units::count(active)) " requests in flight" } }
        }
    };
    let charts = html! {
        h2.hidden { "The last hour" }
        div.charts {
            (chart::large("Requests", &Data::traffic(service.trend.clone()), &address("traffic")))
            (chart::large("Latency", &Data::latency(service.trend.clone()), &address("latency")))
        }
    };
    let kind = match kind {
        ServiceKind::Listener => "Listener",
        ServiceKind::Cluster => "Cluster",
    };
    Some(Page {
        title: format!("{kind} {name}"),
        section: Section::Overview,
        tools: None,
        regions: vec![Region { id: "facts-of-service", html: facts }, Region { id: "charts", html: charts }],
        live: true,
    })
}
