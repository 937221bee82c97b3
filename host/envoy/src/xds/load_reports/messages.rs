//! The messages of `envoy.service.load_stats.v3` (lrs.proto), and what they have in them (`envoy.config.endpoint.v3`, load_report.proto).

use std::net::SocketAddr;

use prost::Message;

use super::{ClusterLoad, Counts, EndpointLoad, Figure, Figures, LocalityLoad, Wanted};
use crate::xds::messages::{Locality, Node};

/// `LoadStatsRequest`
#[derive(Clone, PartialEq, Message)]
pub(in crate::xds) struct LoadStatsRequest {
    #[prost(message, optional, tag = "1")]
    pub node: Option<Node>,
    #[prost(message, repeated, tag = "2")]
    pub cluster_stats: Vec<ClusterStats>,
}

/// `LoadStatsResponse`
#[derive(Clone, PartialEq, Eq, Message)]
pub(in crate::xds) struct LoadStatsResponse {
    #[prost(string, repeated, tag = "1")]
    pub clusters: Vec<String>,
    #[prost(message, optional, tag = "2")]
    pub load_reporting_interval: Option<prost_types::Duration>,
    #[prost(bool, tag = "3")]
    pub report_endpoint_granularity: bool,
    #[prost(bool, tag = "4")]
    pub send_all_clusters: bool,
}

/// `ClusterStats`
#[derive(Clone, PartialEq, Message)]
pub(in crate::xds) struct ClusterStats {
    #[prost(string, tag = "1")]
    pub cluster_name: String,
    #[prost(message, repeated, tag = "2")]
    pub upstream_locality_stats: Vec<UpstreamLocalityStats>,
    #[prost(uint64, tag = "3")]
    pub total_dropped_requests: u64,
    #[prost(message, optional, tag = "4")]
    pub load_report_interval: Option<prost_types::Duration>,
    #[prost(string, tag = "6")]
    pub cluster_service_name: String,
}

/// `UpstreamLocalityStats`
#[derive(Clone, PartialEq, Message)]
pub(in crate::xds) struct UpstreamLocalityStats {
    #[prost(message, optional, tag = "1")]
    pub locality: Option<Locality>,
    #[prost(uint64, tag = "2")]
    pub total_successful_requests: u64,
    #[prost(uint64, tag = "3")]
    pub total_requests_in_progress: u64,
    #[prost(uint64, tag = "4")]
    pub total_error_requests: u64,
    #[prost(message, repeated, tag = "5")]
    pub load_metric_stats: Vec<EndpointLoadMetricStats>,
    #[prost(uint32, tag = "6")]
    pub priority: u32,
    #[prost(message, repeated, tag = "7")]
    pub upstream_endpoint_stats: Vec<UpstreamEndpointStats>,
    #[prost(uint64, tag = "8")]
    pub total_issued_requests: u64,
    #[prost(message, optional, tag = "12")]
    pub cpu_utilization: Option<UnnamedEndpointLoadMetricStats>,
    #[prost(message, optional, tag = "13")]
    pub mem_utilization: Option<UnnamedEndpointLoadMetricStats>,
    #[prost(message, optional, tag = "14")]
    pub application_utilization: Option<UnnamedEndpointLoadMetricStats>,
}

/// `EndpointLoadMetricStats`
#[derive(Clone, PartialEq, Message)]
pub(in crate::xds) struct EndpointLoadMetricStats {
    #[prost(string, tag = "1")]
    pub metric_name: String,
    #[prost(uint64, tag = "2")]
    pub num_requests_finished_with_metric: u64,
    #[prost(double, tag = "3")]
    pub total_metric_value: f64,
}

/// `UnnamedEndpointLoadMetricStats`
#[derive(Clone, PartialEq, Message)]
pub(in crate::xds) struct UnnamedEndpointLoadMetricStats {
    #[prost(uint64, tag = "1")]
    pub num_requests_finished_with_metric: u64,
    #[prost(double, tag = "2")]
    pub total_metric_value: f64,
}

