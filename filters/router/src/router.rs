//! The filter.

use fyke_sdk::{ConfigError, Env, Flow, HttpFilter, Reply, Request, Response, Result, RouteOverrides, http_filter};

use crate::action::{Action, Forward, Memory, Selected};
use crate::build;
use crate::config::Config;
use crate::envoy::Wishes;
use crate::redirect::Redirect;
use crate::subject::{Subject, split_query};
use crate::table::{EnvoyHeaders, Found, Lookup, Place, Route, Table, VirtualHost};

/// One configuration of the router.
pub struct Router {
    table: Table,
}

/// Set while the host is about to follow a redirect; whoever sets it says that it must not.
const REDIRECT: [&str; 2] = ["fyke", "redirect"];

/// What one stream remembers.
#[derive(Default)]
pub struct Ctx {
    /// The route that was selected. None as well when we replied: a reply has its headers already.
    selected: Option<Selection>,
    rewritten: Option<Rewritten>,
    /// From where to where redirects have led that were followed.
    hops: Vec<(Place, Place)>,
    memory: Memory,
}

/// A route, and the number of its cluster where the router chose it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Selection {
    place: Place,
    choice: Option<usize>,
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

    fn keeps_ctx(&self) -> bool {
        self.table.remembers()
    }

    fn explain(&self, request: &Request) -> Vec<String> {
        self.table.explain(&Subject::new(request, request.path()))
    }

    fn wants_response(&self) -> bool {
        self.table.changes_responses()
    }

    async fn on_response(&self, cx: &mut Ctx, response: &mut Response) -> Result<Flow> {
        let Some(selection) = cx.selected else { return Ok(Flow::Continue) };
        if let Some((host, route)) = self.table.route(selection.place) {
            let choice = match &route.action {
                Action::Forward(forward) => forward.choice(selection.choice),
                Action::Redirect(..) | Action::Respond(..) => None,
            };
            let first = choice.map(|choice| &choice.response_headers);
            self.table.change_response(host, Some(route), first, &mut **response)?;
        }
        for cookie in &cx.memory.cookies {
            response.add("set-cookie", &cookie.header)?;
        }
        Ok(Flow::Continue)
    }
}

impl Router {
    fn route(&self, cx: &mut Ctx, request: &mut Request) -> Result<Flow> {
        if self.table.envoy_headers == EnvoyHeaders::Honoured {
            let mut wishes = cx.memory.wishes.take().unwrap_or_default();
            wishes.take(request)?;
            cx.memory.wishes = (*wishes != Wishes::default()).then_some(wishes);
        }
        let known = cx.rewritten.as_ref().filter(|rewritten| rewritten.after == request.path());
        let before = known.map(|rewritten| rewritten.before.clone());
        let target = before.as_deref().unwrap_or_else(|| request.path());
        let subject = Subject::new(request, target);
        let found = self.table.find(&subject);
        if !self.lets_go(cx, request, &found) {
            request.set_property(&REDIRECT, [1])?;
            return Ok(Flow::Continue);
        }
        cx.rewritten = None;
        let earlier = cx.selected.take();
        if let Some(refusal) = subject.scan.refusal() {
            return Ok(refusal.into());
        }
        let found = match found {
            Lookup::Found(found) => found,
            Lookup::NeedsTls(host) => return self.redirect(&Redirect::to_tls(), &subject, 0, host, None),
            Lookup::Nothing => return Ok(Reply::new(404).details("route_not_found").into()),
        };
        let forward = match &found.route.action {
            Action::Forward(forward) => forward,
            Action::Redirect(redirect, name) => {
                request.select_route(name, &RouteOverrides::default())?;
                return self.redirect(redirect, &subject, found.matched, found.host, Some(found.route));
            }
            Action::Respond(respond, name) => {
                request.select_route(name, &RouteOverrides::default())?;
                let mut headers = respond.headers();
                self.table.change_response(found.host, Some(found.route), None, &mut headers)?;
                let reply = Reply::new(respond.status).body(respond.body()).details("direct_response");
                return Ok(with(reply, headers).into());
            }
        };
        let choice = match forward.select(&subject, &mut cx.memory)? {
            Selected::Route(choice) => choice,
            Selected::Refused(reply) => return Ok(reply.into()),
        };
        let new = rewritten(forward, &found, &subject, target);
        if let Some(refusal) = subject.scan.refusal() {
            return Ok(refusal.into());
        }
        let selection = Selection { place: found.place, choice };
        // Before the path changes, so that values speak of the one that came.
        let changes = earlier != Some(selection);
        let forwarded_host = if changes { forward.forwarded_host(request) } else { None };
        let before = before.filter(|_| new.is_none());
        if changes {
            let first = forward.choice(choice).map(|choice| &choice.request_headers);
            self.table.change_request(&found, first, &mut **request)?;
            if let Some(host) = forwarded_host {
                request.set("x-forwarded-host", host)?;
            }
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
        cx.selected = Some(selection);
        Ok(Flow::Continue)
    }

    /// Whether the host may follow the redirect that it asks about, if it does: one that leads to no route is the client's to follow.
    fn lets_go(&self, cx: &mut Ctx, request: &Request, found: &Lookup<'_>) -> bool {
        let Some(from) = cx.selected.map(|selection| selection.place) else { return true };
        let Some((_, Route { action: Action::Forward(forward), .. })) = self.table.route(from) else { return true };
        let Some(redirects) = forward.redirects.as_ref().filter(|_| request.property(&REDIRECT).is_some()) else {
            return true;
        };
        let Lookup::Found(found) = found else { return false };
        let hop = (from, found.place);
        let is_allowed =
            redirects.allowed.as_ref().is_none_or(|names| names.iter().any(|name| **name == *found.route.name));
        if !is_allowed || redirects.avoids_previous && cx.hops.contains(&hop) {
            return false;
        }
        cx.hops.push(hop);
        true
    }

    fn redirect(
        &self,
        redirect: &Redirect,
        subject: &Subject<'_>,
        matched: usize,
        host: &VirtualHost,
        route: Option<&Route>,
    ) -> Result<Flow> {
        let mut headers = vec![("location".to_owned(), redirect.location(subject, matched))];
        if let Some(refusal) = subject.scan.refusal() {
            return Ok(refusal.into());
        }
        self.table.change_response(host, route, None, &mut headers)?;
        Ok(with(Reply::new(redirect.code).details("redirect"), headers).into())
    }
}

/// The path that the upstream sees, with the request's query, if the route has another one for it.
fn rewritten(forward: &Forward, found: &Found<'_>, subject: &Subject<'_>, target: &[u8]) -> Option<Rewritten> {
    let rewrite = forward.path.as_ref()?;
    let mut after = rewrite.apply(subject.path, found.matched, &subject.scan);
    if let Some(query) = split_query(target).1 {
        after.push(b'?');
        after.extend_from_slice(query);
    }
    Some(Rewritten { before: target.to_vec(), after })
}

fn with(reply: Reply, headers: Vec<(String, Vec<u8>)>) -> Reply {
    headers.into_iter().fold(reply, |reply, (name, value)| reply.header(name, value))
}
