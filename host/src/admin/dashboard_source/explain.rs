//! The route tester: what `/v1/explain` says, step by step.

use serde_json::Value;

use super::Host;
use crate::{
    admin::{
        dashboard::model::{Explanation, Finding, Question, Step, StepKind, Subject, Verdict},
        explain,
    },
    config::resolved::{Listener, ListenerProtocol},
    dry_run::Asked,
};

/// Lines of a filter that are shown as steps of their own.
const LINES: usize = 300;

/// Answers. Blocks; one question is answered at a time.
pub(super) fn explain(host: &Host<'_>, question: &Question) -> Explanation {
    let (verdict, steps) = match told(host, question) {
        Ok(told) => (verdict(&told), steps(&told)),
        Err(why) => (Verdict::Invalid(why), Vec::new()),
    };
    Explanation { question: question.clone(), verdict, steps }
}

fn told(host: &Host<'_>, question: &Question) -> Result<Value, String> {
    let asked = asked(&host.snapshot.config.listeners, question)?;
    let runtime = tokio::runtime::Handle::try_current().map_err(|error| error.to_string())?;
    explain::explain(host.admin, &host.snapshot, &asked, &runtime).map_err(|(_, why)| why)
}

/// The question as the dry run takes it. A path alone goes to the first listener that could take it, or to the one that is named.
fn asked(listeners: &[Listener], question: &Question) -> Result<Asked, String> {
    let mut asked = Asked {
        url: question.url.clone(),
        method: Some(question.method.clone()),
        headers: question.headers.clone(),
        listener: Some(question.listener.clone()).filter(|name| !name.is_empty()),
        ..Asked::default()
    };
    if question.url.starts_with('/') {
        let is_it = |listener: &&Listener| match &asked.listener {
            Some(name) => listener.name == *name,
            None => listener.protocol == ListenerProtocol::Http,
        };
        let listener = listeners.iter().find(is_it).ok_or("there is no listener that takes requests")?;
        let tls = listener.tls.is_some() && listener.chains.iter().all(|chain| chain.tls.is_some());
        let host = question.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("host"));
        let host = host.map_or("localhost", |(_, host)| host.as_str());
        asked.url = format!("{}://{host}{}", if tls { "https" } else { "http" }, question.url);
        asked.listener = Some(listener.name.clone());
    }
    Ok(asked)
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn list<'v>(value: &'v Value, key: &str) -> impl Iterator<Item = &'v Value> {
    value.get(key).and_then(Value::as_array).into_iter().flatten()
}

/// What it comes to.
fn verdict(told: &Value) -> Verdict {
    if told.get("listener").is_none_or(Value::is_null) {
        return Verdict::Invalid("no listener takes it; choose one, or write its port".to_owned());
    }
    if told.get("chain").is_none_or(Value::is_null) {
        return Verdict::Invalid("no chain of the listener takes it: the connection is closed".to_owned());
    }
    let answer = told.get("answer").unwrap_or(&Value::Null);
    if let Some(status) = answer.get("status").and_then(Value::as_u64) {
        let details = [text(answer, "by"), text(answer, "response_code_details"), text(answer, "location")];
        let details: Vec<&str> = details.into_iter().filter(|part| !part.is_empty()).collect();
        return Verdict::Reply(u16::try_from(status).unwrap_or(0), details.join(", "));
    }
    match (told.get("cluster").map(|cluster| text(cluster, "name")), answer.get("error")) {
        (Some(name), _) if !name.is_empty() => Verdict::Cluster(name.to_owned()),
        (_, Some(error)) => Verdict::Invalid(error.as_str().unwrap_or("there was no answer").to_owned()),
        _ => Verdict::Invalid("there was no answer".to_owned()),
    }
}

