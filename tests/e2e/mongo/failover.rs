//! Servers that fail in the middle of everything that PyMongo's clients do, with the pool on.

use std::time::Duration;

use fyke_mongo_server::Deployment;
use fyke_peers::{MongoClients, Outcome};
use mongodb::bson::{Document, doc};
use serde_json::{Value, json};

use super::{client, nothing_is_lent, process::Process, proxy, replica_set, uri};
use crate::support::{Proxy, eventually, long};

const POOL: &str = ", pool: { cluster: mongo, queue_timeout: 20s }";
const FEW: &str = ", connect_timeout: 1s, circuit_breakers: { connections: 6, pending: 10000 }";
/// The same where a connection may take as long as it likes.
const FEW_AND_SLOW: &str = ", connect_timeout: 60s, circuit_breakers: { connections: 6, pending: 10000 }";
/// By so many rounds of trouble a write has met it.
const MOST_ROUNDS: usize = 200;
/// However slow the machine is.
const PATIENCE: Duration = Duration::from_secs(120);
/// What consists of commands that drivers try again.
const TRIED_AGAIN: [&str; 7] = ["read", "update", "modify", "bulk", "bulks", "aggregate", "transaction"];

/// How often each of them fails.
fn times() -> usize {
    if long() { 20 } else { 3 }
}

/// Clients that work through the proxy until they are told to stop. What happens meanwhile is up to the closure, which must not wait for ever.
async fn meanwhile(proxy: &Proxy, options: &str, trouble: impl AsyncFnOnce(&mut Working)) -> Option<Outcome> {
    let settings = json!({ "uri": uri(proxy, options), "operations": null, "rough": true });
    let clients = MongoClients::start(&settings)?;
    let mut working = Working(Some(clients));
    working.when(MongoClients::ready).await;
    trouble(&mut working).await;
    let mut clients = working.0.unwrap();
    clients.stop();
    let mut outcome = tokio::task::spawn_blocking(move || clients.outcome(PATIENCE)).await.unwrap();
    // So many that what is to be seen in a failure would be lost.
    outcome.value.as_object_mut().unwrap().remove("counts");
    outcome.expect_own();
    nothing_is_lent(proxy).await;
    Some(outcome)
}

struct Working(Option<MongoClients>);

impl Working {
    /// Waits as long as it takes, elsewhere: the servers run here.
    async fn when(&mut self, wait: impl FnOnce(&MongoClients) + Send + 'static) {
        let clients = self.0.take().unwrap();
        let waited = tokio::task::spawn_blocking(move || {
            wait(&clients);
            clients
        });
        self.0 = Some(waited.await.unwrap());
    }

    /// All of them, so that no operation meets trouble twice: drivers try again once.
    async fn goes_on(&mut self) {
        self.when(|clients| clients.everyone_goes_on(300)).await;
    }

    async fn others_go_on(&mut self) {
        self.when(|clients| clients.goes_on(300)).await;
    }

    /// Whether there has been trouble often enough: as often as it was to be, and until a write has met it. Which of them do is chance.
    fn is_enough(&self, rounds: usize, least: usize, error: &str) -> bool {
        assert!(rounds < MOST_ROUNDS, "no write has met {error}");
        rounds >= least && self.0.as_ref().unwrap().has_told(error)
    }
}

/// What drivers try again has not failed, and has been done; save for what `excused` says.
#[track_caller]
fn expect_tried_again(outcome: &Outcome, excused: &[&str]) {
    for act in TRIED_AGAIN {
        assert!(outcome.done(act) > 0, "{act}: {:#}", outcome.value);
        let none = serde_json::Map::new();
        let kinds = outcome.value["failed"][act].as_object().unwrap_or(&none);
        assert!(kinds.keys().all(|kind| excused.contains(&kind.as_str())), "{act}: {:#}", outcome.value);
    }
}

/// Trouble with a replica set of two. Drivers try again once, and nobody sees any of it.
async fn unnoticed(trouble: impl AsyncFnOnce(&Deployment, &Proxy, &mut Working)) -> Option<Outcome> {
    let (set, proxy) = replica_set(2, POOL, FEW).await;
    let outcome = meanwhile(&proxy, "", async |working| {
        working.goes_on().await;
        trouble(&set, &proxy, working).await;
        working.goes_on().await;
    });
    let outcome = outcome.await?;
    expect_tried_again(&outcome, &[]);
    expect_clean(&set);
    Some(outcome)
}

/// Writes that failed with that error, each with a label that has it tried again: alone, or the whole transaction.
#[track_caller]
fn told_to_try_again(outcome: &Outcome, error: &str) -> u64 {
    let rows = outcome.writes_told(error);
    for row in &rows {
        let is_labelled = |label: &Value| label == "RetryableWriteError" || label == "TransientTransactionError";
        assert!(row[2].as_array().unwrap().iter().any(is_labelled), "{row}: {:#}", outcome.value);
    }
    rows.iter().filter_map(|row| row[3].as_u64()).sum()
}

