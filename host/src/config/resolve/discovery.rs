//! `discovery:` of a cluster.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use fyke_registry::client::TlsFiles;

use super::{Resolver, cluster::describe, place::Place};
use crate::config::{
    raw,
    resolved::{Discovery, DnsMode, DnsName, DnsNames, Endpoint, Family, Place as Source, Registry, Sentinels},
};

const LONGEST_NAME: usize = 253;

/// An endpoint whose address is not known yet.
fn unplaced() -> Endpoint {
    Endpoint::new(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)))
}

impl Resolver<'_, '_> {
    pub(super) fn discovery(
        &mut self,
        cluster: &str,
        raw: &raw::Discovery,
        place: &Place<'_>,
    ) -> Option<Arc<Discovery>> {
        let written = [
            // Read apart: they may be several.
            ("dns", raw.dns.as_ref().map(|_| "")),
            ("srv", raw.srv.as_deref()),
            ("file", raw.file.as_deref()),
            ("rest", raw.rest.as_deref()),
            ("sentinel", raw.sentinel.as_deref()),
            ("xds", raw.xds.as_deref()),
        ];
        let mut written = written.into_iter().filter_map(|(key, value)| Some((key, value?)));
        let (Some((key, value)), None) = (written.next(), written.next()) else {
            let message = "discovery has exactly one of dns, srv, file, rest, sentinel and xds";
            let help = "such as `discovery: { dns: users.internal:8080 }`";
            self.diagnostics.error_with_help(place.span, &place.path, message, help);
            return None;
        };
        let is_name = matches!(key, "dns" | "srv");
        let others = [
            ("mode", raw.mode.is_some() && key != "dns"),
            ("family", raw.family.is_some() && !is_name),
            ("servers", !raw.servers.is_empty() && !is_name && key != "sentinel"),
            ("token_file", raw.token_file.is_some() && key != "rest"),
            ("ca", raw.ca.is_some() && key != "rest"),
            ("certificate", raw.certificate.is_some() && key != "rest"),
            ("key", raw.key.is_some() && key != "rest"),
            ("user", raw.user.is_some() && key != "sentinel"),
            ("password", raw.password.is_some() && key != "sentinel"),
            ("service", raw.service.is_some() && !matches!(key, "rest" | "xds")),
            ("refresh", raw.refresh.is_some() && matches!(key, "file" | "xds")),
        ];
        for (other, _) in others.iter().filter(|(_, is_wrong)| *is_wrong) {
            let place = place.key(other);
            self.diagnostics.error(place.span, &place.path, format!("`{other}` says nothing about `{key}`"));
        }
        let at = place.key(key);
        let source = match key {
            "file" => Source::File(self.file(&at, value)),
            "xds" => {
                if !self.control_planes.contains(value) {
                    let message = format!("control plane {} does not exist", at.shown());
                    let help = "define it under `control_planes:`";
                    self.diagnostics.error_with_help(at.span, &at.path, message, help);
                    return None;
                }
                let service = raw.service.clone().unwrap_or_else(|| cluster.to_owned());
                Source::Xds { plane: value.to_owned(), service }
            }
            "sentinel" => Source::Sentinel(self.sentinels(raw, value, place)?),
            "rest" => Source::Rest(self.registry(cluster, raw, value, place)?),
            _ => Source::Dns(self.names(raw, value, place)?),
        };
        let refresh = raw.refresh.map(|_| {
            let place = place.key("refresh");
            self.timeout(raw.refresh, Duration::from_secs(5), &place)
        });
        Some(Arc::new(Discovery { place: source, refresh }))
    }

    fn names(&mut self, raw: &raw::Discovery, service: &str, place: &Place<'_>) -> Option<DnsNames> {
        let (mut names, mut addresses) = (Vec::new(), Vec::new());
        match &raw.dns {
            None => {
                let at = place.key("srv");
                names.push(DnsName { name: self.service_name(service, &at)?, port: None, like: unplaced() });
            }
            Some(raw::DnsNames::One(text)) => {
                let (name, port) = self.host_name(text, &place.key("dns"))?;
                names.push(DnsName { name, port: Some(port), like: unplaced() });
            }
            Some(raw::DnsNames::Several(list)) => {
                let place = place.key("dns");
                for (index, one) in list.iter().enumerate() {
                    let place = place.index(index);
                    let (text, full) = match one {
                        raw::Endpoint::Address(text) => (text, None),
                        raw::Endpoint::Full(full) => (&full.address, Some(full)),
                    };
                    if text.parse::<SocketAddr>().is_ok() {
                        addresses.extend(self.endpoint(one, &place).map(Arc::new));
                        continue;
                    }
                    let at = if full.is_some() { place.key("address") } else { place.clone() };
                    let Some((name, port)) = self.host_name(text, &at) else { continue };
                    let mut like = unplaced();
                    if let Some(full) = full {
                        if !full.additional_addresses.is_empty() {
                            let at = place.key("additional_addresses");
                            let message = "a name has the addresses that it is found to have";
                            self.diagnostics.error(at.span, &at.path, message);
                        }
                        describe(&mut like, full);
                    }
                    names.push(DnsName { name, port: Some(port), like });
                }
                if names.is_empty() && addresses.is_empty() {
                    return None;
                }
            }
        }
        Some(DnsNames {
            names,
            addresses,
            mode: match raw.mode {
                None | Some(raw::DnsMode::Strict) => DnsMode::Strict,
                Some(raw::DnsMode::Logical) => DnsMode::Logical,
            },
            family: match raw.family {
                None | Some(raw::Family::All) => Family::All,
                Some(raw::Family::V4) => Family::V4,
                Some(raw::Family::V6) => Family::V6,
            },
            servers: self.servers(raw, place),
        })
    }

