//! `POST /v1/clusters/{name}/endpoint`: draining, restoring and weighing one endpoint.

use std::{net::SocketAddr, sync::Arc};

use http::StatusCode;
use percent_encoding::percent_decode_str;
use serde_json::json;

use super::{Admin, actions::Answer, query};
use crate::reload::{
    endpoints::{EndpointChange, EndpointError, Weight},
    keeper,
};

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wish {
    cluster: String,
    address: SocketAddr,
    change: EndpointChange,
}

impl Wish {
    fn read(path: &str, query: &str) -> Result<Self, String> {
        let name = path.strip_prefix("/clusters/").and_then(|rest| rest.strip_suffix("/endpoint")).unwrap_or_default();
        let cluster = percent_decode_str(name).decode_utf8().map_err(|_| "the name of the cluster is not UTF-8")?;
        let (mut address, mut change) = (None, EndpointChange::default());
        for (key, value) in query::pairs(query)? {
            match (key.as_str(), value.as_str()) {
                ("address", text) => {
                    let read = text.parse().map_err(|_| format!("`address` is an address and a port, not `{text}`"))?;
                    address = Some(read);
                }
                ("drain", "true") => change.drain = Some(true),
                ("drain", "false") => change.drain = Some(false),
                ("drain", other) => return Err(format!("`drain` is `true` or `false`, not `{other}`")),
                ("weight", "written") => change.weight = Some(Weight::Written),
                ("weight", text) => {
                    let weight =
                        text.parse().map_err(|_| format!("`weight` is a number or `written`, not `{text}`"))?;
                    change.weight = Some(Weight::Set(weight));
                }
                (key, _) => return Err(query::unknown(key, &["address", "drain", "weight"])),
            }
        }
        if change == EndpointChange::default() {
            return Err("nothing is to be changed: give `drain` or `weight`".to_owned());
        }
        let address = address.ok_or("`address` is missing: which endpoint?")?;
        Ok(Self { cluster: cluster.into_owned(), address, change })
    }
}

/// Answers the operation.
pub(super) async fn run(admin: &Arc<Admin>, path: &str, query: &str, who: String) -> Answer {
    match Wish::read(path, query) {
        Ok(Wish { cluster, address, change }) => make(admin, cluster, address, change, who).await,
        Err(error) => (StatusCode::BAD_REQUEST, json!({ "error": error })),
    }
}

/// Makes a change, on a thread that may take its time over the balancer's tables.
pub(super) async fn make(
    admin: &Arc<Admin>,
    cluster: String,
    address: SocketAddr,
    change: EndpointChange,
    who: String,
) -> Answer {
    let keeper = Arc::clone(&admin.keeper);
    let made = keeper::aside(move || keeper.change_endpoint(&who, &cluster, address, change)).await;
    match made {
        Ok(Ok(true)) => (StatusCode::OK, json!({ "outcome": "applied" })),
        Ok(Ok(false)) => (StatusCode::OK, json!({ "outcome": "unchanged" })),
        Ok(Err(error @ EndpointError::Weight(_))) => (StatusCode::BAD_REQUEST, json!({ "error": error.to_string() })),
        Ok(Err(error)) => (StatusCode::NOT_FOUND, json!({ "error": error.to_string() })),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, json!({ "error": error.to_string() })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_is_understood_to_its_end_or_refused() {
        let read = |query| Wish::read("/clusters/a%20b/endpoint", query);
        let wish = read("address=127.0.0.1:80&drain=true&weight=7").unwrap();
        assert_eq!((wish.cluster.as_str(), wish.address), ("a b", ([127, 0, 0, 1], 80).into()));
        assert_eq!(wish.change, EndpointChange { drain: Some(true), weight: Some(Weight::Set(7)) });
        let written = read("weight=written&address=[::1]:80").unwrap();
        assert_eq!(written.change, EndpointChange { drain: None, weight: Some(Weight::Written) });
        for wrong in [
            "",
            "drain=true",
            "address=127.0.0.1:80",
            "address=127.0.0.1&drain=true",
            "address=127.0.0.1:80&drain=1",
            "address=127.0.0.1:80&weight=-1",
            "address=127.0.0.1:80&weigh=1",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
