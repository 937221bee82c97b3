//! What one `%COMMAND%` prints.

use std::borrow::Cow;

use fyke_sdk::property::{Reads, Typed, Value, Values, without_port, write_response_flags};

use crate::escape;

/// A command, with what was read for it.
#[derive(Debug)]
pub enum Command {
    /// `%REQ(name?alternative)%`, `%RESP(...)%` and `%TRAILER(...)%`: a header, and the one to look at when it is not there.
    Header(usize, Option<usize>),
    /// Everything that is one property.
    Property(Property),
    /// `%RESPONSE_FLAGS%`.
    Flags(Property),
    /// `%..._WITHOUT_PORT%`.
    AddressWithoutPort(Property),
}

/// A property, and which of the values that are read is its.
#[derive(Debug)]
pub struct Property {
    typed: Typed,
    place: usize,
}

impl Property {
    /// A property by its path, with dots.
    pub fn parse(path: &str, reads: &mut Reads) -> Result<Self, String> {
        let typed = Typed::parse(path)?;
        let place = reads.property(typed.path());
        Ok(Self { typed, place })
    }

    /// Its value, with its type.
    pub fn value<'a>(&self, values: &'a Values) -> Option<Value<'a>> {
        values.get(self.place).map(|bytes| self.typed.decode(bytes))
    }
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
    pub fn parse(name: &str, argument: Option<&str>, reads: &mut Reads) -> Result<Self, String> {
        if let Some((_, path)) = PROPERTIES.iter().find(|(known, _)| *known == name) {
            nothing(name, argument)?;
            return Property::parse(path, reads).map(Self::Property);
        }
        match name {
            "REQ" => header(name, argument, |name| reads.request_header(name)),
            "RESP" => header(name, argument, |name| reads.response_header(name)),
            "TRAILER" => header(name, argument, |name| reads.response_trailer(name)),
            "PROPERTY" => {
                let path = argument.ok_or("%PROPERTY% needs a path in parentheses, like %PROPERTY(request.path)%")?;
                Property::parse(path, reads).map(Self::Property)
            }
            "RESPONSE_FLAGS" => {
                nothing(name, argument)?;
                Property::parse("response.flags", reads).map(Self::Flags)
            }
            "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT" => {
                nothing(name, argument)?;
                Property::parse("source.address", reads).map(Self::AddressWithoutPort)
            }
            unknown => Err(unknown_command(unknown)),
        }
    }

    /// The value, if there is one, as bytes that are not escaped yet.
    fn value<'a>(&self, values: &'a Values) -> Option<Cow<'a, [u8]>> {
        match self {
            Self::Header(first, alternative) => {
                values.get(*first).or_else(|| values.get((*alternative)?)).map(Cow::Borrowed)
            }
            Self::Property(property) => property.value(values).map(Value::into_text),
            Self::Flags(property) => match property.value(values)? {
                Value::Integer(bits) => {
                    let mut names = Vec::new();
                    write_response_flags(&mut names, bits);
                    Some(names.into())
                }
                other => Some(other.into_text()),
            },
            Self::AddressWithoutPort(property) => {
                let address = property.value(values)?.into_text();
                Some(without_port(&address).to_vec().into())
            }
        }
        .filter(|value| !value.is_empty())
    }

    /// Appends the value, at most `limit` bytes of it, escaped for a line of text; `-` when there is none.
    pub fn write_text(&self, out: &mut Vec<u8>, values: &Values, limit: Option<usize>) {
        match self.value(values) {
            Some(value) => escape::text(out, cut(&value, limit)),
            None => out.push(b'-'),
        }
    }

    /// As [`Command::write_text`], escaped for the inside of a JSON string.
    pub fn write_json(&self, out: &mut Vec<u8>, values: &Values, limit: Option<usize>) {
        match self.value(values) {
            Some(value) => escape::json(out, cut(&value, limit)),
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

/// A header of `argument`, or its alternative; `read` has it read.
fn header(command: &str, argument: Option<&str>, mut read: impl FnMut(&str) -> usize) -> Result<Command, String> {
    let argument =
        argument.ok_or_else(|| format!("%{command}% needs a header's name in parentheses, like %{command}(name)%"))?;
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
    let mut place = |name: &str| read(&name.to_ascii_lowercase());
    Ok(Command::Header(place(first), alternative.map(place)))
}

fn cut(value: &[u8], limit: Option<usize>) -> &[u8] {
    limit.and_then(|limit| value.get(..limit)).unwrap_or(value)
}
