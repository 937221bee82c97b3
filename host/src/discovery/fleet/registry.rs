//! The registry through the whole time: who is heard, and what it answers.

use std::{
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use bytes::Bytes;
use fyke_registry::{Clock, Registry, Settings, client::Pace};
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};

use super::{
    super::{
        rest::{Answer, Meaning, Rest},
        source::SourceError,
    },
    SECOND, Time,
    world::World,
};

/// How long a host waits for an answer, as the client does.
const PATIENCE: Time = 10 * SECOND;
pub const TTL: Duration = Duration::from_mins(2);
const SERVICE: &str = "/v1/registration/users";

/// What there is to be told at a moment.
pub struct Told(pub Result<Meaning, SourceError>);

/// What happened at the registry.
pub struct Chronicle {
    /// By second; `None`: there was no answer.
    pub answers: Vec<Option<Arc<Told>>>,
    /// By host: when its first heartbeat was taken.
    pub registered: Vec<Option<Time>>,
}

impl Chronicle {
    /// Whether there was an answer without a single host.
    pub fn names_nobody_once(&self) -> bool {
        let empty = |told: &Arc<Told>| matches!(&told.0, Ok(Meaning::Hosts { hosts, .. }) if hosts.is_empty());
        self.answers.iter().flatten().any(empty)
    }
}

/// What a host does next.
#[derive(Clone, Copy)]
enum Deed {
    Beat,
    Leave,
}

struct Instance {
    registry: Registry,
    clock: Clock,
}

impl Instance {
    async fn new() -> Self {
        let clock = Clock::manual(UNIX_EPOCH + Duration::from_secs(1_000_000));
        let settings: Settings = serde_json::from_value(json!({ "open": true, "host_ttl": "2m" })).unwrap();
        Self { registry: Registry::open(settings, clock.clone()).await.unwrap(), clock }
    }

    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Response<Full<Bytes>> {
        let request = Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, "application/json");
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        self.registry.answer(request.body(Full::<Bytes>::from(body)).unwrap()).await
    }
}

/// One simulated life of the registry.
struct Course<'a> {
    world: &'a World,
    random: fastrand::Rng,
    paces: Vec<Pace>,
    /// By second.
    deeds: Vec<Vec<(usize, Deed)>>,
    registered: Vec<Option<Time>>,
    instance: Option<Instance>,
}

impl World {
    /// What its registry hears and says. `rest` reads its answers.
    pub fn chronicle(&self, rest: &Rest) -> Chronicle {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(Course::new(self).run(rest))
    }
}

impl<'a> Course<'a> {
    fn new(world: &'a World) -> Self {
        let mut random = fastrand::Rng::with_seed(world.seed);
        let seconds = usize::try_from(world.scenario.length / SECOND).unwrap();
        let mut course = Self {
            world,
            paces: vec![Pace::default(); world.hosts],
            deeds: vec![Vec::new(); seconds],
            registered: vec![None; world.hosts],
            instance: None,
            random: random.fork(),
        };
        for host in 0..world.hosts {
            // Those that are there from the beginning have not begun together.
            let late = if world.born(host) == 0 { random.u64(0..20 * SECOND) } else { 0 };
            course.plan(world.born(host) + late, host, Deed::Beat);
            if let Some(leaves) = world.leaves(host) {
                course.plan(leaves, host, Deed::Leave);
            }
        }
        course
    }

    fn plan(&mut self, at: Time, host: usize, deed: Deed) {
        let second = usize::try_from(at / SECOND).unwrap();
        if let Some(deeds) = self.deeds.get_mut(second) {
            deeds.push((host, deed));
        }
    }

    async fn run(mut self, rest: &Rest) -> Chronicle {
        let mut answers = Vec::new();
        let mut known: Option<(String, Arc<Told>)> = None;
        for second in 0..self.deeds.len() {
            let now = Time::try_from(second).unwrap() * SECOND;
            if self.world.scenario.outages.iter().any(|outage| (outage.from..outage.until).contains(&now)) {
                self.instance = None;
            } else if self.instance.is_none() {
                self.instance = Some(Instance::new().await);
            }
            if let Some(Instance { registry, clock }) = &self.instance {
                clock.advance(Duration::from_secs(1));
                registry.keep_up().await;
            }
            for (host, deed) in std::mem::take(&mut self.deeds[second]) {
                match deed {
                    Deed::Beat => self.beat(host, now).await,
                    Deed::Leave => self.leave(host, now).await,
                }
            }
            answers.push(self.answer(rest, &mut known).await);
        }
        Chronicle { answers, registered: self.registered }
    }

    async fn beat(&mut self, host: usize, now: Time) {
        // Who leaves has stopped its heart.
        if !self.world.runs(host, now) || self.world.leaves(host).is_some_and(|leaves| leaves <= now) {
            return;
        }
        let arrives = self.world.heard(host, now) && !self.loses();
        let wait = match &self.instance {
            // Nobody listens: that is told at once.
            None => self.paces[host].failed(self.random.f64()),
            Some(instance) if arrives => {
                let address = World::address(host);
                let body =
                    json!({ "ip": address.ip(), "port": address.port(), "revision": "1", "tags": { "az": "a" } });
                let answer = instance.ask(Method::POST, SERVICE, Some(body)).await;
                assert_eq!(answer.status(), StatusCode::OK);
                self.registered[host].get_or_insert(now);
                if self.loses() {
                    Duration::from_millis(PATIENCE) + self.paces[host].failed(self.random.f64())
                } else {
                    self.paces[host].taken(TTL, self.random.f64())
                }
            }
            Some(_) => Duration::from_millis(PATIENCE) + self.paces[host].failed(self.random.f64()),
        };
        // Deeds are by second, and so is what follows from them.
        let wait = Time::try_from(wait.as_millis()).unwrap().max(SECOND);
        self.plan(now + wait, host, Deed::Beat);
    }

    async fn leave(&mut self, host: usize, now: Time) {
        let arrives = self.world.heard(host, now) && !self.loses();
        match &self.instance {
            Some(instance) if arrives => {
                let path = format!("{SERVICE}/{}", World::address(host));
                let answer = instance.ask(Method::DELETE, &path, None).await;
                assert!([StatusCode::OK, StatusCode::NOT_FOUND].contains(&answer.status()));
            }
            // Until it ends: after that it expires.
            _ if self.world.runs(host, now + SECOND) => self.plan(now + SECOND, host, Deed::Leave),
            _ => {}
        }
    }

    fn loses(&mut self) -> bool {
        self.random.f64() < self.world.scenario.loss
    }

    /// What whoever asks now is told. Where that is what was told before it is not read again.
    async fn answer(&self, rest: &Rest, known: &mut Option<(String, Arc<Told>)>) -> Option<Arc<Told>> {
        let instance = self.instance.as_ref()?;
        let mut request = rest.request().unwrap();
        if let Some((tag, _)) = known.as_ref() {
            request.headers_mut().insert(header::IF_NONE_MATCH, tag.parse().unwrap());
        }
        let (head, body) = instance.registry.answer(request).await.into_parts();
        if head.status != StatusCode::NOT_MODIFIED {
            let body = body.collect().await.unwrap().to_bytes();
            let tag = head.headers.get(header::ETAG).cloned();
            let text = tag.as_ref().unwrap().to_str().unwrap().to_owned();
            let answer = Answer { status: head.status, tag, body };
            *known = Some((text, Arc::new(Told(rest.read(&answer)))));
        }
        known.as_ref().map(|(_, told)| Arc::clone(told))
    }
}
