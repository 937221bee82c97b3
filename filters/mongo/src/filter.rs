//! The filter.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use fyke_sdk::{
    ConfigError, Conn, Data, Env, LeaseRefused, Leased, Opened, Panel, Result, Side, TcpFilter, TcpFlow, abi, property,
    tcp_filter,
};

use crate::config::Config;
use crate::connection::{Connection, Place};
use crate::cursors::Cursors;
use crate::fault::Faults;
use crate::limiter::Limits;
use crate::log::Log;
use crate::memory::Memory;
use crate::names::Base;
use crate::panels::PANELS;
use crate::patience::Patience;
use crate::pool::link::Link;
use crate::pool::service::Service;
use crate::rules::Rules;
use crate::series::{Labels, Table};
use crate::stats::Stats;
use crate::wire::frames::{Event, Frames, Reach};
use crate::wire::inflate::Inflater;
use crate::wire::{Content, opcode};

/// One configuration of the filter.
pub struct Mongo {
    pub(crate) stats: Stats,
    pub(crate) reach: Reach,
    pub(crate) rules: Rules,
    pub(crate) limits: Limits,
    pub(crate) faults: Option<Faults>,
    /// Whether requests are held until something is decided.
    pub(crate) decides: bool,
    /// Whether those do not go on about which nothing can be decided.
    pub(crate) refuses_unclear: bool,
    pub(crate) log: Option<Log>,
    pub(crate) slow: Option<Duration>,
    pub(crate) metadata: bool,
    pub(crate) in_flight: usize,
    pub(crate) memory: Memory,
    pub(crate) callsite_key: Rc<str>,
    pub(crate) inflater: RefCell<Inflater>,
    pub(crate) table: RefCell<Table>,
    pub(crate) servers: RefCell<Labels>,
    pub(crate) cursors: RefCell<Cursors>,
    pub(crate) pool: Option<Service>,
}

#[tcp_filter(tasks)]
impl TcpFilter for Mongo {
    type Config = Config;
    type Ctx = Connection;

    const PANELS: &'static [Panel] = PANELS;

    fn configure(config: Config, env: &mut Env) -> Result<Self, ConfigError> {
        config.check()?;
        let rules = Rules::new(&config.rules, config.otherwise)?;
        let limits = Limits::new(&config.limits, &config.stat_prefix, env)?;
        let faults = config.fault.as_ref().map(Faults::new).transpose().map_err(|error| error.under("fault"))?;
        let log = Log::open(config.log.as_ref(), config.slow.is_some(), env)?;
        let pool = config.pool.as_ref().map(|pool| Service::new(pool, &config.stat_prefix, env)).transpose();
        let pool = pool.map_err(|error| error.under("pool"))?;
        let commands = config.envoy_stats.then(|| config.commands.clone());
        Ok(Self {
            stats: Stats::define(&config.stat_prefix, commands, env)?,
            reach: config.reach(),
            decides: !rules.is_empty() || !limits.is_empty() || faults.is_some() || pool.is_some(),
            refuses_unclear: !rules.is_empty() || limits.is_enforcing() || pool.is_some(),
            rules,
            limits,
            faults,
            log,
            slow: config.slow,
            metadata: config.metadata,
            in_flight: config.in_flight.into(),
            memory: Memory::default(),
            callsite_key: config.callsite_key.as_str().into(),
            inflater: RefCell::default(),
            table: RefCell::new(Table::new(config.most())),
            servers: RefCell::new(Labels::new(config.labels.servers.into())),
            cursors: RefCell::default(),
            pool,
        })
    }

    async fn on_connect(&self, cx: &mut Connection, connection: &mut Conn) -> Result<TcpFlow> {
        if let Some(pool) = &self.pool {
            connection.borrows_upstream()?;
            fyke_sdk::tcp::limit_leases(pool.patience.0, pool.patience.1)?;
            cx.link = Some(Box::new(Link::new(pool.number())));
        }
        Ok(TcpFlow::Continue)
    }

