//! What has happened before, and certificates.

use fyke::admin::dashboard::model::{
    Certificate, CertificateUse, DiffKind, DiffLine, EventKind, LastUsed, Provenance, Reload, ReloadOutcome, Severity,
    Subject, Time,
};

use super::world::World;

const DAY: u64 = 86_400_000;

pub fn certificates(now: Time) -> Vec<Certificate> {
    let today = now.0 / DAY * DAY;
    let one =
        |names: &[&str], usage, used_by: Vec<Subject>, issuer: &str, (old, left): (u64, u64), key: &str, line: u32| {
            Certificate {
                names: names.iter().map(|name| (*name).to_owned()).collect(),
                usage,
                used_by,
                issuer: issuer.to_owned(),
                not_before: Time(today - old * DAY),
                not_after: Time(today + left * DAY + 40_000_000),
                key: key.to_owned(),
                fingerprint: format!(
                    "{line:02x}b1946ac92492d2347c6235b4d2611184a57a6b1f3c5e9d8e0f7c1b2a394857{left:02x}"
                ),
                serial: format!("04{line:02x}9a77c1"),
                provenance: Provenance {
                    origin: Some(format!("proxy.yaml:{line}")),
                    last_used: if usage == CertificateUse::Authority {
                        LastUsed::Unknown
                    } else {
                        LastUsed::At(Time(now.0 - u64::from(line) * 900))
                    },
                },
                handshakes: Some(u64::from(line) * 8_121),
            }
        };
    let edge = || vec![Subject::Listener("edge".into())];
    let cluster = |name: &str| vec![Subject::Cluster(name.into())];
    vec![
        one(
            &["api.example.com", "*.api.example.com"],
            CertificateUse::Server,
            edge(),
            "Let's Encrypt R11",
            (31, 58),
            "ECDSA P-256",
            15,
        ),
        one(&["legacy.example.com"], CertificateUse::Server, edge(), "Let's Encrypt R11", (86, 3), "RSA 2048", 16),
        one(
            &["shop.example.com", "shop.example.org", "www.shop.example.com"],
            CertificateUse::Server,
            edge(),
            "Let's Encrypt R10",
            (76, 13),
            "ECDSA P-256",
            17,
        ),
        one(
            &["edge-1.mesh.example.com"],
            CertificateUse::Client,
            cluster("payments"),
            "Example Mesh CA",
            (11, 19 + 60),
            "Ed25519",
            181,
        ),
        one(
            &["Example Mesh CA"],
            CertificateUse::Authority,
            cluster("payments"),
            "Example Root",
            (420, 1_400),
            "ECDSA P-384",
            180,
        ),
    ]
}

pub fn reloads(now: Time) -> Vec<Reload> {
    let line = |kind, text: &str| DiffLine { kind, text: text.to_owned() };
    let one = |ago: u64, who: &str, what: &str, outcome, generation, changes: &[&str]| Reload {
        at: Time(now.0 - ago),
        who: who.to_owned(),
        what: what.to_owned(),
        outcome,
        generation,
        changes: changes.iter().map(|change| (*change).to_owned()).collect(),
        diff: Vec::new(),
        error: None,
    };
    let mut applied = one(
        29_000_000,
        "signal",
        "reload",
        ReloadOutcome::Applied,
        Some(14),
        &["cluster users changed", "filter rate-limit changed", "listener internal added"],
    );
    applied.diff = vec![
        line(DiffKind::Context, "clusters:"),
        line(DiffKind::Context, "  users:"),
        line(DiffKind::Removed, "    load_balancer: round_robin"),
        line(DiffKind::Added, "    load_balancer: least_request"),
        line(DiffKind::Added, "    outlier_detection: { consecutive_5xx: 5 }"),
        line(DiffKind::Context, "    protocol: http2"),
    ];
    let mut refused = one(5_400_000, "watch", "reload", ReloadOutcome::Refused, None, &[]);
    refused.error = Some(
        "error: expected a rate such as 20/s\n  --> proxy.yaml:79:23\n   |\n79 |     - { name: per-user, rate: 20/sec, burst: 40 }\n   |                               ^^^^^^ found \"20/sec\"\n   |\n   = help: units of time are s, m and h".to_owned(),
    );
    vec![
        applied,
        one(17_300_000, "admin (127.0.0.1)", "reload", ReloadOutcome::Unchanged, Some(14), &[]),
        one(
            9_100_000,
            "admin (127.0.0.1)",
            "load billing",
            ReloadOutcome::Applied,
            Some(15),
            &["module of filter billing changed (2c26b46b68ff to 9f86d081884c)"],
        ),
        refused,
        one(
            2_300_000,
            "admin (unix socket)",
            "rollback to 14",
            ReloadOutcome::RolledBack,
            Some(16),
            &["module of filter billing changed (9f86d081884c to 2c26b46b68ff)"],
        ),
        one(
            1_930_000,
            "admin (127.0.0.1)",
            "canary rate-limit",
            ReloadOutcome::Applied,
            Some(17),
            &["canary of filter rate-limit added"],
        ),
    ]
}

