//! All endpoints, as dense as it gets, with what an operator can do about them.

use maud::{Markup, html};

use super::{Context, Page, Region, Section, widget};
use crate::admin::dashboard::{
    action::{self, Action},
    link,
    model::{CheckOutcome, ClusterEndpoints, EndpointRow, Errors, Health},
    units,
};

/// Endpoints that are shown; those beyond it are found by cluster, health or text.
const MOST: usize = 500;
/// Clusters that can be chosen from the list; others by their address.
const OPTIONS: usize = 1_000;

pub(super) fn page(context: &Context<'_>) -> Page {
    let query = context.query;
    let chosen = Some(query.value("cluster")).filter(|name| !name.is_empty());
    let names = context.source.clusters();
    let health = Health::of_word(query.value("health"));
    let text = query.value("q").to_lowercase();
    let mut clusters = context.source.endpoints(chosen);
    let count = |health| -> usize {
        let each = clusters.iter().flat_map(|cluster| &cluster.endpoints);
        each.filter(|endpoint| endpoint.health == health).count()
    };
    let counts = Health::ALL.map(|health| (health, count(health)));
    for cluster in &mut clusters {
        let of_cluster = text.is_empty() || cluster.name.to_lowercase().contains(&text);
        cluster.endpoints.retain(|endpoint| {
            health.is_none_or(|health| endpoint.health == health) && (of_cluster || mentions(endpoint, &text))
        });
        sort(context, &mut cluster.endpoints);
    }
    clusters.retain(|cluster| !cluster.endpoints.is_empty() || (health.is_none() && text.is_empty()));
    let found: usize = clusters.iter().map(|cluster| cluster.endpoints.len()).sum();
    let mut room = MOST;
    for cluster in &mut clusters {
        cluster.endpoints.truncate(room);
        room -= cluster.endpoints.len();
    }
    clusters.retain(|cluster| room > 0 || !cluster.endpoints.is_empty());
    let regions = vec![
        Region { id: "states", html: states(context, &counts) },
        Region { id: "table", html: table(context, &clusters, found) },
    ];
    let tools = Some(filter(context, &names));
    Page { title: "Endpoints".to_owned(), section: Section::Endpoints, tools, regions, live: true }
}

fn mentions(endpoint: &EndpointRow, text: &str) -> bool {
    let texts = [&endpoint.address, &endpoint.zone].into_iter().chain(&endpoint.reasons);
    texts.into_iter().any(|one| one.to_lowercase().contains(text))
}

#[expect(clippy::cast_precision_loss, reason = "to sort by")]
fn sort(context: &Context<'_>, rows: &mut [EndpointRow]) {
    let sort = widget::Sort::of(context.query);
    let whole = |number: Option<u64>| number.map(|number| number as f64);
    match sort.key {
        "address" => sort.by_text(rows, |row| row.address.clone()),
        "state" => sort.by_number(rows, |row| Some(f64::from(row.health as u8))),
        "age" => sort.by_number(rows, |row| row.since.map(|since| context.now.seconds_since(since))),
        "weight" => sort.by_number(rows, |row| Some(f64::from(row.weight))),
        "rate" => sort.by_number(rows, |row| row.rate),
        "active" => sort.by_number(rows, |row| whole(row.active)),
        "requests" => sort.by_number(rows, |row| whole(row.requests)),
        "p50" => sort.by_number(rows, |row| row.p50),
        "p99" => sort.by_number(rows, |row| row.p99),
        "errors" => sort.by_number(rows, |row| whole(row.errors.map(Errors::total))),
        _ => {}
    }
}

