//! What a matched route does.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use fyke_sdk::{Reply, Request, Result, RetryPolicy, RouteHandle, RouteOverrides, Template};

use crate::envoy::{GrpcTimeout, Wishes};
use crate::hash::{HashPolicy, NewCookie};
use crate::headers::Value;
use crate::matching::header_holds;
use crate::redirect::Redirect;
use crate::rewrite::{PathRewrite, Substitution};
use crate::scan::Part;
use crate::subject::Subject;
use crate::values::Condition;
use crate::weighted::{Choice, Target, WeightedClusters};

/// One of three.
#[derive(Debug)]
pub enum Action {
    /// To a cluster.
    Forward(Box<Forward>),
    /// Somewhere else, and the route's name.
    Redirect(Redirect, RouteHandle),
    /// The answer, and the route's name.
    Respond(Respond, RouteHandle),
}

impl Action {
    /// Whether it draws lots, issues cookies, or changes the request: what must not be done twice.
    pub fn remembers(&self) -> bool {
        match self {
            Self::Forward(forward) => {
                forward.path.is_some()
                    || forward.forwarded_host == ForwardedHost::Appended
                    || !forward.hash.is_empty()
                    || forward.redirects.is_some()
                    || matches!(forward.to, Destination::Weighted(_))
            }
            Self::Redirect(..) | Self::Respond(..) => false,
        }
    }
}

/// An answer.
#[derive(Debug)]
pub struct Respond {
    pub status: u16,
    pub headers: Vec<(String, Value)>,
    pub body: Body,
}

/// What an answer says.
#[derive(Debug)]
pub enum Body {
    Literal(String),
    Template(Template),
}

impl Respond {
    /// The answer's headers, which may still be changed.
    pub fn headers(&self) -> Vec<(String, Vec<u8>)> {
        let rendered = |(name, value): &(String, Value)| Some((name.clone(), value.render()?.into_owned()));
        self.headers.iter().filter_map(rendered).collect()
    }

    pub fn body(&self) -> Cow<'_, [u8]> {
        match &self.body {
            Body::Literal(text) => Cow::Borrowed(text.as_bytes()),
            Body::Template(template) => Cow::Owned(template.render().unwrap_or_default()),
        }
    }
}

/// To a cluster.
#[derive(Debug)]
pub struct Forward {
    pub handle: RouteHandle,
    pub to: Destination,
    pub path: Option<PathRewrite>,
    pub host: Option<HostRewrite>,
    /// Whether the request's host is told to the upstream.
    pub forwarded_host: ForwardedHost,
    pub hash: HashPolicy,
    /// The request header that names the endpoint.
    pub endpoint_header: Option<String>,
    /// What the route was defined with, for what overrides it in part.
    pub timeout: Duration,
    pub retry: Option<Retry>,
    /// Where redirects may lead that the host follows.
    pub redirects: Option<Redirects>,
    pub grpc_timeout: Option<GrpcTimeout>,
}

/// To which routes a redirect may lead.
#[derive(Debug)]
pub struct Redirects {
    /// Only to those of these names.
    pub allowed: Option<Vec<String>>,
    /// To none that one has led to from here before.
    pub avoids_previous: bool,
}

/// When a request is sent again.
#[derive(Debug, Clone)]
pub struct Retry {
    pub policy: RetryPolicy,
    /// Only requests that meet one of these, if there are any.
    pub only: Rc<[Condition]>,
}

impl Retry {
    fn is_for(&self, subject: &Subject<'_>) -> bool {
        self.only.is_empty() || self.only.iter().any(|condition| header_holds(condition, subject))
    }
}

/// Who names the cluster.
#[derive(Debug)]
pub enum Destination {
    /// The route, as the host knows it.
    Defined,
    /// A header of the request.
    Header(String),
    /// The router's own choice.
    Weighted(WeightedClusters),
}

/// Where the upstream's `:authority` comes from.
#[derive(Debug)]
pub enum HostRewrite {
    Literal(String),
    Header(String),
    /// What an expression makes of the path.
    Regex(Substitution),
}

/// What becomes of `x-forwarded-host`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForwardedHost {
    /// Nothing.
    Untouched,
    /// The request's host is appended.
    Appended,
}

/// What the router remembers of a stream's selections, so that the next one comes out the same.
#[derive(Debug, Default)]
pub struct Memory {
    /// The random number that chooses among weighted clusters.
    pub draw: Option<u64>,
    /// Cookies that the response will set.
    pub cookies: Vec<NewCookie>,
    /// What the request asked for in `x-envoy-*` headers, which are gone by now.
    pub wishes: Option<Box<Wishes>>,
}

/// How a selection went.
pub enum Selected {
    /// Done; the number of the cluster, where the router chose it.
    Route(Option<usize>),
    /// There is no cluster: this is the answer.
    Refused(Reply),
}

