//! `fyke.redis.call.v1`: commands to a Redis server, and their answers.

use std::{net::SocketAddr, rc::Rc, time::Duration};

use bytes::Bytes;
use fyke_engine::{ContextId, Status};
use fyke_resp::{Reader as _, Requests, Step};

use super::{
    call::Call,
    event,
    foreign::{Arguments, REDIS},
};
use crate::callout::redis::{Commands, Request};

/// Commands of a call.
const MOST_COMMANDS: u32 = 1024;
/// The longest timeout.
const LONGEST: Duration = Duration::from_hours(1);

/// Sends commands.
pub fn call(host: &mut Call<'_>, cx: ContextId, args: &[u8], out: &mut Vec<u8>) -> Option<Status> {
    let request = read(args)?;
    let cluster = host.cluster(cx, &request.cluster)?;
    let (env, vm, slot) = (Rc::clone(host.env()), Rc::clone(host.vm()), Rc::clone(host.slot()));
    let Some(place) = slot.room_for_call(args.len()) else { return Some(Status::InternalFailure) };
    let token = slot.token();
    out.extend_from_slice(&token.to_le_bytes());
    let slot = Rc::downgrade(&slot);
    vm.metrics().calls.inc();
    tokio::task::spawn_local(async move {
        let answer = tokio::select! {
            biased;
            () = place.over() => return,
            answer = env.stock.redis.call(&cluster, request) => answer,
        };
        drop(place);
        let Some(slot) = slot.upgrade() else { return };
        let mut event = token.to_le_bytes().to_vec();
        match answer {
            Ok(replies) => {
                event.extend_from_slice(&0_u32.to_le_bytes());
                event.extend_from_slice(&replies);
            }
            Err(error) => {
                vm.metrics().failed_calls.inc();
                tracing::debug!(filter = &*vm.name, "Redis callout failed: {error}");
                event.extend_from_slice(&error.code().to_le_bytes());
                event.extend_from_slice(error.to_string().as_bytes());
            }
        }
        event::deliver((&env, &vm, &slot), cx, REDIS, &event);
    });
    Some(Status::Ok)
}

fn read(args: &[u8]) -> Option<Request> {
    let mut args = Arguments(args);
    let timeout = Duration::from_millis(args.u32()?.into());
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
    let cluster = text(args.bytes()?)?;
    let endpoint = match args.bytes()? {
        [] => None,
        endpoint => Some(text(endpoint)?.parse::<SocketAddr>().ok()?),
    };
    let greeting = commands(args.bytes()?)?;
    let commands = commands(args.bytes()?).filter(|commands| commands.count > 0)?;
    let fits = args.0.is_empty() && !timeout.is_zero() && timeout <= LONGEST;
    fits.then_some(Request { cluster, endpoint, greeting, commands, timeout })
}

/// Whole commands and nothing else, as arrays of bulk strings.
fn commands(bytes: &[u8]) -> Option<Commands> {
    let (mut reader, mut rest, mut count) = (Requests::default(), bytes, 0);
    let mut is_whole = true;
    while !rest.is_empty() {
        if is_whole && rest.first() != Some(&b'*') {
            return None;
        }
        is_whole = false;
        let skipped = usize::try_from(reader.body()).unwrap_or(usize::MAX).min(rest.len());
        if skipped > 0 {
            reader.skip(skipped as u64);
            rest = rest.get(skipped..)?;
            continue;
        }
        let (taken, step) = reader.feed(rest).ok()?;
        rest = rest.get(taken..)?;
        match step {
            Step::Whole => {
                count += 1;
                is_whole = true;
            }
            // Nobody would answer it.
            Step::Nothing => return None,
            Step::More if taken == 0 && reader.body() == 0 => return None,
            Step::More => {}
        }
    }
    (is_whole && count <= MOST_COMMANDS).then(|| Commands { bytes: Bytes::copy_from_slice(bytes), count })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(timeout: u32, parts: [&[u8]; 4]) -> Vec<u8> {
        let mut args = timeout.to_le_bytes().to_vec();
        for part in parts {
            args.extend_from_slice(&u32::try_from(part.len()).unwrap().to_le_bytes());
            args.extend_from_slice(part);
        }
        args
    }

    const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";

    #[test]
    fn a_call_has_whole_commands_and_knows_how_many() {
        let both = [PING, b"*2\r\n$3\r\nGET\r\n$3\r\na\r\n\r\n"].concat();
        let request = read(&args(20, [b"redis", b"127.0.0.1:6379", PING, &both])).unwrap();
        assert_eq!((request.cluster.as_str(), request.timeout), ("redis", Duration::from_millis(20)));
        assert_eq!(request.endpoint, Some(SocketAddr::from(([127, 0, 0, 1], 6379))));
        assert_eq!((request.greeting.count, request.commands.count), (1, 2));
        assert_eq!(request.commands.bytes, both);
        assert!(read(&args(20, [b"redis", b"", b"", PING])).unwrap().endpoint.is_none());
    }

    #[test]
    fn what_would_shift_the_answers_of_others_is_refused() {
        for bad in [&PING[..PING.len() - 1], b"PING\r\n", b"*0\r\n", b"*1\r\n:1\r\n", b"\r\n", b"*1\r\n$-1\r\n"] {
            assert!(read(&args(20, [b"redis", b"", b"", bad])).is_none(), "{bad:?}");
            assert!(read(&args(20, [b"redis", b"", bad, PING])).is_none(), "greeting {bad:?}");
        }
        assert!(read(&args(20, [b"redis", b"", b"", b""])).is_none());
        assert!(read(&args(0, [b"redis", b"", b"", PING])).is_none());
        assert!(read(&args(20, [b"redis", b"here", b"", PING])).is_none());
        let many = PING.repeat(MOST_COMMANDS as usize + 1);
        assert!(read(&args(20, [b"redis", b"", b"", &many])).is_none());
    }
}
