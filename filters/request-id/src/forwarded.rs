//! `x-forwarded-for`, `-proto` and `-host`.

use fyke_sdk::{
    Request, Result,
    property::{Path, Reads, Values, without_port},
};

use crate::config::Told;

const FOR: &str = "x-forwarded-for";

/// Who sent a request, told in headers.
#[derive(Debug)]
pub struct Forwarded {
    /// Whether a proxy of ours is in front of this one.
    trusted: bool,
    told: Told,
    // Where of what is read of every request:
    peer: usize,
    tls: usize,
    authority: usize,
}

impl Forwarded {
    pub fn new(trusted_hops: u32, told: Told, reads: &mut Reads) -> Self {
        Self {
            trusted: trusted_hops > 0 || told == Told::Keep,
            told,
            peer: reads.property(&Path::new(&["source", "address"])),
            tls: reads.property(&Path::new(&["connection", "tls_version"])),
            authority: reads.request_header(":authority"),
        }
    }

    pub fn apply(&self, request: &mut Request, values: &Values) -> Result<()> {
        if self.told == Told::Tell {
            self.append_peer(request, without_port(values.get(self.peer).unwrap_or_default()))?;
        }
        if !(self.trusted && request.contains("x-forwarded-proto")) {
            let tls = values.get(self.tls).is_some_and(|version| !version.is_empty());
            request.set("x-forwarded-proto", if tls { "https" } else { "http" })?;
        }
        if self.told == Told::Tell && !(self.trusted && request.contains("x-forwarded-host")) {
            match values.get(self.authority) {
                // Nothing true can be said, so nothing is.
                None | Some([]) => request.remove("x-forwarded-host")?,
                Some(authority) => request.set("x-forwarded-host", authority)?,
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