fn filter(context: &Context<'_>, names: &[String]) -> Markup {
    let query = context.query;
    html! {
        form.filter action=(link::page("endpoints")) data-soft="" {
            label { "Cluster "
                select name="cluster" {
                    option value="" { "all" }
                    @for name in names.iter().take(OPTIONS) { option value=(name) selected[name == query.value("cluster")] { (name) } }
                }
            }
            label { "State "
                select name="health" {
                    option value="" { "any" }
                    @for health in Health::ALL { option value=(health.word()) selected[health.word() == query.value("health")] { (health.word()) } }
                }
            }
            label { span.hidden { "Address, zone or reason" } input.narrow name="q" type="search" maxlength="200" data-filter="" placeholder="address, zone, reason" value=(query.value("q")); }
            @if !query.value("sort").is_empty() { input type="hidden" name="sort" value=(query.value("sort")); }
            button.unscripted type="submit" { "Filter" }
        }
    }
}

fn states(context: &Context<'_>, counts: &[(Health, usize); 4]) -> Markup {
    let path = link::page("endpoints");
    html! {
        ul.states aria-label="Endpoints by state" {
            @for (health, count) in counts.iter().rev() {
                @let word = health.word();
                @let is_chosen = context.query.value("health") == word;
                li.zero[*count == 0] {
                    a href={ (path) (context.query.with("health", if is_chosen { "" } else { word })) } data-soft="" aria-current=[is_chosen.then_some("true")] {
                        (widget::state(widget::health_tone(*health), word)) " " b.num { (count) }
                    }
                }
            }
        }
    }
}

fn table(context: &Context<'_>, clusters: &[ClusterEndpoints], found: usize) -> Markup {
    let path = link::page("endpoints");
    let head = |key, label, class| widget::head(context, &path, key, label, class);
    let group = |label: &str, span: &str| html! { th.over scope="colgroup" colspan=(span) { (label) } };
    let content = html! {
        caption.hidden { "Endpoints by cluster" }
        thead {
            tr.overs { td.over colspan="4" {} (group("Requests", "3")) (group("Latency", "2")) (group("Errors", "4")) (group("Balancing", "2")) td.over colspan="3" {} }
            tr {
                (head("address", "Endpoint", "")) (head("state", "State", "")) (head("age", "Age", "num"))
                th scope="col" { "Last check" }
                (head("rate", "Rate", "num")) (head("active", "Active", "num")) (head("requests", "Total", "num"))
                (head("p50", "p50", "num")) (head("p99", "p99", "num"))
                (head("errors", "Conn", "num")) th.num scope="col" { "Time" } th.num scope="col" { "Reset" } th.num scope="col" { "5xx" }
                (head("weight", "Weight", "num")) th.num scope="col" { "Conns" }
                th scope="col" { "Defined" } th scope="col" { "Used" }
                th scope="col" { span.hidden { "Action" } }
            }
        }
        @for cluster in clusters { (body(context, cluster)) }
    };
    html! {
        h2.hidden { "Endpoints" }
        @if clusters.is_empty() {
            (widget::nothing("No endpoint fits."))
        } @else {
            (widget::table("Endpoints", "dense endpoints", &content))
        }
        @if found > MOST { p.muted { "The first " (MOST) " of " (units::count(found as u64)) " endpoints. Choose a cluster or a state to see others." } }
    }
}

fn body(context: &Context<'_>, cluster: &ClusterEndpoints) -> Markup {
    let healthy = cluster.endpoints.iter().filter(|endpoint| endpoint.health == Health::Healthy).count();
    html! {
        tbody data-key=(cluster.name) {
            tr.group {
                th colspan="18" scope="rowgroup" {
                    div.line {
                        a href=(link::service(crate::admin::dashboard::model::ServiceKind::Cluster, &cluster.name)) { (cluster.name) }
                        span.detail { (healthy) "/" (cluster.endpoints.len()) " healthy · " (cluster.detail) @if !cluster.checked.is_empty() { " · " (cluster.checked) } }
                        span.detail.limits {
                            "conns " b.num { (units::count_or_unknown(cluster.connections)) } "/" (units::count_or_unknown(cluster.connections_limit))
                            " · waiting " b.num { (units::count_or_unknown(cluster.pending)) }
                            " · retries " b.num { (units::count_or_unknown(cluster.retries)) }
                            " · refused " (widget::trouble(cluster.overflows))
                            " · no endpoint " (widget::trouble(cluster.no_endpoint))
                        }
                        span.detail { (widget::provenance(&cluster.provenance, context.now)) }
                    }
                }
            }
            @for endpoint in &cluster.endpoints { (row(context, cluster, endpoint)) }
        }
    }
}

