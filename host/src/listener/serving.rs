//! What connections and streams begin on: one generation's part of a listener.

use std::{rc::Rc, sync::Arc};

use super::chain::{Chains, Choice, Connection};
use crate::{
    config::{
        fingerprint::Fingerprint,
        resolved::{Listener, ListenerTls, Rest},
    },
    http::runtime::ListenerRuntime,
};

/// A listener on one worker, in one generation.
pub struct Serving {
    /// Settings.
    pub settings: Arc<Listener>,
    /// The listener's own chain, limits and surroundings of streams.
    pub runtime: Rc<ListenerRuntime>,
    chains: Chains<ChainServing>,
}

/// One of its `chains`.
#[derive(Debug, Clone)]
pub struct ChainServing {
    /// Of its conditions.
    pub identity: Fingerprint,
    /// Filters, cluster.
    pub runtime: Rc<ListenerRuntime>,
}

/// The chain that a connection has taken. It stays on it over generations, as long as there is one with the same conditions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// The listener's own.
    Own,
    /// One of `chains`.
    Chain {
        /// Its place in the order, when it was taken.
        place: usize,
        /// Of its conditions.
        identity: Fingerprint,
    },
}

/// A chain for a connection.
pub struct Chosen<'a> {
    /// Which.
    pub taken: Taken,
    /// Its TLS.
    pub tls: Option<&'a ListenerTls>,
    /// Filters, cluster.
    pub runtime: Rc<ListenerRuntime>,
}

impl Serving {
    /// Of settings, with what was made of their filters: the listener's own, and those of each chain in their order.
    #[must_use]
    pub fn new(settings: Arc<Listener>, own: Rc<ListenerRuntime>, chains: Vec<ChainServing>) -> Self {
        let matchers = settings.chains.iter().map(|chain| chain.matcher.clone());
        let rest = ChainServing { identity: Fingerprint::default(), runtime: Rc::clone(&own) };
        let rest = (settings.rest == Rest::Own).then_some(rest);
        let chains = Chains::new(matchers.zip(chains).collect(), rest);
        Self { settings, runtime: own, chains }
    }

    /// Whether a connection's first bytes have to be seen before a chain can be chosen.
    #[must_use]
    pub fn needs_bytes(&self) -> bool {
        self.chains.needs_bytes()
    }

    /// The chain that a new connection takes. `None`: there is none for it.
    #[must_use]
    pub fn choose(&self, connection: &Connection<'_>) -> Option<Chosen<'_>> {
        let (taken, tls, chain) = match self.chains.choose(connection) {
            Choice::Chain(place, chain) => {
                let tls = self.settings.chains.get(place).and_then(|chain| chain.tls.as_ref());
                (Taken::Chain { place, identity: chain.identity }, tls, chain)
            }
            Choice::Default(own) => (Taken::Own, self.settings.tls.as_ref(), own),
            Choice::Nothing => return None,
        };
        Some(Chosen { taken, tls, runtime: Rc::clone(&chain.runtime) })
    }

    /// The same chain in this generation, wherever it stands now. `None`: there is none any more, and what the connection was let in for
    /// does not hold for any other.
    #[must_use]
    pub fn runtime_of(&self, taken: Taken) -> Option<&Rc<ListenerRuntime>> {
        let Taken::Chain { place, identity } = taken else { return Some(&self.runtime) };
        let same = |chain: &&ChainServing| chain.identity == identity;
        let found = self.chains.get(place).filter(same).or_else(|| self.chains.iter().find(same));
        found.map(|chain| &chain.runtime)
    }
}
