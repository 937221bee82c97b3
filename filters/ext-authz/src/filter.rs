//! The filter.

use std::time::Duration;

use fyke_sdk::abi::{self, Level};
use fyke_sdk::units::Percent;
use fyke_sdk::{
    Body, ConfigError, Counter, Env, Flow, HttpFilter, Panel, Reply, Request, Response, Result, Unit, http_filter, log,
    random,
};

use crate::body::{Excerpt, Limits};
use crate::config::{Config, FailureMode, Unasked};
use crate::grpc::Grpc;
use crate::http::Http;
use crate::verdict::{self, How, Pair, Verdict};

/// How long a service may take, where the configuration does not say.
pub const TIMEOUT: Duration = Duration::from_millis(200);

/// Tells the upstream that nobody was asked. Envoy's name.
const FAILURE_ALLOWED: &str = "x-envoy-auth-failure-mode-allowed";

/// One configuration of the filter.
pub struct ExtAuthz {
    /// `None`: all requests go on as they are.
    service: Option<Service>,
    body: Option<Limits>,
    /// Of requests that are asked about.
    fraction: f64,
    unasked: Unasked,
    failure_mode: FailureMode,
    failure_header: bool,
    status_on_error: u16,
    verdicts: Counter<1>,
}

enum Service {
    Http(Http),
    Grpc(Grpc),
}

/// One request.
#[derive(Default)]
pub struct Ctx {
    when: When,
    /// What the answer has to carry.
    response: Vec<(Pair, How)>,
}

/// When the service is asked.
#[derive(Default, PartialEq, Eq)]
enum When {
    /// At once, or never.
    #[default]
    AtHead,
    /// With the body.
    WithBody,
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
            .only(&[("verdict", "denied"), ("verdict", "failure_*"), ("verdict", "unasked_denied")])
            .unit(Unit::PerSecond),
    ];

    fn configure(config: Config, env: &mut Env) -> Result<Self, ConfigError> {
        let service = match (config.http, config.grpc) {
            (Some(http), None) => Some(Service::Http(Http::build(http, env).map_err(|error| error.under("http"))?)),
            (None, Some(grpc)) => Some(Service::Grpc(Grpc::build(grpc, env).map_err(|error| error.under("grpc"))?)),
            (None, None) if config.disabled => None,
            _ => return Err(ConfigError::new("needs exactly one of http and grpc")),
        };
        if !(200..=599).contains(&config.status_on_error) {
            let message = format!("must be from 200 to 599, not {}", config.status_on_error);
            return Err(ConfigError::at("status_on_error", message));
        }
        if config.failure_header && config.failure_mode == FailureMode::Deny {
            return Err(ConfigError::at("failure_header", "is for requests that go on: `failure_mode: allow`"));
        }
        if config.body.as_ref().is_some_and(|body| body.as_bytes) && matches!(service, Some(Service::Http(_))) {
            return Err(ConfigError::at("body.as_bytes", "is for gRPC: over HTTP a body is bytes always"));
        }
        let body = config.body.as_ref().map(Limits::build).transpose().map_err(|error| error.under("body"))?;
        let service = service.filter(|_| !config.disabled);
        skip(service.as_ref(), body.as_ref());
        Ok(Self {
            service,
            body,
            fraction: config.fraction.map_or(1.0, Percent::fraction),
            unasked: config.unasked,
            failure_mode: config.failure_mode,
            failure_header: config.failure_header,
            status_on_error: config.status_on_error,
            verdicts: env.counter("ext_authz_total", ["verdict"])?,
        })
    }

    async fn on_request(&self, cx: &mut Ctx, request: &mut Request) -> Result<Flow> {
        let Some(service) = &self.service else { return Ok(Flow::Continue) };
        if self.failure_header {
            request.remove(FAILURE_ALLOWED)?;
        }
        if !random::chance(self.fraction) {
            service.disbelieve(request)?;
            return Ok(self.unasked());
        }
        if let Some(limits) = self.body.as_ref().filter(|limits| limits.await_body(request)) {
            cx.when = When::WithBody;
            return Ok(limits.refuse(request).map_or(Flow::Continue, Flow::Reply));
        }
        self.ask(service, cx, request, None).await
    }

    fn wants_request_body(&self, cx: &mut Ctx, _request: &Request) -> bool {
        cx.when == When::WithBody
    }

    async fn on_request_with_body(&self, cx: &mut Ctx, request: &mut Request, body: &mut Body) -> Result<Flow> {
        let (Some(service), Some(limits)) = (&self.service, &self.body) else { return Ok(Flow::Continue) };
        self.ask(service, cx, request, Some(limits.show(body.len())?)).await
    }

    fn maximum_body(&self) -> usize {
        self.body.as_ref().map_or(0, Limits::held)
    }

    async fn on_response(&self, cx: &mut Ctx, response: &mut Response) -> Result<Flow> {
        verdict::write(&cx.response, response)?;
        Ok(Flow::Continue)
    }
}

impl Service {
    async fn ask(&self, request: &Request, body: Option<Excerpt>) -> Result<Verdict> {
        match self {
            Self::Http(http) => http.ask(request, body).await,
            Self::Grpc(grpc) => grpc.ask(request, body).await,
        }
    }

    /// Takes off what the client says in the service's place.
    fn disbelieve(&self, request: &mut Request) -> Result<()> {
        match self {
            Self::Http(http) => http.disbelieve(request),
            Self::Grpc(_) => Ok(()),
        }
    }
}

impl ExtAuthz {
    async fn ask(&self, service: &Service, cx: &mut Ctx, request: &mut Request, body: Option<Excerpt>) -> Result<Flow> {
        match service.ask(request, body).await {
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
                service.disbelieve(request)?;
                self.failed(request, &error)
            }
        }
    }

    fn unasked(&self) -> Flow {
        match self.unasked {
            Unasked::Allow => {
                self.verdicts.increment(["unasked_allowed"]);
                Flow::Continue
            }
            Unasked::Deny => {
                self.verdicts.increment(["unasked_denied"]);
                Reply::new(self.status_on_error).details("ext_authz_error").into()
            }
        }
    }

    fn failed(&self, request: &mut Request, error: &fyke_sdk::Error) -> Result<Flow> {
        match self.failure_mode {
            FailureMode::Allow => {
                self.verdicts.increment(["failure_allowed"]);
                log::write(
                    Level::Warn,
                    &format!("the authorisation service cannot be asked, the request goes on: {error}"),
                );
                if self.failure_header {
                    request.set(FAILURE_ALLOWED, "true")?;
                }
                Ok(Flow::Continue)
            }
            FailureMode::Deny => {
                self.verdicts.increment(["failure_denied"]);
                log::write(
                    Level::Warn,
                    &format!("the authorisation service cannot be asked, the request is denied: {error}"),
                );
                Ok(Reply::new(self.status_on_error).details("ext_authz_error").into())
            }
        }
    }
}

/// Tells the host which callbacks this configuration has no use for. That is more than speed: whoever looks at bodies is given
/// them while it waits for an answer, and what is too much to hold would be refused; of whoever does not, the client waits.
fn skip(service: Option<&Service>, body: Option<&Limits>) {
    let names = match (service, body) {
        (None, _) => "request_headers,request_body,request_trailers,response_headers",
        (Some(_), None) => "request_body,request_trailers",
        (Some(_), Some(_)) => return,
    };
    // Other hosts than Fyke do not know it, and call.
    let _ = abi::call_foreign_function("fyke.callbacks.skip.v1", names.as_bytes());
}
