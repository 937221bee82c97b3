//! What happens on the worker's thread.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    net::SocketAddr,
    rc::Rc,
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{sync::mpsc as local, time::Instant};

use super::{
    client,
    pipe::{self, Pipe},
    protocol::{From, Message},
    service::{self, Socket},
    tcp::{self, Connections},
};

/// Turns of the runtime without an event, after which all is at rest.
const TURNS: usize = 100;
/// How far time goes before everything that it moved has come to rest.
const STEPS: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));

/// What the bench can do.
pub(super) enum Task {
    Start(u32, Message),
    Done(u32),
    Finish(u32),
    Cancel(u32),
    Advance(u64),
    Connect(u32),
    Send(u32, From, Vec<u8>, bool),
    Look(u32),
}

/// The things around the proxy, all of them on its worker's thread.
pub(super) struct Bench {
    address: SocketAddr,
    pipe: Arc<Mutex<Pipe>>,
    flights: RefCell<BTreeMap<u32, Flight>>,
    pub connections: RefCell<Connections>,
    /// Grows with everything that happens.
    events: Cell<u64>,
    pace: Pace,
}

/// How time goes.
pub(super) enum Pace {
    /// Only as the test moves it. Nothing happens between two turns of this thread.
    Stopped,
    /// By itself, and in another process.
    Real,
}

/// How long nothing happens, where time is real, before all is at rest.
const QUIET: Duration = Duration::from_millis(120);
/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(2);

/// A request on its way.
#[derive(Default)]
pub(super) struct Flight {
    /// The `:path` that the client sent.
    pub path: String,
    /// What came back so far.
    pub answer: Message,
    /// What the upstream got.
    pub received: Option<Message>,
    pub done: bool,
    pub reset: bool,
    client: Option<tokio::task::AbortHandle>,
}

impl Bench {
    /// Serves the sockets and obeys, as tasks of this thread.
    pub fn begin(
        address: SocketAddr,
        pipe: Arc<Mutex<Pipe>>,
        sockets: Vec<Socket>,
        pace: Pace,
        mut orders: local::UnboundedReceiver<(Task, mpsc::Sender<Value>)>,
    ) {
        let bench = Rc::new(Self {
            address,
            pipe,
            flights: RefCell::default(),
            connections: RefCell::default(),
            events: Cell::new(0),
            pace,
        });
        for socket in sockets {
            service::spawn(&bench, socket);
        }
        tokio::task::spawn_local(async move {
            while let Some((task, answer)) = orders.recv().await {
                let said = bench.obey(task).await;
                let _ = answer.send(said);
            }
        });
    }

    /// Something happened: rest has to wait.
    pub fn event(&self) {
        self.events.set(self.events.get() + 1);
    }

    /// Where time is real: until all streams are over, or nothing has happened for a while.
    async fn quiet(&self) {
        let (mut events, mut since) = (self.events.get(), Instant::now());
        while since.elapsed() < QUIET && !self.flights.borrow().values().all(|flight| flight.done) {
            tokio::time::sleep(LOOK).await;
            if events != self.events.get() {
                (events, since) = (self.events.get(), Instant::now());
            }
        }
    }

    /// Lets everything else have some turns, between two chunks of a body.
    pub async fn some_turns(&self) {
        if matches!(self.pace, Pace::Real) {
            self.event();
            return tokio::time::sleep(LOOK).await;
        }
        for _ in 0..TURNS / 4 {
            self.event();
            tokio::task::yield_now().await;
        }
    }

    /// Asks the test.
    pub fn ask<T: serde::de::DeserializeOwned>(&self, question: &Value) -> std::io::Result<T> {
        self.event();
        pipe::lock(&self.pipe).ask(question)
    }

    /// Changes a stream; one that is gone does not mind.
    pub fn with_flight<T>(&self, stream: u32, change: impl FnOnce(&mut Flight) -> T) -> Option<T> {
        self.event();
        self.flights.borrow_mut().get_mut(&stream).map(change)
    }

