//! Commands for a process that runs: `status`, `reload`, `diff`, `rollback`, `drain`.

use std::{io, net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::Context as _;
use bytes::Bytes;
use clap::{Args, Subcommand};
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, client::conn::http1::SendRequest};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::AbortHandle,
};

use super::{BAD_CONFIGURATION, DONE, FAILED, Output, UNHEALTHY, print, status, words::time};
use crate::admin::token::{self, Places};

/// How long it may take until somebody answers at an address.
const CONNECT: Duration = Duration::from_secs(5);

/// What a running process can be asked for.
#[derive(Debug, Subcommand)]
pub(super) enum Remote {
    /// Say what a running proxy runs, and what of it is not well (then the exit code is 3)
    Status(Target),
    /// Have a running proxy read its configuration again
    Reload(Target),
    /// Say what `reload` would change, without changing it
    Diff(Target),
    /// Have a running proxy go back to the generation before, or to another one
    Rollback {
        /// The generation (default: the one before)
        generation: Option<u64>,
        /// Follow control planes and changed files again, from what they say now: a rollback keeps them away
        #[arg(long, conflicts_with = "generation")]
        release: bool,
        #[command(flatten)]
        target: Target,
    },
    /// Have a running proxy log more, or less, for a while; without a target, show its levels
    LogLevel {
        /// Such as fyke::http, with all below it; `all` is everything that has no level of its own
        #[arg(value_name = "TARGET")]
        log_target: Option<String>,
        /// off, error, warn, info, debug or trace
        #[arg(conflicts_with = "reset")]
        level: Option<String>,
        /// How long: at most an hour
        #[arg(long = "for", value_name = "TIME", value_parser = super::duration, default_value = "5m")]
        time: Duration,
        /// Go back to what the process was started with, at once
        #[arg(long, requires = "log_target")]
        reset: bool,
        #[command(flatten)]
        target: Target,
    },
    /// Have a running proxy take no more connections, finish what is open, and end
    Drain(Target),
}

/// Which process.
#[derive(Debug, Args)]
pub(super) struct Target {
    /// Its admin endpoint: an address, or unix:PATH
    #[arg(long, value_name = "ADDRESS", env = "FYKE_ADMIN", default_value = "127.0.0.1:9900")]
    admin: String,
    /// Where its token is (default: where it is kept for this address)
    #[arg(long, value_name = "FILE", env = "FYKE_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// Change nothing unless this generation runs
    #[arg(long, value_name = "NUMBER")]
    if_generation: Option<u64>,
}

/// Asks, prints the answer and says how it went.
pub(super) fn run(remote: &Remote, output: Output) -> u8 {
    let mut body = None;
    let (target, method, path) = match remote {
        Remote::Status(target) => (target, Method::GET, "/v1/status".to_owned()),
        Remote::Reload(target) => (target, Method::POST, "/reload".to_owned()),
        Remote::Diff(target) => (target, Method::POST, "/reload?dry_run=true".to_owned()),
        Remote::Rollback { release: true, target, .. } => (target, Method::POST, "/release".to_owned()),
        Remote::Rollback { generation: None, target, .. } => (target, Method::POST, "/rollback".to_owned()),
        Remote::Rollback { generation: Some(generation), target, .. } => {
            (target, Method::POST, format!("/rollback?to={generation}"))
        }
        Remote::LogLevel { log_target: None, target, .. } => (target, Method::GET, "/v1/logging".to_owned()),
        Remote::LogLevel { log_target: Some(_), level: None, reset: false, .. } => {
            eprintln!("error: a level is missing: off, error, warn, info, debug or trace; or --reset");
            return BAD_CONFIGURATION;
        }
        Remote::LogLevel { log_target: Some(name), level, time, target, .. } => {
            let name = if name == "all" { "" } else { name };
            let mut wish = serde_json::json!({ "target": name });
            if let (Some(level), Some(fields)) = (level, wish.as_object_mut()) {
                fields.insert("level".to_owned(), level.as_str().into());
                fields.insert("for".to_owned(), format!("{}ms", time.as_millis()).into());
            }
            body = Some(("application/json", Bytes::from(wish.to_string())));
            (target, Method::POST, "/v1/logging".to_owned())
        }
        Remote::Drain(target) => (target, Method::POST, "/drain".to_owned()),
    };
    match answer(target, Question { method, path, body }, output) {
        Ok(value) => match (told(&value, output, || words(remote, &value)), remote) {
            (DONE, Remote::Status(_)) if value.get("healthy") == Some(&Value::Bool(false)) => UNHEALTHY,
            (code, _) => code,
        },
        Err(code) => code,
    }
}

