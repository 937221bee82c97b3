//! Connections that filters borrow, keys that they derive, endpoints that they label, as the host does it.

use std::collections::BTreeMap;

use crate::abi::{Fields, Status};
use crate::testing::world::{StreamState, World};

/// Keys that one instance may wait for.
const MOST_KEYS: usize = 16;

/// What a filter asked for with `fyke.upstream.lease.v1`, and what has become of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseRecord {
    /// Its number.
    pub token: u32,
    /// The cluster.
    pub cluster: String,
    /// One endpoint; empty: any.
    pub endpoint: String,
    /// The label that the endpoint must have.
    pub label: Option<(String, String)>,
    /// As whom.
    pub identity: Vec<u8>,
    /// The part of the connections; empty: the usual one.
    pub share: String,
    /// How many connections that may have; 0: no limit of its own.
    pub most: u32,
    /// Milliseconds; 0: the cluster's `connect_timeout`.
    pub timeout: u32,
    /// Who asks; empty: the client's IP address.
    pub client: Vec<u8>,
    /// Where it stands.
    pub state: LeaseState,
}

/// Where a lease stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaseState {
    /// It is waited for.
    Asked,
    /// The filter gave up waiting.
    GivenUp,
    /// The test refused it.
    Refused,
    /// The connection is the filter's.
    Lent,
    /// Released, but something that was skipped is still to come.
    Draining,
    /// Released, and fit for others.
    Released,
    /// Released with something of the answer left in the filter: closed.
    Dirty,
    /// Closed by the filter, and why.
    Closed(String),
    /// The test lost it.
    Lost,
}

/// What a host knows of one direction of a TCP connection, besides the bytes that the filter holds.
#[derive(Debug, Default)]
pub struct Passage {
    /// Bytes that have gone on.
    pub gone: Vec<u8>,
    /// Bytes that go on without being shown, when they come.
    pub skip: u64,
    pub(super) pass: u64,
    pub(super) again: bool,
    pub(super) resume: bool,
    pub(super) holds: bool,
    pub(super) ended: bool,
}

/// What a filter has said of a new connection.
pub type Verdict = Result<(), String>;

impl StreamState {
    /// What of a direction the filter holds, and the rest that is known of it.
    pub(super) fn way(&mut self, stream: u32) -> Option<(&mut Vec<u8>, &mut Passage)> {
        let at = (stream as usize).checked_sub(2)?;
        Some((self.bodies.get_mut(stream as usize)?, self.passages.get_mut(at)?))
    }

    /// Everything that is held goes on; what was let go beyond that is skipped.
    pub(super) fn let_go(&mut self, stream: u32) {
        let Some((held, passage)) = self.way(stream) else { return };
        let more = std::mem::take(&mut passage.pass).saturating_sub(held.len() as u64);
        passage.skip = passage.skip.saturating_add(more);
        passage.gone.append(held);
        passage.holds = false;
        passage.resume = false;
    }

    /// Acts on what the filter has let go outside of its answer. Whether it wants to be shown the rest once more.
    pub(super) fn move_on(&mut self, stream: u32) -> bool {
        let Some((held, passage)) = self.way(stream) else { return false };
        if std::mem::take(&mut passage.resume) && passage.holds {
            passage.gone.append(held);
            passage.holds = false;
        }
        let count = std::mem::take(&mut passage.pass);
        if count > 0 {
            let moved = usize::try_from(count).unwrap_or(usize::MAX).min(held.len());
            passage.gone.extend(held.drain(..moved));
            passage.skip = passage.skip.saturating_add(count - moved as u64);
            passage.holds &= !held.is_empty();
        }
        std::mem::take(&mut passage.again) && !held.is_empty()
    }

