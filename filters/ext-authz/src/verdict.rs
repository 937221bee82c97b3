//! What a service can say.

use fyke_sdk::{Headers, Reply, Request, Result};

use crate::query;

/// What becomes of a request.
#[derive(Debug)]
pub enum Verdict {
    /// It goes on, with these changes.
    Allowed(Changes),
    /// The client gets this.
    Denied(Reply),
}

/// Changes to a request that was allowed, and to its answer.
#[derive(Debug, Default)]
pub struct Changes {
    pub remove: Vec<String>,
    pub request: Vec<(Pair, How)>,
    pub response: Vec<(Pair, How)>,
    pub query: query::Changes,
}

/// A header.
pub type Pair = (String, Vec<u8>);

/// What becomes of those of its name that are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// It goes behind them.
    Append,
    /// It takes their place.
    Overwrite,
    /// They stay, and it is left out.
    IfAbsent,
    /// It takes their place; where there are none it is left out.
    IfThere,
}

impl Changes {
    /// Makes those to the request.
    pub fn apply(&self, request: &mut Request) -> Result<()> {
        for name in self.remove.iter().filter(|name| !is_protected(name)) {
            request.remove(name)?;
        }
        write(&self.request, request)?;
        if let Some(path) = self.query.path(request.path()) {
            request.set(":path", path)?;
        }
        Ok(())
    }
}

/// Writes headers, each as it says.
pub fn write(changes: &[(Pair, How)], headers: &mut Headers) -> Result<()> {
    for ((name, value), how) in changes.iter().filter(|((name, _), _)| !is_protected(name)) {
        match how {
            How::Append => headers.add(name, value)?,
            How::Overwrite => headers.set(name, value)?,
            How::IfAbsent if !headers.contains(name) => headers.set(name, value)?,
            How::IfThere if headers.contains(name) => headers.set(name, value)?,
            How::IfAbsent | How::IfThere => {}
        }
    }
    Ok(())
}

/// Without these a message is malformed, or another one.
pub fn is_protected(name: &str) -> bool {
    name.starts_with(':')
        || ["host", "content-length", "transfer-encoding", "connection"]
            .iter()
            .any(|one| name.eq_ignore_ascii_case(one))
}
