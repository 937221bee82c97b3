//! `include:`: more files whose listeners, filters, clusters and sinks belong to the same configuration.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value as Json;

use crate::config::{
    Format,
    describe::keys,
    read,
    report::{Diagnostics, Problem},
    sender_of,
    source::{FileId, Sources, Span},
    suggest,
    syntax::{self, Environment},
    tree::{Key, Node, Value, join, quote},
};

/// What may be in an included file.
const SECTIONS: &[&str] = &["listeners", "filters", "clusters", "sinks"];

/// More is a wildcard gone wrong.
const MOST_FILES: usize = 1000;

/// What came from elsewhere than a file: sections like those of an included file, and `tracing`, in JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fragment {
    /// What messages call it, such as `control plane "ads"`.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// Whether everything that was to be included could be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Included {
    All,
    /// Some names may be missing for that reason alone.
    Some,
}

/// Adds what the included files define to the tree of the main file.
pub(crate) fn merge(
    root: &mut Node,
    sources: &mut Sources,
    schema: &Json,
    (environment, kept): (Environment<'_>, Option<&[(String, String)]>),
    problems: &mut Vec<Problem>,
) -> Included {
    let before = problems.len();
    // What was kept was asked for when it was read.
    let files = match kept {
        None => files(root, sources, problems),
        Some(kept) => kept.iter().map(|(name, _)| (PathBuf::from(name), root.span)).collect(),
    };
    for (path, span) in files {
        let name = path.display().to_string();
        let kept = kept.and_then(|kept| kept.iter().find(|(known, _)| *known == name));
        let text = match kept.map_or_else(|| read(&path, &name), |(_, text)| Ok(text.clone())) {
            Ok(text) => text,
            Err(mut problem) => {
                if problem.origin.line == 0 {
                    *problem = Problem::at(sources, span, "include", problem.message);
                }
                problems.push(*problem);
                continue;
            }
        };
        let file = sources.add(&name, &text, path.parent().unwrap_or(Path::new("")));
        let mut diagnostics = Diagnostics::new(sources);
        if let Some(node) = syntax::parse(file, Format::of(&path), environment, &mut diagnostics) {
            add(root, node, file, schema, &mut diagnostics);
        }
        problems.append(&mut diagnostics.problems);
    }
    if problems.len() == before { Included::All } else { Included::Some }
}

/// Adds what came from elsewhere.
pub(crate) fn merge_received(
    root: &mut Node,
    sources: &mut Sources,
    schema: &Json,
    received: &[Fragment],
    problems: &mut Vec<Problem>,
) {
    for fragment in received {
        // One that is not named any more may be named again.
        let named = |planes: &Node| sender_of(&fragment.name).is_some_and(|name| planes.get(name).is_some());
        if !root.get("control_planes").is_some_and(|(_, planes)| named(planes)) {
            continue;
        }
        let file = sources.add_received(&fragment.name, &fragment.text);
        let mut diagnostics = Diagnostics::new(sources);
        // Nobody else may read the environment.
        if let Some(mut node) = syntax::parse(file, Format::Json, &|_| None, &mut diagnostics) {
            add_tracing(root, &mut node, &mut diagnostics);
            add(root, node, file, schema, &mut diagnostics);
        }
        problems.append(&mut diagnostics.problems);
    }
}

/// Where spans go is for the whole process.
fn add_tracing(root: &mut Node, node: &mut Node, diagnostics: &mut Diagnostics<'_>) {
    let (Value::Map(sections), Value::Map(known)) = (&mut node.value, &mut root.value) else { return };
    let Some(at) = sections.iter().position(|(key, _)| key.text == "tracing") else { return };
    let (key, section) = sections.remove(at);
    match known.iter().find(|(other, _)| other.text == "tracing") {
        None => known.push((key, section)),
        Some((first, _)) => {
            let problem = diagnostics
                .problem(key.span, "tracing", "tracing is defined twice".to_owned())
                .related(diagnostics.sources.origin(first.span), "first here");
            diagnostics.push(problem);
        }
    }
}

/// The files that the main file asks for, each once, and where it does.
fn files(root: &Node, sources: &Sources, problems: &mut Vec<Problem>) -> Vec<(PathBuf, Span)> {
    let Some((_, Node { value: Value::Seq(items), .. })) = root.get("include") else {
        return Vec::new();
    };
    let main = fs::canonicalize(sources.name(root.span.file)).ok();
    let mut seen: Vec<PathBuf> = main.into_iter().collect();
    let mut found = Vec::new();
    for item in items {
        // Anything else than a string is left to the check against the schema.
        let Value::String(pattern) = &item.value else {
            continue;
        };
        match expand(&sources.base(item.span.file).join(pattern)) {
            Ok(paths) => {
                for path in paths {
                    let real = fs::canonicalize(&path).unwrap_or_else(|_| path.clone());
                    if !seen.contains(&real) {
                        seen.push(real);
                        found.push((path, item.span));
                    }
                }
            }
            Err(message) => problems.push(Problem::at(sources, item.span, "include", message)),
        }
    }
    if let Some((_, span)) = found.get(MOST_FILES) {
        problems.push(Problem::at(sources, *span, "include", format!("more than {MOST_FILES} files")));
        found.truncate(MOST_FILES);
    }
    found
}

/// The files that a pattern means, sorted. A pattern with `*` may mean none.
fn expand(pattern: &Path) -> Result<Vec<PathBuf>, &'static str> {
    let folder = pattern.parent().unwrap_or(Path::new(""));
    if folder.to_string_lossy().contains('*') {
        return Err("`*` is only understood in the last part of a path");
    }
    let Some(last) = pattern.file_name().map(|last| last.to_string_lossy().into_owned()) else {
        return Err("not the path of a file");
    };
    if !last.contains('*') {
        return Ok(vec![pattern.to_owned()]);
    }
    let readable = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let mut names: Vec<_> = fs::read_dir(readable)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.path().is_file())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| !name.starts_with('.') && matches(&last, name))
        .collect();
    names.sort();
    Ok(names.into_iter().map(|name| folder.join(name)).collect())
}

