//! What is wrong with a configuration: all of it at once, each with its place, the line, and what to try.

use std::{cmp::Reverse, fmt, sync::Arc};

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use crate::config::{
    resolved::Origin,
    source::{Sources, Span},
};

/// More than this many problems are counted but not shown.
const SHOWN: usize = 100;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// Where. Line 0: the file as a whole.
    pub origin: Origin,
    /// What is wrong, in one sentence without a full stop.
    pub message: String,
    /// What to try, or what was expected.
    pub help: Option<String>,
    /// Path inside the configuration, such as `listeners.web.filters[0]`; empty when there is none.
    pub path: String,
    /// Other places that have to do with it, with a word on each ("first defined here").
    pub related: Vec<(Origin, String)>,
    /// Bytes to underline; 0: the word at the origin.
    length: usize,
}

impl Problem {
    /// A problem at a place of the configuration, or of anything else that has a file and a line.
    pub fn new(origin: Origin, message: impl Into<String>) -> Self {
        Self { origin, message: message.into(), help: None, path: String::new(), related: Vec::new(), length: 0 }
    }

    pub(crate) fn at(sources: &Sources, span: Span, path: &str, message: impl Into<String>) -> Self {
        let length = span.end.saturating_sub(span.start).max(1);
        Self { length, path: path.to_owned(), ..Self::new(sources.origin(span), message) }
    }

    /// Says what to try.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Says which part of the configuration it is about.
    #[must_use]
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.path = path.into();
        self
    }

    /// Points to another place.
    #[must_use]
    pub fn related(mut self, origin: Origin, label: impl Into<String>) -> Self {
        self.related.push((origin, label.into()));
        self
    }
}

/// Everything that is wrong with a configuration. `Display` renders it without colours.
#[derive(Debug, Clone)]
pub struct Report {
    sources: Arc<Sources>,
    problems: Vec<Problem>,
}

impl Report {
    /// An empty report about the files in `sources`; see [`Config::sources`](crate::config::Config::sources).
    #[must_use]
    pub fn new(sources: Arc<Sources>) -> Self {
        Self { sources, problems: Vec::new() }
    }

    /// A report of one problem.
    #[must_use]
    pub fn single(sources: Arc<Sources>, problem: Problem) -> Self {
        Self { sources, problems: vec![problem] }
    }

    /// Adds a problem, in the order of the files and lines.
    pub fn push(&mut self, problem: Problem) {
        self.problems.push(problem);
        let sources = &self.sources;
        self.problems.sort_by_key(|problem| key(sources, problem));
    }

    pub(crate) fn of(sources: Arc<Sources>, mut problems: Vec<Problem>) -> Self {
        problems.sort_by_cached_key(|problem| key(&sources, problem));
        problems.dedup();
        Self { sources, problems }
    }

    /// The problems, by file (main file first) and place.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }

    /// For logs and for callers of the API: each problem on a line, with its place.
    #[must_use]
    pub fn summary(&self) -> String {
        let mut lines: Vec<String> = self
            .problems
            .iter()
            .take(SHOWN)
            .map(|problem| {
                let Origin { file, line, column } = &problem.origin;
                let place = match (file.as_str(), line) {
                    ("", _) => String::new(),
                    (file, 0) => format!("{file}: "),
                    (file, line) => format!("{file}:{line}:{column}: "),
                };
                let help = problem.help.as_ref().map(|help| format!(" ({help})")).unwrap_or_default();
                format!("{place}{}{help}", problem.message)
            })
            .collect();
        if let Some(more) = self.problems.len().checked_sub(SHOWN).filter(|more| *more > 0) {
            lines.push(format!("and {more} more"));
        }
        lines.join("\n")
    }

    /// For people: every problem with its line, then the count. Ends without a newline.
    #[must_use]
    pub fn render(&self, colour: bool) -> String {
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        let mut out = String::new();
        for problem in self.problems.iter().take(SHOWN) {
            out.push_str(&renderer.render(&[self.group(problem)]));
            out.push_str("\n\n");
        }
        if let Some(more) = self.problems.len().checked_sub(SHOWN).filter(|more| *more > 0) {
            out.push_str(&format!("... and {more} more\n\n"));
        }
        match self.problems.len() {
            1 => out.push_str("1 error"),
            count => out.push_str(&format!("{count} errors")),
        }
        out
    }

    /// For programs (`--output json`).
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let place =
            |origin: &Origin| serde_json::json!({ "file": origin.file, "line": origin.line, "column": origin.column });
        let problems: Vec<_> = self
            .problems
            .iter()
            .map(|problem| {
                let related: Vec<_> = problem
                    .related
                    .iter()
                    .map(|(origin, label)| serde_json::json!({ "origin": place(origin), "message": label }))
                    .collect();
                serde_json::json!({
                    "origin": place(&problem.origin),
                    "path": problem.path,
                    "message": problem.message,
                    "help": problem.help,
                    "related": related,
                })
            })
            .collect();
        serde_json::json!({ "errors": problems })
    }

    fn group<'a>(&'a self, problem: &'a Problem) -> Group<'a> {
        let mut group = Level::ERROR.primary_title(problem.message.as_str()).element(self.place(
            &problem.origin,
            problem.length,
            AnnotationKind::Primary,
            None,
        ));
        for (origin, label) in &problem.related {
            group = group.element(self.place(origin, 0, AnnotationKind::Context, Some(label)));
        }
        match &problem.help {
            Some(help) => group.element(Level::HELP.message(help.as_str())),
            None => group,
        }
    }

    /// One line is enough: what is wrong is a key or a value, and only that line is looked at, however long the file.
    fn place<'a>(
        &'a self,
        origin: &'a Origin,
        length: usize,
        kind: AnnotationKind,
        label: Option<&'a str>,
    ) -> annotate_snippets::Element<'a> {
        match self.sources.excerpt(origin, length) {
            Some((line, range)) => Snippet::source(line)
                .line_start(origin.line)
                .path(origin.file.as_str())
                .annotation(kind.span(range).label(label))
                .into(),
            None if origin.line == 0 => annotate_snippets::Origin::path(origin.file.as_str()).into(),
            None => annotate_snippets::Origin::path(origin.file.as_str())
                .line(origin.line)
                .char_column(origin.column)
                .into(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.render(false))
    }
}

impl std::error::Error for Report {}

/// Collects problems while a configuration is read.
pub(crate) struct Diagnostics<'a> {
    pub sources: &'a Sources,
    pub problems: Vec<Problem>,
}

impl<'a> Diagnostics<'a> {
    pub fn new(sources: &'a Sources) -> Self {
        Self { sources, problems: Vec::new() }
    }

    /// Reports a problem that needs no help.
    pub fn error(&mut self, span: Span, path: &str, message: impl Into<String>) {
        let problem = self.problem(span, path, message);
        self.push(problem);
    }

    /// Reports a problem and what to try.
    pub fn error_with_help(&mut self, span: Span, path: &str, message: impl Into<String>, help: impl Into<String>) {
        let problem = self.problem(span, path, message).help(help);
        self.push(problem);
    }

    pub fn problem(&self, span: Span, path: &str, message: impl Into<String>) -> Problem {
        Problem::at(self.sources, span, path, message)
    }

    pub fn push(&mut self, problem: Problem) {
        self.problems.push(problem);
    }
}

/// Sorts by place; longer ranges first, so that the whole comes before its parts.
fn key(sources: &Sources, problem: &Problem) -> (usize, usize, usize, Reverse<usize>) {
    let origin = &problem.origin;
    (sources.order(&origin.file), origin.line, origin.column, Reverse(problem.length))
}