    fn on_downstream(&self, cx: &mut Connection, data: &mut Data) -> Result<TcpFlow> {
        if !std::mem::replace(&mut cx.is_ready, true) {
            cx.requests.content.callsite_key = Rc::clone(&self.callsite_key);
            cx.requests.content.raw_limit = self.log.as_ref().map_or(0, |log| log.statement);
            if self.log.is_some() || !self.limits.is_empty() {
                cx.client = property::text(&["source", "address"]);
                let subject = property::text(&["connection", "subject_peer_certificate"]);
                cx.subject = subject.filter(|subject| !subject.is_empty()).map(Into::into);
            }
        }
        if data.end_of_stream() {
            cx.ended.get_or_insert(Side::Downstream);
        }
        let flow = match self.pooled(cx, |pool, link, cx| self.pooled_requests(pool, link, cx, data)) {
            Some(flow) => flow,
            None => self.requests(cx, data),
        };
        self.weigh(cx);
        flow
    }

    fn on_upstream(&self, cx: &mut Connection, data: &mut Data) -> Result<TcpFlow> {
        if data.end_of_stream() {
            cx.ended.get_or_insert(Side::Upstream);
        }
        let flow = match self.pooled(cx, |pool, link, cx| self.pooled_replies(pool, link, cx, data)) {
            Some(flow) => flow,
            None => self.replies(cx, data),
        };
        self.weigh(cx);
        flow
    }

    fn on_leased(&self, cx: &mut Connection, lease: Result<Leased, LeaseRefused>, data: &mut Data) -> Result<TcpFlow> {
        self.pooled(cx, |pool, link, cx| self.leased(pool, link, cx, lease, data)).transpose()?;
        Ok(TcpFlow::NeedMore)
    }

    async fn on_opened(&self, _cx: &mut Connection, upstream: &mut Opened) -> Result<()> {
        match &self.pool {
            Some(pool) => pool.greet(upstream).await,
            None => Ok(()),
        }
    }

    fn on_close(&self, cx: &mut Connection, side: Side) {
        if side == Side::Upstream
            && let Some(outcome) = self.pooled(cx, |pool, link, cx| self.lease_lost(pool, link, cx))
        {
            if let Err(error) = outcome {
                fyke_sdk::log::write(abi::Level::Debug, &format!("mongo: {error}"));
            }
            return;
        }
        if let Some(link) = &mut cx.link {
            Self::client_gone(link);
        }
        // Hosts tell of the upstream first, whoever left: what counts is whose end was seen first. A client that is cut off shows none.
        self.end(cx, if cx.ended == Some(Side::Upstream) { Base::DestroyLocal } else { Base::DestroyRemote });
    }
}

impl Mongo {
    /// Does something with the pool and the client's part in it. `None`: the client has a connection of its own.
    fn pooled<T>(
        &self,
        cx: &mut Connection,
        step: impl FnOnce(&Service, &mut Link, &mut Connection) -> T,
    ) -> Option<T> {
        let (pool, mut link) = self.pool.as_ref().zip(cx.link.take())?;
        let outcome = step(pool, &mut link, cx);
        cx.link = Some(link);
        Some(outcome)
    }

    /// A connection is over: whatever waits will not be answered.
    pub(crate) fn end(&self, cx: &mut Connection, base: Base) {
        if std::mem::replace(&mut cx.is_closing, true) {
            return;
        }
        let waiting = cx.flights.drain().count();
        if waiting > 0 {
            self.stats.count(base);
            self.stats.active(-i64::try_from(waiting).unwrap_or(i64::MAX));
        }
        for (is_between, what) in [(cx.requests.is_between(), "request"), (cx.replies.is_between(), "reply")] {
            if !is_between {
                self.stats.forgotten(what);
            }
        }
    }

    /// There is no next message to be found: the connection cannot go on.
    pub(crate) fn lost(&self, cx: &mut Connection, side: &str, length: i32) -> TcpFlow {
        self.stats.unreadable("length");
        fyke_sdk::log::write(
            fyke_sdk::abi::Level::Warn,
            &format!(
                "mongo: a message of the {side} has a length of {length} bytes, which none can have; the connection is closed"
            ),
        );
        self.end(cx, Base::DestroyLocal);
        TcpFlow::Close
    }

