//! Which chain takes a connection. Envoy looks for the most specific, criterion after criterion, and never comes back from one that it has
//! chosen; Fyke takes the first that matches. Sorted by Envoy's criteria the two agree, except where Envoy would end in a dead end;
//! such places are found here.

use std::net::IpAddr;

use serde_json::Value;

use super::{
    chain::{As, Chain},
    matching::Conditions,
};
use crate::{
    finding::Severity,
    reader::{Reader, report},
    units::Object,
};

/// Chains that one chain may become: its names and networks of different lengths.
const MOST: usize = 256;
/// Criteria, in Envoy's order.
const CRITERIA: usize = 7;

/// A chain whose values are all equally specific.
#[derive(Debug, Clone)]
pub(super) struct Sorted {
    pub chain: Chain,
    pub matches: Conditions,
}

/// How specific a chain is: for each criterion a rank, of which lower ones come first.
type Ranks = [i64; CRITERIA];

/// A criterion that is not asked.
const ANY: i64 = i64::MAX;

pub(super) fn sorted(reader: &Reader<'_>, chains: Vec<Chain>) -> Vec<Sorted> {
    let mut all = Vec::new();
    for chain in chains {
        let parts = split(&chain.conditions);
        if all.len() + parts.len() > MOST {
            report(reader.findings(), &chain.place, Severity::Refused, "there are too many chains");
            continue;
        }
        all.extend(parts.into_iter().map(|matches| Sorted { chain: chain.clone(), matches }));
    }
    all.sort_by_key(|sorted| ranks(&sorted.matches));
    dead_ends(reader, &all);
    all.dedup_by(|later, earlier| {
        let same = later.matches == earlier.matches;
        if same {
            report(reader.findings(), &later.chain.place, Severity::Refused, "another chain has the same conditions");
        }
        same
    });
    all
}

impl Conditions {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn write(&self) -> Object {
        let networks = |list: &[(IpAddr, u8)]| {
            list.iter().map(|(address, length)| format!("{address}/{length}")).collect::<Vec<_>>()
        };
        let mut object = Object::default();
        object.set_filled("sni", self.sni.clone());
        object.set_filled("alpn", self.alpn.clone());
        object.set_filled("source", networks(&self.source));
        object.set_filled("source_ports", self.source_ports.clone());
        object.set_filled("destination", networks(&self.destination));
        object.set_some("destination_port", self.destination_port);
        object.set_some("transport", self.transport);
        object
    }
}

impl Sorted {
    pub fn to_value(&self) -> Value {
        let mut object = Object::default();
        object.set_filled("match", self.matches.write());
        self.chain.write(&mut object, As::Chain);
        object.into()
    }
}

/// The conditions by themselves for each length of name and network.
fn split(conditions: &Conditions) -> Vec<Conditions> {
    let mut parts = vec![conditions.clone()];
    parts = apart(parts, |part| groups(&part.sni, |name| sni_rank(name)), |part, sni| part.sni = sni);
    let length = |(_, length): &(IpAddr, u8)| -i64::from(*length);
    parts = apart(parts, |part| groups(&part.destination, length), |part, networks| part.destination = networks);
    apart(parts, |part| groups(&part.source, length), |part, networks| part.source = networks)
}

fn apart<T>(
    parts: Vec<Conditions>,
    groups: impl Fn(&Conditions) -> Vec<Vec<T>>,
    set: impl Fn(&mut Conditions, Vec<T>),
) -> Vec<Conditions> {
    let mut all = Vec::new();
    for part in parts {
        for group in groups(&part) {
            let mut one = part.clone();
            set(&mut one, group);
            all.push(one);
        }
    }
    all
}

/// Values of the same rank together. Nothing is one group.
fn groups<T: Clone>(values: &[T], rank: impl Fn(&T) -> i64) -> Vec<Vec<T>> {
    let mut groups = std::collections::BTreeMap::<i64, Vec<T>>::new();
    for value in values {
        groups.entry(rank(value)).or_default().push(value.clone());
    }
    if groups.is_empty() { vec![Vec::new()] } else { groups.into_values().collect() }
}

/// Whole names first, then the longest of those with a star.
fn sni_rank(name: &str) -> i64 {
    if name.starts_with('*') { -i64::try_from(name.len()).unwrap_or(0) } else { i64::MIN }
}

fn ranks(conditions: &Conditions) -> Ranks {
    let first = |set: bool| if set { 0 } else { ANY };
    let longest = |networks: &[(IpAddr, u8)]| networks.first().map_or(ANY, |(_, length)| -i64::from(*length));
    [
        first(conditions.destination_port.is_some()),
        longest(&conditions.destination),
        conditions.sni.first().map_or(ANY, |name| sni_rank(name)),
        first(conditions.transport.is_some()),
        first(!conditions.alpn.is_empty()),
        longest(&conditions.source),
        first(!conditions.source_ports.is_empty()),
    ]
}

/// Whether two chains say the same about the first criteria.
fn agree(one: &Conditions, other: &Conditions, criteria: usize) -> bool {
    let same = [
        one.destination_port == other.destination_port,
        one.destination == other.destination,
        one.sni == other.sni,
        one.transport == other.transport,
        one.alpn == other.alpn,
        one.source == other.source,
        one.source_ports == other.source_ports,
    ];
    same.into_iter().take(criteria).all(|same| same)
}

/// Connections that a chain almost takes: Envoy gives them to nobody, Fyke to the next.
fn dead_ends(reader: &Reader<'_>, sorted: &[Sorted]) {
    for (index, narrow) in sorted.iter().enumerate() {
        let own = ranks(&narrow.matches);
        for criterion in 0..CRITERIA {
            let asks_more = own.iter().enumerate().skip(criterion + 1).any(|(later, rank)| {
                // A name is asked for in TLS only.
                let implied = later == 3 && narrow.matches.transport == Some("tls") && !narrow.matches.sni.is_empty();
                *rank != ANY && !implied
            });
            let rank = own.get(criterion).copied().unwrap_or(ANY);
            if rank == ANY || !asks_more {
                continue;
            }
            let caught = sorted.iter().any(|other| {
                agree(&narrow.matches, &other.matches, criterion + 1)
                    && ranks(&other.matches).iter().skip(criterion + 1).all(|rank| *rank == ANY)
            });
            let wider = sorted.iter().skip(index + 1).find(|other| {
                let theirs = ranks(&other.matches).get(criterion).copied().unwrap_or(ANY);
                agree(&narrow.matches, &other.matches, criterion) && theirs > rank
            });
            if let (false, Some(wider)) = (caught, wider) {
                let location = wider.chain.place.location();
                let reason = format!(
                    "connections that meet only the first of these conditions take the default chain in Envoy, or none; here {} takes them",
                    location.resource
                );
                report(reader.findings(), &narrow.chain.place.key("filter_chain_match"), Severity::Refused, reason);
                break;
            }
        }
    }
}
