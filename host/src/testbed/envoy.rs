//! The filter in Envoy: a process with one listener, and the same bench around it. Time is real there.

use std::{
    io::{BufRead as _, BufReader},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError, mpsc},
    time::{Duration, Instant},
};

use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::TokioIo;
use serde_json::Value;

use super::{
    generation::{Refused, UPSTREAM},
    logs,
    protocol::Configure,
    service::Socket,
};
use crate::{envoy, wasm::manifest::Manifest};

/// How long Envoy may take to begin.
const PATIENCE: Duration = Duration::from_secs(60);
/// What goes before a refusal of the SDK, in the log.
const REFUSED: &str = "configuration refused: ";

/// The gauge of its listener's requests.
const ACTIVE: &str = "http.test.downstream_rq_active:";

/// A running Envoy. Dropped, it ends.
pub(super) struct Envoy {
    child: Child,
    admin: SocketAddr,
    folder: PathBuf,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Drop for Envoy {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Envoy {
    pub fn start(binary: &Path, spec: &Configure, sockets: &[Socket]) -> Result<Self, Refused> {
        let failed = |what: &str, error: &dyn std::fmt::Display| format!("{what}: {error}");
        let (address, admin) = (free_address()?, free_address()?);
        let module = std::fs::read(&spec.module).map_err(|error| failed(&spec.module, &error))?;
        let manifest = fyke_engine::manifest(&module).map_err(|error| failed(&spec.module, &error))?;
        let manifest = manifest.map(|bytes| Manifest::parse(&bytes)).unwrap_or_default();
        let pauses = manifest.headers_pause() == crate::config::resolved::HeadersPause::HeadersOnly;
        let configuration = if spec.config.is_null() { String::new() } else { spec.config.to_string() };
        let filter = envoy::filter(envoy::Layer::Http, "filter", Path::new(&spec.module), &configuration, pauses);
        let clusters: Result<Vec<Value>, std::io::Error> =
            sockets.iter().map(|one| Ok(envoy::cluster(&one.cluster, one.socket.local_addr()?, true))).collect();
        let clusters = clusters.map_err(|error| failed("a socket", &error))?;
        let bootstrap = envoy::bootstrap(address, admin, &filter, &clusters, UPSTREAM);
        let folder = std::env::temp_dir().join(format!("fyke-bed-{}-{}", std::process::id(), address.port()));
        std::fs::create_dir_all(&folder).map_err(|error| failed("a folder for Envoy", &error))?;
        let file = folder.join("envoy.json");
        std::fs::write(&file, bootstrap.to_string()).map_err(|error| failed("Envoy's configuration", &error))?;
        let child = Command::new(binary)
            .args(["--concurrency", "1", "--use-dynamic-base-id", "--log-level", "warning"])
            .args(["--component-log-level", "wasm:trace", "--log-format", "%v", "-c"])
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| failed(&binary.display().to_string(), &error))?;
        let mut envoy = Self { child, admin, folder, address };
        envoy.wait()?;
        Ok(envoy)
    }

    /// Until it listens, or has ended.
    fn wait(&mut self) -> Result<(), Refused> {
        let said = Arc::new(Mutex::new(Vec::new()));
        let (ended, end) = mpsc::channel::<()>();
        if let Some(log) = self.child.stderr.take() {
            let said = Arc::clone(&said);
            std::thread::spawn(move || {
                for line in BufReader::new(log).lines().map_while(Result::ok) {
                    // `wasm log filter: message`, `wasm log: message`
                    if let Some((_, message)) = line.split_once("wasm log").and_then(|(_, rest)| rest.split_once(": "))
                    {
                        logs::keep(message.to_owned());
                    }
                    said.lock().unwrap_or_else(PoisonError::into_inner).push(line);
                }
                drop(ended);
            });
        }
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(self.address).is_err() {
            if end.recv_timeout(Duration::from_millis(10)) == Err(mpsc::RecvTimeoutError::Disconnected) {
                return Err(refusal(&said.lock().unwrap_or_else(PoisonError::into_inner)));
            }
            if Instant::now() > deadline {
                return Err("Envoy does not begin to listen".to_owned().into());
            }
        }
        // A filter that refuses its configuration keeps its listener from working, not Envoy from running.
        let said = said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.iter().any(|line| line.contains(REFUSED)) { Err(refusal(&said)) } else { Ok(()) }
    }

    /// A counter or gauge, by the name that the SDK encodes its labels into.
    pub fn metric(&self, name: &str, labels: &[(String, String)]) -> Option<i64> {
        let stats = self.ask("/stats?filter=wasmcustom").ok()?;
        let encoded = |(label, value): &(String, String)| format!(".{label}=.={value};");
        let wanted: Vec<String> = labels.iter().map(encoded).collect();
        stats.lines().find_map(|line| {
            let (stat, value) = line.strip_prefix("wasmcustom.")?.rsplit_once(": ")?;
            let rest = stat.strip_prefix(name)?;
            let mine = rest.len() == wanted.iter().map(String::len).sum::<usize>()
                && wanted.iter().all(|label| rest.contains(label.as_str()));
            mine.then(|| value.trim().parse().ok()).flatten()
        })
    }

    /// Requests that are under way.
    pub fn requests(&self) -> Option<i64> {
        let stats = self.ask("/stats?filter=downstream_rq_active").ok()?;
        let of_listener = |line: &str| line.strip_prefix(ACTIVE)?.trim().parse().ok();
        stats.lines().find_map(of_listener)
    }

    fn ask(&self, path: &str) -> std::io::Result<String> {
        tokio::runtime::Handle::current().block_on(async {
            let socket = tokio::net::TcpStream::connect(self.admin).await?;
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(socket)).await.map_err(std::io::Error::other)?;
            let connection = tokio::spawn(connection);
            let request = http::Request::builder().uri(path).header("host", "envoy").body(Empty::<bytes::Bytes>::new());
            let request = request.map_err(std::io::Error::other)?;
            let answer = sender.send_request(request).await.map_err(std::io::Error::other)?;
            let body = answer.into_body().collect().await.map_err(std::io::Error::other)?;
            connection.abort();
            Ok(String::from_utf8_lossy(&body.to_bytes()).into_owned())
        })
    }
}

/// The SDK's own words where there are some, else the last of Envoy's.
fn refusal(said: &[String]) -> Refused {
    let own = said.iter().find_map(|line| line.split_once(REFUSED)).map(|(_, refusal)| refusal.to_owned());
    let Some(own) = own else {
        return said.last().cloned().unwrap_or_else(|| "Envoy ended without a word".to_owned()).into();
    };
    // `path: message`; a path has no blanks.
    match own.split_once(": ").filter(|(path, _)| !path.is_empty() && !path.contains(' ')) {
        Some((path, message)) => Refused { path: path.to_owned(), message: message.to_owned() },
        None => own.into(),
    }
}

/// A port that nobody has now. Envoy binds it a moment later.
fn free_address() -> Result<SocketAddr, String> {
    TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).map_err(|error| error.to_string())
}
