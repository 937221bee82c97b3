//! From callbacks to methods: what the exports of a module call.

mod background;
mod http;
mod streams;
mod tcp;

pub(crate) use background::BoxedTask;
pub use http::Runtime;
pub use tcp::TcpRuntime;

pub use crate::callout::Received;
