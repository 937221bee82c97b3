//! What an answer is, where a decision or a detector asks: the one place of the host that reads an answer's meaning.

use http::{HeaderMap, StatusCode};

use crate::cluster::health::outlier::Outcome;

/// What the head of an answer says of its endpoint. A gRPC call that fails without a message counts as the HTTP status that means
/// the same, as in Envoy.
#[must_use]
pub fn of_answer(status: StatusCode, fields: &HeaderMap) -> Outcome {
    if status == StatusCode::OK && !fields.is_empty() {
        return match grpc_status(fields) {
            None => Outcome::Success,
            Some(code) => Outcome::of_status(http_of_grpc(code)),
        };
    }
    Outcome::of_status(status.as_u16())
}

/// `grpc-status` in the head of an answer: a gRPC call without a message has it there.
#[must_use]
pub fn grpc_status(fields: &HeaderMap) -> Option<u32> {
    fields.get("grpc-status")?.to_str().ok()?.trim().parse().ok()
}

/// The HTTP status that means the same (Envoy's `Grpc::Utility::grpcToHttpStatus`).
fn http_of_grpc(code: u32) -> u16 {
    match code {
        0 => 200,
        1 => 499,
        3 | 9 | 11 => 400,
        4 => 504,
        5 => 404,
        6 | 10 => 409,
        7 => 403,
        8 => 429,
        12 => 501,
        14 => 503,
        16 => 401,
        _ => 500,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn an_answer_counts_by_its_status_and_a_grpc_answer_by_its_own() {
        let grpc = |code: &'static str| {
            HeaderMap::from_iter([(http::HeaderName::from_static("grpc-status"), HeaderValue::from_static(code))])
        };
        for (status, fields, outcome) in [
            (200, HeaderMap::new(), Outcome::Success),
            (404, HeaderMap::new(), Outcome::Success),
            (500, HeaderMap::new(), Outcome::ServerError),
            (503, HeaderMap::new(), Outcome::GatewayError),
            (200, grpc("0"), Outcome::Success),
            (200, grpc("14"), Outcome::GatewayError),
            (200, grpc("13"), Outcome::ServerError),
            (200, grpc("5"), Outcome::Success),
            (200, grpc("x"), Outcome::Success),
        ] {
            assert_eq!(of_answer(StatusCode::from_u16(status).unwrap(), &fields), outcome, "{status} {fields:?}");
        }
    }
}
