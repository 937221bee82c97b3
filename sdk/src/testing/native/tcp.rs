//! Connections of a filter of TCP, in this process.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::outstanding::Outstanding;
use super::{rest, world};
use crate::abi::Action;
use crate::error::ConfigError;
use crate::tcp::{Side, TcpFilter, TcpPresent};
use crate::testing::TcpHost;
use crate::testing::kit::{InProcess, Looked, Services};
use crate::testing::properties;
use crate::testing::world::World;

pub(in crate::testing) struct NativeTcp<F: TcpFilter + TcpPresent> {
    host: TcpHost<F>,
    services: Services,
    connections: BTreeMap<u32, Connection>,
    outstanding: Outstanding,
}

struct Connection {
    /// The filter has let it begin.
    begun: bool,
    open: bool,
    /// By side: what was sent there, and did not come to the filter yet.
    queues: [VecDeque<(Vec<u8>, bool)>; 2],
    /// By side: what came out there.
    got: [Vec<u8>; 2],
}

const SIDES: [Side; 2] = [Side::Downstream, Side::Upstream];

const fn at(side: Side) -> usize {
    match side {
        Side::Downstream => 0,
        Side::Upstream => 1,
    }
}

const fn other(side: Side) -> Side {
    match side {
        Side::Downstream => Side::Upstream,
        Side::Upstream => Side::Downstream,
    }
}

impl<F: TcpFilter + TcpPresent> NativeTcp<F> {
    pub fn configure(configuration: &str) -> Result<Self, ConfigError> {
        Ok(Self {
            host: TcpHost::configure(configuration)?,
            services: Services::default(),
            connections: BTreeMap::new(),
            outstanding: Outstanding::default(),
        })
    }

    #[track_caller]
    pub fn connect(&mut self) -> u32 {
        let (id, action) = self.host.connect_with(properties::of_a_connection);
        let connection = Connection {
            begun: action == Action::Continue,
            open: true,
            queues: Default::default(),
            got: Default::default(),
        };
        self.connections.insert(id, connection);
        self.settle();
        id
    }

    #[track_caller]
    pub fn send(&mut self, id: u32, side: Side, bytes: &[u8], end: bool) {
        if let Some(queue) = self.connections.get_mut(&id).and_then(|one| one.queues.get_mut(at(side))) {
            queue.push_back((bytes.to_vec(), end));
        }
        self.settle();
    }

    pub fn look(&self, id: u32) -> Looked {
        let Some(connection) = self.connections.get(&id) else { return Looked::default() };
        let [client, upstream] = connection.got.clone();
        Looked { client, upstream, open: connection.open }
    }

    #[track_caller]
    pub fn close(&mut self, id: u32) {
        if self.connections.remove(&id).is_some() {
            for side in [Side::Upstream, Side::Downstream] {
                self.host.close(side, id);
            }
            self.host.finish(id);
            World::with(|world| world.streams.remove(&id));
        }
        self.settle();
    }

    pub fn open(&self) -> usize {
        self.connections.len().max(self.host.connections())
    }

    #[track_caller]
    fn settle(&mut self) {
        rest(|| {
            let mut moved = self.outstanding.serve(self.host.runtime(), &mut self.services);
            for (id, connection) in &mut self.connections {
                moved |= connection.step(&self.host, *id);
            }
            moved
        });
    }
}

impl<F: TcpFilter + TcpPresent> InProcess for NativeTcp<F> {
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

impl Connection {
    fn step<F: TcpFilter + TcpPresent>(&mut self, host: &TcpHost<F>, id: u32) -> bool {
        if !self.open {
            return false;
        }
        host.settle(id);
        let (resumed, closed, written) = host.connection(id, |state| {
            (
                std::mem::take(&mut state.resumed_sides),
                !std::mem::take(&mut state.closed_sides).is_empty(),
                std::mem::take(&mut state.written),
            )
        });
        let mut moved = !resumed.is_empty();
        self.begun |= moved;
        for (got, written) in self.got.iter_mut().zip(written) {
            moved |= !written.is_empty();
            got.extend(written);
        }
        for side in SIDES {
            moved |= self.pass(host, id, side);
        }
        if closed {
            self.open = false;
            return true;
        }
        if self.begun {
            for side in SIDES {
                let next = self.queues.get_mut(at(side)).and_then(VecDeque::pop_front);
                let Some((bytes, end)) = next else { continue };
                moved = true;
                if host.send(side, id, &bytes, end) == Action::Continue {
                    self.pass(host, id, side);
                }
            }
        }
        moved
    }

    /// What has gone on of a side comes out at the other one. Whether there was anything.
    fn pass<F: TcpFilter + TcpPresent>(&mut self, host: &TcpHost<F>, id: u32, from: Side) -> bool {
        let bytes = host.take(from, id);
        let any = !bytes.is_empty();
        if let Some(got) = self.got.get_mut(at(other(from))) {
            got.extend(bytes);
        }
        any
    }
}
