//! Configuration: what an operator writes, checked, and turned into what the rest of Fyke can rely on.
//!
//! ```text
//! syntax/   YAML, JSON, TOML -> tree      values that know their file, line and column
//! include   more files into the same tree
//! check     tree against the schema       unknown keys, types, units; the schema is derived from `raw`
//! raw       tree -> serde                 what was written
//! resolve/  raw -> resolved               names exist, addresses parse, certificates fit their keys
//! ```
//!
//! Every step reports all that it finds and hands on what is still usable, so that one run shows every mistake.
//! A configuration either resolves whole or not at all: there is no half of a [`Config`].
//!
//! Not here: loading modules, asking filters whether they like their configuration, binding addresses. Those who
//! do that report with the same [`Report`], for which a [`Config`] keeps its [`Sources`] and filters keep the place
//! of each part of their configuration.
//!
//! A word that this version does not know is refused by name, never accepted and ignored.

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")
)]

mod check;
mod describe;
pub mod fingerprint;
mod include;
pub mod module;
pub mod raw;
mod report;
mod resolve;
pub mod resolved;
mod schema;
pub mod secrets;
mod source;
pub(crate) mod suggest;
mod syntax;
#[cfg(test)]
mod tests;
mod tree;
pub mod units;
mod written;

use std::{fs, io::Read, path::Path, sync::Arc};

pub use self::{
    include::Fragment,
    report::{Problem, Report},
    resolved::{Config, Origin},
    schema::{schema, schema_with_modules},
    source::Sources,
    written::{Written, convert},
};
use self::{
    report::Diagnostics,
    syntax::Environment,
    tree::{Node, Redacted},
};

/// Larger files are not configuration.
const LARGEST_FILE: u64 = 16 * 1024 * 1024;

/// What the names of texts begin with that came from control planes. No path of a file does.
const RECEIVED: &str = "control plane ";

/// What a configuration file is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// YAML 1.2, with `!env NAME`.
    #[default]
    Yaml,
    /// JSON.
    Json,
    /// TOML 1.
    Toml,
}

impl Format {
    /// By extension: `.json`, `.toml`, else YAML.
    #[must_use]
    pub fn of(path: &Path) -> Self {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("json") => Self::Json,
            Some("toml") => Self::Toml,
            _ => Self::Yaml,
        }
    }
}

/// Reads a configuration file and everything that it includes or names (certificates, keys).
///
/// # Errors
/// Everything that is wrong with it, at once.
pub fn load(path: &Path) -> Result<Config, Report> {
    load_with_received(path, &[])
}

/// The same, with what came from elsewhere.
///
/// # Errors
/// Everything that is wrong with it, at once.
pub fn load_with_received(path: &Path, received: &[Fragment]) -> Result<Config, Report> {
    let name = path.display().to_string();
    match read(path, &name) {
        Ok(text) => {
            let base = path.parent().unwrap_or(Path::new(""));
            load_from((&name, &text), Format::of(path), base, &environment, Beside { received, ..Beside::default() })
        }
        Err(problem) => Err(Report::single(Arc::default(), *problem)),
    }
}

/// Reads a configuration from a text. Messages call it `name`; its relative paths start at `base`.
///
/// # Errors
/// Everything that is wrong with it, at once.
pub fn load_text(name: &str, text: &str, format: Format, base: &Path) -> Result<Config, Report> {
    load_with(name, text, format, base, &environment)
}

/// Reads a configuration from texts that were kept: names and texts of its files, the main one first, with what came from elsewhere.
/// What else it names is read where it is.
///
/// # Errors
/// Everything that is wrong with it, at once.
pub fn load_kept(files: &[(String, String)], received: &[Fragment]) -> Result<Config, Report> {
    let Some(((name, text), included)) = files.split_first() else {
        return Err(Report::single(Arc::default(), Problem::new(Origin::default(), "nothing was kept")));
    };
    let path = Path::new(name);
    load_from(
        (name, text),
        Format::of(path),
        path.parent().unwrap_or(Path::new("")),
        &environment,
        Beside { included: Some(included), received },
    )
}

