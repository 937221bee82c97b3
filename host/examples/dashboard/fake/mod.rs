//! A proxy that does not exist: believable numbers that move.

mod catalogue;
mod facts;
mod filters;
mod operations;
mod requests;
mod sources;
mod views;
mod world;

use std::{
    sync::{Condvar, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use fyke::admin::dashboard::{
    Source,
    link::Query,
    model::{
        Certificate, ClusterEndpoints, Event, Explanation, FilterPage, FilterSummary, Flow, Overview, PanelPage,
        Process, Question, Service, ServiceKind, Sources, Tap, TapFilter, Time, Trend,
    },
};

use self::world::World;

/// The pretended proxy.
pub struct Fake {
    world: Mutex<World>,
    ticked: Condvar,
}

impl Fake {
    /// One that has been running for hours.
    pub fn new() -> Self {
        Self { world: Mutex::new(World::new(now())), ticked: Condvar::new() }
    }

    /// A second goes by.
    pub fn tick(&self) {
        self.with(|world| world.advance(now()));
        self.ticked.notify_all();
    }

    /// Until the next second has gone by.
    pub fn wait(&self) {
        let world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        // Woken early or late, whoever waits looks again.
        drop(self.ticked.wait_timeout(world, Duration::from_secs(2)));
    }

    /// Changes what is pretended. Returns a status.
    pub fn pretend(&self, target: &str) -> u16 {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let query = Query::read(query);
        let known = self.with(|world| match path {
            "/fake/kill" => world.kill(query.value("cluster"), query.value("address"), true),
            "/fake/revive" => world.kill(query.value("cluster"), query.value("address"), false),
            "/fake/traffic" => world.traffic(query.value("cluster"), query.value("rate").parse().unwrap_or(0.0)),
            _ => false,
        });
        if known { 204 } else { 404 }
    }

    /// Not a secret.
    pub fn entropy(&self) -> [u8; 32] {
        self.with(|world| std::array::from_fn(|_| (world.random() * 256.0) as u8))
    }

    fn with<T>(&self, look: impl FnOnce(&mut World) -> T) -> T {
        look(&mut self.world.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time(u64::try_from(since.as_millis()).unwrap_or(0))
}

impl Source for Fake {
    fn now(&self) -> Time {
        now()
    }

    fn process(&self) -> Process {
        self.with(|world| views::process(world))
    }

    fn overview(&self) -> Overview {
        self.with(|world| views::overview(world))
    }

    fn total(&self, points: usize) -> Trend {
        self.with(|world| world.history.trend_of_all(ServiceKind::Listener, points))
    }

    fn service(&self, kind: ServiceKind, name: &str, points: usize) -> Option<Service> {
        self.with(|world| views::services(world, points).into_iter().find(|one| one.kind == kind && one.name == name))
    }

    fn flow(&self) -> Flow {
        self.with(|world| views::flow(world))
    }

    fn clusters(&self) -> Vec<String> {
        catalogue::CLUSTERS.iter().map(|cluster| cluster.name.to_owned()).collect()
    }

    fn endpoints(&self, cluster: Option<&str>) -> Vec<ClusterEndpoints> {
        self.with(|world| views::endpoints(world, cluster))
    }

    fn filters(&self) -> Vec<FilterSummary> {
        self.with(|world| filters::summaries(world))
    }

    fn filter(&self, name: &str) -> Option<FilterPage> {
        self.with(|world| filters::page(world, name))
    }

    fn panels(&self, filter: &str) -> Option<PanelPage> {
        self.with(|world| filters::panels(world, filter))
    }

    fn sources(&self) -> Sources {
        sources::sources(now())
    }

    fn certificates(&self) -> Vec<Certificate> {
        facts::certificates(now())
    }

    fn events(&self, most: usize) -> Vec<Event> {
        self.with(|world| world.events.iter().rev().take(most).cloned().collect())
    }

    fn can_change_endpoints(&self) -> bool {
        true
    }

    fn listeners(&self) -> Vec<String> {
        catalogue::LISTENERS.iter().map(|listener| listener.name.to_owned()).collect()
    }

    fn explain(&self, question: &Question) -> Explanation {
        requests::explain(question)
    }

    fn tap(&self, filter: &TapFilter, most: usize) -> Tap {
        self.with(|world| requests::tap(world, filter, most))
    }
}