/// `UpstreamEndpointStats`
#[derive(Clone, PartialEq, Message)]
pub(in crate::xds) struct UpstreamEndpointStats {
    #[prost(message, optional, tag = "1")]
    pub address: Option<Address>,
    #[prost(uint64, tag = "2")]
    pub total_successful_requests: u64,
    #[prost(uint64, tag = "3")]
    pub total_requests_in_progress: u64,
    #[prost(uint64, tag = "4")]
    pub total_error_requests: u64,
    #[prost(message, repeated, tag = "5")]
    pub load_metric_stats: Vec<EndpointLoadMetricStats>,
    #[prost(uint64, tag = "7")]
    pub total_issued_requests: u64,
}

/// `envoy.config.core.v3.Address`, as far as endpoints have one.
#[derive(Clone, PartialEq, Eq, Message)]
pub(in crate::xds) struct Address {
    #[prost(message, optional, tag = "1")]
    pub socket_address: Option<SocketAddress>,
}

/// `envoy.config.core.v3.SocketAddress`
#[derive(Clone, PartialEq, Eq, Message)]
pub(in crate::xds) struct SocketAddress {
    #[prost(string, tag = "2")]
    pub address: String,
    #[prost(uint32, tag = "3")]
    pub port_value: u32,
}

impl ClusterStats {
    pub fn new(load: ClusterLoad) -> Self {
        Self {
            cluster_name: load.name,
            upstream_locality_stats: load.localities.into_iter().map(UpstreamLocalityStats::new).collect(),
            total_dropped_requests: load.dropped,
            load_report_interval: prost_types::Duration::try_from(load.elapsed).ok(),
            cluster_service_name: load.service,
        }
    }
}

impl UpstreamLocalityStats {
    fn new(load: LocalityLoad) -> Self {
        let Counts { issued, succeeded, failed, active } = load.counts;
        let mut figures = load.figures;
        let mut unnamed = |name: &str| {
            let Figure { count, total } = figures.remove(name)?;
            Some(UnnamedEndpointLoadMetricStats { num_requests_finished_with_metric: count, total_metric_value: total })
        };
        Self {
            cpu_utilization: unnamed("cpu_utilization"),
            mem_utilization: unnamed("mem_utilization"),
            application_utilization: unnamed("application_utilization"),
            load_metric_stats: named(figures),
            locality: (!load.zone.is_empty()).then(|| Locality { zone: load.zone, ..Locality::default() }),
            total_successful_requests: succeeded,
            total_requests_in_progress: active,
            total_error_requests: failed,
            priority: load.priority,
            upstream_endpoint_stats: load.endpoints.into_iter().map(UpstreamEndpointStats::new).collect(),
            total_issued_requests: issued,
        }
    }
}

fn named(figures: Figures) -> Vec<EndpointLoadMetricStats> {
    let each = figures.into_iter().map(|(metric_name, Figure { count, total })| EndpointLoadMetricStats {
        metric_name,
        num_requests_finished_with_metric: count,
        total_metric_value: total,
    });
    each.collect()
}

impl UpstreamEndpointStats {
    fn new(load: EndpointLoad) -> Self {
        let Counts { issued, succeeded, failed, active } = load.counts;
        Self {
            address: Some(Address::new(load.address)),
            load_metric_stats: named(load.figures),
            total_successful_requests: succeeded,
            total_requests_in_progress: active,
            total_error_requests: failed,
            total_issued_requests: issued,
        }
    }
}

impl Address {
    fn new(address: SocketAddr) -> Self {
        let socket = SocketAddress { address: address.ip().to_string(), port_value: address.port().into() };
        Self { socket_address: Some(socket) }
    }
}

impl Wanted {
    pub(super) fn read(response: &LoadStatsResponse) -> Self {
        Self {
            clusters: response.clusters.iter().cloned().collect(),
            all: response.send_all_clusters,
            endpoints: response.report_endpoint_granularity,
        }
    }
}
