//! A request's body for more than one reader: held as far as a limit allows, so that another attempt, a hedged one or a mirror can read
//! it from its beginning.
//!
//! The source is read once and only at the pace of readers that lead; a follower (a mirror) takes what they have read and never
//! makes them wait. When no reader that leads is left and none can come any more, what was not read is given up and followers fail: a
//! mirror that waits must not hold the client's connection. What goes beyond the limit is read by whoever is at the front and held no longer: every other reader fails then, and
//! [`Tee::is_repeatable`] says that nobody can begin any more.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use crate::cluster::{RequestBody, body::BodyError};

/// Pieces that are held at most: a peer may send a body byte by byte, and each has its cost.
const MOST_PIECES: usize = 16 * 1024;

/// The body, shared. Readers that lead can come for as long as this is there.
pub struct Tee(Rc<RefCell<Shared>>);

struct Shared {
    source: Source,
    /// Readers that lead, and the [`Tee`] itself.
    leads: usize,
    pieces: Vec<Bytes>,
    /// Pieces that were let go of before the first of `pieces`.
    gone: usize,
    held: usize,
    limit: usize,
    hint: SizeHint,
    waiting: BTreeMap<u64, Waker>,
    readers: u64,
}

enum Source {
    Flowing(RequestBody),
    Ended(Option<HeaderMap>),
    Failed,
}

/// How a reader gets on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// It reads the source where nobody has yet.
    Leads,
    /// It waits for others to do so.
    Follows,
}

impl Tee {
    /// Shares a body, holding at most `limit` bytes of it.
    #[must_use]
    pub fn new(body: RequestBody, limit: usize) -> Self {
        let hint = body.size_hint();
        Self(Rc::new(RefCell::new(Shared {
            source: Source::Flowing(body),
            leads: 1,
            pieces: Vec::new(),
            gone: 0,
            held: 0,
            limit,
            hint,
            waiting: BTreeMap::new(),
            readers: 0,
        })))
    }

    /// Whether a reader that begins now would get all of it.
    #[must_use]
    pub fn is_repeatable(&self) -> bool {
        let shared = self.0.borrow();
        shared.gone == 0 && !matches!(shared.source, Source::Failed)
    }

    /// Reads it from its beginning.
    #[must_use]
    pub fn reader(&self, pace: Pace) -> RequestBody {
        let number = {
            let mut shared = self.0.borrow_mut();
            shared.readers += 1;
            shared.leads += usize::from(pace == Pace::Leads);
            shared.readers
        };
        RequestBody::Stream(Box::pin(Reader { tee: Rc::clone(&self.0), number, pace, at: 0, trailed: false }))
    }
}

impl Drop for Tee {
    fn drop(&mut self) {
        let given_up = self.0.borrow_mut().lead_ends();
        drop(given_up);
    }
}

impl Shared {
    fn wake_others(&mut self, number: u64) {
        self.waiting.remove(&number);
        for (_, waker) in std::mem::take(&mut self.waiting) {
            waker.wake();
        }
    }

    /// One that could have read the source is gone. Returns the source if nobody can any more, to be dropped when this is not borrowed.
    fn lead_ends(&mut self) -> Option<Source> {
        self.leads = self.leads.saturating_sub(1);
        let Source::Flowing(body) = &self.source else { return None };
        if self.leads > 0 {
            return None;
        }
        let next = if body.is_end_stream() { Source::Ended(None) } else { Source::Failed };
        let given_up = std::mem::replace(&mut self.source, next);
        for (_, waker) in std::mem::take(&mut self.waiting) {
            waker.wake();
        }
        Some(given_up)
    }

    /// Puts a piece where others find it, if there is room; else nobody can read it again.
    fn hold(&mut self, data: &Bytes) {
        let room = self.held.saturating_add(data.len()) <= self.limit && self.pieces.len() < MOST_PIECES;
        if self.gone == 0 && room {
            self.held += data.len();
            self.pieces.push(data.clone());
        } else {
            self.gone += self.pieces.len() + 1;
            self.pieces.clear();
            self.held = 0;
        }
    }
}

struct Reader {
    tee: Rc<RefCell<Shared>>,
    number: u64,
    pace: Pace,
    at: usize,
    trailed: bool,
}

