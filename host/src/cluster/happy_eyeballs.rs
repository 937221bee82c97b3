//! Connecting to an endpoint that has several addresses: one is tried after the other, and a slow one is not waited for (RFC 8305, section 5).

use std::{collections::VecDeque, io, net::SocketAddr, time::Duration};

use futures_util::{FutureExt as _, StreamExt as _, stream::FuturesUnordered};
use tokio::time::{Instant, sleep_until};

/// How long an attempt is alone before the next one begins beside it (Envoy's; RFC 8305 recommends 250 ms, and 100 ms to 2 s).
pub(super) const DELAY: Duration = Duration::from_millis(300);

/// The first connection that stands. Addresses are tried in the order of [`interleaved`]; the next one as soon as an attempt has failed, or after
/// [`DELAY`]. What is still being opened when there is one is dropped.
///
/// Cancel safe: dropping the future drops what was opened.
///
/// # Errors
/// Of the attempt that failed last, when all have.
pub(super) async fn connect<T, F: Future<Output = io::Result<T>>>(
    first: SocketAddr,
    others: &[SocketAddr],
    attempt: impl Fn(SocketAddr) -> F,
) -> io::Result<T> {
    if others.is_empty() {
        return attempt(first).await;
    }
    // Rare: it must not make every future larger that connects.
    Box::pin(race(interleaved(first, others), attempt)).await
}

async fn race<T, F: Future<Output = io::Result<T>>>(
    mut left: VecDeque<SocketAddr>,
    attempt: impl Fn(SocketAddr) -> F,
) -> io::Result<T> {
    let mut running = FuturesUnordered::new();
    let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
    while let Some(address) = left.pop_front() {
        running.push(attempt(address));
        let patience = Instant::now() + DELAY;
        loop {
            let mut late = std::pin::pin!(sleep_until(patience).fuse());
            let finished = tokio::select! {
                biased;
                finished = running.next() => finished,
                () = &mut late, if !left.is_empty() => break,
            };
            match finished {
                Some(Ok(connection)) => return Ok(connection),
                Some(Err(error)) => failure = error,
                None => {}
            }
            // Not each failure has to be waited for: the next attempt begins at once.
            if !left.is_empty() || running.is_empty() {
                break;
            }
        }
    }
    Err(failure)
}

/// Families by turns, beginning with that of the first address (RFC 8305, section 4; Envoy's `first_address_family_count` of 1).
fn interleaved(first: SocketAddr, others: &[SocketAddr]) -> VecDeque<SocketAddr> {
    let (mut same, mut different): (VecDeque<_>, VecDeque<_>) =
        others.iter().copied().partition(|address| address.is_ipv4() == first.is_ipv4());
    same.push_front(first);
    let mut ordered = VecDeque::with_capacity(others.len() + 1);
    while !same.is_empty() || !different.is_empty() {
        ordered.extend(same.pop_front());
        ordered.extend(different.pop_front());
    }
    ordered
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use tokio::time::sleep;

    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn families_take_turns_beginning_with_the_first() {
        let others = ["10.0.0.1:1", "10.0.0.2:1", "[::2]:1", "[::3]:1"].map(address);
        let order: Vec<_> = interleaved(address("[::1]:1"), &others).iter().map(ToString::to_string).collect();
        assert_eq!(order, ["[::1]:1", "10.0.0.1:1", "[::2]:1", "10.0.0.2:1", "[::3]:1"]);
    }

    /// Runs attempts that end after so many milliseconds, well or not, and tells when each began, and how it came out.
    async fn run(ends: &[(u64, bool)]) -> (Vec<u64>, io::Result<usize>, u64) {
        let addresses: Vec<_> = (0..ends.len()).map(|port| SocketAddr::from(([127, 0, 0, 1], port as u16))).collect();
        let begun = RefCell::new(Vec::new());
        let start = Instant::now();
        let elapsed = || start.elapsed().as_millis() as u64;
        let outcome = connect(addresses[0], &addresses[1..], |address| {
            let index = usize::from(address.port());
            begun.borrow_mut().push(elapsed());
            let (after, well) = ends[index];
            async move {
                sleep(Duration::from_millis(after)).await;
                if well { Ok(index) } else { Err(io::Error::other(index.to_string())) }
            }
        })
        .await;
        (begun.take(), outcome, elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_fast_first_address_is_the_only_one_that_is_asked() {
        let (begun, outcome, after) = run(&[(20, true), (0, true)]).await;
        assert_eq!((begun, outcome.unwrap(), after), (vec![0], 0, 20));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_address_gets_company_and_the_first_to_stand_wins() {
        let (begun, outcome, after) = run(&[(10_000, true), (10_000, true), (50, true)]).await;
        assert_eq!((begun, outcome.unwrap(), after), (vec![0, 300, 600], 2, 650));
        let (begun, outcome, after) = run(&[(400, true), (10_000, true), (50, true)]).await;
        assert_eq!((begun, outcome.unwrap(), after), (vec![0, 300], 0, 400));
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_failure_the_next_one_begins_at_once() {
        let (begun, outcome, after) = run(&[(10, false), (10, false), (10, true)]).await;
        assert_eq!((begun, outcome.unwrap(), after), (vec![0, 10, 20], 2, 30));
    }

    #[tokio::test(start_paused = true)]
    async fn when_all_fail_the_last_failure_is_told() {
        let (begun, outcome, after) = run(&[(700, false), (10, false), (10, false)]).await;
        assert_eq!((begun, after), (vec![0, 300, 310], 700));
        assert_eq!(outcome.unwrap_err().to_string(), "0");
    }
}
