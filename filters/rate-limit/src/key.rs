//! What rules count by: keys in this process, and names in Redis.

use fyke_limiter::KeyBuilder;
use fyke_limiter::redis::Names;

/// Puts both together from the same parts.
#[derive(Debug)]
pub struct Keys {
    local: KeyBuilder,
    /// Where there is a Redis.
    names: Option<Names>,
    /// Whether the one at hand has a name.
    named: bool,
}

impl Keys {
    /// `prefix` is that of names in Redis, where there is one.
    #[must_use]
    pub fn new(local: KeyBuilder, prefix: Option<&str>) -> Self {
        Self { local, names: prefix.map(Names::new), named: false }
    }

    /// Begins a new one; `named`: it has a name in Redis.
    pub fn begin(&mut self, named: bool) {
        self.local.clear();
        self.named = named;
        if let Some(names) = &mut self.names {
            names.clear();
        }
    }

    /// Adds a part.
    pub fn push(&mut self, part: &[u8]) {
        self.local.push(part);
        if let Some(names) = self.names.as_mut().filter(|_| self.named) {
            names.push(part);
        }
    }

    /// The key, and the name, which is empty where there is none.
    #[must_use]
    pub fn finish(&mut self) -> (Vec<u8>, Vec<u8>) {
        let name = self.names.as_mut().filter(|_| self.named).map(|names| names.name().to_vec());
        (self.local.key().to_vec(), name.unwrap_or_default())
    }
}
