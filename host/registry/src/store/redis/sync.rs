//! Once a second: what is owed is written, and what others have changed is read.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    sync::atomic::Ordering,
    time::Duration,
};

use redis::{RedisResult, aio::MultiplexedConnection};

use super::{Redis, When, connection::is_of_keys, stored, touched::Owed, word};
use crate::{
    catalog::Record,
    clock::Moment,
    host::{Fields, ServiceName},
};

/// How often everything is read, changed or not: so old `last_check_in` may be of hosts that other registries hear.
const EVERYTHING: Duration = Duration::from_secs(30);
/// How long until a server that is away is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// Hosts in one question.
const CHUNK: usize = 500;

/// What was read last.
#[derive(Debug, Default)]
pub(super) struct Known {
    epoch: Option<String>,
    changes: HashMap<ServiceName, String>,
    /// The server has been away since it was read.
    away: bool,
    /// Until then hosts stay that the server does not have.
    patience: Option<Moment>,
    everything: Option<Moment>,
    again: Option<Moment>,
    /// Services that cannot be read. They are as they were known.
    unreadable: HashSet<ServiceName>,
}

/// The hosts of a service as the server has them.
#[derive(Debug, Default)]
struct Found {
    records: Vec<Record>,
    /// They deregistered.
    gone: HashSet<SocketAddr>,
    /// In the set and nowhere else.
    expired: Vec<SocketAddr>,
}

type Cells = Vec<Option<Vec<u8>>>;

impl Redis {
    pub(super) async fn synchronise(&self) {
        let mut known = self.known.lock().await;
        let now = self.clock.now();
        let connection = match self.link.connection() {
            Some(connection) => Some(connection),
            None => {
                known.away = true;
                self.ready.store(false, Ordering::Release);
                if known.again.is_some_and(|again| now < again) {
                    return;
                }
                known.again = Some(now + AGAIN);
                self.link.connect().await
            }
        };
        let Some(mut connection) = connection else { return };
        if !self.flush().await {
            return;
        }
        let read = self.read_changes(&mut connection, &mut known, now).await;
        match self.link.checked(read) {
            Some(()) => {
                known.away = false;
                self.ready.store(true, Ordering::Release);
                self.read.store(true, Ordering::Release);
            }
            // The connection may stand, but what tells of changes cannot be read.
            None => {
                known.away = true;
                self.ready.store(false, Ordering::Release);
            }
        }
    }

    /// Writes what is owed; `false` when the server is away.
    pub(super) async fn flush(&self) -> bool {
        for ((service, address), owed, step) in self.touched.owed() {
            let record = self.catalog.record(&service, &address);
            let told = match (owed, record) {
                (Owed { removed: Some(at), .. }, None) => {
                    self.delete(&service, &[address], at, When::Late, true).await.is_some()
                }
                (_, None) => true,
                (Owed { put, weigh, .. }, Some(record)) => {
                    (!put || self.put(&service, &record, When::Late).await)
                        && (!weigh || self.set_weight(&service, &[address], record.operator).await.is_some())
                }
            };
            // What cannot be told because of what somebody else has written there is not tried for ever: the next heartbeat says it again.
            if !told && self.link.connection().is_none() {
                return false;
            }
            self.touched.paid(&(service, address), step);
        }
        true
    }

    async fn read_changes(
        &self,
        connection: &mut MultiplexedConnection,
        known: &mut Known,
        now: Moment,
    ) -> RedisResult<()> {
        let step = self.touched.step();
        let (_, epoch, length): (Option<String>, String, usize) = redis::pipe()
            .cmd("SET")
            .arg(self.keys.epoch())
            .arg(word())
            .arg("NX")
            .cmd("GET")
            .arg(self.keys.epoch())
            .cmd("HLEN")
            .arg(self.keys.changes())
            .query_async(connection)
            .await?;
        let lost = known.epoch.as_ref().is_some_and(|before| *before != epoch);
        if lost {
            tracing::warn!("Redis has lost its data; hosts stay for one TTL, until they are heard of");
        }
        if lost || (known.away && known.epoch.is_some()) {
            known.patience = Some(now + self.ttl);
            known.everything = None;
        }
        known.epoch = Some(epoch);
        if length > self.services.saturating_mul(2) {
            let kind = redis::ErrorKind::UnexpectedReturnType;
            return Err((kind, "there are more services than there may be", length.to_string()).into());
        }
        let changes: HashMap<String, String> =
            redis::cmd("HGETALL").arg(self.keys.changes()).query_async(connection).await?;
        let changes: HashMap<ServiceName, String> =
            changes.into_iter().filter_map(|(name, mark)| Some((ServiceName::parse(&name).ok()?, mark))).collect();

        let everything = known.everything.is_none_or(|then| then <= now);
        let differs = |(name, mark): &(&ServiceName, &String)| everything || known.changes.get(*name) != Some(*mark);
        let mut wanted: HashSet<ServiceName> = changes.iter().filter(differs).map(|(name, _)| name.clone()).collect();
        wanted.extend(self.catalog.due());
        // Those that the server no longer has.
        wanted.extend(self.catalog.services().into_iter().filter(|name| !changes.contains_key(name)));
        let patient = known.patience.is_some_and(|until| now < until);
        let mut unreadable = HashSet::new();
        for service in wanted {
            match self.adopt(connection, &service, now, step, patient).await {
                Err(error) if is_of_keys(&error) => {
                    if !known.unreadable.contains(&service) {
                        tracing::warn!(%service, %error, "a service in Redis cannot be read: its hosts stay as they were known");
                    }
                    unreadable.insert(service);
                }
                adopted => adopted?,
            }
        }
        self.touched.forget(step);
        known.changes = changes;
        // They are tried again.
        known.changes.retain(|service, _| !unreadable.contains(service));
        known.unreadable = unreadable;
        if everything {
            known.everything = Some(now + EVERYTHING);
        }
        Ok(())
    }

