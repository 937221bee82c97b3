//! Misbehaviour on demand: by Rust API, by `{fykeTest: "fault"}` and by `configureFailPoint`.

use std::{sync::Mutex, time::Duration};

use bson::{Bson, Document};
use tokio::sync::Notify;

use crate::{
    args::{Fields, number},
    error::{Failure, Result},
    sync::lock,
};

/// Before or after the command is executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// It is not executed if the connection is cut.
    Before,
    /// It is executed, the reply is affected.
    After,
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Waits; without a time until [`Faults::clear`].
    Stall(Option<Duration>, When),
    /// Closes the connection.
    Close(When),
    /// Answers an error and executes nothing.
    Fail(Failure),
    /// Adds a `writeConcernError` to the reply.
    WriteConcernError(Document),
    /// The reply's `responseTo` is another by that much.
    WrongResponseTo(i32),
    /// The header says that length.
    Length(i32),
    /// These bytes come instead of the reply.
    Garbage(Vec<u8>),
    /// Only so many bytes of the reply come, then the connection is closed.
    Truncate(usize),
    /// No reply comes, the connection stays.
    Silence,
    /// The reply comes twice.
    Twice,
    /// The reply's opcode is this one.
    Opcode(i32),
    /// The reply comes in pieces of one byte.
    Drip,
}

/// When something goes wrong, and what.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    /// Commands that it strikes; empty: all but those that end it.
    pub commands: Vec<String>,
    /// Only on this `database.collection`.
    pub namespace: Option<String>,
    /// Only for this application name.
    pub application: Option<String>,
    /// Only with this comment.
    pub comment: Option<String>,
    /// So many matching commands are spared first.
    pub skip: u64,
    /// So many times; `None`: always.
    pub times: Option<u64>,
    /// Probability of striking, 0 to 1.
    pub probability: f64,
    /// What happens, all of it.
    pub actions: Vec<Action>,
}

impl Fault {
    /// Strikes the next of these commands, once.
    pub fn once(commands: &[&str], action: Action) -> Self {
        Self { times: Some(1), ..Self::always(commands, action) }
    }

    /// Strikes every one of these commands.
    pub fn always(commands: &[&str], action: Action) -> Self {
        Self {
            commands: commands.iter().map(|command| (*command).to_owned()).collect(),
            namespace: None,
            application: None,
            comment: None,
            skip: 0,
            times: None,
            probability: 1.0,
            actions: vec![action],
        }
    }
}

/// The faults of a server.
#[derive(Debug, Default)]
pub struct Faults {
    active: Mutex<Vec<(Option<String>, Fault)>>,
    cleared: Notify,
}

/// What a fault is matched against.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) command: &'a str,
    pub(crate) namespace: &'a str,
    pub(crate) application: Option<&'a str>,
    pub(crate) comment: Option<&'a Bson>,
}

impl Faults {
    /// Adds a fault. The first that matches strikes.
    pub fn add(&self, fault: Fault) {
        lock(&self.active).push((None, fault));
    }

    /// Removes every fault and wakes what they stall.
    pub fn clear(&self) {
        lock(&self.active).clear();
        self.cleared.notify_waiters();
    }

    /// The actions for a command; uses up one of the fault's times.
    pub(crate) fn strike(&self, target: Target<'_>) -> Vec<Action> {
        let mut active = lock(&self.active);
        let mut found = Vec::new();
        for (_, fault) in active.iter_mut() {
            if !fault.matches(target) {
                continue;
            }
            if fault.skip > 0 {
                fault.skip -= 1;
                continue;
            }
            if fault.times == Some(0) || (fault.probability < 1.0 && fastrand::f64() >= fault.probability) {
                continue;
            }
            fault.times = fault.times.map(|times| times - 1);
            found.clone_from(&fault.actions);
            break;
        }
        active.retain(|(_, fault)| fault.times != Some(0));
        found
    }

    /// Waits as an action says.
    pub(crate) async fn stall(&self, time: Option<Duration>) {
        let cleared = self.cleared.notified();
        match time {
            Some(time) => {
                let _ = tokio::time::timeout(time, cleared).await;
            }
            None => cleared.await,
        }
    }

    /// `configureFailPoint`, of which `failCommand` is known.
    pub(crate) fn configure(&self, command: &Document) -> Result<()> {
        let name = command.text("configureFailPoint")?.to_owned();
        if !matches!(name.as_str(), "failCommand" | "failGetMoreAfterCursorCheckout") {
            return Err(Failure::new(2, format!("cannot find fail point {name}")));
        }
        let mut active = lock(&self.active);
        active.retain(|(known, _)| known.as_ref() != Some(&name));
        let mut fault = Fault::always(&[], Action::Silence);
        fault.actions = fail_command(command.sub("data")?.unwrap_or(&Document::new()), &mut fault)?;
        match command.get("mode") {
            Some(Bson::String(mode)) if mode == "off" => {
                drop(active);
                self.cleared.notify_waiters();
                return Ok(());
            }
            Some(Bson::String(mode)) if mode == "alwaysOn" => {}
            Some(Bson::Document(mode)) => set_mode(&mut fault, mode)?,
            _ => return Err(Failure::bad_value("mode of a fail point is off, alwaysOn or an object")),
        }
        active.push((Some(name), fault));
        Ok(())
    }

