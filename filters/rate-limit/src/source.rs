//! Where values come from. Each is read when the first rule needs it, and once for a stream.

use std::borrow::Cow;
use std::net::IpAddr;

use fyke_sdk::property::{Path, Typed, without_port};
use fyke_sdk::{ConfigError, Request, header_name};

use crate::config::{self, Mask};

/// What is limited.
#[derive(Debug, Clone, Copy)]
pub enum Subject<'a> {
    /// A request.
    Http(&'a Request),
    /// A connection.
    Tcp,
}

/// The sources of a configuration, each once.
#[derive(Debug, Default)]
pub struct Sources {
    written: Vec<config::Source>,
    readers: Vec<Reader>,
}

#[derive(Debug)]
enum Reader {
    Header(String),
    Cookie(String),
    Query(String),
    Method,
    Path,
    Host,
    Property(Typed),
    Address(Path),
    Masked(Path, Mask),
    Identity([Path; 3]),
    Value(Vec<u8>),
}

/// What was read of one stream, in the order of the sources; the outer `None`: not yet.
#[derive(Debug)]
pub struct Values<'a> {
    subject: Subject<'a>,
    values: Vec<Option<Option<Vec<u8>>>>,
}

impl Sources {
    /// The place of a source.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub fn add(&mut self, written: &config::Source) -> Result<usize, ConfigError> {
        if let Some(known) = self.written.iter().position(|known| known == written) {
            return Ok(known);
        }
        self.readers.push(Reader::new(written)?);
        self.written.push(written.clone());
        Ok(self.readers.len() - 1)
    }

    /// Begins a stream.
    #[must_use]
    pub fn of<'a>(&self, subject: Subject<'a>) -> Values<'a> {
        Values { subject, values: vec![None; self.readers.len()] }
    }
}

impl Values<'_> {
    /// A value, unless there is none, or an empty one.
    pub fn get(&mut self, sources: &Sources, index: usize) -> Option<&[u8]> {
        let subject = self.subject;
        let value = self.values.get_mut(index)?;
        let value = value.get_or_insert_with(|| Some(sources.readers.get(index)?.read(subject)?.into_owned()));
        value.as_deref().filter(|value| !value.is_empty())
    }
}

impl Reader {
    fn new(written: &config::Source) -> Result<Self, ConfigError> {
        use config::Source as Written;

        let named = |name: &String, key: &str| match name.as_str() {
            "" => Err(ConfigError::at(key, "must not be empty")),
            name => Ok(name.to_owned()),
        };
        let address = || Path::new(&["source", "address"]);
        Ok(match written {
            Written::RequestHeader(name) => {
                Self::Header(header_name(name).map_err(|error| error.under("request_header"))?)
            }
            Written::Cookie(name) => Self::Cookie(named(name, "cookie")?),
            Written::Query(name) => Self::Query(named(name, "query")?),
            Written::Method => Self::Method,
            Written::Path => Self::Path,
            Written::Host => Self::Host,
            Written::RouteName => Self::Property(Typed::of(&["route_name"]).map_err(ConfigError::new)?),
            Written::RouteMetadata(key) => {
                let path: Vec<&str> = ["route_metadata"].into_iter().chain(key.split('.')).collect();
                Self::Property(Typed::of(&path).map_err(|message| ConfigError::at("route_metadata", message))?)
            }
            Written::RemoteAddress => Self::Address(address()),
            Written::MaskedAddress(mask) => {
                if mask.ipv4 > 32 || mask.ipv6 > 128 {
                    let message = "has at most 32 bits of an IPv4 address and 128 of an IPv6 address";
                    return Err(ConfigError::at("masked_address", message));
                }
                Self::Masked(address(), *mask)
            }
            Written::PeerIdentity => Self::Identity(
                ["uri_san_peer_certificate", "dns_san_peer_certificate", "subject_peer_certificate"]
                    .map(|name| Path::new(&["connection", name])),
            ),
            Written::Property(path) => {
                Self::Property(Typed::parse(path).map_err(|message| ConfigError::at("property", message))?)
            }
            Written::Value(value) => Self::Value(named(value, "value")?.into_bytes()),
        })
    }

    fn read<'a>(&'a self, subject: Subject<'a>) -> Option<Cow<'a, [u8]>> {
        match (self, subject) {
            (Self::Value(value), _) => Some(value.into()),
            (Self::Property(path), _) => Some(path.read()?.into_text()),
            (Self::Address(path), _) => Some(without_port(&path.read()?).to_vec().into()),
            (Self::Masked(path, mask), _) => masked(without_port(&path.read()?), *mask).map(Cow::Owned),
            (Self::Identity(paths), _) => {
                paths.iter().find_map(|path| path.read().filter(|name| !name.is_empty())).map(Cow::Owned)
            }
            (_, Subject::Tcp) => None,
            (Self::Header(name), Subject::Http(request)) => request.get(name).map(Cow::Borrowed),
            (Self::Cookie(name), Subject::Http(request)) => request.cookie(name).map(Cow::Owned),
            (Self::Query(name), Subject::Http(request)) => {
                request.query().get(name).map(|value| value.into_owned().into_bytes().into())
            }
            (Self::Method, Subject::Http(request)) => Some(request.method().into()),
            (Self::Path, Subject::Http(request)) => {
                request.path().split(|byte| *byte == b'?').next().map(Cow::Borrowed)
            }
            (Self::Host, Subject::Http(request)) => Some(request.authority().into()),
        }
    }
}

/// An address, however IPv4 is written in IPv6.
pub fn address(text: &[u8]) -> Option<IpAddr> {
    // What is before a zone's sign.
    let text = text.split(|byte| *byte == b'%').next()?;
    Some(std::str::from_utf8(text).ok()?.parse::<IpAddr>().ok()?.to_canonical())
}

/// `10.1.2.3` is `10.1.2.0/24`.
fn masked(text: &[u8], mask: Mask) -> Option<Vec<u8>> {
    let address = address(text)?;
    let bits = if address.is_ipv4() { mask.ipv4 } else { mask.ipv6 };
    Some(ipnet::IpNet::new(address, bits).ok()?.trunc().to_string().into_bytes())
}
