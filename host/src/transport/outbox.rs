//! What a worker has to send, until the others have had their turn.
//!
//! Whoever is sent something wakes up, mostly on another core, which costs the sender more than the sending. One message after the other, each
//! wakes its receiver anew; sent together at the end of a turn of the worker's loop, they find it awake. A small message is
//! therefore copied, and sent when the worker would wait for something or 61 tasks have had their turn, when there are many, or when the first of them has lain for [`LONGEST`].
//!
//! To whoever writes it has been sent. What a socket does not take then is held, in the order in which it was written, and nothing more is taken for
//! it meanwhile: so a peer that does not read stops whoever writes as it would otherwise. Of a connection that is closed then it is held for ten seconds,
//! of one that is cut not at all. An error is told by the next write, and by an end that is read.

use std::{
    cell::RefCell,
    future::poll_fn,
    io::IoSlice,
    pin::pin,
    sync::Arc,
    task::{Poll, Waker},
    time::{Duration, Instant},
};

use super::line::Line;

/// How often it is looked whether everything is sent, when a worker ends.
const LOOK: Duration = Duration::from_millis(20);
/// How often it is looked at what is held of connections that were left, when nothing else happens.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// The largest write that is put off: beyond it copying costs more than it saves.
const SMALL: usize = 4096;
/// So many bytes are sent at once.
const FULL: usize = 64 << 10;
/// For so long a message lies, where others come after it; that is looked at when there are so many more.
const LONGEST: Duration = Duration::from_micros(250);
const OFTEN: usize = 8;

thread_local! {
    static OUTBOX: RefCell<Outbox> = const { RefCell::new(Outbox::new()) };
}

struct Outbox {
    /// Somebody sends what is in it.
    open: bool,
    bytes: Vec<u8>,
    parcels: Vec<Parcel>,
    /// When the first of them came.
    since: Option<Instant>,
    /// Messages since then.
    messages: usize,
    /// Lines whose sockets did not take all.
    held: Vec<Arc<Line>>,
    /// Those among them that the postman has.
    carried: usize,
    postman: Option<Waker>,
}

/// Bytes for one line; they begin where those of the one before end.
struct Parcel {
    line: Arc<Line>,
    length: usize,
}

impl Outbox {
    const fn new() -> Self {
        Self {
            open: false,
            bytes: Vec::new(),
            parcels: Vec::new(),
            since: None,
            messages: 0,
            held: Vec::new(),
            carried: 0,
            postman: None,
        }
    }

    fn put(&mut self, line: &Arc<Line>, slices: &[IoSlice<'_>], length: usize) {
        for slice in slices {
            self.bytes.extend_from_slice(slice);
        }
        match self.parcels.last_mut() {
            Some(last) if Arc::ptr_eq(&last.line, line) => last.length += length,
            _ => self.parcels.push(Parcel { line: Arc::clone(line), length }),
        }
        line.post();
        // The clock costs something, too.
        self.messages += 1;
        let is_looked_at = self.messages.is_multiple_of(OFTEN);
        match self.since {
            None => self.since = Some(Instant::now()),
            Some(since) if self.bytes.len() >= FULL || is_looked_at && since.elapsed() >= LONGEST => self.deliver(),
            Some(_) => {}
        }
    }

    fn deliver(&mut self) {
        (self.since, self.messages) = (None, 0);
        let before = self.held.len();
        let mut rest = self.bytes.as_slice();
        for Parcel { line, length } in self.parcels.drain(..) {
            let (own, others) = rest.split_at_checked(length).unwrap_or((rest, &[]));
            rest = others;
            if line.deliver(own) {
                self.held.push(line);
            }
        }
        self.bytes.clear();
        if self.held.len() > before {
            self.call();
        }
    }

    fn call(&self) {
        if let Some(postman) = &self.postman {
            postman.wake_by_ref();
        }
    }
}

/// From now on small messages of this thread are put off. It has to run [`in_turns`], call [`deliver`] before it waits, and let [`postman`] run.
pub fn open() {
    OUTBOX.with_borrow_mut(|outbox| outbox.open = true);
}

/// Sends all that was put off, and puts nothing off any more.
pub fn close() {
    OUTBOX.with_borrow_mut(|outbox| {
        outbox.open = false;
        outbox.deliver();
    });
}

/// Sends all that was put off.
pub fn deliver() {
    OUTBOX.with_borrow_mut(|outbox| {
        if !outbox.parcels.is_empty() {
            outbox.deliver();
        }
    });
}

/// A line has been left, of which something is held.
pub(super) fn left() {
    OUTBOX.with_borrow(Outbox::call);
}

/// Waits until sockets have taken everything, of connections that were closed too.
pub async fn emptied() {
    while OUTBOX.with_borrow(|outbox| !outbox.parcels.is_empty() || outbox.held.len() + outbox.carried > 0) {
        tokio::time::sleep(LOOK).await;
    }
}

/// Whether this is a thread that puts messages off.
pub(super) fn is_open() -> bool {
    OUTBOX.with_borrow(|outbox| outbox.open)
}

/// Puts a message off, if it is small. Whatever was written to the line before has to be sent, or be in here.
pub(super) fn put(line: &Arc<Line>, slices: &[IoSlice<'_>]) -> Option<usize> {
    let length: usize = slices.iter().map(|slice| slice.len()).sum();
    if length > SMALL || length == 0 {
        return None;
    }
    OUTBOX.with_borrow_mut(|outbox| {
        if !outbox.open {
            return None;
        }
        outbox.put(line, slices, length);
        Some(length)
    })
}

/// Does the work of a thread, whose other tasks are polled between two polls of this one (as `LocalSet` does), at most 61 of them: what these
/// put off is sent then.
pub async fn in_turns<T>(work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    poll_fn(|cx| {
        deliver();
        work.as_mut().poll(cx)
    })
    .await
}

/// Sends what sockets did not take at once, when they do. It never ends.
pub async fn postman() {
    let mut lines: Vec<Arc<Line>> = Vec::new();
    let mut look = pin!(tokio::time::sleep(LOOK_AGAIN));
    poll_fn(|cx| {
        OUTBOX.with_borrow_mut(|outbox| {
            lines.append(&mut outbox.held);
            if outbox.postman.as_ref().is_none_or(|known| !known.will_wake(cx.waker())) {
                outbox.postman = Some(cx.waker().clone());
            }
        });
        if !lines.is_empty() {
            let now = tokio::time::Instant::now();
            lines.retain(|line| !line.is_given_up(now) && line.poll_rest(cx).is_pending());
            OUTBOX.with_borrow_mut(|outbox| outbox.carried = lines.len());
            if lines.iter().any(|line| line.is_left()) {
                while look.as_mut().poll(cx).is_ready() {
                    look.as_mut().reset(tokio::time::Instant::now() + LOOK_AGAIN);
                }
            }
        }
        Poll::<()>::Pending
    })
    .await;
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;

    use proptest::prelude::*;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWrite as _, AsyncWriteExt as _},
        net::{TcpListener, TcpStream, UnixStream},
        task::LocalSet,
    };

