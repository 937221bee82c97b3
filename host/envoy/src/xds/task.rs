//! The task that speaks with a control plane.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::{
    Backoff, Mode, Streams, Verdict,
    client::{Command, Event, Settings},
    codec::BySchema,
    connect::{Connection, connect},
    grpc::{self, Guard, Requests},
    machine::{Machine, Output, Request, Response},
    messages::{DeltaDiscoveryResponse, DiscoveryResponse},
    resource_type::AGGREGATED,
    store,
};
use crate::Schema;

/// How long after a change the state is written: many changes come together.
const SAVE_AFTER: Duration = Duration::from_secs(1);

/// Speaks with a control plane until nobody gives commands or listens any more. Needs a runtime of tokio with time and I/O.
pub async fn run(
    settings: Settings,
    schema: Schema,
    events: mpsc::Sender<Event>,
    mut commands: mpsc::UnboundedReceiver<Command>,
) {
    let mut task = Task::new(settings, schema, events);
    if task.begin().await.is_err() {
        return;
    }
    loop {
        if task.flush().await.is_err() {
            break;
        }
        let wake = task.wake();
        let room = task.machine.has_room();
        let timer = async {
            match wake {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            command = commands.recv() => match command {
                Some(command) => task.command(command),
                None => break,
            },
            verdict = answer(&mut task.verdict) => task.judged(verdict),
            came = task.incoming.recv(), if room => task.came(came),
            connection = join(&mut task.connecting) => task.connected(connection),
            () = timer => task.woken(),
            saved = join(&mut task.saving) => task.saved(saved),
            () = task.events.closed() => break,
        }
    }
    task.end().await;
}

/// A result that may not be waited for.
async fn join<T>(handle: &mut Option<JoinHandle<T>>) -> Option<T> {
    match handle {
        Some(running) => {
            let result = running.await.ok();
            *handle = None;
            result
        }
        None => std::future::pending().await,
    }
}

async fn answer(verdict: &mut Option<(u64, Vec<String>, oneshot::Receiver<Verdict>)>) -> (u64, Verdict) {
    match verdict {
        Some((id, names, receiver)) => {
            let said = receiver.await.unwrap_or_else(|_| Verdict {
                refused: names.iter().map(|name| (name.clone(), "was not applied".to_owned())).collect(),
                ..Verdict::default()
            });
            (*id, said)
        }
        None => std::future::pending().await,
    }
}

/// Nobody listens any more.
struct Deaf;

/// What came on a stream, and of which connection.
struct Came {
    stream: usize,
    epoch: u64,
    message: Result<Bytes, String>,
}

/// A stream that is opened again.
struct Ended {
    until: Instant,
    backoff: Backoff,
    /// Why; said once.
    reason: String,
}

struct Task {
    settings: Settings,
    machine: Machine,
    events: mpsc::Sender<Event>,
    origin: Instant,
    incoming: mpsc::Receiver<Came>,
    sender: mpsc::Sender<Came>,
    connection: Option<Connection>,
    /// Connections so far: what comes of an earlier one is not listened to.
    epoch: u64,
    streams: HashMap<usize, (Requests, Guard<()>)>,
    /// Streams of this connection that have ended alone.
    ended: HashMap<usize, Ended>,
    connecting: Option<JoinHandle<Result<Connection, String>>>,
    retry: Option<Instant>,
    backoff: Backoff,
    verdict: Option<(u64, Vec<String>, oneshot::Receiver<Verdict>)>,
    notices: Vec<Event>,
    save: Option<Instant>,
    saving: Option<JoinHandle<Result<(), store::StoreError>>>,
}

impl Task {
    fn new(settings: Settings, schema: Schema, events: mpsc::Sender<Event>) -> Self {
        let whole = settings.whole();
        let machine = Machine::new(
            settings.mode,
            settings.streams,
            settings.types.iter().map(|kind| (*kind, whole.contains(kind))),
            settings.node.message(),
            Box::new(BySchema(schema)),
            settings.fetch_timeout,
            settings.backoff.clone(),
        );
        // One at a time: whoever is not heard waits, and with him the control plane.
        let (sender, incoming) = mpsc::channel(1);
        let backoff = settings.backoff.clone();
        Self {
            settings,
            machine,
            events,
            origin: Instant::now(),
            incoming,
            sender,
            connection: None,
            epoch: 0,
            streams: HashMap::new(),
            ended: HashMap::new(),
            connecting: None,
            retry: None,
            backoff,
            verdict: None,
            notices: Vec::new(),
            save: None,
            saving: None,
        }
    }

    fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    /// Begins with what was kept.
    async fn begin(&mut self) -> Result<(), Deaf> {
        let now = self.now();
        for (kind, names) in self.settings.wanted.clone() {
            self.machine.subscribe(kind, names, now);
        }
        if let Some(path) = self.settings.state.clone() {
            let loaded = tokio::task::spawn_blocking(move || store::load(&path)).await;
            match loaded {
                Ok(Ok(Some((kept, versions)))) => self.machine.restore(kept, &versions, now),
                Ok(Ok(None)) | Err(_) => {}
                Ok(Err(error)) => self.notices.push(Event::Warning(format!("the last state is of no use: {error}"))),
            }
        }
        self.retry = Some(Instant::now());
        self.flush().await
    }

    /// Does what the machine says.
    async fn flush(&mut self) -> Result<(), Deaf> {
        self.open_streams();
        loop {
            for notice in std::mem::take(&mut self.notices) {
                self.events.send(notice).await.map_err(|_| Deaf)?;
            }
            let Some(output) = self.machine.output() else { break };
            let event = match output {
                Output::Send(stream, request) => {
                    self.send(stream, &request);
                    continue;
                }
                Output::Deliver(id, update) => {
                    let (sender, receiver) = oneshot::channel();
                    let names = update.added.iter().map(|resource| resource.name.clone()).collect();
                    self.verdict = Some((id, names, receiver));
                    Event::Update(update, Some(sender))
                }
                Output::Tell(update) => Event::Update(update, None),
                Output::Missing(kind, names) => Event::Missing(kind, names),
                Output::Refused(kind, resources) => Event::Refused(kind, resources),
                Output::Mended(kind, names) => Event::Mended(kind, names),
                Output::Stray(reason) => Event::Warning(reason),
            };
            self.events.send(event).await.map_err(|_| Deaf)?;
        }
        if self.settings.state.is_some() && self.machine.take_changed() {
            self.save.get_or_insert(Instant::now() + SAVE_AFTER);
        }
        Ok(())
    }

    fn send(&mut self, stream: usize, request: &Request) {
        let Some((requests, _)) = self.streams.get(&stream) else { return };
        let sent = match request {
            Request::State(request) => requests.send(&**request),
            Request::Delta(request) => requests.send(&**request),
        };
        if let Err(reason) = sent {
            self.lost(reason);
        }
    }

    /// When there is something to do without anything happening.
    fn wake(&self) -> Option<Instant> {
        let machine = self.machine.deadline().map(|at| self.origin + at);
        let save = self.save.filter(|_| self.saving.is_none());
        let connect = self.retry.filter(|_| !self.machine.is_restoring());
        let waits = |(stream, _): &(&usize, &Ended)| !self.streams.contains_key(*stream) && self.machine.asks(**stream);
        let open = self.ended.iter().filter(waits).map(|(_, ended)| ended.until).min();
        [machine, save, connect, open].into_iter().flatten().min()
    }

    fn woken(&mut self) {
        let now = Instant::now();
        self.machine.tick(now - self.origin);
        if self.retry.is_some_and(|at| at <= now) && !self.machine.is_restoring() {
            self.retry = None;
            let (address, tls) = (self.settings.address.clone(), self.settings.tls.clone());
            self.connecting = Some(tokio::spawn(connect(address, tls, self.settings.connect_timeout)));
        }
        if self.save.is_some_and(|at| at <= now) && self.saving.is_none() {
            self.save = None;
            self.saving = self.saved_state();
        }
    }

    fn saved_state(&self) -> Option<JoinHandle<Result<(), store::StoreError>>> {
        let path = self.settings.state.clone()?;
        let state = self.machine.kept();
        Some(tokio::task::spawn_blocking(move || store::save(&path, &state)))
    }

    fn saved(&mut self, result: Option<Result<(), store::StoreError>>) {
        if let Some(Err(error)) = result {
            self.notices.push(Event::Warning(format!("the state is not kept: {error}")));
        }
    }

    fn command(&mut self, command: Command) {
        let now = self.now();
        match command {
            Command::Subscribe(kind, names) => self.machine.subscribe(kind, names, now),
            Command::Unsubscribe(kind, names) => self.machine.unsubscribe(kind, &names, now),
        }
    }

    fn judged(&mut self, (id, verdict): (u64, Verdict)) {
        self.verdict = None;
        let now = self.now();
        self.machine.judged(id, verdict, now);
    }

    /// A connection stands.
    fn connected(&mut self, connection: Option<Result<Connection, String>>) {
        let connection = match connection {
            Some(Ok(connection)) => connection,
            Some(Err(reason)) => return self.lost(reason),
            None => return self.lost("connecting was given up".to_owned()),
        };
        self.epoch += 1;
        self.notices.push(Event::Connected);
        self.connection = Some(connection);
    }

    /// Opens the streams on which there is something to ask for, in order.
    fn open_streams(&mut self) {
        for stream in self.machine.stream_numbers() {
            let waits = self.ended.get(&stream).is_some_and(|ended| ended.until > Instant::now());
            if self.streams.contains_key(&stream) || waits || !self.machine.asks(stream) {
                continue;
            }
            let Some(connection) = &self.connection else { return };
            let methods = match (self.settings.streams, self.machine.types_of(stream).first()) {
                (Streams::Separate, Some(kind)) => kind.methods(),
                _ => AGGREGATED,
            };
            let path = match self.settings.mode {
                Mode::StateOfTheWorld => methods.state_of_the_world,
                Mode::Delta => methods.delta,
            };
            let Settings { headers, largest_message, .. } = &self.settings;
            let call = grpc::call(connection, path, &self.settings.origin(), headers, *largest_message);
            let (requests, responses) = match call {
                Ok(call) => call,
                Err(reason) => return self.lost(reason),
            };
            let reader = read(stream, self.epoch, responses, self.sender.clone());
            self.streams.insert(stream, (requests, Guard(tokio::spawn(reader))));
            let now = self.now();
            self.machine.connected(stream, now);
        }
    }

    fn came(&mut self, came: Option<Came>) {
        let Some(Came { stream, epoch, message }) = came else { return };
        if epoch != self.epoch || !self.streams.contains_key(&stream) {
            return;
        }
        let response = message.and_then(|bytes| {
            let decoded = match self.settings.mode {
                Mode::StateOfTheWorld => DiscoveryResponse::decode(bytes).map(Response::State),
                Mode::Delta => DeltaDiscoveryResponse::decode(bytes).map(Response::Delta),
            };
            decoded.map_err(|error| format!("a response is malformed: {error}"))
        });
        match response {
            Ok(response) => {
                self.backoff.reset();
                self.ended.remove(&stream);
                let now = self.now();
                self.machine.received(stream, response, now);
            }
            Err(reason) => self.over(stream, reason),
        }
    }

    /// A stream has ended. With others beside it, it is opened again alone: they may be for services that are well.
    fn over(&mut self, stream: usize, reason: String) {
        if self.streams.len() <= 1 {
            return self.lost(reason);
        }
        self.streams.remove(&stream);
        self.machine.disconnected(stream);
        let backoff = self.settings.backoff.clone();
        let ended =
            self.ended.entry(stream).or_insert_with(|| Ended { until: self.origin, backoff, reason: String::new() });
        ended.until = Instant::now() + ended.backoff.next(fastrand::f64());
        if ended.reason != reason {
            let noun = self.machine.types_of(stream).first().map_or("resources", |kind| kind.kind().noun());
            self.notices.push(Event::Warning(format!("the stream for {noun} has ended and is opened again: {reason}")));
            ended.reason = reason;
        }
    }

    /// There is no connection any more; another is made in a while.
    fn lost(&mut self, reason: String) {
        self.streams.clear();
        // They were of this connection: that one is to be opened again must not be looked at without another.
        self.ended.clear();
        if let Some(connection) = self.connection.take() {
            drop(connection.sender);
            drop(connection.driver);
        }
        for stream in self.machine.stream_numbers() {
            self.machine.disconnected(stream);
        }
        if self.retry.is_some() || self.connecting.is_some() {
            return;
        }
        let retry_in = self.backoff.next(fastrand::f64());
        self.retry = Some(Instant::now() + retry_in);
        self.notices.push(Event::Disconnected { reason, retry_in });
    }

    /// Keeps what has not been kept yet.
    async fn end(mut self) {
        if let Some(saving) = self.saving.take() {
            let _ = saving.await;
        }
        if self.save.is_some()
            && let Some(saving) = self.saved_state()
        {
            let _ = saving.await;
        }
    }
}

/// Hands on what comes on a stream, until it ends.
async fn read(stream: usize, epoch: u64, mut responses: grpc::Responses, sender: mpsc::Sender<Came>) {
    loop {
        let message = responses.next().await;
        let over = message.is_err();
        if sender.send(Came { stream, epoch, message }).await.is_err() || over {
            return;
        }
    }
}
