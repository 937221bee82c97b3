//! `chains:` of a listener.

use std::{ops::RangeInclusive, sync::Arc};

use ipnet::IpNet;

use super::{Filters, Resolver, place::Place};
use crate::{
    config::{
        fingerprint::Fingerprint,
        raw,
        resolved::{Filter, FilterChain, ListenerProtocol, ListenerTls, Target},
        tree::quote,
    },
    listener::chain::{Matcher, Pattern, Transport, TransportCondition, parse_network},
};

/// What chains take over where they say nothing.
pub(super) struct Own<'a> {
    pub protocol: ListenerProtocol,
    pub tls: Option<&'a ListenerTls>,
    /// Certificates were written, whether or not they are in order.
    pub has_tls: bool,
    pub filters: &'a [Arc<Filter>],
    /// Filters were written, whether or not they are in order.
    pub has_filters: bool,
    pub target: &'a Target,
}

impl Resolver<'_, '_> {
    pub(super) fn chains(
        &mut self,
        chains: &[raw::Chain],
        own: &Own<'_>,
        filters: &Filters,
        place: &Place<'_>,
    ) -> Option<Vec<FilterChain>> {
        let resolved: Vec<_> = chains
            .iter()
            .enumerate()
            .map(|(index, chain)| self.filter_chain(chain, own, filters, &place.index(index)))
            .collect();
        let resolved = resolved.into_iter().collect::<Option<Vec<_>>>()?;
        for (index, chain) in resolved.iter().enumerate() {
            let earlier = resolved
                .iter()
                .take(index)
                .position(|earlier| earlier.matcher == chain.matcher || earlier.matcher == Matcher::default());
            if let Some(first) = earlier {
                let (place, first) = (place.index(index), place.index(first));
                let origin = self.diagnostics.sources.origin(first.span);
                let message = "no connection can take this chain: an earlier one matches all that it matches";
                let problem = self.diagnostics.problem(place.span, &place.path, message.to_owned());
                self.diagnostics
                    .push(problem.help("the first match wins; put the narrower one first").related(origin, "this one"));
            }
        }
        Some(resolved)
    }

    fn filter_chain(
        &mut self,
        raw: &raw::Chain,
        own: &Own<'_>,
        filters: &Filters,
        place: &Place<'_>,
    ) -> Option<FilterChain> {
        let nothing = raw::ChainMatch::default();
        let conditions = raw.matches.as_ref().unwrap_or(&nothing);
        let matcher = self.matcher(conditions, &place.key("match"));
        let tls = raw.tls.as_ref().map(|tls| self.listener_tls(tls, own.protocol, &place.key("tls")));
        let list = match &raw.filters {
            Some(names) => self.chain(names, filters, &place.key("filters")),
            None => own.filters.to_vec(),
        };
        let target = match self.target(raw.cluster.as_ref(), &raw.weighted_clusters, place) {
            Target::Nowhere => own.target.clone(),
            target => target,
        };
        let broken = |key: &str| self.removed.contains(&format!("{}.{key}", place.path));
        let has_filters = raw.filters.as_ref().map_or(own.has_filters, |names| !names.is_empty());
        let nowhere = !has_filters && matches!(target, Target::Nowhere) && raw.weighted_clusters.is_empty();
        if nowhere && !["filters", "cluster", "weighted_clusters"].into_iter().any(broken) {
            let message = "this chain sends what it takes nowhere";
            let help = "add `cluster: NAME`, or `filters:` with one among them that does";
            self.diagnostics.error_with_help(place.span, &place.path, message, help);
        }
        let plain = conditions.transport == Some(raw::ChainTransport::Plain);
        self.transport(raw, conditions, own, place);
        let tls = match tls {
            Some(tls) => Some(tls?),
            None => own.tls.filter(|_| !plain).cloned(),
        };
        let matcher = matcher?;
        // What was read as JSON can be written as such.
        let written = serde_json::to_vec(conditions).unwrap_or_default();
        let identity = Fingerprint::of([&*written]);
        let origin = self.diagnostics.sources.origin(place.span);
        Some(FilterChain { origin, matcher, identity, tls, filters: list, target })
    }

