//! A source whose every text is the same, for tests: what does one text do to all pages?

use crate::admin::dashboard::{model::*, source::Source};

/// Says the same everywhere.
pub(crate) struct Same {
    /// In every text.
    pub text: String,
    /// In every number.
    pub number: f64,
    /// How late it is.
    pub now: Time,
    /// Requests of the last hour.
    pub requests: u64,
    /// How often everything that lists have is there.
    pub copies: usize,
}

impl Same {
    pub(crate) fn new(text: &str) -> Self {
        Self { text: text.to_owned(), number: 0.5, now: Time(1_770_000_000_000), requests: 7, copies: 1 }
    }

    fn copied<T: Clone>(&self, list: Vec<T>) -> Vec<T> {
        std::iter::repeat_n(list, self.copies).flatten().collect()
    }

    fn some(&self) -> Option<f64> {
        Some(self.number)
    }

    fn provenance(&self) -> Provenance {
        Provenance { origin: Some(self.text.clone()), last_used: LastUsed::At(Time(1)) }
    }

    fn trend(&self) -> Trend {
        let values = vec![self.some(), None, self.some(), Some(2.0)];
        Trend {
            start: self.now,
            step: self.number,
            rate: values.clone(),
            failures: values.clone(),
            p50: values.clone(),
            p90: values.clone(),
            p99: values,
        }
    }

    fn summary(&self) -> Summary {
        let one = self.some();
        Summary { seconds: 1.0, requests: self.requests, rate: one, success: one, p50: one, p90: one, p99: one }
    }

    fn one_service(&self, kind: ServiceKind) -> Service {
        Service {
            kind,
            name: self.text.clone(),
            detail: self.text.clone(),
            provenance: self.provenance(),
            now: self.summary(),
            hour: self.summary(),
            trend: self.trend(),
            active: Some(u64::MAX),
            endpoints: Some((0, 1)),
        }
    }

    fn subjects(&self) -> Vec<Subject> {
        let text = || self.text.clone();
        vec![
            Subject::Process,
            Subject::Listener(text()),
            Subject::Route(text()),
            Subject::Cluster(text()),
            Subject::Endpoint { cluster: text(), address: text() },
            Subject::Filter(text()),
            Subject::Certificate(text()),
        ]
    }

    fn row(&self, health: Health) -> EndpointRow {
        EndpointRow {
            address: self.text.clone(),
            zone: self.text.clone(),
            priority: 1,
            provenance: self.provenance(),
            health,
            since: Some(Time(5)),
            reasons: vec![self.text.clone(); 2],
            drained: health == Health::Draining,
            check: Some(Check {
                at: Time(1),
                outcome: CheckOutcome::Failed,
                finding: self.text.clone(),
                took: self.some(),
            }),
            weight: 7,
            weight_percent: 40,
            connections: Some(1),
            active: None,
            rate: self.some(),
            requests: Some(u64::MAX),
            p50: self.some(),
            p99: self.some(),
            errors: Some(Errors { connect: u64::MAX, timeout: 1, reset: 0, status_5xx: 3 }),
        }
    }
}

impl Source for Same {
    fn now(&self) -> Time {
        self.now
    }

    fn process(&self) -> Process {
        Process {
            version: self.text.clone(),
            node: self.text.clone(),
            draining: true,
            endpoints_down: 3,
            memory: Some(1),
            memory_limit: Some(0),
            ..Process::default()
        }
    }

    fn overview(&self) -> Overview {
        let text = || self.text.clone();
        let warning = |subject| Warning {
            severity: Severity::Critical,
            subject,
            text: text(),
            help: Some(text()),
            since: Some(Time(1)),
        };
        Overview {
            services: self
                .copied(vec![self.one_service(ServiceKind::Listener), self.one_service(ServiceKind::Cluster)]),
            services_left_out: u64::from(u32::MAX),
            warnings: self.copied(self.subjects().into_iter().map(warning).collect()),
            reloads: vec![Reload {
                at: Time(3),
                who: text(),
                what: text(),
                outcome: ReloadOutcome::Refused,
                generation: Some(2),
                changes: vec![text(), text()],
                diff: vec![
                    DiffLine { kind: DiffKind::Added, text: text() },
                    DiffLine { kind: DiffKind::Removed, text: text() },
                    DiffLine { kind: DiffKind::Context, text: text() },
                ],
                error: Some(text()),
            }],
        }
    }

