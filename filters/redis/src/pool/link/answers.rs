//! What the filter answers itself, in its place among the replies.

use fyke_sdk::{Data, Result, Side};

use super::{Lease, Link, Turn};
use crate::facts::Facts;
use crate::filter::Redis;
use crate::patience::{MESSAGES, SAID};
use crate::pool::Pool;
use crate::pool::queue::Ready;
use crate::pool::session::{Answer, Holds, is_local};
use fyke_resp::Head;

impl Link {
    fn is_local_next(&self) -> bool {
        self.queue.ready.front().is_some_and(|front| self.is_local(front.facts.as_ref(), front.head.is_some()))
    }

    /// Answers what stands in front and goes nowhere.
    pub(super) fn answer(&mut self, redis: &Redis, pool: &Pool, data: &mut Data, gone: usize) -> Result<Turn> {
        if !self.is_quiet() || matches!(self.lease, Lease::Asked) {
            return Ok(Turn::GoOn);
        }
        let (mut count, mut dropped) = (0, 0);
        let mut said = Vec::new();
        let mut turn = Turn::GoOn;
        while turn == Turn::GoOn && self.is_local_next() {
            // What passes and what is dropped are told to the host one after the other, and of many answers a part is given at a time.
            if gone > 0 || said.len() >= SAID || count >= MESSAGES {
                turn = Turn::Later;
                break;
            }
            let Some(Ready { bytes, facts, head }) = self.queue.pop() else { break };
            dropped += bytes;
            count += 1;
            if let Some(facts) = facts {
                turn = self.answer_one(redis, pool, &facts, &head.unwrap_or_default(), &mut said);
            }
            if self.queue.ready.is_empty() {
                self.queue.scan(redis, pool.batch(redis), data, dropped);
            }
        }
        if turn == Turn::GoOn
            && gone == 0
            && let Some((facts, head)) = self.queue.large(redis)
            && self.is_local(Some(&facts), is_local(&facts, &head))
        {
            turn = self.answer_one(redis, pool, &facts, &head, &mut said);
            data.discard(dropped)?;
            dropped = 0;
            self.queue.drop_large(data)?;
        }
        if !said.is_empty() {
            data.write(Side::Downstream, said)?;
        }
        data.discard(dropped)?;
        Ok(turn)
    }

    fn answer_one(&mut self, redis: &Redis, pool: &Pool, facts: &Facts, head: &Head, said: &mut Vec<u8>) -> Turn {
        let holds = match () {
            () if self.dialogue.is_multi() => Holds::Transaction,
            () if self.dialogue.is_pinned() => Holds::State,
            () => Holds::Nothing,
        };
        let answer = self.session.answer(pool, facts, head, holds);
        redis.stats.command(facts);
        let (bytes, turn) = match answer {
            Answer::Say(bytes) => (bytes, Turn::GoOn),
            Answer::Last(bytes) => (bytes, Turn::Over),
            Answer::Fresh(bytes) => {
                if let Lease::Held(token) = std::mem::take(&mut self.lease) {
                    token.close("the client has reset its connection");
                }
                self.dialogue.clear();
                (bytes, Turn::GoOn)
            }
        };
        redis.stats.local(facts.name, bytes.starts_with(b"-"));
        said.extend_from_slice(&bytes);
        turn
    }
}
