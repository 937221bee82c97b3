//! Rules in order, and the values that they give the labels of one stream.

use std::borrow::Cow;

use fyke_sdk::{ConfigError, header_name};
use regex_lite::Regex;

use crate::config::{self, Config};
use crate::expressions::Expressions;
use crate::operation::{Operation, Outcome};
use crate::source::{Kind, LONGEST, Read, Reads, Source, is_late, is_of_http};

/// A host cuts values here.
const LONGEST_VALUE: u16 = 256;

/// All labels, ready.
#[derive(Debug)]
pub struct Labels {
    labels: Vec<Label>,
    /// Rules that only decide whether a stream is counted.
    gates: Vec<Rule>,
    reads: Reads,
    /// How much of a value operations see.
    reach: usize,
}

#[derive(Debug)]
struct Label {
    name: String,
    rules: Vec<Rule>,
    /// Only streams of HTTP have it.
    of_http: bool,
    /// No connection has it when it begins.
    late: bool,
    /// A value that no stream changes.
    fixed: Option<String>,
    /// One of its rules may say that a stream is not counted.
    decides: bool,
}

#[derive(Debug)]
struct Rule {
    source: Source,
    capture: Option<(Regex, Option<String>)>,
    then: Vec<Operation>,
    default: Option<String>,
    maximum: usize,
}

/// The values of one stream. Used again by the next one, so that next to nothing is allocated for a stream whose values are no longer
/// than those of others.
#[derive(Debug, Default)]
pub struct Values {
    read: Read,
    text: String,
    /// Of each label, where in `text` its value is; `None`: not asked for, or fixed.
    places: Vec<Option<(usize, usize)>>,
}

/// Whether a stream counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sample {
    /// It does.
    Counts,
    /// A rule has dropped it.
    Dropped,
}

impl Labels {
    /// Makes the rules of a configuration ready, and behind them `more`.
    ///
    /// # Errors
    /// What is wrong, and where in the configuration.
    pub fn new(config: &Config, more: &[config::Rule], expressions: &mut Expressions) -> Result<Self, ConfigError> {
        let mut labels = Self { labels: Vec::new(), gates: Vec::new(), reads: Reads::default(), reach: LONGEST };
        length(config.maximum_length).map_err(|error| error.under("maximum_length"))?;
        header_name(&config.call_site_header).map_err(|error| error.under("call_site_header"))?;
        for (at, rule) in config.labels.iter().enumerate() {
            labels.add(rule, config, expressions).map_err(|error| error.under(format!("labels[{at}]")))?;
        }
        // A label that the operator has given a value for every stream needs no other.
        for rule in more {
            if !labels.is_settled(rule.label.as_deref()) {
                labels.add(rule, config, expressions).map_err(|error| error.under("istio"))?;
            }
        }
        for label in &mut labels.labels {
            if let [Rule { source: Source::Fixed(value), capture: None, then, default, maximum }] =
                label.rules.as_slice()
                && then.is_empty()
            {
                let value = value.as_deref().filter(|value| !value.is_empty()).or(default.as_deref());
                label.fixed = Some(cut(value.unwrap_or_default(), *maximum).to_owned());
            }
        }
        Ok(labels)
    }

    fn is_settled(&self, name: Option<&str>) -> bool {
        self.labels
            .iter()
            .any(|label| Some(label.name.as_str()) == name && label.rules.last().is_some_and(Rule::is_last))
    }

    fn add(
        &mut self,
        written: &config::Rule,
        config: &Config,
        expressions: &mut Expressions,
    ) -> Result<(), ConfigError> {
        let rule = Rule::new(written, config, &mut self.reads, expressions)?;
        let decides = rule.decides();
        let Some(name) = &written.label else {
            if !decides {
                return Err(ConfigError::at("label", "is missing: without one, a rule needs a drop_sample in `then`"));
            }
            self.gates.push(rule);
            return Ok(());
        };
        check_label(name).map_err(|error| error.under("label"))?;
        let (of_http, late) = (is_of_http(&written.from), is_late(&written.from));
        let Some(label) = self.labels.iter_mut().find(|label| label.name == *name) else {
            self.labels.push(Label { name: name.clone(), rules: vec![rule], of_http, late, fixed: None, decides });
            return Ok(());
        };
        if label.rules.last().is_some_and(Rule::is_last) {
            let message =
                format!("\"{name}\" has a value for every stream already, by a rule above: this one is never asked");
            return Err(ConfigError::at("label", message));
        }
        label.rules.push(rule);
        label.of_http &= of_http;
        label.late &= late;
        label.decides |= decides;
        Ok(())
    }

