//! Paths.

use percent_encoding::percent_decode_str;

use crate::{
    error::{Reason, Refusal},
    host::{Selector, ServiceName},
};

/// What a path is of.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// `/v1/registration/:service`
    Service(ServiceName),
    /// `/v1/registration/:service/:ip[:port]`
    Host(ServiceName, Selector),
    /// `/v1/loadbalancing/:service[/:ip[:port]]`
    Weight(ServiceName, Option<Selector>),
    /// `/v3/discovery:endpoints`
    Endpoints,
    /// `/v1/services`
    Services,
    /// `/healthz`
    Health,
    /// `/metrics`
    Metrics,
}

impl Target {
    /// Reads a path. One slash at its end does not count: clients of others' registries have it.
    pub(super) fn read(path: &str) -> Result<Self, Refusal> {
        let path = path.strip_suffix('/').unwrap_or(path);
        let segments: Result<Vec<_>, _> =
            path.split('/').skip(1).map(|segment| percent_decode_str(segment).decode_utf8()).collect();
        let nothing = || Refusal::new(Reason::NotFound, "there is nothing at this path");
        let segments = segments.map_err(|_| nothing())?;
        let segments: Vec<&str> = segments.iter().map(|segment| &**segment).collect();
        Ok(match segments.as_slice() {
            ["v1", "registration", service] => Self::Service(ServiceName::parse(service)?),
            ["v1", "registration", service, host] => Self::Host(ServiceName::parse(service)?, Selector::parse(host)?),
            ["v1", "loadbalancing", service] => Self::Weight(ServiceName::parse(service)?, None),
            ["v1", "loadbalancing", service, host] => {
                Self::Weight(ServiceName::parse(service)?, Some(Selector::parse(host)?))
            }
            ["v1", "services"] => Self::Services,
            ["v3", "discovery:endpoints"] => Self::Endpoints,
            ["healthz"] => Self::Health,
            ["metrics"] => Self::Metrics,
            _ => return Err(nothing()),
        })
    }

    /// Methods that it has.
    pub(super) fn allow(&self) -> &'static str {
        match self {
            Self::Service(_) => "GET, HEAD, POST",
            Self::Host(..) => "DELETE",
            Self::Weight(..) => "POST, DELETE",
            Self::Endpoints => "POST",
            Self::Services | Self::Health | Self::Metrics => "GET, HEAD",
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_are_read() {
        let users = || ServiceName::parse("users").unwrap();
        let selector = |text| Selector::parse(text).unwrap();
        for (path, target) in [
            ("/v1/registration/users", Target::Service(users())),
            ("/v1/registration/users/", Target::Service(users())),
            ("/v1/registration/users/10.0.0.1", Target::Host(users(), selector("10.0.0.1"))),
            ("/v1/registration/users/[fd00::1]:80", Target::Host(users(), selector("[fd00::1]:80"))),
            ("/v1/registration/users/%5Bfd00%3A%3A1%5D:80", Target::Host(users(), selector("[fd00::1]:80"))),
            ("/v1/loadbalancing/users", Target::Weight(users(), None)),
            ("/v1/loadbalancing/users/fd00::1", Target::Weight(users(), Some(selector("fd00::1")))),
            ("/v3/discovery:endpoints", Target::Endpoints),
            ("/v3/discovery%3Aendpoints", Target::Endpoints),
        ] {
            assert_eq!(Target::read(path), Ok(target), "{path}");
        }
        for (path, reason) in [
            ("/", Reason::NotFound),
            ("", Reason::NotFound),
            ("*", Reason::NotFound),
            ("/v1/registration", Reason::NotFound),
            ("/v1/registration/users/10.0.0.1/80", Reason::NotFound),
            ("/v1/registration//", Reason::Invalid),
            ("/v1/registration/a%2fb", Reason::Invalid),
            ("/v1/registration/%ff", Reason::NotFound),
            ("/v1/registration/users/nowhere", Reason::Invalid),
            ("/v2/discovery:endpoints", Reason::NotFound),
        ] {
            assert_eq!(Target::read(path).unwrap_err().reason, reason, "{path}");
        }
    }

    proptest! {
        #[test]
        fn no_path_makes_it_panic(path in r"(/(v1|registration|loadbalancing|users|[%a-f0-9:.\[\]]{0,9})){0,6}/?") {
            let _ = Target::read(&path);
        }
    }
}
