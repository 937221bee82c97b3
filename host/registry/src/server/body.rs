//! Bodies of requests: forms or JSON, up to 64 KiB, within ten seconds.

use std::{error::Error, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Body;
use serde_json::Value;

use crate::{
    error::{Problem, Reason, Refusal},
    host::{Fields, form},
};

const LARGEST: usize = 64 * 1024;
const SLOWEST: Duration = Duration::from_secs(10);

/// What a path takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    FormOrJson,
    Json,
}

/// The fields of a body.
pub(super) async fn fields<B>(headers: &HeaderMap, body: B, takes: Takes) -> Result<Fields, Refusal>
where
    B: Body,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    // Parameters, such as a charset, do not matter: both are UTF-8.
    let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match (kind.as_str(), takes) {
        ("application/json", _) => json(&read(body).await?).map_err(Refusal::from),
        ("application/x-www-form-urlencoded", Takes::FormOrJson) => form(&read(body).await?).map_err(Refusal::from),
        (_, takes) => {
            let taken = match takes {
                Takes::FormOrJson => "application/json or application/x-www-form-urlencoded",
                Takes::Json => "application/json",
            };
            Err(Refusal::new(Reason::MediaType, format!("content-type must be {taken}")))
        }
    }
}

fn json(body: &[u8]) -> Result<Fields, Problem> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_) => Err(Problem::new("", "the body must be a JSON object")),
        Err(error) => Err(Problem::new("", format!("the body is not JSON: {error}"))),
    }
}

async fn read<B>(body: B) -> Result<Bytes, Refusal>
where
    B: Body,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let too_large = || Refusal::new(Reason::TooLarge, format!("the body must have at most {LARGEST} bytes"));
    // It says so itself: nothing of it is read.
    if usize::try_from(body.size_hint().lower()).map_or(true, |announced| announced > LARGEST) {
        return Err(too_large());
    }
    match tokio::time::timeout(SLOWEST, Limited::new(body, LARGEST).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(Refusal::new(Reason::Invalid, "the body was cut off")),
        Err(_) => Err(Refusal::new(Reason::Timeout, "the body came too slowly")),
    }
}
