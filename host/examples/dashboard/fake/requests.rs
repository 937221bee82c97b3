//! Requests as they end, and the way that one would take.

use fyke::admin::dashboard::model::{
    Explanation, Finding, Question, Step, StepKind, Subject, Tap, TapEntry, TapFilter, Verdict,
};

use super::{
    catalogue::{CLUSTERS, LISTENERS, ROUTES},
    world::World,
};

const METHODS: [&str; 5] = ["GET", "GET", "GET", "POST", "HEAD"];

/// Some of the requests of the last second.
pub fn record(world: &mut World) {
    for _ in 0..12 {
        let (place, kind) = (world.random(), world.random());
        let Some((route, listener, path, cluster, _)) = ROUTES.get((place * 8.0) as usize) else { continue };
        let Some(facts) = CLUSTERS.iter().find(|it| it.name == *cluster) else { continue };
        let (status, details) = match kind {
            kind if kind > 0.985 => (503, "upstream_reset_before_response"),
            kind if kind > 0.96 => (429, "rate_limited"),
            kind if kind > 0.93 => (404, "via_upstream"),
            kind if kind > 0.90 => (304, "via_upstream"),
            _ => (200, "via_upstream"),
        };
        let endpoint = world.endpoints.get(cluster).and_then(|all| all.get((kind * 997.0) as usize % all.len().max(1)));
        let endpoint = endpoint.map(|one| one.address.clone()).unwrap_or_default();
        let number = (world.random() * 90_000.0) as u64;
        let took = facts.latency * (0.5 + world.random() * 1.6) * if status == 503 { 9.0 } else { 1.0 };
        let method = METHODS.get((place * 997.0) as usize % METHODS.len()).copied().unwrap_or("GET");
        world.next_id += 1;
        let team = ["blue", "green", "mobile"].get(number as usize % 3).copied().unwrap_or_default();
        world.tapped.push_back(TapEntry {
            id: world.next_id,
            at: world.now,
            listener: (*listener).to_owned(),
            method: method.to_owned(),
            authority: if *listener == "edge" { "api.example.com" } else { "users.internal" }.to_owned(),
            path: format!("{path}/{number}"),
            status,
            details: details.to_owned(),
            duration: took,
            route: (*route).to_owned(),
            cluster: (*cluster).to_owned(),
            endpoint: if status == 429 { String::new() } else { endpoint },
            client: format!("203.0.113.{}:{}", number % 250, 40_000 + number % 20_000),
            received: if method == "POST" { number / 7 } else { 0 },
            sent: number,
            headers: vec![
                ("user-agent".into(), "shop/4.1 (iOS 18.2)".into()),
                ("x-team".into(), team.into()),
                ("x-request-id".into(), format!("{:08x}-{number:05}", world.next_id * 7_919)),
                ("authorization".into(), "***".into()),
            ],
        });
    }
}

pub fn tap(world: &World, filter: &TapFilter, most: usize) -> Tap {
    let mut wanted = world.tapped.iter().rev().filter(|entry| filter.wants(entry));
    let entries: Vec<TapEntry> = wanted.by_ref().take(most).cloned().collect();
    let dropped = wanted.take(700).count() as u64;
    Tap { entries, dropped, seen: Some(12.0), unavailable: None }
}

pub fn explain(question: &Question) -> Explanation {
    let rest = question.url.split_once("://").map_or(question.url.as_str(), |(_, rest)| rest);
    let path = rest.find('/').and_then(|place| rest.get(place..)).unwrap_or("/");
    let wanted = if question.listener.is_empty() { "edge" } else { question.listener.as_str() };
    let mut steps = Vec::new();
    let mut step = |kind, name: &str, finding, why: String, line: u32, subject| {
        steps.push(Step {
            kind,
            name: name.to_owned(),
            finding,
            why,
            origin: Some(format!("proxy.yaml:{line}")),
            subject,
        });
    };
    let invalid = |why: &str| Explanation {
        question: question.clone(),
        verdict: Verdict::Invalid(why.to_owned()),
        steps: Vec::new(),
    };
    if question.url.contains(' ') {
        return invalid("a URL has no spaces; write %20");
    }
    let Some(listener) = LISTENERS.iter().find(|it| it.name == wanted) else {
        return invalid("there is no such listener");
    };
    for other in &LISTENERS {
        let subject = Some(Subject::Listener(other.name.into()));
        if other.name == listener.name {
            step(StepKind::Listener, other.name, Finding::Taken, other.detail.into(), other.line, subject);
        } else {
            step(
                StepKind::Listener,
                other.name,
                Finding::Passed,
                format!("{} is another address", other.detail),
                other.line,
                subject,
            );
        }
    }
    step(StepKind::VirtualHost, "*", Finding::Taken, "matches every host".into(), 57, None);
    let mut found = None;
    for (place, (name, _, prefix, cluster, _)) in ROUTES.iter().enumerate().filter(|(_, it)| it.1 == listener.name) {
        let line = 58 + place as u32 * 2;
        let finding = match found {
            Some(_) => Finding::Unseen,
            None if path.starts_with(prefix) => Finding::Taken,
            None => Finding::Passed,
        };
        let why = match finding {
            Finding::Taken => format!("path_prefix: {prefix}"),
            Finding::Passed => format!("path_prefix: {prefix} is not how {path} begins"),
            Finding::Unseen => "an earlier route matched".to_owned(),
        };
        if finding == Finding::Taken {
            found = Some((*cluster, *name));
        }
        step(StepKind::Route, name, finding, why, line, None);
    }
    let Some((cluster, _)) = found else {
        return Explanation {
            question: question.clone(),
            verdict: Verdict::Reply(404, "route_not_found".into()),
            steps,
        };
    };
    for (place, name) in listener.chain.iter().enumerate() {
        let subject = Some(Subject::Filter((*name).to_owned()));
        step(
            StepKind::Filter,
            name,
            Finding::Taken,
            format!("{} of the chain", place + 1),
            52 + place as u32 * 9,
            subject,
        );
    }
    step(
        StepKind::Cluster,
        cluster,
        Finding::Taken,
        "least_request over healthy endpoints".into(),
        118,
        Some(Subject::Cluster(cluster.to_owned())),
    );
    Explanation { question: question.clone(), verdict: Verdict::Cluster(cluster.to_owned()), steps }
}
