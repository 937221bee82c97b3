//! What is done to a value on its way to its label.

use std::borrow::Cow;
use std::collections::HashMap;

use fyke_sdk::ConfigError;
use fyke_sdk::property::without_port;
use regex_lite::Regex;

use crate::config;
use crate::expressions::{Expressions, MOST_REPLACED};

/// An operation, ready.
#[derive(Debug)]
pub enum Operation {
    LowerCase,
    WithoutPort,
    StatusClass,
    /// Rising bounds, and the names of the ranges below, between and above them.
    Ranges(Vec<i64>, Vec<String>),
    Map(HashMap<String, String>, Option<String>),
    Replace(Regex, String),
    DropLabel(Condition),
    DropSample(Condition),
}

/// Of statuses, by their first digit.
const CLASSES: [&str; 9] = ["1xx", "2xx", "3xx", "4xx", "5xx", "6xx", "7xx", "8xx", "9xx"];

/// Which values are meant.
#[derive(Debug)]
pub struct Condition {
    values: Vec<String>,
    regex: Option<Regex>,
}

/// What came of it.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// This value.
    Value(Cow<'a, str>),
    /// None: the next rule's, or the default.
    Missing,
    /// The stream is not counted.
    DropSample,
}

impl Operation {
    /// Makes one ready.
    ///
    /// # Errors
    /// What is wrong, and where in it.
    pub fn new(written: &config::Operation, expressions: &mut Expressions) -> Result<Self, ConfigError> {
        Ok(match written {
            config::Operation::LowerCase => Self::LowerCase,
            config::Operation::WithoutPort => Self::WithoutPort,
            config::Operation::StatusClass => Self::StatusClass,
            config::Operation::Ranges(bounds) => ranges(bounds).map_err(|error| error.under("ranges"))?,
            config::Operation::Map(map) => Self::Map(map.values.clone().into_iter().collect(), map.other.clone()),
            config::Operation::Replace(replace) => {
                let regex =
                    expressions.compile(&replace.regex, MOST_REPLACED).map_err(|error| error.under("replace.regex"))?;
                Self::Replace(regex, replace.with.clone())
            }
            config::Operation::DropLabel(condition) => {
                Self::DropLabel(Condition::new(condition, expressions).map_err(|error| error.under("drop_label"))?)
            }
            config::Operation::DropSample(condition) => {
                Self::DropSample(Condition::new(condition, expressions).map_err(|error| error.under("drop_sample"))?)
            }
        })
    }

    /// Does it.
    #[must_use]
    pub fn apply<'a>(&'a self, value: Cow<'a, str>) -> Outcome<'a> {
        Outcome::Value(match self {
            Self::LowerCase if value.bytes().any(|byte| byte.is_ascii_uppercase()) => {
                let mut value = value.into_owned();
                value.make_ascii_lowercase();
                value.into()
            }
            Self::LowerCase => value,
            Self::WithoutPort => {
                let bare = String::from_utf8_lossy(without_port(value.as_bytes())).into_owned();
                bare.into()
            }
            Self::StatusClass => match value.as_bytes() {
                [class @ b'1'..=b'9', b'0'..=b'9', b'0'..=b'9'] => match CLASSES.get(usize::from(class - b'1')) {
                    Some(name) => (*name).into(),
                    None => return Outcome::Missing,
                },
                _ => return Outcome::Missing,
            },
            Self::Ranges(bounds, names) => {
                let Ok(number) = value.parse::<i64>() else { return Outcome::Missing };
                let above = bounds.partition_point(|bound| *bound <= number);
                match names.get(above) {
                    Some(name) => name.as_str().into(),
                    None => return Outcome::Missing,
                }
            }
            Self::Map(values, other) => match (values.get(value.as_ref()), other) {
                (Some(to), _) | (None, Some(to)) => to.as_str().into(),
                (None, None) => value,
            },
            Self::Replace(regex, with) => match regex.replacen(&value, MOST_REPLACED, with.as_str()) {
                // Nothing was found in it.
                Cow::Borrowed(_) => value,
                Cow::Owned(replaced) => replaced.into(),
            },
            Self::DropLabel(condition) if condition.holds(&value) => return Outcome::Missing,
            Self::DropSample(condition) if condition.holds(&value) => return Outcome::DropSample,
            Self::DropLabel(_) | Self::DropSample(_) => value,
        })
    }
}

impl Condition {
    fn new(written: &config::Condition, expressions: &mut Expressions) -> Result<Self, ConfigError> {
        let regex = written.regex.as_deref().map(|text| expressions.compile(text, 1)).transpose();
        let regex = regex.map_err(|error| error.under("regex"))?;
        Ok(Self { values: written.values.clone(), regex })
    }

    fn holds(&self, value: &str) -> bool {
        (self.values.is_empty() && self.regex.is_none())
            || self.values.iter().any(|one| one == value)
            || self.regex.as_ref().is_some_and(|regex| regex.is_match(value))
    }
}

fn ranges(bounds: &[i64]) -> Result<Operation, ConfigError> {
    let (Some(first), Some(last)) = (bounds.first(), bounds.last()) else {
        return Err(ConfigError::new("needs a number at least, where one range ends and the next begins"));
    };
    let mut names = vec![format!("<{first}")];
    for (at, (from, to)) in bounds.iter().zip(bounds.iter().skip(1)).enumerate() {
        if from >= to {
            let place = format!("[{}]", at + 1);
            return Err(ConfigError::at(place, format!("{to} does not rise above {from}, which is before it")));
        }
        names.push(format!("{from}-{}", to - 1));
    }
    names.push(format!(">={last}"));
    Ok(Operation::Ranges(bounds.to_vec(), names))
}
