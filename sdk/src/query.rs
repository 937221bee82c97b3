//! The query of a path, decoded.

use std::borrow::Cow;

/// The parameters of a query, as HTML forms write them: `+` is a space, `%41` is `A`; what is no UTF-8 becomes U+FFFD.
///
/// ```
/// use fyke_sdk::Query;
///
/// let query = Query::of_path(b"/search?q=red+fish&tag=a&tag=b%26c&empty");
/// assert_eq!(query.get("q").as_deref(), Some("red fish"));
/// assert_eq!(query.values("tag"), ["a", "b&c"]);
/// assert_eq!(query.get("empty").as_deref(), Some(""));
/// assert_eq!(query.get("none"), None);
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Query<'a> {
    bytes: &'a [u8],
}

impl<'a> Query<'a> {
    /// Of a path with a query: what follows the first `?`.
    #[must_use]
    pub fn of_path(path: &'a [u8]) -> Self {
        let start = path.iter().position(|byte| *byte == b'?').map_or(path.len(), |at| at + 1);
        Self { bytes: path.get(start..).unwrap_or_default() }
    }

    /// As it stands in the path.
    #[must_use]
    pub fn raw(&self) -> &'a [u8] {
        self.bytes
    }

    /// The parameters, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Cow<'a, str>, Cow<'a, str>)> + use<'a> {
        form_urlencoded::parse(self.bytes)
    }

    /// The first value of a parameter.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Cow<'a, str>> {
        self.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// Every value of a parameter, in order.
    #[must_use]
    pub fn values(&self, name: &str) -> Vec<Cow<'a, str>> {
        self.iter().filter(|(key, _)| key == name).map(|(_, value)| value).collect()
    }
}