    fn total(&self, _: usize) -> Trend {
        self.trend()
    }

    fn service(&self, kind: ServiceKind, name: &str, _: usize) -> Option<Service> {
        (name == self.text).then(|| self.one_service(kind))
    }

    fn flow(&self) -> Flow {
        let columns = [Column::Listener, Column::Route, Column::Filter, Column::Cluster, Column::Endpoint];
        let id = |column: Column| format!("{column:?}{}", self.text);
        let node = |column| Node {
            id: id(column),
            column,
            name: self.text.clone(),
            detail: self.text.clone(),
            group: self.text.clone(),
            health: Some(Health::Degraded),
            provenance: self.provenance(),
        };
        let edge = |pair: &[Column]| Edge {
            from: id(pair[0]),
            to: id(pair[1]),
            rate: self.some(),
            errors: self.some(),
            added: self.some(),
        };
        Flow {
            nodes: self.copied(columns.map(node).into()),
            edges: self.copied(columns.windows(2).map(edge).collect()),
        }
    }

    fn clusters(&self) -> Vec<String> {
        self.copied(vec![self.text.clone()])
    }

    fn endpoints(&self, _: Option<&str>) -> Vec<ClusterEndpoints> {
        vec![ClusterEndpoints {
            name: self.text.clone(),
            detail: self.text.clone(),
            checked: self.text.clone(),
            provenance: self.provenance(),
            endpoints: self.copied(Health::ALL.map(|health| self.row(health)).into()),
            ..ClusterEndpoints::default()
        }]
    }

    fn filters(&self) -> Vec<FilterSummary> {
        let text = || self.text.clone();
        vec![FilterSummary {
            name: text(),
            module: text(),
            version: text(),
            provenance: self.provenance(),
            listeners: vec![text(), text()],
            rate: self.some(),
            errors: self.some(),
            canary: self.some(),
            panels: 3,
            ..FilterSummary::default()
        }]
    }

    fn filter(&self, name: &str) -> Option<FilterPage> {
        let text = || self.text.clone();
        let version = Version {
            role: VersionRole::Canary,
            version: text(),
            sha256: text(),
            generation: 3,
            since: Some(Time(1)),
            share: self.number,
            rate: self.some(),
            errors: self.some(),
            instances: Some(0),
            memory: Some(u64::MAX),
            memory_limit: Some(0),
            cpu: Some([self.number; 3]),
            cpu_limit: Some(0.0),
            traps: Some(1),
        };
        let tally = Tally { streams: 1, errors: 2, failed: 3, typical: self.some() };
        let trap = Trap {
            at: Time(1),
            reason: text(),
            message: text(),
            phase: text(),
            worker: Some(1),
            version: text(),
            backtrace: vec![Frame { function: text(), place: text() }; 100],
        };
        let metric = MetricRow {
            name: text(),
            kind: MetricKind::Histogram,
            labels: vec![(text(), text())],
            value: self.number,
            rate: self.some(),
            quantiles: Some((self.number, self.number)),
        };
        (name == self.text).then(|| FilterPage {
            summary: self.filters().remove(0),
            on_failure: text(),
            isolation: text(),
            abi: text(),
            callbacks: vec![text()],
            grants: vec![text()],
            versions: vec![version],
            canary: Some(Canary {
                version: text(),
                share: self.number,
                since: None,
                min_streams: 0,
                canary: tally,
                stable: tally,
                rollback_on: vec![text()],
            }),
            changes: vec![text()],
            traps: vec![trap],
            traps_by_reason: vec![(text(), 1)],
            refusals: vec![Refusal { at: Time(1), origin: text(), path: text(), message: text(), help: Some(text()) }],
            callouts: vec![Callout {
                cluster: text(),
                rate: self.some(),
                calls: 1,
                failed: 1,
                p50: None,
                p99: self.some(),
            }],
            metrics: vec![metric],
            metrics_left_out: 1,
            configuration: text(),
        })
    }

