//! Whether a route matches a request, and how much of its path that took.

use std::rc::Rc;

use fyke_sdk::property::{Typed, Value};
use fyke_sdk::units::Percent;
use fyke_sdk::{ConfigError, random};

use crate::case::Case;
use crate::config::{Match, OneOrMany, PropertyMatch, TlsMatch, ValueMatch};
use crate::index::Key;
use crate::path_regex::PathRegex;
use crate::rewrite::check_path;
use crate::scan::{Part, Scan};
use crate::subject::Subject;
use crate::uri_template::UriTemplate;
use crate::values::{Condition, query_value};

mod explain;

pub use explain::{Chance, shown};

/// All conditions of one route.
#[derive(Debug)]
pub struct Matcher {
    pub path: PathMatch,
    methods: Vec<String>,
    scheme: Option<String>,
    grpc: Option<bool>,
    connect: Option<bool>,
    /// Whether the client has shown a certificate.
    certificate: Option<(Typed, bool)>,
    headers: Vec<Condition>,
    query: Vec<Condition>,
    cookies: Vec<Condition>,
    properties: Vec<(Typed, Condition)>,
    fraction: Option<Percent>,
}

impl Matcher {
    pub fn build(mut raw: Match) -> Result<Self, ConfigError> {
        let path = PathMatch::build(&mut raw)?;
        let methods = match raw.method {
            None => Vec::new(),
            Some(OneOrMany::One(method)) => vec![method],
            Some(OneOrMany::Many(methods)) if methods.is_empty() => {
                return Err(ConfigError::at("method", "must not be empty; leave it out for every method"));
            }
            Some(OneOrMany::Many(methods)) => methods,
        };
        if let Some(bad) =
            methods.iter().find(|method| method.is_empty() || !method.bytes().all(|byte| byte.is_ascii_graphic()))
        {
            return Err(ConfigError::at("method", format!("\"{bad}\" is not a method")));
        }
        if raw.scheme.as_ref().is_some_and(|scheme| scheme != "http" && scheme != "https") {
            return Err(ConfigError::at("scheme", "must be http or https"));
        }
        let mut headers = conditions(raw.headers, "headers")?;
        for condition in &mut headers {
            condition.name.make_ascii_lowercase();
        }
        let properties = raw.properties.into_iter().enumerate();
        let properties = properties
            .map(|(at, raw)| property(raw).map_err(|error| error.under(format!("properties[{at}]"))))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            path,
            methods,
            scheme: raw.scheme,
            grpc: raw.grpc,
            connect: raw.connect,
            certificate: raw.tls.as_ref().map(certificate).transpose().map_err(|error| error.under("tls"))?,
            headers,
            query: conditions(raw.query, "query")?,
            cookies: conditions(raw.cookies, "cookies")?,
            properties,
            fraction: raw.fraction,
        })
    }

    /// How many bytes of the path were recognised, if all conditions hold.
    pub fn matches(&self, subject: &Subject<'_>) -> Option<usize> {
        if subject.path.is_empty() && !self.is_for_connect() && subject.request.method() == b"CONNECT" {
            // Without a path it is meant by no other condition (as in Envoy).
            return None;
        }
        let matched = self.path.matches(subject.path, &subject.scan)?;
        let holds = self.kind_matches(subject)
            && self.values_match(subject)
            // Last, so that the share is one of the requests that the route would otherwise get.
            && self.fraction.is_none_or(|share| random::chance(share.fraction()));
        holds.then_some(matched)
    }

    /// Whether it matches nothing but CONNECT.
    pub fn is_for_connect(&self) -> bool {
        self.connect == Some(true)
    }

    fn kind_matches(&self, subject: &Subject<'_>) -> bool {
        self.method_matches(subject)
            && self.connect_matches(subject)
            && self.scheme_matches(subject)
            && self.grpc_matches(subject)
            && self.certificate_matches()
    }

    fn method_matches(&self, subject: &Subject<'_>) -> bool {
        self.methods.is_empty() || self.methods.iter().any(|method| method.as_bytes() == subject.request.method())
    }

    fn connect_matches(&self, subject: &Subject<'_>) -> bool {
        self.connect.is_none_or(|wanted| (subject.request.method() == b"CONNECT") == wanted)
    }

    fn scheme_matches(&self, subject: &Subject<'_>) -> bool {
        self.scheme.as_ref().is_none_or(|scheme| subject.request.scheme().eq_ignore_ascii_case(scheme.as_bytes()))
    }

    fn grpc_matches(&self, subject: &Subject<'_>) -> bool {
        self.grpc.is_none_or(|wanted| is_grpc(subject.request.get("content-type")) == wanted)
    }

    fn certificate_matches(&self) -> bool {
        self.certificate
            .as_ref()
            .is_none_or(|(mtls, wanted)| matches!(mtls.read(), Some(Value::Boolean(true))) == *wanted)
    }

    fn values_match(&self, subject: &Subject<'_>) -> bool {
        self.headers.iter().all(|condition| header_holds(condition, subject))
            && self.query.iter().all(|condition| query_holds(condition, subject))
            && self.cookies.iter().all(|condition| cookie_holds(condition, subject))
            && self.properties.iter().all(|(property, condition)| property_holds(property, condition, subject))
    }
}

