//! A filter's file, put into its place again and again.

use std::{net::SocketAddr, path::Path};

use crate::subject::Subject;

/// A module, each time with another content hash.
pub struct Module {
    bytes: Vec<u8>,
    number: u32,
}

impl Module {
    /// One whose file is in `folder` from now on.
    pub fn new(bytes: Vec<u8>, folder: &Path) -> anyhow::Result<Self> {
        std::fs::write(folder.join("f.wasm"), &bytes)?;
        Ok(Self { bytes, number: 0 })
    }

    /// The configuration of a proxy that has it.
    pub fn configuration(upstream: SocketAddr) -> String {
        format!(
            "listeners:\n  web: {{ address: \"127.0.0.1:0\", filters: [f], cluster: app }}\nfilters:\n  f: {{ module: f.wasm }}\n\
             clusters:\n  app: {{ endpoints: [\"{upstream}\"] }}\n"
        )
    }

    /// Bytes of it.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Replaces the file by one that has a custom section more, which nobody reads, and reloads. Milliseconds of the reload.
    pub fn swap(&mut self, subject: &Subject) -> anyhow::Result<f64> {
        self.number += 1;
        let mut bytes = self.bytes.clone();
        bytes.extend_from_slice(&[0, 6, 1, b'n']);
        bytes.extend_from_slice(&self.number.to_le_bytes());
        let next = subject.folder.join("f.wasm.next");
        std::fs::write(&next, bytes)?;
        std::fs::rename(&next, subject.folder.join("f.wasm"))?;
        subject.reload()
    }
}
