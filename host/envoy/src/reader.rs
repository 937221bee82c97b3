//! Reads a message in canonical form, and remembers what of it was read: whatever nobody has asked for when a reader is
//! dropped becomes a finding. So nothing is ever left out without a word, and no list of what is not supported has to be kept.

use std::cell::Cell;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::{
    canonical::{BROKEN, TYPE, parse_duration},
    finding::{Finding, Findings, Severity},
    place::Place,
};

/// The longest duration that Fyke's configuration takes.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);
/// What is said of a field that nobody has asked for.
const NO_COUNTERPART: &str = "has no counterpart";

/// A message that is being read.
pub(crate) struct Reader<'a> {
    object: &'a Map<String, Value>,
    place: Place,
    findings: &'a Findings,
    /// A bit for each field that was asked for, by its place in the object. No message has more fields than bits, and beyond them everything is told.
    seen: Cell<u128>,
}

impl<'a> Reader<'a> {
    /// `None`, with a finding: the value is no message.
    pub fn new(value: &'a Value, place: Place, findings: &'a Findings) -> Option<Self> {
        match value {
            Value::Object(object) => match broken(value) {
                Some(reason) => report(findings, &place, Severity::Refused, reason),
                None => return Some(Self { object, place, findings, seen: Cell::default() }),
            },
            _ => report(findings, &place, Severity::Refused, "is no object"),
        }
        None
    }

    pub fn place(&self) -> &Place {
        &self.place
    }