/// Whether a condition on a header holds.
pub fn header_holds(condition: &Condition, subject: &Subject<'_>) -> bool {
    subject.header(&condition.name, |value| condition.holds(value, &subject.scan, Part::Header))
}

fn query_holds(condition: &Condition, subject: &Subject<'_>) -> bool {
    condition.holds(query_value(subject.query, &condition.name).as_deref(), &subject.scan, Part::Target)
}

fn cookie_holds(condition: &Condition, subject: &Subject<'_>) -> bool {
    subject.cookie(&condition.name, |value| condition.holds(value, &subject.scan, Part::Header))
}

fn property_holds(property: &Typed, condition: &Condition, subject: &Subject<'_>) -> bool {
    condition.holds(property.read().map(Value::into_text).as_deref(), &subject.scan, Part::Header)
}

/// `application/grpc`, and its kinds such as `application/grpc+proto`.
fn is_grpc(content_type: Option<&[u8]>) -> bool {
    let kind = content_type.and_then(|kind| Case::Ignored.after(kind, b"application/grpc"));
    kind.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

fn certificate(raw: &TlsMatch) -> Result<(Typed, bool), ConfigError> {
    let wanted = match (raw.presented, raw.validated) {
        (Some(presented), Some(validated)) if presented != validated => {
            return Err(ConfigError::new("never holds: a listener checks every certificate that it asks for"));
        }
        (Some(wanted), _) | (None, Some(wanted)) => wanted,
        (None, None) => return Err(ConfigError::new("needs presented or validated")),
    };
    Ok((Typed::of(&["connection", "mtls"]).map_err(ConfigError::new)?, wanted))
}

/// Conditions, each at its place under `key`.
pub fn conditions(raw: Vec<ValueMatch>, key: &str) -> Result<Vec<Condition>, ConfigError> {
    raw.into_iter()
        .enumerate()
        .map(|(at, raw)| Condition::build(raw).map_err(|error| error.under(format!("{key}[{at}]"))))
        .collect()
}

fn property(raw: PropertyMatch) -> Result<(Typed, Condition), ConfigError> {
    let segments: Vec<&str> = raw.path.iter().map(String::as_str).collect();
    let property = Typed::of(&segments).map_err(|message| ConfigError::at("path", message))?;
    let condition = Condition::build(ValueMatch {
        name: raw.path.join("."),
        exact: raw.exact,
        any_of: raw.any_of,
        prefix: raw.prefix,
        suffix: raw.suffix,
        contains: raw.contains,
        regex: raw.regex,
        range: raw.range,
        present: raw.present,
        ignore_case: raw.ignore_case,
        treat_missing_as_empty: raw.treat_missing_as_empty,
        invert: raw.invert,
    })?;
    Ok((property, condition))
}

/// The condition on the path, without its query.
#[derive(Debug)]
pub struct PathMatch {
    kind: PathKind,
    case: Case,
}

#[derive(Debug)]
enum PathKind {
    /// Any.
    Any,
    /// This one.
    Exact(String),
    /// Those that begin so.
    Prefix(String),
    /// Those that begin so and end there or go on with a slash.
    SeparatedPrefix(String),
    /// Those that a template matches.
    Template(Rc<UriTemplate>, Box<str>),
    /// Those that an expression matches from end to end.
    Regex(PathRegex, Box<str>),
}

impl PathMatch {
    fn build(raw: &mut Match) -> Result<Self, ConfigError> {
        let (exact, prefix, separated) = (raw.path.take(), raw.path_prefix.take(), raw.path_separated_prefix.take());
        for (key, text) in [("path", &exact), ("path_prefix", &prefix), ("path_separated_prefix", &separated)] {
            let Some(text) = text else { continue };
            if key == "path" && text == "*" {
                continue; // OPTIONS *
            }
            check_path(text).map_err(|error| error.under(key))?;
            if text.contains(['?', '#']) {
                return Err(ConfigError::at(key, "is compared without the query; use `query` for that"));
            }
            if key == "path_separated_prefix" && text.ends_with('/') {
                return Err(ConfigError::at(key, "must not end with '/'; the separation is its own"));
            }
        }
        let regex = raw.path_regex.take().map(|pattern| match PathRegex::build(&pattern) {
            Ok(regex) => Ok(PathKind::Regex(regex, pattern.into())),
            Err(error) => Err(error.under("path_regex")),
        });
        let template = raw.path_template.take().map(|text| match UriTemplate::parse(&text) {
            Ok(template) => Ok(PathKind::Template(Rc::new(template), text.into())),
            Err(error) => Err(error.under("path_template")),
        });
        let mut all = [
            exact.map(PathKind::Exact),
            prefix.map(PathKind::Prefix),
            separated.map(PathKind::SeparatedPrefix),
            regex.transpose()?,
            template.transpose()?,
        ]
        .into_iter()
        .flatten();
        let kind = all.next().unwrap_or(PathKind::Any);
        if all.next().is_some() {
            return Err(ConfigError::new(
                "needs only one of path, path_prefix, path_separated_prefix, path_regex and path_template",
            ));
        }
        if raw.ignore_case {
            match &kind {
                PathKind::Any => return Err(ConfigError::at("ignore_case", "means nothing without a path")),
                PathKind::Regex(..) => {
                    return Err(ConfigError::at("ignore_case", "is (?i) at the beginning of the expression"));
                }
                _ => {}
            }
        }
        Ok(Self { kind, case: Case::ignored(raw.ignore_case) })
    }

    /// Whether it recognises a beginning that another one can take the place of.
    pub fn has_prefix(&self) -> bool {
        matches!(self.kind, PathKind::Exact(_) | PathKind::Prefix(_) | PathKind::SeparatedPrefix(_))
    }

    /// The template, if it is one.
    pub fn template(&self) -> Option<Rc<UriTemplate>> {
        match &self.kind {
            PathKind::Template(template, _) => Some(Rc::clone(template)),
            _ => None,
        }
    }

    /// Where the index keeps it.
    pub fn key(&self) -> Key {
        match &self.kind {
            PathKind::Any => Key::Beginning(String::new(), Case::Counts),
            PathKind::Exact(text) => Key::Whole(text.clone(), self.case),
            PathKind::Prefix(text) | PathKind::SeparatedPrefix(text) => Key::Beginning(text.clone(), self.case),
            PathKind::Template(template, _) => Key::Beginning(template.beginning(), self.case),
            PathKind::Regex(regex, _) => Key::Beginning(regex.beginning().to_owned(), Case::Counts),
        }
    }

    /// How many bytes of the path it recognised, if it matches.
    pub fn matches(&self, path: &[u8], scan: &Scan) -> Option<usize> {
        match &self.kind {
            PathKind::Any => Some(0),
            PathKind::Exact(text) => self.case.equal(path, text.as_bytes()).then_some(path.len()),
            PathKind::Prefix(text) => self.case.after(path, text.as_bytes()).map(|_| text.len()),
            PathKind::SeparatedPrefix(text) => {
                let rest = self.case.after(path, text.as_bytes())?;
                (rest.is_empty() || rest.starts_with(b"/")).then_some(text.len())
            }
            PathKind::Template(template, _) => template.matches(path, self.case).then_some(path.len()),
            PathKind::Regex(regex, _) => regex.matches(path, scan).then_some(path.len()),
        }
    }
}
