//! Envoy's command operators (`%REQ(name?alternative):length%`), as far as one property says what they print.

use crate::property::{Typed, without_port};

/// One command, with its arguments.
#[derive(Debug, Clone)]
pub struct Command {
    source: Source,
    /// At most so many bytes.
    limit: Option<usize>,
}

#[derive(Debug, Clone)]
enum Source {
    /// The first of these that there is.
    Either(Typed, Option<Typed>),
    /// An address, without its port.
    WithoutPort(Typed),
    /// A header with a path in it, up to its query.
    WithoutQuery(Typed),
}

/// Commands that stand for one property.
const PROPERTIES: &[(&str, &str)] = &[
    ("START_TIME", "request.time"),
    ("PROTOCOL", "request.protocol"),
    ("ROUTE_NAME", "route_name"),
    ("VIRTUAL_HOST_NAME", "xds.virtual_host_name"),
    ("UPSTREAM_CLUSTER", "cluster_name"),
    ("UPSTREAM_HOST", "upstream.address"),
    ("UPSTREAM_REMOTE_ADDRESS", "upstream.address"),
    ("RESPONSE_CODE", "response.code"),
    ("RESPONSE_CODE_DETAILS", "response.code_details"),
    ("CONNECTION_ID", "connection.id"),
    ("REQUESTED_SERVER_NAME", "connection.requested_server_name"),
    ("DOWNSTREAM_REMOTE_ADDRESS", "source.address"),
    ("DOWNSTREAM_REMOTE_PORT", "source.port"),
    ("DOWNSTREAM_LOCAL_ADDRESS", "destination.address"),
    ("DOWNSTREAM_LOCAL_PORT", "destination.port"),
    ("DOWNSTREAM_TLS_VERSION", "connection.tls_version"),
    ("DOWNSTREAM_PEER_SUBJECT", "connection.subject_peer_certificate"),
    ("DOWNSTREAM_LOCAL_SUBJECT", "connection.subject_local_certificate"),
    ("DOWNSTREAM_PEER_URI_SAN", "connection.uri_san_peer_certificate"),
    ("DOWNSTREAM_PEER_DNS_SAN", "connection.dns_san_peer_certificate"),
    ("DOWNSTREAM_PEER_FINGERPRINT_256", "connection.sha256_peer_certificate_digest"),
];

impl Command {
    /// What stands behind an opening percent sign, up to the closing one; and the rest.
    pub fn parse(text: &str) -> Result<(Self, &str), String> {
        let end = text.find(['(', ':', '%']).ok_or_else(|| unclosed(text))?;
        let (name, mut rest) = text.split_at(end);
        let mut argument = None;
        if let Some(inside) = rest.strip_prefix('(') {
            // No header and no property has a parenthesis in its name, so the first one closes.
            let (inside, after) = inside.split_once(')').ok_or_else(|| unclosed(text))?;
            argument = Some(inside);
            rest = after;
        }
        let mut limit = None;
        if let Some(after) = rest.strip_prefix(':') {
            let (number, _) = after.split_once('%').ok_or_else(|| unclosed(text))?;
            limit = Some(number.parse().map_err(|_| format!("\"{number}\" in %{name}...:{number}% is not a length"))?);
            rest = after.get(number.len()..).unwrap_or_default();
        }
        let rest = rest.strip_prefix('%').ok_or_else(|| unclosed(text))?;
        Ok((Self { source: Source::parse(name, argument)?, limit }, rest))
    }

    /// What it prints for the current stream, if anything.
    pub fn read(&self) -> Option<Vec<u8>> {
        let text = |property: &Typed| {
            property.read().map(|value| value.into_text().into_owned()).filter(|text| !text.is_empty())
        };
        let mut value = match &self.source {
            Source::Either(first, second) => text(first).or_else(|| text(second.as_ref()?)),
            Source::WithoutPort(address) => text(address).map(|address| without_port(&address).to_vec()),
            Source::WithoutQuery(path) => text(path).map(|mut path| {
                path.truncate(path.iter().position(|byte| *byte == b'?').unwrap_or(path.len()));
                path
            }),
        }?;
        value.truncate(self.limit.unwrap_or(usize::MAX));
        Some(value)
    }
}

impl Source {
    fn parse(name: &str, argument: Option<&str>) -> Result<Self, String> {
        let needed = || argument.ok_or_else(|| format!("%{name}% needs a name in parentheses, like %{name}(x-name)%"));
        let source = match name {
            "REQ" => Self::header("request.headers", needed()?)?,
            "RESP" => Self::header("response.headers", needed()?)?,
            "REQ_WITHOUT_QUERY" => Self::WithoutQuery(header("request.headers", needed()?)?),
            "PROPERTY" => Self::Either(Typed::parse(needed()?)?, None),
            _ => {
                if argument.is_some() {
                    return Err(format!("%{name}% takes nothing in parentheses"));
                }
                Self::property(name)?
            }
        };
        Ok(source)
    }

    fn header(map: &str, argument: &str) -> Result<Self, String> {
        match argument.split_once('?') {
            Some((first, second)) => Ok(Self::Either(header(map, first)?, Some(header(map, second)?))),
            None => Ok(Self::Either(header(map, argument)?, None)),
        }
    }

    fn property(name: &str) -> Result<Self, String> {
        let whole = name.strip_suffix("_WITHOUT_PORT");
        let known = PROPERTIES.iter().find(|(known, _)| *known == whole.unwrap_or(name));
        match (known, whole) {
            (Some((_, path)), None) => Ok(Self::Either(Typed::parse(path)?, None)),
            (Some((known, path)), Some(_)) if known.ends_with("_ADDRESS") => Ok(Self::WithoutPort(Typed::parse(path)?)),
            _ => Err(format!("%{name}% is not a command; a percent sign itself is written %%")),
        }
    }
}

fn header(map: &str, name: &str) -> Result<Typed, String> {
    let token = name.strip_prefix(':').unwrap_or(name);
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$&'*+-.^_`|~".contains(&byte))
    {
        return Err(format!("\"{name}\" is not the name of a header"));
    }
    Typed::parse(&format!("{map}.{}", name.to_ascii_lowercase()))
}

fn unclosed(text: &str) -> String {
    let beginning: String = text.chars().take(20).collect();
    format!(
        "\"%{beginning}\" has no end: a percent sign begins a property, like %{{source.address}}, or a command, like \
         %REQ(x-name)%; the sign itself is written %%"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_named() {
        for (bad, message) in [
            ("REQ%", "%REQ% needs a name"),
            ("REQ()%", "\"\" is not the name of a header"),
            ("REQ(a b)%", "\"a b\" is not"),
            ("REQ(a", "\"%REQ(a\" has no end"),
            ("REQ(a):x%", "\"x\" in %REQ...:x% is not a length"),
            ("PROTOCOL(x)%", "%PROTOCOL% takes nothing"),
            ("PROTOCOL_WITHOUT_PORT%", "%PROTOCOL_WITHOUT_PORT% is not a command"),
            ("REST%", "%REST% is not a command"),
        ] {
            let error = Command::parse(bad).unwrap_err();
            assert!(error.starts_with(message), "{bad}: {error}");
        }
    }
}
