//! Properties that a host knows by itself.

use crate::abi::{MapKind, push_field};
use crate::testing::hostcalls::{dotted, kind_of, split};
use crate::testing::spans;
use crate::testing::world::{StreamState, World};

/// What is known of the connection: made up, and always the same.
pub(super) fn of_a_connection(stream: &mut StreamState) {
    for (path, value) in [
        ("source.address", "127.0.0.1:40000"),
        ("destination.address", "127.0.0.1:8080"),
        ("request.protocol", "HTTP/1.1"),
    ] {
        stream.set_property(path, value);
    }
    stream.set_property("source.port", 40_000_i64.to_le_bytes());
    stream.set_property("destination.port", 8080_i64.to_le_bytes());
}

/// A property of the effective stream.
pub(super) fn read(world: &World, path: &[u8]) -> Option<Vec<u8>> {
    let path = dotted(path);
    let known = world.streams.get(&world.effective)?.properties.get(&path).cloned();
    known.or_else(|| of_messages(world, &path))
}

/// `fyke.values.read.v1`; `None`: the arguments are wrong.
pub(super) fn read_many(world: &World, mut arguments: &[u8]) -> Option<Vec<u8>> {
    let mut answer = Vec::new();
    while let Some((what, rest)) = arguments.split_first() {
        let (length, rest) = split(rest).ok()?;
        let (name, rest) = rest.split_at_checked(length as usize)?;
        arguments = rest;
        let value = match what {
            255 => read(world, name),
            map @ 0..=3 => {
                let stream = world.streams.get(&world.effective);
                stream
                    .and_then(|stream| stream.raw_header(kind_of(u32::from(*map)), std::str::from_utf8(name).ok()?))
                    .map(<[u8]>::to_vec)
            }
            _ => return None,
        };
        match value {
            Some(value) => push_field(&mut answer, &value),
            None => answer.extend_from_slice(&u32::MAX.to_le_bytes()),
        }
    }
    Some(answer)
}

/// What is known of the effective stream's messages.
fn of_messages(world: &World, path: &str) -> Option<Vec<u8>> {
    let stream = world.streams.get(&world.effective)?;
    let header = |map: MapKind, name: &str| stream.raw_header(map, name).map(<[u8]>::to_vec);
    let request = |name: &str| header(MapKind::RequestHeaders, name);
    if let Some(name) = path.strip_prefix("request.headers.") {
        return request(name);
    }
    if let Some(name) = path.strip_prefix("response.headers.") {
        return header(MapKind::ResponseHeaders, name);
    }
    let target = || Some(stream.raw_header(MapKind::RequestHeaders, ":path")?.split(|byte| *byte == b'?'));
    match path {
        "fyke.trace.id" | "fyke.trace.span_id" | "fyke.trace.sampled" | "fyke.tracing.sample" => {
            spans::property(world, path)
        }
        "request.method" => request(":method"),
        "request.path" => request(":path"),
        "request.host" => request(":authority"),
        "request.scheme" => request(":scheme"),
        "request.url_path" => target()?.next().map(<[u8]>::to_vec),
        "request.query" => Some(target()?.skip(1).collect::<Vec<_>>().join(&b'?')),
        "request.id" => request("x-request-id"),
        "request.useragent" => request("user-agent"),
        "request.referer" => request("referer"),
        "response.code" => {
            let status: i64 = stream.header(MapKind::ResponseHeaders, ":status")?.parse().ok()?;
            Some(status.to_le_bytes().to_vec())
        }
        _ => None,
    }
}
