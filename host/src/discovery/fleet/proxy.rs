//! One proxy: what it is told, whom it checks, and where it would send requests.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
    time::Duration,
};

use http::header::IF_NONE_MATCH;

use super::{
    super::{
        follow::Follower,
        rest::{self, Meaning, Rest},
        source::{Said, SourceError},
    },
    SECOND, Time,
    registry::Chronicle,
    world::World,
};
use crate::{
    cluster::{
        endpoint::{Mark, SharedEndpoint},
        health::active::{self, Course, Exclusion, Failure, FailureKind, Report as _, Traffic, Verdict},
        shared::SharedCluster,
        watch::{Asked, Findings, PerMember},
    },
    config::{
        Format, load_text,
        resolved::{self, Discovery, Place},
    },
    telemetry::Events,
};

/// How fine the time is.
const TICK: Time = 100;
const CONFIGURATION: &str = "
clusters:
  users:
    protocol: tcp
    discovery: { rest: http://registry.internal/v1/registration/users, refresh: 30s }
    health_check: { tcp: {}, interval: 15s, healthy: 1, unhealthy: 3 }
listeners: { web: { address: '127.0.0.1:0', protocol: tcp, cluster: users } }
";

/// What all proxies have in common.
pub struct Fleet<'a> {
    pub world: &'a World,
    settings: Arc<resolved::Cluster>,
    discovery: Arc<Discovery>,
    check: Arc<active::Settings>,
    pub chronicle: Chronicle,
}

impl<'a> Fleet<'a> {
    pub fn new(world: &'a World) -> Self {
        let config = load_text("fleet.yaml", CONFIGURATION, Format::Yaml, Path::new(".")).unwrap();
        let settings = Arc::clone(&config.clusters["users"]);
        let discovery = Arc::clone(settings.discovery.as_ref().unwrap());
        let check = Arc::clone(settings.health_check.as_ref().unwrap());
        let chronicle = world.chronicle(&source(&discovery));
        Self { world, settings, discovery, check, chronicle }
    }

    /// The longest time from one check to the end of the next.
    pub fn interval(&self) -> Time {
        milliseconds(self.check.interval + self.check.interval_jitter + self.check.timeout) + SECOND
    }
}

fn source(discovery: &Discovery) -> Rest {
    let Place::Rest(registry) = &discovery.place else { panic!("another source") };
    Rest::new(registry.clone())
}

fn milliseconds(span: Duration) -> Time {
    Time::try_from(span.as_millis()).unwrap()
}

/// What became of the hosts that came and went, by host: when it got requests, when no more, and when again.
#[derive(Debug, PartialEq, Eq)]
pub struct Life {
    pub number: usize,
    pub routed: Vec<Option<Time>>,
    pub left: Vec<Option<Time>>,
    pub returned: Vec<Option<Time>>,
    /// Checks that kept requests for a host that was absent from discovery.
    pub spared: usize,
    /// Hosts that were forgotten.
    pub forgotten: usize,
}

/// The checks of one member.
struct Watch {
    serial: u32,
    course: Course,
    findings: Findings,
    /// When it became a member.
    since: Time,
    /// When a check was last in vain.
    failed: Time,
}

#[derive(Clone, Copy)]
enum Due {
    /// A host is asked.
    Ask,
    /// The answer has not come.
    Late,
}

pub struct Proxy<'a> {
    fleet: &'a Fleet<'a>,
    life: Life,
    now: Time,
    random: fastrand::Rng,
    cluster: Arc<SharedCluster>,
    follower: Follower,
    rest: Rest,
    members: PerMember<usize>,
    watches: Vec<Option<Watch>>,
    /// By tick: the checks that are due, of those whose serial number still is that.
    due: Vec<Vec<(usize, u32, Due)>>,
    serials: u32,
    /// Members that get no requests, since when.
    unroutable: BTreeMap<usize, Time>,
}

