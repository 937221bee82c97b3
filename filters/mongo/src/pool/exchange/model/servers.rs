//! Three members of a replica set, or three routers, that know which cursor and which transaction is whose.

use std::collections::HashMap;

use super::clients::{Action, Packet};
use super::{Connection, ReplyHeader};
use crate::pool::facts::Labels;

/// A reply on its way to the proxy.
#[derive(Debug, Clone)]
pub(super) struct Wire {
    /// Client and request that it was made for.
    pub mark: (i32, i32),
    pub header: ReplyHeader,
    pub cursor: Option<i64>,
    pub code: Option<i32>,
    pub labels: Labels,
}

#[derive(Default)]
pub(super) struct Servers {
    /// Routers: each takes whatever comes, but has its own cursors and transactions.
    pub sharded: bool,
    pub primary: usize,
    cursors: HashMap<i64, usize>,
    /// By session: number and server.
    transactions: HashMap<Vec<u8>, (i64, usize)>,
    next_id: i32,
}

/// Cursor, code and labels of a reply.
type Outcome = (Option<i64>, Option<i32>, Labels);

const DONE: Outcome = (None, None, Labels::NONE);
const NO_SUCH_TRANSACTION: Outcome = (None, Some(251), Labels::TRANSIENT_TRANSACTION);

impl Wire {
    /// A reply to nothing.
    pub fn lie() -> Self {
        let header = ReplyHeader { request_id: 0, response_to: -1, more_to_come: false };
        Self { mark: (-1, -1), header, cursor: None, code: None, labels: Labels::NONE }
    }
}

impl Servers {
    pub fn new(sharded: bool) -> Self {
        Self { sharded, ..Self::default() }
    }

    /// Another primary. What was open on the old one is gone.
    pub fn elect(&mut self, choice: usize) {
        if self.sharded {
            return;
        }
        self.primary = (self.primary + 1 + choice) % 3;
        self.transactions.clear();
    }

    /// A server runs the next request of a connection.
    pub fn serve(&mut self, connection: &mut Connection, chance: usize) {
        let Some(packet) = connection.inbox.pop_front() else { return };
        // Exhaust: some replies more, each to the one before.
        let more = if packet.exhaust { chance % 4 } else { 0 };
        let mut response_to = packet.request_id;
        for left in (0..=more).rev() {
            let (cursor, code, labels) = self.run(&packet, connection.server, chance + left);
            self.next_id -= 1;
            let ended = left == 0 || cursor.is_none_or(|cursor| cursor == 0);
            let header = ReplyHeader { request_id: self.next_id - 1000, response_to, more_to_come: !ended };
            response_to = header.request_id;
            if !packet.more_to_come {
                let mark = (packet.client, packet.request_id);
                connection.outbox.push_back(Wire { mark, header, cursor, code, labels });
            }
            if ended {
                break;
            }
        }
    }

    fn run(&mut self, packet: &Packet, server: usize, chance: usize) -> Outcome {
        let primary = self.sharded || server == self.primary;
        match packet.action {
            Action::Find { opens: false, .. } => DONE,
            Action::Find { opens: true, .. } => {
                let cursor = i64::from(packet.request_id);
                self.cursors.insert(cursor, server);
                (Some(cursor), None, Labels::NONE)
            }
            Action::More { cursor } => {
                if !self.has_cursor(cursor, server) {
                    return (None, Some(43), Labels::NONE);
                }
                if chance % 5 == 4 {
                    self.cursors.remove(&cursor);
                    return (Some(0), None, Labels::NONE);
                }
                (Some(cursor), None, Labels::NONE)
            }
            Action::Kill { cursor } => {
                assert!(self.has_cursor(cursor, server), "an open cursor that the pool lost");
                self.cursors.remove(&cursor);
                DONE
            }
            Action::Start if primary => {
                self.transactions.insert(packet.session.clone(), (packet.number, server));
                DONE
            }
            Action::Start => (None, Some(10107), Labels::TRANSIENT_TRANSACTION),
            Action::Go | Action::Commit { .. } | Action::Abort => self.transaction(packet, server, chance),
            Action::Retryable if !primary => (None, Some(10107), Labels::RETRYABLE_WRITE),
            Action::Retryable | Action::Unacknowledged => DONE,
            Action::Hello => panic!("hello reached a server"),
        }
    }

    fn has_cursor(&self, cursor: i64, server: usize) -> bool {
        let home = self.cursors.get(&cursor).copied();
        assert!(home.is_none_or(|home| home == server), "cursor of server {home:?} asked of {server}");
        home.is_some()
    }

    fn transaction(&mut self, packet: &Packet, server: usize, chance: usize) -> Outcome {
        let open = self.transactions.get(&packet.session).filter(|(number, _)| *number == packet.number);
        match open {
            Some((_, home)) if *home == server => {}
            Some(_) if packet.action == (Action::Commit { again: true }) => {
                return (None, Some(10107), Labels::RETRYABLE_WRITE);
            }
            Some((_, home)) => panic!("transaction of server {home} continued at {server}: {packet:?}"),
            None => {
                return match packet.action {
                    Action::Commit { .. } if !self.sharded && server != self.primary => {
                        (None, Some(10107), Labels::RETRYABLE_WRITE)
                    }
                    _ => NO_SUCH_TRANSACTION,
                };
            }
        }
        match packet.action {
            Action::Abort => _ = self.transactions.remove(&packet.session),
            Action::Go if chance % 11 == 10 => {
                self.transactions.remove(&packet.session);
                return (None, Some(112), Labels::TRANSIENT_TRANSACTION);
            }
            _ => {}
        }
        DONE
    }
}
