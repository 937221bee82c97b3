//! What a service can say.

use fyke_sdk::{Headers, Reply, Result};

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
    pub set: Vec<Pair>,
    pub add: Vec<Pair>,
    /// To the answer; `true`: behind those that are there.
    pub response: Vec<(Pair, bool)>,
}

/// A header.
pub type Pair = (String, Vec<u8>);

impl Changes {
    /// Makes those to the request.
    pub fn apply(&self, headers: &mut Headers) -> Result<()> {
        for name in self.remove.iter().filter(|name| !is_protected(name)) {
            headers.remove(name)?;
        }
        for (name, value) in self.set.iter().filter(|(name, _)| !is_protected(name)) {
            headers.set(name, value)?;
        }
        for (name, value) in self.add.iter().filter(|(name, _)| !is_protected(name)) {
            headers.add(name, value)?;
        }
        Ok(())
    }

    /// Makes those to the answer.
    pub fn apply_to_response(changes: &[(Pair, bool)], headers: &mut Headers) -> Result<()> {
        for ((name, value), append) in changes.iter().filter(|((name, _), _)| !is_protected(name)) {
            if *append {
                headers.add(name, value)?;
            } else {
                headers.set(name, value)?;
            }
        }
        Ok(())
    }
}

/// Without these a message is malformed, or another one.
fn is_protected(name: &str) -> bool {
    name.starts_with(':')
        || ["host", "content-length", "transfer-encoding", "connection"]
            .iter()
            .any(|one| name.eq_ignore_ascii_case(one))
}
