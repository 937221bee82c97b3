//! The first ring: the filter in this process, driven callback by callback.

mod flight;
mod outstanding;

use std::collections::BTreeMap;
use std::time::Duration;

use flight::{Flight, Progress};
use outstanding::Outstanding;

use crate::error::ConfigError;
use crate::filter::{HttpFilter, Present};
use crate::testing::Host;
use crate::testing::kit::{Message, Outcome, Services};
use crate::testing::pipe::Clusters;
use crate::testing::world::World;

/// A bound for loops that a broken filter would never leave.
const STEPS: usize = 100_000;

/// The clusters that a filter asks for with this configuration: learned by configuring it here. If it refuses, those before that.
pub(super) fn clusters<F: HttpFilter + Present>(configuration: &str) -> Clusters {
    let _ = Host::<F>::configure(configuration);
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
    pub services: Services,
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
    pub fn advance(&mut self, duration: Duration) {
        let end = World::with(|world| world.now) + u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        loop {
            let (now, tick) = World::with(|world| (world.now, world.tick.map(|(at, _)| at)));
            let next = [tick, self.outstanding.next()].into_iter().flatten().min().filter(|next| *next <= end);
            self.host.advance(Duration::from_nanos(next.unwrap_or(end).saturating_sub(now)));
            self.outstanding.expire(&self.host);
            self.settle();
            if next.is_none() {
                break;
            }
        }
    }

    /// Goes on until nothing but time can move anything.
    #[track_caller]
    fn settle(&mut self) {
        for _ in 0..STEPS {
            let mut moved = self.outstanding.serve(&self.host, &mut self.services);
            for flight in self.flights.values_mut() {
                moved |= flight.step(&self.host, &mut self.services) == Progress::Moved;
            }
            if !moved {
                return;
            }
        }
        panic!("the filter does not come to rest: after {STEPS} steps it still moves");
    }

    /// The value of a counter or gauge, and how many values a histogram was given.
    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> (i64, usize) {
        let values = self.values(name, labels);
        (values.last().copied().unwrap_or(0), values.len())
    }

    fn values(&self, name: &str, labels: &[(&str, &str)]) -> Vec<i64> {
        World::with(|world| {
            if labels.is_empty() {
                let plain = world.metrics.iter().find(|(_, known, _)| known == name);
                return plain.map(|(_, _, values)| values.clone()).unwrap_or_default();
            }
            let Some(metric) = world.labelled.iter().find(|known| known.name == name) else {
                return Vec::new();
            };
            let wanted =
                |label: &String| labels.iter().find(|(name, _)| name == label).map(|(_, value)| (*value).to_owned());
            let values: Option<Vec<String>> = metric.labels.iter().map(wanted).collect();
            values.and_then(|values| metric.series.get(&values).cloned()).unwrap_or_default()
        })
    }

    pub fn logs(&self) -> Vec<String> {
        World::with(|world| world.logs.iter().map(|(_, line)| line.clone()).collect())
    }

    pub fn records(&self) -> Vec<String> {
        World::with(|world| world.sinks.iter().flat_map(|(_, records)| records.clone()).collect())
    }

    pub fn open_streams(&self) -> usize {
        self.flights.len().max(self.host.runtime().streams())
    }
}