fn row(context: &Context<'_>, whole: &ClusterEndpoints, row: &EndpointRow) -> Markup {
    let cluster = whole.name.as_str();
    let tone = widget::health_tone(row.health);
    let errors = |which: fn(Errors) -> u64| row.errors.map(which);
    html! {
        tr class=(tone) data-key=(row.address) {
            th scope="row" { span.address { (row.address) } span.detail { (row.zone) @if row.priority > 0 { " P" (row.priority) } } }
            td.health { (widget::state(tone, row.health.word())) }
            td.num { (widget::short_age(row.since, context.now)) }
            td.check {
                @if !row.reasons.is_empty() { span.reason { (row.reasons.join(", ")) } }
                @if row.weight_percent != 100 { span.reason { "counts with " (row.weight_percent) "% of its weight" } }
                @match &row.check {
                    Some(check) => {
                        span.bad-text[check.outcome == CheckOutcome::Failed] { (check.finding) }
                        span.detail { @if check.took.is_some() { (units::duration(check.took)) ", " } (widget::short_age(Some(check.at), context.now)) }
                    },
                    None if whole.checked.is_empty() => { span.muted { "not checked" } },
                    None if row.reasons.is_empty() => { span.muted { "nothing wrong" } },
                    None => {},
                }
            }
            td.num { (units::rate(row.rate)) }
            td.num { (units::count_or_unknown(row.active)) }
            td.num { (units::count_or_unknown(row.requests)) }
            td.num { (units::duration(row.p50)) }
            td.num { (units::duration(row.p99)) }
            td.num { (widget::share_of_trouble(errors(|errors| errors.connect), row.requests)) }
            td.num { (widget::share_of_trouble(errors(|errors| errors.timeout), row.requests)) }
            td.num { (widget::share_of_trouble(errors(|errors| errors.reset), row.requests)) }
            td.num { (widget::share_of_trouble(errors(|errors| errors.status_5xx), row.requests)) }
            td.num { (weight(context, cluster, row)) }
            td.num { (units::count_or_unknown(row.connections)) }
            td { (widget::origin_within(&row.provenance, &whole.provenance)) }
            td { (widget::short_used(&row.provenance, context.now)) }
            td.actions {
                @if !context.source.can_change_endpoints() {
                } @else if row.drained {
                    (widget::button(context, &Action::Restore { cluster: cluster.to_owned(), address: row.address.clone() }, "Restore", "small"))
                } @else {
                    (widget::button(context, &Action::Drain { cluster: cluster.to_owned(), address: row.address.clone() }, "Drain", "small"))
                }
            }
        }
    }
}

/// A field with the weight. Enter sets it.
fn weight(context: &Context<'_>, cluster: &str, row: &EndpointRow) -> Markup {
    let may = context.viewer.csrf.is_some() && context.source.can_change_endpoints();
    html! {
        @if may {
            form.act.weight method="post" action=(action::PATH) {
                input type="hidden" name="csrf" value=[context.viewer.csrf.as_deref()];
                input type="hidden" name="action" value="weight";
                input type="hidden" name="cluster" value=(cluster);
                input type="hidden" name="address" value=(row.address);
                input.number name="weight" type="text" inputmode="numeric" pattern="[0-9]{1,5}" maxlength="5" required
                    autocomplete="off" aria-label={ "Weight of " (row.address) } value=(row.weight);
                button.small.hidden-until-needed type="submit" { "Set" }
            }
        } @else {
            (row.weight)
        }
    }
}
