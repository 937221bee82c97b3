//! `envoy.config.listener.v3.FilterChain`

use serde_json::Value;

use super::{
    matching::{self, Conditions},
    network,
};
use crate::{
    place::Place,
    reader::Reader,
    translate::{context::Context, tls},
    units::Object,
};

/// What is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Http,
    Tcp,
}

/// A chain of Fyke.
#[derive(Debug, Clone)]
pub(super) struct Chain {
    pub place: Place,
    pub conditions: Conditions,
    pub protocol: Protocol,
    pub filters: Vec<String>,
    /// `cluster` or `weighted_clusters`.
    pub target: Object,
    pub tls: Option<Value>,
    pub limits: Object,
    pub drain: Option<String>,
    pub connect_attempts: Option<u64>,
}

/// As what a chain is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum As {
    /// What the listener itself says.
    Own,
    /// One of `chains:`, which takes over what it does not say.
    Chain,
}

impl Chain {
    /// One without filters.
    pub fn new(reader: &Reader<'_>, conditions: Conditions, protocol: Protocol) -> Self {
        let (filters, target, limits) = Default::default();
        let place = reader.place().clone();
        Self { place, conditions, protocol, filters, target, tls: None, limits, drain: None, connect_attempts: None }
    }

    pub fn write(&self, object: &mut Object, as_what: As) {
        object.set_some("tls", self.tls.clone());
        match as_what {
            As::Own => object.set_filled("filters", self.filters.clone()),
            As::Chain => object.set("filters", self.filters.clone()),
        }
        let target: serde_json::Map<String, Value> = self.target.clone().into();
        for (key, value) in target {
            object.set(&key, value);
        }
    }
}

/// `None`, with a finding: it cannot be carried over.
pub(super) fn translate(context: &Context<'_>, reader: &Reader<'_>) -> Option<Chain> {
    reader.ignore("name", "chains have no names");
    if let Some(metadata) = reader.message("metadata") {
        metadata.ignore_whole("only listeners have metadata");
    }
    if reader.boolean("use_proxy_proto") == Some(true) {
        reader.refuse_at("use_proxy_proto", "use the listener filter envoy.filters.listener.proxy_protocol");
    }
    reader.ignore("transport_socket_connect_timeout", "a handshake has as long as `limits.header_timeout`");
    let refused = context.findings.refused();
    let conditions = reader.message("filter_chain_match").map(|matcher| matching::conditions(&matcher));
    // A chain that takes more connections than it was to would let them in.
    let whole = context.findings.refused() == refused;
    let filters = reader.messages("filters");
    let protocol = network::protocol(&filters);
    let speaks = match protocol {
        Protocol::Http => tls::Speaks::Http,
        Protocol::Tcp => tls::Speaks::Bytes,
    };
    let socket = reader.message("transport_socket");
    let tls = socket.map_or(Ok(None), |socket| tls::downstream(context, &socket, speaks));
    let mut chain = Chain::new(reader, conditions.unwrap_or_default(), protocol);
    let terminates = network::filters(context, filters, &mut chain);
    if !terminates {
        reader.refuse_here("ends with no filter that does something with connections: the chain is left out");
        return None;
    }
    match tls {
        Ok(tls) => chain.tls = tls,
        Err(()) => {
            reader.refuse_here("without its transport the chain is left out: it would be open to everybody");
            return None;
        }
    }
    if !whole {
        reader.refuse_here("without all of its conditions the chain is left out");
        return None;
    }
    Some(chain)
}