    fn panels(&self, filter: &str) -> Option<PanelPage> {
        let panel = |chart| Panel {
            title: self.text.clone(),
            metric: self.text.clone(),
            kind: MetricKind::Histogram,
            labels: vec![self.text.clone()],
            only: vec![self.text.clone()],
            description: self.text.clone(),
            percentile: 99,
            chart,
            unit: Unit::Seconds,
            start: self.now,
            step: self.number,
            series: vec![
                PanelSeries {
                    name: self.text.clone(),
                    labels: vec![self.text.clone()],
                    values: self.trend().rate,
                    now: self.some(),
                    total: self.some(),
                    quantiles: Some([self.number; 3]),
                };
                30
            ],
            left_out: 7,
            sum: self.some(),
        };
        let charts = [Chart::Line, Chart::Stacked, Chart::Bar, Chart::Top, Chart::Table, Chart::Number];
        let panels = charts.map(panel).into();
        (filter == self.text).then(|| PanelPage { filter: self.text.clone(), panels })
    }

    fn sources(&self) -> Sources {
        let plane = |place: usize| ControlPlane {
            name: self.text.clone(),
            address: self.text.clone(),
            connected: (place > 0).then_some(Time(1)),
            why_not: self.text.clone(),
            updated: Some(Time(u64::MAX)),
            from_disk: true,
            updates: u64::MAX,
            resources: vec![Resources { kind: self.text.clone(), count: usize::MAX, version: self.text.clone() }],
            waiting: vec![self.text.clone(); 30],
            forgotten: if place > 1 { vec![self.text.clone()] } else { Vec::new() },
            refused: if place == 1 { vec![(self.text.clone(), self.text.clone())] } else { Vec::new() },
            provenance: self.provenance(),
        };
        let discovery = Discovery {
            cluster: self.text.clone(),
            source: self.text.clone(),
            place: self.text.clone(),
            version: self.text.clone(),
            hosts: usize::MAX,
            updated: None,
            answered: Some(Time(1)),
            from_disk: true,
            failure: self.text.clone(),
            updates: u64::MAX,
            failures: u64::MAX,
            provenance: self.provenance(),
        };
        Sources { control_planes: (0..3).map(plane).collect(), discoveries: self.copied(vec![discovery]) }
    }

    fn certificates(&self) -> Vec<Certificate> {
        vec![Certificate {
            names: vec![self.text.clone(); 8],
            usage: CertificateUse::Server,
            used_by: self.subjects(),
            issuer: self.text.clone(),
            not_before: Time(u64::MAX),
            not_after: Time(0),
            key: self.text.clone(),
            fingerprint: self.text.clone(),
            serial: self.text.clone(),
            provenance: self.provenance(),
            handshakes: None,
        }]
    }

    fn events(&self, most: usize) -> Vec<Event> {
        let event = |(place, subject): (usize, Subject)| Event {
            id: place as u64,
            at: Time(1),
            kind: EventKind::Trap,
            severity: Severity::Warning,
            subject,
            text: self.text.clone(),
            detail: self.text.clone(),
        };
        self.copied(self.subjects().into_iter().enumerate().map(event).collect()).into_iter().take(most).collect()
    }

    fn can_change_endpoints(&self) -> bool {
        true
    }

    fn listeners(&self) -> Vec<String> {
        vec![self.text.clone()]
    }

    fn explain(&self, question: &Question) -> Explanation {
        let step = |(place, subject): (usize, Subject)| Step {
            kind: StepKind::Route,
            name: self.text.clone(),
            finding: [Finding::Taken, Finding::Passed, Finding::Unseen][place % 3],
            why: self.text.clone(),
            origin: Some(self.text.clone()),
            subject: Some(subject),
        };
        Explanation {
            question: question.clone(),
            verdict: Verdict::Cluster(self.text.clone()),
            steps: self.copied(self.subjects().into_iter().enumerate().map(step).collect()),
        }
    }

    fn tap(&self, _: &TapFilter, _: usize) -> Tap {
        let text = || self.text.clone();
        let entry = TapEntry {
            listener: text(),
            method: text(),
            authority: text(),
            path: text(),
            details: text(),
            duration: self.number,
            route: text(),
            cluster: text(),
            endpoint: text(),
            client: text(),
            headers: vec![(text(), text())],
            ..TapEntry::default()
        };
        Tap { entries: vec![entry], dropped: 1, seen: self.some(), unavailable: None }
    }
}
