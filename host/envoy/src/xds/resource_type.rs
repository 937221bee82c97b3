//! The types of resources that control planes serve.

use crate::place::ResourceKind;

/// A type of resources, in the order in which they are made before others are broken: clusters and their endpoints, then listeners and
/// routes that lead to them, then what may follow at any time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceType {
    /// CDS
    Cluster,
    /// EDS
    Endpoints,
    /// LDS
    Listener,
    /// RDS
    RouteConfiguration,
    /// SDS
    Secret,
    /// ECDS
    ExtensionConfiguration,
    /// RTDS
    Runtime,
}

/// The methods of a type's own service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Methods {
    pub state_of_the_world: &'static str,
    pub delta: &'static str,
}

/// Those of the aggregated one.
pub(super) const AGGREGATED: Methods = Methods {
    state_of_the_world: "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources",
    delta: "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources",
};

impl ResourceType {
    /// All of them, in order.
    pub const ALL: [Self; 7] = [
        Self::Cluster,
        Self::Endpoints,
        Self::Listener,
        Self::RouteConfiguration,
        Self::Secret,
        Self::ExtensionConfiguration,
        Self::Runtime,
    ];

    /// The message's full name.
    #[must_use]
    pub fn message(self) -> &'static str {
        match self {
            Self::Cluster => "envoy.config.cluster.v3.Cluster",
            Self::Endpoints => "envoy.config.endpoint.v3.ClusterLoadAssignment",
            Self::Listener => "envoy.config.listener.v3.Listener",
            Self::RouteConfiguration => "envoy.config.route.v3.RouteConfiguration",
            Self::Secret => "envoy.extensions.transport_sockets.tls.v3.Secret",
            Self::ExtensionConfiguration => "envoy.config.core.v3.TypedExtensionConfig",
            Self::Runtime => "envoy.service.runtime.v3.Runtime",
        }
    }

    /// `type.googleapis.com/` and the message's name.
    #[must_use]
    pub fn type_url(self) -> String {
        format!("type.googleapis.com/{}", self.message())
    }

    /// By its type URL.
    #[must_use]
    pub fn of_url(url: &str) -> Option<Self> {
        let name = crate::type_name(url);
        Self::ALL.into_iter().find(|kind| kind.message() == name)
    }

    /// What findings call it.
    #[must_use]
    pub fn kind(self) -> ResourceKind {
        match self {
            Self::Cluster => ResourceKind::Cluster,
            Self::Endpoints => ResourceKind::Endpoints,
            Self::Listener => ResourceKind::Listener,
            Self::RouteConfiguration => ResourceKind::RouteConfiguration,
            Self::Secret => ResourceKind::Secret,
            Self::ExtensionConfiguration => ResourceKind::ExtensionConfiguration,
            Self::Runtime => ResourceKind::Runtime,
        }
    }

    /// Whether all resources are meant where none are named, and one that is absent from a state of the world is gone.
    #[must_use]
    pub fn is_wildcard(self) -> bool {
        matches!(self, Self::Cluster | Self::Listener)
    }

    /// The field that a resource's name is in.
    pub(super) fn name_field(self) -> &'static str {
        if self == Self::Endpoints { "cluster_name" } else { "name" }
    }

    pub(super) fn methods(self) -> Methods {
        match self {
            Self::Cluster => Methods {
                state_of_the_world: "/envoy.service.cluster.v3.ClusterDiscoveryService/StreamClusters",
                delta: "/envoy.service.cluster.v3.ClusterDiscoveryService/DeltaClusters",
            },
            Self::Endpoints => Methods {
                state_of_the_world: "/envoy.service.endpoint.v3.EndpointDiscoveryService/StreamEndpoints",
                delta: "/envoy.service.endpoint.v3.EndpointDiscoveryService/DeltaEndpoints",
            },
            Self::Listener => Methods {
                state_of_the_world: "/envoy.service.listener.v3.ListenerDiscoveryService/StreamListeners",
                delta: "/envoy.service.listener.v3.ListenerDiscoveryService/DeltaListeners",
            },
            Self::RouteConfiguration => Methods {
                state_of_the_world: "/envoy.service.route.v3.RouteDiscoveryService/StreamRoutes",
                delta: "/envoy.service.route.v3.RouteDiscoveryService/DeltaRoutes",
            },
            Self::Secret => Methods {
                state_of_the_world: "/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets",
                delta: "/envoy.service.secret.v3.SecretDiscoveryService/DeltaSecrets",
            },
            Self::ExtensionConfiguration => Methods {
                state_of_the_world: "/envoy.service.extension.v3.ExtensionConfigDiscoveryService/StreamExtensionConfigs",
                delta: "/envoy.service.extension.v3.ExtensionConfigDiscoveryService/DeltaExtensionConfigs",
            },
            Self::Runtime => Methods {
                state_of_the_world: "/envoy.service.runtime.v3.RuntimeDiscoveryService/StreamRuntime",
                delta: "/envoy.service.runtime.v3.RuntimeDiscoveryService/DeltaRuntime",
            },
        }
    }
}
