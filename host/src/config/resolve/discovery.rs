//! `discovery:` of a cluster.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use fyke_registry::client::TlsFiles;

use super::{Resolver, place::Place};
use crate::config::{
    raw,
    resolved::{Discovery, DnsMode, DnsName, Family, Place as Source, Registry, Sentinels},
};

const LONGEST_NAME: usize = 253;

impl Resolver<'_, '_> {
    pub(super) fn discovery(
        &mut self,
        cluster: &str,
        raw: &raw::Discovery,
        place: &Place<'_>,
    ) -> Option<Arc<Discovery>> {
        let written = [
            ("dns", &raw.dns),
            ("srv", &raw.srv),
            ("file", &raw.file),
            ("rest", &raw.rest),
            ("sentinel", &raw.sentinel),
            ("xds", &raw.xds),
        ];
        let mut written = written.into_iter().filter_map(|(key, value)| Some((key, value.as_ref()?)));
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
                Source::Xds { plane: value.clone(), service }
            }
            "sentinel" => Source::Sentinel(self.sentinels(raw, value, place)?),
            "rest" => Source::Rest(self.registry(cluster, raw, value, place)?),
            _ => Source::Dns(self.name(raw, key, value, place)?),
        };
        let refresh = raw.refresh.map(|_| {
            let place = place.key("refresh");
            self.timeout(raw.refresh, Duration::from_secs(5), &place)
        });
        Some(Arc::new(Discovery { place: source, refresh }))
    }

    fn name(&mut self, raw: &raw::Discovery, key: &str, text: &str, place: &Place<'_>) -> Option<DnsName> {
        let at = place.key(key);
        let (name, port) = if key == "dns" {
            let split = text.rsplit_once(':').and_then(|(name, port)| Some((name, port.parse::<u16>().ok()?)));
            let Some((name, port)) = split.filter(|(_, port)| *port > 0) else {
                let message = format!("{} is not a name and a port", at.shown());
                self.diagnostics.error_with_help(at.span, &at.path, message, "such as `users.internal:8080`");
                return None;
            };
            (name, Some(port))
        } else {
            (text, None)
        };
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
        if key == "srv" && !plain.starts_with('_') {
            let message = format!("{} is not the name of a service", at.shown());
            self.diagnostics.error_with_help(at.span, &at.path, message, "such as `_users._tcp.internal` (RFC 2782)");
            return None;
        }
        let servers = self.servers(raw, place);
        Some(DnsName {
            name: name.to_owned(),
            port,
            mode: match raw.mode {
                None | Some(raw::DnsMode::Strict) => DnsMode::Strict,
                Some(raw::DnsMode::Logical) => DnsMode::Logical,
            },
            family: match raw.family {
                None | Some(raw::Family::All) => Family::All,
                Some(raw::Family::V4) => Family::V4,
                Some(raw::Family::V6) => Family::V6,
            },
            servers,
        })
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
