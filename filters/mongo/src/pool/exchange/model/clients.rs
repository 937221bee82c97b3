//! Clients that behave as drivers do.

use std::collections::VecDeque;

use crate::pool::errors::Form;
use crate::pool::exchange::{Exchange, Lease, Request};
use crate::pool::facts::{Command, Labels, ReadPreference, Reply};

/// What a request is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Find {
        opens: bool,
        tailable: bool,
    },
    More {
        cursor: i64,
    },
    Kill {
        cursor: i64,
    },
    Start,
    Go,
    /// `again`: an earlier try's outcome is unknown, so that the driver may commit anywhere.
    Commit {
        again: bool,
    },
    Abort,
    Unacknowledged,
    Retryable,
    Hello,
}

/// A request.
#[derive(Debug, Clone)]
pub(super) struct Packet {
    pub client: i32,
    pub request_id: i32,
    pub action: Action,
    pub session: Vec<u8>,
    pub number: i64,
    pub more_to_come: bool,
    pub exhaust: bool,
}

/// One connection of a client, and what the proxy keeps for it.
pub(super) struct Client {
    pub app: usize,
    pub serial: i32,
    pub exchange: Exchange,
    /// Sent by the client, not taken by the proxy.
    pub queue: VecDeque<Packet>,
    /// Taken, without a connection.
    pub pending: Option<Packet>,
    pub lease: Option<Lease>,
    /// On its way to a server, not all of it.
    pub sending: Option<Packet>,
    /// What the client waits for.
    pub outstanding: VecDeque<Packet>,
}

/// An application: what its connections have in common.
pub(super) struct App {
    session: Vec<u8>,
    number: i64,
    transaction: Option<Transaction>,
    /// With whether a `getMore` is under way.
    cursors: Vec<(i64, bool)>,
}

struct Transaction {
    busy: bool,
    again: bool,
}

impl Packet {
    pub fn command(&self) -> Command<'_> {
        let name = match self.action {
            Action::Find { .. } | Action::Go => "find",
            Action::More { .. } => "getMore",
            Action::Kill { .. } => "killCursors",
            Action::Start | Action::Unacknowledged | Action::Retryable => "insert",
            Action::Commit { .. } => "commitTransaction",
            Action::Abort => "abortTransaction",
            Action::Hello => "hello",
        };
        let in_transaction = matches!(self.action, Action::Start | Action::Go | Action::Commit { .. } | Action::Abort);
        let numbered = in_transaction || self.action == Action::Retryable;
        Command {
            name,
            database: "d",
            collection: Some("c"),
            session: numbered.then_some(&self.session),
            txn_number: numbered.then_some(self.number),
            in_transaction,
            starts_transaction: self.action == Action::Start,
            read_preference: match self.action {
                Action::Find { .. } => ReadPreference::SecondaryPreferred,
                _ => ReadPreference::Primary,
            },
            cursors: match self.action {
                Action::More { cursor } | Action::Kill { cursor } => vec![cursor],
                _ => Vec::new(),
            },
            long_lived: matches!(self.action, Action::Find { tailable: true, .. }),
            ..Command::default()
        }
    }

    pub fn request<'a>(&self, command: &'a Command<'a>) -> Request<'a> {
        Request {
            request_id: self.request_id,
            form: Form::Message,
            more_to_come: self.more_to_come,
            exhaust_allowed: self.exhaust,
            command,
            document: &[],
        }
    }
}

impl Client {
    pub fn new(app: usize, serial: i32) -> Self {
        Self {
            app,
            serial,
            exchange: Exchange::new(serial),
            queue: VecDeque::new(),
            pending: None,
            lease: None,
            sending: None,
            outstanding: VecDeque::new(),
        }
    }

    /// A reply reaches the client: a server's with its mark, or the proxy's own.
    pub fn receive(&mut self, app: &mut App, mark: Option<(i32, i32)>, more: bool, reply: &Reply<'_>) {
        let asked = self.outstanding.front().expect("a reply to a client that asked nothing");
        if let Some(mark) = mark {
            assert_eq!(mark, (self.serial, asked.request_id), "a reply that was made for another request");
        }
        if !more && let Some(asked) = self.outstanding.pop_front() {
            app.done(&asked, reply);
        }
    }
}

