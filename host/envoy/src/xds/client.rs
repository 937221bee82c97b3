//! A control plane that is listened to, as the application sees it.

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

pub use super::connect::{Address, Tls};
use super::{Backoff, Mode, Node, ResourceType, Streams, Update, Verdict, task::run};
use crate::Schema;

/// How to speak with a control plane.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where it is.
    pub address: Address,
    /// TLS towards it. Default: none.
    pub tls: Option<Tls>,
    /// The authority of requests. Default: the address.
    pub authority: Option<String>,
    /// Headers of requests, such as `authorization`. Their values are never logged.
    pub headers: Vec<(String, String)>,
    /// Who this proxy is.
    pub node: Node,
    /// How it tells what there is. Default: state of the world.
    pub mode: Mode,
    /// How many streams there are. Default: one.
    pub streams: Streams,
    /// Types that are asked for, or followed when a resource refers to one. Default: all.
    pub types: Vec<ResourceType>,
    /// Those of them that are asked for by name alone, although all of a kind could be. Default: none.
    pub by_name: Vec<ResourceType>,
    /// Names that are wanted whatever refers to them: layers of a runtime, secrets.
    pub wanted: Vec<(ResourceType, Vec<String>)>,
    /// How long a resource may take to come first. Default 15 s.
    pub fetch_timeout: Duration,
    /// Until a connection stands, with TLS. Default 5 s.
    pub connect_timeout: Duration,
    /// Between attempts to connect. Default: from 500 ms to 30 s.
    pub backoff: Backoff,
    /// Where the last good state is kept. Default: nowhere.
    pub state: Option<PathBuf>,
    /// The largest message that is taken. Default 64 MiB.
    pub largest_message: usize,
}

impl Settings {
    /// With defaults.
    #[must_use]
    pub fn new(address: Address, node: Node) -> Self {
        Self {
            address,
            tls: None,
            authority: None,
            headers: Vec::new(),
            node,
            mode: Mode::default(),
            streams: Streams::default(),
            types: ResourceType::ALL.to_vec(),
            by_name: Vec::new(),
            wanted: Vec::new(),
            fetch_timeout: Duration::from_secs(15),
            connect_timeout: Duration::from_secs(5),
            backoff: Backoff::default(),
            state: None,
            largest_message: 64 << 20,
        }
    }

    /// Types of which everything is asked for.
    #[must_use]
    pub fn whole(&self) -> Vec<ResourceType> {
        let types = self.types.iter().copied();
        types.filter(|kind| kind.is_wildcard() && !self.by_name.contains(kind)).collect()
    }

    /// Scheme and authority of requests.
    pub(super) fn origin(&self) -> String {
        let authority = self.authority.clone().unwrap_or_else(|| self.address.authority());
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{authority}")
    }
}

/// What the application hears.
#[derive(Debug)]
pub enum Event {
    /// Something has changed. Where there is a reply, it is waited for before the control plane is answered and anything further is told;
    /// dropping it refuses everything that was added.
    Update(Update, Option<oneshot::Sender<Verdict>>),
    /// Resources did not come in time: they are taken not to be. Without names: none of a type that is asked for as a whole.
    Missing(ResourceType, Vec<String>),
    /// Resources were refused, by name and with the reason that the control plane was told.
    Refused(ResourceType, Vec<(String, String)>),
    /// What was refused under these names is so no more: it is good, or gone.
    Mended(ResourceType, Vec<String>),
    /// There is a connection.
    Connected,
    /// There is none any more, or none came to be.
    Disconnected {
        /// Why.
        reason: String,
        /// The next attempt is made after this.
        retry_in: Duration,
    },
    /// Something was odd and is passed over: a response that nobody asked for, a state that could not be kept.
    Warning(String),
}

/// What the application wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// These names, whatever refers to them.
    Subscribe(ResourceType, Vec<String>),
    /// Not any more.
    Unsubscribe(ResourceType, Vec<String>),
}

/// A control plane that is listened to, until this is dropped.
#[derive(Debug)]
pub struct Client {
    /// What it says, in order.
    pub events: mpsc::Receiver<Event>,
    /// What is wanted of it. Whoever hears what it says must be able to speak meanwhile, so nobody waits for room.
    pub commands: mpsc::UnboundedSender<Command>,
    task: JoinHandle<()>,
}

impl Client {
    /// Starts the task, on the runtime that this is called on.
    #[must_use]
    pub fn start(settings: Settings, schema: Schema) -> Self {
        let (events, received) = mpsc::channel(16);
        let (commands, wanted) = mpsc::unbounded_channel();
        let task = tokio::spawn(run(settings, schema, events, wanted));
        Self { events: received, commands, task }
    }

    /// Listens no more. Returns when what was accepted is on disk.
    pub async fn close(self) {
        let Self { events, commands, task } = self;
        drop((events, commands));
        // It does not panic, and nobody else ends it.
        let _ = task.await;
    }
}
