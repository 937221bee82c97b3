//! A running proxy.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;
use tokio::net::UnixStream;

use super::{
    Conn, DEADLINE, Message, eventually,
    lines::Lines,
    process::{Ended, fyke, run, scratch},
};

/// How to start one.
pub struct Launch {
    yaml: String,
    workers: usize,
    folder: TempDir,
    environment: Environment,
}

/// Variables and their values.
type Environment = Vec<(&'static str, PathBuf)>;

impl Launch {
    /// `yaml` is everything from `listeners:` on; node, workers, admin endpoint and module cache are added.
    pub fn new(yaml: impl Into<String>) -> Self {
        Self { yaml: yaml.into(), workers: 1, folder: tempfile::tempdir().unwrap(), environment: Vec::new() }
    }

    pub fn workers(mut self, count: usize) -> Self {
        self.workers = count;
        self
    }

    pub fn env(mut self, name: &'static str, value: impl Into<PathBuf>) -> Self {
        self.environment.push((name, value.into()));
        self
    }

    /// Puts a file next to the configuration.
    pub fn file(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        std::fs::write(self.folder.path().join(name), content).unwrap();
        self
    }

    /// Starts the proxy and waits until it listens.
    pub async fn start(self) -> Proxy {
        let file = self.folder.path().join("proxy.yaml");
        let yaml = whole(self.workers, &self.yaml);
        std::fs::write(&file, &yaml).unwrap();
        let Self { workers, folder, environment, .. } = self;
        let (child, log, stdout) = launch(&file, &[], &environment);
        let mut proxy = Proxy { child, log, stdout, admin: None, bound: BTreeMap::new(), folder, workers, environment };
        proxy.admin = Some(proxy.started(&yaml));
        proxy.find_listeners().await;
        proxy
    }
}

fn launch(file: &Path, more: &[&str], environment: &Environment) -> (Child, Lines, Lines) {
    let mut child = Command::new(fyke())
        .args(["--log-format", "json", "--log", "info,fyke=debug", "run"])
        .arg(file)
        .args(more)
        .env_remove("FYKE_LOG")
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let log = Lines::collect(child.stderr.take().unwrap());
    let stdout = Lines::collect(child.stdout.take().unwrap());
    (child, log, stdout)
}

/// A whole configuration. What changes the proxy finds its token in the file `token` next to it.
fn whole(workers: usize, yaml: &str) -> String {
    // A configuration that names its own is left with it.
    let own = |key: &str| yaml.lines().any(|line| line.starts_with(key));
    // What one proxy was told of endpoints is not for another one.
    let told = yaml.contains("discovery:") || own("control_planes:");
    let state = match (own("state:"), told) {
        (true, _) => String::new(),
        (false, true) => "state: kept\n".to_owned(),
        (false, false) => format!("state: {:?}\n", scratch()),
    };
    let admin = if own("admin:") { "" } else { "admin: { address: '127.0.0.1:0', token_file: token }\n" };
    let workers = if own("workers:") { String::new() } else { format!("workers: {workers}\n") };
    format!("{workers}{state}{admin}{yaml}")
}

/// Where a proxy can be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Admin {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Admin {
    /// As it is in the log and on the command line.
    fn parse(text: &str) -> Option<Self> {
        match text.strip_prefix("unix:") {
            Some(path) => Some(Self::Unix(path.into())),
            None => text.parse().ok().map(Self::Tcp),
        }
    }

    async fn connect(&self) -> Conn {
        match self {
            Self::Tcp(address) => Conn::to(*address).await,
            Self::Unix(path) => Conn::over(super::soon("the admin socket", UnixStream::connect(path)).await.unwrap()),
        }
    }

    fn host(&self) -> String {
        match self {
            Self::Tcp(address) => address.to_string(),
            Self::Unix(_) => "localhost".to_owned(),
        }
    }
}

/// A proxy that runs until this is dropped.
pub struct Proxy {
    child: Child,
    log: Lines,
    stdout: Lines,
    admin: Option<Admin>,
    bound: BTreeMap<String, SocketAddr>,
    folder: TempDir,
    workers: usize,
    environment: Environment,
}

impl Proxy {
    /// With one worker.
    pub async fn start(yaml: impl Into<String>) -> Self {
        Launch::new(yaml).start().await
    }

    /// Listener `web`, no filters, everything to `upstream`.
    pub async fn plain(upstream: SocketAddr) -> Self {
        Self::start(plain(upstream)).await
    }

    /// Where the listener `web` listens.
    pub fn web(&self) -> SocketAddr {
        self.listener("web")
    }

    pub fn listener(&self, name: &str) -> SocketAddr {
        self.bound[name]
    }

    pub fn listeners(&self) -> Vec<&str> {
        self.bound.keys().map(String::as_str).collect()
    }

    /// Where its admin endpoint listens, if that is an address.
    pub fn admin(&self) -> SocketAddr {
        match self.admin.as_ref() {
            Some(Admin::Tcp(address)) => *address,
            other => panic!("the admin endpoint has no address: {other:?}"),
        }
    }

