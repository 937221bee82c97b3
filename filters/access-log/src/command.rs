//! What one `%COMMAND%` prints.

use fyke_sdk::StreamLog;

use crate::escape;
use fyke_sdk::property::{Typed, Value, without_port, write_response_flags};

/// A command, with its arguments.
#[derive(Debug)]
pub enum Command {
    /// `%REQ(name?alternative)%`.
    Request(Names),
    /// `%RESP(name?alternative)%`.
    Response(Names),
    /// `%TRAILER(name?alternative)%`.
    Trailer(Names),
    /// Everything that is one property.
    Property(Typed),
    /// `%RESPONSE_FLAGS%`.
    Flags(Typed),
    /// `%..._WITHOUT_PORT%`.
    AddressWithoutPort(Typed),
}

/// A header, and the one to look at when it is not there.
#[derive(Debug)]
pub struct Names {
    first: String,
    alternative: Option<String>,
}

/// Commands that stand for one property.
const PROPERTIES: &[(&str, &str)] = &[
    ("START_TIME", "request.time"),
    ("PROTOCOL", "request.protocol"),
    ("RESPONSE_CODE", "response.code"),
    ("RESPONSE_CODE_DETAILS", "response.code_details"),
    ("BYTES_RECEIVED", "request.size"),
    ("BYTES_SENT", "response.size"),
    ("DURATION", "request.duration"),
    ("UPSTREAM_HOST", "upstream.address"),
    ("UPSTREAM_CLUSTER", "cluster_name"),
    ("UPSTREAM_TRANSPORT_FAILURE_REASON", "upstream.transport_failure_reason"),
    ("ROUTE_NAME", "route_name"),
    ("DOWNSTREAM_REMOTE_ADDRESS", "source.address"),
    ("DOWNSTREAM_LOCAL_ADDRESS", "destination.address"),
    ("REQUESTED_SERVER_NAME", "connection.requested_server_name"),
    ("DOWNSTREAM_TLS_VERSION", "connection.tls_version"),
];

const OTHERS: &[&str] =
    &["REQ", "RESP", "TRAILER", "PROPERTY", "RESPONSE_FLAGS", "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT"];

impl Command {
    /// The command of this name, with what stood in parentheses.
    pub fn parse(name: &str, argument: Option<&str>) -> Result<Self, String> {
        if let Some((_, path)) = PROPERTIES.iter().find(|(known, _)| *known == name) {
            nothing(name, argument)?;
            return Typed::parse(path).map(Self::Property);
        }
        match name {
            "REQ" => Names::parse(name, argument).map(Self::Request),
            "RESP" => Names::parse(name, argument).map(Self::Response),
            "TRAILER" => Names::parse(name, argument).map(Self::Trailer),
            "PROPERTY" => {
                let path = argument.ok_or("%PROPERTY% needs a path in parentheses, like %PROPERTY(request.path)%")?;
                Typed::parse(path).map(Self::Property)
            }
            "RESPONSE_FLAGS" => {
                nothing(name, argument)?;
                Typed::parse("response.flags").map(Self::Flags)
            }
            "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT" => {
                nothing(name, argument)?;
                Typed::parse("source.address").map(Self::AddressWithoutPort)
            }
            unknown => Err(unknown_command(unknown)),
        }
    }

    /// The value, if there is one, as bytes that are not escaped yet.
    fn value(&self, log: &StreamLog) -> Option<Vec<u8>> {
        match self {
            Self::Request(names) => names.find(|name| log.request_header(name)),
            Self::Response(names) => names.find(|name| log.response_header(name)),
            Self::Trailer(names) => names.find(|name| log.response_trailer(name)),
            Self::Property(property) => Some(property.read()?.into_text()),
            Self::Flags(property) => match property.read()? {
                Value::Integer(bits) => {
                    let mut names = Vec::new();
                    write_response_flags(&mut names, bits);
                    Some(names)
                }
                other => Some(other.into_text()),
            },
            Self::AddressWithoutPort(property) => {
                let address = property.read()?.into_text();
                Some(without_port(&address).to_vec())
            }
        }
        .filter(|value| !value.is_empty())
    }

    /// Appends the value, at most `limit` bytes of it, escaped for a line of text; `-` when there is none.
    pub fn write_text(&self, out: &mut Vec<u8>, log: &StreamLog, limit: Option<usize>) {
        match self.value(log) {
            Some(mut value) => {
                value.truncate(limit.unwrap_or(usize::MAX));
                escape::text(out, &value);
            }
            None => out.push(b'-'),
        }
    }

    /// As [`Command::write_text`], escaped for the inside of a JSON string.
    pub fn write_json(&self, out: &mut Vec<u8>, log: &StreamLog, limit: Option<usize>) {
        match self.value(log) {
            Some(mut value) => {
                value.truncate(limit.unwrap_or(usize::MAX));
                escape::json(out, &value);
            }
            None => out.push(b'-'),
        }
    }
}

fn nothing(name: &str, argument: Option<&str>) -> Result<(), String> {
    match argument {
        None => Ok(()),
        Some(_) if name == "START_TIME" => Err("%START_TIME% has one format, RFC 3339 with milliseconds".to_owned()),
        Some(_) => Err(format!("%{name}% takes nothing in parentheses")),
    }
}

fn unknown_command(unknown: &str) -> String {
    let known = PROPERTIES.iter().map(|(name, _)| *name).chain(OTHERS.iter().copied());
    let upper = unknown.to_ascii_uppercase();
    let nearest = known.map(|name| (strsim::damerau_levenshtein(&upper, name), name)).min();
    match nearest {
        Some((distance, name)) if distance <= name.len() / 2 => {
            format!("%{unknown}% is not a command; did you mean %{name}%?")
        }
        _ => format!("%{unknown}% is not a command"),
    }
}

impl Names {
    fn parse(command: &str, argument: Option<&str>) -> Result<Self, String> {
        let argument = argument
            .ok_or_else(|| format!("%{command}% needs a header's name in parentheses, like %{command}(name)%"))?;
        let (first, alternative) = match argument.split_once('?') {
            Some((first, alternative)) => (first, Some(alternative)),
            None => (argument, None),
        };
        for name in Some(first).into_iter().chain(alternative) {
            let token = name.strip_prefix(':').unwrap_or(name);
            if token.is_empty()
                || !token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$&'*+-.^_`|~".contains(&byte))
            {
                return Err(format!("\"{name}\" in %{command}({argument})% is not the name of a header"));
            }
        }
        Ok(Self { first: first.to_ascii_lowercase(), alternative: alternative.map(str::to_ascii_lowercase) })
    }

    fn find(&self, read: impl Fn(&str) -> Option<Vec<u8>>) -> Option<Vec<u8>> {
        read(&self.first).or_else(|| read(self.alternative.as_deref()?))
    }
}
