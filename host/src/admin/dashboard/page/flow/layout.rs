//! Where everything stands in the drawing. Pure arithmetic: no number of it depends on a browser.

#[cfg(test)]
mod tests;

use std::{borrow::Cow, collections::BTreeMap};

use crate::admin::dashboard::model::{Column, Edge, Flow, Health, Node, Provenance};

/// Width of the drawing.
pub(super) const WIDTH: f64 = 1_240.0;
const LISTENER: (f64, f64) = (0.0, 112.0);
const ROUTE: (f64, f64) = (222.0, 126.0);
const LANE: (f64, f64) = (478.0, 182.0);
const CLUSTER: (f64, f64) = (772.0, 126.0);
const ENDPOINT: (f64, f64) = (1_078.0, 162.0);
/// Headings of the columns.
pub(super) const HEADS: [(f64, &str); 5] = [
    (LISTENER.0, "Listeners"),
    (ROUTE.0, "Routes"),
    (LANE.0, "Filters"),
    (CLUSTER.0, "Clusters"),
    (ENDPOINT.0, "Endpoints"),
];

const TOP: f64 = 26.0;
/// A box of two lines.
const TALL: f64 = 34.0;
/// A box of one line.
const LOW: f64 = 20.0;
/// Between boxes of a column, and between endpoints of a cluster.
const GAP: f64 = 12.0;
const NEAR: f64 = 3.0;
/// Between filters of a lane: room for the numbers of their edge.
const STEP: f64 = 19.0;
const LANE_HEAD: f64 = 24.0;
/// Between the numbers of edges that end at the same box.
const PORT: f64 = 28.0;

/// Most boxes of a column.
const COLUMN: usize = 60;
/// Most edges.
const WIRES: usize = 1_000;
/// Most endpoints of a cluster; the rest is one box.
const ENDPOINTS: usize = 4;

/// A box.
#[derive(Debug)]
pub(super) struct Place<'a> {
    pub node: Cow<'a, Node>,
    pub x: f64,
    pub y: f64,
    pub width: f64,
    pub height: f64,
    /// It stands for so many others.
    pub more: Option<usize>,
}

/// A chain of filters.
#[derive(Debug)]
pub(super) struct Lane<'a> {
    pub name: &'a str,
    pub x: f64,
    pub y: f64,
    pub width: f64,
    pub height: f64,
}

/// An edge.
#[derive(Debug)]
pub(super) struct Wire<'a> {
    pub edge: Cow<'a, Edge>,
    pub from: (f64, f64),
    pub to: (f64, f64),
    /// Where its numbers begin; the middle of their lines.
    pub label: (f64, f64),
    pub shape: Shape,
}

/// How an edge is drawn, and where its numbers stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// From one filter down to the next, numbers beside it.
    Down,
    /// Numbers where it begins, above and below the line: many end at the same box.
    NumbersFirst,
    /// Numbers where it ends, above and below the line.
    NumbersLast,
    /// It ends where its numbers begin: a line through one line of text would strike it out.
    UpToNumbers,
}

/// All of it.
#[derive(Debug)]
pub(super) struct Drawing<'a> {
    pub places: Vec<Place<'a>>,
    pub lanes: Vec<Lane<'a>>,
    pub wires: Vec<Wire<'a>>,
    pub height: f64,
    pub left_out: usize,
}

/// Endpoints of a cluster that get boxes.
struct Group<'a> {
    cluster: &'a Node,
    shown: Vec<&'a Node>,
    /// Those that share one.
    merged: Vec<&'a Node>,
    height: f64,
}

