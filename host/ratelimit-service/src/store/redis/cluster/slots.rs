//! Which slot a key has, and which node has a slot.

use std::collections::HashSet;

use redis::Value;

use crate::settings::Address;

/// How many slots there are.
pub(super) const SLOTS: u16 = 16384;

/// How many primaries a map may name: as many as Redis itself is meant for. Each would have a connection.
const MOST_NODES: usize = 1000;

/// Slots that a node has, from the first to the last.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Range {
    pub first: u16,
    pub last: u16,
    /// The primary.
    pub node: Address,
}

/// The slot of a key: CRC-16 (XMODEM) of it, or of what is in its first braces.
pub(super) fn slot(key: &str) -> u16 {
    let tag = key.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map(|(tag, _)| tag);
    let hashed = tag.filter(|tag| !tag.is_empty()).unwrap_or(key);
    let crc = hashed.bytes().fold(0_u16, |crc, byte| {
        let x = (crc >> 8) ^ u16::from(byte);
        let x = x ^ (x >> 4);
        (crc << 8) ^ (x << 12) ^ (x << 5) ^ x
    });
    crc % SLOTS
}

/// An answer to `CLUSTER SLOTS`, in the order of slots. `None` where it is none. `speaker` is the host of who answers. What it says of a range
/// and makes no sense, such as a node whose name it does not know, concerns that range alone.
pub(super) fn read(answer: &Value, speaker: &str) -> Option<Vec<Range>> {
    let Value::Array(entries) = answer else { return None };
    let mut ranges: Vec<Range> = entries.iter().filter_map(|entry| range(entry, speaker)).collect();
    ranges.sort();
    // Each has one owner, or it is no map.
    let apart = ranges.is_sorted_by(|one, next| one.last < next.first);
    let nodes: HashSet<&Address> = ranges.iter().map(|range| &range.node).collect();
    (apart && nodes.len() <= MOST_NODES).then_some(ranges)
}

fn range(entry: &Value, speaker: &str) -> Option<Range> {
    let Value::Array(parts) = entry else { return None };
    let [Value::Int(first), Value::Int(last), Value::Array(primary), ..] = parts.as_slice() else { return None };
    let [host, Value::Int(port), ..] = primary.as_slice() else { return None };
    let host = match host {
        Value::BulkString(host) => std::str::from_utf8(host).ok()?,
        // It knows no better than who asks.
        Value::Nil => "",
        _ => return None,
    };
    // `?` is a node that it cannot name, and no host.
    let host = if host.is_empty() { speaker } else { host };
    let (first, last) = (u16::try_from(*first).ok()?, u16::try_from(*last).ok()?);
    let node = Address::new(host, u16::try_from(*port).ok()?)?;
    (first <= last && last < SLOTS).then_some(Range { first, last, node })
}

/// The cluster's epoch in an answer to `CLUSTER INFO`, which grows with each replica that takes over and each slot that has moved.
pub(super) fn epoch(answer: &Value) -> Option<u64> {
    let Value::BulkString(text) = answer else { return None };
    let mut lines = std::str::from_utf8(text).ok()?.lines();
    lines.find_map(|line| line.strip_prefix("cluster_current_epoch:"))?.trim().parse().ok()
}

/// How many slots have a node.
pub(super) fn covered(ranges: &[Range]) -> u16 {
    ranges.iter().map(|range| range.last - range.first + 1).sum()
}

/// Who has a slot.
pub(super) fn owner(ranges: &[Range], slot: u16) -> Option<&Address> {
    let at = ranges.partition_point(|range| range.last < slot);
    ranges.get(at).filter(|range| range.first <= slot).map(|range| &range.node)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn entry(first: i64, last: i64, host: Value, port: i64) -> Value {
        let node = |host, port| Value::Array(vec![host, Value::Int(port), text("name"), Value::Array(Vec::new())]);
        Value::Array(vec![Value::Int(first), Value::Int(last), node(host, port), node(text("replica"), 1)])
    }

    #[test]
    fn keys_have_the_slots_that_redis_gives_them() {
        // Of the specification, and what `CLUSTER KEYSLOT` says.
        assert_eq!(slot("123456789"), 0x31c3);
        assert_eq!(slot(""), 0);
        assert_eq!(slot("foo"), 12182);
        assert_eq!(slot("{user1000}.following"), slot("user1000"));
        assert_eq!(slot("foo{}{bar}"), slot("foo{}{bar}"));
        assert_ne!(slot("foo{}{bar}"), slot("bar"));
        assert_eq!(slot("foo{{bar}}zap"), slot("{bar"));
        assert_eq!(slot("foo{bar}{zap}"), slot("bar"));
    }

    #[test]
    fn a_map_says_who_has_a_slot() {
        let answer = Value::Array(vec![
            entry(8000, 16383, text("10.0.0.2"), 7),
            entry(0, 5000, Value::Nil, 8),
            entry(5001, 5001, text(""), 9),
            entry(5002, 5003, text("?"), 9),
            entry(5004, 5004, text("10.0.0.2"), 65536),
            entry(5006, 5005, text("10.0.0.2"), 7),
            entry(5007, 16384, text("a b"), 7),
            Value::Array(vec![Value::Int(0), Value::Int(1)]),
        ]);
        let ranges = read(&answer, "speaker").unwrap();
        let found = |slot| owner(&ranges, slot).map(ToString::to_string);
        assert_eq!(found(0).as_deref(), Some("speaker:8"));
        assert_eq!(found(5000).as_deref(), Some("speaker:8"));
        assert_eq!(found(5001).as_deref(), Some("speaker:9"));
        assert_eq!(found(5002), None, "whoever that is");
        assert_eq!(found(7999), None);
        assert_eq!(found(16383).as_deref(), Some("10.0.0.2:7"));
        assert_eq!(covered(&ranges), 5001 + 1 + 8384);
    }

    #[test]
    fn a_node_says_how_much_of_the_clusters_history_it_knows() {
        assert_eq!(epoch(&text("cluster_state:ok\r\ncluster_current_epoch:6\r\ncluster_my_epoch:2\r\n")), Some(6));
        assert_eq!(epoch(&text("cluster_my_epoch:2\r\n")), None);
        assert_eq!(epoch(&Value::Nil), None);
    }

    #[test]
    fn what_is_no_map_is_none() {
        let overlap = vec![entry(0, 10, text("a"), 1), entry(10, 20, text("b"), 1)];
        for wrong in [Value::Nil, Value::Array(overlap)] {
            assert_eq!(read(&wrong, "speaker"), None, "{wrong:?}");
        }
        let nodes = |count| Value::Array((0..count).map(|slot| entry(slot, slot, text("a"), slot + 1)).collect());
        assert!(read(&nodes(1000), "speaker").is_some());
        assert_eq!(read(&nodes(1001), "speaker"), None, "each would have a connection");
    }

    proptest! {
        #[test]
        fn every_key_has_a_slot(key in any::<String>()) {
            prop_assert!(slot(&key) < SLOTS);
        }
    }
}
