//! Two sides joined: both directions, and what one has to know of the other.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    time::{Instant, Sleep},
};

use super::way::{Between, Broken, Step, Way};

/// Parts of an idle timeout after which it is looked at.
pub const LOOKS: u32 = 4;
/// How long a peer may take to notice that the connection is over.
pub const LINGER: Duration = Duration::from_secs(1);

/// One of two that are joined.
pub trait Side: AsyncRead + AsyncWrite + Unpin {
    /// Waits until the peer has broken the connection off. Asked when the peer's own direction has ended: reading does not tell then.
    fn poll_broken(&mut self, cx: &mut Context<'_>) -> Poll<()>;
}

impl<S: Side + ?Sized> Side for &mut S {
    fn poll_broken(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        (**self).poll_broken(cx)
    }
}

/// Which side broke, and how.
#[derive(Debug, thiserror::Error)]
pub enum Cut {
    /// The client's.
    #[error("{0}")]
    Near(io::Error),
    /// The upstream's.
    #[error("{0}")]
    Far(io::Error),
}

/// What a look at the clock has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// It is not yet time for one.
    Early,
    /// Something has moved, or may still.
    Fine,
    /// For as long as it may take nothing has moved.
    Idle,
}

/// Both directions between the client's side, which is near, and the upstream's, which is far.
#[derive(Debug)]
pub struct Both<D> {
    /// To the upstream.
    pub up: Way<D>,
    /// To the client.
    pub down: Way<D>,
    period: Duration,
    quiet: u32,
    timer: Pin<Box<Sleep>>,
}

impl<D: Copy> Both<D> {
    /// `idle` is how long nothing may move.
    pub fn new(up: Way<D>, down: Way<D>, idle: Duration) -> Self {
        let period = (idle / LOOKS).max(Duration::from_millis(1));
        Self { up, down, period, quiet: 0, timer: Box::pin(tokio::time::sleep(period)) }
    }

    /// Looks whether anything has moved, when it is time to. To be called whenever the owner is polled.
    pub fn look(&mut self, cx: &mut Context<'_>) -> Look {
        if self.timer.as_mut().poll(cx).is_pending() {
            return Look::Early;
        }
        let moved = self.up.has_moved() | self.down.has_moved();
        self.quiet = if moved { 0 } else { self.quiet + 1 };
        if self.quiet >= LOOKS {
            return Look::Idle;
        }
        self.look_in(self.period);
        // Registers the timer anew.
        let _ = self.timer.as_mut().poll(cx);
        Look::Fine
    }

    /// The next look is after so long. The owner has to be polled once more.
    pub fn look_in(&mut self, wait: Duration) {
        self.timer.as_mut().reset(Instant::now() + wait);
    }

    /// Whether a side has taken nothing of what waits for it for as long as nothing may move, whatever the other direction does.
    #[must_use]
    pub fn is_stuck(&self) -> bool {
        self.up.stuck() >= LOOKS || self.down.stuck() >= LOOKS
    }

    /// Whether nothing that was read waits to be written.
    #[must_use]
    pub fn is_clear(&self) -> bool {
        self.up.is_clear() && self.down.is_clear()
    }

    /// Moves what can be moved now: where each direction stands, up and down. With `last`, nothing more is read.
    ///
    /// What the upstream said before it stopped listening is still the client's; so an upstream that takes no more ends only the direction
    /// towards it. A client that takes no more is gone.
    ///
    /// # Errors
    /// [`Cut`]: nothing is to be expected of a side any more.
    pub fn step<B: Between<Direction = D>>(
        &mut self,
        between: &B,
        cx: &mut Context<'_>,
        near: &mut impl Side,
        far: &mut impl Side,
        last: bool,
    ) -> Result<(Step, Step), Cut> {
        let mut up = match self.up.step(between, cx, near, far, last) {
            Err(Broken::Writing(error)) => {
                tracing::debug!("upstream takes no more: {error}");
                // After a reset there is no end of what it said.
                if error.kind() == io::ErrorKind::ConnectionReset {
                    self.down.distrust();
                }
                self.up.give_up(between);
                Step::Done
            }
            Err(Broken::Reading(error)) => return Err(Cut::Near(error)),
            Ok(step) => step,
        };
        let down = match self.down.step(between, cx, far, near, last) {
            Err(Broken::Writing(error)) => return Err(Cut::Near(error)),
            Err(Broken::Reading(error)) => return Err(Cut::Far(error)),
            Ok(step) => step,
        };
        if self.up.has_ended() && down != Step::Done && near.poll_broken(cx).is_ready() {
            return Err(Cut::Near(io::ErrorKind::ConnectionReset.into()));
        }
        // It has said all that it had to say.
        if self.down.has_ended() && up != Step::Done && far.poll_broken(cx).is_ready() {
            self.up.give_up(between);
            up = Step::Done;
        }
        Ok((up, down))
    }
}

/// Ends our direction on both sides and swallows what the peers still send, for a moment: a socket that is closed with something unread is
/// reset, and the peer could lose what it has not read yet. Both are told at once: neither has to wait for the other one's farewell.
pub async fn part(near: &mut impl Side, far: Option<&mut impl Side>) {
    async fn leave(side: &mut impl Side) {
        if side.shutdown().await.is_ok() {
            let _ = tokio::io::copy(side, &mut tokio::io::sink()).await;
        }
    }
    let upstream = async {
        if let Some(far) = far {
            leave(far).await;
        }
    };
    let _ = tokio::time::timeout(LINGER, async { tokio::join!(leave(near), upstream) }).await;
}

#[cfg(test)]
mod tests;