pub(super) fn lay_out(flow: &Flow) -> Drawing<'_> {
    let column = |column| flow.nodes.iter().filter(move |node| node.column == column);
    let clusters: Vec<_> = column(Column::Cluster).take(COLUMN).collect();
    let routes: Vec<_> = column(Column::Route).take(COLUMN).collect();
    let listeners: Vec<_> = column(Column::Listener).take(COLUMN).collect();
    let groups: Vec<Group<'_>> = clusters.iter().map(|cluster| group(flow, cluster)).collect();
    let lanes = chains(flow);

    // The tallest column decides; the others are spread over the same height.
    let stack = |heights: &[f64]| heights.iter().sum::<f64>() + GAP * heights.len().saturating_sub(1) as f64;
    let group_heights: Vec<f64> = groups.iter().map(|group| group.height).collect();
    let lane_heights: Vec<f64> = lanes.iter().map(|(_, filters)| lane_height(filters.len())).collect();
    let route_heights = vec![TALL; routes.len()];
    let listener_heights = vec![TALL; listeners.len()];
    let inner = [&group_heights, &lane_heights, &route_heights, &listener_heights]
        .into_iter()
        .map(|heights| stack(heights))
        .fold(TALL, f64::max);
    let spread = |heights: &[f64]| spread(heights, inner);

    let mut drawing = Drawing {
        places: Vec::new(),
        lanes: Vec::new(),
        wires: Vec::new(),
        height: (TOP + inner + 8.0).ceil(),
        left_out: flow.nodes.len(),
    };
    for (node, y) in listeners.iter().zip(spread(&listener_heights)) {
        drawing.places.push(put(Cow::Borrowed(node), LISTENER, y, TALL, None));
    }
    for (node, y) in routes.iter().zip(spread(&route_heights)) {
        drawing.places.push(put(Cow::Borrowed(node), ROUTE, y, TALL, None));
    }
    for ((name, filters), y) in lanes.iter().zip(spread(&lane_heights)) {
        drawing.lanes.push(Lane { name, x: LANE.0, y, width: LANE.1, height: lane_height(filters.len()) });
        for (place, filter) in filters.iter().enumerate() {
            let y = y + LANE_HEAD + place as f64 * (TALL + STEP);
            drawing.places.push(put(Cow::Borrowed(filter), (LANE.0 + 8.0, LANE.1 - 16.0), y, TALL, None));
        }
    }
    let mut extra = Vec::new();
    for (group, y) in groups.iter().zip(spread(&group_heights)) {
        let boxes = group.shown.len() + usize::from(!group.merged.is_empty());
        let middle = y + (group.height - TALL) / 2.0;
        drawing.places.push(put(Cow::Borrowed(group.cluster), CLUSTER, middle, TALL, None));
        let all = boxes as f64 * (LOW + NEAR) - NEAR;
        let mut y = y + (group.height - all).max(0.0) / 2.0;
        for node in group.shown.iter().copied() {
            drawing.places.push(put(Cow::Borrowed(node), ENDPOINT, y, LOW, None));
            y += LOW + NEAR;
        }
        if !group.merged.is_empty() {
            let (node, edge) = merge(flow, group);
            drawing.places.push(put(Cow::Owned(node), ENDPOINT, y, LOW, Some(group.merged.len())));
            drawing.left_out = drawing.left_out.saturating_sub(group.merged.len());
            extra.push(edge);
        }
    }
    let drawn = drawing.places.iter().filter(|place| place.more.is_none()).count();
    drawing.left_out = drawing.left_out.saturating_sub(drawn);
    drawing.wires = wires(flow, extra, &drawing.places);
    drawing
}

