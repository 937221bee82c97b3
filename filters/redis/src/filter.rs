//! The filter.

use std::time::SystemTime;

use fyke_sdk::{
    ConfigError, Conn, Data, Env, LeaseRefused, Leased, Opened, Panel, Result, Side, StreamLog, TcpFilter, TcpFlow,
    tcp_filter,
};

use crate::commands::Commands;
use crate::config::Config;
use crate::dialogue::{Dialogue, Said};
use crate::facts::Facts;
use crate::memory::Memory;
use crate::panels::PANELS;
use crate::plain::Plain;
use crate::pool::{Link, Pool, log_in};
use crate::prefix::Prefixes;
use crate::stats::Stats;
use fyke_resp::{Bad, Head, Reply};

/// One configuration.
pub struct Redis {
    pub(crate) stats: Stats,
    pub(crate) memory: Memory,
    in_flight: usize,
    commands: Commands,
    prefixes: Prefixes,
    pool: Option<Pool>,
}

/// One connection of a client.
#[derive(Default)]
pub enum Client {
    /// It has not begun.
    #[default]
    New,
    /// It has a connection of its own.
    Plain(Box<Plain>),
    /// It borrows.
    Linked(Box<Link>),
}

impl Client {
    /// What is remembered of it has changed.
    fn weigh(&mut self) {
        match self {
            Self::New => {}
            Self::Plain(plain) => plain.weigh(),
            Self::Linked(link) => link.weigh(),
        }
    }
}

impl Redis {
    /// What is to be known of a command.
    pub(crate) fn facts(&self, head: &Head) -> Facts {
        Facts::of(head, &self.commands, &self.prefixes)
    }

    /// How many commands of a connection may wait for their replies.
    pub(crate) fn in_flight(&self) -> usize {
        self.memory.most(self.in_flight)
    }

    /// Counts a whole message of a server. `false`: it is a reply that nothing asked for.
    pub(crate) fn hear(&self, dialogue: &mut Dialogue, reply: &Reply, now: SystemTime) -> bool {
        let bytes = std::mem::take(&mut dialogue.reply_bytes);
        match dialogue.hear(reply) {
            Said::Push | Said::Confirmation => self.stats.push(reply, bytes),
            Said::Reply(waiting) => {
                self.stats.reply(&waiting, reply, bytes, now.duration_since(waiting.sent).unwrap_or_default());
            }
            Said::Unasked => {
                self.stats.bad(Side::Upstream, Bad::Unasked);
                return false;
            }
        }
        true
    }
}

#[tcp_filter(tasks)]
impl TcpFilter for Redis {
    type Config = Config;
    type Ctx = Client;

    const PANELS: &'static [Panel] = PANELS;

    fn configure(config: Config, env: &mut Env) -> Result<Self, ConfigError> {
        config.check()?;
        Ok(Self {
            stats: Stats::define(env)?,
            memory: Memory::default(),
            in_flight: config.in_flight.into(),
            commands: Commands::new(),
            prefixes: Prefixes::new(config.prefix.as_ref()),
            pool: match &config.pool {
                Some(pool) => Some(Pool::new(pool, env).map_err(|error| error.under("pool"))?),
                None => None,
            },
        })
    }

    async fn on_connect(&self, client: &mut Client, connection: &mut Conn) -> Result<TcpFlow> {
        *client = match &self.pool {
            Some(pool) => {
                connection.borrows_upstream()?;
                fyke_sdk::tcp::limit_leases(None, pool.patience.1)?;
                Client::Linked(Box::new(Link::new(pool, &self.memory)))
            }
            None => Client::Plain(Box::new(Plain::new(&self.memory))),
        };
        self.stats.connected();
        Ok(TcpFlow::Continue)
    }

    fn on_downstream(&self, client: &mut Client, data: &mut Data) -> Result<TcpFlow> {
        let flow = match (&mut *client, &self.pool) {
            (Client::Plain(plain), _) => plain.on_downstream(self, data),
            (Client::Linked(link), Some(pool)) => link.on_downstream(self, pool, data),
            _ => Ok(TcpFlow::Close),
        };
        client.weigh();
        flow
    }

    fn on_upstream(&self, client: &mut Client, data: &mut Data) -> Result<TcpFlow> {
        let flow = match client {
            Client::Plain(plain) => plain.on_upstream(self, data),
            Client::Linked(link) => link.on_upstream(self, data),
            Client::New => Ok(TcpFlow::Close),
        };
        client.weigh();
        flow
    }

    fn on_leased(&self, client: &mut Client, lease: Result<Leased, LeaseRefused>, data: &mut Data) -> Result<TcpFlow> {
        let flow = match (&mut *client, &self.pool) {
            (Client::Linked(link), Some(pool)) => link.on_leased(self, pool, lease, data),
            _ => Ok(TcpFlow::Close),
        };
        client.weigh();
        flow
    }

    async fn on_opened(&self, _: &mut Client, upstream: &mut Opened) -> Result<()> {
        match &self.pool {
            Some(pool) => log_in(pool, upstream).await,
            None => Ok(()),
        }
    }

    fn on_close(&self, client: &mut Client, side: Side) {
        if let (Client::Linked(link), Side::Upstream) = (&mut *client, side) {
            link.on_lost(self);
        }
        client.weigh();
    }

    fn on_log(&self, client: &mut Client, _: &StreamLog) {
        if !matches!(client, Client::New) {
            self.stats.disconnected();
        }
    }
}
