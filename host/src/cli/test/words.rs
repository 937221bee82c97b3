//! What came of tests, for people and for programs.

use serde_json::{Value, json};

use super::Results;
use crate::{
    config::{Origin, resolved::Test},
    dry_run::Verdict,
};

pub(super) fn place(origin: &Origin) -> String {
    format!("{}:{}:{}", origin.file, origin.line, origin.column)
}

/// A line for a test that has passed.
pub(super) fn passed(test: &Test, verdict: &Verdict) -> String {
    format!("ok    {} ({} ms)", test.name, verdict.took.as_millis())
}

/// What was not as expected, and what is known of the request that it was not for.
pub(super) fn details(test: &Test, verdict: &Verdict) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for failure in &verdict.failures {
        let (path, at) = (&failure.path, place(&failure.origin));
        lines.push(format!("{path}: expected {}, got {} ({at})", failure.expected, failure.got));
    }
    let number =
        if test.count > 1 { format!(" to request {} of {}", verdict.number, test.count) } else { String::new() };
    let answer = match &verdict.sent.answer {
        Ok(answer) => format!("{} with {} bytes", answer.status, answer.body.len()),
        Err(error) => format!("none: {error}"),
    };
    lines.push(format!("the answer{number}: {answer}"));
    let Some(report) = &verdict.sent.report else {
        lines.push("the request did not get to any filter".to_owned());
        return lines;
    };
    let outcome = &report.outcome;
    let route = outcome.route.as_ref().map(|route| route.name.as_str()).filter(|name| !name.is_empty());
    let known = [
        route.map(|route| format!("route {route:?}")),
        outcome.cluster.as_ref().map(|cluster| format!("cluster {cluster:?}")),
        (!outcome.details.is_empty()).then(|| format!("response_code_details {:?}", outcome.details)),
    ];
    let known: Vec<String> = known.into_iter().flatten().collect();
    if !known.is_empty() {
        lines.push(known.join(", "));
    }
    for (filter, notes) in &report.notes {
        if notes.is_empty() {
            lines.push(format!("filter {filter}: nothing"));
        }
        lines.extend(notes.iter().map(|note| format!("filter {filter}: {note}")));
    }
    lines
}

/// Those that failed, and how many there are.
pub(super) fn text(results: &Results) -> String {
    let mut text = String::new();
    for (test, verdict) in results.tests.iter().filter(|(_, verdict)| !verdict.passed()) {
        text.push_str(&format!("FAIL  {} ({})\n", test.name, place(&test.origin)));
        for line in details(test, verdict) {
            text.push_str(&format!("      {}\n", line.replace('\n', "\n        ")));
        }
    }
    let (all, failed) = (results.tests.len(), results.failed());
    let noun = if all == 1 { "test" } else { "tests" };
    text.push_str(&format!("{all} {noun}: {} passed, {failed} failed ({} ms)", all - failed, results.took.as_millis()));
    text
}

pub(super) fn json(results: &Results) -> Value {
    let at = |origin: &Origin| json!({ "file": origin.file, "line": origin.line, "column": origin.column });
    let one = |(test, verdict): &(Test, Verdict)| {
        let failures: Vec<Value> = verdict
            .failures
            .iter()
            .map(|failure| {
                json!({
                    "expectation": failure.path,
                    "origin": at(&failure.origin),
                    "expected": failure.expected,
                    "got": failure.got,
                })
            })
            .collect();
        let answer = match &verdict.sent.answer {
            Ok(answer) => json!({ "status": answer.status, "body_bytes": answer.body.len() }),
            Err(error) => json!({ "error": error }),
        };
        let report = verdict.sent.report.as_ref();
        let filters: Vec<Value> = report
            .iter()
            .flat_map(|report| &report.notes)
            .map(|(name, notes)| json!({ "filter": name, "did": notes }))
            .collect();
        let outcome = report.map(|report| &report.outcome);
        json!({
            "name": test.name,
            "origin": at(&test.origin),
            "passed": verdict.passed(),
            "milliseconds": u64::try_from(verdict.took.as_millis()).unwrap_or(u64::MAX),
            "failures": failures,
            "answer": answer,
            "route": outcome.and_then(|outcome| outcome.route.as_ref()).map(|route| &route.name),
            "cluster": outcome.and_then(|outcome| outcome.cluster.as_ref()),
            "response_code_details": outcome.map(|outcome| &outcome.details),
            "filters": filters,
        })
    };
    let failed = results.failed();
    json!({
        "tests": results.tests.iter().map(one).collect::<Vec<_>>(),
        "passed": results.tests.len() - failed,
        "failed": failed,
    })
}