    /// Reads a service, and serves what was read.
    async fn adopt(
        &self,
        connection: &mut MultiplexedConnection,
        service: &ServiceName,
        now: Moment,
        step: u64,
        patient: bool,
    ) -> RedisResult<()> {
        let found = self.read_service(connection, service, now).await?;
        let gone = found.gone;
        let newer = |address: &SocketAddr| self.touched.newer(&(service.clone(), *address), step);
        let stays = |record: &Record| patient && !gone.contains(&record.address);
        self.catalog.adopt(service, found.records, newer, stays);
        if found.expired.is_empty() {
            return Ok(());
        }
        self.clean(connection, service, &found.expired).await
    }

    async fn read_service(
        &self,
        connection: &mut MultiplexedConnection,
        service: &ServiceName,
        now: Moment,
    ) -> RedisResult<Found> {
        let mut found = Found::default();
        let members = self.members(connection, service).await?;
        for chunk in members.chunks(CHUNK) {
            let (mut hashes, mut times) = (redis::pipe(), redis::pipe());
            for address in chunk {
                let host = self.keys.host(service, address);
                hashes.cmd("HMGET").arg(&host).arg(&["body", "at", "load", "weight", "gone"]);
                times.cmd("PTTL").arg(&host);
            }
            let hashes: Vec<Cells> = hashes.query_async(connection).await?;
            let times: Vec<i64> = times.query_async(connection).await?;
            for ((address, cells), left) in chunk.iter().zip(hashes).zip(times) {
                // No expiry at all: somebody else's doing. It has one by the next heartbeat.
                let left = u64::try_from(left).map_or(self.ttl, Duration::from_millis);
                found.take(*address, &cells, now + left);
            }
        }
        Ok(found)
    }

    async fn clean(
        &self,
        connection: &mut MultiplexedConnection,
        service: &ServiceName,
        expired: &[SocketAddr],
    ) -> RedisResult<()> {
        let mut call = self.scripts.clean.prepare_invoke();
        call.key(self.keys.service(service)).key(self.keys.changes());
        call.arg(self.keys.hosts(service)).arg(service.as_str());
        for address in expired {
            call.arg(address.to_string());
        }
        call.invoke_async(connection).await
    }
}

impl Found {
    fn take(&mut self, address: SocketAddr, cells: &Cells, expires: Moment) {
        let cell = |index: usize| {
            let bytes = cells.get(index)?.as_deref()?;
            std::str::from_utf8(bytes).ok()
        };
        let number = |index| cell(index).and_then(|text| text.parse::<u64>().ok());
        if cells.iter().all(Option::is_none) {
            self.expired.push(address);
            return;
        }
        if cell(4).is_some() {
            self.gone.insert(address);
            return;
        }
        let fields = cell(0).and_then(|body| serde_json::from_str::<Fields>(body).ok());
        let (weight, load) = (number(3).and_then(stored::weight), cell(2).and_then(stored::load));
        let last_check_in = stored::at(number(1).unwrap_or_default());
        let record = fields.and_then(|fields| stored::record(&fields, weight, load, last_check_in, expires).ok());
        // What does not say of itself where it is listed has somebody else written.
        match record.filter(|record| record.address == address) {
            Some(record) => self.records.push(record),
            None => tracing::warn!(%address, "a host in Redis cannot be read"),
        }
    }
}
