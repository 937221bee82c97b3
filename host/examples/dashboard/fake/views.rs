//! The world as the pages want it.

use fyke::admin::dashboard::model::{
    Check, CheckOutcome, ClusterEndpoints, Column, Edge, EndpointRow, Errors, Flow, Health, LastUsed, Node, Overview,
    Process, Provenance, SPARK, Service, ServiceKind, Severity, Subject, Time, Warning,
};

use super::{
    catalogue::{CLUSTERS, FILTERS, LISTENERS, ROUTES},
    world::{Endpoint, World},
};

pub fn provenance(line: u32, used: Option<Time>) -> Provenance {
    Provenance { origin: Some(format!("proxy.yaml:{line}")), last_used: used.map_or(LastUsed::Never, LastUsed::At) }
}

pub fn health(one: &Endpoint) -> Health {
    match one {
        Endpoint { is_down: true, .. } => Health::Unhealthy,
        Endpoint { drained: true, .. } => Health::Draining,
        Endpoint { degraded: true, .. } => Health::Degraded,
        _ => Health::Healthy,
    }
}

fn up(world: &World, cluster: &str) -> (usize, usize) {
    let all = world.endpoints.get(cluster).map(Vec::as_slice).unwrap_or_default();
    (all.iter().filter(|one| !one.is_down).count(), all.len())
}

pub fn process(world: &World) -> Process {
    let down = world.endpoints.values().flatten().filter(|one| one.is_down).count();
    Process {
        version: "0.1.0".to_owned(),
        node: "edge-1".to_owned(),
        pid: 4127,
        generation: world.generation,
        generation_since: world.generation_since,
        started: world.started,
        workers: 8,
        draining: false,
        memory: Some((412 << 20) + (world.now.0 / 1000 % 97) * 60_000),
        memory_limit: Some(2 << 30),
        connections: Some(3_118 + world.now.0 / 1000 % 41),
        connections_limit: Some(20_000),
        endpoints_down: down,
        filters_noteworthy: world.loaded.values().filter(|one| one.canary.is_some()).count(),
        sources_failing: 3,
        certificates_expiring: 2,
    }
}

pub fn services(world: &World, points: usize) -> Vec<Service> {
    let one = |kind, name: &str, detail: &str, line, endpoints| {
        let hour = world.history.last(kind, name, u64::MAX);
        let now = world.history.now(kind, name);
        let used = (hour.requests > 0).then_some(world.now);
        Service {
            kind,
            name: name.to_owned(),
            detail: detail.to_owned(),
            provenance: provenance(line, used),
            now,
            hour,
            trend: world.history.trend(kind, name, points),
            active: Some((now.rate.unwrap_or(0.0) * now.p50.unwrap_or(0.0) * 1.4).ceil() as u64),
            endpoints,
        }
    };
    let listeners = LISTENERS.iter().map(|it| one(ServiceKind::Listener, it.name, it.detail, it.line, None));
    let clusters =
        CLUSTERS.iter().map(|it| one(ServiceKind::Cluster, it.name, it.detail, it.line, Some(up(world, it.name))));
    listeners.chain(clusters).collect()
}

pub fn overview(world: &World) -> Overview {
    let mut warnings = Vec::new();
    for (cluster, all) in &world.endpoints {
        for one in all.iter().filter(|one| one.is_down) {
            let subject = Subject::Endpoint { cluster: (*cluster).to_owned(), address: one.address.clone() };
            let (up, of) = up(world, cluster);
            warnings.push(Warning {
                severity: if up == 0 { Severity::Critical } else { Severity::Warning },
                subject,
                text: format!("of {cluster} is unhealthy: connection refused (os error 111)"),
                help: Some(format!("{up} of {of} endpoints take its requests")),
                since: Some(one.since),
            });
        }
    }
    warnings.push(Warning {
        severity: Severity::Critical,
        subject: Subject::Certificate("legacy.example.com".to_owned()),
        text: "expires in 3 days".to_owned(),
        help: Some("renew tls/legacy.pem, then reload".to_owned()),
        since: None,
    });
    warnings.push(Warning {
        severity: Severity::Warning,
        subject: Subject::Filter("billing".to_owned()),
        text: "trapped 7 times in the last hour: deadline".to_owned(),
        help: Some("a call took more than limits.call_time (10 ms); its streams got 503".to_owned()),
        since: Some(Time(world.started.0 + 40_000_000)),
    });
    warnings.sort_by_key(|warning| std::cmp::Reverse(warning.severity));
    let services = services(world, SPARK);
    Overview { services, services_left_out: 0, warnings, reloads: world.reloads.iter().rev().cloned().collect() }
}

