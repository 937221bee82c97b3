//! The filter.

use std::time::Duration;

use fyke_sdk::abi::Level;
use fyke_sdk::{
    ConfigError, Counter, Env, Flow, HttpFilter, Panel, Reply, Request, Response, Result, Unit, http_filter, log,
};

use crate::config::{Config, FailureMode};
use crate::grpc::Grpc;
use crate::http::Http;
use crate::verdict::{self, How, Pair, Verdict};

/// How long a service may take, where the configuration does not say.
pub const TIMEOUT: Duration = Duration::from_millis(200);

/// One configuration of the filter.
pub struct ExtAuthz {
    service: Service,
    failure_mode: FailureMode,
    status_on_error: u16,
    verdicts: Counter<1>,
}

enum Service {
    Http(Http),
    Grpc(Grpc),
}

/// What the answer has to carry.
#[derive(Default)]
pub struct Ctx {
    response: Vec<(Pair, How)>,
}

#[http_filter]
impl HttpFilter for ExtAuthz {
    type Config = Config;
    type Ctx = Ctx;

    const PANELS: &'static [Panel] = &[
        Panel::stacked("Decisions", "ext_authz_total")
            .by(&["verdict"])
            .unit(Unit::PerSecond)
            .describe("What the service said of requests, or that it could not be asked."),
        Panel::top("Decisions now", "ext_authz_total").by(&["verdict"]).unit(Unit::PerSecond),
        Panel::line("Not allowed", "ext_authz_total")
            .by(&["verdict"])
            .only(&[("verdict", "denied"), ("verdict", "failure_*")])
            .unit(Unit::PerSecond),
    ];

    fn configure(config: Config, env: &mut Env) -> Result<Self, ConfigError> {
        let service = match (config.http, config.grpc) {
            (Some(http), None) => Service::Http(Http::build(http, env).map_err(|error| error.under("http"))?),
            (None, Some(grpc)) => Service::Grpc(Grpc::build(grpc, env).map_err(|error| error.under("grpc"))?),
            _ => return Err(ConfigError::new("needs exactly one of http and grpc")),
        };
        if !(200..=599).contains(&config.status_on_error) {
            let message = format!("must be from 200 to 599, not {}", config.status_on_error);
            return Err(ConfigError::at("status_on_error", message));
        }
        Ok(Self {
            service,
            failure_mode: config.failure_mode,
            status_on_error: config.status_on_error,
            verdicts: env.counter("ext_authz_total", ["verdict"])?,
        })
    }

    async fn on_request(&self, cx: &mut Ctx, request: &mut Request) -> Result<Flow> {
        let asked = match &self.service {
            Service::Http(http) => http.ask(request).await,
            Service::Grpc(grpc) => grpc.ask(request).await,
        };
        match asked {
            Ok(Verdict::Allowed(changes)) => {
                self.verdicts.increment(["allowed"]);
                changes.apply(request)?;
                cx.response = changes.response;
                Ok(Flow::Continue)
            }
            Ok(Verdict::Denied(reply)) => {
                self.verdicts.increment(["denied"]);
                Ok(reply.details("ext_authz_denied").into())
            }
            Err(error) => {
                if let Service::Http(http) = &self.service {
                    http.disbelieve(request)?;
                }
                Ok(self.failed(&error))
            }
        }
    }

    async fn on_response(&self, cx: &mut Ctx, response: &mut Response) -> Result<Flow> {
        verdict::write(&cx.response, response)?;
        Ok(Flow::Continue)
    }
}

impl ExtAuthz {
    fn failed(&self, error: &fyke_sdk::Error) -> Flow {
        match self.failure_mode {
            FailureMode::Allow => {
                self.verdicts.increment(["failure_allowed"]);
                log::write(
                    Level::Warn,
                    &format!("the authorisation service cannot be asked, the request goes on: {error}"),
                );
                Flow::Continue
            }
            FailureMode::Deny => {
                self.verdicts.increment(["failure_denied"]);
                log::write(
                    Level::Warn,
                    &format!("the authorisation service cannot be asked, the request is denied: {error}"),
                );
                Reply::new(self.status_on_error).details("ext_authz_error").into()
            }
        }
    }
}
