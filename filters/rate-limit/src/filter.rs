//! The filter, of streams and of connections.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use fyke_limiter::{KeyBuilder, SdkStore};
use fyke_sdk::abi::Level;
use fyke_sdk::{
    ConfigError, Conn, Env, Flow, HttpFilter, Panel, Request, Response, Result, StreamLog, TcpFilter, TcpFlow,
    http_filter, log, tcp_filter,
};

use crate::answer::{Answer, Policy};
use crate::check::Checked;
use crate::complaints::Complaints;
use crate::config::{Config, FailureMode};
use crate::key::Keys;
use crate::limiter::{Account, Limiter};
use crate::panels::PANELS;
use crate::redis::Store;
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
    pub(crate) store: Option<Rc<Store>>,
    pub(crate) answer: Answer,
    pub(crate) failure_mode: FailureMode,
    pub(crate) stats: Stats,
    pub(crate) complaints: Complaints,
    pub(crate) max_delayed: u32,
    pub(crate) delayed: Cell<u32>,
    pub(crate) keys: RefCell<Keys>,
    /// Somebody has asked what it would do. Nobody is there to be asked by it then: neither Redis nor a service.
    pub(crate) explains: Cell<bool>,
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
        crate::conflicts::idle(config).iter().for_each(|line| log::write(Level::Warn, line));
        match (&config.global, &config.redis) {
            (Some(_), Some(_)) => {
                let message =
                    "cannot be there together with `global`: rules with `global: true` are counted by one of them";
                return Err(ConfigError::at("redis", message));
            }
            (None, None) if rules.has_global() => {
                let message = "is missing, or `redis` is: there are rules with `global: true`";
                return Err(ConfigError::at("global", message));
            }
            (Some(_), None) if !rules.has_global() => {
                return Err(ConfigError::at("global", "is asked by no rule: say `global: true` in one"));
            }
            (None, Some(_)) if !rules.has_global() => {
                return Err(ConfigError::at("redis", "is asked by no rule: say `global: true` in one"));
            }
            _ => {}
        }
        let service = Service::new(config, env)?;
        let shared = Store::new(config, env)?;
        if service.is_none() && shared.is_none() && config.failure_mode == FailureMode::Local {
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
            stats: Stats::define(&rules, config, env)?,
            max_delayed: config.max_delayed.unwrap_or(MOST_DELAYED),
            delayed: Cell::new(0),
            keys: RefCell::new(Keys::new(KeyBuilder::new(store.seed()?), config.redis.as_ref().map(Store::prefix))),
            limiter: Limiter::new(store, rules.may_be_taken_back()),
            explains: Cell::new(false),
            complaints: Complaints::default(),
            rules,
            service,
            store: shared,
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

#[http_filter(with_tcp, tasks, answers)]
impl HttpFilter for RateLimit {
    type Config = Config;
    type Ctx = Ctx;

    const PANELS: &'static [Panel] = PANELS;

    fn configure(config: Config, env: &mut Env) -> Result<Self, ConfigError> {
        Self::new(&config, env)
    }

    fn explain(&self, request: &Request) -> Vec<String> {
        // Hosts make instances for the question, and ask before these meet the request.
        self.explains.set(true);
        self.lines(request)
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
        self.limiter.settle(&self.rules, &mut cx.account, log);
    }

    fn wants_log(&self) -> bool {
        self.store.is_some() || self.rules.settle()
    }

    fn wants_response(&self) -> bool {
        self.answer.is_always() || self.service.is_some()
    }
}

#[tcp_filter(with_http, tasks, answers)]
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
        self.limiter.settle(&self.rules, &mut cx.account, log);
    }
}