impl<'a> Proxy<'a> {
    pub fn live(fleet: &'a Fleet<'a>, number: usize) -> Life {
        let world = fleet.world;
        let seed = world.seed << 32 | u64::try_from(number).unwrap();
        // The jitter of polls is drawn from this thread's.
        fastrand::seed(seed);
        let cluster = SharedCluster::new(Arc::clone(&fleet.settings), 1);
        cluster.begin_use();
        let (asked, _) = tokio::sync::watch::channel(false);
        let ticks = usize::try_from(world.scenario.length / TICK).unwrap();
        let none = || vec![None; world.hosts];
        let proxy = Self {
            follower: Follower::new(Arc::clone(&cluster), Arc::clone(&fleet.discovery), Events::default(), None, asked),
            rest: source(&fleet.discovery),
            life: Life { number, routed: none(), left: none(), returned: none(), spared: 0, forgotten: 0 },
            now: 0,
            random: fastrand::Rng::with_seed(seed),
            members: PerMember::new(),
            watches: (0..world.hosts).map(|_| None).collect(),
            due: vec![Vec::new(); ticks],
            serials: 0,
            unroutable: BTreeMap::new(),
            cluster,
            fleet,
        };
        proxy.run()
    }

    fn run(mut self) -> Life {
        let world = self.fleet.world;
        let mut poll = world.starts(self.life.number);
        // What has been asked, and when the answer is given up.
        let mut asked = None;
        for tick in 0..self.due.len() {
            self.now = Time::try_from(tick).unwrap() * TICK;
            if let Some(until) = asked {
                if until <= self.now {
                    asked = None;
                    poll = self.hear(Err(SourceError::Unreachable("no answer in time".to_owned())));
                }
            } else if poll <= self.now {
                if world.asked(self.life.number, self.now) && !world.loses(&mut self.random) {
                    let said = self.ask();
                    poll = self.hear(said);
                } else {
                    asked = Some(self.now + milliseconds(rest::TIMEOUT));
                }
            }
            for (host, serial, due) in std::mem::take(&mut self.due[tick]) {
                self.check(host, serial, due);
            }
            if self.now.is_multiple_of(SECOND) {
                self.assert_routable();
            }
        }
        self.assert_forgotten();
        self.life
    }

    /// Asks the registry, which is there.
    fn ask(&mut self) -> Result<Said, SourceError> {
        let second = usize::try_from(self.now / SECOND).unwrap();
        let Some(told) = &self.fleet.chronicle.answers[second] else {
            return Err(SourceError::Unreachable("refused".to_owned()));
        };
        let request = self.rest.request().unwrap();
        let known = request.headers().get(IF_NONE_MATCH);
        let meaning = match &told.0 {
            Ok(Meaning::Hosts { tag, .. }) if known.is_some() && known == tag.as_ref() => Meaning::Unchanged,
            told => told.clone()?,
        };
        Ok(self.rest.take(meaning))
    }

    /// Returns when the registry is asked again.
    fn hear(&mut self, said: Result<Said, SourceError>) -> Time {
        let before = self.cluster.membership();
        let names = said.as_ref().is_ok_and(|said| said.hosts.as_ref().is_some_and(|hosts| !hosts.is_empty()));
        let pause = self.follower.heard(said);
        let after = self.cluster.membership();
        if !Arc::ptr_eq(&before, &after) {
            assert!(names, "{}: what says nothing has changed something", self.place());
            self.follow();
        }
        self.now + milliseconds(pause)
    }

    /// There are other members than before.
    fn follow(&mut self) {
        let Self { fleet, cluster, members, watches, due, serials, unroutable, life, now, .. } = self;
        let mut ended = Vec::new();
        members.follow(
            &cluster.membership(),
            |endpoint| {
                let host = World::host(endpoint.address());
                *serials += 1;
                let random = fastrand::Rng::with_seed(u64::from(*serials) << 32 | u64::try_from(life.number).unwrap());
                let mut course = Course::new(Arc::clone(&fleet.check), random);
                plan(due, *now + milliseconds(course.first()), (host, *serials, Due::Ask));
                let (cluster, endpoint) = (Arc::clone(cluster), Arc::clone(endpoint));
                let findings = Findings::new(cluster, endpoint, Asked::Endpoint);
                watches[host] = Some(Watch { serial: *serials, course, findings, since: *now, failed: 0 });
                if !is_routable(watches[host].as_ref()) {
                    unroutable.insert(host, *now);
                }
                host
            },
            |host| ended.push(*host),
        );
        for host in ended {
            let Some(since) = self.unroutable.remove(&host) else {
                panic!("{}: host {host} is forgotten, and was well", self.place())
            };
            if let Some(ends) = self.fleet.world.ends(host) {
                self.life.left[host].get_or_insert(ends.max(since));
            }
            self.watches[host] = None;
            self.life.forgotten += 1;
        }
    }

