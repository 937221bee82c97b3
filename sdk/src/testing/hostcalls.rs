//! The same functions as `abi/guest.rs`, served by the [`World`].

use crate::abi::{BufferKind, Level, MapKind, MetricKind, Pairs, Side, Status, encode_pairs};
use crate::testing::world::{Call, Pair, SentReply, World};

pub fn log(level: Level, message: &str) {
    World::with(|world| world.logs.push((level, message.to_owned())));
}

#[must_use]
pub fn now() -> u64 {
    World::with(|world| world.now)
}

pub fn random(bytes: &mut [u8]) {
    World::with(|world| {
        for byte in bytes {
            // SplitMix64, one byte at a time.
            world.random = world.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (world.random ^ (world.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            *byte = (mixed >> 56) as u8;
        }
    });
}

pub fn set_effective_context(context: u32) {
    World::with(|world| world.effective = context);
}

fn with_buffer<T>(kind: BufferKind, look: impl FnOnce(&mut Vec<u8>) -> T) -> Option<T> {
    World::with(|world| {
        let effective = world.effective;
        let buffer = match kind {
            BufferKind::PluginConfiguration => &mut world.configuration,
            BufferKind::CallBody => &mut world.answer.1,
            body => world.streams.get_mut(&effective)?.bodies.get_mut(body as usize)?,
        };
        Some(look(buffer))
    })
}

#[must_use]
pub fn buffer(kind: BufferKind, start: usize, maximum: usize) -> Option<Vec<u8>> {
    with_buffer(kind, |bytes| bytes.iter().skip(start).take(maximum).copied().collect())
}

pub fn set_buffer(kind: BufferKind, start: usize, size: usize, new: &[u8]) -> Result<(), Status> {
    with_buffer(kind, |bytes| {
        let start = start.min(bytes.len());
        let end = start.saturating_add(size).min(bytes.len());
        bytes.splice(start..end, new.iter().copied());
    })
    .ok_or(Status::NOT_FOUND)
}

#[must_use]
pub fn buffer_length(kind: BufferKind) -> usize {
    with_buffer(kind, |bytes| bytes.len()).unwrap_or(0)
}

#[must_use]
pub fn header_pairs(kind: MapKind) -> Pairs {
    World::with(|world| {
        world.map_reads += 1;
        let pairs = world.map_mut(kind).cloned().unwrap_or_default();
        Pairs::new(encode_pairs(pairs.iter().map(|(name, value)| (name.as_slice(), value.as_slice()))))
    })
}

#[must_use]
pub fn header(kind: MapKind, name: &str) -> Option<Vec<u8>> {
    World::with(|world| {
        world.header_reads += 1;
        let map = world.map_mut(kind)?;
        map.iter().find(|(key, _)| key.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value.clone())
    })
}

pub fn add_header(kind: MapKind, name: &str, value: &[u8]) -> Result<(), Status> {
    edit(kind, |map| map.push((name.to_ascii_lowercase().into_bytes(), value.to_vec())))
}

pub fn set_header(kind: MapKind, name: &str, value: &[u8]) -> Result<(), Status> {
    edit(kind, |map| {
        let at = map.iter().position(|(key, _)| key.eq_ignore_ascii_case(name.as_bytes())).unwrap_or(map.len());
        map.retain(|(key, _)| !key.eq_ignore_ascii_case(name.as_bytes()));
        map.insert(at.min(map.len()), (name.to_ascii_lowercase().into_bytes(), value.to_vec()));
    })
}

pub fn remove_header(kind: MapKind, name: &str) -> Result<(), Status> {
    edit(kind, |map| map.retain(|(key, _)| !key.eq_ignore_ascii_case(name.as_bytes())))
}

fn edit(kind: MapKind, change: impl FnOnce(&mut Vec<Pair>)) -> Result<(), Status> {
    World::with(|world| world.map_mut(kind).map(change)).ok_or(Status::BAD_ARGUMENT)
}

pub fn continue_stream(side: Side) {
    World::with(|world| {
        let effective = world.effective;
        world.stream_mut(effective).resumed.push(side);
    });
}

pub fn close_stream(side: Side) {
    World::with(|world| {
        let effective = world.effective;
        world.stream_mut(effective).closed.push(side);
    });
}

pub fn send_local_response(status: u32, details: &str, body: &[u8], headers: &[u8]) -> Result<(), Status> {
    World::with(|world| {
        let effective = world.effective;
        let stream = world.stream_mut(effective);
        if stream.reply.is_none() {
            let headers = owned(&Pairs::new(headers.to_vec()));
            stream.reply = Some(SentReply { status, details: details.to_owned(), body: body.to_vec(), headers });
        }
    });
    Ok(())
}

fn owned(pairs: &Pairs) -> Vec<Pair> {
    pairs.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect()
}

pub fn http_call(cluster: &str, headers: &[u8], body: &[u8], timeout: u32) -> Result<u32, Status> {
    World::with(|world| {
        if world.clusters.as_ref().is_some_and(|known| known.iter().all(|name| name != cluster)) {
            return Err(Status::BAD_ARGUMENT);
        }
        let headers = owned(&Pairs::new(headers.to_vec()));
        world.calls.push(Call { cluster: cluster.to_owned(), headers, body: body.to_vec(), timeout });
        u32::try_from(world.calls.len()).map_err(|_| Status::INTERNAL_FAILURE)
    })
}

#[must_use]
pub fn shared_data(key: &str) -> Option<(Vec<u8>, u32)> {
    World::with(|world| world.shared.get(key).cloned())
}

pub fn set_shared_data(key: &str, value: &[u8], cas: u32) -> Result<(), Status> {
    World::with(|world| {
        let token = world.shared.get(key).map_or(0, |(_, token)| *token);
        if token != 0 && cas != 0 && cas != token {
            return Err(Status::CAS_MISMATCH);
        }
        world.shared.insert(key.to_owned(), (value.to_vec(), token + 1));
        Ok(())
    })
}

pub fn define_metric(kind: MetricKind, name: &str) -> Result<u32, Status> {
    World::with(|world| {
        let at = world.metrics.iter().position(|(_, known, _)| known == name).unwrap_or_else(|| {
            world.metrics.push((kind, name.to_owned(), Vec::new()));
            world.metrics.len() - 1
        });
        u32::try_from(at).map_err(|_| Status::INTERNAL_FAILURE)
    })
}

pub fn record_metric(id: u32, value: i64) {
    World::with(|world| {
        if let Some((_, _, values)) = world.metrics.get_mut(id as usize) {
            values.push(value);
        }
    });
}

pub fn increment_metric(id: u32, delta: i64) {
    World::with(|world| {
        if let Some((_, _, values)) = world.metrics.get_mut(id as usize) {
            let sum = values.pop().unwrap_or(0) + delta;
            values.push(sum);
        }
    });
}

fn dotted(path: &[u8]) -> String {
    String::from_utf8_lossy(path).replace('\0', ".")
}

#[must_use]
pub fn property(path: &[u8]) -> Option<Vec<u8>> {
    World::with(|world| world.streams.get(&world.effective)?.properties.get(&dotted(path)).cloned())
}

pub fn set_property(path: &[u8], value: &[u8]) -> Result<(), Status> {
    World::with(|world| {
        let effective = world.effective;
        world.stream_mut(effective).set_property(&dotted(path), value);
    });
    Ok(())
}

pub fn call_foreign_function(name: &str, arguments: &[u8]) -> Result<Vec<u8>, Status> {
    World::with(|world| {
        if !world.knows_fyke {
            return Err(Status::NOT_FOUND);
        }
        match name {
            "fyke.headers.values.v1" => Ok(header_values(world, arguments)),
            "fyke.configure.refuse.v1" => {
                world.refusal = Some(String::from_utf8_lossy(arguments).into_owned());
                Ok(Vec::new())
            }
            "fyke.callbacks.skip.v1" => {
                world.skipped = Some(String::from_utf8_lossy(arguments).into_owned());
                Ok(Vec::new())
            }
            "fyke.route.define.v1" => {
                world.routes.push(serde_json::from_slice(arguments).map_err(|_| Status::BAD_ARGUMENT)?);
                number(world.routes.len() - 1)
            }
            "fyke.route.select.v1" => {
                let (handle, rest) = split(arguments)?;
                let (flags, fields) = split(rest)?;
                let effective = world.effective;
                world.stream_mut(effective).route = Some((handle, flags, fields.to_vec()));
                Ok(Vec::new())
            }
            "fyke.log.open.v1" => {
                let at = world.sinks.iter().position(|(name, _)| name.as_bytes() == arguments);
                number(at.ok_or(Status::BAD_ARGUMENT)?)
            }
            "fyke.log.write.v1" => {
                let (handle, record) = split(arguments)?;
                let (_, records) = world.sinks.get_mut(handle as usize).ok_or(Status::BAD_ARGUMENT)?;
                records.push(String::from_utf8_lossy(record).into_owned());
                Ok(Vec::new())
            }
            _ => Err(Status::NOT_FOUND),
        }
    })
}

fn header_values(world: &mut World, arguments: &[u8]) -> Vec<u8> {
    let Ok((kind, name)) = split(arguments) else {
        return Vec::new();
    };
    let kind = match kind {
        0 => MapKind::RequestHeaders,
        1 => MapKind::RequestTrailers,
        2 => MapKind::ResponseHeaders,
        _ => MapKind::ResponseTrailers,
    };
    let map = world.map_mut(kind).cloned().unwrap_or_default();
    let values: Vec<&Vec<u8>> =
        map.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect();
    let mut bytes = u32::try_from(values.len()).unwrap_or(0).to_le_bytes().to_vec();
    for value in &values {
        bytes.extend_from_slice(&u32::try_from(value.len()).unwrap_or(0).to_le_bytes());
    }
    bytes.extend(values.into_iter().flatten());
    bytes
}

fn number(at: usize) -> Result<Vec<u8>, Status> {
    u32::try_from(at).map(|at| at.to_le_bytes().to_vec()).map_err(|_| Status::INTERNAL_FAILURE)
}

fn split(bytes: &[u8]) -> Result<(u32, &[u8]), Status> {
    let (number, rest) = bytes.split_first_chunk::<4>().ok_or(Status::BAD_ARGUMENT)?;
    Ok((u32::from_le_bytes(*number), rest))
}
