//! What a matched route does.

use fyke_sdk::{Headers, Reply, Request, Result, RouteHandle, RouteOverrides};

use crate::matching::Subject;
use crate::rewrite::PathRewrite;
use crate::table::strip_port;

/// One of three.
#[derive(Debug)]
pub enum Action {
    /// To a cluster.
    Forward(Forward),
    /// Somewhere else, and the route's name.
    Redirect(Redirect, RouteHandle),
    /// The answer, ready to be sent, and the route's name.
    Respond(Reply, RouteHandle),
}

/// To a cluster.
#[derive(Debug)]
pub struct Forward {
    pub handle: RouteHandle,
    /// The request header that names the cluster, if the route does not.
    pub cluster_header: Option<String>,
    pub path: Option<PathRewrite>,
    pub host: Option<HostRewrite>,
}

/// Where the upstream's `:authority` comes from.
#[derive(Debug)]
pub enum HostRewrite {
    Literal(String),
    Header(String),
}

impl Forward {
    /// Selects the route for this stream. A reply when the route leaves the cluster to a header that is not there.
    pub fn select(&self, request: &Request) -> Result<Option<Reply>> {
        let mut overrides = RouteOverrides::default();
        if let Some(name) = &self.cluster_header {
            match request.get(name) {
                Some(cluster) if !cluster.is_empty() => overrides.cluster = Some(cluster),
                _ => return Ok(Some(Reply::new(503).details("cluster_not_found"))),
            }
        }
        overrides.host = match &self.host {
            Some(HostRewrite::Literal(host)) => Some(host.as_bytes()),
            Some(HostRewrite::Header(name)) => request.get(name).filter(|host| !host.is_empty()),
            None => None,
        };
        request.select_route(&self.handle, &overrides)?;
        Ok(None)
    }
}

/// Somewhere else.
#[derive(Debug)]
pub struct Redirect {
    pub code: u16,
    pub scheme: Option<String>,
    pub host: Option<String>,
    pub port: Option<u16>,
    pub path: Option<PathRewrite>,
    pub strip_query: bool,
    /// Headers of the answer, besides `location`.
    pub headers: Vec<(String, String)>,
}

impl Redirect {
    pub fn reply(&self, subject: &Subject<'_>, matched: usize) -> Reply {
        let reply = Reply::new(self.code).details("redirect").header("location", self.location(subject, matched));
        self.headers.iter().fold(reply, |reply, (name, value)| reply.header(name, value))
    }

    fn location(&self, subject: &Subject<'_>, matched: usize) -> Vec<u8> {
        let before = match subject.request.scheme() {
            b"" => b"http",
            scheme => scheme,
        };
        let scheme = self.scheme.as_deref().map_or(before, str::as_bytes);
        let mut location = [scheme, b"://"].concat();
        self.push_authority(&mut location, subject.request.authority(), before, scheme);
        match &self.path {
            Some(rewrite) => location.extend_from_slice(&rewrite.apply(subject.path, matched, &subject.scan)),
            None => location.extend_from_slice(subject.path),
        }
        let own_query = matches!(&self.path, Some(PathRewrite::Path(path)) if path.contains('?'));
        if let Some(query) = subject.query
            && !self.strip_query
            && !own_query
        {
            location.push(b'?');
            location.extend_from_slice(query);
        }
        location
    }

    fn push_authority(&self, location: &mut Vec<u8>, authority: &[u8], before: &[u8], scheme: &[u8]) {
        let bare = strip_port(authority);
        match &self.host {
            Some(host) => location.extend_from_slice(host.as_bytes()),
            // The port of the old scheme would be wrong with the new one: http://a:80 -> https://a.
            None if self.port.is_some()
                || (before != scheme && default_port(before) == authority.get(bare.len()..)) =>
            {
                location.extend_from_slice(bare);
            }
            None => location.extend_from_slice(authority),
        }
        if let Some(port) = self.port {
            location.push(b':');
            location.extend_from_slice(port.to_string().as_bytes());
        }
    }
}

fn default_port(scheme: &[u8]) -> Option<&'static [u8]> {
    match scheme {
        b"http" => Some(b":80"),
        b"https" => Some(b":443"),
        _ => None,
    }
}

/// Changes to headers, in this order: remove, set, add.
#[derive(Debug, Default)]
pub struct HeaderChanges {
    pub remove: Vec<String>,
    pub set: Vec<(String, String)>,
    pub add: Vec<(String, String)>,
}

impl HeaderChanges {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }

    /// Makes them on a live header map.
    pub fn apply(&self, headers: &mut Headers) -> Result<()> {
        for name in &self.remove {
            headers.remove(name)?;
        }
        for (name, value) in &self.set {
            headers.set(name, value)?;
        }
        for (name, value) in &self.add {
            headers.add(name, value)?;
        }
        Ok(())
    }

    /// Makes them on headers of an answer that is prepared.
    pub fn apply_to(&self, headers: &mut Vec<(String, String)>) {
        let same = |left: &str, right: &str| left.eq_ignore_ascii_case(right);
        headers.retain(|(name, _)| {
            !self.remove.iter().any(|removed| same(removed, name)) && !self.set.iter().any(|(set, _)| same(set, name))
        });
        headers.extend(self.set.iter().chain(&self.add).cloned());
    }
}
