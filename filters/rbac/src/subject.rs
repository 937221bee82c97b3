//! A request or a connection, as far as conditions look at it.

use std::net::IpAddr;

use fyke_sdk::{Request, property};

use crate::network::address_of;

/// `None`: a connection, which has neither headers nor a path.
pub struct Subject<'a>(pub Option<&'a Request>);

impl Subject<'_> {
    /// All values of a header, joined by commas: a second one cannot hide behind the first.
    pub fn header(&self, name: &str) -> Option<Vec<u8>> {
        let request = self.0?;
        if name.starts_with(':') {
            return request.get(name).map(<[u8]>::to_vec);
        }
        let mut values = request.values(name).into_iter();
        let mut all = values.next()?;
        for value in values {
            all.push(b',');
            all.extend_from_slice(&value);
        }
        Some(all)
    }

    /// Without query and fragment.
    pub fn path(&self) -> Option<&[u8]> {
        self.0?.path().split(|byte| matches!(byte, b'?' | b'#')).next()
    }

    pub fn server_name(&self) -> Option<Vec<u8>> {
        property::read(&["connection", "requested_server_name"]).filter(|name| !name.is_empty())
    }

    pub fn source_ip(&self) -> Option<IpAddr> {
        address_of(&property::read(&["source", "address"])?)
    }

    pub fn destination_ip(&self) -> Option<IpAddr> {
        address_of(&property::read(&["destination", "address"])?)
    }

    pub fn destination_port(&self) -> Option<i64> {
        property::integer(&["destination", "port"])
    }

    /// What the certificate that the client has shown says of it: the first URI, the first name, the subject. `None`: it has shown none.
    pub fn principals(&self) -> Option<impl Iterator<Item = Vec<u8>>> {
        let shown = property::read(&["connection", "mtls"]).is_some_and(|shown| shown.first() == Some(&1));
        let names = ["uri_san_peer_certificate", "dns_san_peer_certificate", "subject_peer_certificate"];
        let read = |name| property::read(&["connection", name]).filter(|value| !value.is_empty());
        shown.then(|| names.into_iter().filter_map(read))
    }
}
