//! The same functions as `abi/guest.rs`, served by the [`World`].

use crate::abi::{BufferKind, Fields, Level, MapKind, MetricKind, Pairs, Side, Status, encode_pairs};
use crate::testing::borrowing;
use crate::testing::properties;
use crate::testing::redis;
use crate::testing::spans;
use crate::testing::world::{Call, GrpcRecord, Labelled, Pair, SentReply, World};

pub fn log(level: Level, message: &str) {
    World::with(|world| world.logs.push((level, message.to_owned())));
}

#[must_use]
pub fn now() -> u64 {
    World::with(|world| world.now)
}

#[must_use]
pub fn monotonic() -> u64 {
    now()
}

pub fn set_tick_period(milliseconds: u32) {
    World::with(|world| {
        world.tick = (milliseconds > 0).then(|| (world.now + u64::from(milliseconds) * 1_000_000, milliseconds));
    });
}

#[must_use]
pub fn log_level() -> Level {
    Level::Trace
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
            BufferKind::CallBody | BufferKind::GrpcMessage => &mut world.answer.1,
            BufferKind::ForeignArguments => &mut world.arguments,
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

pub fn continue_connection(side: crate::tcp::Side) {
    World::with(|world| {
        let effective = world.effective;
        let stream = world.stream_mut(effective);
        stream.begun |= side == crate::tcp::Side::Downstream;
        stream.resumed_sides.push(side);
        if let Some((_, passage)) = stream.way(side.stream()) {
            passage.resume = true;
        }
    });
}

pub fn close_connection(side: crate::tcp::Side) {
    World::with(|world| {
        let effective = world.effective;
        world.stream_mut(effective).closed_sides.push(side);
    });
}

pub fn send_local_response(
    status: u32,
    details: &str,
    body: &[u8],
    headers: &[u8],
    grpc_status: Option<u32>,
) -> Result<(), Status> {
    World::with(|world| {
        let effective = world.effective;
        let stream = world.stream_mut(effective);
        if stream.reply.is_none() {
            let headers = owned(&Pairs::new(headers.to_vec()));
            let mut reply = SentReply { status, details: details.to_owned(), body: body.to_vec(), headers };
            let content_type = stream.raw_header(MapKind::RequestHeaders, "content-type");
            if let (Some(code), true) = (grpc_status, content_type.is_some_and(is_grpc)) {
                in_grpc(&mut reply, code);
            }
            stream.reply = Some(reply);
        }
    });
    Ok(())
}

fn is_grpc(content_type: &[u8]) -> bool {
    let rest = content_type.strip_prefix(b"application/grpc");
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// As hosts answer callers of gRPC, as far as plain text goes.
fn in_grpc(reply: &mut SentReply, code: u32) {
    reply.status = 200;
    reply.headers.retain(|(name, _)| name != b"content-type");
    reply.headers.push((b"content-type".to_vec(), b"application/grpc".to_vec()));
    reply.headers.push((b"grpc-status".to_vec(), code.to_string().into_bytes()));
    reply.headers.push((b"grpc-message".to_vec(), std::mem::take(&mut reply.body)));
}

fn owned(pairs: &Pairs) -> Vec<Pair> {
    pairs.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect()
}

pub fn http_call(cluster: &str, headers: &[u8], body: &[u8], timeout: u32) -> Result<u32, Status> {
    World::with(|world| {
        if !world.has_cluster(cluster) {
            return Err(Status::BAD_ARGUMENT);
        }
        let headers = owned(&Pairs::new(headers.to_vec()));
        world.calls.push(Call { cluster: cluster.to_owned(), headers, body: body.to_vec(), timeout });
        u32::try_from(world.calls.len()).map_err(|_| Status::INTERNAL_FAILURE)
    })
}

/// Where a gRPC call goes.
#[derive(Debug, Clone, Copy)]
pub struct GrpcTarget<'a> {
    pub cluster: &'a str,
    pub service: &'a str,
    pub method: &'a str,
    pub metadata: &'a [u8],
}

fn grpc(target: GrpcTarget<'_>, unary: Option<(&[u8], u32)>) -> Result<u32, Status> {
    World::with(|world| {
        if !world.has_cluster(target.cluster) {
            return Err(Status::PARSE_FAILURE);
        }
        world.grpc.push(GrpcRecord {
            cluster: target.cluster.to_owned(),
            path: format!("/{}/{}", target.service, target.method),
            metadata: owned(&Pairs::new(target.metadata.to_vec())),
            sent: unary.iter().map(|(message, _)| message.to_vec()).collect(),
            timeout: unary.map(|(_, timeout)| timeout),
            finished: unary.is_some(),
            cancelled: false,
        });
        u32::try_from(world.grpc.len()).map_err(|_| Status::INTERNAL_FAILURE)
    })
}

pub fn grpc_call(target: GrpcTarget<'_>, message: &[u8], timeout: u32) -> Result<u32, Status> {
    grpc(target, Some((message, timeout)))
}

pub fn grpc_stream(target: GrpcTarget<'_>) -> Result<u32, Status> {
    grpc(target, None)
}

fn with_grpc(token: u32, change: impl FnOnce(&mut GrpcRecord)) -> Result<(), Status> {
    World::with(|world| world.grpc.get_mut((token as usize).wrapping_sub(1)).map(change)).ok_or(Status::NOT_FOUND)
}

pub fn grpc_send(token: u32, message: &[u8], end_of_stream: bool) -> Result<(), Status> {
    with_grpc(token, |call| {
        call.sent.push(message.to_vec());
        call.finished |= end_of_stream;
    })
}

pub fn grpc_close(token: u32) {
    let _ = with_grpc(token, |call| call.finished = true);
}

pub fn grpc_cancel(token: u32) {
    let _ = with_grpc(token, |call| call.cancelled = true);
}

#[must_use]
pub fn call_status() -> (u32, String) {
    World::with(|world| world.status.clone())
}

#[must_use]
pub fn shared_data(key: &str) -> Option<(Vec<u8>, u32)> {
    World::with(|world| if world.shares { world.shared.get(key).cloned() } else { None })
}

pub fn set_shared_data(key: &str, value: &[u8], cas: u32) -> Result<(), Status> {
    World::with(|world| {
        if !world.shares {
            return Err(Status::INTERNAL_FAILURE);
        }
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

pub(super) fn dotted(path: &[u8]) -> String {
    String::from_utf8_lossy(path).replace('\0', ".")
}

#[must_use]
pub fn property(path: &[u8]) -> Option<Vec<u8>> {
    World::with(|world| properties::read(world, path))
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
            "fyke.values.read.v1" => properties::read_many(world, arguments).ok_or(Status::BAD_ARGUMENT),
            "fyke.headers.values.v1" => Ok(header_values(world, arguments)),
            "fyke.configure.refuse.v1" => {
                world.refusal = Some(String::from_utf8_lossy(arguments).into_owned());
                Ok(Vec::new())
            }
            "fyke.callbacks.skip.v1" => {
                world.skipped = Some(String::from_utf8_lossy(arguments).into_owned());
                Ok(Vec::new())
            }
            "fyke.explain.v1" => {
                let lines = String::from_utf8_lossy(arguments).lines().map(str::to_owned).collect();
                let effective = world.effective;
                world.stream_mut(effective).explained = lines;
                Ok(Vec::new())
            }
            "fyke.stream.write.v1" => {
                let (stream, bytes) = split(arguments)?;
                let effective = world.effective;
                let written = world.stream_mut(effective).written.get_mut((stream as usize).wrapping_sub(2));
                written.ok_or(Status::BAD_ARGUMENT)?.extend_from_slice(bytes);
                Ok(Vec::new())
            }
            // A cluster may still vanish later: what is not there shows at the call.
            "fyke.cluster.require.v1" => {
                world.required.push(String::from_utf8_lossy(arguments).into_owned());
                Ok(Vec::new())
            }
            "fyke.metric.define.v1" => {
                let defined: Labelled = serde_json::from_slice(arguments).map_err(|_| Status::BAD_ARGUMENT)?;
                let at = world.labelled.iter().position(|known| known.name == defined.name);
                match at.and_then(|at| Some((at, world.labelled.get(at)?))) {
                    Some((at, known))
                        if (&known.kind, &known.labels, &known.buckets)
                            == (&defined.kind, &defined.labels, &defined.buckets) =>
                    {
                        number(at)
                    }
                    Some(_) => Err(Status::BAD_ARGUMENT),
                    None => {
                        world.labelled.push(defined);
                        number(world.labelled.len() - 1)
                    }
                }
            }
            "fyke.metric.record.v1" => {
                let (handle, rest) = split(arguments)?;
                let (value, rest) = rest.split_first_chunk::<8>().ok_or(Status::BAD_ARGUMENT)?;
                let metric = world.labelled.get_mut(handle as usize).ok_or(Status::BAD_ARGUMENT)?;
                let (mut fields, mut labels) = (Fields::new(rest), Vec::new());
                while !fields.rest().is_empty() {
                    labels.push(fields.text().ok_or(Status::BAD_ARGUMENT)?);
                }
                if labels.len() != metric.labels.len() {
                    return Err(Status::BAD_ARGUMENT);
                }
                let values = metric.series.entry(labels).or_default();
                let value = i64::from_le_bytes(*value);
                match metric.kind.as_str() {
                    "counter" => *values = vec![values.first().unwrap_or(&0) + value],
                    _ => values.push(value),
                }
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
            "fyke.redis.call.v1" => redis::call(world, arguments),
            name if name.starts_with("fyke.span.") => spans::call(world, name, arguments),
            name => borrowing::call(world, name, arguments),
        }
    })
}

fn header_values(world: &mut World, arguments: &[u8]) -> Vec<u8> {
    let Ok((kind, name)) = split(arguments) else {
        return Vec::new();
    };
    let map = world.map_mut(kind_of(kind)).cloned().unwrap_or_default();
    let values: Vec<&Vec<u8>> =
        map.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect();
    let mut bytes = u32::try_from(values.len()).unwrap_or(0).to_le_bytes().to_vec();
    for value in &values {
        bytes.extend_from_slice(&u32::try_from(value.len()).unwrap_or(0).to_le_bytes());
    }
    bytes.extend(values.into_iter().flatten());
    bytes
}

/// A type of map, of those that streams have.
pub(super) fn kind_of(number: u32) -> MapKind {
    match number {
        0 => MapKind::RequestHeaders,
        1 => MapKind::RequestTrailers,
        2 => MapKind::ResponseHeaders,
        _ => MapKind::ResponseTrailers,
    }
}

pub(super) fn number(at: usize) -> Result<Vec<u8>, Status> {
    u32::try_from(at).map(|at| at.to_le_bytes().to_vec()).map_err(|_| Status::INTERNAL_FAILURE)
}

pub(super) fn split(bytes: &[u8]) -> Result<(u32, &[u8]), Status> {
    let (number, rest) = bytes.split_first_chunk::<4>().ok_or(Status::BAD_ARGUMENT)?;
    Ok((u32::from_le_bytes(*number), rest))
}