/// What was looked at, from the outside in.
fn steps(told: &Value) -> Vec<Step> {
    let mut steps = Vec::new();
    for (key, name, kind) in [("listeners", "listener", StepKind::Listener), ("chains", "chain", StepKind::Chain)] {
        for one in list(told, key) {
            let name = text(one, name).to_owned();
            let is_taken = one.get("taken").and_then(Value::as_bool).unwrap_or(false);
            let unseen = text(one, "why").starts_with("an earlier one") || text(one, "why").starts_with("another one");
            steps.push(Step {
                kind,
                subject: (kind == StepKind::Listener).then(|| Subject::Listener(name.clone())),
                name,
                finding: match (is_taken, unseen) {
                    (true, _) => Finding::Taken,
                    (false, true) => Finding::Unseen,
                    (false, false) => Finding::Passed,
                },
                why: text(one, "why").to_owned(),
                origin: Some(text(one, "origin").to_owned()).filter(|origin| !origin.is_empty()),
            });
        }
    }
    list(told, "filters").for_each(|filter| of_filter(filter, &mut steps));
    if let Some(route) = told.get("route").filter(|route| !route.is_null()) {
        steps.push(plain(StepKind::Route, text(route, "name"), how(route), None));
    }
    for called in list(told, "called").filter_map(Value::as_str) {
        let subject = Subject::Cluster(called.to_owned());
        steps.push(plain(StepKind::Cluster, called, "called on the way".to_owned(), Some(subject)));
    }
    if let Some(cluster) = told.get("cluster").filter(|cluster| !cluster.is_null()) {
        of_cluster(cluster, &mut steps);
    }
    if let Some(sent) = told.get("sent").filter(|sent| !sent.is_null()) {
        let headers = list(sent, "headers")
            .filter_map(|pair| Some(format!("{}: {}", pair.get(0)?.as_str()?, pair.get(1)?.as_str()?)));
        let why = std::iter::once(format!("{} {}", text(sent, "method"), text(sent, "path"))).chain(headers);
        steps.push(plain(StepKind::Endpoint, "is sent", why.collect::<Vec<_>>().join("; "), None));
    }
    steps
}

fn plain(kind: StepKind, name: &str, why: String, subject: Option<Subject>) -> Step {
    Step { kind, name: name.to_owned(), finding: Finding::Taken, why, origin: None, subject }
}

/// What a filter says and has done. A line about a route, or anything else with a name in quotes, is a step of its own.
fn of_filter(filter: &Value, steps: &mut Vec<Step>) {
    let name = text(filter, "filter");
    let did: Vec<&str> = list(filter, "did").filter_map(Value::as_str).collect();
    let did = if did.is_empty() { "passes it on".to_owned() } else { did.join("; ") };
    steps.push(plain(StepKind::Filter, name, did, Some(Subject::Filter(name.to_owned()))));
    steps.extend(list(filter, "says").filter_map(Value::as_str).take(LINES).map(|line| said(name, line)));
}

fn said(filter: &str, line: &str) -> Step {
    let kinds = [("virtual host \"", StepKind::VirtualHost), ("route \"", StepKind::Route)];
    for (begin, kind) in kinds {
        if let Some((name, rest)) = line.strip_prefix(begin).and_then(|rest| rest.split_once("\" ")) {
            let finding = if rest.starts_with("does not match") { Finding::Passed } else { Finding::Taken };
            let why = rest.strip_prefix("does not match: ").or_else(|| rest.strip_prefix("matches: ")).unwrap_or(rest);
            return Step { kind, name: name.to_owned(), finding, why: why.to_owned(), origin: None, subject: None };
        }
    }
    let finding = if line.ends_with("do not match") { Finding::Passed } else { Finding::Taken };
    Step { finding, ..plain(StepKind::Filter, filter, line.to_owned(), None) }
}

/// How the route is executed.
fn how(route: &Value) -> String {
    let number = |key: &str| route.get(key).and_then(Value::as_u64);
    let mut parts = Vec::new();
    for (key, words) in
        [("timeout_ms", "timeout"), ("idle_timeout_ms", "idle timeout"), ("max_stream_duration_ms", "longest stream")]
    {
        if let Some(milliseconds) = number(key) {
            parts.push(format!("{words} {milliseconds} ms"));
        }
    }
    if let Some(retry) = route.get("retry").filter(|retry| !retry.is_null()) {
        let on: Vec<&str> = list(retry, "on").filter_map(Value::as_str).collect();
        let attempts = retry.get("attempts").and_then(Value::as_u64).unwrap_or_default();
        parts.push(format!("up to {attempts} retries on {}", on.join(", ")));
    }
    let mirrors: Vec<&str> = list(route, "mirror").filter_map(Value::as_str).collect();
    if !mirrors.is_empty() {
        parts.push(format!("mirrored to {}", mirrors.join(", ")));
    }
    if parts.is_empty() { "is executed".to_owned() } else { parts.join(", ") }
}

