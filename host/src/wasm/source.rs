//! Where modules come from: built into the binary, or a file.

use std::{path::PathBuf, sync::Arc};

use sha2::{Digest, Sha256};

use crate::config::{resolved::ModuleSource, suggest};

/// The modules that are part of the binary, by name. Built from `filters/*` by `build.rs`.
pub static BUILTIN: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/builtin.rs"));

/// Why a module could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// No such module in the binary.
    #[error("there is no builtin module \"{name}\"; {help}")]
    UnknownBuiltin {
        /// The name asked for.
        name: String,
        /// What may have been meant.
        help: String,
    },
    /// The file could not be read.
    #[error("cannot read {}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The content is not what the configuration asks for.
    #[error("its SHA-256 is {actual}, the configuration asks for {expected}")]
    Digest {
        /// What it should be.
        expected: String,
        /// What it is.
        actual: String,
    },
}

/// Reads a module and checks its digest.
///
/// # Errors
/// [`SourceError`].
pub fn read(source: &ModuleSource, sha256: Option<&str>) -> Result<Arc<[u8]>, SourceError> {
    let bytes: Arc<[u8]> = match source {
        ModuleSource::Builtin(name) => {
            BUILTIN.iter().find(|(known, _)| known == name).map(|(_, bytes)| Arc::from(*bytes)).ok_or_else(|| {
                SourceError::UnknownBuiltin {
                    name: name.clone(),
                    help: suggest::help(name, &BUILTIN.iter().map(|(name, _)| *name).collect::<Vec<_>>()),
                }
            })?
        }
        ModuleSource::File(path) => {
            Arc::from(std::fs::read(path).map_err(|error| SourceError::File { path: path.clone(), error })?)
        }
    };
    if let Some(expected) = sha256 {
        let actual: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        if actual != expected {
            return Err(SourceError::Digest { expected: expected.to_owned(), actual });
        }
    }
    Ok(bytes)
}
