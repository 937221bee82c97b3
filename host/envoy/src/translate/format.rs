//! Envoy's format strings, `%REQ(x-name)%`: which commands in one are not understood.

/// What the router's values of headers may have in them, and `respond.body_format`.
pub(super) const IN_HEADERS: &[&str] = &[
    "REQ",
    "RESP",
    "REQ_WITHOUT_QUERY",
    "PROPERTY",
    "PROTOCOL",
    "START_TIME",
    "ROUTE_NAME",
    "VIRTUAL_HOST_NAME",
    "REQUESTED_SERVER_NAME",
    "UPSTREAM_CLUSTER",
    "UPSTREAM_HOST",
    "RESPONSE_CODE",
    "RESPONSE_CODE_DETAILS",
    "CONNECTION_ID",
    "DOWNSTREAM_REMOTE_ADDRESS",
    "DOWNSTREAM_LOCAL_ADDRESS",
    "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
    "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
    "DOWNSTREAM_REMOTE_PORT",
    "DOWNSTREAM_LOCAL_PORT",
    "DOWNSTREAM_TLS_VERSION",
    "DOWNSTREAM_PEER_SUBJECT",
    "DOWNSTREAM_PEER_URI_SAN",
    "DOWNSTREAM_PEER_DNS_SAN",
    "DOWNSTREAM_PEER_FINGERPRINT_256",
];

/// What lines of access logs may have in them.
pub(super) const IN_LOGS: &[&str] = &[
    "REQ",
    "RESP",
    "TRAILER",
    "PROPERTY",
    "START_TIME",
    "PROTOCOL",
    "RESPONSE_CODE",
    "RESPONSE_CODE_DETAILS",
    "RESPONSE_FLAGS",
    "BYTES_RECEIVED",
    "BYTES_SENT",
    "DURATION",
    "UPSTREAM_HOST",
    "UPSTREAM_CLUSTER",
    "UPSTREAM_TRANSPORT_FAILURE_REASON",
    "ROUTE_NAME",
    "DOWNSTREAM_REMOTE_ADDRESS",
    "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
    "DOWNSTREAM_LOCAL_ADDRESS",
    "REQUESTED_SERVER_NAME",
    "DOWNSTREAM_TLS_VERSION",
];

/// Why a text is no format string here. `None`: it is one.
pub(super) fn problem(text: &str, known: &[&str]) -> Option<String> {
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        let after = rest.get(at + 1..).unwrap_or_default();
        if let Some(escaped) = after.strip_prefix('%') {
            rest = escaped;
            continue;
        }
        if after.starts_with('{') {
            return Some("%{ begins a property here; Envoy has no such command".to_owned());
        }
        let name = after.find(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'));
        let (name, tail) = after.split_at(name.unwrap_or(after.len()));
        // Arguments may have percent signs in them, up to the closing parenthesis.
        let tail = match tail.strip_prefix('(') {
            None => tail,
            Some(arguments) => match arguments.split_once(')') {
                Some((arguments, _)) if name == "START_TIME" && !arguments.is_empty() => {
                    return Some("%START_TIME% has one form here, RFC 3339 with milliseconds".to_owned());
                }
                Some((_, tail)) => tail,
                None => return Some(format!("%{name}( is not closed")),
            },
        };
        let tail = match tail.strip_prefix(':') {
            None => tail,
            Some(length) => length.trim_start_matches(|c: char| c.is_ascii_digit()),
        };
        let Some(next) = tail.strip_prefix('%') else {
            return Some(format!("%{name} is not closed with %"));
        };
        if !known.contains(&name) {
            return Some(format!("the command %{name}% is not known here"));
        }
        rest = next;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_commands_are_no_problem() {
        for text in ["", "plain", "100%%", "%REQ(:path)%", "a %REQ(x?y):10% b %PROTOCOL%", "%RESPONSE_CODE%%%"] {
            assert_eq!(problem(text, IN_HEADERS), None, "{text}");
        }
    }

    #[test]
    fn others_are_named() {
        for (text, expected) in [
            ("%HOSTNAME%", "%HOSTNAME%"),
            ("50% off", "not closed"),
            ("%REQ(x", "not closed"),
            ("%{source.address}", "property"),
            ("%START_TIME(%s)%", "one form"),
            ("%", "not closed"),
        ] {
            let problem = problem(text, IN_HEADERS).unwrap();
            assert!(problem.contains(expected), "{text}: {problem}");
        }
    }
}
