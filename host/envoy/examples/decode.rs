//! How long 10,000 endpoints of one cluster, and 2,000 clusters, take from protobuf to translated configuration:
//! `cargo run --release -p fyke-envoy --example decode`. The messages are made here, by hand, in protobuf's wire format.

use std::error::Error;
use std::time::Instant;

use fyke_envoy::{Resources, Schema, Translator, decode};

/// A field whose value has a length: text, bytes, or a message.
fn field(number: u32, value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    varint(u64::from(number << 3 | 2), &mut bytes);
    varint(value.len() as u64, &mut bytes);
    bytes.extend_from_slice(value);
    bytes
}

fn number(number: u32, value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    varint(u64::from(number << 3), &mut bytes);
    varint(value, &mut bytes);
    bytes
}

fn varint(mut value: u64, bytes: &mut Vec<u8>) {
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

/// `LbEndpoint`
fn endpoint(index: usize) -> Vec<u8> {
    let host = format!("10.{}.{}.{}", index >> 16 & 255, index >> 8 & 255, index & 255);
    let socket = [field(2, host.as_bytes()), number(3, 8080)].concat();
    let endpoint = field(1, &field(1, &socket));
    [field(1, &endpoint), field(4, &number(1, 1 + index as u64 % 5))].concat()
}

/// `ClusterLoadAssignment`
fn assignment(name: &str, endpoints: usize) -> Vec<u8> {
    let endpoints: Vec<u8> = (0..endpoints).flat_map(|index| field(2, &endpoint(index))).collect();
    let locality = [field(1, &field(2, b"eu-1a")), endpoints].concat();
    [field(1, name.as_bytes()), field(2, &locality)].concat()
}

/// `Cluster`
fn cluster(index: usize) -> Vec<u8> {
    let name = format!("cluster-{index}");
    [field(1, name.as_bytes()), field(4, &number(1, 1)), number(6, 1), field(33, &assignment(&name, 3))].concat()
}

fn main() -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    let translator = Translator::new(Schema::load()?);
    println!("descriptors loaded: {:?}", start.elapsed());

    let url = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";
    let bytes = assignment("large", 10_000);
    let start = Instant::now();
    let value = decode(translator.schema(), url, &bytes)?;
    let decoded = start.elapsed();
    let (endpoints, findings) = translator.endpoints(&value);
    println!("10,000 endpoints ({} bytes): decoded {decoded:?}, translated {:?}", bytes.len(), start.elapsed());
    assert_eq!((endpoints.len(), findings.len()), (10_000, 0));

    let url = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
    let clusters: Vec<_> = (0..2_000).map(cluster).collect();
    let start = Instant::now();
    let decoded: Result<Vec<_>, _> = clusters.iter().map(|bytes| decode(translator.schema(), url, bytes)).collect();
    let resources = Resources { clusters: decoded?, ..Resources::default() };
    let decoded = start.elapsed();
    let conversion = translator.translate(&resources);
    println!("2,000 clusters: decoded {decoded:?}, translated {:?}", start.elapsed());
    let clusters = conversion.config.get("clusters").and_then(serde_json::Value::as_object);
    assert_eq!(clusters.map(serde_json::Map::len), Some(2_000));
    assert!(conversion.findings.is_empty(), "{:?}", conversion.findings.first());
    Ok(())
}
