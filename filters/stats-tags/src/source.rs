//! Where values come from.
//!
//! All that a stream is asked for is a list of properties, which are read together. What never changes (values that are written down, the
//! node's properties) is known when the filter is configured.

use std::borrow::Cow;

use fyke_sdk::property::{self, Typed, decode_integer, write_response_flags};
use fyke_sdk::{ConfigError, Template, header_name};

use crate::config::{self, Identity};
use crate::frames::is_grpc;
use crate::identity;
use crate::templates::Templates;

/// More bytes of a value than this are not looked at, so that neither expressions nor copies take long.
pub const LONGEST: usize = 1024;

/// What a stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Of HTTP.
    Http,
    /// A TCP connection.
    Tcp,
}

/// A source, ready.
#[derive(Debug)]
pub enum Source {
    /// Known already; `None`: there is none, and never will be.
    Fixed(Option<String>),
    Property(usize),
    Text(Template),
    Template {
        path: usize,
        templates: Templates,
    },
    Service {
        content_type: usize,
        path: usize,
    },
    Method {
        content_type: usize,
        path: usize,
    },
    Identity {
        san: usize,
        part: Identity,
    },
    Flags(usize),
    Protocol {
        content_type: usize,
    },
}

/// The properties that a configuration reads.
#[derive(Debug, Default)]
pub struct Reads {
    list: property::Reads,
    /// The same, with their types.
    properties: Vec<Typed>,
    /// Which of them is the request's path.
    path: Option<usize>,
}

/// What was read of one stream.
#[derive(Debug, Default)]
pub struct Read {
    /// In the order of the properties.
    values: property::Values,
    /// The request's, where it was kept from the beginning.
    path: Option<Vec<u8>>,
}

impl Reads {
    /// Has a property read, and says at which place.
    ///
    /// # Errors
    /// When that is no path.
    pub fn add(&mut self, path: &[&str]) -> Result<usize, ConfigError> {
        let property = Typed::of(path).map_err(ConfigError::new)?;
        let place = self.list.property(property.path());
        if place == self.properties.len() {
            self.properties.push(property);
        }
        Ok(place)
    }

    fn path(&mut self) -> Result<usize, ConfigError> {
        let path = self.add(&["request", "url_path"])?;
        self.path = Some(path);
        Ok(path)
    }

    /// Whether anybody reads the request's path.
    #[must_use]
    pub const fn read_path(&self) -> bool {
        self.path.is_some()
    }

    /// Reads another stream, whose path may be known already.
    #[must_use]
    pub fn read(&self, path: Option<&[u8]>) -> Read {
        Read { values: self.list.read(), path: path.map(<[u8]>::to_vec) }
    }

    /// A property of the stream as it is, no longer than [`LONGEST`].
    fn raw<'a>(&self, read: &'a Read, index: usize) -> Option<&'a [u8]> {
        let value = match &read.path {
            Some(path) if self.path == Some(index) => path,
            _ => read.values.get(index)?,
        };
        Some(value.get(..LONGEST).unwrap_or(value)).filter(|value| !value.is_empty())
    }

    /// The same as text.
    fn text<'a>(&self, read: &'a Read, index: usize) -> Option<Cow<'a, [u8]>> {
        Some(self.properties.get(index)?.decode(self.raw(read, index)?).into_text())
    }
}

impl Read {
    /// A property that is a number.
    #[must_use]
    pub fn integer(&self, index: usize) -> Option<i64> {
        decode_integer(self.values.get(index)?)
    }
}