/// What a process is asked.
pub(super) struct Question {
    pub method: Method,
    /// With its query.
    pub path: String,
    /// Its kind and itself.
    pub body: Option<(&'static str, Bytes)>,
}

/// Asks, and says what went wrong. The error is the exit code.
pub(super) fn answer(target: &Target, question: Question, output: Output) -> Result<Value, u8> {
    let answer = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(ask(target, question)));
    let (status, value) = match answer {
        Ok(answer) => answer,
        Err(error) => {
            eprintln!("error: {error:#}");
            return Err(FAILED);
        }
    };
    if status.is_success() {
        return Ok(value);
    }
    let why = value.get("error").and_then(Value::as_str).unwrap_or("it did not say why");
    match output {
        Output::Json => {
            print(format_args!("{value:#}"));
        }
        Output::Text | Output::Junit => eprintln!("error: {why}"),
    }
    Err(if status == StatusCode::UNPROCESSABLE_ENTITY { BAD_CONFIGURATION } else { FAILED })
}

/// Prints an answer as it is, or in words.
pub(super) fn told(value: &Value, output: Output, words: impl FnOnce() -> String) -> u8 {
    match output {
        Output::Json => print(format_args!("{value:#}")),
        Output::Text | Output::Junit => print(format_args!("{}", words())),
    }
}

/// What happened, in words.
fn words(remote: &Remote, value: &Value) -> String {
    let text = |name: &str| match value.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
        None => String::new(),
    };
    match (remote, text("outcome").as_str()) {
        (Remote::Status(_), _) => status::words(value),
        (Remote::LogLevel { .. }, _) => levels(value),
        (_, "draining") => "it drains, and ends".to_owned(),
        _ => outcome(value),
    }
}

/// Levels of the log, in words.
fn levels(value: &Value) -> String {
    let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut words = format!("level: {}", text(value, "level"));
    for change in value.get("changes").and_then(Value::as_array).into_iter().flatten() {
        let target = Some(text(change, "target")).filter(|target| !target.is_empty());
        let left = change.get("seconds_left").and_then(Value::as_u64).unwrap_or_default();
        words.push_str(&format!(
            "\n  {} {} for {} more",
            target.as_deref().unwrap_or("all"),
            text(change, "level"),
            time(Duration::from_secs(left))
        ));
    }
    words
}

/// What became of a change, in words.
pub(super) fn outcome(value: &Value) -> String {
    let generation = value.get("generation").map(Value::to_string).unwrap_or_default();
    match value.get("outcome").and_then(Value::as_str) {
        Some("unchanged") => format!("nothing has changed; generation {generation} goes on"),
        Some("dry_run") => {
            let changes = value.get("changes").and_then(Value::as_array).into_iter().flatten();
            let lines: Vec<&str> = changes.filter_map(Value::as_str).collect();
            if lines.is_empty() { "nothing would change".to_owned() } else { lines.join("\n") }
        }
        _ => format!("generation {generation} runs"),
    }
}

async fn ask(target: &Target, question: Question) -> anyhow::Result<(StatusCode, Value)> {
    open(target, &question).await?.whole().await
}

