//! Chunks: looking at parts of them, and passing over what follows.

use super::*;
use crate::Chunk;

/// Frames of one length byte and a body, of which only the heads are looked at.
struct Heads {
    wanted: bool,
}

#[derive(Default)]
struct Seen {
    shown: Vec<String>,
}

#[http_filter]
impl HttpFilter for Heads {
    type Config = Option<bool>;
    type Ctx = Seen;

    fn configure(config: Option<bool>, _env: &mut Env) -> Result<Self, ConfigError> {
        Ok(Self { wanted: config.unwrap_or(true) })
    }

    async fn on_request(&self, _cx: &mut Seen, _request: &mut Request) -> Result<Flow> {
        Ok(Flow::Continue)
    }

    fn on_request_chunk(&self, cx: &mut Seen, chunk: &mut Chunk) -> Result<()> {
        let head = chunk.read(0, 1);
        cx.shown.push(format!("{head:?} of {}{}", chunk.len(), if chunk.end_of_stream() { "." } else { "" }));
        if let [b'!'] = head.as_slice() {
            chunk.replace("?")?;
        } else if let [length] = head.as_slice() {
            chunk.skip(u64::from(*length).saturating_sub(chunk.len() as u64 - 1))?;
        }
        Ok(())
    }

    fn on_response_chunk(&self, _cx: &mut Seen, _chunk: &mut Chunk) -> Result<()> {
        Ok(())
    }

    fn on_log(&self, cx: &mut Seen, _log: &StreamLog) {
        crate::log::write(Level::Info, &cx.shown.join(" "));
    }

    fn wants_request(&self) -> bool {
        self.wanted
    }

    fn wants_request_chunks(&self) -> bool {
        self.wanted
    }

    fn wants_response_chunks(&self) -> bool {
        self.wanted
    }
}

/// What the filter was shown of a body in these chunks, and what came out.
fn show(chunks: &[&[u8]]) -> (String, Vec<u8>) {
    let host = Host::<Heads>::configure("").unwrap();
    let stream = host.open();
    host.request_headers(stream, &[(":method", "POST")], false);
    let mut passed = Vec::new();
    for (at, chunk) in chunks.iter().enumerate() {
        let last = at + 1 == chunks.len();
        assert_eq!(host.body(Side::Request, stream, chunk, last), Action::Continue);
        passed.extend(host.take_body(Side::Request, stream));
    }
    host.finish(stream);
    (World::with(|world| world.logs.pop().unwrap().1), passed)
}

#[test]
fn what_is_skipped_passes_without_being_shown_and_the_end_is_shown() {
    let (shown, passed) = show(&[&[4, 1], &[2, 3], &[4, 3, 7], &[7, 7], &[]]);
    assert_eq!(shown, "[4] of 2 [3] of 2 [] of 0.");
    assert_eq!(passed, [4, 1, 2, 3, 4, 3, 7, 7, 7]);
}

#[test]
fn a_chunk_whose_beginning_is_skipped_is_replaced_behind_it() {
    let (shown, passed) = show(&[&[2], &[1, 2, b'!', 9, 9], &[]]);
    assert_eq!(shown, "[2] of 1 [33] of 3 [] of 0.");
    assert_eq!(passed, [2, 1, 2, b'?']);
}

#[test]
fn a_configuration_without_interest_in_chunks_is_not_called_for_them() {
    let _host = Host::<Heads>::configure("").unwrap();
    assert_eq!(World::with(|world| world.skipped.take()), None);
    let _host = Host::<Heads>::configure("false").unwrap();
    let skipped = World::with(|world| world.skipped.take());
    let expected = "request_headers,request_body,request_trailers,response_body,response_trailers";
    assert_eq!(skipped.as_deref(), Some(expected));
}
