//! Small YAML files: maps, lists and texts, from the parser's events. Nothing recurses, nothing is expanded: no depth and no alias in a file can cost more
//! than its length.

use saphyr_parser::{Event, Parser, ScalarStyle};

use crate::error::Problem;

/// A value. Numbers and the like are the texts that were written: nothing here needs them to be more.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Node {
    Text(String),
    List(Vec<Self>),
    /// In the order of the file; no key twice.
    Map(Vec<(String, Self)>),
}

/// Nothing that is read has more levels.
const DEEPEST: usize = 8;

#[derive(Debug)]
enum Open {
    List(Vec<Node>),
    Map(Vec<(String, Node)>, Option<String>),
}

/// Reads one document; nothing at all is an empty text.
pub(crate) fn read(text: &str) -> Result<Node, Problem> {
    let problem = |message: &str| Err(Problem::new("", message));
    let mut open: Vec<Open> = Vec::new();
    let mut whole = None;
    for event in Parser::new_from_str(text) {
        let (event, _) = event.map_err(|error| Problem::new("", format!("is not YAML: {error}")))?;
        let node = match event {
            // A name with nothing behind it: a null, which the parser writes so.
            Event::Scalar(text, ScalarStyle::Plain, ..) if text == "~" => Node::Text(String::new()),
            Event::Scalar(text, ..) => Node::Text(text.into_owned()),
            Event::SequenceStart(..) | Event::MappingStart(..) if open.len() >= DEEPEST => {
                return problem("has too many levels");
            }
            Event::SequenceStart(..) => {
                open.push(Open::List(Vec::new()));
                continue;
            }
            Event::MappingStart(..) => {
                open.push(Open::Map(Vec::new(), None));
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some(Open::List(items)) => Node::List(items),
                Some(Open::Map(fields, _)) => Node::Map(fields),
                None => return problem("is not YAML"),
            },
            Event::Alias(_) => return problem("must have no aliases"),
            _ => continue,
        };
        match open.last_mut() {
            Some(Open::List(items)) => items.push(node),
            Some(Open::Map(fields, key)) => match (key.take(), node) {
                (Some(name), node) => fields.push((name, node)),
                (None, Node::Text(name)) => {
                    if fields.iter().any(|(known, _)| *known == name) {
                        return Err(Problem::new(crate::error::shown(name), "stands there twice"));
                    }
                    *key = Some(name);
                }
                (None, _) => return problem("keys must be plain text"),
            },
            None if whole.is_some() => return problem("must be one document"),
            None => whole = Some(node),
        }
    }
    Ok(whole.unwrap_or(Node::Text(String::new())))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn files_that_would_cost_more_than_their_length_are_refused() {
        assert!(read("a: &x [1]\nb: *x\n").unwrap_err().message.contains("aliases"));
        assert!(read(&"[".repeat(100_000)).is_err());
        assert!(read(&"- ".repeat(100_000)).is_err());
        assert!(read(&"? ".repeat(100_000)).is_err());
        let deep: String = (0..2000).map(|level| format!("{}a:\n", " ".repeat(level))).collect();
        assert!(read(&deep).is_err());
        assert!(read("--- a\n--- b\n").is_err());
        assert!(read("a: 1\na: 2\n").is_err());
        assert!(read("[a]: 1\n").is_err());
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in r##"[a-c:\-\[\]{},?!&*|>'"# \n\t~]{0,60}"##) {
            let _ = read(&text);
        }
    }
}