impl Source {
    /// Makes one ready.
    ///
    /// # Errors
    /// What is wrong, and where in it.
    pub fn new(written: &config::Source, call_site: &str, reads: &mut Reads) -> Result<Self, ConfigError> {
        use config::Source as Written;

        let mut header = |map: &'static str, name: &str, key: &str| {
            let name = header_name(name).map_err(|error| error.under(key))?;
            let (message, part) = map.split_once('.').unwrap_or((map, ""));
            reads.add(&[message, part, &name]).map(Self::Property)
        };
        match written {
            Written::RequestHeader(name) => return header("request.headers", name, "request_header"),
            Written::ResponseHeader(name) => return header("response.headers", name, "response_header"),
            Written::ResponseTrailer(name) => return header("response.trailers", name, "response_trailer"),
            Written::CallSite => return header("request.headers", call_site, ""),
            _ => {}
        }
        let content_type = ["request", "headers", "content-type"];
        Ok(match written {
            Written::Host => Self::Property(reads.add(&["request", "host"])?),
            Written::Method => Self::Property(reads.add(&["request", "method"])?),
            Written::RouteName => Self::Property(reads.add(&["route_name"])?),
            Written::Cluster => Self::Property(reads.add(&["cluster_name"])?),
            Written::ResponseCode => Self::Property(reads.add(&["response", "code"])?),
            Written::GrpcStatus => Self::Property(reads.add(&["response", "grpc_status"])?),
            Written::RouteMetadata(key) => {
                let path: Vec<&str> = ["route_metadata"].into_iter().chain(key.split('.')).collect();
                Self::Property(reads.add(&path).map_err(|error| error.under("route_metadata"))?)
            }
            Written::PathTemplate(texts) => {
                let templates = Templates::parse(texts)
                    .map_err(|(at, message)| ConfigError::at(format!("path_template[{at}]"), message))?;
                Self::Template { path: reads.path()?, templates }
            }
            Written::GrpcService => Self::Service { content_type: reads.add(&content_type)?, path: reads.path()? },
            Written::GrpcMethod => Self::Method { content_type: reads.add(&content_type)?, path: reads.path()? },
            Written::Caller(part) => {
                Self::Identity { san: reads.add(&["connection", "uri_san_peer_certificate"])?, part: *part }
            }
            Written::Callee(part) => {
                Self::Identity { san: reads.add(&["upstream", "uri_san_peer_certificate"])?, part: *part }
            }
            Written::ResponseFlags => Self::Flags(reads.add(&["response", "flags"])?),
            Written::Protocol => Self::Protocol { content_type: reads.add(&content_type)? },
            Written::Value(value) => Self::Fixed(Some(value.clone())),
            Written::Property(path) => {
                let map = ["request.headers.", "response.headers.", "response.trailers."]
                    .into_iter()
                    .find(|map| path.starts_with(map));
                let parts: Vec<&str> = match map {
                    Some(map) => {
                        let (map, name) = path.split_at(map.len());
                        map.trim_end_matches('.').split('.').chain(Some(name)).collect()
                    }
                    None => path.split('.').collect(),
                };
                property(&parts, reads).map_err(|error| error.under("property"))?
            }
            Written::PropertyPath(parts) => {
                let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
                property(&parts, reads).map_err(|error| error.under("property_path"))?
            }
            Written::Text(text) => {
                let template = Template::parse(text).map_err(|message| ConfigError::at("text", message))?;
                match template.literal() {
                    Some(text) => Self::Fixed(Some(text.to_owned())),
                    None => Self::Text(template),
                }
            }
            // Answered above.
            Written::RequestHeader(_)
            | Written::ResponseHeader(_)
            | Written::ResponseTrailer(_)
            | Written::CallSite => Self::Fixed(None),
        })
    }

    /// The value of the stream in question, as bytes of anybody.
    pub fn value<'a>(&'a self, kind: Kind, reads: &Reads, read: &'a Read) -> Option<Cow<'a, [u8]>> {
        match self {
            Self::Fixed(value) => value.as_deref().map(|value| value.as_bytes().into()),
            Self::Property(index) => reads.text(read, *index),
            Self::Text(template) => {
                let mut text = template.render()?;
                text.truncate(LONGEST);
                Some(text.into())
            }
            Self::Template { path, templates } => {
                templates.find(reads.raw(read, *path)?).map(|template| template.as_bytes().into())
            }
            Self::Service { content_type, path } => {
                grpc(reads, read, *content_type, *path).map(|(service, _)| service.into())
            }
            Self::Method { content_type, path } => {
                grpc(reads, read, *content_type, *path).map(|(_, method)| method.into())
            }
            Self::Identity { san, part } => identity::part(reads.raw(read, *san)?, *part).map(Cow::Borrowed),
            Self::Flags(flags) => {
                let mut names = Vec::new();
                write_response_flags(&mut names, read.integer(*flags)?);
                Some(names.into())
            }
            Self::Protocol { .. } if kind == Kind::Tcp => Some(b"tcp"[..].into()),
            Self::Protocol { content_type } => {
                let grpc = reads.raw(read, *content_type).is_some_and(is_grpc);
                Some(if grpc { &b"grpc"[..] } else { b"http" }.into())
            }
        }
    }
}

/// Whether only streams of HTTP have such a value.
#[must_use]
pub fn is_of_http(written: &config::Source) -> bool {
    use config::Source as Written;
    match written {
        Written::RequestHeader(_)
        | Written::ResponseHeader(_)
        | Written::ResponseTrailer(_)
        | Written::CallSite
        | Written::Host
        | Written::Method
        | Written::PathTemplate(_)
        | Written::RouteName
        | Written::RouteMetadata(_)
        | Written::GrpcService
        | Written::GrpcMethod
        | Written::ResponseCode
        | Written::GrpcStatus => true,
        Written::Property(path) => ["request.headers", "response.headers", "response.trailers", "route_"]
            .iter()
            .any(|map| path.starts_with(map)),
        _ => false,
    }
}

/// Whether nothing is known of it when a connection begins: it is the upstream's, or of how the stream ends.
#[must_use]
pub fn is_late(written: &config::Source) -> bool {
    use config::Source as Written;
    match written {
        Written::Cluster | Written::Callee(_) | Written::ResponseFlags => true,
        Written::Property(path) => LATE.iter().any(|late| path.starts_with(late)),
        Written::PropertyPath(parts) => {
            parts.first().is_some_and(|part| LATE.iter().any(|late| part.starts_with(late)))
        }
        other => is_of_http(other),
    }
}

/// What properties of the upstream and of the end begin with.
const LATE: &[&str] = &["upstream", "cluster_", "route_", "response"];

/// A property; of the node, its value.
fn property(parts: &[&str], reads: &mut Reads) -> Result<Source, ConfigError> {
    if !matches!(parts.first(), Some(&("node" | "plugin_name" | "plugin_root_id" | "plugin_vm_id"))) {
        return reads.add(parts).map(Source::Property);
    }
    let property = Typed::of(parts).map_err(ConfigError::new)?;
    let value = property.read().map(|value| String::from_utf8_lossy(&value.into_text()).into_owned());
    Ok(Source::Fixed(value))
}

/// Service and method of a request of gRPC.
fn grpc<'a>(reads: &Reads, read: &'a Read, content_type: usize, path: usize) -> Option<(&'a [u8], &'a [u8])> {
    if !is_grpc(reads.raw(read, content_type)?) {
        return None;
    }
    let path = reads.raw(read, path)?.split(|byte| *byte == b'?').next()?.strip_prefix(b"/")?;
    let slash = path.iter().rposition(|byte| *byte == b'/')?;
    let (service, method) = (path.get(..slash)?, path.get(slash + 1..)?);
    (!service.is_empty() && !method.is_empty()).then_some((service, method))
}
