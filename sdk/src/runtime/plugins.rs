//! The plugin contexts of an instance: each has a filter value, and perhaps tasks.

use std::cell::RefCell;
use std::rc::Rc;

use serde::de::DeserializeOwned;

use super::background::Background;
use super::contexts::Contexts;
use crate::configure::{configure, refuse};
use crate::env::Env;
use crate::error::ConfigError;
pub(super) struct Plugins<F> {
    /// By root context. `None`: created, but its configuration was not accepted (yet).
    roots: RefCell<Contexts<Option<Rc<F>>>>,
    pub background: Background,
}

impl<F> Plugins<F> {
    pub const fn new() -> Self {
        Self { roots: RefCell::new(Contexts::new()), background: Background::new() }
    }

    /// A context that is not configured yet.
    pub fn create(&self, root: u32) {
        let mut roots = self.roots.borrow_mut();
        if roots.get(root).is_none() {
            let _ = roots.insert(root, None);
        }
    }

    /// The filter value that streams begin with now.
    pub fn filter(&self, root: u32) -> Option<Rc<F>> {
        self.roots.borrow().get(root).cloned().flatten()
    }

    /// Makes a new filter value of the configuration that the host holds out, and shows it to `accepted`. A refusal leaves the old one.
    pub fn configure<C: DeserializeOwned + 'static>(
        &self,
        root: u32,
        size: usize,
        tasks: bool,
        make: impl FnOnce(C, &mut Env) -> Result<F, ConfigError>,
        accepted: impl FnOnce(&F),
    ) -> bool {
        match configure(size, tasks, make) {
            Ok((filter, begun)) => {
                accepted(&filter);
                let old = self.roots.borrow_mut().insert(root, Some(Rc::new(filter)));
                drop(old);
                if tasks {
                    self.background.replace(root, begun);
                }
                true
            }
            Err(error) => {
                refuse(&error);
                false
            }
        }
    }

    /// The filter value of a context that is configured elsewhere.
    pub fn share(&self, root: u32, filter: Rc<F>) {
        let old = self.roots.borrow_mut().insert(root, Some(filter));
        drop(old);
    }

    pub fn remove(&self, root: u32) {
        let filter = self.roots.borrow_mut().remove(root);
        self.background.remove(root);
        drop(filter);
    }
}
