//! `control_planes:`

use std::{collections::BTreeMap, num::NonZeroUsize, sync::Arc, time::Duration};

use fyke_envoy::xds::{self, Address, ResourceType};
use rustls::pki_types::ServerName;

use super::{Resolver, place::Place};
use crate::{
    config::{
        raw,
        resolved::{ClusterProtocol, ControlPlane, OnDemand, Sni},
    },
    telemetry::otlp::settings::header,
};

/// How long a cluster on demand is waited for, as in Envoy.
const WAIT: Duration = Duration::from_secs(5);
/// The most clusters that are asked for on demand.
const MOST: usize = 1000;

impl Resolver<'_, '_> {
    pub(super) fn control_planes(
        &mut self,
        planes: &BTreeMap<String, raw::ControlPlane>,
        node: &Option<raw::Node>,
        place: &Place<'_>,
    ) -> BTreeMap<String, Arc<ControlPlane>> {
        let asked = planes.iter().filter(|(_, raw)| raw.on_demand.is_some()).map(|(name, _)| name);
        for name in asked.skip(1) {
            let place = place.key(name).key("on_demand");
            let message = "clusters are asked for on demand of one control plane alone";
            let help = "take it away here, or there";
            self.diagnostics.error_with_help(place.span, &place.path, message, help);
        }
        let one = |(name, raw): (&String, &raw::ControlPlane)| {
            let plane = self.control_plane(name, raw, node, &place.key(name))?;
            Some((name.clone(), Arc::new(plane)))
        };
        planes.iter().filter_map(one).collect()
    }

    fn control_plane(
        &mut self,
        name: &str,
        raw: &raw::ControlPlane,
        node: &Option<raw::Node>,
        place: &Place<'_>,
    ) -> Option<ControlPlane> {
        self.contents.clear();
        let at = place.key("grpc");
        let host = self.control_plane_host(&raw.grpc, &at)?;
        let address = match raw.grpc.strip_prefix("unix:") {
            Some(path) => Address::Unix(self.file(&at, path)),
            None => Address::Tcp(raw.grpc.clone()),
        };
        let mut settings = xds::Settings::new(address, self::node(node.clone().unwrap_or_default()));
        settings.mode = match raw.mode {
            None | Some(raw::XdsMode::StateOfTheWorld) => xds::Mode::StateOfTheWorld,
            Some(raw::XdsMode::Delta) => xds::Mode::Delta,
        };
        settings.streams = match raw.streams {
            None | Some(raw::XdsStreams::Aggregated) => xds::Streams::Aggregated,
            Some(raw::XdsStreams::Separate) => xds::Streams::Separate,
        };
        let asked = |wanted| raw.resources.as_ref().is_none_or(|resources| resources.contains(&wanted));
        let is_asked = |kind: &ResourceType| match kind {
            ResourceType::Listener => asked(raw::XdsResources::Listeners),
            ResourceType::Cluster => asked(raw::XdsResources::Clusters) || raw.on_demand.is_some(),
            ResourceType::Runtime => !raw.runtime.is_empty(),
            _ => true,
        };
        settings.types = ResourceType::ALL.into_iter().filter(is_asked).collect();
        if !asked(raw::XdsResources::Clusters) {
            settings.by_name.push(ResourceType::Cluster);
        }
        if !raw.runtime.is_empty() {
            settings.wanted.push((ResourceType::Runtime, raw.runtime.clone()));
        }
        let on_demand = raw.on_demand.as_ref().map(|on_demand| OnDemand {
            timeout: self.timeout(on_demand.timeout, WAIT, &place.key("on_demand").key("timeout")),
            clusters: on_demand.clusters.map_or(MOST, NonZeroUsize::get),
        });
        settings.fetch_timeout = self.timeout(raw.fetch_timeout, settings.fetch_timeout, &place.key("fetch_timeout"));
        settings.connect_timeout =
            self.timeout(raw.connect_timeout, settings.connect_timeout, &place.key("connect_timeout"));
        for (name, value) in &raw.headers {
            match header(name, value) {
                Ok(_) => settings.headers.push((name.clone(), value.clone())),
                Err(error) => {
                    let place = place.key("headers").key(name);
                    self.diagnostics.error(place.span, &place.path, error.to_string());
                }
            }
        }
        if let Some(tls) = &raw.tls {
            settings.tls = Some(self.control_plane_tls(tls, host.as_deref(), &place.key("tls"))?);
        }
        let load_reports = raw.load_reports.unwrap_or_default();
        Some(ControlPlane {
            name: name.to_owned(),
            settings,
            on_demand,
            load_reports,
            origin: self.diagnostics.sources.origin(place.span),
            fingerprint: self.fingerprint(&(raw, node)),
        })
    }

    /// The name in an address; `None` within: it is a socket in the file system.
    fn control_plane_host(&mut self, text: &str, place: &Place<'_>) -> Option<Option<String>> {
        if text.starts_with("unix:") {
            return Some(None);
        }
        let parts = text.rsplit_once(':').filter(|(host, port)| {
            let fits = !host.is_empty() && !host.contains(['/', '@', ' ']);
            fits && port.parse::<u16>().is_ok_and(|port| port > 0)
        });
        let Some((host, _)) = parts else {
            let message = format!("{} is not where a control plane is", place.shown());
            let help = "write host and port, such as `127.0.0.1:18000`, or `unix:` and the path of a socket; TLS is said by `tls`";
            self.diagnostics.error_with_help(place.span, &place.path, message, help);
            return None;
        };
        Some(Some(host.trim_start_matches('[').trim_end_matches(']').to_owned()))
    }

    fn control_plane_tls(&mut self, raw: &raw::ClusterTls, host: Option<&str>, place: &Place<'_>) -> Option<xds::Tls> {
        let tls = self.cluster_tls(raw, ClusterProtocol::Http2, place)?;
        let name = match tls.sni {
            Sni::Name(name) => Some(name),
            Sni::Auto => host.and_then(|host| ServerName::try_from(host.to_owned()).ok()),
        };
        let Some(name) = name else {
            let message = "whose certificate is expected there is not known";
            self.diagnostics.error_with_help(place.span, &place.path, message, "say it: `sni: control-plane.internal`");
            return None;
        };
        Some(xds::Tls { config: tls.config, name })
    }
}

fn node(node: raw::Node) -> xds::Node {
    xds::Node {
        id: node.id,
        cluster: node.cluster,
        region: String::new(),
        zone: node.zone,
        metadata: node.metadata,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}
