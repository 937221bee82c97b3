//! The decoder: it neither panics nor keeps more than it may, and wherever the stream is cut it finds the same.

use std::collections::BTreeMap;

use super::{Random, corpus, run};
use crate::message::reply::Reply;
use crate::message::request::Request;
use crate::wire::Content;
use crate::wire::frames::{Event, Frames, Reach};
use crate::wire::inflate::Inflater;

const REACH: Reach = Reach { document: 2000, compressed: 1500, inflated: 6000 };
/// A window, and what a value needs that begins at its end.
const WINDOWS: usize = 16 << 10;

/// What is found of a stream.
#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    /// By where messages begin: how they end, and what is kept of those that were read.
    ends: BTreeMap<u64, String>,
    /// What is decided by. Messages that turn out to be unreadable behind it are left out: where that is seen at once nothing is known of them.
    decided: BTreeMap<u64, String>,
}

fn look<C: Content + Default>(bytes: &[u8], cuts: &[usize], shown: impl Fn(&C) -> (String, String)) -> Found {
    let mut found = Found::default();
    let (mut frames, mut inflater) = (Frames::<C>::default(), Inflater::default());
    let (mut base, mut rest, mut cuts) = (0, bytes, cuts.iter().cycle());
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
        let (piece, mut at) = (piece.to_vec(), 0);
        while let Some(event) = frames.advance(&piece, &mut at, base, &REACH, &mut inflater) {
            let (decides, all) = shown(&frames.content);
            match event {
                Event::Known => _ = found.decided.insert(frames.start, decides),
                Event::Read { whole } => _ = found.ends.insert(frames.start, format!("{whole} {all}")),
                Event::Bad(_) => {
                    found.decided.remove(&frames.start);
                    // Of several reasons, which is seen first depends on what is there at once.
                    found.ends.insert(frames.start, "unreadable".to_owned());
                }
                Event::Lost(length) => {
                    found.ends.insert(frames.start, format!("lost {length}"));
                    return found;
                }
            }
            assert!(frames.held() <= WINDOWS + 2 * REACH.compressed, "{} bytes are held", frames.held());
        }
        assert!(frames.held() <= WINDOWS + 2 * REACH.compressed, "{} bytes are held", frames.held());
        base += piece.len() as u64;
        rest = behind;
    }
    // What was not seen to its end depends on how far the last piece was looked through.
    let ends = &found.ends;
    found.decided.retain(|start, _| ends.contains_key(start));
    found
}

fn request(request: &Request) -> (String, String) {
    let name = |name: &crate::message::Name| String::from_utf8_lossy(name.bytes()).into_owned();
    let what = [name(&request.database), name(&request.collection), request.command().name.to_owned()];
    let is_bulk = request.command().name == "bulkWrite";
    // Of a `bulkWrite` a second list of namespaces may or may not have been seen by then.
    (if is_bulk { String::new() } else { format!("{what:?} {}", request.is_read()) }, format!("{request:?}"))
}

fn reply(reply: &Reply) -> (String, String) {
    (format!("{} {}", reply.more_to_come(), reply.flags), format!("{reply:?}"))
}

fn cuts(random: &mut Random) -> Vec<usize> {
    let longest = *random.pick(&[1, 12, 100, 900, 5000]);
    (0..=random.below(4)).map(|_| 1 + random.below(longest)).collect()
}

#[test]
fn the_decoder_finds_the_same_however_a_stream_is_cut() {
    let corpus = corpus::messages();
    run(|random| {
        let bytes = corpus::stream(random, &corpus);
        let cuts = cuts(random);
        let whole = look::<Request>(&bytes, &[usize::MAX], request);
        assert_eq!(look::<Request>(&bytes, &cuts, request), whole, "{cuts:?} of {bytes:?}");
        let whole = look::<Reply>(&bytes, &[usize::MAX], reply);
        assert_eq!(look::<Reply>(&bytes, &cuts, reply), whole, "{cuts:?} of {bytes:?}");
    });
}
