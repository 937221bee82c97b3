//! Changes to a request's query.

use fyke_sdk::Query;

/// Parameters that go, and parameters that come.
#[derive(Debug, Default)]
pub struct Changes {
    /// In place of those of their names.
    pub set: Vec<(String, String)>,
    pub remove: Vec<String>,
}

impl Changes {
    /// The path with them; `None`: it stays. What is not named stays as it is written, and in its order. What is set comes last, and what is removed
    /// is gone even if it was set.
    pub fn path(&self, path: &[u8]) -> Option<Vec<u8>> {
        if self.set.is_empty() && self.remove.is_empty() {
            return None;
        }
        let names: Vec<&str> = self.set.iter().map(|(name, _)| name).chain(&self.remove).map(String::as_str).collect();
        let end = path.iter().position(|byte| *byte == b'?').unwrap_or(path.len());
        let (bare, query) = path.split_at(end);
        let parameters = query.get(1..).unwrap_or_default().split(|byte| *byte == b'&');
        let kept = parameters.filter(|parameter| !is_named(parameter, &names)).map(<[u8]>::to_vec);
        let set = self.set.iter().filter(|(name, _)| !name.is_empty() && !self.remove.contains(name));
        let set = set.map(|(name, value)| {
            let mut parameter = escaped(name, b"&=+");
            parameter.push(b'=');
            parameter.extend(escaped(value, b"&"));
            parameter
        });
        let parameters: Vec<Vec<u8>> = kept.chain(set).filter(|parameter| !parameter.is_empty()).collect();
        let mut changed = bare.to_vec();
        if !parameters.is_empty() {
            changed.push(b'?');
            changed.extend(parameters.join(&b'&'));
        }
        (changed != path).then_some(changed)
    }
}

/// By its name as it is written or as it is meant: nobody gets past a service by writing `%75ser`.
fn is_named(parameter: &[u8], names: &[&str]) -> bool {
    let written = parameter.split(|byte| *byte == b'=').next().unwrap_or_default();
    let question = [b"?", written].concat();
    let meant = Query::of_path(&question).iter().next().map(|(meant, _)| meant);
    names.iter().any(|name| written == name.as_bytes() || meant.as_deref() == Some(name))
}

/// Services for Envoy write parameters as they go into a path, so that `%` stays. What would end the parameter, or is no part of a path, is escaped.
fn escaped(text: &str, also: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_graphic() && !b"#\"<>".contains(&byte) && !also.contains(&byte) {
            out.push(byte);
        } else {
            out.extend(format!("%{byte:02X}").bytes());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(path: &str, set: &[(&str, &str)], remove: &[&str]) -> Option<String> {
        let set = set.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let remove = remove.iter().map(|name| (*name).to_owned()).collect();
        Changes { set, remove }.path(path.as_bytes()).map(|path| String::from_utf8(path).unwrap())
    }

    #[test]
    fn what_is_not_named_stays_as_it_is_written() {
        assert_eq!(changed("/a?x=%41&&y", &[], &[]), None);
        assert_eq!(changed("/a?x=%41&y", &[], &["z"]), None);
        assert_eq!(changed("/a?x=%41&y", &[("z", "1")], &[]).unwrap(), "/a?x=%41&y&z=1");
        assert_eq!(changed("/a", &[("z", "")], &[]).unwrap(), "/a?z=");
    }

    #[test]
    fn every_spelling_of_a_name_is_found() {
        let path = "/a?user=1&b=2&%75ser=3&user&us+er=4";
        assert_eq!(changed(path, &[], &["user"]).unwrap(), "/a?b=2&us+er=4");
        assert_eq!(changed(path, &[("user", "me"), ("us er", "x")], &[]).unwrap(), "/a?b=2&user=me&us%20er=x");
        assert_eq!(changed("/a?user=1", &[], &["user"]).unwrap(), "/a");
        assert_eq!(changed("/a?user=1", &[("user", "2")], &["user"]).unwrap(), "/a");
    }

    #[test]
    fn values_cannot_leave_their_parameter() {
        let path = changed("/a", &[("n=&", "a b&c=d#e\r\né%20")], &[]).unwrap();
        assert_eq!(path, "/a?n%3D%26=a%20b%26c=d%23e%0D%0A%C3%A9%20");
    }
}
