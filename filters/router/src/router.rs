//! The filter.

use fyke_sdk::{ConfigError, Env, Flow, HttpFilter, Reply, Request, Response, Result, RouteOverrides, http_filter};

use crate::action::Action;
use crate::build;
use crate::config::Config;
use crate::matching::{Subject, split_query};
use crate::table::{Place, Table};

/// One configuration of the router.
pub struct Router {
    table: Table,
}

/// What one stream remembers.
#[derive(Default)]
pub struct Ctx {
    /// The route that was selected. None as well when we replied: a reply has its headers already.
    selected: Option<Place>,
    rewritten: Option<Rewritten>,
}

/// A path that we changed: routes match the old one for as long as nobody else changes it.
struct Rewritten {
    before: Vec<u8>,
    after: Vec<u8>,
}

#[http_filter]
impl HttpFilter for Router {
    type Config = Config;
    type Ctx = Ctx;

    fn configure(config: Config, env: &mut Env) -> Result<Self, ConfigError> {
        Ok(Self { table: build::table(config, &env.routes())? })
    }

    async fn on_request(&self, cx: &mut Ctx, request: &mut Request) -> Result<Flow> {
        self.route(cx, request)
    }

    fn on_reroute(&self, cx: &mut Ctx, request: &mut Request) -> Result<Flow> {
        self.route(cx, request)
    }

    fn wants_response(&self) -> bool {
        self.table.changes_responses()
    }

    async fn on_response(&self, cx: &mut Ctx, response: &mut Response) -> Result<Flow> {
        if let Some(route) = cx.selected.and_then(|place| self.table.route(place)) {
            route.response_headers.apply(response)?;
        }
        Ok(Flow::Continue)
    }
}

impl Router {
    fn route(&self, cx: &mut Ctx, request: &mut Request) -> Result<Flow> {
        let before =
            cx.rewritten.take().filter(|rewritten| rewritten.after == request.path()).map(|rewritten| rewritten.before);
        let target = before.as_deref().unwrap_or_else(|| request.path());
        let subject = Subject::new(request, target);
        let earlier = cx.selected.take();
        let found = self.table.find(&subject);
        if let Some(refusal) = subject.scan.refusal() {
            return Ok(refusal.into());
        }
        let Some((place, route, matched)) = found else {
            return Ok(Reply::new(404).details("route_not_found").into());
        };
        let forward = match &route.action {
            Action::Forward(forward) => forward,
            Action::Redirect(redirect, name) => {
                request.select_route(name, &RouteOverrides::default())?;
                let reply = redirect.reply(&subject, matched);
                return Ok(subject.scan.refusal().unwrap_or(reply).into());
            }
            Action::Respond(reply, name) => {
                request.select_route(name, &RouteOverrides::default())?;
                return Ok(reply.clone().into());
            }
        };
        if let Some(reply) = forward.select(request)? {
            return Ok(reply.into());
        }
        let new = forward.path.as_ref().map(|rewrite| {
            let mut new = rewrite.apply(subject.path, matched, &subject.scan);
            if let Some(query) = split_query(target).1 {
                new.push(b'?');
                new.extend_from_slice(query);
            }
            Rewritten { before: target.to_vec(), after: new }
        });
        if let Some(refusal) = subject.scan.refusal() {
            return Ok(refusal.into());
        }
        match (new, before) {
            (Some(new), _) => {
                request.set(":path", &new.after)?;
                cx.rewritten = Some(new);
            }
            // An earlier route rewrote the path, this one does not.
            (None, Some(before)) => request.set(":path", before)?,
            (None, None) => {}
        }
        cx.selected = Some(place);
        if earlier != Some(place) {
            route.request_headers.apply(request)?;
        }
        Ok(Flow::Continue)
    }
}
