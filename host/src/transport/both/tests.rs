use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::poll_fn,
};

use proptest::prelude::*;
use tokio::io::ReadBuf;

use super::*;

/// A side that does what it is told. It wakes nobody: tests step by hand.
#[derive(Debug, Default)]
struct Fake {
    /// An empty piece is the end. Where there is nothing, there may be something later.
    reads: VecDeque<Result<Vec<u8>, io::ErrorKind>>,
    refuses: Option<io::ErrorKind>,
    /// Bytes it takes; each time it has none left it is slow once.
    room: VecDeque<usize>,
    blocks: bool,
    written: Vec<u8>,
    shut: bool,
    broken: bool,
}

impl Fake {
    fn says(pieces: &[&str]) -> Self {
        Self { reads: pieces.iter().map(|piece| Ok(piece.as_bytes().to_vec())).collect(), ..Self::default() }
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.written).unwrap()
    }
}

impl Side for Fake {
    fn poll_broken(&mut self, _: &mut Context<'_>) -> Poll<()> {
        if self.broken { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl AsyncRead for Fake {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.reads.pop_front() {
            None => Poll::Pending,
            Some(Err(kind)) => Poll::Ready(Err(kind.into())),
            Some(Ok(mut piece)) => {
                let rest = piece.split_off(piece.len().min(buffer.remaining()));
                buffer.put_slice(&piece);
                if !rest.is_empty() {
                    self.reads.push_front(Ok(rest));
                }
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl AsyncWrite for Fake {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        assert!(!self.shut, "written to behind its end");
        if let Some(kind) = self.refuses {
            return Poll::Ready(Err(kind.into()));
        }
        let room = if self.blocks { 0 } else { self.room.pop_front().unwrap_or(usize::MAX) };
        if room == 0 {
            return Poll::Pending;
        }
        let count = room.min(bytes.len());
        self.written.extend_from_slice(&bytes[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shut = true;
        Poll::Ready(Ok(()))
    }
}

struct Counting {
    scratch: RefCell<Box<[u8]>>,
    passed: [Cell<usize>; 2],
}

impl Between for Counting {
    type Direction = usize;

    fn scratch(&self) -> &RefCell<Box<[u8]>> {
        &self.scratch
    }

    fn most(&self) -> usize {
        4
    }

    fn passed(&self, direction: usize, count: usize) {
        let passed = &self.passed[direction];
        passed.set(passed.get() + count);
    }
}

fn counting() -> Counting {
    Counting { scratch: RefCell::new(vec![0; 16].into()), passed: Default::default() }
}

fn both(idle: Duration) -> Both<usize> {
    Both::new(Way::new(0, false), Way::new(1, false), idle)
}

const IDLE: Duration = Duration::from_secs(4);

/// Steps until nothing more can be done.
async fn run(both: &mut Both<usize>, near: &mut Fake, far: &mut Fake) -> Result<(Step, Step), Cut> {
    let between = counting();
    poll_fn(|cx| {
        loop {
            match both.step(&between, cx, near, far, false) {
                Ok((Step::Yields, _) | (_, Step::Yields)) => {}
                result => return Poll::Ready(result),
            }
        }
    })
    .await
}

const OVER: (Step, Step) = (Step::Done, Step::Done);

#[tokio::test]
async fn an_end_is_passed_on_and_the_other_direction_goes_on() {
    let (mut near, mut far) = (Fake::says(&["hello", ""]), Fake::says(&["first"]));
    let mut both = both(IDLE);
    assert_eq!(run(&mut both, &mut near, &mut far).await.unwrap(), (Step::Done, Step::Waits));
    assert_eq!((far.text(), far.shut, near.text(), near.shut), ("hello", true, "first", false));
    far.reads.extend([Ok(b" second".to_vec()), Ok(Vec::new())]);
    assert_eq!(run(&mut both, &mut near, &mut far).await.unwrap(), OVER);
    assert_eq!((near.text(), near.shut), ("first second", true));
}

#[tokio::test]
async fn what_an_upstream_said_before_it_stopped_listening_arrives_with_its_end() {
    let mut near = Fake::says(&["more"]);
    let mut far = Fake { refuses: Some(io::ErrorKind::BrokenPipe), ..Fake::says(&["the ans", "wer", ""]) };
    assert_eq!(run(&mut both(IDLE), &mut near, &mut far).await.unwrap(), OVER);
    assert_eq!((near.text(), near.shut), ("the answer", true));
}

#[tokio::test]
async fn after_a_reset_an_end_is_none() {
    let mut near = Fake::says(&["more"]);
    let mut far = Fake { refuses: Some(io::ErrorKind::ConnectionReset), ..Fake::says(&["the ans", ""]) };
    assert!(matches!(run(&mut both(IDLE), &mut near, &mut far).await, Err(Cut::Far(_))));
    assert_eq!((near.text(), near.shut), ("the ans", false));
}

#[tokio::test]
async fn who_breaks_is_told() {
    let broken = || Fake { reads: [Err(io::ErrorKind::ConnectionReset)].into(), ..Fake::default() };
    let (mut near, mut far) = (broken(), Fake::default());
    assert!(matches!(run(&mut both(IDLE), &mut near, &mut far).await, Err(Cut::Near(_))));
    let (mut near, mut far) = (Fake::default(), broken());
    assert!(matches!(run(&mut both(IDLE), &mut near, &mut far).await, Err(Cut::Far(_))));
    let mut near = Fake { refuses: Some(io::ErrorKind::BrokenPipe), ..Fake::default() };
    let mut far = Fake::says(&["x"]);
    assert!(matches!(run(&mut both(IDLE), &mut near, &mut far).await, Err(Cut::Near(_))));
}

#[tokio::test]
async fn a_client_that_is_gone_behind_its_end_is_found_out_without_a_write() {
    let (mut near, mut far) = (Fake::says(&["hello", ""]), Fake::default());
    let mut both = both(IDLE);
    assert_eq!(run(&mut both, &mut near, &mut far).await.unwrap(), (Step::Done, Step::Waits));
    near.broken = true;
    assert!(matches!(run(&mut both, &mut near, &mut far).await, Err(Cut::Near(_))));
}

#[tokio::test]
async fn an_upstream_that_is_gone_behind_its_end_has_said_it_all() {
    let (mut near, mut far) = (Fake::default(), Fake::says(&["all", ""]));
    let mut both = both(IDLE);
    assert_eq!(run(&mut both, &mut near, &mut far).await.unwrap(), (Step::Waits, Step::Done));
    far.broken = true;
    assert_eq!(run(&mut both, &mut near, &mut far).await.unwrap(), OVER);
    assert_eq!((near.text(), near.shut), ("all", true));
}

#[tokio::test(start_paused = true)]
async fn idle_with_something_on_its_way_is_not_clear() {
    for blocks in [false, true] {
        let (mut near, mut far) = (Fake { blocks, ..Fake::default() }, Fake::says(&["x"]));
        let (mut both, begun) = (both(IDLE), Instant::now());
        let mut looks = Vec::new();
        while looks.last() != Some(&Look::Idle) {
            run(&mut both, &mut near, &mut far).await.unwrap();
            looks.push(
                poll_fn(|cx| match both.look(cx) {
                    Look::Early => Poll::Pending,
                    look => Poll::Ready(look),
                })
                .await,
            );
        }
        // The first look finds what moved at the beginning.
        assert_eq!((looks.len(), begun.elapsed()), (5, IDLE + IDLE / 4));
        assert_eq!(both.is_clear(), !blocks);
    }
}

#[tokio::test(start_paused = true)]
async fn a_side_that_does_not_read_is_stuck_whatever_the_other_direction_does() {
    let (mut near, mut far) = (Fake { blocks: true, ..Fake::default() }, Fake::says(&["x"]));
    let mut both = both(IDLE);
    for number in 0..=4 {
        assert!(!both.is_stuck(), "after {number} looks");
        near.reads.push_back(Ok(b"busy".to_vec()));
        run(&mut both, &mut near, &mut far).await.unwrap();
        let look = poll_fn(|cx| match both.look(cx) {
            Look::Early => Poll::Pending,
            look => Poll::Ready(look),
        });
        assert_eq!(look.await, Look::Fine);
    }
    assert!(both.is_stuck());
    near.blocks = false;
    run(&mut both, &mut near, &mut far).await.unwrap();
    tokio::time::advance(IDLE).await;
    poll_fn(|cx| Poll::Ready(both.look(cx))).await;
    assert!(!both.is_stuck());
}

proptest! {
    #[test]
    fn every_byte_arrives_once_and_in_order_and_then_the_end(
        up in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..20), 0..10),
        down in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..20), 0..10),
        rooms in prop::collection::vec(prop::collection::vec(0_usize..6, 0..40), 2),
        cuts in prop::collection::vec(1_usize..4, 0..10),
    ) {
        let (sent, received) = (up.concat(), down.concat());
        let room = |index: usize| rooms[index].iter().copied().collect();
        let mut near = Fake { room: room(0), ..Fake::default() };
        let mut far = Fake { room: room(1), ..Fake::default() };
        let (mut up, mut down) = (VecDeque::from(up), VecDeque::from(down));
        up.push_back(Vec::new());
        down.push_back(Vec::new());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let between = counting();
        runtime.block_on(async {
            let mut both = both(IDLE);
            let mut cuts = cuts.iter().copied().cycle();
            // Each room is slow at most once for each of its numbers, and each piece comes at some time.
            for _ in 0..1000 {
                for (side, pieces) in [(&mut near, &mut up), (&mut far, &mut down)] {
                    let count = cuts.next().unwrap_or(1).min(pieces.len());
                    side.reads.extend(pieces.drain(..count).map(Ok));
                }
                if poll_fn(|cx| Poll::Ready(both.step(&between, cx, &mut near, &mut far, false))).await.unwrap() == OVER {
                    return;
                }
            }
            panic!("it does not come to an end");
        });
        prop_assert_eq!((&far.written, &near.written), (&sent, &received));
        prop_assert!(near.shut && far.shut);
        prop_assert_eq!((between.passed[0].get(), between.passed[1].get()), (sent.len(), received.len()));
    }
}
