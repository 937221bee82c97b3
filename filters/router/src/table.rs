//! Virtual hosts, and which of them a domain belongs to: exact, then the longest suffix, then the longest prefix, then
//! `*`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use fyke_sdk::{ConfigError, Request, Result};

use crate::action::Action;
use crate::config::RequireTls;
use crate::headers::{HeaderChanges, Target};
use crate::index::Index;
use crate::matching::Matcher;
use crate::subject::Subject;

/// The whole configuration, ready to be looked up.
#[derive(Debug)]
pub struct Table {
    pub hosts: Vec<VirtualHost>,
    pub domains: Domains,
    pub request_headers: HeaderChanges,
    pub response_headers: HeaderChanges,
    pub envoy_headers: EnvoyHeaders,
}

/// What becomes of `x-envoy-*` headers of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnvoyHeaders {
    /// They are headers like any other.
    Passed,
    /// They change what routes say, and go no further.
    Honoured,
}

/// Routes in order.
#[derive(Debug)]
pub struct VirtualHost {
    pub name: String,
    pub routes: Vec<Route>,
    pub index: Index,
    pub require_tls: RequireTls,
    pub request_headers: HeaderChanges,
    pub response_headers: HeaderChanges,
}

/// A condition and what follows from it.
#[derive(Debug)]
pub struct Route {
    pub name: Box<str>,
    pub matcher: Matcher,
    pub action: Action,
    pub request_headers: HeaderChanges,
    pub response_headers: HeaderChanges,
}

/// A route's place in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    host: usize,
    route: usize,
}

/// A route that a request matches.
#[derive(Debug)]
pub struct Found<'t> {
    pub place: Place,
    pub host: &'t VirtualHost,
    pub route: &'t Route,
    /// How many bytes of the path it recognised.
    pub matched: usize,
}

