//! Asking over HTTP.

use std::collections::BTreeMap;
use std::time::Duration;

use fyke_sdk::{
    Cluster, ConfigError, Env, HttpRequest, HttpResponse, Reply, Request, Result, Template, header_name, header_value,
};

use crate::body::{self, Excerpt};
use crate::config;
use crate::verdict::{Changes, How, Verdict, is_protected};

/// Names that a service may have removed, besides: Envoy's way to say so over HTTP.
const TO_REMOVE: &str = "x-envoy-auth-headers-to-remove";

/// How to ask.
#[derive(Debug)]
pub struct Http {
    cluster: Cluster,
    path_prefix: String,
    request_headers: Vec<String>,
    headers_to_add: Vec<(String, Template)>,
    upstream_headers: Vec<String>,
    client_headers: Shown,
    timeout: Duration,
}

/// Headers of a denial that the client gets.
#[derive(Debug)]
enum Shown {
    /// All but those that frame the message.
    All,
    These(Vec<String>),
}

/// What says how a message is framed, and what belongs to one connection.
const FRAMING: [&str; 9] = [
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

impl Shown {
    fn of(list: &[String]) -> Result<Self, ConfigError> {
        if let [all] = list
            && all == "*"
        {
            return Ok(Self::All);
        }
        if let Some(at) = list.iter().position(|name| name == "*") {
            return Err(ConfigError::at(format!("client_headers[{at}]"), "is all of them: it stands alone"));
        }
        names(list, "client_headers").map(Self::These)
    }

    /// A header's name, if the client gets it.
    fn name(&self, name: &[u8]) -> Option<String> {
        let is = |known: &str| known.as_bytes().eq_ignore_ascii_case(name);
        match self {
            Self::All => {
                let text = std::str::from_utf8(name).ok().filter(|text| !text.starts_with(':'))?;
                (!FRAMING.into_iter().any(is)).then(|| text.to_owned())
            }
            Self::These(list) => list.iter().find(|known| is(known)).cloned(),
        }
    }
}

impl Http {
    pub fn build(raw: config::Http, env: &mut Env) -> Result<Self, ConfigError> {
        if !raw.path_prefix.is_empty() && !raw.path_prefix.starts_with('/') {
            return Err(ConfigError::at("path_prefix", "must begin with '/'"));
        }
        let mut request_headers = names(&raw.request_headers, "request_headers")?;
        if !request_headers.iter().any(|name| name == "authorization") {
            request_headers.push("authorization".to_owned());
        }
        let headers_to_add = templates(raw.headers_to_add).map_err(|error| error.under("headers_to_add"))?;
        // What is said in their place comes from here alone.
        request_headers.retain(|name| name != body::PARTIAL && !headers_to_add.iter().any(|(added, _)| added == name));
        Ok(Self {
            cluster: env.cluster(&raw.cluster).map_err(|error| error.under("cluster"))?,
            path_prefix: raw.path_prefix,
            request_headers,
            headers_to_add,
            upstream_headers: names(&raw.upstream_headers, "upstream_headers")?,
            client_headers: Shown::of(&raw.client_headers)?,
            timeout: raw.timeout.unwrap_or(crate::filter::TIMEOUT),
        })
    }

    /// # Errors
    /// When the service cannot be asked, or fails itself.
    pub async fn ask(&self, request: &Request, body: Option<Excerpt>) -> Result<Verdict> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let path = format!("{}{}", self.path_prefix, text(request.path()));
        let mut check = HttpRequest::new(&text(request.method()), &path).authority(text(request.authority()));
        for name in &self.request_headers {
            for value in request.values(name) {
                check = check.header(name.as_str(), value);
            }
        }
        for (name, template) in &self.headers_to_add {
            if let Some(value) = template.render() {
                check = check.header(name.as_str(), printable(value));
            }
        }
        if let Some(body) = body {
            check = check.header(body::PARTIAL, body.mark()).body(body.bytes);
        }
        let answer = self.cluster.call(check).timeout(self.timeout).await?;
        match answer.status() {
            200..=299 => Ok(Verdict::Allowed(self.changes(&answer))),
            status @ (100..=199 | 500..) => Err(fyke_sdk::Error::new(format!("the service answered {status}"))),
            0 => Err(fyke_sdk::Error::new("the service's answer has no status")),
            status => Ok(Verdict::Denied(self.denial(status, &answer))),
        }
    }

    /// Takes off what the client says under names that the service speaks for, where the service says nothing.
    pub fn disbelieve(&self, request: &mut Request) -> Result<()> {
        self.upstream_headers.iter().try_for_each(|name| request.remove(name))
    }

    fn changes(&self, answer: &HttpResponse) -> Changes {
        let values = |name: &str| {
            let wanted = name.to_owned();
            answer
                .headers()
                .filter(move |(key, _)| key.eq_ignore_ascii_case(wanted.as_bytes()))
                .map(|(_, value)| value.to_vec())
                .collect::<Vec<_>>()
        };
        let listed = values(TO_REMOVE).join(&b","[..]);
        let listed =
            listed.split(|byte| *byte == b',').map(|name| String::from_utf8_lossy(name.trim_ascii()).into_owned());
        let mut changes = Changes {
            // What the client said under a name that the service speaks for is not believed.
            remove: self.upstream_headers.iter().cloned().chain(listed.filter(|name| !name.is_empty())).collect(),
            ..Changes::default()
        };
        for name in &self.upstream_headers {
            changes.request.extend(values(name).into_iter().map(|value| ((name.clone(), value), How::Append)));
        }
        changes
    }

    fn denial(&self, status: u16, answer: &HttpResponse) -> Reply {
        let headers = answer.headers().filter_map(|(name, value)| Some((self.client_headers.name(name)?, value)));
        headers.fold(Reply::new(status).body(answer.body()), |reply, (name, value)| reply.header(name.as_str(), value))
    }
}

/// A property may contain anything; a header's value is one line.
fn printable(mut value: Vec<u8>) -> Vec<u8> {
    for byte in &mut value {
        if (*byte < b' ' && *byte != b'\t') || *byte == 0x7f {
            *byte = b'_';
        }
    }
    value
}

fn templates(raw: BTreeMap<String, String>) -> Result<Vec<(String, Template)>, ConfigError> {
    let template = |(name, value): (String, String)| {
        let checked = if is_protected(&name) || name.eq_ignore_ascii_case(body::PARTIAL) {
            Err(ConfigError::new("is said by the filter itself"))
        } else {
            header_name(&name)
        };
        let template = header_value(value).and_then(|value| Template::parse(&value).map_err(ConfigError::new));
        checked.and_then(|lower| Ok((lower, template?))).map_err(|error| error.under(name))
    };
    raw.into_iter().map(template).collect()
}

fn names(list: &[String], key: &str) -> Result<Vec<String>, ConfigError> {
    let name = |(at, name): (usize, &String)| header_name(name).map_err(|error| error.under(format!("{key}[{at}]")));
    list.iter().enumerate().map(name).collect()
}
