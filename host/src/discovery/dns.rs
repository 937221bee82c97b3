//! Names: A and AAAA, or SRV, as often as their answers hold.
//!
//! An answer without records is an answer, an empty one; servers that do not answer are none.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use hickory_resolver::{
    Resolver, TokioResolver,
    config::{ConnectionConfig, NameServerConfig, ResolverConfig},
    net::{DnsError, NetError, runtime::TokioRuntimeProvider},
    proto::rr::{RData, RecordType},
};

use super::{
    hosts::{Hosts, MOST_HOSTS},
    source::{Lack, Said, SourceError},
};
use crate::config::resolved::{DnsMode, DnsName, DnsNames, Endpoint, Family};

/// One question, at one server.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Names that an SRV record may lead to.
const MOST_TARGETS: usize = 1000;
/// Names that are told of.
const NAMED: usize = 5;

/// See the module.
pub struct Dns {
    names: DnsNames,
    /// What each of them has answered last.
    last: Vec<Option<Hosts>>,
    resolver: Option<TokioResolver>,
}

/// Records, and for how long they hold.
struct Records {
    data: Vec<RData>,
    holds: Duration,
}

impl Dns {
    /// Nothing is asked yet.
    #[must_use]
    pub fn new(names: DnsNames) -> Self {
        let last = names.names.iter().map(|_| None).collect();
        Self { names, last, resolver: None }
    }

    pub(super) async fn ask(&mut self) -> Result<Said, SourceError> {
        let resolver = match self.resolver.take() {
            Some(resolver) => resolver,
            None => resolver(&self.names.servers)?,
        };
        let looked = join_all(self.names.names.iter().map(|name| self.look(&resolver, name))).await;
        let (mut hosts, mut holds, mut silent) = (self.names.addresses.clone(), None::<Duration>, Vec::new());
        let mut failure = None;
        for ((name, last), looked) in self.names.names.iter().zip(&mut self.last).zip(looked) {
            match looked {
                Ok((found, hold)) => {
                    holds = Some(holds.map_or(hold, |holds| holds.min(hold)));
                    hosts.extend(found.iter().cloned());
                    *last = Some(found);
                }
                Err(error) => {
                    silent.push((name, last.is_some(), error.to_string()));
                    hosts.extend(last.iter().flatten().cloned());
                    failure.get_or_insert(error);
                }
            }
        }
        hosts.truncate(MOST_HOSTS);
        match failure {
            None => self.resolver = Some(resolver),
            // The system's settings are read again: they may be what was wrong.
            Some(failure) if silent.len() == self.names.names.len() && self.names.addresses.is_empty() => {
                return Err(failure);
            }
            Some(_) => {}
        }
        let mut addresses: Vec<_> = hosts.iter().map(|host| (host.address, host.weight, host.priority)).collect();
        addresses.sort_unstable();
        let version = format!("{:016x}", xxhash_rust::xxh64::xxh64(format!("{addresses:?}").as_bytes(), 0));
        let lacks = (!silent.is_empty()).then(|| self.lack(&silent));
        Ok(Said { hosts: Some(hosts), version, holds, lacks })
    }

    /// Names of which nothing was heard, with why, and whether something was heard before.
    fn lack(&self, silent: &[(&DnsName, bool, String)]) -> Lack {
        // What was known when the process began is found by its name, if that is one name's.
        let is_one = |name: &str| self.names.names.iter().filter(|one| one.presented() == name).count() == 1;
        let never = silent.iter().filter(|(_, was_heard, _)| !was_heard).map(|(name, ..)| name.presented());
        let names = never.filter(|name| is_one(name)).map(str::to_owned).collect();
        let mut why = silent.iter().take(NAMED).map(|(.., why)| why.as_str()).collect::<Vec<_>>().join("; ");
        if silent.len() > NAMED {
            why = format!("{why} and {} more", silent.len() - NAMED);
        }
        Lack { names, why }
    }

    async fn look(&self, resolver: &TokioResolver, name: &DnsName) -> Result<(Hosts, Duration), SourceError> {
        let Some(port) = name.port else { return self.services(resolver, name).await };
        let (addresses, holds) = addresses(resolver, &name.name, self.names.family).await?;
        let hosts = addresses.into_iter().map(|ip| host(SocketAddr::new(ip, port), name, &name.name));
        let most = match self.names.mode {
            DnsMode::Strict => MOST_HOSTS,
            // Servers answer in turns: whoever has a connection keeps it, and new ones go to the address that is first now.
            DnsMode::Logical => 1,
        };
        Ok((hosts.take(most).map(Arc::new).collect(), holds))
    }