impl Selected {
    /// A header was to name the cluster, and does not.
    fn no_cluster() -> Self {
        Self::Refused(Reply::new(503).details("cluster_not_found"))
    }
}

/// The cluster that a header names.
fn named<'r>(request: &'r Request, header: &str) -> Option<&'r [u8]> {
    request.get(header).filter(|cluster| !cluster.is_empty())
}

impl Forward {
    /// The clusters among which the router chooses.
    pub fn choices(&self) -> &[Choice] {
        match &self.to {
            Destination::Weighted(weighted) => &weighted.choices,
            Destination::Defined | Destination::Header(_) => &[],
        }
    }

    /// The one of this number.
    pub fn choice(&self, number: Option<usize>) -> Option<&Choice> {
        self.choices().get(number?)
    }

    /// Selects the route for this stream. A reply when the route leaves the cluster to a header that is not there.
    pub fn select(&self, subject: &Subject<'_>, memory: &mut Memory) -> Result<Selected> {
        let request = subject.request;
        let mut overrides = RouteOverrides::default();
        if !self.hash.is_empty() {
            overrides.hash = self.hash.hash(subject, &mut memory.cookies);
        }
        let mut number = None;
        match &self.to {
            Destination::Defined => {}
            Destination::Header(name) => match named(request, name) {
                Some(cluster) => overrides.cluster = Some(cluster),
                None => return Ok(Selected::no_cluster()),
            },
            Destination::Weighted(weighted) => {
                number = weighted.choose(subject, overrides.hash, &mut memory.draw);
                overrides.cluster = match self.choice(number).map(|choice| &choice.target) {
                    Some(Target::Cluster(cluster)) => Some(cluster.as_bytes()),
                    Some(Target::Header(name)) => match named(request, name) {
                        Some(cluster) => Some(cluster),
                        None => return Ok(Selected::no_cluster()),
                    },
                    None => None,
                };
            }
        }
        let host = self.host(subject, number);
        overrides.host = host.as_deref();
        overrides.endpoint = self.endpoint_header.as_ref().and_then(|name| request.get(name)).filter(is_endpoint);
        overrides.timeout = self.grpc_timeout.and_then(|grpc| grpc.of(request));
        let own = self.retry.as_ref().map(|retry| &retry.policy);
        let mut retry = None;
        if let Some(wishes) = &memory.wishes {
            overrides.timeout = wishes.timeout.or(overrides.timeout);
            retry = wishes.retry(own, overrides.timeout.unwrap_or(self.timeout));
            overrides.hedge = wishes.hedge();
            overrides.timeout_status = wishes.timeout_status();
        }
        if self.retry.as_ref().is_some_and(|retry| !retry.is_for(subject)) {
            let once = RetryPolicy { on: Vec::new(), ..retry.or_else(|| own.cloned()).unwrap_or_default() };
            retry = Some(once);
        }
        overrides.retry = retry.as_ref();
        let handle = self.choice(number).and_then(|choice| choice.handle.as_ref()).unwrap_or(&self.handle);
        request.select_route(handle, &overrides)?;
        Ok(Selected::Route(number))
    }

    fn host<'s>(&'s self, subject: &Subject<'s>, number: Option<usize>) -> Option<Cow<'s, [u8]>> {
        if let Some(host) = self.choice(number).and_then(|choice| choice.host.as_ref()) {
            return Some(Cow::Borrowed(host.as_bytes()));
        }
        match self.host.as_ref()? {
            HostRewrite::Literal(host) => Some(Cow::Borrowed(host.as_bytes())),
            HostRewrite::Header(name) => subject.request.get(name).filter(|host| !host.is_empty()).map(Cow::Borrowed),
            HostRewrite::Regex(substitution) => {
                // A path says what it likes; what is no host changes none.
                let host = substitution.apply(subject.path, Part::Target, &subject.scan);
                is_host(&host).then_some(Cow::Owned(host))
            }
        }
    }

    /// `x-forwarded-host` with the request's host at its end, if that is to be told and is not there yet.
    pub fn forwarded_host(&self, request: &Request) -> Option<Vec<u8>> {
        if self.forwarded_host == ForwardedHost::Untouched || request.authority().is_empty() {
            return None;
        }
        let mut list = request.values("x-forwarded-host").join(&b","[..]);
        let nearest = list.rsplit(|byte| *byte == b',').next().unwrap_or_default();
        if nearest.trim_ascii() == request.authority() {
            return None;
        }
        if !list.is_empty() {
            list.extend_from_slice(b",");
        }
        list.extend_from_slice(request.authority());
        Some(list)
    }
}

/// Whether it is an address with a port.
fn is_endpoint(value: &&[u8]) -> bool {
    std::str::from_utf8(value).is_ok_and(|text| text.parse::<SocketAddr>().is_ok())
}

/// Whether it can stand as an authority.
pub fn is_host(host: &[u8]) -> bool {
    !host.is_empty() && host.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._~:[]%".contains(byte))
}
