//! The filter.

use std::cell::Cell;

use fyke_sdk::{
    ConfigError, Counter, Env, Flow, Gauge, HttpFilter, Panel, Reply, Request, Result, Unit, header_name, http_filter,
    sleep,
};

use crate::config::{Abort, Config, Delay};
use crate::plan::{Plan, drawn};

/// One configuration of the filter.
pub struct Fault {
    delay: Option<Delay>,
    abort: Option<Abort>,
    headers: Vec<(String, String)>,
    by_header: bool,
    max_active: u32,
    active: Cell<u32>,
    faults: Counter<1>,
    waiting: Gauge<0>,
}

#[http_filter]
impl HttpFilter for Fault {
    type Config = Config;
    type Ctx = ();

    const PANELS: &'static [Panel] = &[
        Panel::stacked("Faults", "fault_total")
            .by(&["kind"])
            .unit(Unit::PerSecond)
            .describe("Requests that were delayed or aborted on purpose, and those that were spared because too many were delayed."),
        Panel::number("Delayed now", "fault_active_delays"),
        Panel::top("Faults now", "fault_total").by(&["kind"]).unit(Unit::PerSecond),
    ];

    fn configure(config: Config, env: &mut Env) -> Result<Self, ConfigError> {
        if let Some(abort) = &config.abort
            && !(200..=599).contains(&abort.status)
        {
            return Err(ConfigError::at("abort.status", format!("must be from 200 to 599, not {}", abort.status)));
        }
        let headers = config.headers.into_iter().map(|(name, value)| {
            let name = header_name(&name).map_err(|error| error.under("headers"))?;
            Ok((name, value))
        });
        Ok(Self {
            delay: config.delay,
            abort: config.abort,
            headers: headers.collect::<Result<_, ConfigError>>()?,
            by_header: config.by_header,
            max_active: config.max_active.unwrap_or(1000),
            active: Cell::new(0),
            faults: env.counter("fault_total", ["kind"])?,
            waiting: env.gauge("fault_active_delays", [])?,
        })
    }

    async fn on_request(&self, _cx: &mut (), request: &mut Request) -> Result<Flow> {
        let plan = self.plan(request);
        if let Some(delay) = plan.delay {
            match Waiting::begin(self) {
                Some(_waiting) => {
                    self.faults.increment(["delay"]);
                    sleep(delay).await;
                }
                None => self.faults.increment(["overflow"]),
            }
        }
        let Some(status) = plan.abort else {
            return Ok(Flow::Continue);
        };
        self.faults.increment(["abort"]);
        let body = self.abort.as_ref().and_then(|abort| abort.body.as_deref()).unwrap_or("fault filter abort");
        Ok(Reply::text(status, body).details("fault_filter_abort").into())
    }
}

impl Fault {
    fn plan(&self, request: &Request) -> Plan {
        if self.headers.iter().any(|(name, value)| request.get(name) != Some(value.as_bytes())) {
            return Plan::default();
        }
        let asked = if self.by_header { Plan::of_headers(request) } else { Plan::default() };
        let delay = self.delay.as_ref().filter(|delay| drawn(delay.fraction)).map(|delay| delay.duration);
        let abort = self.abort.as_ref().filter(|abort| drawn(abort.fraction)).map(|abort| abort.status);
        Plan { delay: asked.delay.or(delay).filter(|delay| !delay.is_zero()), abort: asked.abort.or(abort) }
    }
}

/// One of those that wait. Ends also when the client leaves, for then it is dropped.
struct Waiting<'a>(&'a Fault);

impl<'a> Waiting<'a> {
    fn begin(fault: &'a Fault) -> Option<Self> {
        let active = fault.active.get();
        if active >= fault.max_active {
            return None;
        }
        fault.active.set(active + 1);
        fault.waiting.add(1);
        Some(Self(fault))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.active.set(self.0.active.get().saturating_sub(1));
        self.0.waiting.add(-1);
    }
}
