//! Several servers over the same data: the members of a replica set, or the mongos of a cluster.

use std::{io, sync::Arc};

use tokio::sync::watch;

use crate::{
    auth::Users,
    options::{Options, Pose},
    server::MongoServer,
    store::Store,
};

/// What the members of a deployment share.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) store: Store,
    pub(crate) topology: watch::Sender<Topology>,
}

/// Who is there and who leads.
#[derive(Debug, Clone, Default)]
pub(crate) struct Topology {
    /// `host:port` of every member.
    pub(crate) members: Vec<String>,
    pub(crate) primary: Option<usize>,
    /// Grows with every change; part of `topologyVersion`.
    pub(crate) version: i64,
    /// Grows with every election; part of `electionId`.
    pub(crate) term: i64,
}

impl Default for Group {
    fn default() -> Self {
        let topology = Topology { primary: Some(0), term: 1, ..Topology::default() };
        Self { store: Store::default(), topology: watch::Sender::new(topology) }
    }
}

impl Group {
    pub(crate) fn add_member(&self, address: String) {
        self.topology.send_modify(|topology| {
            topology.members.push(address);
            topology.version += 1;
        });
    }

    /// Makes a member primary, or none. Open transactions of the old primary are aborted.
    pub(crate) fn set_primary(&self, primary: Option<usize>) {
        let old = self.topology.borrow().primary;
        if old == primary {
            return;
        }
        self.topology.send_modify(|topology| {
            topology.primary = primary;
            topology.version += 1;
            topology.term += i64::from(primary.is_some());
        });
        if let Some(old) = old {
            self.store.abort_where(old, |_, _| true);
        }
    }
}

/// Several running servers over the same data.
#[derive(Debug)]
pub struct Deployment {
    group: Arc<Group>,
    servers: Vec<MongoServer>,
    options: Arc<Options>,
}

impl Deployment {
    /// Starts `count` servers; the first is primary.
    ///
    /// # Errors
    /// If a port is taken or the certificate cannot be read.
    pub async fn start(options: Options, count: usize) -> io::Result<Self> {
        let options = Arc::new(options);
        let group = Arc::new(Group::default());
        let users = Arc::new(Users::new(&options.users, options.iterations));
        let tls = options.tls.as_ref().map(|(certificate, key)| crate::tls::acceptor(certificate, key)).transpose()?;
        let mut servers = Vec::with_capacity(count);
        for index in 0..count {
            let joined =
                MongoServer::join(Arc::clone(&options), Arc::clone(&group), Arc::clone(&users), tls.clone(), index);
            servers.push(joined.await?);
        }
        Ok(Self { group, servers, options })
    }

    /// The servers.
    pub fn servers(&self) -> &[MongoServer] {
        &self.servers
    }

    /// A server by its number from 0.
    pub fn server(&self, index: usize) -> Option<&MongoServer> {
        self.servers.get(index)
    }

    /// Makes a member primary, or none at all: hello, awaited or not, says so at once, writes elsewhere are refused.
    pub fn set_primary(&self, primary: Option<usize>) {
        self.group.set_primary(primary);
    }

    /// A connection string for all of them.
    pub fn uri(&self) -> String {
        let hosts: Vec<String> = self.servers.iter().map(|server| server.address().to_string()).collect();
        let user = match self.options.users.first() {
            Some((name, password)) => format!("{name}:{password}@"),
            None => String::new(),
        };
        let set = match self.options.pose {
            Pose::ReplicaSet => format!("?replicaSet={}", self.options.set_name),
            Pose::Standalone | Pose::Mongos => String::new(),
        };
        format!("mongodb://{user}{}/{set}", hosts.join(","))
    }
}