pub fn past(world: &mut World, now: Time) {
    let endpoint =
        |cluster: &str, address: &str| Subject::Endpoint { cluster: cluster.into(), address: address.into() };
    let long_ago = [
        (
            29_000_000,
            EventKind::Reload,
            Severity::Info,
            Subject::Process,
            "generation 14 runs, by signal",
            "cluster users changed\nfilter rate-limit changed\nlistener internal added",
        ),
        (
            21_000_000,
            EventKind::Discovery,
            Severity::Info,
            Subject::Cluster("catalog".into()),
            "2 endpoints added, 1 removed by dns catalog.internal",
            "",
        ),
        (9_100_000, EventKind::Reload, Severity::Info, Subject::Filter("billing".into()), "swapped, generation 15", ""),
        (
            5_400_000,
            EventKind::Reload,
            Severity::Critical,
            Subject::Process,
            "a configuration was refused; generation 15 goes on",
            "proxy.yaml:79:23: expected a rate such as 20/s, found \"20/sec\"",
        ),
        (
            4_300_000,
            EventKind::Overload,
            Severity::Warning,
            Subject::Process,
            "91% of limits.memory is used: keep-alive is off for new requests",
            "",
        ),
        (
            4_180_000,
            EventKind::Overload,
            Severity::Info,
            Subject::Process,
            "88% of limits.memory is used: keep-alive is on again",
            "",
        ),
        (2_300_000, EventKind::Reload, Severity::Warning, Subject::Process, "rolled back to generation 14, as 16", ""),
        (
            1_930_000,
            EventKind::Canary,
            Severity::Info,
            Subject::Filter("rate-limit".into()),
            "canary 1.5.0-rc.2 gets 5% of the streams",
            "",
        ),
        (
            1_830_000,
            EventKind::Trap,
            Severity::Warning,
            Subject::Filter("billing".into()),
            "trapped in request_headers: unreachable",
            "panicked at src/plan.rs:88:14: called `Option::unwrap()` on a `None` value\n  billing::plan::Plan::parse\n  <billing::Meter as fyke_sdk::HttpFilter>::request_headers",
        ),
        (
            1_022_000,
            EventKind::Trap,
            Severity::Warning,
            Subject::Filter("billing".into()),
            "trapped in request_headers: deadline",
            "",
        ),
        (
            754_000,
            EventKind::Health,
            Severity::Warning,
            endpoint("payments", "10.0.6.13:8443"),
            "became unhealthy in payments: connection refused (os error 111)",
            "",
        ),
        (
            214_000,
            EventKind::Trap,
            Severity::Warning,
            Subject::Filter("billing".into()),
            "trapped in request_headers: deadline",
            "",
        ),
        (
            212_000,
            EventKind::Operator,
            Severity::Info,
            endpoint("catalog", "10.0.3.16:9000"),
            "drained by admin (127.0.0.1)",
            "",
        ),
        (
            96_000,
            EventKind::Certificate,
            Severity::Critical,
            Subject::Certificate("legacy.example.com".into()),
            "expires in 3 days",
            "tls/legacy.pem, listener edge",
        ),
    ];
    for (ago, kind, severity, subject, text, detail) in long_ago {
        world.tell(Time(now.0 - ago), kind, severity, subject, text.to_owned(), detail.to_owned());
    }
}