pub fn endpoints(world: &World, chosen: Option<&str>) -> Vec<ClusterEndpoints> {
    let wanted = CLUSTERS.iter().filter(|cluster| chosen.is_none_or(|name| name == cluster.name));
    let each = wanted.map(|cluster| {
        let rate = world.services.get(&(ServiceKind::Cluster, cluster.name)).map_or(0.0, |it| it.rate);
        let all = world.endpoints.get(cluster.name).map(Vec::as_slice).unwrap_or_default();
        let rows: Vec<EndpointRow> = all
            .iter()
            .enumerate()
            .map(|(place, one)| row(world, one, cluster.line + 2 + place as u32, cluster.latency, cluster.checked))
            .collect();
        ClusterEndpoints {
            name: cluster.name.to_owned(),
            detail: cluster.detail.to_owned(),
            checked: cluster.checked.to_owned(),
            provenance: provenance(cluster.line, (rate > 0.0).then_some(world.now)),
            pending: Some(if cluster.name == "payments" { 3 } else { 0 }),
            connections: Some(rows.iter().filter_map(|row| row.connections).sum()),
            connections_limit: Some(1_024),
            retries: Some((rate * 3.1) as u64),
            overflows: Some(if cluster.name == "payments" { 41 } else { 0 }),
            no_endpoint: Some(0),
            endpoints: rows,
        }
    });
    each.collect()
}

fn row(world: &World, one: &Endpoint, line: u32, latency: f64, checked: &str) -> EndpointRow {
    let health = health(one);
    let mut reasons: Vec<String> = Vec::new();
    match health {
        Health::Unhealthy => reasons.push("health check failed".into()),
        Health::Degraded => reasons.push("says that it is degraded".into()),
        Health::Draining => reasons.push("drained by admin (127.0.0.1)".into()),
        Health::Healthy => {}
    }
    let check = (!checked.is_empty()).then(|| Check {
        at: Time(world.now.0 - world.now.0 % 5_000),
        outcome: if one.is_down { CheckOutcome::Failed } else { CheckOutcome::Passed },
        finding: match (one.is_down, checked) {
            (true, _) => "connection refused (os error 111)".into(),
            (_, checked) if checked.starts_with("grpc") => "SERVING".into(),
            (_, checked) if checked.starts_with("tcp") => "connected".into(),
            _ => "HTTP 200".into(),
        },
        took: (!one.is_down).then_some(0.0011 * one.pace),
    });
    let used = (one.requests > 0.0).then_some(if one.rate > 0.0 { world.now } else { one.since });
    let percent = if one.degraded { 40 } else { 100 };
    EndpointRow {
        address: one.address.clone(),
        zone: one.zone.to_owned(),
        priority: 0,
        provenance: provenance(line, used),
        health,
        since: Some(one.since),
        reasons,
        drained: one.drained,
        check,
        weight: one.weight,
        weight_percent: percent,
        connections: Some(if one.is_down { 0 } else { 2 + (one.rate / 4.0) as u64 }),
        active: Some((one.rate * latency * 1.3).round() as u64),
        rate: Some(one.rate),
        requests: Some(one.requests as u64),
        p50: (one.rate > 0.0).then_some(latency * one.pace),
        p99: (one.rate > 0.0).then_some(latency * one.pace * 5.4),
        errors: Some(Errors {
            connect: one.errors[0] as u64,
            timeout: one.errors[1] as u64,
            reset: one.errors[2] as u64,
            status_5xx: one.errors[3] as u64,
        }),
    }
}

