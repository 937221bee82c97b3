//! What an HTTP/2 endpoint says first: its SETTINGS (RFC 9113, section 3.4), whether they allow extended CONNECT (RFC 8441, section 3), and
//! how many streams they allow at a time.
//!
//! hyper knows what they say only where nobody can ask, and not whether they have come. So the first frame is read along while it passes:
//! from then on it costs one look for each read. What an endpoint says in later SETTINGS only is not known here; hyper keeps to it.

use std::{
    io,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU32, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::Notify,
};

/// Bytes of a frame's head (RFC 9113, section 4.1).
const HEAD: usize = 9;
/// Bytes of one setting (section 6.5.1).
const SETTING: usize = 6;
const TYPE_SETTINGS: u8 = 4;
const MAX_CONCURRENT_STREAMS: [u8; 2] = [0, 3];
const ENABLE_CONNECT_PROTOCOL: [u8; 2] = [0, 8];

/// Whether an endpoint takes extended CONNECT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExtendedConnect {
    /// Its SETTINGS allow it.
    Allow,
    /// They do not.
    Refuse,
    /// The connection ended before they came.
    Gone,
}

/// The first SETTINGS of an endpoint. hyper wants `Send` transports, so this is shared as if by threads.
#[derive(Debug)]
pub struct Settings {
    /// 0: not there yet; 1: allowed; 2: not allowed; 3: they never came.
    known: AtomicU8,
    streams: AtomicU32,
    came: Notify,
}

impl Default for Settings {
    fn default() -> Self {
        Self { known: AtomicU8::new(0), streams: AtomicU32::new(u32::MAX), came: Notify::new() }
    }
}

impl Settings {
    /// Waits for them. Cancel safe; the caller limits the time.
    pub async fn extended_connect(&self) -> ExtendedConnect {
        loop {
            let mut came = pin!(self.came.notified());
            came.as_mut().enable();
            match self.known.load(Relaxed) {
                1 => return ExtendedConnect::Allow,
                2 => return ExtendedConnect::Refuse,
                3 => return ExtendedConnect::Gone,
                _ => came.await,
            }
        }
    }

    /// Streams that may be open at a time; without a limit until the endpoint has named one.
    #[must_use]
    pub fn streams(&self) -> u32 {
        self.streams.load(Relaxed)
    }

    fn know(&self, known: ExtendedConnect) {
        let known = match known {
            ExtendedConnect::Allow => 1,
            ExtendedConnect::Refuse => 2,
            ExtendedConnect::Gone => 3,
        };
        self.known.store(known, Relaxed);
        self.came.notify_waiters();
    }
}

/// A transport whose first frame is read along.
#[derive(Debug)]
pub struct Preface<I> {
    io: I,
    first: Option<First>,
}

impl<I> Preface<I> {
    /// Tells `settings` when the first frame has come, or nothing more will come.
    pub fn new(io: I, settings: Arc<Settings>) -> Self {
        let first = First {
            settings,
            head: [0; HEAD],
            held: 0,
            left: 0,
            setting: [0; SETTING],
            allows: ExtendedConnect::Refuse,
            whole: false,
        };
        Self { io, first: Some(first) }
    }
}

/// The first frame, as far as it has come.
#[derive(Debug)]
struct First {
    settings: Arc<Settings>,
    head: [u8; HEAD],
    /// Bytes of the head, or beyond it of the setting, that have come.
    held: usize,
    /// Bytes of the frame that are still to come, once its head is there.
    left: usize,
    setting: [u8; SETTING],
    allows: ExtendedConnect,
    /// There is no more of it to come.
    whole: bool,
}

impl First {
    /// Follows what was read. Returns whether the frame is complete.
    fn follow(&mut self, bytes: &[u8]) -> bool {
        for byte in bytes {
            if self.held < HEAD {
                if let Some(place) = self.head.get_mut(self.held) {
                    *place = *byte;
                }
                self.held += 1;
                if self.held < HEAD {
                    continue;
                }
                let [high, middle, low, kind, ..] = self.head;
                if kind != TYPE_SETTINGS {
                    // hyper will say what it thinks of that.
                    return true;
                }
                self.left = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
            } else {
                if let Some(place) = self.setting.get_mut(self.held - HEAD) {
                    *place = *byte;
                }
                self.held += 1;
                self.left -= 1;
                if self.held == HEAD + SETTING {
                    self.held = HEAD;
                    self.look();
                }
            }
            if self.left == 0 {
                return true;
            }
        }
        false
    }

