//! The texts that were read, kept so that a problem found much later (a filter refusing its configuration)
//! can still show the line that it is about.

use std::{
    fmt,
    ops::Range,
    path::{Path, PathBuf},
};

use crate::config::{resolved::Origin, secrets};

/// One of the files in [`Sources`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FileId(usize);

/// A range of bytes in one of the files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Span {
    pub file: FileId,
    pub start: usize,
    pub end: usize,
}

/// The configuration's files: main file first, then the included ones in the order of reading.
#[derive(Default)]
pub struct Sources {
    files: Vec<SourceFile>,
    written: Box<str>,
}

struct SourceFile {
    name: String,
    text: String,
    /// Byte at which each line begins.
    lines: Vec<usize>,
    ascii: bool,
    base: PathBuf,
    /// It came over the network, and is in no file.
    received: bool,
}

impl Sources {
    /// The whole configuration as it was written, includes merged, defaults not filled in. What came from
    /// `!env NAME` reads `!env NAME`, and what keys call a secret is masked: this may be shown.
    #[must_use]
    pub fn as_written(&self) -> serde_json::Value {
        let mut written = self.with_secrets();
        secrets::mask(&mut written);
        written
    }

    /// The same with the secrets in it that stand in files.
    pub(crate) fn with_secrets(&self) -> serde_json::Value {
        // Kept as text: the tree of a large file takes ten times its room, and hardly anybody asks.
        serde_json::from_str(&self.written).unwrap_or_default()
    }

    /// Names of the files that were read, main file first.
    pub fn file_names(&self) -> impl Iterator<Item = &str> {
        self.file_texts().map(|(name, _)| name)
    }

    /// Names and texts of the files that were read, main file first.
    pub fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().map(|file| (file.name.as_str(), file.text.as_str()))
    }

    /// The same without what came over the network.
    pub fn file_texts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().filter(|file| !file.received).map(|file| (file.name.as_str(), file.text.as_str()))
    }

    /// Names and texts of what came over the network.
    pub fn received(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().filter(|file| file.received).map(|file| (file.name.as_str(), file.text.as_str()))
    }

    /// The name of the main file.
    #[must_use]
    pub fn main(&self) -> &str {
        self.file_names().next().unwrap_or_default()
    }

    /// The folder against which relative paths in the main file are resolved.
    pub(crate) fn main_base(&self) -> &Path {
        self.base(FileId(0))
    }

    pub(crate) fn set_written(&mut self, written: String) {
        self.written = written.into();
    }

    /// Keeps a text. The byte order mark is dropped and line ends become `\n`, so that every parser and the
    /// snippets agree on what a line is.
    pub(crate) fn add(&mut self, name: &str, text: &str, base: &Path) -> FileId {
        self.keep(name, text, base, false)
    }

    /// Keeps a text that is in no file.
    pub(crate) fn add_received(&mut self, name: &str, text: &str) -> FileId {
        self.keep(name, text, Path::new("/"), true)
    }

    fn keep(&mut self, name: &str, text: &str, base: &Path, received: bool) -> FileId {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let text = text.replace("\r\n", "\n").replace('\r', "\n");
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(newline, _)| newline + 1)).collect();
        let ascii = text.is_ascii();
        self.files.push(SourceFile { name: name.to_owned(), text, lines, ascii, base: base.to_owned(), received });
        FileId(self.files.len() - 1)
    }

    pub(crate) fn text(&self, file: FileId) -> &str {
        self.files.get(file.0).map_or("", |file| &file.text)
    }

    pub(crate) fn name(&self, file: FileId) -> &str {
        self.files.get(file.0).map_or("", |file| &file.name)
    }

    /// The folder against which relative paths in this file are resolved.
    pub(crate) fn base(&self, file: FileId) -> &Path {
        self.files.get(file.0).map_or(Path::new(""), |file| &file.base)
    }

    pub(crate) fn origin(&self, span: Span) -> Origin {
        let Some(file) = self.files.get(span.file.0) else {
            return Origin::default();
        };
        let at = span.start.min(file.text.len());
        let line = file.lines.partition_point(|start| *start <= at);
        let start = line.checked_sub(1).and_then(|index| file.lines.get(index)).copied().unwrap_or(0);
        let column = match file.ascii {
            true => at - start,
            false => file.text.get(start..at).map_or(0, |before| before.chars().count()),
        };
        Origin { file: file.name.clone(), line, column: column + 1 }
    }

    /// Position of a file in the order of reading; unknown files come last.
    pub(crate) fn order(&self, name: &str) -> usize {
        self.files.iter().position(|file| file.name == name).unwrap_or(self.files.len())
    }

    /// The line that an origin names, and what of it to underline: `length` bytes, or the word there.
    pub(crate) fn excerpt(&self, origin: &Origin, length: usize) -> Option<(&str, Range<usize>)> {
        let file = self.files.iter().find(|file| file.name == origin.file)?;
        let start = *file.lines.get(origin.line.checked_sub(1)?)?;
        let line = file.text.get(start..)?.split('\n').next()?;
        let start = line.char_indices().nth(origin.column.saturating_sub(1)).map_or(line.len(), |(at, _)| at);
        let rest = line.get(start..).unwrap_or_default();
        let mut taken = match length {
            0 => word(rest),
            length => length.min(rest.trim_end().len()),
        };
        while !rest.is_char_boundary(taken) {
            taken -= 1;
        }
        if taken == 0 {
            taken = rest.chars().next().map_or(0, char::len_utf8);
        }
        Some((line, start..start + taken))
    }
}

/// Length of the word that a text begins with: up to a space or something that ends a key or a value.
fn word(text: &str) -> usize {
    let ends = |(at, c): (usize, char)| {
        let last = text.get(at + 1..).is_none_or(|after| !after.starts_with(|c: char| !c.is_whitespace()));
        (c.is_whitespace() || ",]}".contains(c) || (c == ':' && last)).then_some(at)
    };
    text.char_indices().find_map(ends).unwrap_or(text.len())
}

impl fmt::Debug for Sources {
    /// Names only: the texts may hold secrets.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.file_names()).finish()
    }
}
