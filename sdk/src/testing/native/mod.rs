//! The first ring: the filter in this process, driven callback by callback.

mod flight;
mod outstanding;
mod tcp;
mod world;

pub(super) use tcp::NativeTcp;
pub(super) use world::{logs, metric, records, spans};

use std::collections::BTreeMap;
use std::time::Duration;

use flight::{Flight, Progress};
use outstanding::Outstanding;

use crate::error::ConfigError;
use crate::filter::{HttpFilter, Present};
use crate::tcp::{TcpFilter, TcpPresent};
use crate::testing::kit::{InProcess, Message, Outcome, Services};
use crate::testing::pipe::Clusters;
use crate::testing::world::World;
use crate::testing::{Host, TcpHost};

/// A bound for loops that a broken filter would never leave.
const STEPS: usize = 100_000;

/// Goes on until nothing but time can move anything.
#[track_caller]
fn rest(mut moves: impl FnMut() -> bool) {
    for _ in 0..STEPS {
        if !moves() {
            return;
        }
    }
    panic!("the filter does not come to rest: after {STEPS} steps it still moves");
}

/// The clusters that a filter asks for with this configuration: learned by configuring it here. If it refuses, those before that.
pub(super) fn clusters<F: HttpFilter + Present>(configuration: &str) -> Clusters {
    let _ = Host::<F>::configure(configuration);
    asked_for()
}

/// The same of a filter of TCP connections.
pub(super) fn tcp_clusters<F: TcpFilter + TcpPresent>(configuration: &str) -> Clusters {
    let _ = TcpHost::<F>::configure(configuration);
    asked_for()
}

fn asked_for() -> Clusters {
    World::with(|world| {
        let of_route = |route: &serde_json::Value| {
            let one = route.get("cluster").into_iter();
            let many = route.get("weighted_clusters").and_then(serde_json::Value::as_array).into_iter().flatten();
            let many = many.filter_map(|weighted| weighted.get("cluster"));
            one.chain(many).filter_map(|name| name.as_str().map(str::to_owned)).collect::<Vec<_>>()
        };
        Clusters {
            called: std::mem::take(&mut world.required),
            routed: world.routes.iter().flat_map(of_route).collect(),
        }
    })
}

pub(super) struct Native<F: HttpFilter + Present> {
    host: Host<F>,
    services: Services,
    flights: BTreeMap<u32, Flight>,
    outstanding: Outstanding,
}

impl<F: HttpFilter + Present> Native<F> {
    pub fn configure(configuration: &str) -> Result<Self, ConfigError> {
        Ok(Self {
            host: Host::configure(configuration)?,
            services: Services::default(),
            flights: BTreeMap::new(),
            outstanding: Outstanding::default(),
        })
    }

    pub fn reload(&mut self, configuration: &str) -> Result<(), ConfigError> {
        self.host.reconfigure(configuration)
    }

    pub fn remove_cluster(&mut self, name: &str) {
        World::with(|world| world.gone.push(name.to_owned()));
    }

    #[track_caller]
    pub fn start(&mut self, request: Message) -> u32 {
        let stream = self.host.open();
        self.flights.insert(stream, Flight::new(stream, request));
        self.settle();
        stream
    }

    pub fn is_done(&self, stream: u32) -> bool {
        self.flights.get(&stream).is_none_or(Flight::is_done)
    }

    #[track_caller]
    pub fn finish(&mut self, stream: u32) -> Result<Outcome, String> {
        let Some(flight) = self.flights.get(&stream) else {
            return Err("it is not one of this host's".to_owned());
        };
        if !flight.is_done() {
            return Err(self.outstanding.describe().unwrap_or_else(|| flight.waits_for().to_owned()));
        }
        let flight = self.flights.remove(&stream);
        self.host.finish(stream);
        World::with(|world| world.streams.remove(&stream));
        // What the filter has sent at the end, without waiting for it.
        self.settle();
        flight.map(Flight::into_outcome).ok_or_else(String::new)
    }

    pub fn cancel(&mut self, stream: u32) {
        if self.flights.remove(&stream).is_some() {
            self.host.finish(stream);
            World::with(|world| world.streams.remove(&stream));
        }
        self.settle();
    }

    #[track_caller]
    fn settle(&mut self) {
        rest(|| {
            let mut moved = self.outstanding.serve(self.host.runtime(), &mut self.services);
            for flight in self.flights.values_mut() {
                moved |= flight.step(&self.host, &mut self.services) == Progress::Moved;
            }
            moved
        });
    }

    pub fn open_streams(&self) -> usize {
        self.flights.len().max(self.host.runtime().streams())
    }
}

impl<F: HttpFilter + Present> InProcess for Native<F> {
    fn services(&mut self) -> &mut Services {
        &mut self.services
    }

    #[track_caller]
    fn advance(&mut self, duration: Duration) {
        let end = world::end(duration);
        while world::step(end, &mut self.outstanding, self.host.runtime()).is_some() {
            self.settle();
        }
        self.settle();
    }
}
