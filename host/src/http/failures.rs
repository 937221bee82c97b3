//! `host/docs/failures.md` says of every failure what the code does.

use std::{collections::BTreeSet, io, net::SocketAddr, time::Duration};

use hyper_util::rt::TokioIo;

use super::outcome;
use crate::{
    cluster::{ClusterError, error::Limit},
    upstream::{
        RetryPolicy, UpstreamError,
        flags::{self, Further},
        retry::{Verdict, conditions},
    },
};

const PAGE: &str = include_str!("../../docs/failures.md");

/// Envoy's names, by bit.
const FLAGS: [(u32, &str); 18] = [
    (1, "UH"),
    (2, "UT"),
    (3, "LR"),
    (5, "UF"),
    (6, "UC"),
    (7, "UO"),
    (8, "NR"),
    (10, "FI"),
    (11, "RL"),
    (12, "UAEX"),
    (13, "RLSE"),
    (14, "DC"),
    (15, "URX"),
    (16, "SI"),
    (18, "DPE"),
    (23, "UPE"),
    (24, "NC"),
    (25, "OM"),
];

struct Row<'a> {
    status: &'a str,
    details: &'a str,
    flag: &'a str,
    metric: &'a str,
    retried: BTreeSet<&'a str>,
}

fn rows() -> Vec<Row<'static>> {
    let code = |cell: &'static str| cell.trim_matches('`');
    let row = |line: &'static str| {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let [_, _, status, details, flag, metric, retried, tip, _] = cells[..] else {
            panic!("not seven cells: {line}");
        };
        assert!(!tip.is_empty(), "nothing to try: {line}");
        let retried = retried.split(", ").map(code).filter(|word| *word != "-").collect();
        Row { status, details: code(details), flag, metric: code(metric), retried }
    };
    PAGE.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| what happened")).map(row).collect()
}

fn flag(bits: u64) -> &'static str {
    FLAGS.iter().find(|(bit, _)| bits == 1 << bit).map_or("-", |(_, name)| name)
}

/// Any error of hyper's: they cannot be made by hand.
async fn broken() -> hyper::Error {
    let (near, far) = tokio::io::duplex(64);
    drop(far);
    let io = TokioIo::new(near);
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake::<_, http_body_util::Empty<bytes::Bytes>>(io).await.unwrap();
    drop(connection);
    sender.send_request(http::Request::new(http_body_util::Empty::new())).await.unwrap_err()
}

/// One of each kind. Another kind does not compile until it is here, and then fails until it is on the page.
async fn all() -> Vec<UpstreamError> {
    let address = SocketAddr::from(([127, 0, 0, 1], 1));
    let timeout = Duration::from_secs(1);
    let (cluster, error) = (|| "c".to_owned(), || io::Error::other("x"));
    let mut all: Vec<UpstreamError> = Limit::ALL
        .into_iter()
        .map(|limit| ClusterError::Overflow { cluster: cluster(), limit, most: 1, waited: timeout }.into())
        .collect();
    all.extend([
        ClusterError::NoEndpoint { cluster: cluster(), why: String::new() }.into(),
        ClusterError::ConnectTimeout { address, timeout }.into(),
        ClusterError::Connect { address, error: error() }.into(),
        ClusterError::Tls { address, error: error() }.into(),
        ClusterError::Handshake { address, error: broken().await }.into(),
        UpstreamError::Reset { address, error: broken().await },
        UpstreamError::Protocol { address, error: broken().await },
        UpstreamError::Refused { address, error: broken().await },
        UpstreamError::NoExtendedConnect { address },
        UpstreamError::PerTryTimeout { address: Some(address), timeout },
        UpstreamError::RequestBody { error: broken().await },
        UpstreamError::Timeout { timeout },
        UpstreamError::Idle { timeout },
        UpstreamError::UnknownCluster { cluster: cluster() },
        UpstreamError::NotRouted,
    ]);
    for error in &all {
        // To be reminded of the list above.
        match error {
            UpstreamError::Cluster(
                ClusterError::Overflow { .. }
                | ClusterError::NoEndpoint { .. }
                | ClusterError::ConnectTimeout { .. }
                | ClusterError::Connect { .. }
                | ClusterError::Tls { .. }
                | ClusterError::Handshake { .. },
            )
            | UpstreamError::Reset { .. }
            | UpstreamError::Protocol { .. }
            | UpstreamError::Refused { .. }
            | UpstreamError::NoExtendedConnect { .. }
            | UpstreamError::PerTryTimeout { .. }
            | UpstreamError::RequestBody { .. }
            | UpstreamError::Timeout { .. }
            | UpstreamError::Idle { .. }
            | UpstreamError::UnknownCluster { .. }
            | UpstreamError::NotRouted => {}
        }
    }
    all
}

/// The conditions that send a request again after a failure.
fn retried(error: &UpstreamError) -> BTreeSet<&'static str> {
    let words = [
        "5xx",
        "gateway-error",
        "reset",
        "reset-before-request",
        "connect-failure",
        "envoy-ratelimited",
        "retriable-4xx",
        "refused-stream",
        "retriable-status-codes",
        "retriable-headers",
        "cancelled",
        "deadline-exceeded",
        "internal",
        "resource-exhausted",
        "unavailable",
    ];
    let sent = !matches!(error, UpstreamError::Cluster(_));
    let retries = |word: &&str| {
        let policy: RetryPolicy = serde_json::from_str(&format!(r#"{{"on":["{word}"]}}"#)).unwrap();
        conditions::of_failure(&policy, error, sent) != Verdict::Stands
    };
    words.into_iter().filter(retries).collect()
}

#[tokio::test]
async fn the_page_says_of_every_failure_of_an_upstream_what_the_code_does() {
    let rows = rows();
    for error in all().await {
        let label = error.label();
        let row = rows.iter().find(|row| row.details == label).unwrap_or_else(|| panic!("{label} has no row"));
        assert_eq!(row.status, outcome::status(&error).as_str(), "{label}");
        assert_eq!(row.flag, flag(flags::of(label, Further::Unwanted)), "{label}");
        assert_eq!(row.retried, retried(&error), "{label}");
    }
}

#[test]
fn every_cause_has_one_row_with_its_flag_and_a_metric_that_there_is() {
    let rows = rows();
    let mut seen = BTreeSet::new();
    for row in &rows {
        assert!(seen.insert(row.details), "{} has two rows", row.details);
        assert_eq!(row.flag, flag(flags::of(row.details, Further::Unwanted)), "{}", row.details);
        assert!(
            crate::telemetry::names::ALL.iter().any(|metric| metric.name == row.metric),
            "there is no metric {}",
            row.metric
        );
    }
    // Whatever has a flag is on the page.
    let source = include_str!("../upstream/flags.rs");
    let flagged = source.split("match details {").nth(1).and_then(|rest| rest.split("_ => 0").next()).unwrap();
    for label in flagged.split('"').skip(1).step_by(2) {
        assert!(seen.contains(label), "{label} has no row");
    }
}