    /// Conditions on TLS, where there can be none.
    fn transport(&mut self, raw: &raw::Chain, conditions: &raw::ChainMatch, own: &Own<'_>, place: &Place<'_>) {
        let matches = place.key("match");
        let of_hello = [("sni", conditions.sni.is_some()), ("alpn", conditions.alpn.is_some())];
        let of_hello = of_hello.into_iter().filter(|(_, given)| *given).map(|(key, _)| key);
        if conditions.transport == Some(raw::ChainTransport::Plain) {
            for key in of_hello {
                let place = matches.key(key);
                let help = "take `transport: plain` or this away";
                let message = format!("a connection without TLS has no {}", quote(key));
                self.diagnostics.error_with_help(place.span, &place.path, message, help);
            }
            if raw.tls.is_some() {
                let place = place.key("tls");
                let message = "connections without TLS are shown no certificates";
                self.diagnostics.error_with_help(
                    place.span,
                    &place.path,
                    message,
                    "take `transport: plain` or this away",
                );
            }
            return;
        }
        // Bytes may be passed on as they are, whatever is in them; requests have to be read.
        let unreadable = own.protocol == ListenerProtocol::Http && raw.tls.is_none() && !own.has_tls;
        let secure = (conditions.transport == Some(raw::ChainTransport::Tls)).then_some("transport");
        if let Some(key) = of_hello.chain(secure).next().filter(|_| unreadable) {
            let broken = self.removed.contains(&format!("{}.tls", place.path));
            let place = matches.key(key);
            if !broken {
                let message = "connections with TLS cannot be read here: there are no certificates";
                let help = "give the chain or the listener `tls:`, or the listener `protocol: tcp` to pass them on as they are";
                self.diagnostics.error_with_help(place.span, &place.path, message, help);
            }
        }
    }

    fn matcher(&mut self, raw: &raw::ChainMatch, place: &Place<'_>) -> Option<Matcher> {
        let sni = self.each(raw.sni.as_ref(), &place.key("sni"), |name| {
            name.parse::<Pattern>().map_err(|error| error.to_string())
        });
        let alpn = self.each(raw.alpn.as_ref(), &place.key("alpn"), |name| match name.len() {
            // RFC 7301, section 3.1.
            1..=255 => Ok(name.as_bytes().to_vec()),
            _ => Err("the name of a protocol has 1 to 255 bytes".to_owned()),
        });
        let source = self.each(raw.source.as_ref(), &place.key("source"), |text| network(text));
        let source_ports = self.each(raw.source_ports.as_ref(), &place.key("source_ports"), ports);
        let destination: Option<Vec<IpNet>> =
            self.each(raw.destination.as_ref(), &place.key("destination"), |text| network(text));
        Some(Matcher {
            sni: sni?,
            alpn: alpn?,
            source: source?,
            source_ports: source_ports?,
            destination: destination?,
            destination_port: raw.destination_port,
            transport: match raw.transport {
                None => TransportCondition::Any,
                Some(raw::ChainTransport::Plain) => TransportCondition::Only(Transport::Plain),
                Some(raw::ChainTransport::Tls) => TransportCondition::Only(Transport::Tls),
            },
            application: Vec::new(),
        })
    }

    /// All values of a condition, or all that is wrong with them.
    pub(super) fn each<T, U>(
        &mut self,
        written: Option<&Vec<T>>,
        place: &Place<'_>,
        read: impl Fn(&T) -> Result<U, String>,
    ) -> Option<Vec<U>> {
        let each = written.into_iter().flatten().enumerate().map(|(index, value)| match read(value) {
            Ok(value) => Some(value),
            Err(message) => {
                let place = place.index(index);
                // The message may quote the value.
                let message = if place.is_secret() { format!("{} does not fit here", place.shown()) } else { message };
                self.diagnostics.error(place.span, &place.path, message);
                None
            }
        });
        // All are looked at, whatever becomes of the first.
        let each: Vec<_> = each.collect();
        each.into_iter().collect()
    }
}

/// `10.0.0.0/8`, or an address.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    parse_network(text).map_err(|error| error.to_string())
}

fn ports(written: &raw::Ports) -> Result<RangeInclusive<u16>, String> {
    let text = match written {
        raw::Ports::One(port) => return Ok(*port..=*port),
        raw::Ports::Range(text) => text,
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (first.trim().parse(), last.trim().parse()) {
        (Ok(first), Ok(last)) if first > last => Err(format!("`{text}` goes down; did you mean `{last}-{first}`?")),
        (Ok(first), Ok(last)) if first > 0 => Ok(first..=last),
        _ => Err(format!("`{text}` is neither a port nor a range of ports such as `1024-2047`")),
    }
}
