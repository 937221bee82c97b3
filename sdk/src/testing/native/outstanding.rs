//! Callouts: those that are answered at once, and those that wait for time.

use std::time::Duration;

use crate::redis::{RedisError, Value};
use crate::runtime::Waking;
use crate::testing::host::{answer, answer_keys, answer_pairs, grpc_close, grpc_message};
use crate::testing::kit::{Fate, GrpcReceived, Message, Received, RedisReceived, Services};
use crate::testing::redis;
use crate::testing::world::{Call, RedisRecord, World};

/// The status that a host gives a gRPC call whose time is up, and one whose connection broke.
const DEADLINE_EXCEEDED: u32 = 4;

/// What was called and what of it is not answered yet.
#[derive(Default)]
pub(super) struct Outstanding {
    /// How many of the world's calls were seen.
    http: usize,
    /// How many messages of each gRPC call were seen, and whether its end was.
    grpc: Vec<(usize, bool)>,
    /// How many calls of Redis were seen.
    redis: usize,
    waiting: Vec<Waiting>,
}

struct Waiting {
    token: u32,
    due: u64,
    what: String,
    end: End,
}

/// What becomes of one that waits.
enum End {
    Http,
    Grpc,
    Redis(Result<Vec<Value>, RedisError>),
}

/// In nanoseconds.
fn millis(milliseconds: u32) -> u64 {
    u64::from(milliseconds) * 1_000_000
}

fn token(at: usize) -> u32 {
    u32::try_from(at + 1).unwrap_or(u32::MAX)
}

impl Outstanding {
    /// Lets the services answer what the filter asked since the last time. Whether there was anything.
    #[track_caller]
    pub fn serve(&mut self, runtime: &impl Waking, services: &mut Services) -> bool {
        let mut moved = answer_keys(runtime);
        while let Some(call) = World::with(|world| world.calls.get(self.http).cloned()) {
            moved = true;
            let number = token(self.http);
            self.http += 1;
            self.http_call(runtime, services, number, call);
        }
        while let Some(call) = World::with(|world| world.redis.get(self.redis).cloned()) {
            moved = true;
            let number = token(self.redis);
            self.redis += 1;
            self.redis_call(runtime, services, number, call);
        }
        let mut at = 0;
        while World::with(|world| at < world.grpc.len()) {
            moved |= self.grpc_call(runtime, services, at);
            at += 1;
        }
        moved
    }

    #[track_caller]
    fn http_call(&mut self, runtime: &impl Waking, services: &mut Services, token: u32, call: Call) {
        let chunks = if call.body.is_empty() { Vec::new() } else { vec![call.body] };
        let request = Message { headers: call.headers, chunks, trailers: Vec::new() };
        let said = services.http(&call.cluster, &Received::new(request));
        match said.fate {
            Fate::Answered => answer_pairs(runtime, token, said.message.headers, said.message.chunks.concat()),
            Fate::Reset => answer(runtime, token, &[], b""),
            Fate::Hangs => {
                self.wait(token, millis(call.timeout), format!("a call of the cluster \"{}\"", call.cluster), End::Http)
            }
        }
    }

    fn wait(&mut self, token: u32, nanoseconds: u64, what: String, end: End) {
        let due = World::with(|world| world.now).saturating_add(nanoseconds);
        self.waiting.push(Waiting { token, due, what, end });
    }

    /// Each command is answered at once, and the call as late as the slowest of them says.
    #[track_caller]
    fn redis_call(&mut self, runtime: &impl Waking, services: &mut Services, token: u32, call: RedisRecord) {
        let (mut said, mut slowest) = (Ok(Vec::new()), Some(Duration::ZERO));
        for command in call.commands {
            let received = RedisReceived { endpoint: call.endpoint.clone(), greeting: call.greeting.clone(), command };
            let answer = services.redis(&call.cluster, &received);
            slowest = slowest.zip(answer.after).map(|(one, other)| one.max(other));
            match (&mut said, answer.said) {
                (Ok(values), Ok(value)) => values.push(value),
                (Ok(_), Err(error)) => said = Err(error),
                (Err(_), _) => {}
            }
        }
        let (timeout, what) = (millis(call.timeout), format!("a call of Redis at the cluster \"{}\"", call.cluster));
        let after = slowest.map(|time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
        match after.filter(|after| *after < timeout) {
            Some(0) => redis::answer(runtime, token, &said),
            Some(after) => self.wait(token, after, what, End::Redis(said)),
            None => self.wait(token, timeout, what, End::Redis(Err(RedisError::Timeout))),
        }
    }

    #[track_caller]
    fn grpc_call(&mut self, runtime: &impl Waking, services: &mut Services, at: usize) -> bool {
        if self.grpc.len() <= at {
            self.grpc.push((0, false));
        }
        let Some((seen, ended)) = self.grpc.get_mut(at) else { return false };
        let news = World::with(|world| {
            let call = world.grpc.get(at)?;
            let fresh = call.sent.len() > *seen || call.finished != *ended;
            (fresh && !call.cancelled).then(|| (call.clone(), call.sent.get(*seen..).unwrap_or_default().to_vec()))
        });
        let Some((call, messages)) = news else { return false };
        (*seen, *ended) = (call.sent.len(), call.finished);
        let received = GrpcReceived { path: call.path, metadata: call.metadata, messages, finished: call.finished };
        let answer = services.grpc(&call.cluster, &received);
        let number = token(at);
        if answer.hangs {
            if let Some(timeout) = call.timeout {
                let what = format!("a gRPC call of the cluster \"{}\"", call.cluster);
                self.wait(number, millis(timeout), what, End::Grpc);
            }
            return true;
        }
        for message in &answer.messages {
            grpc_message(runtime, number, message);
        }
        match (answer.status, call.finished) {
            (Some((code, message)), _) => grpc_close(runtime, number, code, &message),
            (None, true) => grpc_close(runtime, number, 0, ""),
            (None, false) => {}
        }
        true
    }

    /// When the next of them is due.
    pub fn next(&self) -> Option<u64> {
        self.waiting.iter().map(|waiting| waiting.due).min()
    }

    /// Ends those whose time has come.
    pub fn expire(&mut self, runtime: &impl Waking) {
        let now = World::with(|world| world.now);
        let (due, left) = std::mem::take(&mut self.waiting).into_iter().partition(|waiting| waiting.due <= now);
        self.waiting = left;
        let due: Vec<Waiting> = due;
        for waiting in due {
            match waiting.end {
                End::Http => answer(runtime, waiting.token, &[], b""),
                End::Grpc => grpc_close(runtime, waiting.token, DEADLINE_EXCEEDED, ""),
                End::Redis(said) => redis::answer(runtime, waiting.token, &said),
            }
        }
    }

    /// What time would end.
    pub fn describe(&self) -> Option<String> {
        self.waiting.first().map(|waiting| format!("{} has no answer", waiting.what))
    }
}