/// Reads a file that holds one value, such as a filter's configuration.
///
/// # Errors
/// What is wrong with it, for people.
pub fn read_value(path: &Path) -> Result<serde_json::Value, String> {
    let name = path.display().to_string();
    let text = read(path, &name).map_err(|problem| problem.message)?;
    let mut sources = Sources::default();
    let file = sources.add(&name, &text, path.parent().unwrap_or(Path::new("")));
    let mut diagnostics = Diagnostics::new(&sources);
    let root = syntax::parse(file, Format::of(path), &|name| std::env::var(name).ok(), &mut diagnostics);
    let problems = std::mem::take(&mut diagnostics.problems);
    match root {
        Some(root) if problems.is_empty() => serde_json::to_value(&root).map_err(|error| error.to_string()),
        _ => Err(Report::of(Arc::new(sources), problems).summary()),
    }
}

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn load_with(
    name: &str,
    text: &str,
    format: Format,
    base: &Path,
    environment: Environment<'_>,
) -> Result<Config, Report> {
    load_from((name, text), format, base, environment, Beside::default())
}

/// What there is beside the main file.
#[derive(Clone, Copy, Default)]
struct Beside<'a> {
    /// Names and texts of included files that were kept. `None`: they are read.
    included: Option<&'a [(String, String)]>,
    /// What came from elsewhere.
    received: &'a [Fragment],
}

fn load_from(
    (name, text): (&str, &str),
    format: Format,
    base: &Path,
    environment: Environment<'_>,
    beside: Beside<'_>,
) -> Result<Config, Report> {
    let schema = schema::internal();
    let mut sources = Sources::default();
    let mut problems = Vec::new();

    let file = sources.add(name, text, base);
    let mut diagnostics = Diagnostics::new(&sources);
    let root = syntax::parse(file, format, environment, &mut diagnostics);
    problems.append(&mut diagnostics.problems);
    let Some(mut root) = root else {
        return Err(Report::of(Arc::new(sources), problems));
    };

    let included = include::merge(&mut root, &mut sources, &schema, (environment, beside.included), &mut problems);
    include::merge_received(&mut root, &mut sources, &schema, beside.received, &mut problems);
    let names = resolve::Names::of(&root, included);
    sources.set_written(serde_json::to_string(&Redacted(&root)).unwrap_or_default());
    let sources = Arc::new(sources);

    let mut diagnostics = Diagnostics::new(&sources);
    let config = check::check(&mut root, &schema, &mut diagnostics)
        .and_then(|removed| Some((raw(&root, &mut diagnostics)?, removed)))
        .and_then(|(raw, removed)| resolve::resolve(&raw, &root, &names, &removed, &sources, &mut diagnostics));
    problems.append(&mut diagnostics.problems);
    match config {
        Some(config) if problems.is_empty() => Ok(config),
        _ => Err(Report::of(sources, problems)),
    }
}

/// The name of what a control plane has sent.
#[must_use]
pub fn received_from(plane: &str) -> String {
    format!("{RECEIVED}{plane}")
}

/// The control plane that a text of this name came from.
#[must_use]
pub fn sender_of(name: &str) -> Option<&str> {
    name.strip_prefix(RECEIVED)
}

/// The tree has been checked against the schema of these very types, so they fit. A value that the two see
/// differently must still not get through.
fn raw(root: &Node, diagnostics: &mut Diagnostics<'_>) -> Option<raw::File> {
    match serde_json::to_value(root).and_then(serde_json::from_value) {
        Ok(raw) => Some(raw),
        Err(error) => {
            diagnostics.error(root.span, "", format!("not understood: {error}"));
            None
        }
    }
}

/// A file's text, or the problem with it as a whole.
fn read(path: &Path, name: &str) -> Result<String, Box<Problem>> {
    let whole = Origin { file: name.to_owned(), line: 0, column: 0 };
    let mut bytes = Vec::new();
    fs::File::open(path)
        .and_then(|file| file.take(LARGEST_FILE + 1).read_to_end(&mut bytes))
        .map_err(|error| Problem::new(whole.clone(), format!("cannot read {name:?}: {}", plain(&error))))
        .map_err(Box::new)?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err(Box::new(Problem::new(whole, format!("{name:?} is larger than 16MiB"))));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let before = error.as_bytes().get(..valid).unwrap_or_default();
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        Box::new(Problem::new(Origin { line, column: 1, ..whole }, "not UTF-8"))
    })
}

/// An input/output error without its number.
fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}
