//! The other rings: the built module, in the engine of the `fyke` binary or in Envoy, driven over a pipe.
//!
//! `fyke filter test` sets the environment: [`BINARY`] is the proxy, [`MODULE`] the module, [`RING`] which ring. The process is
//! started once for every [`TestHost`](super::TestHost), and ends with it.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::error::ConfigError;
use crate::tcp::Side;
use crate::testing::kit::{
    Fate, GrpcAnswer, GrpcReceived, Looked, Message, Outcome, Received, Ring, Services, TestResponse,
};
use crate::testing::world::Pair;

/// The `fyke` binary.
const BINARY: &str = "FYKE";
/// The built module.
const MODULE: &str = "FYKE_TEST_MODULE";
/// The `envoy` binary.
const ENVOY: &str = "FYKE_TEST_ENVOY";
/// `native`, `wasm` or `envoy`.
const RING: &str = "FYKE_TEST_RING";

/// In which ring this process's tests run.
#[track_caller]
pub(super) fn ring() -> Ring {
    match std::env::var(RING).as_deref() {
        Err(_) | Ok("" | "native") => Ring::Native,
        Ok("wasm") => Ring::Wasm,
        Ok("envoy") => Ring::Envoy,
        Ok(other) => panic!("{RING}={other}: there is no such ring; there are native, wasm and envoy"),
    }
}

/// Clusters that a configured filter calls, and those that it routes to.
#[derive(Debug, Default, Serialize)]
pub(super) struct Clusters {
    pub called: Vec<String>,
    pub routed: Vec<String>,
}

/// A process with one filter in it.
pub(super) struct Driven {
    child: Child,
    input: Option<ChildStdin>,
    output: Option<BufReader<ChildStdout>>,
    pub services: Services,
}

/// The end of an order, or a question in the middle of it.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Said {
    Ok(Value),
    Refused { path: String, message: String },
    Waits(String),
    Failed(String),
    Request { cluster: String, stream: bool, message: Wire },
    Grpc { cluster: String, path: String, metadata: Vec<(String, String)>, messages: Vec<String>, finished: bool },
}

impl Driven {
    #[track_caller]
    pub fn configure(ring: Ring, layer: &str, configuration: &str, clusters: &Clusters) -> Result<Self, ConfigError> {
        let variable = |name: &str| match std::env::var(name) {
            Ok(value) if !value.is_empty() => value,
            _ => panic!("{name} is not set: run these tests with `fyke filter test --wasm`"),
        };
        let (binary, module) = (variable(BINARY), variable(MODULE));
        let mut command = Command::new(&binary);
        command.args(["filter", "bed"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        if ring == Ring::Envoy {
            command.args(["--envoy", &variable(ENVOY)]);
        }
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => panic!("{BINARY}={binary} cannot be started: {error}"),
        };
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            panic!("{binary} has no pipe");
        };
        let mut driven =
            Self { child, input: Some(input), output: Some(BufReader::new(output)), services: Services::default() };
        driven.order(json!({ "configure": {
            "sdk": env!("CARGO_PKG_VERSION"), "module": module, "layer": layer, "config": value(configuration), "clusters": clusters,
        } }))?;
        Ok(driven)
    }

    #[track_caller]
    pub fn reload(&mut self, configuration: &str, clusters: &Clusters) -> Result<(), ConfigError> {
        self.order(json!({ "reload": { "config": value(configuration), "clusters": clusters } })).map(drop)
    }

    #[track_caller]
    pub fn start(&mut self, request: Message) -> u32 {
        self.done(json!({ "start": Wire::from(request) }))
    }

    #[track_caller]
    pub fn is_done(&mut self, stream: u32) -> bool {
        self.done(json!({ "done": stream }))
    }

    #[track_caller]
    pub fn finish(&mut self, stream: u32) -> Result<Outcome, String> {
        #[derive(Deserialize)]
        struct Finished {
            answer: Wire,
            received: Option<Wire>,
            reset: bool,
        }

        self.write(&json!({ "finish": stream }));
        match self.answer() {
            Said::Waits(why) => Err(why),
            said => {
                let Finished { answer, received, reset } = of(self.accept(said).unwrap_or_default());
                let received = received.map(|received| Received::new(received.into()));
                Ok(Outcome::new(answer.into(), received, reset))
            }
        }
    }

    #[track_caller]
    pub fn cancel(&mut self, stream: u32) {
        self.done::<Value>(json!({ "cancel": stream }));
    }

    #[track_caller]
    pub fn advance(&mut self, duration: Duration) {
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.done::<Value>(json!({ "advance": nanoseconds }));
    }

    /// A connection, for filters of TCP.
    #[track_caller]
    pub fn connect(&mut self) -> u32 {
        self.done(json!("connect"))
    }

    #[track_caller]
    pub fn send(&mut self, connection: u32, from: Side, sent: &[u8], end: bool) {
        let from = if from == Side::Downstream { "client" } else { "upstream" };
        self.done::<Value>(
            json!({ "send": { "connection": connection, "from": from, "bytes": text(sent), "end": end } }),
        );
    }

    #[track_caller]
    pub fn look(&mut self, connection: u32) -> Looked {
        #[derive(Deserialize)]
        struct Wired {
            client: String,
            upstream: String,
            open: bool,
        }

        let Wired { client, upstream, open } = self.done(json!({ "look": connection }));
        Looked { client: bytes(&client), upstream: bytes(&upstream), open }
    }

