//! Regular expressions, and what they may cost.
//!
//! They take linear time: at worst their size by the length of what they look at. All of a request is decided in one call, which has a deadline that
//! clients must not be able to reach with long headers. So they look at the first KiB, and their sizes are added up.

use fyke_sdk::ConfigError;
use regex_lite::{Regex, RegexBuilder};

/// More of a value is not looked at.
pub const REACH: usize = 1024;

/// Bytes of all compiled expressions together, where addresses have four bytes.
const MOST: usize = 4096 * size_of::<usize>();

/// The expressions of a configuration so far.
#[derive(Debug, Default)]
pub struct Expressions {
    size: usize,
}

impl Expressions {
    /// Compiles one.
    ///
    /// # Errors
    /// When it is none, or too large, alone or with those before it.
    pub fn compile(&mut self, text: &str) -> Result<Regex, ConfigError> {
        let mut limit = 256;
        let regex = loop {
            match RegexBuilder::new(text).size_limit(limit).build() {
                Ok(regex) => break regex,
                Err(_) if limit < MOST => limit += limit / 4,
                Err(error) => {
                    return Err(ConfigError::new(format!("\"{text}\" is no regular expression: {error}")));
                }
            }
        };
        self.size = self.size.saturating_add(limit);
        if self.size > MOST {
            let message = format!(
                "\"{text}\" is one too many: compiled, the expressions of this configuration have {} bytes together, of at most {MOST}",
                self.size
            );
            return Err(ConfigError::new(message));
        }
        Ok(regex)
    }
}

/// What an expression finds: its first group, or all that it matches.
#[must_use]
pub fn find(regex: &Regex, value: &[u8]) -> Option<Vec<u8>> {
    let text = String::from_utf8_lossy(value.get(..REACH).unwrap_or(value));
    let found = regex.captures(&text)?;
    let part = found.get(1).or_else(|| found.get(0))?;
    (!part.as_str().is_empty()).then(|| part.as_str().as_bytes().to_vec())
}

/// Whether an expression matches.
#[must_use]
pub fn matches(regex: &Regex, value: &[u8]) -> bool {
    regex.is_match(&String::from_utf8_lossy(value.get(..REACH).unwrap_or(value)))
}
