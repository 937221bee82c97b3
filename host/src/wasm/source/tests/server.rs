//! A server that does as it is told, and notes what it was asked.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use rustls::{
    RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};

use crate::config::module::Url;

/// A request.
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: String,
    pub path: String,
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

/// What to do about it.
#[derive(Debug, Clone)]
pub enum Reply {
    /// Answer.
    Answer(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// Answer without a length.
    Undeclared(Vec<u8>),
    /// Promise this many bytes, send these, and hang up.
    Cut(usize, Vec<u8>),
    /// Promise this many bytes, send these, and wait for the client to give up.
    Stall(usize, Vec<u8>),
    /// Say nothing and wait for the client to give up.
    Silence,
}

/// 200 with a body.
pub fn ok(body: impl Into<Vec<u8>>) -> Reply {
    Reply::Answer(200, Vec::new(), body.into())
}

/// A status, a header and no body.
pub fn status(status: u16, headers: &[(&'static str, &str)]) -> Reply {
    Reply::Answer(status, headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect(), Vec::new())
}

/// Runs until it is dropped; then nobody listens at its address.
pub struct Server {
    pub address: SocketAddr,
    scheme: &'static str,
    seen: Arc<Mutex<Vec<Seen>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Replies by script; the number says how many requests there were before.
    pub fn start(script: impl Fn(&Seen, usize) -> Reply + Send + Sync + 'static) -> Self {
        Self::run("http", script, |tcp, serve| serve(&mut Plain(tcp)))
    }

    /// The same behind TLS, for `localhost`, and who has to be trusted for it.
    pub fn secure(script: impl Fn(&Seen, usize) -> Reply + Send + Sync + 'static) -> (Self, Arc<RootCertStore>) {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certificate.der().clone()).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        let config = Arc::new(config);
        let server = Self::run("https", script, move |tcp, serve| {
            let session = ServerConnection::new(Arc::clone(&config)).unwrap();
            serve(&mut StreamOwned::new(session, tcp));
        });
        (server, Arc::new(roots))
    }

    pub fn url(&self, path: &str) -> Url {
        let host = if self.scheme == "https" { "localhost" } else { "127.0.0.1" };
        Url::parse(&format!("{}://{host}:{}{path}", self.scheme, self.address.port())).unwrap()
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub fn paths(&self) -> Vec<String> {
        self.seen().into_iter().map(|seen| seen.path).collect()
    }

    fn run(
        scheme: &'static str,
        script: impl Fn(&Seen, usize) -> Reply + Send + Sync + 'static,
        wrap: impl Fn(TcpStream, &dyn Fn(&mut dyn Connection)) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let (seen, stop) = (Arc::clone(&seen), Arc::clone(&stop));
            move || {
                thread::scope(|scope| {
                    for tcp in listener.incoming() {
                        if stop.load(Ordering::Acquire) {
                            break;
                        }
                        let (tcp, seen, script, wrap) = (tcp.unwrap(), &seen, &script, &wrap);
                        scope.spawn(move || wrap(tcp, &|stream| serve(stream, seen, script)));
                    }
                });
            }
        });
        Self { address, scheme, seen, stop, thread: Some(thread) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        let _ = TcpStream::connect(self.address);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

trait Connection: Read + Write {
    fn end(&mut self) {}
}

struct Plain(TcpStream);

impl Read for Plain {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Plain {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

impl Connection for Plain {}

impl Connection for StreamOwned<ServerConnection, TcpStream> {
    fn end(&mut self) {
        self.conn.send_close_notify();
        let _ = self.flush();
    }
}

fn serve(
    stream: &mut dyn Connection,
    seen: &Mutex<Vec<Seen>>,
    script: &(impl Fn(&Seen, usize) -> Reply + Send + Sync),
) {
    let Some(request) = read(stream) else { return };
    let before = {
        let mut seen = seen.lock().unwrap();
        seen.push(request.clone());
        seen.len() - 1
    };
    let head = |length: usize| format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n").into_bytes();
    let (bytes, wait) = match script(&request, before) {
        Reply::Answer(status, headers, body) => {
            let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
            let head = format!("HTTP/1.1 {status} X\r\n{headers}content-length: {}\r\n\r\n", body.len());
            ([head.as_bytes(), &body].concat(), false)
        }
        Reply::Undeclared(body) => ([b"HTTP/1.1 200 OK\r\n\r\n", &body[..]].concat(), false),
        Reply::Cut(length, body) => ([head(length), body].concat(), false),
        Reply::Stall(length, body) => ([head(length), body].concat(), true),
        Reply::Silence => (Vec::new(), true),
    };
    // Clients that have seen enough hang up.
    let _ = stream.write_all(&bytes).and_then(|()| stream.flush());
    if wait {
        let _ = stream.read(&mut [0]);
    }
    stream.end();
}

fn read(stream: &mut dyn Connection) -> Option<Seen> {
    let mut reader = BufReader::new(stream);
    let line = |reader: &mut BufReader<_>| {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        Some(line.trim_end().to_owned())
    };
    let first = line(&mut reader)?;
    let (method, rest) = first.split_once(' ')?;
    let (path, _) = rest.split_once(' ')?;
    let mut headers = BTreeMap::new();
    loop {
        let next = line(&mut reader)?;
        let Some((name, value)) = next.split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let body = String::from_utf8(body).unwrap();
    Some(Seen { method: method.to_owned(), path: path.to_owned(), headers, body })
}
