//! `x-forwarded-for`, `-proto` and `-host`.

use fyke_sdk::{
    Request, Result,
    property::{Path, without_port},
};

const FOR: &str = "x-forwarded-for";

/// Who sent a request, told in headers.
#[derive(Debug)]
pub struct Forwarded {
    /// Whether a proxy of ours is in front of this one.
    trusted: bool,
    peer: Path,
    tls: Path,
}

impl Forwarded {
    pub fn new(trusted_hops: u32) -> Self {
        Self {
            trusted: trusted_hops > 0,
            peer: Path::new(&["source", "address"]),
            tls: Path::new(&["connection", "tls_version"]),
        }
    }

    pub fn apply(&self, request: &mut Request) -> Result<()> {
        let peer = self.peer.read().unwrap_or_default();
        self.append_peer(request, without_port(&peer))?;
        if !(self.trusted && request.contains("x-forwarded-proto")) {
            let tls = self.tls.read().is_some_and(|version| !version.is_empty());
            request.set("x-forwarded-proto", if tls { "https" } else { "http" })?;
        }
        if !(self.trusted && request.contains("x-forwarded-host")) {
            match request.authority().to_vec() {
                // Nothing true can be said, so nothing is.
                authority if authority.is_empty() => request.remove("x-forwarded-host")?,
                authority => request.set("x-forwarded-host", authority)?,
            }
        }
        Ok(())
    }

    fn append_peer(&self, request: &mut Request, peer: &[u8]) -> Result<()> {
        if !self.trusted {
            return if peer.is_empty() { request.remove(FOR) } else { request.set(FOR, peer) };
        }
        let mut list = Vec::new();
        // All of them: what stands in a second header is as much a part of the list.
        for value in request.values(FOR) {
            push(&mut list, &value);
        }
        push(&mut list, peer);
        if list.is_empty() { request.remove(FOR) } else { request.set(FOR, list) }
    }
}

fn push(list: &mut Vec<u8>, value: &[u8]) {
    if value.is_empty() {
        return;
    }
    if !list.is_empty() {
        list.extend_from_slice(b", ");
    }
    list.extend_from_slice(value);
}
