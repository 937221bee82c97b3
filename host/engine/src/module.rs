//! A compiled module.

use std::fmt;
use std::sync::Arc;

use crate::callback::CallbackSet;
use crate::exports::Code;
use crate::scan::Facts;
use crate::ticker::Clock;

/// The version of Proxy-Wasm that a module is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(non_camel_case_types, reason = "the underscores are the version's dots")]
pub enum AbiVersion {
    /// 0.1.0: header callbacks without `end_of_stream`; a missing key reads as an empty value.
    V0_1_0,
    /// 0.2.0.
    V0_2_0,
    /// 0.2.1.
    V0_2_1,
    /// 0.2.100, Higress's: 0.2.1 with wider actions.
    V0_2_100,
}

impl AbiVersion {
    /// The version of a marker export, without its prefix.
    pub(crate) fn from_marker(marker: &str) -> Option<AbiVersion> {
        match marker {
            "0_1_0" => Some(AbiVersion::V0_1_0),
            "0_2_0" => Some(AbiVersion::V0_2_0),
            // The specification's working draft is 0.2.1 with a marker of its own.
            "0_2_1" | "0_x_x" => Some(AbiVersion::V0_2_1),
            "0_2_100" => Some(AbiVersion::V0_2_100),
            _ => None,
        }
    }
}

impl fmt::Display for AbiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AbiVersion::V0_1_0 => "0.1.0",
            AbiVersion::V0_2_0 => "0.2.0",
            AbiVersion::V0_2_1 => "0.2.1",
            AbiVersion::V0_2_100 => "0.2.100",
        })
    }
}

/// A compiled module, ready to be instantiated. Clones share it.
#[derive(Clone)]
pub struct Module(pub(crate) Arc<ModuleInner>);

pub(crate) struct ModuleInner {
    pub(crate) code: Code,
    pub(crate) facts: Facts,
    pub(crate) hash: String,
    pub(crate) size: usize,
    /// The bytes as they were given, if images of instances can be made.
    pub(crate) for_images: Option<Vec<u8>>,
    pub(crate) clock: Arc<Clock>,
}

impl Module {
    /// The SHA-256 of the module's bytes, in hexadecimal.
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.0.hash
    }

    /// The ABI version that it is made for.
    #[must_use]
    pub fn abi(&self) -> AbiVersion {
        self.0.facts.abi
    }

    /// The callbacks that it exports.
    #[must_use]
    pub fn callbacks(&self) -> CallbackSet {
        self.0.facts.callbacks
    }

    /// The names of the functions that it imports from `env`: what it may ask of the host.
    #[must_use]
    pub fn imports(&self) -> &[String] {
        &self.0.facts.imports
    }

    /// The names of the functions that it exports.
    #[must_use]
    pub fn exports(&self) -> &[String] {
        &self.0.facts.exports
    }

    /// The contents of its custom section `fyke.manifest`.
    #[must_use]
    pub fn manifest(&self) -> Option<&[u8]> {
        self.0.facts.manifest.as_deref()
    }

    /// Bytes of the module as it was given to [`Engine::compile`](crate::Engine::compile).
    #[must_use]
    pub fn size(&self) -> usize {
        self.0.size
    }
}

impl fmt::Debug for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Module")
            .field("hash", &self.hash())
            .field("abi", &self.abi())
            .field("callbacks", &self.callbacks())
            .field("size", &self.size())
            .finish_non_exhaustive()
    }
}