    /// What else has to be read of a stream is read with them.
    pub const fn reads(&mut self) -> &mut Reads {
        &mut self.reads
    }

    /// When all expressions are known: so many bytes of a value they look at.
    pub const fn set_reach(&mut self, reach: usize) {
        self.reach = reach;
    }

    /// The names, in the order in which rules first have them.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.labels.iter().map(|label| label.name.as_str())
    }

    /// The labels that a stream of this kind can have.
    pub fn of_kind(&self, kind: Kind) -> impl Iterator<Item = &str> {
        self.labels.iter().filter(move |label| kind == Kind::Http || !label.of_http).map(|label| label.name.as_str())
    }

    /// Whether a connection cannot have a label when it begins.
    #[must_use]
    pub fn is_late(&self, index: usize) -> bool {
        self.labels.get(index).is_some_and(|label| label.late)
    }

    /// The place of a label.
    #[must_use]
    pub fn position(&self, name: &str) -> Option<usize> {
        self.labels.iter().position(|label| label.name == name)
    }

    /// Of the labels in use those that have to be worked out for every stream, and those that may drop it.
    #[must_use]
    pub fn to_fill(&self, in_use: &[usize]) -> Vec<usize> {
        let wanted = |index: usize, label: &Label| label.fixed.is_none() && (in_use.contains(&index) || label.decides);
        self.labels.iter().enumerate().filter(|(index, label)| wanted(*index, label)).map(|(index, _)| index).collect()
    }

    /// Whether some rule depends on the request's path.
    #[must_use]
    pub const fn read_path(&self) -> bool {
        self.reads.read_path()
    }

    /// Works out the labels `wanted` of the stream in question. `path` is the one with which it arrived, where that is known.
    pub fn fill(&self, values: &mut Values, kind: Kind, wanted: &[usize], path: Option<&[u8]>) -> Sample {
        values.text.clear();
        values.places.clear();
        values.places.resize(self.labels.len(), None);
        values.read = self.reads.read(path);
        for gate in &self.gates {
            if gate.write(kind, self, values) == Written::DropSample {
                return Sample::Dropped;
            }
        }
        for index in wanted {
            let Some(label) = self.labels.get(*index) else { continue };
            for rule in &label.rules {
                let start = values.text.len();
                match rule.write(kind, self, values) {
                    Written::DropSample => return Sample::Dropped,
                    Written::Missing => {}
                    Written::Value => {
                        if let Some(place) = values.places.get_mut(*index) {
                            *place = Some((start, values.text.len()));
                        }
                        break;
                    }
                }
            }
        }
        Sample::Counts
    }

    /// The value of a label; empty where the stream has none.
    #[must_use]
    pub fn value<'a>(&'a self, values: &'a Values, index: usize) -> &'a str {
        if let Some(fixed) = self.labels.get(index).and_then(|label| label.fixed.as_deref()) {
            return fixed;
        }
        let place = values.places.get(index).copied().flatten();
        place.and_then(|(start, end)| values.text.get(start..end)).unwrap_or_default()
    }
}

impl Values {
    /// A property that is a number.
    #[must_use]
    pub fn integer(&self, place: usize) -> Option<i64> {
        self.read.integer(place)
    }
}

