//! What `module:` and `signed_by:` name: addresses, images in registries, digests and keys. Where modules really come from is in
//! [`crate::wasm::source`].

mod digest;
mod reference;
mod signature;
mod url;

pub(crate) use self::digest::{is_sha256, manifest_digest};
pub use self::{
    reference::Reference,
    signature::{PublicKey, SignatureError, verify},
    url::Url,
};
