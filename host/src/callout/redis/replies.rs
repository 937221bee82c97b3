//! Answers of a connection, cut into those of each call.

use bytes::{Bytes, BytesMut};
use fyke_resp::{Bad, Reader as _, Replies, Step};

/// The largest answer of a call: it has to fit into a guest.
const LARGEST: usize = 8 * 1024 * 1024;

/// Why a connection cannot go on.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Broken {
    /// It is not RESP.
    #[error("the answer is not RESP: {0}")]
    Bad(#[from] Bad),
    /// It does not fit into a guest.
    #[error("an answer is larger than {LARGEST} bytes")]
    TooLarge,
}

/// Cuts what comes.
#[derive(Debug, Default)]
pub struct Cutter {
    reader: Replies,
    /// What has come and is not yet part of a whole answer.
    pub raw: BytesMut,
    /// How much of that the reader has seen.
    seen: usize,
    /// Answers of the call that is next.
    whole: BytesMut,
    count: u32,
    /// The first error among them.
    error: Option<String>,
}

/// What answers a call.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// As it came.
    pub bytes: Bytes,
    /// The beginning of the first error in it.
    pub error: Option<String>,
}

impl Cutter {
    /// The answers of a call with `wanted` commands, when all have come. Pushes of RESP3 answer nothing and are dropped.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn next(&mut self, wanted: u32) -> Result<Option<Answer>, Broken> {
        while self.count < wanted {
            let Some(end) = self.message()? else { return Ok(None) };
            let message = self.raw.split_to(end);
            let reply = self.reader.reply();
            if reply.kind == b'>' {
                continue;
            }
            if reply.is_error() && self.error.is_none() {
                self.error = Some(String::from_utf8_lossy(&reply.first).into_owned());
            }
            self.count += 1;
            self.whole.unsplit(message);
        }
        self.count = 0;
        Ok(Some(Answer { bytes: self.whole.split().freeze(), error: self.error.take() }))
    }

    /// Whether nothing has come that nobody has taken.
    pub fn is_empty(&self) -> bool {
        self.raw.is_empty() && self.count == 0
    }

    /// Where the next message ends, if it is whole.
    fn message(&mut self) -> Result<Option<usize>, Broken> {
        loop {
            let here = self.raw.get(self.seen..).unwrap_or_default();
            let skipped = usize::try_from(self.reader.body()).unwrap_or(usize::MAX).min(here.len());
            if skipped > 0 {
                self.reader.skip(skipped as u64);
                self.seen += skipped;
                continue;
            }
            if here.is_empty() {
                let too_large = self.raw.len() + self.whole.len() > LARGEST;
                return if too_large { Err(Broken::TooLarge) } else { Ok(None) };
            }
            let (taken, step) = self.reader.feed(here)?;
            self.seen += taken;
            match step {
                Step::Whole => return Ok(Some(std::mem::take(&mut self.seen))),
                Step::More if taken == 0 && self.reader.body() == 0 => return Ok(None),
                Step::More | Step::Nothing => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(pieces: &[&[u8]], wanted: u32) -> Vec<Answer> {
        let mut cutter = Cutter::default();
        let mut answers = Vec::new();
        for piece in pieces {
            cutter.raw.extend_from_slice(piece);
            answers.extend(std::iter::from_fn(|| cutter.next(wanted).unwrap()));
        }
        answers
    }

    #[test]
    fn answers_are_cut_wherever_they_are_torn() {
        let stream = b"+OK\r\n$5\r\na\r\nbc\r\n*2\r\n:1\r\n$-1\r\n-ERR no\r\n";
        let whole = cut(&[stream], 2);
        for at in 0..stream.len() {
            let (one, other) = stream.split_at(at);
            assert_eq!(cut(&[one, other], 2), whole, "torn at {at}");
        }
        assert_eq!(whole[0], Answer { bytes: Bytes::from_static(b"+OK\r\n$5\r\na\r\nbc\r\n"), error: None });
        assert_eq!(whole[1].bytes, b"*2\r\n:1\r\n$-1\r\n-ERR no\r\n"[..]);
        assert_eq!(whole[1].error.as_deref(), Some("ERR no"));
        assert_eq!(whole.len(), 2);
    }

    #[test]
    fn pushes_answer_nothing() {
        let answers = cut(&[b":1\r\n>2\r\n+invalidate\r\n*0\r\n:2\r\n"], 2);
        assert_eq!(answers.len(), 1);
        assert_eq!(answers[0].bytes, b":1\r\n:2\r\n"[..]);
    }

    #[test]
    fn what_is_not_resp_or_too_large_breaks() {
        let mut cutter = Cutter::default();
        cutter.raw.extend_from_slice(b"HTTP/1.1 400\r\n");
        assert!(matches!(cutter.next(1), Err(Broken::Bad(_))));
        let mut cutter = Cutter::default();
        cutter.raw.extend_from_slice(format!("${}\r\n", LARGEST + 100).as_bytes());
        cutter.raw.resize(LARGEST + 20, b'x');
        assert_eq!(cutter.next(1), Err(Broken::TooLarge));
    }
}
