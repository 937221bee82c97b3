//! Requests as bytes on the wire: compressed, and framed where gRPC wants it. Made once and shared by all attempts.

use std::io::Write;

use bytes::Bytes;
use flate2::write::GzEncoder;

use crate::telemetry::otlp::{
    client,
    settings::{Compression, Protocol},
};

/// The body of a request that holds `message`.
pub(crate) fn encode(message: Vec<u8>, protocol: Protocol, compression: Compression) -> Bytes {
    let message = match compression {
        Compression::None => message,
        Compression::Gzip => gzip(&message),
    };
    match protocol {
        Protocol::Grpc => client::frame(&message, compression),
        Protocol::Http => message.into(),
    }
}

/// At the fastest level: names and addresses repeat so much that a better one gains little.
fn gzip(message: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(message.len() / 4), flate2::Compression::fast());
    // Writing into memory does not fail.
    let written = encoder.write_all(message);
    debug_assert!(written.is_ok(), "a vector takes everything");
    encoder.finish().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn a_compressed_message_is_the_same_and_flagged_for_grpc() {
        let message = b"abc".repeat(1000);
        let body = encode(message.clone(), Protocol::Grpc, Compression::Gzip);
        assert_eq!((body[0], body.len() - 5), (1, u32::from_be_bytes(body[1..5].try_into().unwrap()) as usize));
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(&body[5..]).read_to_end(&mut plain).unwrap();
        assert!(body.len() < 200 && plain == message);
        assert_eq!(encode(message.clone(), Protocol::Http, Compression::None), message);
    }
}
