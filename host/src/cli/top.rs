//! `fyke top`: rates of a running proxy, each second, on a whole terminal.
//!
//! [`table`] makes rows of what the proxy says, [`screen`] makes lines of them, [`terminal`] is the terminal. Without one, the tables are
//! printed once.

mod screen;
mod table;
mod terminal;

use std::time::Duration;

use clap::Args;
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};

use self::{
    screen::{Key, View},
    terminal::Terminal,
};
use super::{
    DONE, FAILED, Output, process,
    remote::{self, Question, Target},
    stream::Events,
    words::printable,
};

/// How long to wait before a proxy that is gone is asked again.
const AGAIN: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Print the tables once, as without a terminal
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    target: Target,
}

/// Shows until `q` is pressed.
pub(super) fn run(arguments: &Arguments, output: Output) -> u8 {
    if output == Output::Json || arguments.once || !terminal::is_one() {
        return once(arguments, output);
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: {error}");
            return FAILED;
        }
    };
    // What is wrong from the beginning is said where it stays on the screen.
    let ended = runtime.block_on(async {
        let first = Events::open(&arguments.target, PATH.to_owned()).await?;
        let mut terminal = Terminal::open()?;
        show(&mut terminal, first, &arguments.target).await
    });
    match ended {
        Ok(()) => DONE,
        Err(error) => {
            eprintln!("error: {error:#}");
            FAILED
        }
    }
}

const PATH: &str = "/v1/live";

fn once(arguments: &Arguments, output: Output) -> u8 {
    let question = Question { method: http::Method::GET, path: format!("{PATH}?format=json"), body: None };
    let rates = match remote::answer(&arguments.target, question, output) {
        Ok(rates) => rates,
        Err(code) => return code,
    };
    remote::told(&rates, output, || {
        let tables = table::TABS.iter().map(|tab| {
            let view = View::of(tab.name);
            let lines: Vec<String> = view.plain(&rates).iter().map(|line| printable(line)).collect();
            format!("{}\n{}", tab.name.to_uppercase(), lines.join("\n"))
        });
        tables.collect::<Vec<_>>().join("\n\n")
    })
}

async fn show(terminal: &mut Terminal, first: Events, target: &Target) -> anyhow::Result<()> {
    let mut keys = terminal::keys();
    let mut resized = signal(SignalKind::window_change())?;
    let mut end = std::pin::pin!(process::asked_to_end(None));
    let mut view = View::default();
    let mut rates = Value::Null;
    let mut events = Some(first);
    loop {
        let (width, height) = terminal.size();
        terminal.draw(&view.draw(&rates, width, height))?;
        let next = async {
            match &mut events {
                Some(open) => open.next().await.map(|event| event.map(|event| (None, event))),
                None => {
                    tokio::time::sleep(AGAIN).await;
                    let mut open = Events::open(target, PATH.to_owned()).await?;
                    let event = open.next().await?;
                    Ok(event.map(|event| (Some(open), event)))
                }
            }
        };
        tokio::select! {
            next = next => match next {
                Ok(Some((open, event))) => {
                    events = open.or(events);
                    if event.kind == "rates" {
                        rates = event.data;
                    }
                    view.trouble = None;
                }
                Ok(None) => {
                    events = None;
                    view.trouble = Some("the proxy has ended".to_owned());
                }
                Err(error) => {
                    events = None;
                    view.trouble = Some(format!("{error:#}"));
                }
            },
            key = keys.recv() => match key {
                Some(Key::Quit) | None => return Ok(()),
                Some(key) => view.press(key),
            },
            _ = resized.recv() => {}
            () = &mut end => return Ok(()),
        }
    }
}