    use super::*;
    use crate::transport::{Socket, Wire};

    /// Runs on a thread that puts messages off, as a worker does.
    fn on_a_worker<T>(work: impl Future<Output = T>) -> T {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().on_thread_park(deliver).build().unwrap();
        open();
        let done = LocalSet::new().block_on(&runtime, async {
            tokio::task::spawn_local(postman());
            in_turns(work).await
        });
        close();
        done
    }

    /// Bytes that have come, whether the runtime has looked or not.
    fn arrived(socket: &TcpStream) -> usize {
        let mut sink = vec![std::mem::MaybeUninit::uninit(); 2 * FULL];
        socket2::SockRef::from(socket).peek(&mut sink).unwrap_or(0)
    }

    async fn pair() -> (Wire, TcpStream) {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(socket.local_addr().unwrap()).await.unwrap();
        (Wire::from(near), socket.accept().await.unwrap().0)
    }

    #[test]
    fn what_is_written_in_one_turn_is_sent_at_its_end() {
        on_a_worker(async {
            let (mut wire, mut far) = pair().await;
            wire.write_all(b"hello ").await.unwrap();
            wire.flush().await.unwrap();
            wire.write_all(b"world").await.unwrap();
            assert_eq!(arrived(&far), 0);
            let mut all = [0; 11];
            far.read_exact(&mut all).await.unwrap();
            assert_eq!(&all, b"hello world");
        });
    }

    #[test]
    fn what_lies_for_too_long_or_is_too_much_is_sent_before_the_turn_ends() {
        on_a_worker(async {
            let (mut wire, far) = pair().await;
            let (mut other, _beyond) = pair().await;
            for _ in 0..OFTEN / 2 {
                wire.write_all(b"x").await.unwrap();
                let begun = Instant::now();
                while begun.elapsed() < LONGEST {
                    std::hint::spin_loop();
                }
                other.write_all(b"x").await.unwrap();
            }
            assert_eq!(arrived(&far), OFTEN / 2);
            let (mut wire, far) = pair().await;
            for _ in 0..=FULL / SMALL {
                let written = poll_fn(|cx| Pin::new(&mut wire).poll_write(cx, &[1; SMALL])).await.unwrap();
                assert_eq!(written, SMALL);
            }
            assert!(arrived(&far) >= FULL);
        });
    }

    #[test]
    fn an_end_and_a_drop_come_after_what_was_written() {
        on_a_worker(async {
            for ends in [true, false] {
                let (mut wire, mut far) = pair().await;
                wire.write_all(b"bye").await.unwrap();
                if ends {
                    wire.shutdown().await.unwrap();
                } else {
                    drop(wire);
                }
                let mut all = String::new();
                far.read_to_string(&mut all).await.unwrap();
                assert_eq!(all, "bye");
            }
        });
        // So does what a thread has left when it ends.
        let far = on_a_worker(async {
            let (mut wire, far) = pair().await;
            wire.write_all(b"last").await.unwrap();
            far.into_std().unwrap()
        });
        let mut all = [0; 4];
        far.set_nonblocking(false).unwrap();
        std::io::Read::read_exact(&mut &far, &mut all).unwrap();
        assert_eq!(&all, b"last");
    }

