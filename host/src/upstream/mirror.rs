//! A copy of a request whose answer nobody waits for (Envoy's `RequestMirrorPolicy`).

use std::{future::poll_fn, pin::Pin, rc::Rc, time::Duration};

use http::{HeaderValue, header::HOST};
use http_body::Body;

use super::{
    Outgoing,
    dispatch::{Replay, dispatch},
};
use crate::cluster::local::LocalCluster;

/// Who gets a copy.
pub struct Mirror {
    /// The cluster.
    pub cluster: Rc<LocalCluster>,
    /// The copy's host is the request's; otherwise it has `-shadow` at its end, as in Envoy.
    pub keep_host: bool,
}

/// When the route has no timeout of its own.
const LONGEST: Duration = Duration::from_secs(60);

/// Sends the copy in a task of its own, and reads the answer to its end.
pub fn send(mirror: Mirror, mut outgoing: Box<Outgoing>, timeout: Option<Duration>) {
    let Mirror { cluster, keep_host } = mirror;
    if !keep_host && let Some(host) = outgoing.fields.get(HOST).and_then(|host| shadow(host.as_bytes())) {
        outgoing.fields.insert(HOST, host);
    }
    tokio::task::spawn_local(async move {
        let sent = async {
            let answered = match dispatch(&cluster, outgoing, Replay::Copy, None, |_| {}).await {
                Ok(answered) => answered,
                Err(error) => {
                    tracing::debug!(cluster = &*cluster.name, "a mirrored request got no answer: {error}");
                    return;
                }
            };
            let mut body = answered.response.into_body();
            while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
                if frame.is_err() {
                    return;
                }
            }
            answered.lease.finish();
        };
        let _late = tokio::time::timeout(timeout.unwrap_or(LONGEST), sent).await;
    });
}

/// `a.example:81` becomes `a.example-shadow:81`.
fn shadow(authority: &[u8]) -> Option<HeaderValue> {
    let port = authority.iter().rposition(|byte| *byte == b':').filter(|colon| {
        let digits = authority.get(colon + 1..).unwrap_or_default();
        digits.iter().all(u8::is_ascii_digit)
    });
    let (host, port) = authority.split_at_checked(port.unwrap_or(authority.len()))?;
    HeaderValue::from_bytes(&[host, b"-shadow", port].concat()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shadows_host_keeps_its_port() {
        for (authority, expected) in
            [("a.b", "a.b-shadow"), ("a.b:81", "a.b-shadow:81"), ("[::1]:81", "[::1]-shadow:81")]
        {
            assert_eq!(shadow(authority.as_bytes()).unwrap(), expected);
        }
    }
}
