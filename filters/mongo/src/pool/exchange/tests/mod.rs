//! Single steps of an exchange. Histories are in `model`.

mod replies;
mod requests;

use proptest::prelude::*;

use super::*;
use crate::bson::Value;
use crate::bson::read::find;
use crate::bson::write::Document;
use crate::pool::errors::Code;
use crate::pool::facts::{Command, Labels, ReadPreference};
use crate::pool::fleet::{Fleet, Limits, Role, ServerFacts};
use crate::pool::hello::{HelloConfig, Persona};
use crate::pool::login::{ClientAuth, NoUsers};
use crate::pool::pins::{MemoryPins, PinLimits, PinTable};

pub(super) fn settings(auth: ClientAuth) -> Settings {
    let hello = HelloConfig { persona: Persona::Auto, service_id: [1; 12], mechanisms: Vec::new() };
    Settings { hello, limits: Limits::default(), auth }
}

pub(super) fn facts(role: Role) -> ServerFacts {
    ServerFacts { role, set_name: Some("rs".into()), limits: Limits::default(), version: None, election: None }
}

struct World {
    settings: Settings,
    pins: PinTable<MemoryPins>,
    fleet: Fleet,
    users: NoUsers,
}

impl World {
    fn new() -> Self {
        let mut fleet = Fleet::default();
        fleet.observe("p", facts(Role::Primary));
        fleet.observe("s", facts(Role::Secondary));
        let pins = PinTable::new(MemoryPins::default(), b"", PinLimits::default());
        Self { settings: settings(ClientAuth::Trusted), pins, fleet, users: NoUsers }
    }

    fn environment(&mut self) -> Environment<'_, MemoryPins, NoUsers> {
        let Self { settings, pins, fleet, users } = self;
        Environment { settings, pins, fleet, users, now: 1000 }
    }
}

fn request<'a>(request_id: i32, command: &'a Command<'a>) -> Request<'a> {
    Request { request_id, form: Form::Message, more_to_come: false, exhaust_allowed: false, command, document: &[] }
}

fn find_command() -> Command<'static> {
    Command { name: "find", database: "d", collection: Some("c"), ..Command::default() }
}

fn header(response_to: i32) -> ReplyHeader {
    ReplyHeader { request_id: 900, response_to, more_to_come: false }
}

fn ok() -> Reply<'static> {
    Reply { ok: true, ..Reply::default() }
}

/// An exchange whose request was sent to the primary.
fn awaiting(world: &mut World, request: &Request<'_>) -> Exchange {
    let mut exchange = Exchange::new(1);
    assert!(matches!(exchange.on_request(request, &mut world.environment()), Decision::Lease(_)));
    assert_eq!(exchange.on_leased("p", &mut world.environment()), Leased::Forward);
    exchange.on_sent();
    exchange
}

fn target(command: &Command<'_>) -> (Target, Option<Role>) {
    let mut world = World::new();
    let Decision::Lease(lease) = Exchange::new(1).on_request(&request(1, command), &mut world.environment()) else {
        panic!("no lease")
    };
    (lease.target, lease.or)
}

fn code(message: &[u8]) -> i32 {
    match find(&message[21..], "code") {
        Some(Value::Integer(code)) => i32::try_from(code).unwrap(),
        other => panic!("{other:?}"),
    }
}

proptest! {
    /// Any order of calls, as a confused caller or host might make them.
    #[test]
    fn no_order_of_calls_panics(calls in prop::collection::vec((0_u8..8, any::<bool>(), 0_i32..3), 0..60)) {
        let mut world = World::new();
        let mut exchange = Exchange::new(1);
        let command = find_command();
        for (call, flag, id) in calls {
            let environment = &mut world.environment();
            match call {
                0 => _ = exchange.on_request(&Request { exhaust_allowed: flag, ..request(id, &command) }, environment),
                1 => _ = exchange.on_request(&Request { more_to_come: flag, ..request(id, &command) }, environment),
                2 => _ = exchange.on_leased(if flag { "p" } else { "s" }, environment),
                3 => _ = exchange.on_lease_failed(LeaseFailure::NoEndpoint, environment),
                4 => _ = exchange.on_sent(),
                5 => _ = exchange.on_reply(ReplyHeader { more_to_come: flag, ..header(id) }),
                6 => _ = exchange.on_reply_end(flag.then_some(&ok()), true, environment),
                _ if flag => _ = exchange.on_broken(Breakage::Closed, environment),
                _ => _ = exchange.on_client_gone(),
            }
        }
    }
}
