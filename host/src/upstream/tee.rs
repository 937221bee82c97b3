//! A request's body for more than one reader: held as far as a limit allows, so that another attempt, a hedged one or a mirror can read
//! it from its beginning.
//!
//! The source is read once and only at the pace of readers that lead; a follower (a mirror) takes what they have read and never
//! makes them wait. What goes beyond the limit is read by whoever is at the front and held no longer: every other reader fails then, and
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

/// The body, shared.
#[derive(Clone)]
pub struct Tee(Rc<RefCell<Shared>>);

struct Shared {
    source: Source,
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
            shared.readers
        };
        RequestBody::Stream(Box::pin(Reader { tee: self.clone(), number, pace, at: 0, trailed: false }))
    }
}

impl Shared {
    fn wake_others(&mut self, number: u64) {
        self.waiting.remove(&number);
        for (_, waker) in std::mem::take(&mut self.waiting) {
            waker.wake();
        }
    }

    /// Puts a piece where others find it, if there is room; else nobody can read it again.
    fn hold(&mut self, data: &Bytes) {
        if self.gone == 0 && self.held.saturating_add(data.len()) <= self.limit {
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
    tee: Tee,
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
        let mut shared = this.tee.0.borrow_mut();
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
                    shared.hold(&data);
                    this.at += 1;
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
        let shared = self.tee.0.borrow();
        let through = self.at == shared.gone + shared.pieces.len();
        match &shared.source {
            Source::Flowing(body) => through && body.is_end_stream(),
            Source::Ended(trailers) => through && (trailers.is_none() || self.trailed),
            Source::Failed => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        // Before its first byte a reader has before it what the source had; later nobody asks.
        if self.at == 0 { self.tee.0.borrow().hint } else { SizeHint::default() }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // The source would wake this one; another one has to take its place.
        if let Ok(mut shared) = self.tee.0.try_borrow_mut() {
            shared.wake_others(self.number);
        }
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
    fn a_source_that_breaks_breaks_every_reader() {
        let (script, tee) = tee(100);
        let mut reader = tee.reader(Pace::Leads);
        script.put(Err("gone".into()));
        assert_eq!(next(&mut reader), Some(Some(Err("gone".to_owned()))));
        assert!(!tee.is_repeatable());
        assert!(matches!(next(&mut tee.reader(Pace::Leads)), Some(Some(Err(_)))));
    }
}
