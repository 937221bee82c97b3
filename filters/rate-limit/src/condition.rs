//! Tests of one value.

use fyke_sdk::ConfigError;
use ipnet::IpNet;
use regex_lite::Regex;

use crate::config;
use crate::expression::{Expressions, matches};
use crate::source::{Sources, Values, address};

/// A test, ready.
#[derive(Debug)]
pub struct Condition {
    source: usize,
    test: Test,
    not: bool,
}

#[derive(Debug)]
enum Test {
    AnyOf(Vec<Vec<u8>>),
    Prefix(Vec<u8>),
    Matches(Regex),
    Within(Vec<IpNet>),
    Present(bool),
}

impl Condition {
    /// Makes one ready.
    ///
    /// # Errors
    /// What is wrong, and where in it.
    pub fn new(
        written: &config::Condition,
        sources: &mut Sources,
        expressions: &mut Expressions,
    ) -> Result<Self, ConfigError> {
        let source = sources.add(&written.from).map_err(|error| error.under("from"))?;
        let mut tests = Vec::new();
        if let Some(is) = &written.is {
            tests.push(Test::AnyOf(vec![is.clone().into_bytes()]));
        }
        if !written.any_of.is_empty() {
            tests.push(Test::AnyOf(written.any_of.iter().map(|one| one.clone().into_bytes()).collect()));
        }
        if let Some(prefix) = &written.prefix {
            tests.push(Test::Prefix(prefix.clone().into_bytes()));
        }
        if let Some(regex) = &written.regex {
            tests.push(Test::Matches(expressions.compile(regex).map_err(|error| error.under("regex"))?));
        }
        if !written.networks.is_empty() {
            let network = |(at, text): (usize, &String)| {
                network(text).ok_or_else(|| {
                    let message = format!("\"{text}\" is no network, like 10.0.0.0/8, and no address");
                    ConfigError::at(format!("networks[{at}]"), message)
                })
            };
            tests.push(Test::Within(written.networks.iter().enumerate().map(network).collect::<Result<_, _>>()?));
        }
        if let Some(present) = written.present {
            tests.push(Test::Present(present));
        }
        match (tests.pop(), tests.is_empty()) {
            (Some(test), true) => Ok(Self { source, test, not: written.not }),
            _ => Err(ConfigError::new("needs exactly one of is, any_of, prefix, regex, networks and present")),
        }
    }

    /// Whether it is true of a stream. Of a value that is not there only `present: false` is, and what has a `not`.
    pub fn holds(&self, sources: &Sources, values: &mut Values<'_>) -> bool {
        let value = values.get(sources, self.source);
        let holds = match (&self.test, value) {
            (Test::Present(present), value) => value.is_some() == *present,
            (_, None) => false,
            (Test::AnyOf(any), Some(value)) => any.iter().any(|one| one == value),
            (Test::Prefix(prefix), Some(value)) => value.starts_with(prefix),
            (Test::Matches(regex), Some(value)) => matches(regex, value),
            (Test::Within(networks), Some(value)) => {
                address(value).is_some_and(|address| networks.iter().any(|network| network.contains(&address)))
            }
        };
        holds != self.not
    }
}

fn network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| address(text.as_bytes()).map(IpNet::from))
}
