//! YAML 1.2 with places, for files that people write: one document, no tags; anchors are expanded within bounds.

use std::fmt;

use saphyr::{LoadableYamlNode, MarkedYaml, Marker, Scalar, YamlData};

/// Deeper nesting is refused.
const MAX_DEPTH: usize = 64;

/// A place in a file, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Place {
    pub line: usize,
    pub column: usize,
}

/// What is wrong in a file that somebody wrote.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mistake {
    /// The file, as it was named.
    pub file: String,
    /// From 1; zero where it is about the whole file.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// Which value, like `descriptors[0].rate_limit.unit`. Empty where it is about none.
    pub path: String,
    /// What is wrong with it.
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        f.write_str(": ")?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

/// A value and where it is.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub place: Place,
    pub value: Value,
    /// Of a scalar: as it was written, without quotes. A descriptor's value `1.0` is text to those who compare it.
    pub text: String,
}

#[derive(Debug, Clone)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Integer(i64),
    /// Numbers that are no integers, as they are written.
    Number(f64),
    Text,
    List(Vec<Node>),
    /// In the order of writing; keys are unique.
    Map(Vec<(Key, Node)>),
}

#[derive(Debug, Clone)]
pub(crate) struct Key {
    pub text: String,
    pub place: Place,
}

impl Node {
    /// As JSON, for serde.
    pub fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(value) => (*value).into(),
            Value::Integer(value) => (*value).into(),
            Value::Number(value) => (*value).into(),
            Value::Text => self.text.as_str().into(),
            Value::List(items) => items.iter().map(Self::to_json).collect(),
            Value::Map(entries) => {
                let entries = entries.iter().map(|(key, value)| (key.text.clone(), value.to_json()));
                entries.collect::<serde_json::Map<_, _>>().into()
            }
        }
    }

    /// The place of what a path like `listeners[0].tls` names, or of the last of its parts that is there.
    pub fn find(&self, path: &str) -> Place {
        let mut node = self;
        let mut place = self.place;
        for part in path.split(['.', '[', ']']).filter(|part| !part.is_empty()) {
            let next = match &node.value {
                Value::Map(entries) => {
                    entries.iter().find(|(key, _)| key.text == part).map(|(key, node)| (key.place, node))
                }
                Value::List(items) => {
                    part.parse::<usize>().ok().and_then(|at| items.get(at)).map(|node| (node.place, node))
                }
                _ => None,
            };
            let Some(next) = next else { break };
            (place, node) = next;
        }
        place
    }
}

impl Value {
    /// For "expected ..., found ...".
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "true or false",
            Self::Integer(_) | Self::Number(_) => "a number",
            Self::Text => "text",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
        }
    }
}

/// Reads a document.
///
/// # Errors
/// What is wrong with it; the file's name is to be filled in.
pub(crate) fn parse(text: &str) -> Result<Node, Mistake> {
    if let Some(line) = too_deep(text) {
        return Err(mistake(Place { line, column: 1 }, format!("nested more than {MAX_DEPTH} levels deep")));
    }
    let documents = MarkedYaml::load_from_str(text)
        .map_err(|error| mistake(place(error.marker()), format!("not YAML: {}", error.info())))?;
    let mut documents = documents.into_iter();
    let Some(document) = documents.next() else {
        return Err(mistake(Place { line: 1, column: 1 }, "the file is empty".to_owned()));
    };
    if let Some(second) = documents.next() {
        return Err(mistake(place(&second.span.start), "a second document in one file".to_owned()));
    }
    Reader { source: Source::new(text) }.node(&document, 0)
}

fn mistake(place: Place, message: String) -> Mistake {
    Mistake { file: String::new(), line: place.line, column: place.column, path: String::new(), message }
}

fn place(marker: &Marker) -> Place {
    Place { line: marker.line(), column: marker.col() + 1 }
}

/// The parser recurses over block nesting without a limit of its own (flow nesting it stops at 255), so the nesting is estimated first. The
/// line where it is too deep.
fn too_deep(text: &str) -> Option<usize> {
    let mut indents = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let indent = line.len() - line.trim_start_matches([' ', '\t']).len();
        if indent < line.len() {
            while indents.last().is_some_and(|last| *last >= indent) {
                indents.pop();
            }
            indents.push(indent);
            let inline = line.split_ascii_whitespace().take_while(|word| matches!(*word, "-" | "?" | ":")).count();
            if indents.len() + inline > 2 * MAX_DEPTH {
                return Some(number + 1);
            }
        }
    }
    None
}

/// From the parser's positions (characters) to bytes.
struct Source<'a> {
    text: &'a str,
    /// The byte of each character; empty where the two are the same.
    bytes: Vec<usize>,
}

impl<'a> Source<'a> {
    fn new(text: &'a str) -> Self {
        let bytes = if text.is_ascii() { Vec::new() } else { text.char_indices().map(|(at, _)| at).collect() };
        Self { text, bytes }
    }

    fn byte(&self, character: usize) -> usize {
        if self.bytes.is_empty() {
            return character.min(self.text.len());
        }
        self.bytes.get(character).copied().unwrap_or(self.text.len())
    }

    fn slice(&self, node: &MarkedYaml<'_>) -> &'a str {
        let (start, end) = (self.byte(node.span.start.index()), self.byte(node.span.end.index()));
        self.text.get(start..end).unwrap_or_default().trim()
    }
}

struct Reader<'a> {
    source: Source<'a>,
}

impl Reader<'_> {
    fn node(&self, node: &MarkedYaml<'_>, depth: usize) -> Result<Node, Mistake> {
        let at = place(&node.span.start);
        if depth > MAX_DEPTH {
            return Err(mistake(at, format!("nested more than {MAX_DEPTH} levels deep")));
        }
        let mut text = String::new();
        let value = match &node.data {
            YamlData::Value(scalar) => {
                let (value, written) = match scalar {
                    Scalar::Null => (Value::Null, String::new()),
                    Scalar::Boolean(value) => (Value::Bool(*value), self.source.slice(node).to_owned()),
                    Scalar::Integer(value) => (Value::Integer(*value), self.source.slice(node).to_owned()),
                    Scalar::FloatingPoint(value) => (Value::Number(**value), self.source.slice(node).to_owned()),
                    Scalar::String(text) => (Value::Text, text.to_string()),
                };
                text = written;
                value
            }
            YamlData::Sequence(items) => {
                Value::List(items.iter().map(|item| self.node(item, depth + 1)).collect::<Result<_, _>>()?)
            }
            YamlData::Mapping(pairs) => {
                let mut entries = Vec::with_capacity(pairs.len());
                for (key, value) in pairs {
                    let place = place(&key.span.start);
                    let YamlData::Value(scalar) = &key.data else {
                        return Err(mistake(place, "a key is plain text".to_owned()));
                    };
                    let text = match scalar {
                        Scalar::String(text) => text.to_string(),
                        _ => self.source.slice(key).to_owned(),
                    };
                    entries.push((Key { text, place }, self.node(value, depth + 1)?));
                }
                Value::Map(entries)
            }
            YamlData::Tagged(..) => return Err(mistake(at, "tags have no meaning here".to_owned())),
            YamlData::Representation(..) | YamlData::Alias(_) | YamlData::BadValue => {
                return Err(mistake(at, "not a value".to_owned()));
            }
        };
        Ok(Node { place: at, value, text })
    }
}