/// What a request meets.
#[derive(Debug)]
pub enum Lookup<'t> {
    /// A route.
    Found(Found<'t>),
    /// A virtual host that wants it over TLS.
    NeedsTls(&'t VirtualHost),
    /// Nothing.
    Nothing,
}

impl Table {
    /// The first route that matches.
    pub fn find(&self, subject: &Subject<'_>) -> Lookup<'_> {
        let Some((number, host)) = self.host(subject) else { return Lookup::Nothing };
        if host.needs_tls(subject.request) {
            return Lookup::NeedsTls(host);
        }
        let found = host.index.first(subject.path, |at| {
            let route = host.routes.get(at)?;
            let matched = route.matcher.matches(subject)?;
            Some(Found { place: Place { host: number, route: at }, host, route, matched })
        });
        found.map_or(Lookup::Nothing, Lookup::Found)
    }

    /// The virtual host of a request, and its number.
    pub fn host(&self, subject: &Subject<'_>) -> Option<(usize, &VirtualHost)> {
        let number = match self.domains.only {
            Some(host) => host,
            None => self.domains.find(subject.request.authority())?,
        };
        Some((number, self.hosts.get(number)?))
    }

    /// Makes the changes to a request that `route` and everything around it want. `first` are those of its weighted
    /// cluster.
    pub fn change_request(
        &self,
        found: &Found<'_>,
        first: Option<&HeaderChanges>,
        headers: &mut impl Target,
    ) -> Result<()> {
        let levels = [&found.route.request_headers, &found.host.request_headers, &self.request_headers];
        first.into_iter().chain(levels).try_for_each(|changes| changes.apply(headers))
    }

    /// As [`Table::change_request`], of a response.
    pub fn change_response(
        &self,
        host: &VirtualHost,
        route: Option<&Route>,
        first: Option<&HeaderChanges>,
        headers: &mut impl Target,
    ) -> Result<()> {
        let route = route.map(|route| &route.response_headers);
        let levels = first.into_iter().chain(route).chain([&host.response_headers, &self.response_headers]);
        levels.into_iter().try_for_each(|changes| changes.apply(headers))
    }

    /// Whether some route changes the headers of answers.
    pub fn changes_responses(&self) -> bool {
        !self.response_headers.is_empty()
            || self
                .hosts
                .iter()
                .any(|host| !host.response_headers.is_empty() || host.routes.iter().any(Route::changes_responses))
    }

    /// Whether a second look at a request, or its answer, depends on the first one.
    pub fn remembers(&self) -> bool {
        let changes = |host: &VirtualHost| {
            !host.request_headers.is_empty() || host.routes.iter().any(|route| !route.request_headers.is_empty())
        };
        self.changes_responses()
            || self.envoy_headers == EnvoyHeaders::Honoured
            || !self.request_headers.is_empty()
            || self.hosts.iter().any(|host| changes(host) || host.routes.iter().any(|route| route.action.remembers()))
    }

    /// The route at a place, and its virtual host.
    pub fn route(&self, place: Place) -> Option<(&VirtualHost, &Route)> {
        let host = self.hosts.get(place.host)?;
        Some((host, host.routes.get(place.route)?))
    }
}

impl VirtualHost {
    pub fn needs_tls(&self, request: &Request) -> bool {
        let inside = || request.get("x-envoy-internal") == Some(b"true");
        let wanted = match self.require_tls {
            RequireTls::None => false,
            RequireTls::ExternalOnly => !inside(),
            RequireTls::All => true,
        };
        wanted && !request.scheme().eq_ignore_ascii_case(b"https")
    }
}

impl Route {
    fn changes_responses(&self) -> bool {
        !self.response_headers.is_empty()
            || match &self.action {
                Action::Forward(forward) => {
                    forward.hash.sets_cookies()
                        || forward.choices().iter().any(|choice| !choice.response_headers.is_empty())
                }
                Action::Redirect(..) | Action::Respond(..) => false,
            }
    }
}

/// From domains to virtual hosts.
#[derive(Debug, Default)]
pub struct Domains {
    /// For requests to any port.
    names: Names,
    /// With a port, for requests that name it.
    ports: Names,
    any: Option<usize>,
    /// Set when `*` is the only domain: then nobody needs to read the authority.
    only: Option<usize>,
}

#[derive(Debug, Default)]
struct Names {
    exact: BTreeMap<Vec<u8>, usize>,
    /// By length.
    suffixes: BTreeMap<usize, BTreeMap<Vec<u8>, usize>>,
    /// By length.
    prefixes: BTreeMap<usize, BTreeMap<Vec<u8>, usize>>,
}

impl Domains {
    /// Adds one domain of a virtual host.
    pub fn add(&mut self, domain: &str, host: usize) -> Result<(), ConfigError> {
        let lower = domain.to_ascii_lowercase();
        if lower.is_empty() {
            return Err(ConfigError::new("must not be empty"));
        }
        let bare = strip_port(lower.as_bytes());
        let names = match lower.len() - bare.len() {
            0 => &mut self.names,
            1 => return Err(ConfigError::new("has a colon and no port")),
            _ => &mut self.ports,
        };
        let previous = match (lower.strip_prefix('*'), lower.strip_suffix('*')) {
            (Some(""), _) => self.any.replace(host),
            (None, Some(rest)) if rest.ends_with(':') => {
                let message = format!("is \"{}\": without a port every port counts", rest.trim_end_matches(':'));
                return Err(ConfigError::new(message));
            }
            (Some(rest), _) if !rest.contains('*') => {
                names.suffixes.entry(rest.len()).or_default().insert(rest.as_bytes().to_vec(), host)
            }
            (None, Some(rest)) if rest.contains(':') && !rest.starts_with('[') => {
                return Err(ConfigError::new("cannot have a '*' in its port"));
            }
            (None, Some(rest)) if !rest.contains('*') => {
                names.prefixes.entry(rest.len()).or_default().insert(rest.as_bytes().to_vec(), host)
            }
            (None, None) if !lower.contains('*') => names.exact.insert(lower.into_bytes(), host),
            _ => {
                return Err(ConfigError::new("may have one '*', at its beginning or at its end"));
            }
        };
        if previous.is_some() {
            return Err(ConfigError::new(format!("\"{domain}\" is there already")));
        }
        self.only = if self.names.is_empty() && self.ports.is_empty() { self.any } else { None };
        Ok(())
    }

    /// The virtual host of an authority. Case does not count, and its port only where a domain names one; of two alike that one counts.
    pub fn find(&self, authority: &[u8]) -> Option<usize> {
        let whole = if authority.iter().any(u8::is_ascii_uppercase) {
            Cow::Owned(authority.to_ascii_lowercase())
        } else {
            Cow::Borrowed(authority)
        };
        let host = strip_port(&whole);
        let named = !self.ports.is_empty() && host.len() < whole.len();
        let ports = named.then_some((&self.ports, &*whole));
        let exact = ports.and_then(|(ports, whole)| ports.exact.get(whole)).or_else(|| self.names.exact.get(host));
        if let Some(exact) = exact {
            return Some(*exact);
        }
        // The longer name counts, and of two alike the one with a port.
        let port = whole.len() - host.len();
        let by_port =
            ports.and_then(|(ports, whole)| ports.by_suffix(whole)).map(|(length, host)| (length - port, host));
        let by_name = self.names.by_suffix(host);
        let longer = match (by_port, by_name) {
            (Some(by_port), Some(by_name)) if by_name.0 > by_port.0 => Some(by_name),
            (by_port, by_name) => by_port.or(by_name),
        };
        // `*:8443` says nothing of the name.
        let by_suffix = longer.filter(|(length, _)| *length > 0).map(|(_, host)| host);
        by_suffix.or_else(|| self.names.by_prefix(host)).or(longer.map(|(_, host)| host)).or(self.any)
    }
}

/// A star stands for at least one byte.
impl Names {
    fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.suffixes.is_empty() && self.prefixes.is_empty()
    }

    /// With the length of what is written behind the star.
    fn by_suffix(&self, host: &[u8]) -> Option<(usize, usize)> {
        let mut shorter = self.suffixes.iter().rev().filter(|(length, _)| **length < host.len());
        shorter.find_map(|(length, suffixes)| Some((*length, *suffixes.get(host.get(host.len() - length..)?)?)))
    }

    fn by_prefix(&self, host: &[u8]) -> Option<usize> {
        let shorter = self.prefixes.iter().rev().filter(|(length, _)| **length < host.len());
        shorter.into_iter().find_map(|(length, prefixes)| prefixes.get(host.get(..*length)?)).copied()
    }
}

/// `example.com:8080` without `:8080`; `[::1]:80` without `:80`.
pub fn strip_port(authority: &[u8]) -> &[u8] {
    let Some(colon) = authority.iter().rposition(|byte| *byte == b':') else {
        return authority;
    };
    match authority.split_at_checked(colon) {
        Some((host, [_, port @ ..]))
            if port.iter().all(u8::is_ascii_digit) && (!host.contains(&b':') || host.ends_with(b"]")) =>
        {
            host
        }
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_domain_wins() {
        let mut domains = Domains::default();
        for (host, domain) in
            ["*", "example.*", "*.example.com", "*.b.example.com", "API.example.com", "[::1]"].iter().enumerate()
        {
            domains.add(domain, host).unwrap();
        }
        for (authority, host) in [
            ("api.example.com", 4),
            ("API.EXAMPLE.COM:8080", 4),
            ("a.example.com", 2),
            ("a.b.example.com", 3),
            (".example.com", 0),
            ("example.com", 1),
            ("example.org:80", 1),
            ("example.", 0),
            ("[::1]:80", 5),
            ("", 0),
        ] {
            assert_eq!(domains.find(authority.as_bytes()), Some(host), "{authority}");
        }
    }

    #[test]
    fn bad_domains_are_refused() {
        let mut domains = Domains::default();
        domains.add("a.com", 0).unwrap();
        for bad in ["A.com", "", "a*b", "*a*", "**", "a.com:", "b.com:*", "b.com:80*", "*b.com*:80", "[::1]:"] {
            assert!(domains.add(bad, 1).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_port_counts_where_a_domain_names_it() {
        let mut domains = Domains::default();
        let all = ["a.com", "a.com:8080", "*.com", "*.com:8080", "[::1]:80", "*:9090", "c.*"];
        for (host, domain) in all.iter().enumerate() {
            domains.add(domain, host).unwrap();
        }
        for (authority, host) in [
            ("a.com", Some(0)),
            ("a.com:80", Some(0)),
            ("A.com:8080", Some(1)),
            ("b.com", Some(2)),
            ("b.com:80", Some(2)),
            ("b.com:8080", Some(3)),
            ("a.com:9090", Some(0)),
            ("b.com:9090", Some(2)),
            ("c.org:9090", Some(6)),
            ("c.org:80", Some(6)),
            ("c.com:9090", Some(2)),
            ("d.org:9090", Some(5)),
            ("[::1]:80", Some(4)),
            ("[::1]:81", None),
            ("[::1]", None),
        ] {
            assert_eq!(domains.find(authority.as_bytes()), host, "{authority}");
        }
        assert!(domains.add("A.com:8080", 9).is_err());
    }
}
