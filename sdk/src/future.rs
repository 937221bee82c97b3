//! Several things at once: futures that run others side by side. Those of other crates work as well; these take a call that was
//! not sent yet as it is, and cost nothing.

use std::future::{Future, IntoFuture, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

/// One of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Either<A, B> {
    /// The first.
    Left(A),
    /// The second.
    Right(B),
}

/// Waits for both.
///
/// ```no_run
/// # use fyke_sdk::{Cluster, HttpRequest, Result, join};
/// # async fn example(users: &Cluster, plans: &Cluster) -> Result<()> {
/// let (user, plan) = join(users.call(HttpRequest::get("/user")), plans.call(HttpRequest::get("/plan"))).await;
/// let (user, plan) = (user?, plan?);
/// # Ok(())
/// # }
/// ```
pub async fn join<A: IntoFuture, B: IntoFuture>(first: A, second: B) -> (A::Output, B::Output) {
    let (mut first, mut second) = (pin!(first.into_future()), pin!(second.into_future()));
    let (mut left, mut right) = (None, None);
    poll_fn(|cx| {
        step(first.as_mut(), &mut left, cx);
        step(second.as_mut(), &mut right, cx);
        match (left.take(), right.take()) {
            (Some(left), Some(right)) => Poll::Ready((left, right)),
            (one, other) => {
                (left, right) = (one, other);
                Poll::Pending
            }
        }
    })
    .await
}

/// Waits for all; the results are in the order of the futures.
pub async fn join_all<F: IntoFuture>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut running: Vec<_> = futures.into_iter().map(|future| (Box::pin(future.into_future()), None)).collect();
    poll_fn(|cx| {
        for (future, result) in &mut running {
            step(future.as_mut(), result, cx);
        }
        if running.iter().all(|(_, result)| result.is_some()) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    running.into_iter().filter_map(|(_, result)| result).collect()
}

/// Waits for whichever is first; the other one is dropped, which cancels it. Where both are ready it is the first one.
pub async fn select<A: IntoFuture, B: IntoFuture>(first: A, second: B) -> Either<A::Output, B::Output> {
    let (mut first, mut second) = (pin!(first.into_future()), pin!(second.into_future()));
    poll_fn(|cx| {
        if let Poll::Ready(output) = first.as_mut().poll(cx) {
            return Poll::Ready(Either::Left(output));
        }
        second.as_mut().poll(cx).map(Either::Right)
    })
    .await
}

/// Polls what is not done yet.
fn step<F: Future>(future: Pin<&mut F>, result: &mut Option<F::Output>, cx: &mut Context<'_>) {
    if result.is_none()
        && let Poll::Ready(output) = future.poll(cx)
    {
        *result = Some(output);
    }
}