#[cfg(test)]
impl Values {
    /// How much text there is room for.
    pub const fn capacity(&self) -> usize {
        self.text.capacity()
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Written {
    Value,
    Missing,
    DropSample,
}

impl Rule {
    fn new(
        written: &config::Rule,
        config: &Config,
        reads: &mut Reads,
        expressions: &mut Expressions,
    ) -> Result<Self, ConfigError> {
        let source = Source::new(&written.from, &config.call_site_header, reads);
        let source = source.map_err(|error| error.under("from"))?;
        let capture = match (&written.regex, &written.value) {
            (Some(text), value) => {
                Some((expressions.compile(text, 1).map_err(|error| error.under("regex"))?, value.clone()))
            }
            (None, Some(_)) => return Err(ConfigError::at("value", "is made of a match: it needs a `regex`")),
            (None, None) => None,
        };
        let mut then = Vec::with_capacity(written.then.len());
        for (at, operation) in written.then.iter().enumerate() {
            then.push(Operation::new(operation, expressions).map_err(|error| error.under(format!("then[{at}]")))?);
        }
        let maximum = written.maximum_length.unwrap_or(config.maximum_length);
        length(maximum).map_err(|error| error.under("maximum_length"))?;
        Ok(Self { source, capture, then, default: written.default.clone(), maximum: usize::from(maximum) })
    }

    fn decides(&self) -> bool {
        self.then.iter().any(|operation| matches!(operation, Operation::DropSample(_)))
    }

    /// Whether it has a value for every stream.
    fn is_last(&self) -> bool {
        let always = matches!(&self.source, Source::Fixed(Some(value)) if !value.is_empty());
        self.default.as_ref().is_some_and(|default| !default.is_empty())
            || (always && self.capture.is_none() && self.then.is_empty())
    }

    /// Appends the value for a stream.
    fn write(&self, kind: Kind, labels: &Labels, values: &mut Values) -> Written {
        let value = self.source.value(kind, &labels.reads, &values.read);
        let outcome = value.map_or(Outcome::Missing, |value| self.change(value, labels.reach));
        let text = match &outcome {
            Outcome::Value(value) if !value.is_empty() => value.as_ref(),
            Outcome::DropSample => return Written::DropSample,
            Outcome::Value(_) | Outcome::Missing => match self.default.as_deref() {
                Some(default) if !default.is_empty() => default,
                _ => return Written::Missing,
            },
        };
        values.text.push_str(cut(text, self.maximum));
        Written::Value
    }

    fn change<'a>(&'a self, value: Cow<'a, [u8]>, reach: usize) -> Outcome<'a> {
        let mut value = match value {
            Cow::Borrowed(bytes) => String::from_utf8_lossy(bytes),
            Cow::Owned(bytes) => match String::from_utf8(bytes) {
                Ok(text) => text.into(),
                Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned().into(),
            },
        };
        if value.is_empty() {
            return Outcome::Missing;
        }
        if self.capture.is_some() || !self.then.is_empty() {
            shorten(&mut value, reach);
        }
        if let Some((regex, wanted)) = &self.capture {
            let Some(groups) = regex.captures(&value) else { return Outcome::Missing };
            let mut text = String::new();
            match (wanted, groups.get(1)) {
                (Some(wanted), _) => groups.expand(wanted, &mut text),
                (None, Some(group)) => text.push_str(group.as_str()),
                (None, None) if groups.len() == 1 => groups.expand("$0", &mut text),
                // The group is there, and has taken no part in the match.
                (None, None) => {}
            }
            value = text.into();
        }
        for operation in &self.then {
            // What replacing has made of it may be longer.
            shorten(&mut value, reach);
            match operation.apply(value) {
                Outcome::Value(changed) => value = changed,
                other => return other,
            }
        }
        Outcome::Value(value)
    }
}

/// At most so many bytes, and no character in part.
#[must_use]
pub fn cut(text: &str, maximum: usize) -> &str {
    text.get(..text.floor_char_boundary(maximum)).unwrap_or(text)
}

fn shorten(value: &mut Cow<'_, str>, maximum: usize) {
    let end = value.floor_char_boundary(maximum);
    if end < value.len() {
        match value {
            Cow::Borrowed(text) => *text = cut(text, end),
            Cow::Owned(text) => text.truncate(end),
        }
    }
}

/// A name that a label may have.
///
/// # Errors
/// When it is none.
pub fn check_label(name: &str) -> Result<(), ConfigError> {
    let legal = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && !name.starts_with(|first: char| first.is_ascii_digit());
    if name.is_empty() || !legal || name == "le" || name.starts_with("__") {
        return Err(ConfigError::new(format!(
            "\"{name}\" is no name of a label: letters, digits and underscores, no digit in front; `le` and what begins with `__` belong to Prometheus"
        )));
    }
    Ok(())
}

fn length(maximum: u16) -> Result<(), ConfigError> {
    if (1..=LONGEST_VALUE).contains(&maximum) {
        return Ok(());
    }
    Err(ConfigError::new(format!("{maximum} is not between 1 and {LONGEST_VALUE} bytes")))
}
