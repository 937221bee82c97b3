//! One client with a connection of its own to a server: everything passes, and is counted.

use fyke_sdk::tcp::show_again;
use fyke_sdk::{Data, Result, Side, TcpFlow, time};

use crate::commands::Kind;
use crate::dialogue::Dialogue;
use crate::filter::Redis;
use crate::memory::{Memory, Share};
use crate::patience::{BYTES, MESSAGES, later};
use fyke_resp::{Bad, Cursor, Reader, Replies, Requests, Step};

/// One client.
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
    share: Share,
}

/// Why nothing more is read for now.
#[derive(Debug, PartialEq, Eq)]
enum Stop {
    /// All that is here was read.
    Read,
    /// There is more, and this call has done enough.
    Enough,
    /// There is more, and too many commands wait for their replies.
    Full,
    /// What follows is none of our business.
    Blind,
}

impl Plain {
    /// A client that has said nothing.
    pub fn new(memory: &Memory) -> Self {
        Self {
            requests: Requests::default(),
            replies: Replies::default(),
            dialogue: Dialogue::default(),
            request_bytes: 0,
            full: false,
            blind: false,
            share: memory.share(),
        }
    }

    /// Bytes of the client.
    ///
    /// # Errors
    /// They are no RESP.
    pub fn on_downstream(&mut self, redis: &Redis, data: &mut Data) -> Result<TcpFlow> {
        if self.blind {
            return Ok(TcpFlow::Continue);
        }
        let mut at = 0;
        loop {
            let stop = self.read_commands(redis, data, &mut at)?;
            self.full = stop == Stop::Full;
            match stop {
                Stop::Read => break,
                Stop::Blind => {
                    self.blind = true;
                    return Ok(TcpFlow::Continue);
                }
                Stop::Full => {
                    data.pass(at as u64)?;
                    return Ok(TcpFlow::NeedMore);
                }
                Stop::Enough if data.pass(at as u64).is_ok() => return later(Side::Downstream, data),
                // This host lets go of all or nothing, and shows nothing twice.
                Stop::Enough => {}
            }
        }
        self.request_bytes += pass_body(&mut self.requests, data)?;
        Ok(TcpFlow::Continue)
    }

    fn read_commands(&mut self, redis: &Redis, data: &Data, at: &mut usize) -> Result<Stop, Bad> {
        let now = time::now();
        let mut cursor = Cursor::new(data, *at).within(BYTES).messages(MESSAGES);
        let stop = loop {
            if cursor.has_more() && self.dialogue.len() >= redis.in_flight() {
                break Stop::Full;
            }
            let before = cursor.at();
            let step = cursor.next(&mut self.requests).inspect_err(|bad| redis.stats.bad(Side::Downstream, *bad))?;
            self.request_bytes += (cursor.at() - before) as u64;
            match step {
                Step::More if cursor.has_more() => break Stop::Enough,
                Step::More => break Stop::Read,
                Step::Nothing => self.request_bytes = 0,
                Step::Whole => {
                    let facts = redis.facts(self.requests.head());
                    redis.stats.command(&facts);
                    redis.stats.request(&facts, std::mem::take(&mut self.request_bytes));
                    if facts.kind == Kind::Replication {
                        break Stop::Blind;
                    }
                    self.dialogue.send(facts, now);
                }
            }
        };
        *at = cursor.at();
        Ok(stop)
    }

    /// Bytes of the server.
    ///
    /// # Errors
    /// They are no RESP, or answer nothing.
    pub fn on_upstream(&mut self, redis: &Redis, data: &mut Data) -> Result<TcpFlow> {
        if self.blind {
            return Ok(TcpFlow::Continue);
        }
        let mut at = 0;
        while self.read_replies(redis, data, &mut at)? == Stop::Enough {
            // As in the other direction.
            if data.pass(at as u64).is_ok() {
                self.resume(redis)?;
                return later(Side::Upstream, data);
            }
        }
        self.dialogue.reply_bytes += pass_body(&mut self.replies, data)?;
        self.resume(redis)?;
        Ok(TcpFlow::Continue)
    }

    fn read_replies(&mut self, redis: &Redis, data: &Data, at: &mut usize) -> Result<Stop, Bad> {
        let now = time::now();
        let mut cursor = Cursor::new(data, *at).within(BYTES).messages(MESSAGES);
        let stop = loop {
            let before = cursor.at();
            let step = cursor.next(&mut self.replies).inspect_err(|bad| redis.stats.bad(Side::Upstream, *bad))?;
            self.dialogue.reply_bytes += (cursor.at() - before) as u64;
            match step {
                // A server says by itself why it lets nobody in; then it closes.
                Step::Whole => redis.hear(&mut self.dialogue, self.replies.reply(), now),
                _ if cursor.has_more() => break Stop::Enough,
                _ => break Stop::Read,
            };
        };
        *at = cursor.at();
        Ok(stop)
    }

    /// How many commands are remembered has changed.
    pub fn weigh(&mut self) {
        self.dialogue.tidy();
        self.share.set(self.dialogue.len());
    }

    /// Commands that are held may go.
    fn resume(&mut self, redis: &Redis) -> Result<()> {
        if self.full && self.dialogue.len() < redis.in_flight() {
            self.full = false;
            show_again(Side::Downstream)?;
        }
        Ok(())
    }
}

/// The rest of a string passes without being shown; how many bytes that is.
fn pass_body(reader: &mut impl Reader, data: &mut Data) -> Result<u64> {
    let beyond = reader.body();
    if beyond > 0 {
        reader.skip(beyond);
        data.skip(beyond)?;
    }
    Ok(beyond)
}