    /// A connection that was released is free once nothing of its exchange is to come.
    pub(super) fn drain(&mut self) {
        let Some(lease) = self.leases.iter_mut().find(|lease| lease.state == LeaseState::Draining) else { return };
        let [down, up] = &self.passages;
        if self.bodies.get(3).is_some_and(|held| !held.is_empty()) {
            lease.state = LeaseState::Dirty;
            self.drop_exchange();
        } else if down.skip == 0 && up.skip == 0 {
            lease.state = LeaseState::Released;
        }
    }

    /// What is under way belongs to a connection that is gone.
    pub(super) fn drop_exchange(&mut self) {
        let [down, up] = &mut self.passages;
        (down.skip, up.skip, up.holds) = (0, 0, false);
        if let Some(held) = self.bodies.get_mut(3) {
            held.clear();
        }
    }

    fn ask(&mut self, record: LeaseRecord) -> Result<u32, Status> {
        let busy = self.leases.iter().any(|lease| matches!(lease.state, LeaseState::Asked | LeaseState::Lent));
        if !self.borrows || busy {
            return Err(Status::BAD_ARGUMENT);
        }
        let token = record.token;
        self.leases.push(record);
        Ok(token)
    }

    fn end_lease(&mut self, clean: bool, token: u32, why: &[u8]) -> Result<(), Status> {
        let why = String::from_utf8_lossy(why).into_owned();
        if self.opening {
            if token != 0 || self.verdict.is_some() {
                return Err(Status::BAD_ARGUMENT);
            }
            self.verdict = Some(if clean { Ok(()) } else { Err(why) });
            return Ok(());
        }
        let lease = self.leases.iter_mut().find(|lease| lease.token == token).ok_or(Status::BAD_ARGUMENT)?;
        lease.state = match lease.state {
            LeaseState::Asked => LeaseState::GivenUp,
            LeaseState::Lent if clean => LeaseState::Draining,
            LeaseState::Lent => LeaseState::Closed(why),
            _ => return Err(Status::BAD_ARGUMENT),
        };
        if matches!(lease.state, LeaseState::Closed(_)) {
            self.drop_exchange();
            self.passages[0].gone.clear();
        }
        Ok(())
    }
}

impl World {
    /// An endpoint that `fyke.endpoint.list.v1` names.
    pub fn add_endpoint(&mut self, cluster: &str, address: &str) {
        self.endpoints.entry(cluster.to_owned()).or_default().push((address.to_owned(), BTreeMap::new()));
    }

    fn endpoint_list(&self, cluster: &[u8]) -> Result<Vec<u8>, Status> {
        let cluster = std::str::from_utf8(cluster).ok().and_then(|name| self.endpoints.get(name));
        let list = cluster.ok_or(Status::NOT_FOUND)?.iter().map(|(address, labels)| {
            serde_json::json!({
                "address": address, "weight": 1, "zone": null, "priority": 0, "healthy": true, "health": "healthy", "labels": labels,
            })
        });
        Ok(serde_json::Value::Array(list.collect()).to_string().into_bytes())
    }

    fn endpoint_label(&mut self, mut fields: Fields<'_>) -> Option<Result<(), Status>> {
        let (cluster, address, key) = (fields.text()?, fields.text()?, fields.text()?);
        let value = String::from_utf8_lossy(fields.rest()).into_owned();
        let Some(endpoints) = self.endpoints.get_mut(&cluster) else { return Some(Err(Status::NOT_FOUND)) };
        let (_, labels) = endpoints.iter_mut().find(|(known, _)| *known == address)?;
        if key.is_empty() {
            return None;
        }
        if value.is_empty() {
            labels.remove(&key);
        } else {
            labels.insert(key, value);
        }
        Some(Ok(()))
    }
}