/// Whether a name fits a pattern in which `*` is any text: first and last part are anchored, those between are
/// found from left to right.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(mut name) = name.strip_prefix(first) else {
        return false;
    };
    let mut parts = rest.split('*').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return name.ends_with(part);
        }
        let Some(at) = name.find(part) else {
            return false;
        };
        name = name.get(at + part.len()..).unwrap_or_default();
    }
    true
}

/// Adds one file's sections.
fn add(root: &mut Node, node: Node, file: FileId, schema: &Json, diagnostics: &mut Diagnostics<'_>) {
    let known = keys(schema);
    let Value::Map(sections) = node.value else {
        if matches!(node.value, Value::Bad) {
            return;
        }
        let whole = Span { file, ..Span::default() };
        return diagnostics.error(whole, "", format!("expected a map, found {}", node.found()));
    };
    for (key, section) in sections {
        let word = key.text.as_str();
        if SECTIONS.contains(&word) {
            add_section(root, key, section, diagnostics);
        } else if word == "include" {
            diagnostics.error(key.span, word, "an included file cannot include more");
        } else if known.contains(&word) {
            let help = format!("an included file has {}", SECTIONS.join(", "));
            let message = format!("{} belongs in the main file", quote(word));
            diagnostics.error_with_help(key.span, word, message, help);
        } else if word != "$schema" {
            let message = format!("unknown key {}", quote(word));
            diagnostics.error_with_help(key.span, word, message, suggest::help(word, SECTIONS));
        }
    }
}

fn add_section(root: &mut Node, key: Key, section: Node, diagnostics: &mut Diagnostics<'_>) {
    let Value::Map(entries) = section.value else {
        if matches!(section.value, Value::Bad) {
            return;
        }
        let message = format!("expected a map, found {}", section.found());
        return diagnostics.error(key.span, &key.text, message);
    };
    let Value::Map(sections) = &mut root.value else {
        return;
    };
    let index = sections.iter().position(|(known, _)| known.text == key.text).unwrap_or_else(|| {
        sections.push((key.clone(), Node::new(section.span, Value::Map(Vec::new()))));
        sections.len() - 1
    });
    let Some((_, Node { value: Value::Map(known), .. })) = sections.get_mut(index) else {
        return;
    };
    for (name, value) in entries {
        match known.iter().find(|(other, _)| other.text == name.text) {
            None => known.push((name, value)),
            Some((first, _)) => {
                let kind = key.text.trim_end_matches('s');
                let message = format!("{kind} {} is defined twice", quote(&name.text));
                let problem = diagnostics
                    .problem(name.span, &join(&key.text, &name.text), message)
                    .related(diagnostics.sources.origin(first.span), "first here");
                diagnostics.push(problem);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn stars_are_any_text() {
        for (pattern, name) in
            [("*.yaml", "a.yaml"), ("a*c", "ac"), ("a*b*c", "a-b-b-c"), ("*", ""), ("x", "x"), ("a**", "a")]
        {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("*.yaml", "a.yml"), ("a*a", "a"), ("a*b*c", "acb"), ("x", "xy")] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }
}
