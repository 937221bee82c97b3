//! What is counted by the proxy, by the server and by a driver, of the same commands.

use std::{collections::BTreeMap, time::Instant};

use fyke_mongo_server::{Entry, MongoServer};
use fyke_peers::Counts;
use mongodb::bson::{Bson, Document};

use crate::support::{DEADLINE, Proxy};

/// These set up connections: drivers do not tell of them, and with the pool on the proxy answers them.
const GREETINGS: [&str; 5] = ["hello", "isMaster", "ismaster", "saslStart", "saslContinue"];

/// Waits until the proxy and the servers have counted what the driver has, each by command, database, collection and call site.
pub async fn expect_same(driver: &Counts, proxy: &Proxy, servers: &[&MongoServer]) {
    let begun = Instant::now();
    loop {
        let at_proxy = of_proxy(proxy).await;
        let at_server = of_servers(servers);
        let differences = [("proxy", &at_proxy), ("server", &at_server)]
            .map(|(who, counts)| (who, differences(driver, counts)))
            .into_iter()
            .filter(|(_, differences)| !differences.is_empty())
            .collect::<Vec<_>>();
        // Writes without a reply may be under way for a moment.
        if differences.is_empty() {
            return;
        }
        assert!(begun.elapsed() < DEADLINE, "the driver's number, and the other one: {differences:#?}");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

/// What the proxy has counted.
pub async fn of_proxy(proxy: &Proxy) -> Counts {
    let text = proxy.ask("/metrics").await.text();
    let mut counts = Counts::new();
    for line in text.lines() {
        let Some((labels, count)) =
            line.strip_prefix("mongo_operations_total{").and_then(|line| line.rsplit_once("} "))
        else {
            continue;
        };
        // None of the values has a quote or a comma in it.
        let labels: BTreeMap<&str, &str> = labels
            .split(',')
            .filter_map(|label| label.split_once('='))
            .map(|(name, value)| (name, value.trim_matches('"')))
            .collect();
        let label = |name: &str| (*labels.get(name).unwrap_or(&"")).to_owned();
        let key = [label("mongo_cmd"), label("mongo_db"), label("mongo_collection"), label("mongo_callsite")];
        if !GREETINGS.contains(&key[0].as_str()) {
            *counts.entry(key).or_default() += count.parse::<f64>().unwrap() as u64;
        }
    }
    counts
}

/// What is in the servers' logs.
pub fn of_servers(servers: &[&MongoServer]) -> Counts {
    let mut counts = Counts::new();
    for entry in servers.iter().flat_map(|server| server.log().entries()) {
        if !GREETINGS.contains(&entry.command.as_str()) {
            let callsite = callsite(&entry);
            // The whole namespace, which the log does not have, is the only thing that says the database.
            let database = if entry.command == "bulkWrite" { "shop".to_owned() } else { entry.database };
            *counts.entry([entry.command, database, entry.collection, callsite]).or_default() += 1;
        }
    }
    counts
}

fn callsite(entry: &Entry) -> String {
    let named = |comment: &Document| comment.get_str("callingFunction").unwrap_or_default().to_owned();
    match &entry.comment {
        Some(Bson::Document(comment)) => named(comment),
        Some(Bson::String(comment)) => serde_json::from_str(comment).map(|comment| named(&comment)).unwrap_or_default(),
        _ => String::new(),
    }
}

fn differences(one: &Counts, other: &Counts) -> Vec<String> {
    let keys = one.keys().chain(other.keys()).collect::<std::collections::BTreeSet<_>>();
    let number = |counts: &Counts, key: &[String; 4]| counts.get(key).copied().unwrap_or(0);
    keys.into_iter()
        .filter(|key| number(one, key) != number(other, key))
        .map(|key| format!("{key:?}: {} and {}", number(one, key), number(other, key)))
        .collect()
}
