//! `fyke.redis.call.v1`, as the host does it: what was asked, and how an answer gets to whoever asked.

use crate::abi::{Fields, Status};
use crate::redis::{RedisError, Value, commands, push_value};
use crate::runtime::Waking;
use crate::testing::world::{RedisRecord, World};

/// The plugin context of these hosts.
const ROOT: u32 = 1;

const LONGEST: u32 = 3_600_000;
const MOST_COMMANDS: usize = 1024;

/// Makes a call.
pub(super) fn call(world: &mut World, arguments: &[u8]) -> Result<Vec<u8>, Status> {
    let record = read(world.effective, Fields::new(arguments)).ok_or(Status::BAD_ARGUMENT)?;
    if !world.has_cluster(&record.cluster) {
        return Err(Status::BAD_ARGUMENT);
    }
    world.redis.push(record);
    u32::try_from(world.redis.len()).map(|token| token.to_le_bytes().to_vec()).map_err(|_| Status::INTERNAL_FAILURE)
}

fn read(context: u32, mut fields: Fields<'_>) -> Option<RedisRecord> {
    let record = RedisRecord {
        context,
        timeout: fields.u32()?,
        cluster: fields.text()?,
        endpoint: fields.text()?,
        greeting: commands(fields.bytes()?)?,
        commands: commands(fields.bytes()?)?,
    };
    let fits = (1..=LONGEST).contains(&record.timeout) && (1..=MOST_COMMANDS).contains(&record.commands.len());
    (fits && fields.rest().is_empty()).then_some(record)
}

/// What the host says of it.
///
/// # Panics
/// When no host says so.
#[track_caller]
fn event(token: u32, said: &Result<Vec<Value>, RedisError>) -> Vec<u8> {
    let mut event = token.to_le_bytes().to_vec();
    match said {
        Ok(values) => {
            event.extend_from_slice(&0_u32.to_le_bytes());
            values.iter().for_each(|value| push_value(&mut event, value));
        }
        Err(error) => {
            let Some((outcome, text)) = error.outcome() else {
                panic!(
                    "no host says of a call of Redis: {error:?}; an error of the server is a value, Value::error(..)"
                );
            };
            event.extend_from_slice(&outcome.to_le_bytes());
            event.extend_from_slice(text.as_bytes());
        }
    }
    event
}

/// Gives an answer to the context that asked, if that is still there.
#[track_caller]
pub(super) fn answer(runtime: &impl Waking, token: u32, said: &Result<Vec<Value>, RedisError>) {
    let event = event(token, said);
    let size = World::with(|world| {
        let context = world.redis.get((token as usize).wrapping_sub(1))?.context;
        if context != ROOT && !world.streams.contains_key(&context) {
            return None;
        }
        world.effective = context;
        world.arguments = event;
        Some(world.arguments.len())
    });
    if let Some(size) = size {
        runtime.on_redis(size);
    }
}
