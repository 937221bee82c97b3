//! What a proxy needs to register itself. It has its own connection for each heartbeat, of which there are few.
//!
//! Reading who else is there is the proxy's own: it reads other registries, too.

mod pace;
mod registration;
mod transport;

pub use pace::Pace;
pub use registration::{ClientError, LoadSource, Registration, RegistrationSettings, Status};
pub use transport::{TlsFiles, token};
