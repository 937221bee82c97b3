//! The filter.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use fyke_sdk::{
    ConfigError, Conn, Data, Env, LeaseRefused, Leased, Opened, Result, Side, TcpFilter, TcpFlow, abi, property,
    tcp_filter,
};

use crate::config::Config;
use crate::connection::Connection;
use crate::cursors::Cursors;
use crate::limiter::Limits;
use crate::log::Log;
use crate::names::Base;
use crate::pool::link::Link;
use crate::pool::service::Service;
use crate::rules::Rules;
use crate::series::{Labels, Table};
use crate::stats::Stats;
use crate::wire::frames::{Event, Reach};
use crate::wire::inflate::Inflater;

/// One configuration of the filter.
pub struct Mongo {
    pub(crate) stats: Stats,
    pub(crate) reach: Reach,
    pub(crate) rules: Rules,
    pub(crate) limits: Limits,
    /// Whether requests are held until something is decided.
    pub(crate) decides: bool,
    pub(crate) log: Option<Log>,
    pub(crate) slow: Option<Duration>,
    pub(crate) metadata: bool,
    pub(crate) in_flight: usize,
    pub(crate) callsite_key: Rc<str>,
    pub(crate) inflater: RefCell<Inflater>,
    pub(crate) table: RefCell<Table>,
    pub(crate) servers: RefCell<Labels>,
    pub(crate) cursors: RefCell<Cursors>,
    pub(crate) pool: Option<Service>,
}

#[tcp_filter]
impl TcpFilter for Mongo {
    type Config = Config;
    type Ctx = Connection;

    fn configure(config: Config, env: &mut Env) -> Result<Self, ConfigError> {
        config.check()?;
        if config.fault.is_some() {
            return Err(ConfigError::at("fault", "this build cannot let a connection wait"));
        }
        let rules = Rules::new(&config.rules, config.otherwise)?;
        let limits = Limits::new(&config.limits, env)?;
        let log = Log::open(config.log.as_ref(), config.slow.is_some(), env)?;
        let pool = config.pool.as_ref().map(|pool| Service::new(pool, &config.stat_prefix, env)).transpose();
        let pool = pool.map_err(|error| error.under("pool"))?;
        let commands = config.envoy_stats.then(|| config.commands.clone());
        Ok(Self {
            stats: Stats::define(&config.stat_prefix, commands, env)?,
            reach: config.reach(),
            decides: !rules.is_empty() || !limits.is_empty() || pool.is_some(),
            rules,
            limits,
            log,
            slow: config.slow,
            metadata: config.metadata,
            in_flight: config.in_flight.into(),
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
            cx.link = Some(Box::new(Link::new(pool.number())));
        }
        Ok(TcpFlow::Continue)
    }

    fn on_downstream(&self, cx: &mut Connection, data: &mut Data) -> Result<TcpFlow> {
        if !std::mem::replace(&mut cx.is_ready, true) {
            cx.requests.content.callsite_key = Rc::clone(&self.callsite_key);
            cx.requests.content.raw_limit = self.log.as_ref().map_or(0, |log| log.statement);
            cx.client = self.log.as_ref().and_then(|_| property::text(&["source", "address"]));
        }
        if data.end_of_stream() {
            cx.ended.get_or_insert(Side::Downstream);
        }
        match self.pooled(cx) {
            Some((pool, mut link)) => {
                let flow = self.pooled_requests(pool, &mut link, cx, data);
                cx.link = Some(link);
                flow
            }
            None => self.requests(cx, data),
        }
    }

    fn on_upstream(&self, cx: &mut Connection, data: &mut Data) -> Result<TcpFlow> {
        if data.end_of_stream() {
            cx.ended.get_or_insert(Side::Upstream);
        }
        match self.pooled(cx) {
            Some((pool, mut link)) => {
                let flow = self.pooled_replies(pool, &mut link, cx, data);
                cx.link = Some(link);
                flow
            }
            None => self.replies(cx, data),
        }
    }

    fn on_leased(&self, cx: &mut Connection, lease: Result<Leased, LeaseRefused>, data: &mut Data) -> Result<TcpFlow> {
        if let Some((pool, mut link)) = self.pooled(cx) {
            let outcome = self.leased(pool, &mut link, cx, lease, data);
            cx.link = Some(link);
            outcome?;
        }
        Ok(TcpFlow::NeedMore)
    }

    async fn on_opened(&self, _cx: &mut Connection, upstream: &mut Opened) -> Result<()> {
        match &self.pool {
            Some(pool) => pool.greet(upstream).await,
            None => Ok(()),
        }
    }

    fn on_close(&self, cx: &mut Connection, side: Side) {
        if let Some((pool, mut link)) = self.pooled(cx) {
            if side == Side::Upstream {
                let outcome = self.lease_lost(pool, &mut link, cx);
                cx.link = Some(link);
                if let Err(error) = outcome {
                    fyke_sdk::log::write(abi::Level::Debug, &format!("mongo: {error}"));
                }
                return;
            }
            Self::client_gone(&mut link);
            cx.link = Some(link);
        }
        // Hosts tell of the upstream first, whoever left: what counts is whose end was seen first. A client that is cut off shows none.
        self.end(cx, if cx.ended == Some(Side::Upstream) { Base::DestroyLocal } else { Base::DestroyRemote });
    }
}

impl Mongo {
    /// The pool, and the client's part in it, which has to be put back.
    fn pooled(&self, cx: &mut Connection) -> Option<(&Service, Box<Link>)> {
        self.pool.as_ref().zip(cx.link.take())
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
        let mut at = 0;
        loop {
            let mut inflater = self.inflater.borrow_mut();
            let event = cx.replies.advance(data, &mut at, base, &self.reach, &mut inflater);
            drop(inflater);
            match event {
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
