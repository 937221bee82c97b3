//! Tells of certificates that expire soon.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use serde_json::json;

use super::keeper::Keeper;
use crate::{
    certificate,
    snapshot::Snapshot,
    telemetry::{Events, event_kinds},
};

/// How often certificates are looked at. A new generation is looked at within this time, too.
const PERIOD: Duration = Duration::from_secs(60);
/// What counts as soon.
const SOON: Duration = Duration::from_secs(14 * 24 * 3600);
/// One certificate is told of once in this time.
const AGAIN: Duration = Duration::from_secs(24 * 3600);

/// Looks until it is aborted.
pub async fn watch(keeper: Arc<Keeper>) {
    let mut timer = tokio::time::interval(PERIOD);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut told = Told::default();
    loop {
        timer.tick().await;
        told.look(&keeper.proxy.snapshot(), keeper.proxy.registry().events(), SystemTime::now());
    }
}

/// When each was told of last: by listener, and when it expires.
#[derive(Default)]
struct Told(HashMap<(String, String, u64), SystemTime>);

impl Told {
    fn look(&mut self, snapshot: &Snapshot, events: &Events, now: SystemTime) {
        let mut seen = HashMap::new();
        for listener in &snapshot.config.listeners {
            let of_chains = listener.chains.iter().filter_map(|chain| chain.tls.as_ref());
            let all = listener.tls.iter().chain(of_chains).flat_map(|tls| tls.certificates.all());
            for (subject, expires) in all.filter_map(|own| certificate::expiry(own.cert.first()?)) {
                let key = (listener.name.clone(), subject, expires);
                // A chain has its listener's unless it has others.
                if seen.contains_key(&key) {
                    continue;
                }
                let last = self.0.get(&key).copied();
                let left = (SystemTime::UNIX_EPOCH + Duration::from_secs(expires)).duration_since(now).ok();
                let quiet = last.is_some_and(|last| now.duration_since(last).is_ok_and(|since| since < AGAIN));
                if quiet || left.is_some_and(|left| left > SOON) {
                    seen.extend(last.map(|last| (key, last)));
                    continue;
                }
                let when = match left {
                    Some(left) => format!("expires in {} days", left.as_secs() / 86400),
                    None => "has expired".to_owned(),
                };
                let (name, subject) = (&key.0, &key.1);
                let message = format!("the certificate of {subject} at listener {name} {when}");
                tracing::error!(listener = name, subject, "{message}: renew it");
                let fields = json!({ "certificate": subject, "not_after": expires });
                events.tell(&event_kinds::CERTIFICATE_EXPIRES, name, message, fields);
                seen.insert(key, now);
            }
        }
        self.0 = seen;
    }
}
