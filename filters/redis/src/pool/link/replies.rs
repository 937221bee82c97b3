//! What the server says to the client that borrows its connection.

use fyke_sdk::tcp::show_again;
use fyke_sdk::{Data, Error, Result, Side, TcpFlow, time};

use super::{Lease, Link};
use crate::filter::Redis;
use crate::patience::{BYTES, MESSAGES, later};
use fyke_resp::{Bad, Cursor, Reader, Step};

impl Link {
    /// Bytes of the server.
    ///
    /// # Errors
    /// The connection has to be closed.
    pub fn on_upstream(&mut self, redis: &Redis, data: &mut Data) -> Result<TcpFlow> {
        if !matches!(self.lease, Lease::Held(_)) {
            return Ok(TcpFlow::NeedMore);
        }
        let now = time::now();
        let mut cursor = Cursor::new(&*data, 0).within(BYTES).messages(MESSAGES);
        let mut before = 0;
        let mut over = false;
        while !over && cursor.has_more() {
            let step = cursor.next(&mut self.replies).inspect_err(|bad| redis.stats.bad(Side::Upstream, *bad))?;
            self.dialogue.reply_bytes += (cursor.at() - before) as u64;
            before = cursor.at();
            if step != Step::Whole {
                break;
            }
            if !redis.hear(&mut self.dialogue, self.replies.reply(), now) {
                return Err(Bad::Unasked.into());
            }
            if self.dialogue.is_empty() && self.queue.is_sending() {
                redis.stats.bad(Side::Upstream, Bad::Unasked);
                return Err(Error::new("the server answers what was not said to the end"));
            }
            // A connection that has more to say than was asked for is fit for nobody: the host closes it.
            over = self.dialogue.is_empty() && !self.dialogue.is_pinned();
        }
        let taken = cursor.at() as u64;
        let has_more = cursor.has_more();
        let beyond = self.replies.body();
        self.replies.skip(beyond);
        self.dialogue.reply_bytes += beyond;
        data.pass(taken.saturating_add(beyond))?;
        if over {
            self.release_if_done()?;
        } else if self.dialogue.is_pinned() && self.queue.is_waiting() {
            // Somebody may have waited for this to be said.
            show_again(Side::Downstream)?;
        }
        self.watch()?;
        if has_more && !over { later(Side::Upstream, data) } else { Ok(TcpFlow::NeedMore) }
    }
}
