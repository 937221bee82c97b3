//! How a server is started.

use std::path::PathBuf;

use crate::wire::Compressor;

/// What a server says it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Pose {
    /// A single mongod: no transactions, no retryable writes.
    #[default]
    Standalone,
    /// A mongos (`msg: isdbgrid`).
    Mongos,
    /// A member of a replica set; which one is primary is the deployment's state.
    ReplicaSet,
}

/// Options of one server or of a deployment of several; fields have the defaults that [`Options::default`] shows.
#[derive(Debug, Clone)]
pub struct Options {
    /// Address to listen on; default `127.0.0.1`.
    pub host: String,
    /// Port to listen on; default 0, which picks a free one. A deployment counts up from another.
    pub port: u16,
    /// What the server says it is; default standalone.
    pub pose: Pose,
    /// Name of the replica set; default `rs0`.
    pub set_name: String,
    /// `host:port` by which members are named in hello, one per member; default their own addresses. For members behind a proxy.
    pub advertise: Vec<String>,
    /// Users and passwords, all in `admin` with every right. Default none: then nobody has to authenticate.
    pub users: Vec<(String, String)>,
    /// Iterations of SCRAM-SHA-256; default 15,000 as servers have. SCRAM-SHA-1 takes two thirds of it, at least 4096: drivers refuse less.
    pub iterations: u32,
    /// Compressors that hello offers; default all.
    pub compressors: Vec<Compressor>,
    /// Commands that the log keeps, the oldest are forgotten; default 10,000.
    pub log_capacity: usize,
    /// Connections beyond this number are closed at once; default none.
    pub max_connections: Option<usize>,
    /// The first cursor id; default random. Two servers with the same first id have cursors that only the server tells apart.
    pub first_cursor: Option<i64>,
    /// `maxWireVersion` of hello; default 25 (MongoDB 8.0).
    pub max_wire_version: i32,
    /// Certificate chain and key, PEM files; default none, plain TCP.
    pub tls: Option<(PathBuf, PathBuf)>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".to_owned(),
            port: 0,
            pose: Pose::Standalone,
            set_name: "rs0".to_owned(),
            advertise: Vec::new(),
            users: Vec::new(),
            iterations: 15_000,
            compressors: Compressor::ALL.to_vec(),
            log_capacity: 10_000,
            max_connections: None,
            first_cursor: None,
            max_wire_version: 25,
            tls: None,
        }
    }
}

impl Options {
    /// The defaults with that pose.
    pub fn posing(pose: Pose) -> Self {
        Self { pose, ..Self::default() }
    }

    /// With one more user.
    #[must_use]
    pub fn user(mut self, name: &str, password: &str) -> Self {
        self.users.push((name.to_owned(), password.to_owned()));
        self
    }
}
