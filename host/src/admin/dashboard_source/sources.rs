//! Who says what there is.

use super::{Host, provenance};
use crate::{
    admin::{
        board::time,
        dashboard::model::{ControlPlane, Discovery, LastUsed, Resources, Sources},
    },
    config::resolved::Origin,
    xds::status::Known,
};

pub(super) fn sources(host: &Host<'_>) -> Sources {
    let config = &host.snapshot.config;
    let planes = host.admin.keeper.control_planes.states();
    let control_planes = planes.iter().map(|(name, status)| {
        let origin = config.control_planes.get(name).map(|plane| &plane.origin);
        plane(name, status.known(), origin)
    });
    let discoveries = host.snapshot.clusters.iter().filter_map(|(name, cluster)| {
        let (source, place) = cluster.settings.discovery.as_ref()?.words();
        let state = cluster.found.state();
        Some(Discovery {
            cluster: name.clone(),
            source: source.to_owned(),
            place,
            hosts: state.hosts,
            updated: state.updated.map(time),
            answered: state.answered.map(time),
            from_disk: state.from_disk,
            updates: state.updates,
            failures: state.empty + state.malformed + state.unreachable,
            version: state.version,
            failure: state.failure,
            provenance: provenance(&cluster.settings.origin, LastUsed::Unknown),
        })
    });
    Sources { control_planes: control_planes.collect(), discoveries: discoveries.collect() }
}

fn plane(name: &str, known: Known, origin: Option<&Origin>) -> ControlPlane {
    let named = |(kind, name): (&'static str, String)| format!("{kind} {name}");
    let resources = known.resources.into_iter();
    ControlPlane {
        name: name.to_owned(),
        address: known.address,
        connected: known.connected.map(time),
        why_not: known.why_not,
        updated: known.updated.map(time),
        from_disk: known.from_disk,
        updates: known.updates,
        resources: resources
            .map(|(kind, (count, version))| Resources { kind: kind.to_owned(), count, version })
            .collect(),
        waiting: known.waiting.into_iter().map(named).collect(),
        forgotten: known.forgotten.into_iter().map(named).collect(),
        refused: known.refused.into_iter().map(|(kind, name, why)| (format!("{kind} {name}"), why)).collect(),
        provenance: origin.map_or_else(Default::default, |origin| provenance(origin, LastUsed::Unknown)),
    }
}

/// Those that say nothing now, or something that is refused. Looks at no resource: every page asks.
pub(super) fn failing(host: &Host<'_>) -> usize {
    let planes = host.admin.keeper.control_planes.states();
    let planes = planes.values().filter(|one| !one.is_connected() || one.refused_now() > 0 || one.forgotten() > 0);
    let found = host.snapshot.clusters.values().filter(|cluster| cluster.settings.discovery.is_some());
    planes.count() + found.filter(|cluster| cluster.found.fails()).count()
}