fn of_cluster(cluster: &Value, steps: &mut Vec<Step>) {
    let name = text(cluster, "name");
    let origin = Some(text(cluster, "origin").to_owned()).filter(|origin| !origin.is_empty());
    let balancer = text(cluster, "load_balancer").to_owned();
    steps.push(Step { origin, ..plain(StepKind::Cluster, name, balancer, Some(Subject::Cluster(name.to_owned()))) });
    for endpoint in list(cluster, "endpoints") {
        let address = text(endpoint, "address");
        let is_eligible = endpoint.get("eligible").and_then(Value::as_bool).unwrap_or(false);
        let reasons: Vec<&str> = list(endpoint, "why_not").filter_map(Value::as_str).collect();
        let weight = endpoint.get("weight").and_then(Value::as_u64).unwrap_or(1);
        let why = if reasons.is_empty() {
            format!("may get it: {}, weight {weight}", text(endpoint, "health"))
        } else {
            reasons.join(", ")
        };
        steps.push(Step {
            finding: if is_eligible { Finding::Taken } else { Finding::Passed },
            ..plain(
                StepKind::Endpoint,
                address,
                why,
                Some(Subject::Endpoint { cluster: name.to_owned(), address: address.to_owned() }),
            )
        });
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::{Format, load_text};

    const TWO: &str = "listeners:\n  t: { address: 127.0.0.1:9000, protocol: tcp, cluster: c }\n  a: { address: 127.0.0.1:8080, cluster: c }\n  b: { address: 127.0.0.1:8081, cluster: c }\nclusters: { c: { endpoints: [] } }\n";

    fn of(url: &str, listener: &str, headers: &[(&str, &str)]) -> Asked {
        let config = load_text("p.yaml", TWO, Format::Yaml, std::path::Path::new("")).unwrap();
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let question = Question { method: "GET".into(), url: url.into(), listener: listener.into(), headers };
        asked(&config.listeners, &question).unwrap()
    }

    #[test]
    fn a_path_goes_to_the_first_listener_of_requests_or_to_the_one_that_is_named() {
        let path = of("/x?y=1", "", &[]);
        assert_eq!((path.url.as_str(), path.listener.as_deref()), ("http://localhost/x?y=1", Some("a")));
        let named = of("/x", "b", &[("Host", "shop.example")]);
        assert_eq!((named.url.as_str(), named.listener.as_deref()), ("http://shop.example/x", Some("b")));
        let whole = of("http://a.example:8080/", "", &[]);
        assert_eq!((whole.url.as_str(), whole.listener), ("http://a.example:8080/", None));
    }

    #[test]
    fn what_a_filter_says_of_routes_are_steps() {
        for (line, kind, finding, name, why) in [
            (
                "route \"a\" does not match: path: expected \"/a\"",
                StepKind::Route,
                Finding::Passed,
                "a",
                "path: expected \"/a\"",
            ),
            ("route \"b c\" matches: to a cluster", StepKind::Route, Finding::Taken, "b c", "to a cluster"),
            ("virtual host \"h\" takes the host x", StepKind::VirtualHost, Finding::Taken, "h", "takes the host x"),
            ("3 more routes do not match", StepKind::Filter, Finding::Passed, "f", "3 more routes do not match"),
            ("anything", StepKind::Filter, Finding::Taken, "f", "anything"),
        ] {
            let step = said("f", line);
            assert_eq!((step.kind, step.finding, step.name.as_str(), step.why.as_str()), (kind, finding, name, why));
        }
    }

    #[test]
    fn what_a_request_comes_to_is_said_whatever_it_is() {
        let listener = json!({ "listener": "web", "chain": "own" });
        let with = |more: Value| {
            let mut told = listener.clone();
            told.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            verdict(&told)
        };
        assert_eq!(with(json!({ "cluster": { "name": "app" }, "answer": null })), Verdict::Cluster("app".into()));
        let reply =
            json!({ "answer": { "status": 403, "by": "authz", "response_code_details": "denied", "location": null } });
        assert_eq!(with(reply), Verdict::Reply(403, "authz, denied".into()));
        assert_eq!(with(json!({ "answer": { "error": "too slow" } })), Verdict::Invalid("too slow".into()));
        assert!(matches!(verdict(&json!({ "listener": null })), Verdict::Invalid(_)));
        assert!(matches!(verdict(&json!({ "listener": "web", "chain": null })), Verdict::Invalid(_)));
    }
}
