//! Whether what came is what was expected.

use std::collections::BTreeMap;

use http::HeaderMap;

use super::{
    client::Answer,
    run::Sent,
    stand_in::{Received, StandIns},
};
use crate::{
    config::{
        Origin,
        resolved::{Expectation, Expected, HeaderCondition, Seen},
    },
    wasm::tap::Outcome,
};

/// Longest text that is shown of what came.
const SHOWN: usize = 400;

/// An expectation that was not met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Which: `headers[0]`.
    pub path: String,
    /// Where it was written.
    pub origin: Origin,
    /// What was expected.
    pub expected: String,
    /// What came.
    pub got: String,
}

/// What became of one of a test's requests that was not as expected in some point. Shares are another matter: [`shares`].
pub(super) fn judge(expectations: &[Expectation], sent: &Sent, stand_ins: &StandIns) -> Vec<Failure> {
    let no_outcome = Outcome::default();
    let outcome = sent.report.as_ref().map_or(&no_outcome, |report| &report.outcome);
    let mut failures = Vec::new();
    for expectation in expectations {
        let missed = match &sent.answer {
            Ok(answer) => of_answer(&expectation.what, answer),
            Err(error) => of_nothing(&expectation.what, error),
        };
        let missed = missed
            .or_else(|| of_outcome(&expectation.what, outcome))
            .or_else(|| of_upstream(&expectation.what, outcome, stand_ins));
        if let Some((expected, got)) = missed {
            let (path, origin) = (expectation.path.clone(), expectation.origin.clone());
            failures.push(Failure { path, origin, expected, got });
        }
    }
    failures
}

/// Whether clusters got their shares of so many requests.
pub(super) fn shares(expectations: &[Expectation], got: &BTreeMap<String, u32>, count: u32) -> Vec<Failure> {
    let mut failures = Vec::new();
    for expectation in expectations {
        let Expected::Shares(wanted, tolerance) = &expectation.what else { continue };
        for (cluster, share) in wanted {
            let real = f64::from(got.get(cluster).copied().unwrap_or(0)) * 100.0 / f64::from(count.max(1));
            if (real - share).abs() > *tolerance {
                failures.push(Failure {
                    path: format!("{}.{cluster}", expectation.path),
                    origin: expectation.origin.clone(),
                    expected: format!("{share}%, give or take {tolerance}%"),
                    got: format!("{real:.1}% of {count} requests"),
                });
            }
        }
    }
    failures
}

type Missed = Option<(String, String)>;

/// What was expected, and what came in its place.
fn unless(holds: bool, expected: impl ToString, got: impl FnOnce() -> String) -> Missed {
    (!holds).then(|| (expected.to_string(), got()))
}

fn of_answer(expected: &Expected, answer: &Answer) -> Missed {
    match expected {
        Expected::Status(condition) => unless(condition.holds(answer.status), condition, || answer.status.to_string()),
        Expected::Header(condition) => of_header(condition, &answer.headers),
        Expected::Body(condition) => {
            let body = String::from_utf8_lossy(&answer.body);
            unless(condition.holds(Some(&body)), condition, || shown(Some(&body)))
        }
        _ => None,
    }
}

/// Without an answer all that is expected of one is missed.
fn of_nothing(expected: &Expected, error: &str) -> Missed {
    match expected {
        Expected::Status(condition) => Some((condition.to_string(), error.to_owned())),
        Expected::Header(condition) => Some((condition.condition.to_string(), error.to_owned())),
        Expected::Body(condition) => Some((condition.to_string(), error.to_owned())),
        _ => None,
    }
}

fn of_outcome(expected: &Expected, outcome: &Outcome) -> Missed {
    match expected {
        Expected::Route(condition) => {
            let route = outcome.route.as_ref().map(|route| route.name.as_str());
            unless(condition.holds(route), condition, || shown(route))
        }
        Expected::Cluster(wanted) => {
            let cluster = outcome.cluster.as_deref();
            unless(cluster == Some(wanted), format!("{wanted:?}"), || shown(cluster))
        }
        Expected::Details(condition) => {
            let details = Some(outcome.details.as_str());
            unless(condition.holds(details), condition, || shown(details))
        }
        Expected::RepliedBy(wanted) => {
            let filter = outcome.replied_by.as_deref();
            unless(filter == Some(wanted), format!("{wanted:?}"), || match filter {
                Some(filter) => format!("{filter:?}"),
                None => "no filter replied".to_owned(),
            })
        }
        _ => None,
    }
}

