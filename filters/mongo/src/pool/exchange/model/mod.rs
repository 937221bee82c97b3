//! Random histories of clients, servers and a pool around real exchanges and pins.
//!
//! The pool here does what the caller of this module must do, no more. Two applications have two connections each, on two
//! workers; an application uses its cursors and its session's transaction over either, as a driver of a mongos does.
//! [`servers`] know the truth: which cursor and transaction is open where, and panic when one that is open elsewhere is
//! asked for. Every reply carries a mark of the request that it was made for, and clients check it. At the end of a history
//! everything must come to rest: each request answered or its connection closed, each connection returned clean.

mod clients;
mod proxy;
mod servers;

use std::collections::VecDeque;

use proptest::prelude::*;

use super::tests::{facts, settings};
use super::*;
use crate::pool::fleet::{Fleet, Role};
use crate::pool::login::{ClientAuth, NoUsers};
use crate::pool::pins::{MemoryPins, PinLimits, PinTable};

use clients::{App, Client, Packet};
use servers::{Servers, Wire};

/// An upstream connection.
struct Connection {
    server: usize,
    /// Requests that the server has not seen.
    inbox: VecDeque<Packet>,
    /// Replies that the proxy has not seen.
    outbox: VecDeque<Wire>,
    holder: Option<usize>,
}

struct World {
    clients: Vec<Client>,
    apps: Vec<App>,
    servers: Servers,
    connections: Vec<Connection>,
    /// One table per worker, over one store.
    pins: Vec<PinTable<MemoryPins>>,
    fleet: Fleet,
    settings: Settings,
    serial: i32,
}

const CONNECTIONS: usize = 3;

fn name(server: usize) -> String {
    format!("s{server}")
}

impl World {
    fn new(sharded: bool) -> Self {
        let store = MemoryPins::default();
        let table = || PinTable::new(store.clone(), b"", PinLimits::default());
        let mut world = Self {
            clients: Vec::new(),
            apps: vec![App::new(0), App::new(1)],
            servers: Servers::new(sharded),
            connections: Vec::new(),
            pins: vec![table(), table()],
            fleet: Fleet::default(),
            settings: settings(ClientAuth::Trusted),
            serial: 0,
        };
        for slot in 0..4 {
            world.serial += 1;
            world.clients.push(Client::new(slot % 2, world.serial));
        }
        world.observe();
        world
    }

    /// Labels are brought up to date.
    fn observe(&mut self) {
        for server in 0..3 {
            let role = match self.servers.sharded {
                true => Role::Mongos,
                false if server == self.servers.primary => Role::Primary,
                false => Role::Secondary,
            };
            self.fleet.observe(&name(server), facts(role));
        }
    }

    /// Calls the exchange of a client with its worker's environment.
    fn with<T>(
        &mut self,
        client: usize,
        call: impl FnOnce(&mut Exchange, &mut Environment<'_, MemoryPins, NoUsers>) -> T,
    ) -> T {
        let Self { clients, pins, fleet, settings, .. } = self;
        let pins = &mut pins[client / 2];
        let mut environment = Environment { settings, pins, fleet, users: &mut NoUsers, now: 1 };
        call(&mut clients[client].exchange, &mut environment)
    }

    fn step(&mut self, kind: u8, a: usize, b: usize) {
        let client = a % self.clients.len();
        let connection = (!self.connections.is_empty()).then(|| a % self.connections.len().max(1));
        match (kind, connection) {
            (0..8, _) => self.ask(client, b),
            (8..12, _) => self.pump(client, b),
            (12..16, _) => self.send(client),
            (16..22, Some(connection)) => self.servers.serve(&mut self.connections[connection], b),
            (22..28, Some(connection)) => self.deliver(connection, b % 23 == 7),
            (28, Some(connection)) => {
                // Nothing that was asked for, or the same once more.
                let lie = match self.connections[connection].outbox.back() {
                    Some(last) if b.is_multiple_of(2) => last.clone(),
                    _ => Wire::lie(),
                };
                self.connections[connection].outbox.push_back(lie);
            }
            (29, Some(connection)) => self.cut(connection, Breakage::Closed),
            (30, _) if b.is_multiple_of(3) => self.leave(client),
            (31, _) if b.is_multiple_of(3) => self.servers.elect(b % 2),
            (32, _) if self.clients[client].lease.take().is_some() => {
                let failure = self.with(client, |exchange, environment| {
                    exchange.on_lease_failed(LeaseFailure::QueueTimeout, environment)
                });
                self.failed(client, failure);
            }
            _ => {}
        }
    }

    /// A client sends a request to the proxy.
    fn ask(&mut self, client: usize, choice: usize) {
        self.serial += 1;
        let serial = self.serial;
        let Self { clients, apps, .. } = self;
        let client = &mut clients[client];
        if client.outstanding.len() < 3
            && let Some(packet) = apps[client.app].ask(client.serial, serial, choice)
        {
            client.queue.push_back(packet.clone());
            if !packet.more_to_come {
                client.outstanding.push_back(packet);
            }
        }
    }

    /// A client goes, another comes in its place.
    fn leave(&mut self, client: usize) {
        let held = self.held(client);
        match self.clients[client].exchange.on_client_gone() {
            Upstream::Close => _ = self.connections.remove(held.expect("something to close")),
            Upstream::Release => assert!(self.clients[client].lease.is_some()),
            Upstream::Hold => assert_eq!(held, None),
        }
        self.serial += 1;
        let Self { clients, apps, serial, .. } = self;
        let gone = std::mem::replace(&mut clients[client], Client::new(client % 2, *serial));
        apps[gone.app].lost(gone.outstanding);
    }

    /// Nothing new happens any more; what is under way must end.
    fn rest(&mut self) {
        for round in 0..200 {
            for client in 0..self.clients.len() {
                self.pump(client, round);
                self.send(client);
            }
            let mut connection = 0;
            while connection < self.connections.len() {
                let before = self.connections.len();
                self.servers.serve(&mut self.connections[connection], 0);
                self.deliver(connection, false);
                connection += usize::from(self.connections.len() == before);
            }
        }
        for client in &self.clients {
            assert!(client.exchange.is_idle() && client.outstanding.is_empty() && client.queue.is_empty());
        }
        assert!(self.connections.iter().all(|connection| connection.holder.is_none()));
    }
}

/// Runs a history to its end; what does not hold panics.
pub fn run(sharded: bool, history: impl IntoIterator<Item = (u8, usize, usize)>) {
    let mut world = World::new(sharded);
    for (kind, a, b) in history {
        world.step(kind, a, b);
    }
    world.rest();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn histories_of_clients_and_failures(
        sharded: bool, history in prop::collection::vec((0_u8..33, 0_usize..1000, 0_usize..1000), 0..400),
    ) {
        run(sharded, history);
    }
}
