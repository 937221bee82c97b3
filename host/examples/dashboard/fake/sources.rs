//! Who says what there is.

use fyke::admin::dashboard::model::{ControlPlane, Discovery, LastUsed, Provenance, Resources, Sources, Time};

fn at(line: u32) -> Provenance {
    Provenance { origin: Some(format!("proxy.yaml:{line}")), last_used: LastUsed::Unknown }
}

pub fn sources(now: Time) -> Sources {
    let ago = |seconds: u64| Some(Time(now.0 - seconds * 1_000));
    let resources = |of: &[(&str, usize)]| {
        let one = |(kind, count): &(&str, usize)| Resources {
            kind: (*kind).to_owned(),
            count: *count,
            version: "1841".to_owned(),
        };
        of.iter().map(one).collect()
    };
    let mesh = ControlPlane {
        name: "mesh".to_owned(),
        address: "control.internal:18000".to_owned(),
        connected: ago(9_341),
        why_not: String::new(),
        updated: ago(41),
        from_disk: false,
        updates: 212,
        resources: resources(&[("cluster", 48), ("listener", 2), ("route configuration", 2), ("endpoints", 46)]),
        waiting: Vec::new(),
        forgotten: Vec::new(),
        refused: vec![(
            "cluster legacy".to_owned(),
            "transport_socket: typed_config: envoy.extensions.transport_sockets.alts.v3.Alts has no counterpart"
                .to_owned(),
        )],
        provenance: at(4),
    };
    let canary = ControlPlane {
        name: "canary".to_owned(),
        address: "canary.internal:18000".to_owned(),
        connected: None,
        why_not: "cannot connect: connection refused".to_owned(),
        updated: ago(7_200),
        from_disk: true,
        updates: 3,
        resources: resources(&[("cluster", 1)]),
        refused: Vec::new(),
        provenance: at(5),
        ..mesh.clone()
    };
    let discovery = |cluster: &str, source: &str, place: &str, hosts, failure: &str, line| Discovery {
        cluster: cluster.to_owned(),
        source: source.to_owned(),
        place: place.to_owned(),
        version: if source == "rest" { "\"9f3a\"".to_owned() } else { String::new() },
        hosts,
        updated: ago(3_605),
        answered: ago(if failure.is_empty() { 12 } else { 640 }),
        from_disk: false,
        failure: failure.to_owned(),
        updates: 17,
        failures: if failure.is_empty() { 0 } else { 21 },
        provenance: at(line),
    };
    Sources {
        control_planes: vec![mesh, canary],
        discoveries: vec![
            discovery("payments", "rest", "http://registry.internal/v1/registration/payments", 3, "", 61),
            discovery("catalogue", "dns", "catalogue.internal:8080", 4, "no name server answers", 70),
        ],
    }
}