    pub fn findings(&self) -> &'a Findings {
        self.findings
    }

    /// The same message, as something with a meaning of its own in findings.
    pub fn unit(mut self) -> Self {
        self.place = self.place.clone().unit();
        self
    }

    /// Whether a field is there. It is not read by that.
    pub fn has(&self, key: &str) -> bool {
        self.object.contains_key(key)
    }

    /// A field as it is; whoever takes it answers for all of it.
    pub fn raw(&self, key: &str) -> Option<&'a Value> {
        let value = self.object.get(key)?;
        if let Some(place) = self.object.keys().position(|there| there == key) {
            self.seen.set(self.seen.get() | bit(place));
        }
        match broken(value) {
            Some(reason) => {
                self.refuse_at(key, reason);
                None
            }
            None => Some(value),
        }
    }

    pub fn text(&self, key: &str) -> Option<&'a str> {
        self.raw(key)?.as_str()
    }

    /// As [`Self::text`]; nothing is an empty text.
    pub fn text_or_empty(&self, key: &str) -> &'a str {
        self.text(key).unwrap_or_default()
    }

    /// A `bool`, of which false is the default.
    pub fn flag(&self, key: &str) -> bool {
        self.boolean(key).unwrap_or(false)
    }

    pub fn boolean(&self, key: &str) -> Option<bool> {
        self.raw(key)?.as_bool()
    }

    pub fn number(&self, key: &str) -> Option<f64> {
        self.raw(key)?.as_f64()
    }

    pub fn unsigned(&self, key: &str) -> Option<u64> {
        self.raw(key)?.as_u64()
    }

    pub fn signed(&self, key: &str) -> Option<i64> {
        self.raw(key)?.as_i64()
    }

    /// A number between bounds; another one is refused.
    pub fn bounded(&self, key: &str, least: u64, most: u64) -> Option<u64> {
        let number = self.unsigned(key)?;
        if (least..=most).contains(&number) {
            return Some(number);
        }
        self.refuse_at(key, format!("{number} is not from {least} to {most}"));
        None
    }

    /// A duration that is not negative, and that a configuration may have.
    pub fn duration(&self, key: &str) -> Option<Duration> {
        let text = self.text(key)?;
        match parse_duration(text) {
            Some((false, duration)) if duration <= LONGEST => return Some(duration),
            Some((false, _)) => self.refuse_at(key, format!("{text} is more than 365 days")),
            Some((true, duration)) if duration.is_zero() => return Some(Duration::ZERO),
            _ => self.refuse_at(key, format!("{text} is no duration of zero or more")),
        }
        None
    }

    /// As [`Self::duration`], but zero is refused: there is always a limit.
    pub fn limit(&self, key: &str) -> Option<Duration> {
        let duration = self.duration(key)?;
        if duration.is_zero() {
            self.refuse_at(key, "there is always a limit; zero would be none");
            return None;
        }
        Some(duration)
    }

    pub fn message(&self, key: &str) -> Option<Reader<'a>> {
        let value = self.raw(key)?;
        Reader::new(value, self.place.key(key), self.findings)
    }

    pub fn messages(&self, key: &str) -> Vec<Reader<'a>> {
        let list = self.raw(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let place = self.place.key(key);
        let each = list.iter().enumerate();
        each.filter_map(|(index, value)| Reader::new(value, place.index(index), self.findings)).collect()
    }

    pub fn texts(&self, key: &str) -> Vec<&'a str> {
        self.scalars(key, Value::as_str)
    }

    pub fn unsigneds(&self, key: &str) -> Vec<u64> {
        self.scalars(key, Value::as_u64)
    }

    fn scalars<T>(&self, key: &str, read: impl Fn(&'a Value) -> Option<T>) -> Vec<T> {
        let list = self.raw(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let place = self.place.key(key);
        let each = list.iter().enumerate().filter_map(|(index, value)| {
            if let Some(reason) = broken(value) {
                report(self.findings, &place.index(index), Severity::Refused, reason);
            }
            read(value)
        });
        each.collect()
    }

    /// A map whose values are messages.
    pub fn message_map(&self, key: &str) -> Vec<(&'a str, Reader<'a>)> {
        let place = self.place.key(key);
        let entries = self.entries(key).into_iter();
        entries.filter_map(|(name, value)| Some((name, Reader::new(value, place.key(name), self.findings)?))).collect()
    }

    /// A map, with its values as they are.
    pub fn entries(&self, key: &str) -> Vec<(&'a str, &'a Value)> {
        let object = self.raw(key).and_then(Value::as_object);
        object.into_iter().flatten().map(|(name, value)| (name.as_str(), value)).collect()
    }

    /// An `Any`: its type, and its message.
    pub fn any(&self, key: &str) -> Option<(&'a str, Reader<'a>)> {
        let reader = self.message(key)?;
        let kind = reader.type_name();
        if kind.is_empty() {
            reader.refuse_whole("\"@type\" is missing");
            return None;
        }
        Some((kind, reader))
    }

    /// What a `TypedExtensionConfig` holds, with its type; its name says nothing. `None`, with a finding: nothing.
    pub fn extension(&self) -> Option<(&'a str, Reader<'a>)> {
        self.text("name");
        let config = self.any("typed_config");
        if config.is_none() {
            self.refuse_here("has no typed_config");
        }
        config
    }

    /// The type of the `Any` that this message was in.
    pub fn type_name(&self) -> &'a str {
        self.object.get(TYPE).and_then(Value::as_str).unwrap_or_default()
    }

    /// The fields that are there, of which none is read by that; without those that the message does not have.
    pub fn keys(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.object.keys().map(String::as_str).filter(|key| *key != TYPE && !key.starts_with(BROKEN))
    }

    /// A field that means nothing here, if it is there.
    pub fn ignore(&self, key: &str, reason: &str) {
        if self.raw(key).is_some() {
            self.report_at(key, Severity::Ignored, reason);
        }
    }

    /// Several of those.
    pub fn ignore_all(&self, keys: &[&str], reason: &str) {
        for key in keys {
            self.ignore(key, reason);
        }
    }

    /// A field that cannot be carried over, if it is there, for a better reason than that nobody has asked for it.
    pub fn refuse(&self, key: &str, reason: &str) {
        if self.raw(key).is_some() {
            self.refuse_at(key, reason);
        }
    }

    /// A field of which only one value is carried over; it need not be there.
    pub fn only(&self, key: &str, value: impl Into<Value>, reason: &str) {
        if let Some(found) = self.raw(key)
            && *found != value.into()
        {
            self.refuse_at(key, reason);
        }
    }

    /// A finding about a field.
    pub fn refuse_at(&self, key: &str, reason: impl Into<String>) {
        self.report_at(key, Severity::Refused, reason);
    }

    /// `key` may be a way of several: `endpoint.address`.
    pub fn report_at(&self, key: &str, severity: Severity, reason: impl Into<String>) {
        let place = key.split('.').fold(self.place.clone(), |place, key| place.key(key));
        report(self.findings, &place, severity, reason);
    }

    /// A finding about the message, which is read no further.
    pub fn refuse_whole(self, reason: impl Into<String>) {
        self.whole(Severity::Refused, reason);
    }

    pub fn ignore_whole(self, reason: impl Into<String>) {
        self.whole(Severity::Ignored, reason);
    }

    fn whole(self, severity: Severity, reason: impl Into<String>) {
        report(self.findings, &self.place, severity, reason);
        self.leave();
    }

    /// Reads no further: a finding says already what becomes of all of it.
    pub fn leave(self) {
        self.seen.set(u128::MAX);
    }

    /// A finding about the message as a whole, of which the rest is read on.
    pub fn refuse_here(&self, reason: impl Into<String>) {
        report(self.findings, &self.place, Severity::Refused, reason);
    }

    pub fn ignore_here(&self, reason: impl Into<String>) {
        report(self.findings, &self.place, Severity::Ignored, reason);
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        let seen = self.seen.get();
        if seen == u128::MAX {
            return;
        }
        for (place, (key, value)) in self.object.iter().enumerate() {
            if key == TYPE || seen & bit(place) != 0 {
                continue;
            }
            let (key, reason) = match key.strip_prefix(BROKEN) {
                Some(unknown) => (unknown, value.as_str().unwrap_or(NO_COUNTERPART)),
                None => (key.as_str(), broken(value).unwrap_or(NO_COUNTERPART)),
            };
            report(self.findings, &self.place.key(key), Severity::Refused, reason);
        }
    }
}

