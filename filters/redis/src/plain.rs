//! One client with a connection of its own to a server: everything passes, and is counted.

use fyke_sdk::tcp::show_again;
use fyke_sdk::{Data, Result, Side, TcpFlow, time};

use crate::commands::Kind;
use crate::dialogue::{Dialogue, Said};
use crate::filter::Redis;
use crate::resp::{Bad, Cursor, Reader, Replies, Requests, Step};

/// One client.
#[derive(Default)]
pub struct Plain {
    requests: Requests,
    replies: Replies,
    dialogue: Dialogue,
    /// Bytes of the command that is under way.
    request_bytes: u64,
    /// Commands are held until there are fewer.
    full: bool,
    /// Replication: nobody looks any more.
    blind: bool,
}

impl Plain {
    /// Bytes of the client.
    ///
    /// # Errors
    /// They are no RESP.
    pub fn on_downstream(&mut self, redis: &Redis, data: &mut Data) -> Result<TcpFlow> {
        if self.blind {
            return Ok(TcpFlow::Continue);
        }
        let now = time::now();
        let mut cursor = Cursor::new(&*data, 0);
        let mut before = 0;
        loop {
            self.full = self.dialogue.len() >= redis.in_flight && cursor.at() < data.len();
            if self.full {
                let taken = cursor.at() as u64;
                data.pass(taken)?;
                return Ok(TcpFlow::NeedMore);
            }
            let step = cursor.next(&mut self.requests).inspect_err(|bad| redis.stats.bad(Side::Downstream, *bad))?;
            self.request_bytes += (cursor.at() - before) as u64;
            before = cursor.at();
            match step {
                Step::More => break,
                Step::Nothing => self.request_bytes = 0,
                Step::Whole => {
                    let facts = redis.facts(self.requests.head());
                    redis.stats.command(&facts);
                    redis.stats.request(&facts, std::mem::take(&mut self.request_bytes));
                    if facts.kind == Kind::Replication {
                        self.blind = true;
                        return Ok(TcpFlow::Continue);
                    }
                    self.dialogue.send(facts, now);
                }
            }
        }
        let beyond = self.requests.body();
        if beyond > 0 {
            self.requests.skip(beyond);
            self.request_bytes += beyond;
            data.skip(beyond)?;
        }
        Ok(TcpFlow::Continue)
    }

    /// Bytes of the server.
    ///
    /// # Errors
    /// They are no RESP, or answer nothing.
    pub fn on_upstream(&mut self, redis: &Redis, data: &mut Data) -> Result<TcpFlow> {
        if self.blind {
            return Ok(TcpFlow::Continue);
        }
        let now = time::now();
        let mut cursor = Cursor::new(&*data, 0);
        let mut before = 0;
        loop {
            let step = cursor.next(&mut self.replies).inspect_err(|bad| redis.stats.bad(Side::Upstream, *bad))?;
            self.dialogue.reply_bytes += (cursor.at() - before) as u64;
            before = cursor.at();
            if step != Step::Whole {
                break;
            }
            let bytes = std::mem::take(&mut self.dialogue.reply_bytes);
            let reply = self.replies.reply();
            match self.dialogue.hear(reply) {
                Said::Push | Said::Confirmation => redis.stats.push(reply, bytes),
                Said::Reply(waiting) => {
                    redis.stats.reply(&waiting, reply, bytes, now.duration_since(waiting.sent).unwrap_or_default());
                }
                // A server says by itself why it lets nobody in; then it closes.
                Said::Unasked => redis.stats.bad(Side::Upstream, Bad::Unasked),
            }
        }
        let beyond = self.replies.body();
        if beyond > 0 {
            self.replies.skip(beyond);
            self.dialogue.reply_bytes += beyond;
            data.skip(beyond)?;
        }
        if self.full && self.dialogue.len() < redis.in_flight {
            self.full = false;
            show_again(Side::Downstream)?;
        }
        Ok(TcpFlow::Continue)
    }
}
