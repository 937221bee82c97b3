//! The filter, of streams and of connections.

use std::cell::{Cell, RefCell};

use fyke_limiter::{KeyBuilder, SdkStore};
use fyke_sdk::abi::Level;
use fyke_sdk::{
    ConfigError, Conn, Env, Flow, HttpFilter, Request, Response, Result, StreamLog, TcpFilter, TcpFlow, http_filter,
    log, tcp_filter,
};

use crate::answer::{Answer, Policy};
use crate::check::Checked;
use crate::config::{Config, FailureMode};
use crate::limiter::{Account, Limiter};
use crate::rule::Rules;
use crate::service::Service;
use crate::source::Subject;
use crate::stats::Stats;

/// How many may wait at the same time, where nothing says so.
const MOST_DELAYED: u32 = 1000;

/// One configuration of the filter.
pub struct RateLimit {
    pub(crate) domain: Vec<u8>,
    pub(crate) rules: Rules,
    pub(crate) limiter: Limiter,
    pub(crate) service: Option<Service>,
    pub(crate) answer: Answer,
    pub(crate) failure_mode: FailureMode,
    pub(crate) stats: Stats,
    pub(crate) max_delayed: u32,
    pub(crate) delayed: Cell<u32>,
    pub(crate) keys: RefCell<KeyBuilder>,
}

/// What is known of a stream until its end.
#[derive(Debug, Default)]
pub struct Ctx {
    pub(crate) account: Account,
    pub(crate) policy: Option<Policy>,
    /// What the service adds to the answer.
    pub(crate) headers: Vec<(String, Vec<u8>)>,
}

impl RateLimit {
    fn new(config: &Config, env: &mut Env) -> Result<Self, ConfigError> {
        let rules = Rules::new(config)?;
        let service = Service::new(config, env)?;
        if service.is_none() && rules.has_global() {
            return Err(ConfigError::at("global", "is missing: there are rules with `global: true`"));
        }
        if service.is_some() && !rules.has_global() {
            return Err(ConfigError::at("global", "is asked by no rule: say `global: true` in one"));
        }
        if config.global.is_none() && config.failure_mode == FailureMode::Local {
            return Err(ConfigError::at(
                "failure_mode",
                "\"local\" is of global rules: local ones have nothing else to fall back on",
            ));
        }
        let store = SdkStore::open(env)?;
        Ok(Self {
            domain: config.domain.clone().into_bytes(),
            answer: Answer::new(&config.answer).map_err(|error| error.under("answer"))?,
            failure_mode: config.failure_mode,
            stats: Stats::define(&rules, env)?,
            max_delayed: config.max_delayed.unwrap_or(MOST_DELAYED),
            delayed: Cell::new(0),
            keys: RefCell::new(KeyBuilder::new(store.seed()?)),
            limiter: Limiter::new(store),
            rules,
            service,
        })
    }
}

/// Writes what the service adds. What it must not, or cannot, costs nobody their request.
fn add(headers: Vec<(String, Vec<u8>)>, mut write: impl FnMut(&str, Vec<u8>) -> Result<()>) {
    for (name, value) in headers {
        if name.starts_with(':') || name.eq_ignore_ascii_case("host") {
            log::write(Level::Warn, &format!("the rate limit service may not set \"{name}\""));
        } else if let Err(error) = write(&name, value) {
            log::write(Level::Warn, &format!("what the rate limit service adds cannot be written: {error}"));
        }
    }
}

#[http_filter(with_tcp, tasks)]
impl HttpFilter for RateLimit {
    type Config = Config;
    type Ctx = Ctx;

    fn configure(config: Config, env: &mut Env) -> Result<Self, ConfigError> {
        Self::new(&config, env)
    }

    async fn on_request(&self, cx: &mut Ctx, request: &mut Request) -> Result<Flow> {
        match self.check(cx, Subject::Http(request)).await {
            (Checked::Passes, headers) => {
                add(headers, |name, value| request.set(name, value));
                Ok(Flow::Continue)
            }
            (Checked::Denied, _) => Ok(self.answer.deny().into()),
            (Checked::Refused(refusal), _) => {
                // What is said of the refusal is in it.
                cx.policy = None;
                Ok(self.answer.refuse(&refusal).into())
            }
        }
    }

    async fn on_response(&self, cx: &mut Ctx, response: &mut Response) -> Result<Flow> {
        add(std::mem::take(&mut cx.headers), |name, value| response.add(name, value));
        if let Some(policy) = cx.policy.take() {
            for (name, value) in self.answer.fields(&policy, false) {
                response.set(name, value)?;
            }
        }
        Ok(Flow::Continue)
    }

    fn on_log(&self, cx: &mut Ctx, log: &StreamLog) {
        if cx.account.is_open() {
            self.limiter.settle(&self.rules, &mut cx.account, log);
        }
    }

    fn wants_response(&self) -> bool {
        self.answer.is_always() || self.service.is_some()
    }
}

#[tcp_filter(with_http, tasks)]
impl TcpFilter for RateLimit {
    type Config = Config;
    type Ctx = Ctx;

    fn configure(config: Config, env: &mut Env) -> Result<Self, ConfigError> {
        Self::new(&config, env)
    }

    async fn on_connect(&self, cx: &mut Ctx, _connection: &mut Conn) -> Result<TcpFlow> {
        Ok(match self.check(cx, Subject::Tcp).await.0 {
            Checked::Passes => TcpFlow::Continue,
            Checked::Denied | Checked::Refused(_) => TcpFlow::Close,
        })
    }

    fn on_log(&self, cx: &mut Ctx, log: &StreamLog) {
        if cx.account.is_open() {
            self.limiter.settle(&self.rules, &mut cx.account, log);
        }
    }
}