    /// `{fykeTest: "fault", commands, namespace, application, comment, mode, <action>: <operand>}`.
    pub(crate) fn add_from(&self, command: &Document) -> Result<()> {
        let mut fault = Fault::always(&[], Action::Silence);
        fault.actions.clear();
        if let Ok(commands) = command.get_array("commands") {
            fault.commands = commands.iter().filter_map(Bson::as_str).map(str::to_owned).collect();
        }
        let text = |field: &str| command.get_str(field).ok().map(str::to_owned);
        fault.namespace = text("namespace");
        fault.application = text("application");
        fault.comment = text("comment");
        if let Some(mode) = command.sub("mode")? {
            set_mode(&mut fault, mode)?;
        }
        let when = if command.flag("after") { When::After } else { When::Before };
        let small = |value: &Bson| number(value).map(|value| value as i32).unwrap_or_default();
        for (name, value) in command {
            fault.actions.push(match name.as_str() {
                "stallMs" => Action::Stall(Some(Duration::from_millis(number(value).unwrap_or(0.0) as u64)), when),
                "stall" => Action::Stall(None, when),
                "close" => Action::Close(when),
                "fail" => Action::Fail(failure(value.as_document().unwrap_or(&Document::new()))),
                "writeConcernError" => Action::WriteConcernError(value.as_document().cloned().unwrap_or_default()),
                "wrongResponseTo" => Action::WrongResponseTo(small(value)),
                "length" => Action::Length(small(value)),
                "garbage" => Action::Garbage(garbage(value)),
                "truncate" => Action::Truncate(usize::try_from(small(value)).unwrap_or(0)),
                "silence" => Action::Silence,
                "twice" => Action::Twice,
                "opcode" => Action::Opcode(small(value)),
                "drip" => Action::Drip,
                _ => continue,
            });
        }
        if fault.actions.is_empty() {
            return Err(Failure::bad_value(
                "a fault needs an action: stallMs, stall, close, fail, writeConcernError, wrongResponseTo, length, garbage, truncate, silence, twice, opcode or drip",
            ));
        }
        self.add(fault);
        Ok(())
    }
}

fn garbage(value: &Bson) -> Vec<u8> {
    match value {
        Bson::Binary(binary) => binary.bytes.clone(),
        // So many bytes that are no header: their length is negative.
        other => vec![0xff; number(other).unwrap_or(16.0) as usize],
    }
}

fn failure(document: &Document) -> Failure {
    let code = document.get("code").and_then(number).unwrap_or(1.0) as i32;
    let mut failure = Failure::new(code, document.get_str("errmsg").unwrap_or("error on demand"));
    if let Ok(labels) = document.get_array("errorLabels") {
        failure.labels = labels.iter().filter_map(Bson::as_str).map(str::to_owned).collect();
    }
    failure
}

fn set_mode(fault: &mut Fault, mode: &Document) -> Result<()> {
    let count = |field: &str| Ok::<_, Failure>(mode.int(field)?.and_then(|value| u64::try_from(value).ok()));
    fault.times = count("times")?;
    fault.skip = count("skip")?.unwrap_or(0);
    fault.probability = mode.get("activationProbability").and_then(number).unwrap_or(1.0);
    Ok(())
}

fn fail_command(data: &Document, fault: &mut Fault) -> Result<Vec<Action>> {
    if let Ok(commands) = data.get_array("failCommands") {
        fault.commands = commands.iter().filter_map(Bson::as_str).map(str::to_owned).collect();
    }
    fault.namespace = data.get_str("namespace").ok().map(str::to_owned);
    fault.application = data.get_str("appName").ok().map(str::to_owned);
    let mut actions = Vec::new();
    if data.flag("blockConnection") {
        let time = data.int("blockTimeMS")?.and_then(|value| u64::try_from(value).ok()).unwrap_or(0);
        actions.push(Action::Stall(Some(Duration::from_millis(time)), When::Before));
    }
    if data.flag("closeConnection") {
        actions.push(Action::Close(When::Before));
    }
    if let Some(code) = data.int("errorCode")? {
        let mut failure = Failure::new(i32::try_from(code).unwrap_or(1), "Failing command via 'failCommand' failpoint");
        // An empty list means none at all, a missing one those of the error.
        if let Ok(labels) = data.get_array("errorLabels") {
            failure.labels = labels.iter().filter_map(Bson::as_str).map(str::to_owned).collect();
            failure.details.insert("errorLabels", labels.clone());
        }
        actions.push(Action::Fail(failure));
    }
    if let Some(error) = data.sub("writeConcernError")? {
        actions.push(Action::WriteConcernError(error.clone()));
    }
    Ok(actions)
}

impl Fault {
    fn matches(&self, target: Target<'_>) -> bool {
        let name = target.command;
        if self.commands.is_empty() {
            if matches!(name, "fykeTest" | "configureFailPoint") {
                return false;
            }
        } else if !self.commands.iter().any(|command| command.eq_ignore_ascii_case(name)) {
            return false;
        }
        self.namespace.as_deref().is_none_or(|namespace| namespace == target.namespace)
            && self.application.as_deref().is_none_or(|application| Some(application) == target.application)
            && self.comment.as_deref().is_none_or(|comment| target.comment.and_then(Bson::as_str) == Some(comment))
    }
}
