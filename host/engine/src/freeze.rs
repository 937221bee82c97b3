//! A module's bytes, made readable before it runs and rewritten with what it became.
//!
//! Wizer does both. It trusts its input more than this crate does, so what would make it panic, or write a
//! module that is not one, is refused here first.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use wasmparser::{Parser, Payload};
use wasmtime::{Store, Val};
use wasmtime_wizer::{InstanceState, SnapshotVal, ValType, Wizer};

use crate::error::LoadError;
use crate::state::State;

/// The section in which functions have names. Wizer puts data before it, wherever it is.
const NAMES: &str = "name";
/// Data segments that a module may come with: there may be 100,000, each stays, and a snapshot adds up to 10,000.
const SEGMENTS: u32 = 80_000;

/// The module with its state exported, so that it can be read. The exports are named `__wizer_*`.
pub(crate) fn instrument(engine: &wasmtime::Engine, bytes: &[u8]) -> Result<Vec<u8>, LoadError> {
    // Wizer validates as well, but with every proposal that there is, and panics over some of them.
    wasmtime::Module::validate(engine, bytes).map_err(|error| LoadError::Invalid(format!("{error:#}")))?;
    check_sections(bytes)?;
    let (_, instrumented) = wizer().instrument(bytes).map_err(|error| refusal(&error))?;
    Ok(instrumented)
}

/// The module that `bytes` is when it starts with the state of `instance`, which runs the instrumented `bytes`.
pub(crate) fn snapshot(
    bytes: &[u8],
    store: &mut Store<State>,
    instance: wasmtime::Instance,
) -> Result<Vec<u8>, LoadError> {
    let wizer = wizer();
    let (context, _) = wizer.instrument(bytes).map_err(|error| refusal(&error))?;
    let mut reader = Reader { store, instance, complete: true };
    let frozen = at_once(wizer.snapshot(&context, &mut reader));
    match frozen {
        Some(Ok(frozen)) if reader.complete => Ok(frozen),
        Some(Err(error)) => Err(refusal(&error)),
        _ => Err(LoadError::Image("its state cannot be read".to_owned())),
    }
}

fn wizer() -> Wizer {
    let mut wizer = Wizer::new();
    // An export of that name is the module's own affair here.
    wizer.keep_init_func(true);
    wizer
}

fn check_sections(bytes: &[u8]) -> Result<(), LoadError> {
    let mut named = false;
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload.map_err(|error| LoadError::Invalid(error.to_string()))?;
        let custom = matches!(payload, Payload::CustomSection(_));
        if named && !custom && payload.as_section().is_some() {
            return Err(LoadError::NotForImages("has its names at its end".to_owned()));
        }
        match payload {
            Payload::CustomSection(section) => named |= section.name() == NAMES,
            Payload::DataSection(segments) if segments.count() > SEGMENTS => {
                return Err(LoadError::NotForImages(format!("has at most {SEGMENTS} data segments")));
            }
            _ => {}
        }
    }
    Ok(())
}

/// What wizer says, as what an operator may ask of whoever built the module.
fn refusal(error: &wasmtime::Error) -> LoadError {
    let message = format!("{error:#}");
    let wish =
        if let Some(instruction) = message.strip_prefix("unsupported ").and_then(|m| m.strip_suffix(" instruction")) {
            format!("does not use the instruction {instruction}: what it changes cannot be copied")
        } else if message.starts_with("unsupported mutable global") {
            "has no mutable globals of reference types".to_owned()
        } else if message.contains("__wizer_") {
            "neither imports nor exports anything named `__wizer_*`".to_owned()
        } else {
            format!("can be frozen ({message})")
        };
    LoadError::NotForImages(wish)
}

/// The result of a future that never waits.
fn at_once<F: Future>(future: F) -> Option<F::Output> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => Some(result),
        Poll::Pending => None,
    }
}

/// Lets wizer read an instance.
struct Reader<'a> {
    store: &'a mut Store<State>,
    instance: wasmtime::Instance,
    /// Everything that was asked for was there.
    complete: bool,
}

impl InstanceState for Reader<'_> {
    async fn global_get(&mut self, name: &str, _: ValType) -> SnapshotVal {
        let value = self.instance.get_global(&mut *self.store, name).map(|global| global.get(&mut *self.store));
        match value {
            Some(Val::I32(value)) => SnapshotVal::I32(value),
            Some(Val::I64(value)) => SnapshotVal::I64(value),
            Some(Val::F32(value)) => SnapshotVal::F32(value),
            Some(Val::F64(value)) => SnapshotVal::F64(value),
            Some(Val::V128(value)) => SnapshotVal::V128(value.as_u128()),
            _ => {
                self.complete = false;
                SnapshotVal::I32(0)
            }
        }
    }

    async fn memory_contents(&mut self, name: &str, contents: impl FnOnce(&[u8]) + Send) {
        match self.instance.get_memory(&mut *self.store, name) {
            Some(memory) => contents(memory.data(&*self.store)),
            None => {
                self.complete = false;
                contents(&[]);
            }
        }
    }
}
