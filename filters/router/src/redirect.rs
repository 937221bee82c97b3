//! Somewhere else: the `location` of a redirect.

use crate::rewrite::PathRewrite;
use crate::subject::Subject;
use crate::table::strip_port;

/// Somewhere else.
#[derive(Debug)]
pub struct Redirect {
    pub code: u16,
    pub scheme: Option<String>,
    pub host: Option<String>,
    pub port: Option<u16>,
    pub path: Option<PathRewrite>,
    pub strip_query: bool,
}

impl Redirect {
    /// To the same place, over TLS (Envoy's `require_tls`).
    pub fn to_tls() -> Self {
        let scheme = Some("https".to_owned());
        Self { code: 301, scheme, host: None, port: None, path: None, strip_query: false }
    }

    /// Where to. `matched` bytes of the path are what the route's match recognised.
    pub fn location(&self, subject: &Subject<'_>, matched: usize) -> Vec<u8> {
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
