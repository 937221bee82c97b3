//! `fyke.redis.call.v1`: commands of RESP, many at a time over one connection of the worker to each place that is asked.
//!
//! Answers come in the order of the commands, so whoever has stopped waiting leaves its place in the line, and its answer is thrown away when
//! it comes. A connection whose first answer is overdue is closed, and so are all who wait for it told.

mod pipe;
mod replies;

use std::{cell::RefCell, collections::HashMap, net::SocketAddr, rc::Rc, time::Duration};

use bytes::Bytes;

use self::pipe::Pipe;
use crate::cluster::{error::ClusterError, local::LocalCluster};

/// Places that a worker may have connections to at the same time.
const MOST_PIPES: usize = 256;

/// A call.
#[derive(Debug, Clone)]
pub struct Request {
    /// Cluster to call.
    pub cluster: String,
    /// One of its endpoints; `None`: whichever its balancer picks for a connection.
    pub endpoint: Option<SocketAddr>,
    /// What each connection begins with, such as `AUTH` and `SELECT`. Calls share connections that have begun alike.
    pub greeting: Commands,
    /// The commands.
    pub commands: Commands,
    /// For the whole call, connecting included.
    pub timeout: Duration,
}

/// Whole commands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Commands {
    /// As they are sent.
    pub bytes: Bytes,
    /// How many there are, each of which is answered once.
    pub count: u32,
}

/// Why there is no answer; the numbers are those of `fyke.redis.call.v1`.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CallError {
    /// There is no connection, and none can be made.
    #[error("{0}")]
    Connect(Rc<str>),
    /// The call's own timeout.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The connection was closed before the answer had come. Whether the commands were executed is not known.
    #[error("the connection was closed: {0}")]
    Closed(Rc<str>),
    /// The server has refused a command of the greeting.
    #[error("the server refuses the greeting: {0}")]
    Greeting(Rc<str>),
    /// Too much waits for this server already, or there are too many places.
    #[error("too much waits already")]
    Overloaded,
}

impl CallError {
    /// Its number.
    #[must_use]
    pub const fn code(&self) -> u32 {
        match self {
            Self::Connect(_) => 2,
            Self::Timeout(_) => 3,
            Self::Closed(_) => 4,
            Self::Greeting(_) => 5,
            Self::Overloaded => 6,
        }
    }
}

impl From<ClusterError> for CallError {
    fn from(error: ClusterError) -> Self {
        Self::Connect(error.to_string().into())
    }
}

/// A place that commands go to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Target {
    /// The address in memory of the cluster that it belongs to, which its pipe keeps alive: streams of several generations call at the same
    /// time, and each has settings of its own.
    cluster: *const LocalCluster,
    endpoint: Option<SocketAddr>,
    greeting: Commands,
}

/// A worker's connections.
#[derive(Debug, Default)]
pub struct Pipes(RefCell<HashMap<Target, Rc<Pipe>>>);

