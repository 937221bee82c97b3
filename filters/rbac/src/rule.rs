//! One condition.

use std::net::IpAddr;

use fyke_sdk::{ConfigError, header_name};
use ipnet::IpNet;

use crate::config::{self, HeaderMatch, PortRange, TextMatch};
use crate::network::network;
use crate::subject::Subject;
use crate::text::Text;

/// Conditions within conditions.
const DEEPEST: usize = 32;

/// A condition, ready to be checked.
#[derive(Debug)]
pub enum Rule {
    Any,
    AllOf(Vec<Self>),
    AnyOf(Vec<Self>),
    Not(Box<Self>),
    Header(Header),
    Path(Text),
    ServerName(Text),
    SourceIp(Vec<IpNet>),
    DestinationIp(Vec<IpNet>),
    Ports(i64, i64),
    Authenticated(Text),
}

/// A condition on a header.
#[derive(Debug)]
pub struct Header {
    name: String,
    test: Test,
    missing_is_empty: bool,
    invert: bool,
}

#[derive(Debug)]
enum Test {
    Text(Text),
    Range(i64, i64),
    Present(bool),
}

impl Rule {
    pub fn build(raw: config::Rule) -> Result<Self, ConfigError> {
        Self::at_depth(raw, 0)
    }

    fn at_depth(raw: config::Rule, depth: usize) -> Result<Self, ConfigError> {
        if depth > DEEPEST {
            return Err(ConfigError::new(format!("conditions within conditions are at most {DEEPEST} deep")));
        }
        let list = |rules: Vec<config::Rule>, key: &str| {
            if rules.is_empty() {
                return Err(ConfigError::at(key, "must not be empty"));
            }
            let each = rules.into_iter().enumerate().map(|(index, rule)| {
                Self::at_depth(rule, depth + 1).map_err(|error| error.under(format!("{key}[{index}]")))
            });
            each.collect::<Result<Vec<_>, _>>()
        };
        let text = |raw: TextMatch, key: &str| Text::build(raw).map_err(|error| error.under(key));
        let mut found = Vec::new();
        match raw.any {
            Some(true) => found.push(Self::Any),
            Some(false) => return Err(ConfigError::at("any", "is true, or not there")),
            None => {}
        }
        if let Some(rules) = raw.all_of {
            found.push(Self::AllOf(list(rules, "all_of")?));
        }
        if let Some(rules) = raw.any_of {
            found.push(Self::AnyOf(list(rules, "any_of")?));
        }
        if let Some(rule) = raw.not {
            let inner = Self::at_depth(*rule, depth + 1).map_err(|error| error.under("not"))?;
            found.push(Self::Not(Box::new(inner)));
        }
        if let Some(header) = raw.header {
            found.push(Self::Header(Header::build(header).map_err(|error| error.under("header"))?));
        }
        if let Some(path) = raw.path {
            found.push(Self::Path(text(path, "path")?));
        }
        if let Some(name) = raw.server_name {
            found.push(Self::ServerName(text(name, "server_name")?));
        }
        if let Some(list) = raw.source_ip {
            found.push(Self::SourceIp(networks(&list, "source_ip")?));
        }
        if let Some(list) = raw.destination_ip {
            found.push(Self::DestinationIp(networks(&list, "destination_ip")?));
        }
        if let Some(port) = raw.destination_port {
            found.push(Self::Ports(port.into(), i64::from(port) + 1));
        }
        if let Some(PortRange { start, end }) = raw.destination_port_range {
            if u32::from(start) >= end {
                return Err(ConfigError::at("destination_port_range", "is empty: start must be below end"));
            }
            found.push(Self::Ports(start.into(), end.into()));
        }
        if let Some(principal) = raw.authenticated {
            found.push(Self::Authenticated(text(principal, "authenticated")?));
        }
        match (found.pop(), found.is_empty()) {
            (Some(only), true) => Ok(only),
            (Some(_), false) => Err(ConfigError::new("is several conditions: put them into all_of or any_of")),
            (None, _) => Err(ConfigError::new("is no condition: `{ any: true }` always holds")),
        }
    }