/// Asks, and gives the answer as it comes.
pub(super) async fn open(target: &Target, question: &Question) -> anyhow::Result<Open> {
    let changes = question.method != Method::GET;
    if let Some(socket) = target.admin.strip_prefix("unix:") {
        let stream = soon(tokio::net::UnixStream::connect(socket)).await;
        let stream = stream.with_context(|| format!("nobody answers at {}", target.admin))?;
        return exchange(stream, request(target, question, "localhost", None)?).await;
    }
    let address: SocketAddr =
        target.admin.parse().with_context(|| format!("{} is not an address such as 127.0.0.1:9900", target.admin))?;
    let once = async |token: Option<&str>| {
        let stream = soon(tokio::net::TcpStream::connect(address)).await.with_context(|| {
            format!("nobody answers at {address}; name the endpoint with --admin, as it is in the configuration")
        })?;
        exchange(stream, request(target, question, &address.to_string(), token)?).await
    };
    // The token is for those who need it, and only they are given it.
    if !changes {
        let answer = once(None).await?;
        if answer.response.status() != StatusCode::UNAUTHORIZED {
            return Ok(answer);
        }
    }
    let (last, others) = tokens(target, address)?;
    for token in others {
        let answer = once(Some(&token)).await?;
        // Left behind by a process that has not ended well.
        if answer.response.status() != StatusCode::FORBIDDEN {
            return Ok(answer);
        }
    }
    once(Some(&last)).await
}

/// An answer whose body is still to come. The connection ends with it.
pub(super) struct Open {
    pub response: Response<Incoming>,
    driver: AbortHandle,
    /// The connection ends when nobody can ask any more.
    _sender: SendRequest<Full<Bytes>>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Open {
    /// All of it; `null` when it is not JSON.
    pub async fn whole(mut self) -> anyhow::Result<(StatusCode, Value)> {
        let status = self.response.status();
        let body = self.bytes().await?;
        Ok((status, serde_json::from_slice(&body).unwrap_or(Value::Null)))
    }

    /// All of its body.
    pub async fn bytes(&mut self) -> anyhow::Result<Bytes> {
        Ok(self.response.body_mut().collect().await?.to_bytes())
    }
}

async fn soon<T>(connects: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(CONNECT, connects).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// What may be the token of an endpoint: the last one to be tried, and those to be tried before.
fn tokens(target: &Target, address: SocketAddr) -> anyhow::Result<(String, Vec<String>)> {
    if let Some(file) = &target.token_file {
        let token = token::named(file).with_context(|| format!("cannot read the token in {}", file.display()))?;
        return Ok((token, Vec::new()));
    }
    // Elsewhere it is another process that listens at the address, and what is kept here is not meant for it.
    if !address.ip().to_canonical().is_loopback() {
        anyhow::bail!("this needs the token of {address}; name its file with --token-file");
    }
    let (mut tokens, mut unreadable) = (Vec::new(), None);
    let candidates = Places::of_process().candidates(address);
    for kept in &candidates {
        match kept.read() {
            Ok(token) if !tokens.contains(&token) => tokens.push(token),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            // Another one may be the right one.
            Err(error) => unreadable = unreadable.or(Some((kept, error))),
        }
    }
    if let Some(last) = tokens.pop() {
        return Ok((last, tokens));
    }
    if let Some((kept, error)) = unreadable {
        let message = format!("cannot read the token in {}; name its file with --token-file", kept.path().display());
        return Err(anyhow::Error::new(error).context(message));
    }
    let first = candidates.first().map(|kept| kept.path().display().to_string()).unwrap_or_default();
    anyhow::bail!("cannot find the token of {address}, in {first} say; name its file with --token-file")
}

fn request(
    target: &Target,
    question: &Question,
    host: &str,
    token: Option<&str>,
) -> anyhow::Result<Request<Full<Bytes>>> {
    let mut request = Request::builder().method(question.method.clone()).uri(&question.path).header(header::HOST, host);
    if let Some((kind, _)) = &question.body {
        request = request.header(header::CONTENT_TYPE, *kind);
    }
    if let Some(generation) = target.if_generation {
        request = request.header(header::IF_MATCH, format!("\"{generation}\""));
    }
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    let body = question.body.as_ref().map(|(_, body)| body.clone());
    Ok(request.body(Full::new(body.unwrap_or_default()))?)
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> anyhow::Result<Open> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection).abort_handle();
    let response = sender.send_request(request).await?;
    Ok(Open { response, driver, _sender: sender })
}
