//! A configuration in a proxy of its own: the real listeners, filters and clusters, with nobody there but us.
//!
//! # What this is
//! What `fyke test` sends requests through and `fyke explain` asks. A [`DryRun`] takes a configuration as it is and changes where it
//! touches the world: listeners take any free port of the loopback address, endpoints are stand-ins in this process which answer as they
//! are told and write down what they got, nothing is logged to sinks or traced, and there is no admin endpoint. Of it [`Run`]s
//! begin: each is a proxy with new instances, counters and shared data, so no request meets what another one left behind.
//!
//! # What this is not
//! No simulation: requests take the way that they take in operation. What depends on the world is left out and said so: health checks,
//! canaries, TLS towards endpoints, the process's own limits.
//!
//! | file | owns |
//! |---|---|
//! | `run.rs` | the configuration, changed; proxies that run on it |
//! | `stand_in.rs` | the endpoints |
//! | `client.rs` | the client |
//! | `tests.rs` | runs `tests:` |
//! | `judge.rs` | whether what came is what was expected |
//! | `asked.rs` | a request that somebody asks about |
//! | `entrance.rs` | the listener and the chain that it takes |
//! | `explain.rs` | what it meets, and why |

mod asked;
mod client;
mod entrance;
mod explain;
mod judge;
mod run;
mod stand_in;
mod tests;

pub use asked::{Asked, header, source};
pub use explain::{Unexplained, explain};
pub use judge::Failure;
pub use run::{DryRun, Run};
pub use tests::{Verdict, test};