    pub fn holds(&self, subject: &Subject<'_>) -> bool {
        match self {
            Self::Any => true,
            Self::AllOf(rules) => rules.iter().all(|rule| rule.holds(subject)),
            Self::AnyOf(rules) => rules.iter().any(|rule| rule.holds(subject)),
            Self::Not(rule) => !rule.holds(subject),
            Self::Header(header) => header.holds(subject),
            Self::Path(text) => subject.path().is_some_and(|path| text.holds(path)),
            Self::ServerName(text) => subject.server_name().is_some_and(|name| text.holds(&name)),
            Self::SourceIp(networks) => subject.source_ip().is_some_and(|address| is_within(address, networks)),
            Self::DestinationIp(networks) => {
                subject.destination_ip().is_some_and(|address| is_within(address, networks))
            }
            Self::Ports(start, end) => subject.destination_port().is_some_and(|port| (*start..*end).contains(&port)),
            Self::Authenticated(text) => match (subject.principals(), text) {
                (None, _) => false,
                (Some(_), Text::Any) => true,
                (Some(mut principals), text) => principals.any(|principal| text.holds(&principal)),
            },
        }
    }
}

impl Header {
    fn build(raw: HeaderMatch) -> Result<Self, ConfigError> {
        let HeaderMatch { exact, prefix, suffix, contains, regex, ignore_case, .. } = raw;
        let name = match raw.name.as_str() {
            ":method" | ":authority" | ":path" | ":scheme" => raw.name,
            name => header_name(name).map_err(|error| error.under("name"))?,
        };
        let is_text = [&exact, &prefix, &suffix, &contains, &regex].into_iter().any(Option::is_some);
        let kinds = [is_text, raw.range.is_some(), raw.present.is_some()].into_iter().filter(|is| *is).count();
        if kinds > 1 {
            return Err(ConfigError::new(
                "needs only one of exact, prefix, suffix, contains, regex, range and present",
            ));
        }
        if !is_text && (ignore_case || raw.treat_missing_as_empty && raw.range.is_none()) {
            return Err(ConfigError::new("`ignore_case` and `treat_missing_as_empty` mean nothing without a text"));
        }
        let test = match (raw.range, raw.present) {
            (Some(range), _) if range.start >= range.end => {
                return Err(ConfigError::at("range", "is empty: start must be below end"));
            }
            (Some(range), _) => Test::Range(range.start, range.end),
            (None, Some(present)) => Test::Present(present),
            (None, None) if !is_text => Test::Present(true),
            (None, None) => Test::Text(Text::build(TextMatch { exact, prefix, suffix, contains, regex, ignore_case })?),
        };
        Ok(Self { name, test, missing_is_empty: raw.treat_missing_as_empty, invert: raw.invert })
    }

    fn holds(&self, subject: &Subject<'_>) -> bool {
        let value = subject.header(&self.name).or_else(|| self.missing_is_empty.then(Vec::new));
        let holds = match (&self.test, value) {
            (Test::Present(wanted), value) => value.is_some() == *wanted,
            (_, None) => false,
            (Test::Text(text), Some(value)) => text.holds(&value),
            (Test::Range(start, end), Some(value)) => {
                let number = std::str::from_utf8(&value).ok().and_then(|value| value.parse::<i64>().ok());
                number.is_some_and(|number| (*start..*end).contains(&number))
            }
        };
        holds != self.invert
    }
}

fn is_within(address: IpAddr, networks: &[IpNet]) -> bool {
    networks.iter().any(|network| network.contains(&address))
}

fn networks(list: &[String], key: &str) -> Result<Vec<IpNet>, ConfigError> {
    if list.is_empty() {
        return Err(ConfigError::at(key, "must not be empty"));
    }
    let each = list.iter().enumerate();
    each.map(|(index, text)| network(text).map_err(|error| error.under(format!("{key}[{index}]")))).collect()
}
