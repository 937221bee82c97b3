//! Bytes, and what must come back (`HealthCheck.TcpHealthCheck`).
//!
//! The patterns must appear in their order; what lies before, between and behind them is passed over. As in Envoy a
//! host that closes before all have come has failed as a network does: by the threshold.

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    Failure, TcpCheck, Verdict,
    raw::{self, Asked, RECEIVE_LIMIT, Read},
};

pub(super) async fn ask<I>(check: &TcpCheck, io: &mut I) -> Result<Asked, Failure>
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    raw::send(io, &check.send).await?;
    let mut received = Vec::new();
    let mut search = Search { patterns: &check.receive, from: 0 };
    while !search.finds_all(&received) {
        if raw::read(io, &mut received, RECEIVE_LIMIT).await? == Read::Closed {
            return Err(missing(search.patterns, &received));
        }
    }
    // A host that speaks first says it once per connection: only one that answers can be asked again.
    let again = !check.send.is_empty() && !check.receive.is_empty();
    Ok(if again { Asked::keep(Verdict::Passed) } else { Asked::close(Verdict::Passed) })
}

fn missing(patterns: &[Bytes], received: &[u8]) -> Failure {
    let wanted = patterns.first().map(|pattern| raw::excerpt(pattern)).unwrap_or_default();
    let received = raw::excerpt(received);
    Failure::network(format!("connection closed before \"{wanted}\" was answered; it answered \"{received}\""))
}

/// Where the patterns were found so far, so that nothing is looked at again with each packet.
struct Search<'check> {
    /// Those that are still to come.
    patterns: &'check [Bytes],
    /// Where the first of them may begin.
    from: usize,
}

impl Search<'_> {
    fn finds_all(&mut self, received: &[u8]) -> bool {
        while let Some((pattern, rest)) = self.patterns.split_first() {
            let window = received.get(self.from..).unwrap_or_default();
            let Some(at) = position(window, pattern) else {
                // The pattern may have begun at the very end.
                let again = window.len().saturating_sub(pattern.len().saturating_sub(1));
                self.from = self.from.saturating_add(again);
                return false;
            };
            self.from = self.from.saturating_add(at).saturating_add(pattern.len());
            self.patterns = rest;
        }
        true
    }
}

fn position(window: &[u8], pattern: &[u8]) -> Option<usize> {
    if pattern.is_empty() {
        return Some(0);
    }
    window.windows(pattern.len()).position(|candidate| candidate == pattern)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_search_in_pieces_finds_what_a_search_of_the_whole_finds(
            received in prop::collection::vec(0..3_u8, 0..60),
            patterns in prop::collection::vec(prop::collection::vec(0..3_u8, 0..4), 0..4),
            cuts in prop::collection::vec(1..10_usize, 0..20),
        ) {
            let mut rest = received.as_slice();
            let whole = patterns.iter().all(|pattern| {
                let Some(at) = position(rest, pattern) else { return false };
                rest = &rest[at + pattern.len()..];
                true
            });
            let patterns: Vec<Bytes> = patterns.into_iter().map(Bytes::from).collect();
            let mut search = Search { patterns: &patterns, from: 0 };
            let mut end = 0;
            let mut found = search.finds_all(&[]);
            for cut in cuts.into_iter().chain([60]) {
                end = received.len().min(end + cut);
                found = search.finds_all(&received[..end]);
            }
            prop_assert_eq!(found, whole);
        }
    }
}
