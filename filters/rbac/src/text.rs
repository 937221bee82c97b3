//! What a text is.

use fyke_sdk::ConfigError;
use regex_lite::{Regex, RegexBuilder};

use crate::config::TextMatch;

/// What a compiled expression may take, in bytes: it comes from whoever writes the configuration, and is kept by every instance.
const EXPRESSION: usize = 256 << 10;

/// A condition on a text.
#[derive(Debug)]
pub enum Text {
    Any,
    Exact(Vec<u8>),
    Prefix(Vec<u8>),
    Suffix(Vec<u8>),
    Contains(Vec<u8>),
    Regex(Box<Regex>),
    /// In lower case, as what it is compared with.
    Folded(Box<Self>),
}

impl Text {
    pub fn build(raw: TextMatch) -> Result<Self, ConfigError> {
        let TextMatch { exact, prefix, suffix, contains, regex, ignore_case } = raw;
        let bytes = |text: String| if ignore_case { text.to_ascii_lowercase() } else { text }.into_bytes();
        let regex = regex.map(|pattern| expression(&pattern)).transpose()?;
        if ignore_case && regex.is_some() {
            return Err(ConfigError::at("ignore_case", "is (?i) at the beginning of the expression"));
        }
        let mut kinds = [
            exact.map(|text| Self::Exact(bytes(text))),
            prefix.map(|text| Self::Prefix(bytes(text))),
            suffix.map(|text| Self::Suffix(bytes(text))),
            contains.map(|text| Self::Contains(bytes(text))),
            regex.map(|regex| Self::Regex(Box::new(regex))),
        ]
        .into_iter()
        .flatten();
        let kind = kinds.next().unwrap_or(Self::Any);
        if kinds.next().is_some() {
            return Err(ConfigError::new("needs only one of exact, prefix, suffix, contains and regex"));
        }
        Ok(if ignore_case { Self::Folded(Box::new(kind)) } else { kind })
    }

    pub fn holds(&self, text: &[u8]) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(wanted) => text == wanted.as_slice(),
            Self::Prefix(wanted) => text.starts_with(wanted),
            Self::Suffix(wanted) => text.ends_with(wanted),
            Self::Contains(wanted) => {
                wanted.is_empty() || text.windows(wanted.len()).any(|window| window == wanted.as_slice())
            }
            // What is no text is what no expression says.
            Self::Regex(regex) => std::str::from_utf8(text).is_ok_and(|text| regex.is_match(text)),
            Self::Folded(inner) => inner.holds(&text.to_ascii_lowercase()),
        }
    }
}

/// An expression for all of a text.
fn expression(pattern: &str) -> Result<Regex, ConfigError> {
    let build = |pattern: &str| RegexBuilder::new(pattern).size_limit(EXPRESSION).build();
    // By itself first: what closes the group around it would not be its own.
    let compiled = build(pattern).and_then(|_| build(&format!("^(?:{pattern})$")));
    compiled.map_err(|error| ConfigError::at("regex", error.to_string()))
}
