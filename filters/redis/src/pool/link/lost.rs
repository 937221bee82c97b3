//! What becomes of commands that no connection serves.

use fyke_sdk::tcp::{self, show_again};
use fyke_sdk::{Data, Result, Side};

use super::{Lease, Link, Turn};
use crate::commands::Kind;
use crate::filter::Redis;
use crate::pool::errors;
use fyke_resp::Replies;

impl Link {
    /// Nothing is lent: what would have gone is answered.
    pub(super) fn refuse(&mut self, redis: &Redis, error: &[u8], data: &mut Data) -> Result<Turn> {
        let mut said = Vec::new();
        let mut turn = Turn::GoOn;
        let (mut count, mut dropped) = (0, 0);
        while let Some((facts, length)) = self.next(redis, false, count) {
            redis.stats.command(&facts);
            said.extend_from_slice(error);
            dropped += length;
            count += 1;
            if leaves_state(facts.kind) {
                turn = Turn::Over;
            }
        }
        data.discard(dropped)?;
        if count == 0
            && let Some((facts, _)) = self.queue.large(redis)
        {
            redis.stats.command(&facts);
            said.extend_from_slice(error);
            self.queue.drop_large(data)?;
        }
        data.write(Side::Downstream, said)?;
        Ok(turn)
    }

    /// The connection that was lent is gone.
    pub fn on_lost(&mut self, redis: &Redis) {
        if !matches!(std::mem::take(&mut self.lease), Lease::Held(_)) {
            return;
        }
        redis.stats.lost();
        let clean = self.replies.is_idle();
        // What the client says next would be executed without the transaction, the watch, the subscription that it believes in.
        let state =
            self.dialogue.is_pinned() || self.dialogue.waiting().any(|waiting| leaves_state(waiting.facts.kind));
        let said = if clean { errors::lost().repeat(self.dialogue.len()) } else { Vec::new() };
        self.dialogue.clear();
        self.replies = Replies::default();
        self.queue.forget_rest();
        let stopped = tcp::taken_back() && self.sends;
        let written = said.is_empty() || tcp::write(Side::Downstream, said).is_ok();
        let again = show_again(Side::Downstream);
        if !clean || state || stopped || !written || again.is_err() {
            // Without a connection there is nothing to close.
            let _ = tcp::close();
        }
    }
}

/// Whether a command changes what the next ones mean.
fn leaves_state(kind: Kind) -> bool {
    matches!(kind, Kind::Multi | Kind::Watch | Kind::Subscribe(_) | Kind::Monitor)
}