    fn look(&mut self) {
        let [first, second, value @ ..] = self.setting;
        match [first, second] {
            MAX_CONCURRENT_STREAMS => self.settings.streams.store(u32::from_be_bytes(value), Relaxed),
            ENABLE_CONNECT_PROTOCOL => {
                self.allows = if value == [0, 0, 0, 1] { ExtendedConnect::Allow } else { ExtendedConnect::Refuse };
            }
            _ => {}
        }
    }
}

impl Drop for First {
    fn drop(&mut self) {
        self.settings.know(if self.whole { self.allows } else { ExtendedConnect::Gone });
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Preface<I> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        let polled = Pin::new(&mut this.io).poll_read(cx, buffer);
        if let Some(first) = &mut this.first
            && polled.is_ready()
        {
            let read = buffer.filled().get(before..).unwrap_or_default();
            first.whole = first.follow(read);
            if read.is_empty() || first.whole {
                this.first = None;
            }
        }
        polled
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Preface<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let length = u8::try_from(payload.len()).unwrap();
        [&[0, 0, length, kind, 0, 0, 0, 0, 0], payload].concat()
    }

    /// What is known after the bytes came, cut into pieces of this size, and the connection ended.
    async fn known(bytes: &[u8], size: usize) -> (ExtendedConnect, u32) {
        let settings = Arc::new(Settings::default());
        let (near, mut far) = tokio::io::duplex(1024);
        let mut preface = Preface::new(near, Arc::clone(&settings));
        let mut all = Vec::new();
        for piece in bytes.chunks(size) {
            far.write_all(piece).await.unwrap();
            let mut buffer = vec![0; piece.len()];
            preface.read_exact(&mut buffer).await.unwrap();
            all.extend(buffer);
        }
        drop(far);
        assert_eq!(preface.read(&mut [0]).await.unwrap(), 0);
        assert_eq!(all, bytes, "nothing is changed on the way");
        (settings.extended_connect().await, settings.streams())
    }

    #[tokio::test]
    async fn the_first_settings_say_whether_extended_connect_is_allowed_and_how_many_streams() {
        let streams = [0, 3, 0, 0, 0, 100];
        let (yes, no) = ([0, 8, 0, 0, 0, 1], [0, 8, 0, 0, 0, 0]);
        for (payload, expected) in [
            (vec![], (ExtendedConnect::Refuse, u32::MAX)),
            (streams.to_vec(), (ExtendedConnect::Refuse, 100)),
            ([streams, yes].concat(), (ExtendedConnect::Allow, 100)),
            ([yes, streams].concat(), (ExtendedConnect::Allow, 100)),
            ([yes, no].concat(), (ExtendedConnect::Refuse, u32::MAX)),
            (yes[..5].to_vec(), (ExtendedConnect::Refuse, u32::MAX)),
        ] {
            // What follows does not count.
            let bytes = [frame(4, &payload), frame(4, &yes), frame(4, &[0, 3, 0, 0, 0, 1])].concat();
            for size in [1, 5, 9, 10, 1000] {
                assert_eq!(known(&bytes, size).await, expected, "{payload:?} in pieces of {size}");
            }
        }
    }

    #[tokio::test]
    async fn what_does_not_begin_with_settings_allows_nothing() {
        assert_eq!(known(&frame(6, &[0, 8, 0, 0, 0, 1, 0, 8]), 3).await.0, ExtendedConnect::Refuse);
        assert_eq!(known(b"HTTP/1.1 400 Bad Request\r\n\r\n", 7).await.0, ExtendedConnect::Refuse);
    }

    #[tokio::test]
    async fn a_connection_that_ends_before_its_settings_says_nothing_of_them() {
        let whole = frame(4, &[0, 8, 0, 0, 0, 1]);
        for length in 0..whole.len() {
            assert_eq!(known(&whole[..length], 7).await.0, ExtendedConnect::Gone, "{length} bytes");
        }
        let settings = Arc::new(Settings::default());
        drop(Preface::new(tokio::io::empty(), Arc::clone(&settings)));
        assert_eq!(settings.extended_connect().await, ExtendedConnect::Gone);
    }

    #[tokio::test]
    async fn who_asks_early_waits() {
        let settings = Arc::new(Settings::default());
        let (near, mut far) = tokio::io::duplex(1024);
        let mut preface = Preface::new(near, Arc::clone(&settings));
        let mut asked = pin!(settings.extended_connect());
        assert!(std::future::poll_fn(|cx| Poll::Ready(asked.as_mut().poll(cx))).await.is_pending());
        far.write_all(&frame(4, &[0, 8, 0, 0, 0, 1])).await.unwrap();
        preface.read_exact(&mut [0; 15]).await.unwrap();
        assert_eq!(asked.await, ExtendedConnect::Allow);
    }
}