    /// Whose request the upstream got: that of the stream that sent this path, else of the oldest that has not arrived yet.
    pub fn arrived(&self, received: &Message) -> Option<u32> {
        let path = received.headers.iter().find(|(name, _)| name == ":path").map(|(_, path)| path.as_str());
        let mut flights = self.flights.borrow_mut();
        let open = |flight: &Flight| flight.received.is_none() && !flight.done;
        let same = flights.iter().find(|(_, flight)| open(flight) && Some(flight.path.as_str()) == path);
        let stream = *same.or_else(|| flights.iter().find(|(_, flight)| open(flight)))?.0;
        if let Some(flight) = flights.get_mut(&stream) {
            flight.received = Some(received.clone());
        }
        Some(stream)
    }

    async fn obey(self: &Rc<Self>, task: Task) -> Value {
        match task {
            Task::Start(stream, message) => {
                if let Err(error) = client::check(&message) {
                    return json!({ "failed": format!("this request cannot be sent over HTTP: {error}") });
                }
                let path = message.headers.iter().find(|(name, _)| name == ":path");
                let path = path.map(|(_, path)| path.clone()).unwrap_or_default();
                self.flights.borrow_mut().insert(stream, Flight { path, ..Flight::default() });
                let client = tokio::task::spawn_local(client::send(Rc::clone(self), self.address, stream, message));
                self.with_flight(stream, |flight| flight.client = Some(client.abort_handle()));
                self.rest().await;
                json!({ "ok": stream })
            }
            Task::Done(stream) => {
                self.rest().await;
                json!({ "ok": self.flights.borrow().get(&stream).is_none_or(|flight| flight.done) })
            }
            Task::Finish(stream) => {
                self.rest().await;
                let over = self.flights.borrow().get(&stream).is_some_and(|flight| flight.done);
                if !over {
                    return json!({ "waits": "it waits for time, or for an answer that never comes" });
                }
                let flight = self.flights.borrow_mut().remove(&stream).unwrap_or_default();
                json!({ "ok": { "answer": flight.answer, "received": flight.received, "reset": flight.reset } })
            }
            Task::Connect(id) => {
                let connected = tcp::connect(self, self.address, id).await;
                self.rest().await;
                match connected {
                    Ok(()) => json!({ "ok": id }),
                    Err(error) => json!({ "failed": format!("cannot connect: {error}") }),
                }
            }
            Task::Send(id, from, bytes, end) => {
                // Whoever was closed meanwhile gets nothing; what came of that, the test can look at.
                let _ = tcp::send(self, id, from, bytes, end).await;
                self.rest().await;
                json!({ "ok": null })
            }
            Task::Look(id) => {
                self.rest().await;
                json!({ "ok": self.connections.borrow().get(&id).map(tcp::Connection::look) })
            }
            Task::Cancel(stream) => {
                self.connections.borrow_mut().remove(&stream);
                if let Some(Flight { client: Some(client), .. }) = self.flights.borrow_mut().remove(&stream) {
                    client.abort();
                }
                self.rest().await;
                json!({ "ok": null })
            }
            Task::Advance(nanoseconds) => {
                self.advance(Duration::from_nanos(nanoseconds)).await;
                json!({ "ok": null })
            }
        }
    }

    async fn advance(&self, duration: Duration) {
        self.rest().await;
        if matches!(self.pace, Pace::Real) {
            tokio::time::sleep(duration).await;
            return self.rest().await;
        }
        let step = (duration / 1000).clamp(STEPS.0, STEPS.1);
        let mut left = duration;
        while !left.is_zero() {
            let now = left.min(step);
            tokio::time::advance(now).await;
            left -= now;
            self.rest().await;
        }
    }

    /// Until nothing but time can move anything.
    async fn rest(&self) {
        if matches!(self.pace, Pace::Real) {
            return self.quiet().await;
        }
        let mut still = 0;
        while still < TURNS {
            let before = self.events.get();
            tokio::task::yield_now().await;
            still = if self.events.get() == before { still + 1 } else { 0 };
        }
    }
}