impl App {
    pub fn new(number: u8) -> Self {
        Self { session: vec![number; 16], number: 0, transaction: None, cursors: Vec::new() }
    }

    /// A request that this application might send now.
    pub fn ask(&mut self, client: i32, serial: i32, choice: usize) -> Option<Packet> {
        let action = match choice % 18 {
            0 => Action::Find { opens: false, tailable: false },
            1..4 => Action::Find { opens: true, tailable: choice.is_multiple_of(4) },
            4..8 => {
                let cursor = self.cursors.iter_mut().find(|(_, busy)| !busy)?;
                cursor.1 = true;
                Action::More { cursor: cursor.0 }
            }
            8 => {
                let at = self.cursors.iter().position(|(_, busy)| !busy)?;
                Action::Kill { cursor: self.cursors.remove(at).0 }
            }
            9..13 => self.go_on()?,
            13 => self.end(true)?,
            14 => self.end(false)?,
            15 => Action::Unacknowledged,
            16 if self.transaction.is_none() => {
                self.number += 1;
                Action::Retryable
            }
            _ => Action::Hello,
        };
        Some(Packet {
            client,
            request_id: serial,
            action,
            session: self.session.clone(),
            number: self.number,
            more_to_come: action == Action::Unacknowledged,
            exhaust: matches!(action, Action::More { .. }) && choice % 5 < 2,
        })
    }

    fn go_on(&mut self) -> Option<Action> {
        match &mut self.transaction {
            None => {
                self.number += 1;
                self.transaction = Some(Transaction { busy: true, again: false });
                Some(Action::Start)
            }
            // After a commit there is nothing but the commit again.
            Some(Transaction { busy: true, .. } | Transaction { again: true, .. }) => None,
            Some(transaction) => {
                transaction.busy = true;
                Some(Action::Go)
            }
        }
    }

    fn end(&mut self, commit: bool) -> Option<Action> {
        let transaction = self.transaction.as_mut().filter(|transaction| !transaction.busy)?;
        if !commit && transaction.again {
            return None;
        }
        transaction.busy = true;
        Some(if commit { Action::Commit { again: transaction.again } } else { Action::Abort })
    }

    fn done(&mut self, asked: &Packet, reply: &Reply<'_>) {
        match asked.action {
            Action::Find { .. } => self.cursors.extend(reply.cursor.map(|cursor| (cursor, false))),
            Action::More { cursor } if reply.cursor == Some(cursor) => {
                let found = self.cursors.iter_mut().find(|(id, _)| *id == cursor);
                found.expect("a cursor that is used").1 = false;
            }
            Action::More { cursor } => self.cursors.retain(|(id, _)| *id != cursor),
            Action::Start | Action::Go => {
                let transient = reply.labels.contains(Labels::TRANSIENT_TRANSACTION);
                assert!(reply.ok || transient, "an error in a transaction that nobody would retry: {reply:?}");
                self.transaction = reply.ok.then_some(Transaction { busy: false, again: false });
            }
            Action::Commit { .. } if reply.labels.contains(Labels::RETRYABLE_WRITE) => {
                self.transaction = Some(Transaction { busy: false, again: true });
            }
            Action::Commit { .. } | Action::Abort => self.transaction = None,
            Action::Retryable => {
                assert!(reply.ok || reply.labels.contains(Labels::RETRYABLE_WRITE), "{reply:?}");
            }
            Action::Kill { .. } | Action::Unacknowledged | Action::Hello => {}
        }
    }

    /// A connection is gone with what it waited for: network errors, to the driver.
    pub fn lost(&mut self, outstanding: VecDeque<Packet>) {
        for asked in outstanding {
            match asked.action {
                Action::More { cursor } => self.cursors.retain(|(id, _)| *id != cursor),
                Action::Start | Action::Go | Action::Abort => self.transaction = None,
                Action::Commit { .. } => self.transaction = Some(Transaction { busy: false, again: true }),
                _ => {}
            }
        }
    }
}
