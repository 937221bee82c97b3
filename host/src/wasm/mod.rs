//! Binds the engine to streams.
//!
//! The engine ([`fyke_engine`]) knows the ABI and nothing of HTTP; the chain ([`crate::filter`]) knows phases and
//! nothing of the ABI. This part stands between them: it builds instances on the control plane ([`build`]), keeps one
//! per filter and worker ([`vm`], [`slot`]), lends streams to the guest that runs ([`call`]), and answers what a guest asks of
//! the host ([`properties`], [`foreign`], [`maps`], [`rope`], and calls elsewhere: [`call_out`], [`grpc`]).
//!
//! Invariants: a guest is entered only through [`vm::Slot`], never after a trap; nothing here awaits while it holds a
//! stream; an instance is configured before a worker sees it.

pub mod alarm;
pub mod build;
pub mod call;
pub mod call_out;
mod configuring;
mod endpoints;
pub mod entropy;
pub mod env;
mod event;
pub mod exchange;
pub mod foreign;
pub mod grants;
pub mod grpc;
mod half;
mod inject;
pub mod leasing;
pub mod lines;
pub mod manifest;
pub mod maps;
pub mod outside;
pub mod packed;
pub mod panels;
pub mod peer;
pub mod pending;
pub(crate) mod plan;
pub mod properties;
mod protobuf;
mod redis;
pub mod rope;
pub mod route;
mod sameness;
mod schema;
pub mod scribe;
pub mod slot;
pub mod source;
pub mod stretch;
pub mod tap;
pub mod trace;
pub mod trial;
pub mod under_way;
mod values;
pub mod vm;
mod watched;
mod zlib;
