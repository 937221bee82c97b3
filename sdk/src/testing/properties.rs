//! Properties that a host knows by itself.

use crate::abi::MapKind;
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

/// What is known of the effective stream's messages.
pub(super) fn of_messages(world: &World, path: &str) -> Option<Vec<u8>> {
    let stream = world.streams.get(&world.effective)?;
    let request = |name: &str| stream.header(MapKind::RequestHeaders, name).map(String::into_bytes);
    if let Some(name) = path.strip_prefix("request.headers.") {
        return request(name);
    }
    if let Some(name) = path.strip_prefix("response.headers.") {
        return stream.header(MapKind::ResponseHeaders, name).map(String::into_bytes);
    }
    let cut = |at: fn(&str) -> &str| {
        stream.header(MapKind::RequestHeaders, ":path").map(|path| at(&path).as_bytes().to_vec())
    };
    match path {
        "request.method" => request(":method"),
        "request.path" => request(":path"),
        "request.host" => request(":authority"),
        "request.scheme" => request(":scheme"),
        "request.url_path" => cut(|path| path.split_once('?').map_or(path, |(path, _)| path)),
        "request.query" => cut(|path| path.split_once('?').map_or("", |(_, query)| query)),
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
