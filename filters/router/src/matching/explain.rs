//! Why a route does not match: the conditions of [`Matcher::matches`] one by one, by the same functions.

use fyke_sdk::property::Value;
use fyke_sdk::units::Percent;

use super::{Matcher, PathKind, PathMatch, cookie_holds, header_holds, property_holds, query_holds};
use crate::case::Case;
use crate::subject::Subject;
use crate::values::{Condition, query_value};

/// Longest text of a request that is shown.
const SHOWN: usize = 120;

/// Whether a route would be taken.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Chance {
    /// It is.
    Certain,
    /// This share of the requests takes it.
    Share(Percent),
}

impl Matcher {
    /// Whether the request matches.
    ///
    /// # Errors
    /// The first condition that does not hold.
    pub fn explain(&self, subject: &Subject<'_>) -> Result<Chance, String> {
        let request = subject.request;
        let method = shown(Some(request.method()));
        if subject.path.is_empty() && !self.is_for_connect() && request.method() == b"CONNECT" {
            return Err("a CONNECT has no path, and this route is not for CONNECT".to_owned());
        }
        if self.path.matches(subject.path, &subject.scan).is_none() {
            return Err(format!("path: expected {}, was {}", self.path, shown(Some(subject.path))));
        }
        if !self.method_matches(subject) {
            return Err(format!("method: expected {}, was {method}", self.methods.join(" or ")));
        }
        if !self.connect_matches(subject) {
            let wanted = if self.is_for_connect() { "CONNECT" } else { "anything but CONNECT" };
            return Err(format!("method: expected {wanted}, was {method}"));
        }
        if !self.scheme_matches(subject) {
            let wanted = self.scheme.as_deref().unwrap_or_default();
            return Err(format!("scheme: expected {wanted:?}, was {}", shown(Some(request.scheme()))));
        }
        if !self.grpc_matches(subject) {
            let wanted = if self.grpc == Some(true) { "a gRPC request" } else { "no gRPC request" };
            return Err(format!("content-type: expected {wanted}, was {}", shown(request.get("content-type"))));
        }
        if !self.certificate_matches() {
            let wanted = self.certificate.as_ref().is_some_and(|(_, wanted)| *wanted);
            let (wanted, was) = if wanted { ("one", "none") } else { ("none", "one") };
            return Err(format!("certificate of the client: expected {wanted}, was {was}"));
        }
        self.explain_values(subject)?;
        Ok(self.fraction.map_or(Chance::Certain, Chance::Share))
    }

    fn explain_values(&self, subject: &Subject<'_>) -> Result<(), String> {
        let missed = |kind: &str, condition: &Condition, was: String| {
            Err(format!("{kind} {}: expected {condition}, was {was}", condition.name))
        };
        if let Some(condition) = self.headers.iter().find(|condition| !header_holds(condition, subject)) {
            return missed("header", condition, subject.header(&condition.name, shown));
        }
        if let Some(condition) = self.query.iter().find(|condition| !query_holds(condition, subject)) {
            return missed("query", condition, shown(query_value(subject.query, &condition.name).as_deref()));
        }
        if let Some(condition) = self.cookies.iter().find(|condition| !cookie_holds(condition, subject)) {
            return missed("cookie", condition, subject.cookie(&condition.name, shown));
        }
        let mut properties = self.properties.iter();
        match properties.find(|(property, condition)| !property_holds(property, condition, subject)) {
            Some((property, condition)) => {
                missed("property", condition, shown(property.read().map(Value::into_text).as_deref()))
            }
            None => Ok(()),
        }
    }
}

/// What the path has to be.
impl std::fmt::Display for PathMatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.kind {
            PathKind::Any => f.write_str("any"),
            PathKind::Exact(text) => write!(f, "{text:?}"),
            PathKind::Prefix(text) => write!(f, "one that begins with {text:?}"),
            PathKind::SeparatedPrefix(text) => write!(f, "{text:?} or one that begins with {:?}", format!("{text}/")),
            PathKind::Template(_, text) => write!(f, "one like {text:?}"),
            PathKind::Regex(_, text) => write!(f, "a match of {text:?}"),
        }?;
        if self.case == Case::Ignored { f.write_str(", whatever its case") } else { Ok(()) }
    }
}

/// A value of the request in quotes, cut where it is long.
pub fn shown(value: Option<&[u8]>) -> String {
    let Some(value) = value else { return "nothing".to_owned() };
    let text = String::from_utf8_lossy(value);
    if text.chars().count() <= SHOWN {
        return format!("{text:?}");
    }
    format!("{:?}, cut after {SHOWN} of {} bytes", text.chars().take(SHOWN).collect::<String>(), value.len())
}
