//! `fyke support-bundle`: what helps to understand a problem, in one archive.

use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _, path::PathBuf};

use anyhow::Context as _;
use clap::Args;
use http::{Method, StatusCode};
use serde_json::Value;

use super::{
    FAILED, Output, print,
    remote::{Question, Target, open},
};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Where it is written; it must not exist
    #[arg(default_value = "fyke-support.tar.gz")]
    file: PathBuf,
    #[command(flatten)]
    target: Target,
}

/// Asks for it and writes it.
pub(super) fn run(arguments: &Arguments, output: Output) -> u8 {
    let made = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(fetch(arguments)));
    match (made, output) {
        (Ok(size), Output::Text | Output::Junit) => print(format_args!(
            "{}: {size} bytes; secrets are masked, but look through it before you send it",
            arguments.file.display()
        )),
        (Ok(size), Output::Json) => {
            print(format_args!("{}", serde_json::json!({ "file": arguments.file, "bytes": size })))
        }
        (Err(error), _) => {
            eprintln!("error: {error:#}");
            FAILED
        }
    }
}

async fn fetch(arguments: &Arguments) -> anyhow::Result<usize> {
    let question = Question { method: Method::GET, path: "/v1/support-bundle".to_owned(), body: None };
    let mut answer = open(&arguments.target, &question).await?;
    let status = answer.response.status();
    if status != StatusCode::OK {
        let (_, value) = answer.whole().await?;
        anyhow::bail!(value.get("error").and_then(Value::as_str).map_or_else(|| status.to_string(), str::to_owned));
    }
    let archive = answer.bytes().await?;
    let path = &arguments.file;
    // It is for whoever asked, and it replaces nothing.
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let written = file.and_then(|mut file| file.write_all(&archive).and_then(|()| file.sync_all()));
    written.with_context(|| format!("cannot write {}", path.display()))?;
    Ok(archive.len())
}