fn expect_clean(set: &Deployment) {
    for server in set.servers() {
        assert_eq!(server.wire_errors(), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn elections_are_tried_over_by_drivers() {
    let outcome = unnoticed(async |set, _, working| {
        let mut election = 0;
        while !working.is_enough(election, times() * 2, "NotWritablePrimary") {
            election += 1;
            set.set_primary(Some(election % 2));
            working.goes_on().await;
        }
    });
    let Some(outcome) = outcome.await else { return };
    let refused = told_to_try_again(&outcome, "NotWritablePrimary");
    assert!(refused > 0, "{:#}", outcome.value);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_there_is_no_primary_operations_wait() {
    let outcome = unnoticed(async |set, proxy, working| {
        for election in 1..=times() {
            set.set_primary(None);
            eventually("somebody waits for a primary", async || {
                (proxy.metric("mongo_pool_searching", &[]).await > 0.0).then_some(())
            })
            .await;
            set.set_primary(Some(election % 2));
            working.goes_on().await;
        }
    });
    outcome.await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_cut_are_tried_over() {
    let outcome = unnoticed(async |set, _, working| {
        for _ in 0..times() * 2 {
            set.servers()[0].disconnect_all();
            working.goes_on().await;
        }
    });
    outcome.await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_dies_is_followed_to_the_next_one() {
    let outcome = unnoticed(async |set, _, working| {
        for election in 1..=times() {
            let (next, old) = (election % 2, (election + 1) % 2);
            set.servers()[old].stop().await;
            set.set_primary(Some(next));
            working.goes_on().await;
            set.servers()[old].restart().await.unwrap();
            working.goes_on().await;
        }
    });
    outcome.await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_freezes_is_followed_to_the_next_one() {
    freezes("&socketTimeoutMS=3000", FEW).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_freezes_and_fails_its_checks_holds_nobody() {
    // The clients themselves would wait without end.
    let checked = "health_check: { mongo: {}, interval: 250ms, no_traffic_interval: 250ms, timeout: 1s, unhealthy: 2 }";
    freezes("", &format!("{FEW}, {checked}")).await;
}

async fn freezes(options: &str, cluster: &str) {
    let (set, proxy) = replica_set(2, POOL, cluster).await;
    let outcome = meanwhile(&proxy, options, async |working| {
        for election in 1..=times() {
            working.goes_on().await;
            let (next, old) = (election % 2, (election + 1) % 2);
            set.servers()[old].freeze();
            set.set_primary(Some(next));
            // Whoever had asked it waits in vain; all others go on.
            working.others_go_on().await;
            set.servers()[old].thaw();
        }
        working.goes_on().await;
    });
    let Some(outcome) = outcome.await else { return };
    expect_clean(&set);
    assert!(outcome.slowest() < PATIENCE);
}

/// Whether the process is sound still.
async fn expect_sound(server: &Process) {
    let uri = format!("mongodb://{}/?directConnection=true", server.address);
    let direct = mongodb::Client::with_uri_str(uri).await.unwrap();
    let told: Document = direct.database("admin").run_command(doc! { "fykeTest": "connections" }).await.unwrap();
    assert_eq!(told.get_array("wireErrors").unwrap(), &[], "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_is_missed_until_the_next_one_is_there() {
    let mut server = Process::start().await;
    let proxy = proxy(server.address, POOL, FEW).await;
    let outcome = meanwhile(&proxy, "", async |working| {
        working.goes_on().await;
        let mut killed = 0;
        while !working.is_enough(killed, times(), "HostUnreachable") {
            killed += 1;
            server.replace().await;
            working.goes_on().await;
        }
    });
    let Some(outcome) = outcome.await else { return };
    // What it knew is gone, and that is all.
    expect_tried_again(&outcome, &["Missing"]);
    assert!(told_to_try_again(&outcome, "HostUnreachable") > 0, "{:#}", outcome.value);
    assert!(outcome.slowest() < PATIENCE);
    expect_sound(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_frozen_holds_nobody_longer_than_they_wait() {
    let server = Process::start().await;
    let proxy = proxy(server.address, POOL, FEW_AND_SLOW).await;
    let outcome = meanwhile(&proxy, "&socketTimeoutMS=4000", async |working| {
        for _ in 0..times() {
            working.goes_on().await;
            server.process.freeze();
            // Each of them waits in vain once, and tries again.
            working.when(|clients| clients.lost(8)).await;
            server.process.thaw();
        }
        working.goes_on().await;
    });
    let Some(outcome) = outcome.await else { return };
    expect_tried_again(&outcome, &[]);
    assert!(outcome.slowest() < PATIENCE);
    expect_sound(&server).await;
    // Others than those who were there before find it in order.
    let fresh = client(&proxy, "").await;
    fresh.database("shop").run_command(doc! { "ping": 1 }).await.unwrap();
}
