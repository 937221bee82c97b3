//! The way of requests, drawn: listener, route, filters, cluster, endpoints, with what is on each edge.

mod layout;

use std::collections::BTreeMap;

use maud::{Markup, html};

use self::layout::{Drawing, Lane, Place, Shape, Wire};
use super::{Context, Page, Region, Section, widget};
use crate::admin::dashboard::{
    link,
    model::{Column, Edge, Flow, Node, ServiceKind},
    units,
};

/// Rows of the table.
const ROWS: usize = 1_000;

pub(super) fn page(context: &Context<'_>) -> Page {
    let flow = context.source.flow();
    let regions = vec![
        Region { id: "drawing", html: drawing(context, &flow) },
        Region { id: "edges", html: table(context, &flow) },
    ];
    Page { title: "Flow".to_owned(), section: Section::Flow, tools: None, regions, live: true }
}

fn drawing(context: &Context<'_>, flow: &Flow) -> Markup {
    if flow.nodes.is_empty() {
        return widget::nothing("There is no listener yet.");
    }
    let Drawing { places, lanes, wires, height, left_out } = layout::lay_out(flow);
    let largest = wires.iter().filter_map(|wire| wire.edge.rate).filter(|rate| rate.is_finite()).fold(0.0, f64::max);
    html! {
        h2.hidden { "Drawing" }
        div.scroll tabindex="0" role="region" aria-label="Flow of requests, drawn; the same numbers are in the table below" {
            svg.flow viewBox={ "0 0 " (layout::WIDTH) " " (height) } width=(layout::WIDTH) height=(height) {
                @for (x, label) in layout::HEADS { text.column x=(x) y="14" { (label) } }
                @for lane in &lanes { (draw_lane(lane)) }
                g.wires { @for wire in &wires { (draw_wire(wire, largest)) } }
                @for place in &places { (draw_node(context, place)) }
                g.numbers { @for wire in &wires { (draw_numbers(wire)) } }
            }
        }
        @if left_out > 0 { p.muted { (left_out) " more nodes are not drawn; the table has them." } }
    }
}

fn draw_lane(lane: &Lane<'_>) -> Markup {
    html! {
        rect.lane x=(lane.x) y=(lane.y) width=(lane.width) height=(lane.height) rx="5" {}
        text.lane-name x=(lane.x + 10.0) y=(lane.y + 16.0) { (cut(lane.name, 26)) }
    }
}

fn loud(errors: Option<f64>) -> &'static str {
    match errors {
        Some(errors) if errors > 0.05 => "bad",
        Some(errors) if errors > 0.01 => "warn",
        _ => "calm",
    }
}

fn draw_wire(wire: &Wire<'_>, largest: f64) -> Markup {
    let rate = wire.edge.rate.filter(|rate| rate.is_finite()).unwrap_or_default();
    let width = if largest > 0.0 { 1.0 + 7.0 * (rate / largest).clamp(0.0, 1.0).sqrt() } else { 1.0 };
    let ((x1, y1), (x2, y2)) = (wire.from, wire.to);
    // Flat where the numbers are, and bent where they are not.
    let (begin, end) = match wire.shape {
        Shape::NumbersFirst => (x1 + 76.0, x2),
        Shape::NumbersLast => (x1, wire.label.0),
        Shape::Down | Shape::UpToNumbers => (x1, x2),
    };
    let middle = f64::midpoint(begin, end);
    let path = match wire.shape {
        Shape::Down => format!("M{x1:.1} {y1:.1}L{x2:.1} {y2:.1}"),
        _ => format!("M{x1:.1} {y1:.1}H{begin:.1}C{middle:.1} {y1:.1} {middle:.1} {y2:.1} {end:.1} {y2:.1}H{x2:.1}"),
    };
    html! {
        path class={ "wire " (loud(wire.edge.errors)) @if rate <= 0.0 { " idle" } } d=(path) stroke-width=(format!("{width:.1}")) {
            title { (wire.edge.from) " → " (wire.edge.to) ": " (units::rate(wire.edge.rate)) ", " (units::share(wire.edge.errors)) " errors, " (units::added(wire.edge.added)) }
        }
    }
}

fn draw_numbers(wire: &Wire<'_>) -> Markup {
    let (x, y) = wire.label;
    let edge = wire.edge.as_ref();
    let second = html! {
        tspan class=(loud(edge.errors)) { (units::share(edge.errors)) } " " tspan { (units::added(edge.added)) }
    };
    html! {
        @if matches!(wire.shape, Shape::Down | Shape::UpToNumbers) {
            text.numbers x=(x) y=(format!("{:.1}", y + 3.5)) { tspan.rate { (units::rate(edge.rate)) } " " (second) }
        } @else {
            text.numbers x=(x) y=(format!("{:.1}", y - 3.0)) { tspan.rate { (units::rate(edge.rate)) } }
            text.numbers x=(x) y=(format!("{:.1}", y + 10.0)) { (second) }
        }
    }
}