    /// The value of a counter or gauge, and how many values a histogram was given.
    #[track_caller]
    pub fn metric(&mut self, name: &str, labels: &[(&str, &str)]) -> (i64, usize) {
        #[derive(Deserialize)]
        struct Read {
            value: i64,
            count: usize,
        }

        let Read { value, count } = self.done(json!({ "metric": { "name": name, "labels": labels } }));
        (value, count)
    }

    #[track_caller]
    pub fn logs(&mut self) -> Vec<String> {
        self.done(json!("logs"))
    }

    #[track_caller]
    pub fn records(&mut self) -> Vec<String> {
        let lines: Vec<String> = self.done(json!("records"));
        lines.iter().map(|line| String::from_utf8_lossy(&bytes(line)).into_owned()).collect()
    }

    #[track_caller]
    pub fn open_streams(&mut self) -> usize {
        self.done(json!("streams"))
    }

    #[track_caller]
    fn done<T: DeserializeOwned>(&mut self, order: Value) -> T {
        match self.order(order) {
            Ok(value) => of(value),
            Err(error) => panic!("the test bed refused: {error}"),
        }
    }

    #[track_caller]
    fn order(&mut self, order: Value) -> Result<Value, ConfigError> {
        self.write(&order);
        let said = self.answer();
        self.accept(said)
    }

    #[track_caller]
    fn accept(&self, said: Said) -> Result<Value, ConfigError> {
        match said {
            Said::Ok(value) => Ok(value),
            Said::Refused { path, message } => Err(ConfigError::at(path, message)),
            Said::Waits(why) | Said::Failed(why) => panic!("the test bed: {why}"),
            Said::Request { .. } | Said::Grpc { .. } => panic!("the test bed asked out of turn"),
        }
    }

    #[track_caller]
    fn write(&mut self, value: &Value) {
        let written = self.input.as_mut().map(|input| writeln!(input, "{value}").and_then(|()| input.flush()));
        if let Some(Err(error)) = written {
            panic!("the test bed has ended: {error}");
        }
    }

    /// The end of an order. What is asked before it, the services answer.
    #[track_caller]
    fn answer(&mut self) -> Said {
        loop {
            let mut line = String::new();
            let read = self.output.as_mut().map(|output| output.read_line(&mut line));
            let said = match read {
                None | Some(Ok(0) | Err(_)) => panic!("the test bed has ended"),
                Some(Ok(_)) => serde_json::from_str(&line),
            };
            match said {
                Ok(Said::Request { cluster, stream, message }) => {
                    let received = Received::new(message.into());
                    let answer = if stream {
                        self.services.upstream(Some(&cluster), &received)
                    } else {
                        self.services.http(&cluster, &received)
                    };
                    self.write(&response(answer));
                }
                Ok(Said::Grpc { cluster, path, metadata, messages, finished }) => {
                    let metadata = metadata.iter().map(unpair).collect();
                    let messages = messages.iter().map(|message| bytes(message)).collect();
                    let GrpcAnswer { messages, status, hangs } =
                        self.services.grpc(&cluster, &GrpcReceived { path, metadata, messages, finished });
                    let messages: Vec<String> = messages.iter().map(|message| text(message)).collect();
                    self.write(&json!({ "messages": messages, "status": status, "hang": hangs }));
                }
                Ok(end) => return end,
                Err(error) => panic!("the test bed said what nobody understands ({error}): {line}"),
            }
        }
    }
}

impl Drop for Driven {
    fn drop(&mut self) {
        // The end of its input is the end of it; and nobody reads what it may still want to say.
        self.input.take();
        self.output.take();
        let _ = self.child.wait();
    }
}

fn value(configuration: &str) -> Value {
    serde_json::from_str(configuration).unwrap_or_default()
}

#[track_caller]
fn of<T: DeserializeOwned>(value: Value) -> T {
    match serde_json::from_value(value) {
        Ok(value) => value,
        Err(error) => panic!("the test bed said what nobody understands: {error}"),
    }
}

fn response(answer: TestResponse) -> Value {
    match answer.fate {
        Fate::Answered => json!({ "message": Wire::from(answer.message) }),
        Fate::Hangs => json!("hang"),
        Fate::Reset => json!("reset"),
    }
}

/// A message on the pipe. Bytes are strings with one character, U+0000 to U+00FF, for each.
#[derive(Serialize, Deserialize)]
struct Wire {
    headers: Vec<(String, String)>,
    chunks: Vec<String>,
    trailers: Vec<(String, String)>,
}

impl From<Message> for Wire {
    fn from(message: Message) -> Self {
        let pairs = |pairs: Vec<Pair>| pairs.iter().map(|(name, value)| (text(name), text(value))).collect();
        Self {
            headers: pairs(message.headers),
            chunks: message.chunks.iter().map(|chunk| text(chunk)).collect(),
            trailers: pairs(message.trailers),
        }
    }
}

impl From<Wire> for Message {
    fn from(wire: Wire) -> Self {
        Self {
            headers: wire.headers.iter().map(unpair).collect(),
            chunks: wire.chunks.iter().map(|chunk| bytes(chunk)).collect(),
            trailers: wire.trailers.iter().map(unpair).collect(),
        }
    }
}

fn unpair((name, value): &(String, String)) -> Pair {
    (bytes(name), bytes(value))
}

fn text(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

fn bytes(text: &str) -> Vec<u8> {
    text.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')).collect()
}
