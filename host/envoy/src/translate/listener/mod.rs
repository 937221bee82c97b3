//! `envoy.config.listener.v3.Listener` to `listeners:`.

mod chain;
mod matching;
mod network;
mod order;
mod redis;

use serde_json::Value;

use super::{
    common::{self, Address, Ports},
    context::Context,
    http,
};
use crate::{
    finding::Severity,
    place::{Place, ResourceKind},
    reader::Reader,
    units::{self, Object},
};
use chain::{Chain, Protocol};
pub(super) use network::check as check_network_filter;

pub(super) fn translate(context: &Context<'_>, listener: &Value, index: usize) -> Option<(String, Value)> {
    let given = listener.get("name").and_then(Value::as_str).unwrap_or_default();
    let name = if given.is_empty() { format!("listener-{index}") } else { given.to_owned() };
    let reader = Reader::new(listener, Place::resource(ResourceKind::Listener, &name), context.findings)?;
    reader.text("name");
    for (key, reason) in [
        ("api_listener", "an API listener is for programs that embed Envoy"),
        ("internal_listener", "listeners inside of the process are not there"),
        ("udp_listener_config", "only TCP is spoken"),
        ("fcds_config", "filter chains are not fetched one by one"),
    ] {
        if reader.has(key) {
            reader.refuse(key, reason);
            reader.leave();
            return None;
        }
    }
    let mut object = Object::default();
    let Some(address) = reader.message("address").and_then(|address| common::address(&address, Ports::Any)) else {
        if !reader.has("address") {
            reader.refuse_at("address", "is missing");
        }
        reader.leave();
        return None;
    };
    if let Address::Name(name, _) = &address {
        reader.refuse_at("address", format!("{name:?} is a name: a listener has an IP address"));
        reader.leave();
        return None;
    }
    object.set("address", address.text());
    if let Address::Unix(_, mode @ 1..) = address {
        object.set("mode", format!("{mode:04o}"));
    }
    for additional in reader.messages("additional_addresses") {
        additional.refuse_whole("a listener has one address: write another listener");
    }
    let mut chains = Vec::new();
    for chain in reader.messages("filter_chains").into_iter().map(Reader::unit) {
        chains.extend(chain::translate(context, &chain));
    }
    let default = reader.message("default_filter_chain").map(Reader::unit);
    let default = default.and_then(|chain| chain::translate(context, &chain));
    listener_filters(&reader, &mut object);
    let logs: Vec<String> = http::logs(context, reader.messages("access_log"))
        .into_iter()
        .map(|(wanted, log)| context.filters.borrow_mut().add(&wanted, log, &[]))
        .collect();
    if !logs.is_empty() {
        reader.report_at("access_log", Severity::Ignored, "connections are logged by the filters of a chain");
    }
    let served = write(&reader, chains, default, &mut object);
    let buffer = reader.unsigned("per_connection_buffer_limit_bytes");
    rest(&reader, &mut object, buffer);
    served.then(|| (name, object.into()))
}

/// What is known of a connection before its chain is.
fn listener_filters(reader: &Reader<'_>, object: &mut Object) {
    for filter in reader.messages("listener_filters").into_iter().map(Reader::unit) {
        filter.text("name");
        if let Some(predicate) = filter.message("filter_disabled") {
            predicate.refuse_whole("a listener looks at all of its connections alike");
        }
        let Some((kind, config)) = filter.any("typed_config") else {
            // Which of those that have nothing to say it is, its name says.
            let name = filter.text_or_empty("name");
            if !matches!(name, "envoy.filters.listener.tls_inspector" | "envoy.filters.listener.http_inspector") {
                filter.refuse_here("has no typed_config");
            }
            continue;
        };
        match kind.strip_prefix("envoy.extensions.filters.listener.").unwrap_or_default() {
            // The listener does so by itself where a chain asks.
            "tls_inspector.v3.TlsInspector" => {
                for key in config.keys() {
                    config.ignore(key, "hellos of TLS are looked at where a chain asks for something in them");
                }
            }
            "proxy_protocol.v3.ProxyProtocol" => {
                let optional = config.flag("allow_requests_without_proxy_protocol");
                object.set("proxy_protocol", if optional { "accept" } else { "require" });
                config.ignore("stat_prefix", "statistics have the listener's name");
            }
            "original_dst.v3.OriginalDst" => {
                config.ignore("traffic_direction", "a listener has no direction");
                object.set("original_destination", "use");
            }
            "http_inspector.v3.HttpInspector" => config.ignore_whole("a listener speaks HTTP or not"),
            _ => config.refuse_whole(format!("the listener filter {kind} is not supported")),
        }
    }
    if reader.boolean("use_original_dst") == Some(true) {
        reader.refuse_at(
            "use_original_dst",
            "connections are not handed to other listeners: give this one chains by destination",
        );
    }
    reader.ignore("listener_filters_timeout", "a hello or header has as long as `limits.header_timeout`");
    reader.only("continue_on_listener_filters_timeout", false, "a connection that says nothing is closed");
}

