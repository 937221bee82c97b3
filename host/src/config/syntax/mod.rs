//! Text to [`Node`], for each format. Every value and key has its place, keys are unique, nesting is bounded,
//! and a text that cannot be read says at which line.

mod json;
mod toml;
mod yaml;

use std::collections::HashMap;

use crate::config::{
    Format,
    report::Diagnostics,
    source::{FileId, Span},
    tree::{Key, MAX_DEPTH, Node, quote},
};

/// Reads the environment: `!env NAME`.
pub(crate) type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Reads one file. `None`: it could not be read, and the reason is among the diagnostics.
pub(crate) fn parse(
    file: FileId,
    format: Format,
    environment: Environment<'_>,
    diagnostics: &mut Diagnostics<'_>,
) -> Option<Node> {
    match format {
        Format::Yaml => yaml::parse(file, environment, diagnostics),
        Format::Json => json::parse(file, diagnostics),
        Format::Toml => toml::parse(file, diagnostics),
    }
}

/// The entries of a map while it is read.
#[derive(Default)]
struct Entries {
    list: Vec<(Key, Node)>,
    seen: HashMap<String, Span>,
}

impl Entries {
    /// Adds an entry unless its key is there already, which is a problem that names both places.
    fn insert(&mut self, key: Key, node: Node, diagnostics: &mut Diagnostics<'_>) {
        match self.seen.get(&key.text) {
            None => {
                self.seen.insert(key.text.clone(), key.span);
                self.list.push((key, node));
            }
            Some(first) => twice(&key.text, key.span, Some(*first), diagnostics),
        }
    }
}

fn twice(key: &str, span: Span, first: Option<Span>, diagnostics: &mut Diagnostics<'_>) {
    let mut problem = diagnostics
        .problem(span, "", format!("key {} is there twice", quote(key)))
        .help("remove or rename one of the two");
    if let Some(first) = first {
        problem = problem.related(diagnostics.sources.origin(first), "first here");
    }
    diagnostics.push(problem);
}

fn too_deep(span: Span, diagnostics: &mut Diagnostics<'_>) {
    diagnostics.error(span, "", format!("nested deeper than {MAX_DEPTH} levels"));
}
