//! Calls that filters make. They go through the same clusters, pools and limits as streams do.

pub mod grpc;
pub mod http;
pub mod redis;
