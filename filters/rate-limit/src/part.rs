//! Parts of keys.

use std::borrow::Cow;

use fyke_sdk::ConfigError;
use regex_lite::Regex;

use crate::config::{self, Source};
use crate::expression::{Expressions, find};
use crate::source::{Sources, Values};

/// A part, ready.
#[derive(Debug)]
pub struct Part {
    source: usize,
    /// Of the entry in a descriptor.
    pub name: String,
    regex: Option<Regex>,
    default: Option<Vec<u8>>,
    lower_case: bool,
}

impl Part {
    /// Makes one ready.
    ///
    /// # Errors
    /// What is wrong, and where in it.
    pub fn new(
        written: &config::Part,
        sources: &mut Sources,
        expressions: &mut Expressions,
    ) -> Result<Self, ConfigError> {
        let regex = written.regex.as_ref().map(|text| expressions.compile(text)).transpose();
        if written.name.as_ref().is_some_and(String::is_empty) {
            return Err(ConfigError::at("as", "must not be empty"));
        }
        if written.default.as_ref().is_some_and(String::is_empty) {
            return Err(ConfigError::at("default", "must not be empty: that is no value"));
        }
        Ok(Self {
            source: sources.add(&written.from).map_err(|error| error.under("from"))?,
            name: written.name.clone().unwrap_or_else(|| entry(&written.from)),
            regex: regex.map_err(|error| error.under("regex"))?,
            default: written.default.clone().map(String::into_bytes),
            lower_case: written.lower_case,
        })
    }

    /// Its value for a stream.
    pub fn value<'a>(&'a self, sources: &Sources, values: &'a mut Values<'_>) -> Option<Cow<'a, [u8]>> {
        let value = values.get(sources, self.source);
        let value = match (&self.regex, value) {
            (Some(regex), Some(value)) => find(regex, value).map(Cow::Owned),
            (None, value) => value.map(Cow::Borrowed),
            (Some(_), None) => None,
        };
        let value = value.or_else(|| self.default.as_deref().map(Cow::Borrowed))?;
        Some(if self.lower_case { value.to_ascii_lowercase().into() } else { value })
    }
}

/// What Envoy's actions call an entry.
fn entry(source: &Source) -> String {
    match source {
        Source::RequestHeader(name) => name.to_ascii_lowercase(),
        Source::Cookie(name) | Source::Query(name) | Source::RouteMetadata(name) | Source::Property(name) => {
            name.clone()
        }
        Source::Method => "method".to_owned(),
        Source::Path => "path".to_owned(),
        Source::Host => "host".to_owned(),
        Source::RouteName => "route_name".to_owned(),
        Source::RemoteAddress => "remote_address".to_owned(),
        Source::MaskedAddress(_) => "masked_remote_address".to_owned(),
        Source::PeerIdentity => "peer_identity".to_owned(),
        Source::Value(_) => "generic_key".to_owned(),
    }
}