fn of_upstream(expected: &Expected, outcome: &Outcome, stand_ins: &StandIns) -> Missed {
    let Expected::Upstream(cluster, seen) = expected else { return None };
    let cluster = cluster.as_deref().or(outcome.cluster.as_deref());
    let (count, last) = cluster.map_or((0, None), |cluster| stand_ins.received(cluster));
    if let Seen::Requests(wanted) = seen {
        return unless(count == *wanted, wanted, || count.to_string());
    }
    let Some(Received { method, path, host, headers, body }) = &last else {
        let expected = match seen {
            Seen::Header(condition) => condition.condition.to_string(),
            Seen::Method(text) | Seen::Path(text) | Seen::Host(text) | Seen::Body(text) => text.to_string(),
            Seen::Requests(wanted) => wanted.to_string(),
        };
        let nobody = match cluster {
            Some(cluster) => format!("cluster {cluster:?} got no request"),
            None => "it was sent to no cluster".to_owned(),
        };
        return Some((expected, nobody));
    };
    let body = String::from_utf8_lossy(body);
    let (condition, got) = match seen {
        Seen::Header(condition) => return of_header(condition, headers),
        Seen::Requests(_) => return None,
        Seen::Method(condition) => (condition, method.as_str()),
        Seen::Path(condition) => (condition, path.as_str()),
        Seen::Host(condition) => (condition, host.as_str()),
        Seen::Body(condition) => (condition, &*body),
    };
    unless(condition.holds(Some(got)), condition, || shown(Some(got)))
}

/// Several values are one, as routes see them.
fn of_header(HeaderCondition { name, condition }: &HeaderCondition, headers: &HeaderMap) -> Missed {
    let values: Vec<_> = headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
    let joined = (!values.is_empty()).then(|| values.join(","));
    unless(condition.holds(joined.as_deref()), format!("{name}: {condition}"), || shown(joined.as_deref()))
}

fn shown(text: Option<&str>) -> String {
    match text {
        None => "nothing".to_owned(),
        Some(text) if text.chars().count() > SHOWN => {
            format!("{:?}, cut after {SHOWN} of {} bytes", text.chars().take(SHOWN).collect::<String>(), text.len())
        }
        Some(text) => format!("{text:?}"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
mod unit {
    use super::*;
    use crate::config::resolved::{StatusCondition, TextCondition, TextTest};

    fn expectation(path: &str, what: Expected) -> Expectation {
        Expectation { origin: Origin { file: "p.yaml".to_owned(), line: 3, column: 7 }, path: path.to_owned(), what }
    }

    fn answer() -> Answer {
        let mut headers = HeaderMap::new();
        headers.append("x-a", "1".parse().unwrap());
        headers.append("x-a", "2".parse().unwrap());
        Answer { status: 404, headers, body: "pong".into() }
    }

    #[test]
    fn what_is_missed_says_what_was_expected_and_what_came() {
        let missed = |what| of_answer(&what, &answer());
        assert_eq!(missed(Expected::Status(StatusCondition::Class(2))), Some(("2xx".to_owned(), "404".to_owned())));
        assert_eq!(missed(Expected::Status(StatusCondition::Code(404))), None);
        let header = |test| {
            let condition = TextCondition { test, invert: false };
            Expected::Header(HeaderCondition { name: "x-a".to_owned(), condition })
        };
        assert_eq!(missed(header(TextTest::Exact("1,2".to_owned()))), None);
        assert_eq!(missed(header(TextTest::Present(false))), Some(("x-a: nothing".to_owned(), "\"1,2\"".to_owned())));
        assert_eq!(missed(Expected::Body(TextCondition::exact("pong"))), None);
    }

    #[test]
    fn an_expectation_of_an_answer_is_missed_when_none_comes() {
        let what = Expected::Status(StatusCondition::Code(200));
        assert_eq!(of_nothing(&what, "cut"), Some(("200".to_owned(), "cut".to_owned())));
        assert_eq!(of_nothing(&Expected::Cluster("a".to_owned()), "cut"), None);
    }

    #[test]
    fn shares_may_be_off_by_the_tolerance_and_no_more() {
        let wanted = BTreeMap::from([("a".to_owned(), 90.0), ("b".to_owned(), 10.0)]);
        let expectations = [expectation("share", Expected::Shares(wanted, 2.0))];
        let got = |a: u32| BTreeMap::from([("a".to_owned(), a), ("b".to_owned(), 100 - a)]);
        assert!(shares(&expectations, &got(92), 100).is_empty());
        let failures = shares(&expectations, &got(93), 100);
        assert_eq!(failures.len(), 2);
        assert_eq!((failures[0].path.as_str(), failures[0].got.as_str()), ("share.a", "93.0% of 100 requests"));
    }
}