impl Pipes {
    /// Sends commands and waits for all that answers them, as it came.
    ///
    /// Cancel safe: dropped, the answers are thrown away; the commands may be executed nevertheless.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn call(&self, cluster: &Rc<LocalCluster>, request: Request) -> Result<Bytes, CallError> {
        let Request { endpoint, greeting, commands, timeout, .. } = request;
        let pipe = self.pipe(cluster, Target { cluster: Rc::as_ptr(cluster), endpoint, greeting })?;
        let answer = pipe.send(&commands, timeout)?;
        match tokio::time::timeout(timeout, answer).await {
            Ok(Ok(answer)) => answer,
            // The task that runs the connection is gone, which it is only when the worker ends.
            Ok(Err(_)) => Err(CallError::Closed("the worker ends".into())),
            Err(_) => Err(CallError::Timeout(timeout)),
        }
    }

    fn pipe(&self, cluster: &Rc<LocalCluster>, target: Target) -> Result<Rc<Pipe>, CallError> {
        let mut pipes = self.0.borrow_mut();
        if let Some(pipe) = pipes.get(&target)
            && !pipe.leaves()
        {
            return Ok(Rc::clone(pipe));
        }
        // Those of older generations are not asked for again.
        pipes.retain(|_, pipe| !pipe.is_idle());
        if pipes.len() >= MOST_PIPES {
            pipes.retain(|_, pipe| !pipe.is_over());
        }
        if pipes.len() >= MOST_PIPES {
            return Err(CallError::Overloaded);
        }
        let pipe = Pipe::open(Rc::clone(cluster), target.endpoint, target.greeting.clone());
        pipes.insert(target, Rc::clone(&pipe));
        Ok(pipe)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        cell::Cell,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
    };

    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
        task::{LocalSet, yield_now},
    };

    use super::*;
    use crate::{
        cluster::{endpoint::Mark, shared::SharedCluster},
        config::{Format, load_text, resolved::Endpoint},
        telemetry::Registry,
    };

    /// Answers everything with `OK`. Where it is, and how many connections are open and were made.
    async fn server() -> (SocketAddr, Arc<[AtomicUsize; 2]>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let counts = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
        let counted = Arc::clone(&counts);
        tokio::task::spawn_local(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                counted.iter().for_each(|count| _ = count.fetch_add(1, Ordering::Relaxed));
                let counted = Arc::clone(&counted);
                tokio::task::spawn_local(async move {
                    let mut buffer = [0; 1024];
                    while stream.read(&mut buffer).await.is_ok_and(|length| length > 0) {
                        stream.write_all(b"+OK\r\n").await.unwrap();
                    }
                    counted[0].fetch_sub(1, Ordering::Relaxed);
                });
            }
        });
        (address, counts)
    }

    fn cluster(addresses: &[SocketAddr]) -> Rc<LocalCluster> {
        let text = format!(
            "clusters: {{ redis: {{ protocol: tcp, endpoints: {:?} }} }}\nlisteners: {{ web: {{ address: '127.0.0.1:0', protocol: tcp, cluster: redis }} }}\n",
            addresses.iter().map(ToString::to_string).collect::<Vec<_>>()
        );
        let config = load_text("test.yaml", &text, Format::Yaml, std::path::Path::new(".")).unwrap();
        let shared = SharedCluster::new(Arc::clone(&config.clusters["redis"]), 1);
        LocalCluster::new(shared, &Registry::new(), 0)
    }

    async fn ask(pipes: &Pipes, cluster: &Rc<LocalCluster>) {
        let commands = Commands { bytes: Bytes::from_static(b"PING\r\n"), count: 1 };
        let request = Request {
            cluster: "redis".to_owned(),
            endpoint: None,
            greeting: Commands::default(),
            commands,
            timeout: Duration::from_secs(20),
        };
        assert_eq!(pipes.call(cluster, request).await.unwrap(), "+OK\r\n");
    }

    async fn until(holds: impl Fn() -> bool) {
        let late = Cell::new(false);
        let limit = async {
            tokio::time::sleep(Duration::from_secs(20)).await;
            late.set(true);
        };
        tokio::pin!(limit);
        while !holds() {
            tokio::select! { () = &mut limit => {}, () = yield_now() => {} }
            assert!(!late.get(), "it never holds");
        }
    }

    #[tokio::test]
    async fn generations_that_call_by_turns_keep_a_connection_each() {
        let test = async {
            let (address, counts) = server().await;
            let (pipes, old, new) = (Pipes::default(), cluster(&[address]), cluster(&[address]));
            for _ in 0..5 {
                ask(&pipes, &old).await;
                ask(&pipes, &new).await;
            }
            assert_eq!((counts[1].load(Ordering::Relaxed), pipes.0.borrow().len()), (2, 2));
        };
        LocalSet::new().run_until(test).await;
    }

    #[tokio::test]
    async fn a_connection_leaves_an_endpoint_that_drains_or_is_gone() {
        let test = async {
            let ((one, of_one), (two, of_two)) = (server().await, server().await);
            let (pipes, cluster) = (Pipes::default(), cluster(&[one]));
            let discovered = |addresses: &[SocketAddr]| {
                let endpoints: Vec<_> = addresses.iter().map(|address| Arc::new(Endpoint::new(*address))).collect();
                cluster.shared.discovered(&endpoints);
            };
            ask(&pipes, &cluster).await;
            discovered(&[one, two]);
            cluster.shared.membership().endpoints[0].status.mark(Mark::Drained, true);
            cluster.shared.rebalance();
            until(|| of_one[0].load(Ordering::Relaxed) == 0).await;
            ask(&pipes, &cluster).await;
            assert_eq!((of_one[1].load(Ordering::Relaxed), of_two[1].load(Ordering::Relaxed)), (1, 1));
            // The one that drains is the only one now: it has to do.
            discovered(&[one]);
            until(|| of_two[0].load(Ordering::Relaxed) == 0).await;
            ask(&pipes, &cluster).await;
            assert_eq!(of_one[1].load(Ordering::Relaxed), 2);
        };
        LocalSet::new().run_until(test).await;
    }
}