    /// What is found next in one direction, which costs patience.
    pub(crate) fn next<C: Content>(
        &self,
        frames: &mut Frames<C>,
        (data, at, base): (&Data, &mut usize, u64),
        patience: &mut Patience,
    ) -> Option<Event> {
        let mut inflater = self.inflater.borrow_mut();
        let event = frames.advance(data, at, base, &self.memory.reach(&self.reach), &mut inflater);
        let inflated = if frames.header.opcode == opcode::COMPRESSED { inflater.made() } else { 0 };
        patience.spend(event.as_ref(), inflated);
        event
    }

    /// What the server says.
    fn replies(&self, cx: &mut Connection, data: &mut Data) -> Result<TcpFlow> {
        if cx.server.is_none() {
            let address = property::read(&["upstream", "address"]).unwrap_or_default();
            cx.server = Some(self.servers.borrow_mut().get(&address));
        }
        let base = cx.upstream.base;
        let seen = base + data.len() as u64;
        // Where a reply of our own may go: between two of the server's.
        let mut gap = if cx.replies.is_between() { Some(base) } else { None };
        let mut ends = |end: u64| gap = gap.or((base..=seen).contains(&end).then_some(end));
        ends(cx.replies.end());
        let mut at = std::mem::take(&mut cx.upstream.seen);
        let mut patience = Patience::default();
        loop {
            if patience.is_over() {
                if let Some(count) = let_go(data, base, cx.replies.reached(base + at as u64)) {
                    cx.upstream = Place { base: base + count as u64, seen: at - count };
                    return Ok(TcpFlow::Wait(Patience::PAUSE));
                }
                patience = Patience::default();
            }
            match self.next(&mut cx.replies, (data, &mut at, base), &mut patience) {
                None => break,
                Some(Event::Known) => {}
                Some(Event::Read { whole }) => {
                    ends(cx.replies.end());
                    if !whole {
                        self.stats.forgotten("compressed");
                    }
                    self.reply(cx);
                }
                Some(Event::Bad(unreadable)) => {
                    ends(cx.replies.end());
                    self.stats.unreadable(unreadable.word());
                    self.unreadable_reply(cx);
                }
                Some(Event::Lost(length)) => {
                    let start = usize::try_from(cx.replies.begins(seen).saturating_sub(base)).unwrap_or_default();
                    if start > 0 {
                        data.write(Side::Downstream, data.read(0, start))?;
                    }
                    return Ok(self.lost(cx, "server", length));
                }
            }
        }
        cx.upstream.base = seen;
        if !cx.late.is_empty()
            && let Some(gap) = gap
        {
            let late = std::mem::take(&mut cx.late);
            let gap = usize::try_from(gap - base).unwrap_or_default();
            if gap == 0 {
                data.write(Side::Downstream, late)?;
            } else {
                let bytes = data.bytes();
                let (before, behind) = bytes.split_at_checked(gap).unwrap_or((bytes, &[]));
                let all = [before, &late, behind].concat();
                data.replace(all)?;
            }
        }
        // Where replies of our own may have to go in between, the end of each of the server's has to be seen.
        let unneeded = cx.replies.unneeded();
        if unneeded > 0 && !self.decides && data.skip(unneeded).is_ok() {
            cx.replies.passed(unneeded);
            cx.upstream.base += unneeded;
        }
        Ok(TcpFlow::Continue)
    }
}

/// Lets go what was looked at, which is all up to `reached`, but for the last byte, so that there is a rest to be shown again. `None`: this host shows nothing
/// twice, or there is nothing to let go.
pub(crate) fn let_go(data: &mut Data, base: u64, reached: u64) -> Option<usize> {
    let count = usize::try_from(reached.saturating_sub(base)).ok()?.min(data.len().saturating_sub(1));
    (count > 0 && data.pass(count as u64).is_ok()).then_some(count)
}