fn bit(place: usize) -> u128 {
    u32::try_from(place).ok().and_then(|place| 1_u128.checked_shl(place)).unwrap_or(0)
}

/// Why a value could not be read.
pub(crate) fn broken(value: &Value) -> Option<&str> {
    value.as_object().filter(|object| object.len() == 1)?.get(BROKEN)?.as_str()
}

pub(crate) fn report(findings: &Findings, place: &Place, severity: Severity, reason: impl Into<String>) {
    let location = place.location();
    findings.push(Finding {
        kind: location.kind,
        name: location.name,
        resource: location.resource,
        path: location.path,
        reason: reason.into(),
        severity,
    });
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::place::ResourceKind;

    fn findings(value: &Value, read: impl Fn(&Reader<'_>)) -> Vec<String> {
        let findings = Findings::default();
        if let Some(reader) = Reader::new(value, Place::resource(ResourceKind::Cluster, "c"), &findings) {
            read(&reader);
        }
        findings.finish().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_nobody_asks_for_is_told() {
        let value = json!({ "read": 1, "left": 2, "inner": { "left": 3 }, "list": [{ "left": 4 }] });
        let told = findings(&value, |reader| {
            reader.unsigned("read");
            reader.message("inner");
            reader.messages("list");
        });
        assert_eq!(
            told,
            [
                "refused: cluster \"c\": inner.left: has no counterpart",
                "refused: cluster \"c\": list[0].left: has no counterpart",
                "refused: cluster \"c\": left: has no counterpart",
            ]
        );
    }

    #[test]
    fn what_is_left_as_a_whole_is_told_once() {
        let value = json!({ "inner": { "a": 1, "b": { "c": 2 } } });
        let told = findings(&value, |reader| {
            if let Some(inner) = reader.message("inner") {
                inner.refuse_whole("is not supported");
            }
        });
        assert_eq!(told, ["refused: cluster \"c\": inner: is not supported"]);
    }

    #[test]
    fn values_that_do_not_fit_say_why() {
        let value = json!({ "a": { "?": "expected text" }, "?b": "is no field", "c": [{ "?": "not text" }, "fine"] });
        let told = findings(&value, |reader| {
            assert_eq!(reader.text("a"), None);
            assert_eq!(reader.texts("c"), ["fine"]);
        });
        assert_eq!(
            told,
            [
                "refused: cluster \"c\": a: expected text",
                "refused: cluster \"c\": c[0]: not text",
                "refused: cluster \"c\": b: is no field",
            ]
        );
    }

    #[test]
    fn durations_have_bounds() {
        let value = json!({ "a": "1.5s", "b": "-1s", "c": "31536001s", "d": "0s" });
        let told = findings(&value, |reader| {
            assert_eq!(reader.duration("a"), Some(Duration::from_millis(1500)));
            assert_eq!((reader.duration("b"), reader.duration("c"), reader.limit("d")), (None, None, None));
        });
        assert_eq!(told.len(), 3, "{told:?}");
    }
}