fn draw_node(context: &Context<'_>, place: &Place<'_>) -> Markup {
    let node = place.node.as_ref();
    let address = match node.column {
        _ if place.more.is_some() => {
            Some(format!("{}?cluster={}", link::page("endpoints"), link::escaped(&node.group)))
        }
        Column::Listener => Some(link::service(ServiceKind::Listener, &node.name)),
        Column::Cluster => Some(link::service(ServiceKind::Cluster, &node.name)),
        Column::Filter => Some(link::filter(&node.name)),
        Column::Endpoint => Some(format!(
            "{}?cluster={}&q={}",
            link::page("endpoints"),
            link::escaped(&node.group),
            link::escaped(&node.name)
        )),
        Column::Route => None,
    };
    let tone = node.health.map(widget::health_tone).unwrap_or_default();
    let small = place.height < 26.0;
    let letters =
        ((place.width - 14.0 - if tone.is_empty() || tone == "ok" { 0.0 } else { 16.0 }) / 6.9).max(4.0) as usize;
    let inner = html! {
        title {
            (node.name) @if !node.detail.is_empty() { ", " (node.detail) }
            @if let Some(health) = node.health { ", " (health.word()) }
            @if let Some(origin) = &node.provenance.origin { "; defined at " (origin) }
            @if let crate::admin::dashboard::model::LastUsed::At(time) = node.provenance.last_used { "; used " (units::span(context.now.seconds_since(time))) " ago" }
        }
        rect class={ "node " (tone) } x=(place.x) y=(format!("{:.1}", place.y)) width=(place.width) height=(place.height) rx="4" {}
        @if !tone.is_empty() && tone != "ok" {
            g.mark transform={ "translate(" (place.x + place.width - 17.0) " " (format!("{:.1}", place.y + place.height / 2.0 - 5.0)) ")" } { (widget::shape(tone)) }
        }
        @if small || node.detail.is_empty() {
            text.name x=(place.x + 9.0) y=(format!("{:.1}", place.y + place.height / 2.0 + 4.0)) {
                @match place.more { Some(more) => { "and " (more) " more" }, None => { (cut(&node.name, letters)) } }
            }
        } @else {
            text.name x=(place.x + 9.0) y=(format!("{:.1}", place.y + 14.5)) { (cut(&node.name, letters)) }
            text.detail x=(place.x + 9.0) y=(format!("{:.1}", place.y + 27.5)) { (cut(&node.detail, letters + letters / 6)) }
        }
    };
    html! {
        @match address {
            Some(address) => { a href=(address) { (inner) } },
            None => { g { (inner) } },
        }
    }
}

/// The first letters of a text.
fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

fn table(context: &Context<'_>, flow: &Flow) -> Markup {
    let nodes: BTreeMap<&str, &Node> = flow.nodes.iter().map(|node| (node.id.as_str(), node)).collect();
    let known = |edge: &&Edge| nodes.contains_key(edge.from.as_str()) && nodes.contains_key(edge.to.as_str());
    let end = |id: &str| {
        html! { @if let Some(node) = nodes.get(id) { span.muted { (word(node.column)) " " } (node.name) } }
    };
    let content = html! {
        caption.hidden { "Every edge" }
        thead { tr {
            th scope="col" { "From" } th scope="col" { "To" } th.num scope="col" { "Rate" } th.num scope="col" { "Errors" } th.num scope="col" { "Adds, p50" }
            th scope="col" { "Target defined" } th scope="col" { "Used" }
        } }
        tbody {
            @for edge in flow.edges.iter().filter(known).take(ROWS) {
                tr {
                    td { (end(&edge.from)) }
                    th scope="row" { (end(&edge.to)) }
                    td.num { (units::rate(edge.rate)) }
                    td.num { (widget::errors(edge.errors)) }
                    td.num { (units::added(edge.added)) }
                    @if let Some(node) = nodes.get(edge.to.as_str()) {
                        td { (widget::origin(&node.provenance)) } td { (widget::short_used(&node.provenance, context.now)) }
                    }
                }
            }
        }
    };
    html! {
        details #as-table {
            summary { h2 { "As a table" } }
            (widget::table("Edges", "dense fit", &content))
        }
    }
}

fn word(column: Column) -> &'static str {
    match column {
        Column::Listener => "listener",
        Column::Route => "route",
        Column::Filter => "filter",
        Column::Cluster => "cluster",
        Column::Endpoint => "endpoint",
    }
}