impl Body for Reader {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let mut shared = this.tee.borrow_mut();
        let shared = &mut *shared;
        let Some(place) = this.at.checked_sub(shared.gone) else {
            return Poll::Ready(Some(Err("the request's body is longer than what is held of it".into())));
        };
        if let Some(piece) = shared.pieces.get(place) {
            this.at += 1;
            return Poll::Ready(Some(Ok(Frame::data(piece.clone()))));
        }
        let body = match &mut shared.source {
            Source::Ended(trailers) => {
                let trailers = trailers.clone().filter(|_| !this.trailed);
                this.trailed = true;
                return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
            }
            Source::Failed => return Poll::Ready(Some(Err("the request's body broke off".into()))),
            Source::Flowing(body) => body,
        };
        let polled = match this.pace {
            Pace::Leads => Pin::new(body).poll_frame(cx),
            Pace::Follows => Poll::Pending,
        };
        let frame = match polled {
            Poll::Pending => {
                shared.waiting.insert(this.number, cx.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(frame) => frame,
        };
        let polled = match frame {
            None => {
                shared.source = Source::Ended(None);
                None
            }
            Some(Err(error)) => {
                shared.source = Source::Failed;
                Some(Err(error))
            }
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => {
                    // HTTP/2 has frames without anything in them, as many as a peer likes to send.
                    if !data.is_empty() {
                        shared.hold(&data);
                        this.at += 1;
                    }
                    Some(Ok(Frame::data(data)))
                }
                Err(frame) => {
                    let trailers = frame.into_trailers().ok();
                    shared.source = Source::Ended(trailers.clone());
                    this.trailed = true;
                    trailers.map(|trailers| Ok(Frame::trailers(trailers)))
                }
            },
        };
        shared.wake_others(this.number);
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        let shared = self.tee.borrow();
        let through = self.at == shared.gone + shared.pieces.len();
        match &shared.source {
            Source::Flowing(body) => through && body.is_end_stream(),
            Source::Ended(trailers) => through && (trailers.is_none() || self.trailed),
            Source::Failed => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        // Before its first byte a reader has before it what the source had; later nobody asks.
        if self.at == 0 { self.tee.borrow().hint } else { SizeHint::default() }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // The source would wake this one; another one has to take its place.
        let given_up = self.tee.try_borrow_mut().ok().and_then(|mut shared| {
            shared.wake_others(self.number);
            if self.pace == Pace::Leads { shared.lead_ends() } else { None }
        });
        drop(given_up);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use futures_util::FutureExt;
    use http_body_util::BodyExt;

    use super::*;

    /// A source that gives what is put into it.
    #[derive(Clone, Default)]
    struct Script(Rc<RefCell<Lines>>);
    type Lines = (VecDeque<Result<Frame<Bytes>, BodyError>>, bool, Option<Waker>);

    impl Script {
        fn say(&self, text: &'static str) {
            self.put(Ok(Frame::data(Bytes::from_static(text.as_bytes()))));
        }
        fn put(&self, frame: Result<Frame<Bytes>, BodyError>) {
            let mut inner = self.0.borrow_mut();
            inner.0.push_back(frame);
            inner.2.take().into_iter().for_each(Waker::wake);
        }
        fn end(&self) {
            let mut inner = self.0.borrow_mut();
            inner.1 = true;
            inner.2.take().into_iter().for_each(Waker::wake);
        }
    }

    impl Body for Script {
        type Data = Bytes;
        type Error = BodyError;
        fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
            let mut inner = self.0.borrow_mut();
            match inner.0.pop_front() {
                Some(frame) => Poll::Ready(Some(frame)),
                None if inner.1 => Poll::Ready(None),
                None => {
                    inner.2 = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        }
    }

    fn tee(limit: usize) -> (Script, Tee) {
        let script = Script::default();
        (script.clone(), Tee::new(RequestBody::Stream(Box::pin(script)), limit))
    }

    fn next(reader: &mut RequestBody) -> Option<Option<Result<String, String>>> {
        let frame = reader.frame().now_or_never()?;
        let text = |frame: Frame<Bytes>| match frame.into_data() {
            Ok(data) => String::from_utf8(data.to_vec()).unwrap(),
            Err(_) => "trailers".to_owned(),
        };
        Some(frame.map(|frame| frame.map(text).map_err(|error| error.to_string())))
    }

    fn data(text: &str) -> Option<Option<Result<String, String>>> {
        Some(Some(Ok(text.to_owned())))
    }

    #[test]
    fn a_second_reader_gets_all_of_it_again() {
        let (script, tee) = tee(100);
        let mut first = tee.reader(Pace::Leads);
        script.say("ab");
        assert_eq!(next(&mut first), data("ab"));
        assert_eq!(next(&mut first), None);
        drop(first);
        let mut second = tee.reader(Pace::Leads);
        script.say("cd");
        script.put(Ok(Frame::trailers(HeaderMap::new())));
        assert_eq!(next(&mut second), data("ab"));
        assert_eq!(next(&mut second), data("cd"));
        assert_eq!(next(&mut second), data("trailers"));
        assert_eq!(next(&mut second), Some(None));
        assert!(second.is_end_stream() && tee.is_repeatable());
        let mut third = tee.reader(Pace::Leads);
        for expected in ["ab", "cd", "trailers"] {
            assert_eq!(next(&mut third), data(expected));
        }
    }

    #[test]
    fn beyond_the_limit_the_one_in_front_goes_on_and_the_others_fail() {
        let (script, tee) = tee(3);
        let (mut front, mut behind) = (tee.reader(Pace::Leads), tee.reader(Pace::Follows));
        script.say("ab");
        assert_eq!(next(&mut behind), None, "a follower does not read");
        assert_eq!(next(&mut front), data("ab"));
        assert_eq!(next(&mut behind), data("ab"));
        script.say("cd");
        assert_eq!(next(&mut front), data("cd"));
        assert!(!tee.is_repeatable());
        assert!(matches!(next(&mut behind), Some(Some(Err(_)))));
        script.say("ef");
        script.end();
        assert_eq!(next(&mut front), data("ef"));
        assert_eq!(next(&mut front), Some(None));
        assert!(matches!(next(&mut tee.reader(Pace::Leads)), Some(Some(Err(_)))));
    }

    #[test]
    fn a_reader_that_goes_lets_another_one_wait_for_the_source() {
        let (script, tee) = tee(100);
        let (mut first, mut second) = (tee.reader(Pace::Leads), tee.reader(Pace::Leads));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async move {
            let reading = tokio::task::spawn_local(async move { second.frame().await.unwrap().unwrap().into_data() });
            tokio::task::yield_now().await;
            // The source now wakes the first one only.
            assert_eq!(next(&mut first), None);
            drop(first);
            script.say("ab");
            assert_eq!(reading.await.unwrap().unwrap(), "ab");
        });
    }

    #[test]
    fn a_follower_is_told_when_nobody_can_lead_any_more() {
        let (script, tee) = tee(100);
        let (mut front, mut behind) = (tee.reader(Pace::Leads), tee.reader(Pace::Follows));
        script.say("ab");
        assert_eq!(next(&mut front), data("ab"));
        drop(front);
        assert_eq!(next(&mut behind), data("ab"));
        assert_eq!(next(&mut behind), None, "another attempt may come");
        drop(tee);
        assert!(matches!(next(&mut behind), Some(Some(Err(_)))));
        assert_eq!(Rc::strong_count(&script.0), 1, "the source is let go of");
    }

    #[test]
    fn what_a_leader_has_read_to_the_end_a_follower_still_gets() {
        let (script, tee) = tee(100);
        let (mut front, mut behind) = (tee.reader(Pace::Leads), tee.reader(Pace::Follows));
        script.say("ab");
        script.end();
        assert_eq!((next(&mut front), next(&mut front)), (data("ab"), Some(None)));
        drop((front, tee));
        assert_eq!((next(&mut behind), next(&mut behind)), (data("ab"), Some(None)));
    }

    #[test]
    fn pieces_without_bytes_and_very_many_pieces_cost_nothing_for_long() {
        let (script, tee) = tee(usize::MAX);
        let mut reader = tee.reader(Pace::Leads);
        for _ in 0..MOST_PIECES {
            script.say("");
            script.say("x");
            assert_eq!((next(&mut reader), next(&mut reader)), (data(""), data("x")));
        }
        assert!(tee.is_repeatable());
        assert_eq!(tee.0.borrow().pieces.len(), MOST_PIECES);
        script.say("x");
        assert_eq!(next(&mut reader), data("x"));
        assert!(!tee.is_repeatable() && tee.0.borrow().pieces.is_empty());
    }

    #[test]
    fn a_source_that_breaks_breaks_every_reader() {
        let (script, tee) = tee(100);
        let mut reader = tee.reader(Pace::Leads);
        script.put(Err("gone".into()));
        assert_eq!(next(&mut reader), Some(Some(Err("gone".to_owned()))));
        assert!(!tee.is_repeatable());
        assert!(matches!(next(&mut tee.reader(Pace::Leads)), Some(Some(Err(_)))));
    }
}
