//! Random histories of several clients against a small server: each hears what it would have heard with a connection of its own.

use std::collections::HashMap;

use fyke_sdk::Side;
use fyke_sdk::testing::LeaseState;
use proptest::prelude::*;

use super::{Guest, POOL, host};
use fyke_resp::{Cursor, Requests, Step};

/// One connection of a server that keeps nothing but the state of connections.
#[derive(Default)]
struct Server {
    requests: Requests,
    database: u8,
    queued: Option<Vec<String>>,
    channels: Vec<String>,
}

impl Server {
    fn hears(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut said = String::new();
        let mut cursor = Cursor::new(bytes, 0);
        while cursor.at() < bytes.len() {
            match cursor.next(&mut self.requests).expect("the server understands what it is sent") {
                Step::Whole => {}
                Step::Nothing => continue,
                Step::More => break,
            }
            let head = self.requests.head();
            let words: Vec<String> =
                (0..head.kept()).map(|at| String::from_utf8_lossy(head.argument(at).unwrap()).into_owned()).collect();
            said.push_str(&self.does(&words));
        }
        said.into_bytes()
    }

    fn does(&mut self, words: &[String]) -> String {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match (words.as_slice(), &mut self.queued) {
            (["MULTI"], queued @ None) => {
                *queued = Some(Vec::new());
                "+OK\r\n".to_owned()
            }
            (["EXEC"], queued @ Some(_)) => {
                let all = queued.take().unwrap();
                format!("*{}\r\n{}", all.len(), all.concat())
            }
            (["DISCARD"], queued @ Some(_)) => {
                *queued = None;
                "+OK\r\n".to_owned()
            }
            (["ECHO", what], Some(all)) => {
                let what = format!("{what}@{}", self.database);
                all.push(format!("${}\r\n{what}\r\n", what.len()));
                "+QUEUED\r\n".to_owned()
            }
            (["ECHO" | "BLPOP", what, ..], None) => {
                let what = format!("{what}@{}", self.database);
                format!("${}\r\n{what}\r\n", what.len())
            }
            (["SELECT", database], None) => {
                self.database = database.parse().unwrap();
                "+OK\r\n".to_owned()
            }
            (["SUBSCRIBE", channel], None) => {
                if !self.channels.iter().any(|known| known == channel) {
                    self.channels.push((*channel).to_owned());
                }
                format!("*3\r\n$9\r\nsubscribe\r\n${}\r\n{channel}\r\n:{}\r\n", channel.len(), self.channels.len())
            }
            (["UNSUBSCRIBE"], None) => {
                let all = std::mem::take(&mut self.channels);
                if all.is_empty() {
                    return "*3\r\n$11\r\nunsubscribe\r\n$-1\r\n:0\r\n".to_owned();
                }
                let left = (0..all.len()).rev();
                all.iter()
                    .zip(left)
                    .map(|(channel, left)| {
                        format!("*3\r\n$11\r\nunsubscribe\r\n${}\r\n{channel}\r\n:{left}\r\n", channel.len())
                    })
                    .collect()
            }
            _ => format!("-ERR {}\r\n", words.join(" ")),
        }
    }

    fn is_clean(&self) -> bool {
        self.queued.is_none() && self.channels.is_empty()
    }
}

#[derive(Debug, Clone)]
enum Move {
    /// A client says so many bytes of what it has to say.
    Say(usize, usize),
    /// A client that waits gets a connection.
    Lend(usize),
    /// The server says so many bytes of what it has to say to a client.
    Answer(usize, usize),
}

const CLIENTS: usize = 3;

