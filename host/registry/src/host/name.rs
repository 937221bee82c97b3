//! Names of services.

use std::{borrow::Borrow, fmt, sync::Arc};

use serde::Serialize;

use crate::error::{Problem, shown};

/// The name of a service: 1 to 128 of `A-Z a-z 0-9 . _ -`, of which the first is a letter or a digit. So it stands in paths, keys, labels and
/// certificates as it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct ServiceName(#[serde(serialize_with = "as_text")] Arc<str>);

fn as_text<S: serde::Serializer>(text: &Arc<str>, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(text)
}

impl ServiceName {
    /// Longest name.
    pub const LENGTH: usize = 128;

    /// Reads a name.
    ///
    /// # Errors
    /// The field `service`, when it is none.
    pub fn parse(name: &str) -> Result<Self, Problem> {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let problem = |message| Err(Problem::new("service", message));
        if name.is_empty() {
            return problem("is missing".to_owned());
        }
        if name.len() > Self::LENGTH {
            return problem(format!("must have at most {} characters", Self::LENGTH));
        }
        if !name.chars().all(fits) || !name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
            let message =
                format!("must be of A-Z a-z 0-9 . _ - and begin with a letter or digit, not {:?}", shown(name));
            return problem(message);
        }
        Ok(Self(name.into()))
    }

    /// As it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Borrow<str> for ServiceName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_anywhere_as_they_are() {
        for name in ["users", "a", "0", "user_service", "Users-2.internal", &"x".repeat(128)] {
            assert_eq!(ServiceName::parse(name).unwrap().as_str(), name);
        }
        for name in ["", ".", "..", "-a", "_a", "a/b", "a b", "a:b", "a\n", "ä", "a%", "*", &"x".repeat(129)] {
            assert_eq!(ServiceName::parse(name).unwrap_err().field, "service", "{name:?}");
        }
    }
}