    /// `users.internal:8080`
    fn host_name(&mut self, text: &str, at: &Place<'_>) -> Option<(String, u16)> {
        let split = text.rsplit_once(':').and_then(|(name, port)| Some((name, port.parse::<u16>().ok()?)));
        let Some((name, port)) = split.filter(|(_, port)| *port > 0) else {
            let message = format!("{} is not a name and a port", at.shown());
            self.diagnostics.error_with_help(at.span, &at.path, message, "such as `users.internal:8080`");
            return None;
        };
        self.plain_name(name, at)?;
        Some((name.to_owned(), port))
    }

    /// `_users._tcp.internal`
    fn service_name(&mut self, text: &str, at: &Place<'_>) -> Option<String> {
        if !self.plain_name(text, at)?.starts_with('_') {
            let message = format!("{} is not the name of a service", at.shown());
            self.diagnostics.error_with_help(at.span, &at.path, message, "such as `_users._tcp.internal` (RFC 2782)");
            return None;
        }
        Some(text.to_owned())
    }

    fn plain_name<'n>(&mut self, name: &'n str, at: &Place<'_>) -> Option<&'n str> {
        let fits = |label: &str| {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            (1..=63).contains(&label.len()) && label.bytes().all(fits)
        };
        let plain = name.strip_suffix('.').unwrap_or(name);
        if plain.len() > LONGEST_NAME || !plain.split('.').all(fits) {
            let message = format!("{} is not the name of a host", at.shown());
            self.diagnostics.error(at.span, &at.path, message);
            return None;
        }
        Some(plain)
    }

    fn sentinels(&mut self, raw: &raw::Discovery, name: &str, place: &Place<'_>) -> Option<Sentinels> {
        if raw.servers.is_empty() {
            let help = "add the addresses of the sentinels, such as `servers: ['10.0.0.2:26379']`";
            self.diagnostics.error_with_help(place.span, &place.path, "no sentinel is named", help);
        }
        if raw.user.is_some() && raw.password.is_none() {
            let place = place.key("user");
            self.diagnostics.error(place.span, &place.path, "there is no `password`");
        }
        let servers = self.servers(raw, place);
        let password = raw.password.clone().unwrap_or_default();
        Some(Sentinels { name: name.to_owned(), servers, user: raw.user.clone(), password })
    }

    fn servers(&mut self, raw: &raw::Discovery, place: &Place<'_>) -> Vec<SocketAddr> {
        let servers = raw.servers.iter().enumerate();
        servers.filter_map(|(index, server)| self.address(server, &place.key("servers").index(index))).collect()
    }

    fn registry(&mut self, cluster: &str, raw: &raw::Discovery, text: &str, within: &Place<'_>) -> Option<Registry> {
        let place = within.key("rest");
        let url = text.parse::<http::Uri>().ok().filter(|url| {
            let host = url.authority().is_some_and(|authority| !authority.host().is_empty() && !text.contains('@'));
            host && matches!(url.scheme_str(), Some("http" | "https"))
        });
        let Some(url) = url else {
            let message = format!("{} is not the URL of a registry", place.shown());
            let help = "such as `http://127.0.0.1:8080/v1/registration/users`";
            self.diagnostics.error_with_help(place.span, &place.path, message, help);
            return None;
        };
        let service = raw.service.clone().unwrap_or_else(|| cluster.to_owned());
        let files = [&raw.ca, &raw.certificate, &raw.key];
        if url.scheme_str() == Some("http") && files.iter().any(|file| file.is_some()) {
            let message = "`ca`, `certificate` and `key` belong to a URL that begins with https://";
            self.diagnostics.error(place.span, &place.path, message);
        }
        if raw.certificate.is_some() != raw.key.is_some() {
            self.diagnostics.error(within.span, &within.path, "`certificate` and `key` belong together");
        }
        let mut path = |key: &str, path: &Option<String>| path.as_ref().map(|path| self.file(&within.key(key), path));
        let token_file = path("token_file", &raw.token_file);
        let tls = TlsFiles {
            ca: path("ca", &raw.ca),
            certificate: path("certificate", &raw.certificate),
            key: path("key", &raw.key),
        };
        Some(Registry { url, service, node: self.node.clone(), token_file, tls })
    }
}
