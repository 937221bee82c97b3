//! The filter, of requests and of connections.

use fyke_sdk::{
    ConfigError, Conn, Counter, Env, Flow, HttpFilter, Panel, Reply, Request, Result, TcpFilter, TcpFlow, Unit,
    http_filter, tcp_filter,
};

use crate::config::Config;
use crate::rules::{Rules, Verdict};
use crate::subject::Subject;

/// One configuration of the filter.
pub struct Rbac {
    rules: Option<Rules>,
    shadow: Option<Rules>,
    decided: Counter<2>,
    shadowed: Counter<2>,
}

impl Rbac {
    fn new(config: Config, env: &mut Env) -> Result<Self, ConfigError> {
        let rules = config.policies.map(|policies| Rules::build(config.action, policies)).transpose()?;
        let shadow = config.shadow.map(|shadow| Rules::build(shadow.action, shadow.policies));
        Ok(Self {
            rules,
            shadow: shadow.transpose().map_err(|error| error.under("shadow"))?,
            decided: env.counter("rbac_total", ["outcome", "policy"])?,
            shadowed: env.counter("rbac_shadow_total", ["outcome", "policy"])?,
        })
    }

    /// Why it does not pass, if it does not.
    fn refuse(&self, subject: &Subject<'_>) -> Option<String> {
        if let Some(shadow) = &self.shadow {
            count(&self.shadowed, shadow.decide(subject));
        }
        let verdict = self.rules.as_ref()?.decide(subject);
        count(&self.decided, verdict);
        let policy = verdict.policy.unwrap_or("none");
        // As Envoy says it. A space would end it in a log.
        (!verdict.allowed)
            .then(|| format!("rbac_access_denied_matched_policy[{}]", policy.replace(char::is_whitespace, "_")))
    }
}

fn count(counter: &Counter<2>, verdict: Verdict<'_>) {
    counter.increment([if verdict.allowed { "allowed" } else { "denied" }, verdict.policy.unwrap_or("none")]);
}

#[http_filter(with_tcp)]
impl HttpFilter for Rbac {
    type Config = Config;
    type Ctx = ();

    const PANELS: &'static [Panel] = &[
        Panel::stacked("Verdicts", "rbac_total").by(&["outcome"]).unit(Unit::PerSecond),
        Panel::top("Policies", "rbac_total").by(&["policy", "outcome"]).unit(Unit::PerSecond),
        Panel::stacked("Verdicts that are tried", "rbac_shadow_total").by(&["outcome"]).unit(Unit::PerSecond),
    ];

    fn configure(config: Config, env: &mut Env) -> Result<Self, ConfigError> {
        Self::new(config, env)
    }

    async fn on_request(&self, (): &mut (), request: &mut Request) -> Result<Flow> {
        Ok(match self.refuse(&Subject(Some(request))) {
            Some(details) => Reply::text(403, "RBAC: access denied").details(details).into(),
            None => Flow::Continue,
        })
    }
}

#[tcp_filter(with_http)]
impl TcpFilter for Rbac {
    type Config = Config;
    type Ctx = ();

    fn configure(config: Config, env: &mut Env) -> Result<Self, ConfigError> {
        Self::new(config, env)
    }

    async fn on_connect(&self, (): &mut (), _connection: &mut Conn) -> Result<TcpFlow> {
        Ok(if self.refuse(&Subject(None)).is_some() { TcpFlow::Close } else { TcpFlow::Continue })
    }
}