    /// Port, priority and weight are those of the SRV records (RFC 2782).
    async fn services(&self, resolver: &TokioResolver, name: &DnsName) -> Result<(Hosts, Duration), SourceError> {
        let Records { data, mut holds } = records(resolver, &name.name, RecordType::SRV).await?;
        let mut hosts = Hosts::new();
        for data in data.iter().take(MOST_TARGETS) {
            let RData::SRV(record) = data else { continue };
            let target = record.target.to_utf8();
            // The service is decidedly not there.
            if target == "." || record.port == 0 {
                continue;
            }
            let (addresses, hold) = addresses(resolver, &target, self.names.family).await?;
            holds = holds.min(hold);
            for ip in addresses {
                let mut host = host(SocketAddr::new(ip, record.port), name, target.trim_end_matches('.'));
                host.weight = u32::from(record.weight).max(1);
                host.priority = u32::from(record.priority);
                hosts.push(Arc::new(host));
            }
        }
        Ok((dense(hosts), holds))
    }
}

/// Priorities of SRV records go to 65535, and those of a cluster to 127: only their order means anything.
fn dense(hosts: Hosts) -> Hosts {
    let mut priorities: Vec<u32> = hosts.iter().map(|host| host.priority).collect();
    priorities.sort_unstable();
    priorities.dedup();
    let place = |priority: u32| priorities.iter().position(|one| *one == priority).unwrap_or(0).min(127);
    let one = |host: Arc<Endpoint>| {
        let mut host = Arc::unwrap_or_clone(host);
        host.priority = u32::try_from(place(host.priority)).unwrap_or(127);
        Arc::new(host)
    };
    hosts.into_iter().map(one).collect()
}

fn host(address: SocketAddr, name: &DnsName, presented: &str) -> Endpoint {
    let mut endpoint = Endpoint { address, ..name.like.clone() };
    endpoint.hostname.get_or_insert_with(|| presented.to_owned());
    endpoint
}

fn resolver(servers: &[SocketAddr]) -> Result<TokioResolver, SourceError> {
    let failed = |error: NetError| SourceError::Unreachable(format!("no resolver: {error}"));
    let mut builder = if servers.is_empty() {
        Resolver::builder_tokio().map_err(failed)?
    } else {
        let server = |address: &SocketAddr| {
            let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
                connection.port = address.port();
                connection
            });
            NameServerConfig::new(address.ip(), true, connections.into())
        };
        let config = ResolverConfig::from_name_servers(servers.iter().map(server).collect());
        Resolver::builder_with_config(config, TokioRuntimeProvider::default())
    };
    let options = builder.options_mut();
    // What holds for how long is known here.
    options.cache_size = 0;
    options.timeout = TIMEOUT;
    builder.build().map_err(failed)
}

async fn addresses(
    resolver: &TokioResolver,
    name: &str,
    family: Family,
) -> Result<(Vec<IpAddr>, Duration), SourceError> {
    let of = |kind| records(resolver, name, kind);
    let both = match family {
        Family::V4 => vec![of(RecordType::A).await?],
        Family::V6 => vec![of(RecordType::AAAA).await?],
        Family::All => {
            let (four, six) = tokio::join!(of(RecordType::A), of(RecordType::AAAA));
            vec![four?, six?]
        }
    };
    // Where there are none of one family, that holds for longer than those of the other.
    let holds = both.iter().filter(|records| !records.data.is_empty()).map(|records| records.holds).min();
    let holds = holds.or_else(|| both.iter().map(|records| records.holds).min()).unwrap_or_default();
    let ip = |data: RData| match data {
        RData::A(address) => Some(IpAddr::V4(address.0)),
        RData::AAAA(address) => Some(IpAddr::V6(address.0)),
        _ => None,
    };
    Ok((both.into_iter().flat_map(|records| records.data).filter_map(ip).collect(), holds))
}

async fn records(resolver: &TokioResolver, name: &str, kind: RecordType) -> Result<Records, SourceError> {
    match resolver.lookup(name, kind).await {
        Ok(answer) => {
            let holds = answer.valid_until().saturating_duration_since(Instant::now());
            let data = answer.answers().iter().map(|record| record.data.clone());
            Ok(Records { data: data.filter(|data| data.record_type() == kind).collect(), holds })
        }
        Err(NetError::Dns(DnsError::NoRecordsFound(none))) => {
            let holds = Duration::from_secs(none.negative_ttl.unwrap_or(0).into());
            Ok(Records { data: Vec::new(), holds })
        }
        Err(error) => Err(SourceError::Unreachable(format!("{kind} {name}: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priorities_keep_their_order_and_fit() {
        let with = |priority: u32| {
            let mut host = Endpoint::new(SocketAddr::from(([127, 0, 0, 1], 1)));
            host.priority = priority;
            Arc::new(host)
        };
        let hosts = dense(vec![with(65_535), with(10), with(10), with(300)]);
        assert_eq!(hosts.iter().map(|host| host.priority).collect::<Vec<_>>(), [2, 0, 0, 1]);
        let many = dense((0..200).map(with).collect());
        assert_eq!((many[0].priority, many[126].priority, many[199].priority), (0, 126, 127));
    }
}