    /// What a command needs to ask it.
    pub fn admin_options(&self) -> Vec<String> {
        match self.admin.as_ref().unwrap() {
            Admin::Tcp(address) => {
                let token = self.path("token").display().to_string();
                vec!["--admin".to_owned(), address.to_string(), "--token-file".to_owned(), token]
            }
            Admin::Unix(path) => vec!["--admin".to_owned(), format!("unix:{}", path.display())],
        }
    }

    /// Runs a command of the binary on it, to its end.
    pub fn command(&self, words: &[&str]) -> Ended {
        run(words.iter().map(|word| (*word).to_owned()).chain(self.admin_options()))
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A file next to the configuration.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A connection to the listener `web`.
    pub async fn connect(&self) -> Conn {
        Conn::to(self.web()).await
    }

    /// One GET on a connection of its own.
    pub async fn get(&self, path: &str) -> Message {
        get(self.web(), path, "").await
    }

    /// One GET with header lines, each ended by CRLF.
    pub async fn get_with(&self, path: &str, headers: &str) -> Message {
        get(self.web(), path, headers).await
    }

    /// A page of the admin endpoint.
    pub async fn ask(&self, path: &str) -> Message {
        let admin = self.admin.as_ref().unwrap();
        let mut conn = admin.connect().await;
        conn.send(&format!("GET {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", admin.host())).await;
        conn.response("GET").await
    }

    /// Waits until the process serves. Returns where its admin endpoint is.
    fn started(&mut self, yaml: &str) -> Admin {
        let begun = Instant::now();
        loop {
            let found = self.log.find(|line| {
                let line: Value = serde_json::from_str(line).ok()?;
                (line["message"] == "admin endpoint").then(|| Admin::parse(line["address"].as_str()?))?
            });
            if let Some(address) = found {
                return address;
            }
            let ended = self.child.try_wait().unwrap();
            assert!(
                ended.is_none(),
                "the proxy ended ({ended:?}) with this configuration:\n{yaml}\nand said: {}",
                self.log.all()
            );
            assert!(begun.elapsed() < DEADLINE * 2, "the proxy does not start; it said: {}", self.log.all());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Starts another process that takes over, with so many workers. Returns the one that ends.
    pub fn take_over(&mut self, workers: usize) -> Ending {
        let file = self.path("proxy.yaml");
        let yaml = std::fs::read_to_string(&file).unwrap();
        let yaml = yaml.replace(&format!("workers: {}\n", self.workers), &format!("workers: {workers}\n"));
        std::fs::write(&file, &yaml).unwrap();
        self.workers = workers;
        let (child, log, stdout) = launch(&file, &["--take-over"], &self.environment);
        let old = (std::mem::replace(&mut self.child, child), std::mem::replace(&mut self.log, log));
        self.stdout = stdout;
        self.admin = Some(self.started(&yaml));
        Ending { child: old.0, log: old.1 }
    }

    /// Starts it anew, after it has ended, with more options.
    pub async fn restart(&mut self, more: &[&str]) {
        assert!(!self.is_running(), "the process before runs");
        let file = self.path("proxy.yaml");
        (self.child, self.log, self.stdout) = launch(&file, more, &self.environment);
        self.admin = Some(self.started("as it was kept"));
        self.find_listeners().await;
    }

    async fn find_listeners(&mut self) {
        self.bound.clear();
        for (name, address) in self.page("/config").await["bound"].as_object().unwrap() {
            // A socket in the file system is where the test has put it.
            if let Ok(address) = address.as_str().unwrap().parse() {
                self.bound.insert(name.clone(), address);
            }
        }
    }

    /// Writes another configuration into the file that it was started with.
    pub fn rewrite(&self, yaml: &str) {
        std::fs::write(self.path("proxy.yaml"), whole(self.workers, yaml)).unwrap();
    }

    /// Changes something: an action of the admin endpoint, with the token.
    pub async fn act(&self, path: &str, headers: &str) -> (u16, Value) {
        let token = std::fs::read_to_string(self.path("token")).unwrap();
        let headers = format!("authorization: Bearer {}\r\n{headers}", token.trim());
        let answer = post(self.admin(), path, &headers).await;
        (answer.status(), serde_json::from_slice(&answer.body).unwrap())
    }

    /// Sends something to the admin endpoint, with the token.
    pub async fn change(&self, method: &str, path: &str, kind: &str, body: impl AsRef<[u8]>) -> (u16, Value) {
        let token = std::fs::read_to_string(self.path("token")).unwrap();
        let body = body.as_ref();
        let mut conn = Conn::to(self.admin()).await;
        conn.send(format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\nauthorization: Bearer {}\r\ncontent-type: {kind}\r\n\
             content-length: {}\r\n\r\n",
            self.admin(),
            token.trim(),
            body.len()
        ))
        .await;
        conn.send(body).await;
        let answer = conn.response(method).await;
        (answer.status(), serde_json::from_slice(&answer.body).unwrap())
    }

    /// Has it run another configuration. Returns the generation.
    pub async fn reload(&mut self, yaml: &str) -> u64 {
        self.rewrite(yaml);
        let (status, value) = self.act("/reload", "").await;
        assert_eq!(status, 200, "{value:#}");
        self.find_listeners().await;
        value["generation"].as_u64().unwrap()
    }

    /// A JSON page of the admin endpoint.
    pub async fn page(&self, path: &str) -> Value {
        serde_json::from_slice(&self.ask(path).await.body).unwrap()
    }

    /// The sum of all series of a metric that have all these labels; 0 when there is none.
    pub async fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        metric(&self.ask("/metrics").await.text(), name, labels)
    }

    /// Waits for a metric to reach a value.
    #[track_caller]
    pub fn metric_reaches(&self, name: &str, labels: &[(&str, &str)], value: f64) -> impl Future<Output = ()> {
        eventually(format!("{name}{labels:?} >= {value}"), async move || {
            (self.metric(name, labels).await >= value).then_some(())
        })
    }

    /// Waits for a line of the log that contains all of `words`.
    #[track_caller]
    pub fn logged(&self, words: &[&str]) -> impl Future<Output = String> {
        eventually(format!("a log line with {words:?}"), async move || self.log.with(words))
    }

    /// All such lines that are there now.
    pub fn log_lines(&self, words: &[&str]) -> Vec<String> {
        self.log.with_all(words)
    }

    /// Whether the log has such a line now.
    pub fn has_logged(&self, words: &[&str]) -> bool {
        self.log.with(words).is_some()
    }

    /// Waits for a line on standard output.
    #[track_caller]
    pub fn printed(&self, words: &[&str]) -> impl Future<Output = String> {
        eventually(format!("a line on standard output with {words:?}"), async move || self.stdout.with(words))
    }

    /// Waits for a file next to the configuration to have a line with all of `words`.
    #[track_caller]
    pub fn written(&self, name: &str, words: &[&str]) -> impl Future<Output = String> {
        let file = self.path(name);
        eventually(format!("a line in {name} with {words:?}"), async move || {
            let text = std::fs::read_to_string(&file).ok()?;
            text.lines().find(|line| words.iter().all(|word| line.contains(word))).map(str::to_owned)
        })
    }

    /// Resident memory in bytes.
    pub fn resident(&self) -> usize {
        resident(self.pid()).expect("the proxy runs")
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Waits for the process to end and returns its exit code.
    pub async fn ended(&mut self) -> Option<i32> {
        let child = &mut self.child;
        eventually("the end of the proxy", async || child.try_wait().unwrap()).await.code()
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

/// A process that drains.
pub struct Ending {
    child: Child,
    log: Lines,
}

impl Ending {
    /// Waits for its end and returns its exit code.
    pub async fn code(mut self) -> Option<i32> {
        let child = &mut self.child;
        let code = eventually("the end of the old process", async || child.try_wait().unwrap()).await.code();
        assert!(!self.log.all().contains("panicked"), "{}", self.log.all());
        code
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        // A test that failed must not leave it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let ended = self.child.try_wait().ok().flatten();
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- the proxy (ended by itself: {ended:?}) said:\n{}", self.log.all());
        } else if let Some(line) = self
            .log
            .find(|line| (line.starts_with("thread '") && line.contains(" panicked at ")).then(|| line.to_owned()))
        {
            panic!("the proxy panicked: {line}\n{}", self.log.all());
        }
    }
}

/// A listener without filters, and everything to one upstream.
pub fn plain(upstream: SocketAddr) -> String {
    format!(
        "listeners:\n  web: {{ address: '127.0.0.1:0', cluster: app }}\nclusters:\n  app: {{ endpoints: ['{upstream}'] }}\n"
    )
}

/// One GET on a connection of its own.
pub async fn get(address: SocketAddr, path: &str, headers: &str) -> Message {
    let mut conn = Conn::to(address).await;
    conn.send(&format!("GET {path} HTTP/1.1\r\nhost: test.example\r\nconnection: close\r\n{headers}\r\n")).await;
    conn.response("GET").await
}

/// One POST without a body, on a connection of its own.
pub async fn post(address: SocketAddr, path: &str, headers: &str) -> Message {
    post_body(address, path, headers, "").await
}

/// One POST on a connection of its own.
pub async fn post_body(address: SocketAddr, path: &str, headers: &str, body: &str) -> Message {
    let mut conn = Conn::to(address).await;
    conn.send(&format!(
        "POST {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n{body}",
        body.len()
    ))
    .await;
    conn.response("POST").await
}

/// Sums up a metric in Prometheus' text.
pub fn metric(text: &str, name: &str, labels: &[(&str, &str)]) -> f64 {
    text.lines()
        .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])))
        .filter(|line| labels.iter().all(|(key, value)| line.contains(&format!("{key}=\"{value}\""))))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
        .sum()
}

/// Resident memory of a process in bytes, if it still runs.
pub fn resident(pid: u32) -> Option<usize> {
    let status = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse::<usize>().ok().map(|kibibytes| kibibytes * 1024)
}
