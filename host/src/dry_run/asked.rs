//! A request that somebody asks about.

use std::net::SocketAddr;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, uri::Authority};
use rustls::pki_types::ServerName;

use crate::config::resolved::{Listener, TestRequest};

/// A request that somebody asks about.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// Scheme, host and path.
    pub url: String,
    /// Default GET.
    pub method: Option<String>,
    /// Names and values.
    pub headers: Vec<(String, String)>,
    /// The listener. Default: the one at the URL's port.
    pub listener: Option<String>,
    /// Where the client is. Default 127.0.0.1.
    pub from: Option<SocketAddr>,
    /// Over HTTP/2.
    pub http2: bool,
}

/// A header as `name: value`.
///
/// # Errors
/// What it should be.
pub fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) =
        text.split_once(':').ok_or_else(|| format!("{text:?} is not a header such as \"x-name: value\""))?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

/// An IP address, with a port or not.
///
/// # Errors
/// What it should be.
pub fn source(text: &str) -> Result<SocketAddr, String> {
    let alone = |ip: std::net::IpAddr| SocketAddr::new(ip, 40_000);
    let read = text.parse().ok().or_else(|| text.parse().ok().map(alone));
    read.ok_or_else(|| format!("{text:?} is not an IP address"))
}

/// The request, read.
pub(super) struct Wish {
    pub method: Method,
    pub tls: bool,
    pub host: Authority,
    /// As written, or the scheme's.
    pub port: u16,
    pub written_port: bool,
    target: Uri,
    headers: HeaderMap,
    pub from: SocketAddr,
    pub http2: bool,
}

impl Wish {
    pub fn read(asked: &Asked) -> Result<Self, String> {
        let url = &asked.url;
        let uri: Uri = url.parse().map_err(|error| format!("{url:?} is not a URL: {error}"))?;
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            Some(other) => return Err(format!("{other} is no scheme of HTTP; take http or https")),
            None => return Err(format!("{url:?} has no scheme: write http://{url} or https://{url}")),
        };
        let host = uri.authority().cloned().ok_or_else(|| format!("{url:?} has no host"))?;
        if host.as_str().contains('@') {
            return Err("a URL with a user in it is not sent as one; give an authorization header".to_owned());
        }
        let target = uri.path_and_query().map_or("/", |path| path.as_str());
        let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
        let target = target.parse().map_err(|error| format!("{target:?} is not a path: {error}"))?;
        let method = asked.method.as_deref().unwrap_or("GET");
        let method: Method = method.parse().map_err(|_| format!("{method:?} is not a method"))?;
        if method == Method::CONNECT {
            return Err("CONNECT asks for a tunnel, and has no URL".to_owned());
        }
        let mut headers = HeaderMap::new();
        for (name, value) in &asked.headers {
            let parsed = name.parse::<HeaderName>().ok().zip(HeaderValue::from_str(value).ok());
            let Some((name, value)) = parsed else { return Err(format!("{name:?}: {value:?} is not a header")) };
            headers.append(name, value);
        }
        // As with curl, a host header wins over the URL's host.
        let host = match headers.remove(http::header::HOST) {
            Some(named) => {
                named.to_str().ok().and_then(|named| named.parse().ok()).ok_or("the host header is not one")?
            }
            None => host,
        };
        Ok(Self {
            method,
            tls,
            port: uri.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            written_port: uri.port_u16().is_some(),
            host,
            target,
            headers,
            from: asked.from.unwrap_or_else(|| ([127, 0, 0, 1], 40_000).into()),
            http2: asked.http2,
        })
    }

    pub fn name(&self) -> Option<&str> {
        matches!(ServerName::try_from(self.host.host()), Ok(ServerName::DnsName(_))).then(|| self.host.host())
    }

    pub fn request(&self, listener: &Listener) -> TestRequest {
        TestRequest {
            listener: listener.name.clone(),
            method: self.method.clone(),
            target: self.target.clone(),
            host: self.host.clone(),
            tls: self.tls.then(|| self.name().map(str::to_owned)),
            http2: self.http2,
            headers: self.headers.clone(),
            body: String::new(),
            from: self.from,
        }
    }
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn what_is_no_request_is_refused() {
        for (url, header) in
            [("example.com/x", None), ("ftp://a/", None), ("http://u@a/", None), ("http://a/", Some("a b"))]
        {
            let headers = header.map(|name| (name.to_owned(), "1".to_owned())).into_iter().collect();
            assert!(Wish::read(&Asked { url: url.to_owned(), headers, ..Asked::default() }).is_err(), "{url}");
        }
    }
}
