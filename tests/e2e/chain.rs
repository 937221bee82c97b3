//! Configuration of guests.

use crate::guests;

/// The official guest with its steps, and more settings of the filter (each followed by a comma).
pub fn official(steps: &str, more: &str) -> String {
    format!("{{ {more}allow: {{ shared_data: true }}, module: {:?}, config: {steps:?} }}", guests::OFFICIAL)
}

/// The official guest where it may call clusters.
pub fn calling(steps: &str, clusters: &str, more: &str) -> String {
    format!(
        "{{ {more}allow: {{ shared_data: true, clusters: [{clusters}] }}, module: {:?}, config: {steps:?} }}",
        guests::OFFICIAL
    )
}

/// The guest that breaks, with its order and more settings.
pub fn misbehave(order: &str, more: &str) -> String {
    format!("{{ {more}module: {:?}, config: {order:?} }}", guests::MISBEHAVE)
}

/// A listener with these filters, outermost first, everything to one upstream.
pub fn chain(upstream: std::net::SocketAddr, filters: &[(&str, String)]) -> String {
    let names: Vec<_> = filters.iter().map(|(name, _)| *name).collect();
    let mut yaml = format!(
        "listeners:\n  web: {{ address: '127.0.0.1:0', filters: [{}], cluster: app }}\nfilters:\n",
        names.join(", ")
    );
    for (name, filter) in filters {
        yaml.push_str(&format!("  {name}: {filter}\n"));
    }
    yaml + &format!("clusters:\n  app: {{ endpoints: ['{upstream}'] }}\n")
}
