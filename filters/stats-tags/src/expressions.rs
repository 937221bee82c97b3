//! Regular expressions, and what they may cost.
//!
//! They take linear time: at worst the size of the expression by the length of what it looks at. All of a stream is counted in one call, and
//! a call has a deadline, which clients must not be able to reach with long headers. So sizes are added up while the filter is
//! configured; the more there is, the less of a value is looked at, and at some point the next one is refused.

use fyke_sdk::ConfigError;
use regex_lite::{Regex, RegexBuilder};

use crate::source::LONGEST;

/// Bytes of all compiled expressions together: 32 KiB in a module, where addresses are half as long as in a native test.
const MOST: usize = 8192 * size_of::<usize>();
/// Size by length. In a module, expressions of the slowest kind were measured to take 2.5 ms for all of it; a call has 10 ms.
const WORK: usize = (1 << 20) * size_of::<usize>();
/// Where finding the size of an expression begins, in bytes.
const SMALLEST: usize = 256;

/// Matches of one value that are replaced: each may look at all that follows.
pub const MOST_REPLACED: usize = 8;

/// The expressions of a configuration so far.
#[derive(Debug, Default)]
pub struct Expressions {
    size: usize,
}

impl Expressions {
    /// Compiles one that is run `times` for each stream.
    ///
    /// # Errors
    /// When it is none, or too large, alone or with those before it.
    pub fn compile(&mut self, text: &str, times: usize) -> Result<Regex, ConfigError> {
        let mut limit = SMALLEST;
        let regex = loop {
            match RegexBuilder::new(text).size_limit(limit).build() {
                Ok(regex) => break regex,
                Err(_) if limit < MOST => limit += limit / 4,
                Err(error) => {
                    return Err(ConfigError::new(format!(
                        "\"{text}\" is no regular expression: {error}{}",
                        hint(text)
                    )));
                }
            }
        };
        self.size = self.size.saturating_add(limit.saturating_mul(times.max(1)));
        if self.size > MOST {
            return Err(ConfigError::new(format!(
                "\"{text}\" is one too many: compiled, the expressions of this configuration have {} bytes together, of at most {MOST}; \
                 one with fewer repetitions like {{1,50}} is smaller",
                self.size
            )));
        }
        Ok(regex)
    }

    /// How many bytes of a value expressions look at.
    #[must_use]
    pub fn reach(&self) -> usize {
        (WORK / self.size.max(1)).min(LONGEST)
    }
}

fn hint(text: &str) -> &'static str {
    if ["(?=", "(?!", "(?<=", "(?<!"].iter().any(|looking| text.contains(looking)) {
        return "; there is no looking ahead or behind in expressions that take linear time";
    }
    ""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_expressions_there_are_the_less_of_a_value_they_see() {
        let mut expressions = Expressions::default();
        assert_eq!(expressions.reach(), LONGEST);
        let mut reach = Vec::new();
        let refused = loop {
            match expressions.compile(r"^cluster\.(([^.]+)\.)", 1) {
                Ok(_) => reach.push(expressions.reach()),
                Err(error) => break error,
            }
        };
        assert!(reach.is_sorted_by(|one, other| one >= other));
        assert_eq!((reach[0], reach.len() > 30), (LONGEST, true));
        assert!(reach.iter().all(|reach| *reach >= 128), "{reach:?}");
        assert!(refused.message().contains("is one too many"), "{refused}");
    }

    #[test]
    fn one_that_is_run_often_counts_as_often() {
        let (mut once, mut often) = (Expressions::default(), Expressions::default());
        once.compile("a+b", 1).unwrap();
        often.compile("a+b", 20).unwrap();
        assert_eq!(often.size, once.size * 20);
    }

    #[test]
    fn what_is_no_expression_is_refused() {
        for (text, end) in [("(", ""), (r"(\w{1,200}-){100}", ""), ("a(?=b)", "in expressions that take linear time")] {
            let error = Expressions::default().compile(text, 1).err().unwrap();
            assert!(error.message().starts_with(&format!("\"{text}\" is no regular expression: ")), "{error}");
            assert!(error.message().ends_with(end), "{error}");
        }
    }
}