pub fn flow(world: &World) -> Flow {
    let mut flow = Flow::default();
    let node = |id: String, column, name: &str, detail: &str, group: &str, health, line| Node {
        id,
        column,
        name: name.to_owned(),
        detail: detail.to_owned(),
        group: group.to_owned(),
        health,
        provenance: provenance(line, Some(world.now)),
    };
    let rate = |kind, name: &'static str| world.services.get(&(kind, name)).map_or(0.0, |it| it.rate);
    for listener in &LISTENERS {
        let own = rate(ServiceKind::Listener, listener.name);
        flow.nodes.push(node(
            format!("l:{}", listener.name),
            Column::Listener,
            listener.name,
            listener.detail,
            "",
            None,
            listener.line,
        ));
        let mut before: Option<String> = None;
        let mut left = own;
        for name in listener.chain {
            let id = format!("f:{}:{name}", listener.name);
            let Some((_, _, version, cpu, line)) = FILTERS.iter().find(|filter| filter.0 == *name) else { continue };
            let canary = world.loaded.get(name).and_then(|it| it.canary.as_ref());
            let detail = match canary {
                Some((next, share, ..)) => format!("{version}, {:.0}% {next}", share * 100.0),
                None => (*version).to_owned(),
            };
            flow.nodes.push(node(id.clone(), Column::Filter, name, &detail, listener.name, None, *line));
            if let Some(from) = before.replace(id.clone()) {
                let (errors, added) = match *name {
                    "rate-limit" => (0.018, 0.000_018),
                    "ext-authz" => (0.004, 0.001_02),
                    _ => (0.0, cpu * 2.2),
                };
                flow.edges.push(Edge { from, to: id, rate: Some(left), errors: Some(errors), added: Some(added) });
                left *= 1.0 - errors;
            }
        }
        let first = listener.chain.first().map(|name| format!("f:{}:{name}", listener.name)).unwrap_or_default();
        let last = before.unwrap_or_default();
        for (line, (name, _, path, cluster, share)) in ROUTES.iter().enumerate().filter(|(_, it)| it.1 == listener.name)
        {
            let id = format!("r:{name}");
            let extra = world.extra.get(cluster).copied().filter(|_| *name == "reports").unwrap_or(0.0);
            let rate = Some(own * share + extra);
            let errors = CLUSTERS.iter().find(|it| it.name == *cluster).map(|it| it.errors);
            flow.nodes.push(node(id.clone(), Column::Route, name, path, listener.name, None, 58 + line as u32 * 2));
            flow.edges.push(Edge {
                from: format!("l:{}", listener.name),
                to: id.clone(),
                rate,
                errors,
                added: Some(0.000_004),
            });
            flow.edges.push(Edge { from: id, to: first.clone(), rate, errors: Some(0.0), added: Some(0.000_005) });
            let added = CLUSTERS.iter().find(|it| it.name == *cluster).map(|it| it.latency);
            flow.edges.push(Edge { from: last.clone(), to: format!("c:{cluster}"), rate, errors, added });
        }
    }
    for cluster in &CLUSTERS {
        let (up, all) = up(world, cluster.name);
        let state = if up == all {
            Health::Healthy
        } else if up == 0 {
            Health::Unhealthy
        } else {
            Health::Degraded
        };
        flow.nodes.push(node(
            format!("c:{}", cluster.name),
            Column::Cluster,
            cluster.name,
            cluster.detail,
            "",
            Some(state),
            cluster.line,
        ));
        for (place, one) in world.endpoints.get(cluster.name).into_iter().flatten().enumerate() {
            let id = format!("e:{}:{}", cluster.name, one.address);
            flow.nodes.push(node(
                id.clone(),
                Column::Endpoint,
                &one.address,
                "",
                cluster.name,
                Some(health(one)),
                cluster.line + 2 + place as u32,
            ));
            flow.edges.push(Edge {
                from: format!("c:{}", cluster.name),
                to: id,
                rate: Some(one.rate),
                errors: (one.rate > 0.0).then_some(cluster.errors),
                added: (one.rate > 0.0).then_some(cluster.latency * one.pace),
            });
        }
    }
    flow
}