/// What a client may do, in an order that makes sense to a server of RESP2.
fn script() -> impl Strategy<Value = Vec<&'static str>> {
    let block = prop_oneof![
        3 => Just(vec!["ECHO"]),
        2 => Just(vec!["ECHO", "ECHO", "ECHO"]),
        2 => Just(vec!["MULTI", "ECHO", "ECHO", "EXEC"]),
        1 => Just(vec!["MULTI", "ECHO", "DISCARD"]),
        1 => Just(vec!["EXEC"]),
        2 => Just(vec!["SELECT 1"]),
        1 => Just(vec!["SELECT 2", "ECHO"]),
        1 => Just(vec!["SELECT 0", "SELECT 1", "MULTI", "ECHO", "EXEC"]),
        1 => Just(vec!["LARGE"]),
        1 => Just(vec!["BLPOP"]),
        1 => Just(vec!["SUBSCRIBE", "SUBSCRIBE", "UNSUBSCRIBE"]),
        1 => Just(vec!["UNSUBSCRIBE"]),
    ];
    proptest::collection::vec(block, 1..8).prop_map(|blocks| blocks.concat())
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let client = 0..CLIENTS;
    proptest::collection::vec(
        prop_oneof![
            (client.clone(), prop_oneof![4 => 1..120_usize, 1 => 1..30_000_usize])
                .prop_map(|(client, bytes)| Move::Say(client, bytes)),
            client.clone().prop_map(Move::Lend),
            (client, 1..60_usize).prop_map(|(client, bytes)| Move::Answer(client, bytes)),
        ],
        0..120,
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]
    #[test]
    fn everybody_hears_what_a_connection_of_its_own_would_have_said(
        scripts in proptest::collection::vec(script(), CLIENTS),
        mut moves in moves(),
    ) {
        let host = host(POOL);
        let guests: Vec<Guest> = (0..CLIENTS).map(|_| Guest::new(&host)).collect();
        let mut rest: Vec<Vec<u8>> = scripts.iter().enumerate().map(|(client, script)| {
            script.iter().enumerate().flat_map(|(at, name)| match *name {
                // More than what is held of a command; of its argument the server sees the beginning.
                "LARGE" => super::command(&format!("ECHO {client}-{at}{}", "x".repeat(40 << 10))),
                "ECHO" | "BLPOP" | "SUBSCRIBE" => super::command(&format!("{name} {client}-{at}")),
                name => super::command(name),
            }).collect()
        }).collect();
        let expected: Vec<Vec<u8>> = rest.iter().map(|bytes| Server::default().hears(bytes)).collect();
        // The pool: connections that are free, and who has which.
        let mut free: HashMap<Vec<u8>, Vec<Server>> = HashMap::new();
        let mut lent: HashMap<usize, Server> = HashMap::new();
        let mut to_say: Vec<Vec<u8>> = vec![Vec::new(); CLIENTS];
        let mut heard: Vec<Vec<u8>> = vec![Vec::new(); CLIENTS];
        // Everything comes to its end.
        for _ in 0..400 {
            for client in 0..CLIENTS {
                moves.extend([Move::Say(client, 5000), Move::Lend(client), Move::Answer(client, 500)]);
            }
        }
        for step in moves {
            match step {
                Move::Say(client, bytes) => {
                    let count = bytes.min(rest[client].len());
                    let piece: Vec<u8> = rest[client].drain(..count).collect();
                    guests[client].says(piece);
                }
                Move::Lend(client) if guests[client].lease() == Some(LeaseState::Asked) => {
                    let identity = host.leases(guests[client].id).pop().unwrap().identity;
                    let database = identity[3] - b'0';
                    let server = free.entry(identity).or_default().pop();
                    lent.insert(client, server.unwrap_or_else(|| Server { database, ..Server::default() }));
                    guests[client].lend();
                }
                Move::Answer(client, bytes) if !to_say[client].is_empty() => {
                    let count = bytes.min(to_say[client].len());
                    let piece: Vec<u8> = to_say[client].drain(..count).collect();
                    guests[client].server_says(piece);
                }
                _ => {}
            }
            for (client, guest) in guests.iter().enumerate() {
                let sent = host.take(Side::Downstream, guest.id);
                if let Some(server) = lent.get_mut(&client) {
                    to_say[client].extend(server.hears(&sent));
                } else {
                    prop_assert!(sent.is_empty(), "something goes to nobody");
                }
                heard[client].extend(host.take(Side::Upstream, guest.id));
                // What the filter says in the same step, it says behind that.
                heard[client].extend(guest.told().into_bytes());
                if guest.lease() != Some(LeaseState::Lent) && let Some(server) = lent.remove(&client) {
                    prop_assert!(server.is_clean(), "a connection is given back with a state");
                    prop_assert!(to_say[client].is_empty(), "a connection is given back before it has said everything");
                    let identity = host.leases(guest.id).iter().rev().find(|lease| lease.state == LeaseState::Released).unwrap().identity.clone();
                    free.get_mut(&identity).unwrap().push(server);
                }
                prop_assert!(!guest.is_closed());
                prop_assert!(guest.lease() != Some(LeaseState::Dirty));
            }
        }
        for client in 0..CLIENTS {
            prop_assert_eq!(String::from_utf8_lossy(&heard[client]), String::from_utf8_lossy(&expected[client]));
        }
        prop_assert!(lent.is_empty());
    }
}
