//! Redis Cluster.

use super::{Answer, RedisServer, free_port};

/// Servers each of which has a part of the slots, and no replicas.
#[derive(Debug)]
pub struct RedisCluster {
    /// The servers.
    pub nodes: Vec<RedisServer>,
}

impl RedisCluster {
    /// Starts so many, and waits until they know each other. `None`: as [`RedisServer::start`].
    #[must_use]
    pub fn start(count: u16) -> Option<Self> {
        let mut nodes = Vec::new();
        for _ in 0..count {
            let bus = free_port().to_string();
            let server = RedisServer::on_port(&["--cluster-enabled", "yes", "--cluster-port", &bus])?;
            nodes.push((server, bus));
        }
        let share = 16384_u16.div_ceil(count.max(1));
        for (number, (server, _)) in (0_u16..).zip(&nodes) {
            let mut client = server.connect();
            let first = number * share;
            let last = first.saturating_add(share - 1).min(16383);
            client.call(&["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &last.to_string()]);
            for (other, bus) in &nodes {
                client.call(&["CLUSTER", "MEET", "127.0.0.1", &other.address().port().to_string(), bus]);
            }
        }
        let nodes: Vec<RedisServer> = nodes.into_iter().map(|(server, _)| server).collect();
        for server in &nodes {
            server.says("Cluster state changed: ok");
            let info = text(server.connect().call(&["CLUSTER", "INFO"]));
            assert!(info.contains("cluster_state:ok") && info.contains("cluster_slots_ok:16384"), "{info}");
        }
        Some(Self { nodes })
    }

    /// What a server is called in its cluster.
    #[must_use]
    pub fn name(&self, node: usize) -> String {
        text(self.nodes[node].connect().call(&["CLUSTER", "MYID"]))
    }
}

fn text(answer: Answer) -> String {
    let Answer::Bytes(text) = answer else { panic!("{answer:?}") };
    String::from_utf8(text).unwrap()
}
