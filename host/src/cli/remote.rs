//! Commands for a process that runs: `status`, `reload`, `diff`, `rollback`, `drain`.

use std::{net::SocketAddr, path::PathBuf};

use bytes::Bytes;
use clap::{Args, Subcommand};
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{BAD_CONFIGURATION, FAILED, Output, print};
use crate::admin::access;

/// What a running process can be asked for.
#[derive(Debug, Subcommand)]
pub(super) enum Remote {
    /// Say what a running proxy runs
    Status(Target),
    /// Have a running proxy read its configuration again
    Reload(Target),
    /// Say what `reload` would change, without changing it
    Diff(Target),
    /// Have a running proxy go back to the generation before, or to another one
    Rollback {
        /// The generation (default: the one before)
        generation: Option<u64>,
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
}

/// Asks, prints the answer and says how it went.
pub(super) fn run(remote: &Remote, output: Output) -> u8 {
    let (target, method, path) = match remote {
        Remote::Status(target) => (target, Method::GET, "/status".to_owned()),
        Remote::Reload(target) => (target, Method::POST, "/reload".to_owned()),
        Remote::Diff(target) => (target, Method::POST, "/reload?dry_run=true".to_owned()),
        Remote::Rollback { generation: None, target } => (target, Method::POST, "/rollback".to_owned()),
        Remote::Rollback { generation: Some(generation), target } => {
            (target, Method::POST, format!("/rollback?to={generation}"))
        }
        Remote::Drain(target) => (target, Method::POST, "/drain".to_owned()),
    };
    let answer = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(ask(target, method, &path)));
    let (status, value) = match answer {
        Ok(answer) => answer,
        Err(error) => {
            eprintln!("error: {error:#}");
            return FAILED;
        }
    };
    if !status.is_success() {
        let why = value.get("error").and_then(Value::as_str).unwrap_or("it did not say why");
        match output {
            Output::Json => {
                print(format_args!("{value:#}"));
            }
            Output::Text => eprintln!("error: {why}"),
        }
        return if status == StatusCode::UNPROCESSABLE_ENTITY { BAD_CONFIGURATION } else { FAILED };
    }
    if output == Output::Json {
        return print(format_args!("{value:#}"));
    }
    print(format_args!("{}", words(remote, &value)))
}

/// What happened, in words.
fn words(remote: &Remote, value: &Value) -> String {
    let text = |name: &str| match value.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
        None => String::new(),
    };
    let generation = text("generation");
    match (remote, text("outcome").as_str()) {
        (Remote::Status(_), _) => {
            let listeners = value.get("listeners").and_then(Value::as_object).into_iter().flatten();
            let listeners =
                listeners.map(|(name, address)| format!("\n  {name}: {}", address.as_str().unwrap_or_default()));
            format!(
                "generation {generation}{}, version {}, process {}; workers: {}, filters: {}, clusters: {}; listeners:{}",
                if text("draining") == "true" { ", draining" } else { "" },
                text("version"),
                text("pid"),
                text("workers"),
                text("filters"),
                text("clusters"),
                listeners.collect::<String>(),
            )
        }
        (_, "unchanged") => format!("nothing has changed; generation {generation} goes on"),
        (_, "dry_run") => {
            let changes = value.get("changes").and_then(Value::as_array).into_iter().flatten();
            let lines: Vec<&str> = changes.filter_map(Value::as_str).collect();
            if lines.is_empty() { "nothing would change".to_owned() } else { lines.join("\n") }
        }
        (_, "draining") => "it drains, and ends".to_owned(),
        _ => format!("generation {generation} runs"),
    }
}

async fn ask(target: &Target, method: Method, path: &str) -> anyhow::Result<(StatusCode, Value)> {
    use anyhow::Context as _;
    let changes = method == Method::POST;
    let mut request = Request::builder().method(method).uri(path);
    if let Some(socket) = target.admin.strip_prefix("unix:") {
        let stream = tokio::net::UnixStream::connect(socket)
            .await
            .with_context(|| format!("nobody answers at {}", target.admin))?;
        return exchange(stream, request.header(header::HOST, "localhost").body(Empty::new())?).await;
    }
    let address: SocketAddr =
        target.admin.parse().with_context(|| format!("{} is not an address such as 127.0.0.1:9900", target.admin))?;
    let file = target.token_file.clone().unwrap_or_else(|| access::default_token_file(address));
    match access::read_token(&file) {
        Ok(token) => request = request.header(header::AUTHORIZATION, format!("Bearer {token}")),
        Err(error) if changes => {
            return Err(error).with_context(|| {
                format!("cannot read the token in {}; name its file with --token-file", file.display())
            });
        }
        Err(_) => {}
    }
    let stream = tokio::net::TcpStream::connect(address).await.with_context(|| {
        format!("nobody answers at {address}; name the endpoint with --admin, as it is in the configuration")
    })?;
    exchange(stream, request.header(header::HOST, address.to_string()).body(Empty::new())?).await
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Empty<Bytes>>,
) -> anyhow::Result<(StatusCode, Value)> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    drop(sender);
    driver.abort();
    Ok((status, serde_json::from_slice(&body).unwrap_or(Value::Null)))
}