    #[test]
    fn a_peer_that_is_gone_is_told_by_a_later_write() {
        on_a_worker(async {
            let (mut wire, far) = pair().await;
            far.set_zero_linger().unwrap();
            drop(far);
            wire.readable().await.unwrap();
            wire.write_all(b"x").await.unwrap();
            tokio::task::yield_now().await;
            deliver();
            wire.write_all(b"y").await.unwrap_err();
        });
    }

    #[test]
    fn behind_an_accident_that_only_sending_has_shown_there_is_no_end() {
        on_a_worker(async {
            let (mut wire, far) = pair().await;
            wire.write_all(b"x").await.unwrap();
            // Before the runtime has looked at the socket again.
            far.set_zero_linger().unwrap();
            drop(far);
            deliver();
            let lost = poll_fn(|cx| Poll::Ready(wire.poll_broken(cx))).await;
            assert!(lost.is_ready());
            wire.read(&mut [0; 8]).await.unwrap_err();
            wire.read(&mut [0; 8]).await.unwrap_err();
        });
    }

    /// Writes until nothing is taken any more, a part of it held.
    async fn fill(wire: &mut Wire) {
        while poll_fn(|cx| Poll::Ready(Pin::new(&mut *wire).poll_write(cx, &[7; 1000]))).await.is_ready() {
            deliver();
        }
    }

    #[test]
    fn what_is_held_of_a_connection_that_was_cut_is_forgotten_with_it() {
        on_a_worker(async {
            let (mut wire, mut far) = pair().await;
            fill(&mut wire).await;
            wire.cut();
            drop(wire);
            // It has not read anything, and is told that this is no end.
            let mut all = Vec::new();
            far.read_to_end(&mut all).await.unwrap_err();
            emptied().await;
        });
    }

    #[test]
    fn what_is_held_of_a_connection_that_was_closed_arrives_or_has_had_its_time() {
        on_a_worker(async {
            for reads in [true, false] {
                let (mut wire, mut far) = pair().await;
                fill(&mut wire).await;
                drop(wire);
                if reads {
                    let mut all = Vec::new();
                    far.read_to_end(&mut all).await.unwrap();
                    assert!(!all.is_empty() && all.len() % 1000 == 0, "{}", all.len());
                } else {
                    tokio::time::pause();
                    emptied().await;
                    tokio::time::resume();
                }
            }
        });
    }

    #[test]
    fn a_peer_that_reads_nothing_stops_whoever_writes() {
        on_a_worker(async {
            let (mut wire, mut far) = pair().await;
            let mut written = 0_u64;
            loop {
                let polled = poll_fn(|cx| Poll::Ready(Pin::new(&mut wire).poll_write(cx, &[7; 1000]))).await;
                match polled {
                    Poll::Ready(count) => written += count.unwrap() as u64,
                    Poll::Pending => break,
                }
                deliver();
            }
            assert!(written < 64 << 20);
            // Others are not stopped, and it goes on when there is room.
            let (mut other, mut beyond) = pair().await;
            other.write_all(b"hello").await.unwrap();
            beyond.read_exact(&mut [0; 5]).await.unwrap();
            let reads = tokio::task::spawn_local(async move {
                let mut all = Vec::new();
                far.read_to_end(&mut all).await.unwrap();
                all
            });
            wire.write_all(&[8; 1000]).await.unwrap();
            wire.shutdown().await.unwrap();
            let all = reads.await.unwrap();
            assert_eq!(all.len() as u64, written + 1000);
            let first = all.iter().position(|byte| *byte == 8).unwrap();
            assert!(all[..first].iter().all(|byte| *byte == 7) && all[first..].iter().all(|byte| *byte == 8));
        });
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn bytes_arrive_whole_and_in_order(sizes in prop::collection::vec((0_usize..20_000, any::<bool>(), any::<bool>()), 1..60)) {
            on_a_worker(async {
                let (near, mut far) = UnixStream::pair().unwrap();
                let mut wire = Wire::from(Socket::Unix(near));
                let expected: Vec<u8> = (0..sizes.iter().map(|(size, ..)| size).sum()).map(|at: usize| (at % 251) as u8).collect();
                let reads = tokio::task::spawn_local(async move {
                    let mut all = Vec::new();
                    far.read_to_end(&mut all).await.unwrap();
                    all
                });
                let mut rest = expected.as_slice();
                for (size, vectored, yields) in sizes {
                    let (mut now, later) = rest.split_at(size);
                    rest = later;
                    while !now.is_empty() {
                        let (a, b) = now.split_at(if vectored { now.len() / 3 } else { 0 });
                        let slices = [IoSlice::new(a), IoSlice::new(b)];
                        let count = poll_fn(|cx| Pin::new(&mut wire).poll_write_vectored(cx, &slices)).await.unwrap();
                        now = &now[count..];
                    }
                    if yields {
                        tokio::task::yield_now().await;
                    }
                }
                wire.shutdown().await.unwrap();
                assert_eq!(reads.await.unwrap(), expected);
            });
        }
    }
}
