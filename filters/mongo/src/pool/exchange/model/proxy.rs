//! What the caller of an exchange does for it: it takes requests, lends connections, passes replies on, closes.

use std::collections::VecDeque;

use super::servers::Wire;
use super::{Breakage, CONNECTIONS, Connection, Decision, Failure, Leased, Reply, Target, Upstream, World, name};

impl World {
    /// The proxy takes a client's next request, or looks for a connection for the one that waits.
    pub(super) fn pump(&mut self, client: usize, pick: usize) {
        if self.clients[client].lease.is_none() {
            let Some(packet) = self.clients[client].queue.front().cloned() else { return };
            let command = packet.command();
            let request = packet.request(&command);
            match self.with(client, |exchange, environment| exchange.on_request(&request, environment)) {
                Decision::Wait => return,
                Decision::Lease(lease) => {
                    let client = &mut self.clients[client];
                    client.lease = Some(lease);
                    client.pending = client.queue.pop_front();
                }
                Decision::Answer(message) => {
                    self.clients[client].queue.pop_front();
                    self.answer(client, &message);
                    return;
                }
                Decision::Discard(_) => {
                    self.clients[client].queue.pop_front();
                    return;
                }
            }
        }
        self.lend(client, pick);
    }

    fn lend(&mut self, client: usize, pick: usize) {
        while let Some(lease) = self.clients[client].lease.clone() {
            let server = match &lease.target {
                Target::Any => pick % 3,
                Target::Label(role) => {
                    let fits = |server: &usize| self.fleet.role(&name(*server)) == Some(*role);
                    (0..3).map(|server| (server + pick) % 3).find(fits).unwrap()
                }
                Target::Server(server) => server[1..].parse().unwrap(),
            };
            let Some(connection) = self.idle(server) else { return };
            self.clients[client].lease = None;
            match self.with(client, |exchange, environment| exchange.on_leased(&name(server), environment)) {
                Leased::Again(lease) => self.clients[client].lease = Some(lease),
                Leased::Unwanted => panic!("a lease that was asked for is unwanted"),
                Leased::Forward => {
                    let taken = &mut self.connections[connection];
                    assert!(taken.inbox.iter().all(|packet| packet.more_to_come), "lent with a request in it");
                    taken.holder = Some(client);
                    self.clients[client].sending = self.clients[client].pending.take();
                }
            }
        }
    }

    /// A connection to a server that nobody holds. One with something to read would be closed by the host.
    fn idle(&mut self, server: usize) -> Option<usize> {
        self.connections.retain(|connection| connection.holder.is_some() || connection.outbox.is_empty());
        let fits = |connection: &Connection| connection.server == server && connection.holder.is_none();
        if let Some(found) = self.connections.iter().position(fits) {
            return Some(found);
        }
        if self.connections.len() >= CONNECTIONS {
            let idle = self.connections.iter().position(|connection| connection.holder.is_none())?;
            self.connections.remove(idle);
        }
        let connection = Connection { server, inbox: VecDeque::new(), outbox: VecDeque::new(), holder: None };
        self.connections.push(connection);
        Some(self.connections.len() - 1)
    }

    pub(super) fn held(&self, client: usize) -> Option<usize> {
        self.connections.iter().position(|connection| connection.holder == Some(client))
    }

    /// The last byte of a request is written.
    pub(super) fn send(&mut self, client: usize) {
        let Some(packet) = self.clients[client].sending.take() else { return };
        let connection = self.held(client).unwrap();
        self.connections[connection].inbox.push_back(packet);
        match self.clients[client].exchange.on_sent() {
            Upstream::Hold => {}
            Upstream::Release => self.connections[connection].holder = None,
            Upstream::Close => panic!("closed after a request"),
        }
    }

    /// The proxy reads a reply.
    pub(super) fn deliver(&mut self, connection: usize, cut: bool) {
        let Some(wire) = self.connections[connection].outbox.pop_front() else { return };
        let Some(client) = self.connections[connection].holder else {
            self.connections.remove(connection);
            return;
        };
        if self.clients[client].exchange.on_reply(wire.header) != Upstream::Hold {
            return self.cut(connection, Breakage::Violation);
        }
        if cut {
            return self.cut(connection, Breakage::Closed);
        }
        let namespace = wire.cursor.map(|_| "d.c");
        let Wire { code, cursor, labels, .. } = wire;
        let reply = Reply { ok: code.is_none(), code, labels, cursor, namespace, ..Reply::default() };
        let clean = self.connections[connection].outbox.is_empty();
        let end = self.with(client, |exchange, environment| exchange.on_reply_end(Some(&reply), clean, environment));
        assert_eq!(wire.header.more_to_come, end.upstream == Upstream::Hold);
        match end.upstream {
            Upstream::Hold => {}
            Upstream::Release => {
                let connection = &mut self.connections[connection];
                assert!(connection.inbox.is_empty() && connection.outbox.is_empty(), "returned dirty");
                connection.holder = None;
            }
            Upstream::Close => _ = self.connections.remove(connection),
        }
        if end.observed.is_some() {
            self.observe();
        }
        let Self { clients, apps, .. } = self;
        let client = &mut clients[client];
        client.receive(&mut apps[client.app], Some(wire.mark), wire.header.more_to_come, &reply);
    }

    /// A connection ends.
    pub(super) fn cut(&mut self, connection: usize, breakage: Breakage) {
        let Some(client) = self.connections.remove(connection).holder else { return };
        self.clients[client].sending = None;
        let failure = self.with(client, |exchange, environment| exchange.on_broken(breakage, environment));
        assert_ne!(failure, Failure::Nothing);
        self.failed(client, failure);
    }

    pub(super) fn failed(&mut self, client: usize, failure: Failure) {
        match failure {
            Failure::Again(lease) => self.clients[client].lease = Some(lease),
            Failure::Answer(message) => {
                self.clients[client].pending = None;
                self.answer(client, &message);
            }
            Failure::Discard => self.clients[client].pending = None,
            Failure::CloseClient => self.leave(client),
            Failure::Nothing => panic!("a failure without an exchange"),
        }
    }

    /// A message of the proxy's own reaches a client.
    fn answer(&mut self, client: usize, message: &[u8]) {
        let reply = Reply::read(&message[21..]).unwrap();
        let response_to = i32::from_le_bytes(message[8..12].try_into().unwrap());
        let Self { clients, apps, .. } = self;
        let client = &mut clients[client];
        assert_eq!(client.outstanding.front().map(|asked| asked.request_id), Some(response_to));
        client.receive(&mut apps[client.app], None, false, &reply);
    }
}
