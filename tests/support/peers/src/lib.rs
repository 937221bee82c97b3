//! Peers that know nothing of Fyke: programs of grpcio, xds-protos, PyMongo and MockupDB in `python/`, and of MongoDB's driver and the reference server of StatsD for Node in `node/`.
//! They are told what to do in lines of JSON and say in such lines what they see. `FYKE_PYTHON` names a Python that has what they need, `npm ci`
//! in `node/` installs it there; without it there is nobody to talk to, and who wants one gets none. So it is with Redis servers, which are Debian's.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a test may fail loudly"
)]

mod control_plane;
mod mongo_clients;
mod mongo_liar;
mod mongo_shell;
mod rate_limit_service;
mod redis;
mod running;
mod script;
mod statsd_server;

pub use control_plane::ControlPlane;
pub use mongo_clients::{Counts, MongoClients, Outcome};
pub use mongo_liar::MongoLiar;
pub use mongo_shell::mongosh;
pub use rate_limit_service::RateLimitService;
pub use redis::{Answer, RedisClient, RedisCluster, RedisServer};
pub use running::Running;
pub use statsd_server::StatsdServer;
