//! Prepared images: a configured instance, frozen, of which copies are made without running guest code.
//!
//! A copy costs microseconds, because its memory is the image mapped copy-on-write. So a stream can have an
//! instance of its own, and what goes wrong in it goes wrong for nobody else.

use std::sync::Arc;

use wasmtime::PoolConcurrencyLimitError;

use crate::callback::CallbackSet;
use crate::contexts::Contexts;
use crate::engine::Engine;
use crate::error::LoadError;
use crate::exports::Code;
use crate::freeze;
use crate::instance::{Instance, Vm, new_store};
use crate::pool::Pool;
use crate::state::Settings;
use crate::ticker::Clock;

/// A frozen [`Instance`]. Clones share it.
#[derive(Clone)]
pub struct Image(Arc<Frozen>);

struct Frozen {
    code: Arc<Code>,
    pool: Arc<Pool>,
    clock: Arc<Clock>,
    settings: Arc<Settings>,
    contexts: Contexts,
    callbacks: CallbackSet,
    vm: Vm,
}

impl Instance {
    /// Freezes the guest as it is now: memory, globals, contexts, limits and environment. It has to be at rest,
    /// configured and without streams, and made from a module of [`Engine::compile_for_images`]. The instance
    /// itself goes on as before. Compiles the module anew, unless an equal image is in use, so it takes as long as
    /// [`Engine::compile`]: not for the data path.
    ///
    /// # Errors
    /// [`LoadError::Image`]: it is not at rest, or too large; [`LoadError::NotForImages`]; [`LoadError::Pool`].
    pub fn image(&mut self, engine: &Engine) -> Result<Image, LoadError> {
        let refused = |reason: &str| Err(LoadError::Image(reason.to_owned()));
        let Some(module) = &self.module else { return refused("it is itself a copy of an image") };
        let Some(bytes) = &module.for_images else { return refused("its module was not compiled for images") };
        if self.is_condemned() {
            return refused("it has failed");
        }
        if self.store.data().contexts.has_streams() {
            return refused("it has streams");
        }
        let frozen = freeze::snapshot(bytes, &mut self.store, self.wasm)?;
        let pool = engine.pool()?;
        let code = pool.compile(&frozen, module.facts.allocator)?;
        let state = self.store.data();
        Ok(Image(Arc::new(Frozen {
            code,
            pool,
            clock: Arc::clone(engine.clock()),
            settings: Arc::clone(&state.settings),
            contexts: state.contexts.clone(),
            callbacks: self.callbacks(),
            vm: self.vm,
        })))
    }
}

impl Image {
    /// Makes an instance that goes on where the frozen one was. Its plugin contexts are there, under the same ids, and
    /// streams can be created at once. Nothing that it does is seen by another. Takes microseconds, and runs no
    /// guest code.
    ///
    /// # Errors
    /// [`LoadError::TooManyInstances`] when there are as many as there may be
    /// ([`EngineOptions::images`](crate::EngineOptions::images)), until one of them is dropped;
    /// [`LoadError::Instantiate`] when the kernel refuses.
    pub fn instantiate(&self) -> Result<Instance, LoadError> {
        let Frozen { code, pool, clock, settings, contexts, callbacks, vm } = &*self.0;
        let mut store = new_store(code, settings, clock);
        store.data_mut().contexts.clone_from(contexts);
        let wasm = code.pre.instantiate(&mut store).map_err(|error| failure(&error, pool.limit))?;
        Instance::assemble(store, wasm, code, *callbacks, *vm)
    }
}

impl std::fmt::Debug for Image {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Image").field("callbacks", &self.0.callbacks).finish_non_exhaustive()
    }
}

#[cold]
fn failure(error: &wasmtime::Error, limit: usize) -> LoadError {
    if error.is::<PoolConcurrencyLimitError>() {
        LoadError::TooManyInstances { limit }
    } else {
        LoadError::Instantiate(format!("{error:#}"))
    }
}