fn put(node: Cow<'_, Node>, (x, width): (f64, f64), y: f64, height: f64, more: Option<usize>) -> Place<'_> {
    Place { node, x, y, width, height, more }
}

fn lane_height(filters: usize) -> f64 {
    LANE_HEAD + filters as f64 * (TALL + STEP) - STEP + 8.0
}

/// Tops of boxes that are spread evenly.
fn spread(heights: &[f64], inner: f64) -> Vec<f64> {
    let all: f64 = heights.iter().sum();
    let spaces = heights.len() as f64;
    let space = if heights.is_empty() { 0.0 } else { ((inner - all) / spaces).max(0.0) };
    let mut y = TOP + space / 2.0;
    let each = heights.iter().map(|height| {
        let top = y;
        y += height + space;
        top
    });
    each.collect()
}

/// Chains in the order in which they appear.
fn chains(flow: &Flow) -> Vec<(&str, Vec<&Node>)> {
    let mut chains: Vec<(&str, Vec<&Node>)> = Vec::new();
    for node in flow.nodes.iter().filter(|node| node.column == Column::Filter).take(COLUMN) {
        match chains.iter_mut().find(|(name, _)| *name == node.group) {
            Some((_, filters)) => filters.push(node),
            None => chains.push((&node.group, vec![node])),
        }
    }
    chains
}

fn group<'a>(flow: &'a Flow, cluster: &'a Node) -> Group<'a> {
    let mut shown: Vec<&Node> =
        flow.nodes.iter().filter(|node| node.column == Column::Endpoint && node.group == cluster.name).collect();
    let mut merged = Vec::new();
    if shown.len() > ENDPOINTS + 1 {
        // Troubles first; a stable sort keeps the order of the rest.
        shown.sort_by_key(|node| node.health.unwrap_or(Health::Healthy));
        merged = shown.split_off(ENDPOINTS);
    }
    let boxes = shown.len() + usize::from(!merged.is_empty());
    let ins = flow.edges.iter().filter(|edge| edge.to == cluster.id).count();
    let height = (boxes as f64 * (LOW + NEAR) - NEAR).max(TALL).max(ins.min(8) as f64 * PORT);
    Group { cluster, shown, merged, height }
}

/// One box for endpoints without one of their own, and its edge.
fn merge(flow: &Flow, group: &Group<'_>) -> (Node, Edge) {
    let edges = flow
        .edges
        .iter()
        .filter(|edge| edge.from == group.cluster.id && group.merged.iter().any(|node| node.id == edge.to));
    let (mut rate, mut failed, mut slow) = (0.0, 0.0, 0.0);
    for edge in edges {
        let one = edge.rate.unwrap_or_default();
        rate += one;
        failed += one * edge.errors.unwrap_or_default();
        slow += one * edge.added.unwrap_or_default();
    }
    let id = format!("{}\u{0}more", group.cluster.id);
    let node = Node {
        id: id.clone(),
        column: Column::Endpoint,
        name: format!("{} more", group.merged.len()),
        detail: String::new(),
        group: group.cluster.name.clone(),
        health: group.merged.iter().filter_map(|node| node.health).min(),
        provenance: Provenance::default(),
    };
    let of_rate = |sum: f64| (rate > 0.0).then(|| sum / rate);
    let edge = Edge {
        from: group.cluster.id.clone(),
        to: id,
        rate: Some(rate),
        errors: of_rate(failed),
        added: of_rate(slow),
    };
    (node, edge)
}

fn wires<'a>(flow: &'a Flow, extra: Vec<Edge>, places: &[Place<'_>]) -> Vec<Wire<'a>> {
    let at: BTreeMap<&str, &Place<'_>> = places.iter().map(|place| (place.node.id.as_str(), place)).collect();
    let edges = flow.edges.iter().map(Cow::Borrowed).chain(extra.into_iter().map(Cow::Owned));
    let drawn: Vec<(Cow<'a, Edge>, &Place<'_>, &Place<'_>)> = edges
        .filter_map(|edge| {
            let (from, to) = (*at.get(edge.from.as_str())?, *at.get(edge.to.as_str())?);
            Some((edge, from, to))
        })
        .take(WIRES)
        .collect();
    let mut ends: BTreeMap<String, usize> = BTreeMap::new();
    for (_, from, to) in &drawn {
        if is_between_columns(from, to) {
            *ends.entry(to.node.id.clone()).or_default() += 1;
        }
    }
    let mut used: BTreeMap<String, usize> = BTreeMap::new();
    let each = drawn.into_iter().map(|(edge, from, to)| {
        let right = (from.x + from.width, from.y + from.height / 2.0);
        if !is_between_columns(from, to) {
            let x = from.x + 16.0;
            let (top, bottom) = (from.y + from.height, to.y);
            return Wire {
                edge,
                from: (x, top),
                to: (x, bottom),
                label: (x + 9.0, f64::midpoint(top, bottom)),
                shape: Shape::Down,
            };
        }
        let id = &to.node.id;
        let all = ends.get(id).copied().unwrap_or(1);
        let mine = used.entry(id.clone()).or_default();
        let port = *mine as f64 - (all - 1) as f64 / 2.0;
        *mine += 1;
        // Into a lane come edges of many routes; their numbers stand where they begin.
        let into_lane = to.node.column == Column::Filter;
        let spread = if into_lane { (TALL - 8.0) / all.max(1) as f64 } else { PORT };
        let left = (to.x, to.y + to.height / 2.0 + port * spread.min(PORT));
        let shape = match to.height {
            _ if into_lane => Shape::NumbersFirst,
            height if height < TALL => Shape::UpToNumbers,
            _ => Shape::NumbersLast,
        };
        let label = match shape {
            Shape::NumbersFirst => (right.0 + 6.0, right.1),
            Shape::UpToNumbers => (left.0 - 148.0, left.1),
            _ => (left.0 - 95.0, left.1),
        };
        let to = if shape == Shape::UpToNumbers { (label.0 - 4.0, left.1) } else { left };
        Wire { edge, from: right, to, label, shape }
    });
    each.collect()
}

fn is_between_columns(from: &Place<'_>, to: &Place<'_>) -> bool {
    from.node.column != to.node.column
}
