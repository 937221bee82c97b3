//! Connections that are opened before they are needed (Envoy's `per_upstream_preconnect_ratio`).

use std::{rc::Rc, sync::Arc};

use super::{
    choice::Priority,
    connect::{self, Asks, Sender},
    local::{LocalCluster, Open},
    pool::{LocalEndpoint, Opening},
};
use crate::config::resolved::{ClusterProtocol, Sni};

impl LocalCluster {
    /// Opens a connection before it is needed, where there are fewer than the pool is to have for what is in flight.
    pub(super) fn preconnect(self: &Rc<Self>, endpoint: &Rc<LocalEndpoint>) {
        let settings = &self.shared.settings;
        // What a connection is for must not matter: neither whose it is, nor which name TLS asks for.
        let anonymous = settings.proxy_protocol.is_none()
            && settings.tls.as_ref().is_none_or(|tls| matches!(tls.sni, Sni::Name(_)));
        if settings.protocol != ClusterProtocol::Http1 || !anonymous || endpoint.is_opening(None) {
            return;
        }
        let busy = f64::from(endpoint.active());
        let wanted = (busy * settings.pool.preconnect).ceil();
        let idle = u32::try_from(endpoint.waiting()).unwrap_or(u32::MAX);
        if busy + f64::from(idle) >= wanted {
            return;
        }
        let breakers = self.breakers(Priority::Default);
        let Ok(permit) = Arc::clone(&breakers.connections).try_acquire_owned() else { return };
        let Some(open) = Open::begin(self, endpoint, (Priority::Default, permit)) else { return };
        let (cluster, endpoint) = (Rc::clone(self), Rc::clone(endpoint));
        tokio::task::spawn_local(async move {
            let _opening = Opening::begin(&endpoint, None);
            let settings = &cluster.shared.settings;
            let opening = connect::open(settings, endpoint.settings(), Asks::default(), open);
            let Ok(Ok(opened)) = tokio::time::timeout(settings.connect_timeout, opening).await else { return };
            if let Sender::Http1(mut sender) = opened.sender
                && sender.ready().await.is_ok()
            {
                cluster.give_back(&endpoint, sender, opened.ends, (0, &opened.kept));
            }
        });
    }
}