/// The foreign functions of this file; others are not found.
pub(super) fn call(world: &mut World, name: &str, arguments: &[u8]) -> Result<Vec<u8>, Status> {
    let context = world.effective;
    let mut fields = Fields::new(arguments);
    match name {
        "fyke.upstream.none.v1" => {
            let stream = world.stream_mut(context);
            if stream.begun || stream.opening {
                return Err(Status::BAD_ARGUMENT);
            }
            stream.borrows = true;
        }
        "fyke.upstream.limit.v1" => {
            let limits = fields.u32().zip(fields.u32()).ok_or(Status::BAD_ARGUMENT)?;
            let stream = world.stream_mut(context);
            if !stream.borrows {
                return Err(Status::BAD_ARGUMENT);
            }
            stream.lease_limits = limits;
        }
        "fyke.upstream.lease.v1" => {
            let token = world.stream_mut(context).leases.len() + 1;
            let record = lease(&mut fields, u32::try_from(token).unwrap_or(u32::MAX)).ok_or(Status::BAD_ARGUMENT)?;
            if !world.has_cluster(&record.cluster) {
                return Err(Status::NOT_FOUND);
            }
            return world.stream_mut(context).ask(record).map(|token| token.to_le_bytes().to_vec());
        }
        "fyke.upstream.release.v1" | "fyke.upstream.close.v1" => {
            let token = fields.u32().ok_or(Status::BAD_ARGUMENT)?;
            let clean = name == "fyke.upstream.release.v1";
            world.stream_mut(context).end_lease(clean, token, fields.rest())?;
        }
        "fyke.stream.pass.v1" | "fyke.stream.skip.v1" | "fyke.stream.show.v1" => {
            let stream = fields.u32().ok_or(Status::BAD_ARGUMENT)?;
            // Streams of HTTP skip where the SDK does it for them.
            let (_, passage) = world.stream_mut(context).way(stream).ok_or(Status::NOT_FOUND)?;
            match name {
                "fyke.stream.show.v1" => passage.again = true,
                "fyke.stream.pass.v1" => {
                    passage.pass = passage.pass.saturating_add(fields.u64().ok_or(Status::BAD_ARGUMENT)?);
                }
                _ => passage.skip = passage.skip.saturating_add(fields.u64().ok_or(Status::BAD_ARGUMENT)?),
            }
        }
        "fyke.crypto.pbkdf2.v1" => {
            let key = derive(&mut fields).ok_or(Status::BAD_ARGUMENT)?;
            if world.keys.len() >= MOST_KEYS {
                return Err(Status::BAD_ARGUMENT);
            }
            world.keys_begun += 1;
            world.keys.push_back((world.keys_begun, context, key));
            return Ok(world.keys_begun.to_le_bytes().to_vec());
        }
        "fyke.endpoint.list.v1" => return world.endpoint_list(arguments),
        "fyke.endpoint.label.v1" => world.endpoint_label(fields).ok_or(Status::BAD_ARGUMENT)??,
        _ => return Err(Status::NOT_FOUND),
    }
    Ok(Vec::new())
}

fn lease(fields: &mut Fields<'_>, token: u32) -> Option<LeaseRecord> {
    let (cluster, endpoint) = (fields.text()?, fields.text()?);
    let label = (fields.text()?, fields.text()?);
    let record = LeaseRecord {
        token,
        cluster,
        endpoint,
        label: (!label.0.is_empty()).then_some(label),
        identity: fields.bytes()?.to_vec(),
        share: fields.text()?,
        most: fields.u32()?,
        timeout: fields.u32()?,
        client: fields.bytes()?.to_vec(),
        state: LeaseState::Asked,
    };
    fields.rest().is_empty().then_some(record)
}

/// For real: a filter's handshake is compared with vectors of its protocol.
fn derive(fields: &mut Fields<'_>) -> Option<Vec<u8>> {
    let (hash, rounds, salt, password) = (fields.u32()?, fields.u32()?, fields.bytes()?, fields.bytes()?);
    match hash {
        1 => Some(pbkdf2::pbkdf2_hmac_array::<sha1::Sha1, 20>(password, salt, rounds).to_vec()),
        256 => Some(pbkdf2::pbkdf2_hmac_array::<sha2::Sha256, 32>(password, salt, rounds).to_vec()),
        _ => None,
    }
}
