//! The test kit: see [`TestHost`].

mod chunking;
mod message;
mod place;
mod redis;
mod services;
mod tcp_test_host;
mod test_host;
#[cfg(test)]
mod tests;
mod text;

pub(super) use message::{Fate, Message};
pub use message::{Outcome, Received, TestRequest, TestResponse};
pub(super) use place::InProcess;
pub use place::Ring;
pub use redis::{RedisAnswer, RedisReceived};
pub(super) use services::Services;
pub use services::{GrpcAnswer, GrpcReceived};
pub(super) use tcp_test_host::Looked;
pub use tcp_test_host::{Connection, Got, TcpTestHost};
pub use test_host::{Flight, TestHost};
pub use text::Text;