    fn check(&mut self, host: usize, serial: u32, due: Due) {
        if self.watches[host].as_ref().is_none_or(|watch| watch.serial != serial) {
            return;
        }
        let world = self.fleet.world;
        let verdict = match due {
            Due::Ask => {
                let reached = world.reached_since(host, self.life.number, self.now).is_some();
                if !reached || world.loses(&mut self.random) {
                    let until = self.now + milliseconds(self.fleet.check.timeout);
                    return plan(&mut self.due, until, (host, serial, Due::Late));
                }
                Verdict::Passed
            }
            Due::Late => Verdict::Failed(Failure {
                kind: FailureKind::Timeout,
                exclusion: Exclusion::Keep,
                words: "no answer in time".to_owned(),
            }),
        };
        let failed = matches!(due, Due::Late);
        let elapsed = if failed { self.fleet.check.timeout } else { Duration::ZERO };
        let Some(watch) = &mut self.watches[host] else { return };
        if failed {
            watch.failed = self.now;
        }
        let version = self.cluster.version();
        let (seen, next) = watch.course.checked(verdict, elapsed, Traffic::Busy);
        plan(&mut self.due, self.now + milliseconds(next), (host, serial, Due::Ask));
        watch.findings.checked(seen);
        if is_routable(Some(watch)) {
            self.unroutable.remove(&host);
            self.life.spared += usize::from(watch.findings.endpoint.status.has(Mark::Absent));
        } else {
            self.unroutable.entry(host).or_insert(self.now);
        }
        self.note(host);
        if self.cluster.version() != version {
            self.follow();
        }
    }

    /// Keeps what curves are made of.
    fn note(&mut self, host: usize) {
        let (world, now) = (self.fleet.world, self.now);
        let Some(since) = self.unroutable.get(&host) else {
            self.life.routed[host].get_or_insert(now);
            if world.rejoined(host, self.life.number).is_some_and(|rejoined| rejoined <= now) {
                self.life.returned[host].get_or_insert(now);
            }
            return;
        };
        if let Some(ends) = world.ends(host).filter(|ends| *ends <= now) {
            self.life.left[host].get_or_insert(ends.max(*since));
        }
    }

    fn assert_routable(&self) {
        let (world, number, now) = (self.fleet.world, self.life.number, self.now);
        let limit = self.fleet.interval();
        for host in self.unroutable.keys() {
            let Some(watch) = &self.watches[*host] else { panic!("{}: host {host} is nobody", self.place()) };
            let Some(reached) = world.reached_since(*host, number, now) else { continue };
            let since = reached.max(watch.since).max(watch.failed);
            assert!(now - since <= limit, "{}: host {host} gets nothing since {since}", self.place());
        }
    }

    fn assert_forgotten(&self) {
        let world = self.fleet.world;
        let members: BTreeSet<usize> = self.cluster.membership().endpoints.iter().map(host_of).collect();
        for host in 0..world.hosts {
            let (runs, is_member) = (world.ends(host).is_none(), members.contains(&host));
            assert!(runs || !is_member, "{}: host {host} is gone and not forgotten", self.place());
            assert_eq!(is_member, self.watches[host].is_some(), "{}: host {host}", self.place());
            let routable = is_member && !self.unroutable.contains_key(&host);
            assert!(!runs || routable || world.scenario.loss > 0.0, "{}: host {host} gets nothing", self.place());
        }
    }

    fn place(&self) -> String {
        format!("{}, proxy {}, {} ms", self.fleet.world.scenario.name, self.life.number, self.now)
    }
}

fn host_of(endpoint: &Arc<SharedEndpoint>) -> usize {
    World::host(endpoint.address())
}

fn is_routable(watch: Option<&Watch>) -> bool {
    watch.is_some_and(|watch| watch.findings.endpoint.status.is_usable())
}

fn plan<T>(due: &mut [Vec<T>], at: Time, what: T) {
    if let Some(due) = due.get_mut(usize::try_from(at.div_ceil(TICK)).unwrap()) {
        due.push(what);
    }
}