/// Chains, what is the listener's own, and what all of them share. False, with a finding: there are none.
fn write(reader: &Reader<'_>, chains: Vec<Chain>, default: Option<Chain>, object: &mut Object) -> bool {
    let all = || chains.iter().chain(&default);
    let Some(first) = all().next() else {
        reader.refuse_here("has no filter chain that could be carried over");
        return false;
    };
    let protocol = first.protocol;
    if protocol == Protocol::Tcp {
        object.set("protocol", "tcp");
    }
    for other in all().filter(|chain| chain.protocol != protocol) {
        let reason = "a listener speaks one protocol, that of its first chain: give this chain a listener of its own";
        crate::reader::report(reader.findings(), &other.place, Severity::Refused, reason);
    }
    let kept = |chain: &Chain| chain.protocol == protocol;
    let mut shared = Shared::default();
    for chain in all().filter(|chain| kept(chain)) {
        shared.add(reader, chain);
    }
    let chains: Vec<Chain> = chains.iter().filter(|chain| kept(chain)).cloned().collect();
    let default = default.filter(kept);
    let mut sorted = order::sorted(reader, chains);
    // A chain without conditions comes last, and is the listener's own where others would not take over what they must not.
    let last = match sorted.pop() {
        Some(chain) if chain.matches.is_empty() => {
            if default.is_some() {
                reader.report_at(
                    "default_filter_chain",
                    Severity::Ignored,
                    "a chain without conditions takes everything",
                );
            }
            Some(chain.chain)
        }
        Some(chain) => {
            sorted.push(chain);
            default
        }
        None => default,
    };
    let inherits = |own: &Chain| own.tls.is_some() && sorted.iter().any(|chain| chain.chain.tls.is_none());
    let mut list: Vec<Value> = sorted.iter().map(order::Sorted::to_value).collect();
    match last {
        Some(own) if !inherits(&own) => own.write(object, chain::As::Own),
        Some(own) => {
            let mut chain = Object::default();
            own.write(&mut chain, chain::As::Chain);
            list.push(chain.into());
        }
        None => {}
    }
    object.set_filled("chains", list);
    shared.write(object);
    true
}

/// What chains say, and Fyke says of a listener.
#[derive(Debug, Default)]
struct Shared {
    limits: Object,
    drain: Option<String>,
    connect_attempts: Option<u64>,
    said: bool,
}

impl Shared {
    fn add(&mut self, reader: &Reader<'_>, chain: &Chain) {
        let other = self.said
            && (Value::from(self.limits.clone()) != Value::from(chain.limits.clone())
                || self.drain != chain.drain
                || self.connect_attempts != chain.connect_attempts);
        if other {
            let reason = "limits and timeouts are the listener's: those of its first chain count";
            crate::reader::report(reader.findings(), &chain.place, Severity::Refused, reason);
            return;
        }
        if !self.said {
            self.limits = chain.limits.clone();
            self.drain.clone_from(&chain.drain);
            self.connect_attempts = chain.connect_attempts;
            self.said = true;
        }
    }

    fn write(self, object: &mut Object) {
        object.set_some("connect_attempts", self.connect_attempts);
        object.set_some("limits", self.limits.filled());
        object.set_some("drain", self.drain);
    }
}

/// What else a listener says.
fn rest(reader: &Reader<'_>, object: &mut Object, buffer: Option<u64>) {
    if let Some(size) = buffer {
        let map: serde_json::Map<String, Value> = object.clone().into();
        let limits = map.get("limits").and_then(Value::as_object).cloned().unwrap_or_default();
        let mut all = Object::default();
        for (key, value) in limits {
            all.set(&key, value);
        }
        if size <= 1 << 30 {
            all.set("buffer", units::bytes(size));
        } else {
            reader.refuse_at("per_connection_buffer_limit_bytes", "is more than 1GiB");
        }
        object.set_some("limits", all.filled());
    }
    if let Some(metadata) = reader.message("metadata") {
        object.set_filled("metadata", common::metadata(&metadata));
    }
    reader.ignore("stat_prefix", "statistics have the listener's name");
    reader.ignore("drain_type", "connections are drained when the process ends or the listener goes");
    reader.ignore("traffic_direction", "a listener has no direction");
    reader.ignore("connection_balance_config", "the kernel spreads connections over the workers");
    reader.ignore("reuse_port", "every worker has a socket of its own where the system can");
    reader.ignore("enable_reuse_port", "every worker has a socket of its own where the system can");
    reader.ignore("tcp_backlog_size", "the system's largest backlog is asked for");
    reader.ignore("max_connections_to_accept_per_socket_event", "workers accept by turns");
    reader.ignore("tcp_fast_open_queue_length", "connections begin with a handshake");
    reader.ignore("ignore_global_conn_limit", "`limits.connections` of the process count every connection");
    reader.ignore("bypass_overload_manager", "`limits` of the process count for every listener");
    for (key, expected, reason) in [
        ("bind_to_port", true, "a listener binds its address"),
        ("transparent", false, "sockets are not transparent"),
        ("freebind", false, "an address must be there to be bound"),
        ("enable_mptcp", false, "MPTCP is not spoken"),
    ] {
        reader.only(key, expected, reason);
    }
    if let Some(old) = reader.message("deprecated_v1") {
        old.refuse("bind_to_port", "a listener binds its address");
    }
}
