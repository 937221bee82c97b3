//! Every operation of the endpoint, once: what is not here cannot be asked for, and what is here is described.
//!
//! The table leads to the code ([`find`]) and to the description (`/v1/openapi.json`), so that neither can have what the other lacks.

mod table;

use http::Method;

pub(super) use self::table::ALL;
use super::access::Right;

/// What a version's paths begin with.
pub(super) const VERSION: &str = "/v1";

/// An operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Id {
    Index,
    IsLive,
    Ready,
    Status,
    Config,
    Generations,
    Audit,
    Clusters,
    Filters,
    Filter,
    Explain,
    Metrics,
    Logging,
    SetLogging,
    OpenApi,
    Events,
    Live,
    Tap,
    SupportBundle,
    Reload,
    Rollback,
    Release,
    Drain,
    ChangeEndpoint,
    LoadFilter,
    RemoveFilter,
    PromoteFilter,
    AbortFilter,
    RollbackFilter,
}

/// Below which prefixes it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// With the version and without.
    Both,
    /// Only with it.
    Versioned,
    /// Only without it.
    Bare,
}

/// Where a parameter is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum In {
    Path,
    Query,
    Header,
}

/// A parameter.
#[derive(Debug)]
pub(super) struct Parameter {
    pub name: &'static str,
    pub place: In,
    /// Its JSON Schema, as text.
    pub schema: &'static str,
    pub about: &'static str,
}

/// A body or an answer, of one content type.
#[derive(Debug)]
pub(super) struct Content {
    /// Without parameters.
    pub kind: &'static str,
    /// A name among the schemas; empty: bytes or text.
    pub schema: &'static str,
}

/// An answer.
#[derive(Debug)]
pub(super) struct Answered {
    pub status: u16,
    pub about: &'static str,
    pub contents: &'static [Content],
}

/// An operation, described.
#[derive(Debug)]
pub(super) struct Operation {
    pub id: Id,
    /// Unique, for generated clients.
    pub name: &'static str,
    pub method: Method,
    /// Without the version. `{name}` is one segment.
    pub path: &'static str,
    pub place: Place,
    pub right: Right,
    pub about: &'static str,
    pub parameters: &'static [Parameter],
    pub body: &'static [Content],
    /// Besides those that everything may have: 401, 403, 404, 405.
    pub answers: &'static [Answered],
}

/// What a request asks for.
#[derive(Debug)]
pub(super) enum Found<'a> {
    /// This.
    Operation(&'static Operation, &'a str),
    /// There is such a path, but only for these methods.
    Method(Vec<&'static Method>),
    /// There is none.
    Nothing,
}

/// What is asked for. The path that comes with an operation has no version any more.
pub(super) fn find<'a>(method: &Method, path: &'a str) -> Found<'a> {
    let versioned = path.strip_prefix(VERSION).filter(|rest| rest.starts_with('/'));
    let rest = versioned.unwrap_or(path);
    let fits = |operation: &&Operation| {
        let is_here = match operation.place {
            Place::Both => true,
            Place::Versioned => versioned.is_some(),
            Place::Bare => versioned.is_none(),
        };
        is_here && is_at(operation.path, rest)
    };
    let method = if method == Method::HEAD { &Method::GET } else { method };
    let mut methods = Vec::new();
    for operation in ALL.iter().filter(fits) {
        if operation.method == method {
            return Found::Operation(operation, rest);
        }
        methods.push(&operation.method);
    }
    if methods.is_empty() { Found::Nothing } else { Found::Method(methods) }
}

fn is_at(template: &str, path: &str) -> bool {
    let (mut wanted, mut given) = (template.split('/'), path.split('/'));
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return true,
            (Some(wanted), Some(given)) if wanted == given || (wanted == "{name}" && !given.is_empty()) => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn found(method: Method, path: &str) -> Option<Id> {
        match find(&method, path) {
            Found::Operation(operation, _) => Some(operation.id),
            Found::Method(_) | Found::Nothing => None,
        }
    }

    #[test]
    fn operations_are_found_with_and_without_their_version() {
        for (method, path, id) in [
            (Method::GET, "/status", Some(Id::Status)),
            (Method::HEAD, "/v1/status", Some(Id::Status)),
            (Method::GET, "/live", Some(Id::IsLive)),
            (Method::GET, "/v1/live", Some(Id::Live)),
            (Method::GET, "/events", None),
            (Method::GET, "/v1/events", Some(Id::Events)),
            (Method::GET, "/v1", None),
            (Method::GET, "/v1/", Some(Id::Index)),
            (Method::GET, "/v1/v1/status", None),
            (Method::GET, "/v2/status", None),
            (Method::GET, "/v1status", None),
            (Method::PUT, "/v1/filters/a%2Fb", Some(Id::LoadFilter)),
            (Method::POST, "/filters/a/promote", Some(Id::PromoteFilter)),
            (Method::GET, "/filters/", None),
            (Method::GET, "/filters/a/b", None),
        ] {
            assert_eq!(found(method.clone(), path), id, "{method} {path}");
        }
        assert!(matches!(find(&Method::PATCH, "/filters/a"), Found::Method(methods) if methods.len() == 3));
    }

    #[test]
    fn each_operation_is_there_once_and_can_be_reached() {
        let (mut names, mut ids, mut places) = (BTreeSet::new(), std::collections::HashSet::new(), BTreeSet::new());
        for operation in ALL {
            assert!(names.insert(operation.name) && ids.insert(operation.id), "{} twice", operation.name);
            assert!(places.insert((operation.method.as_str(), operation.path, operation.place == Place::Versioned)));
            let path = operation.path.replace("{name}", "f");
            let path = if operation.place == Place::Bare { path } else { format!("{VERSION}{path}") };
            assert_eq!(found(operation.method.clone(), &path), Some(operation.id));
            assert!(operation.about.ends_with('.') && !operation.answers.is_empty(), "{}", operation.name);
            assert_eq!(operation.path.contains("{name}"), operation.parameters.iter().any(|one| one.place == In::Path));
            // What changes something needs to be allowed to.
            assert!(operation.method == Method::GET || operation.right == Right::Change, "{}", operation.name);
        }
    }
}
