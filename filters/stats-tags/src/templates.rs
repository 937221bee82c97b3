//! Path templates: `/users/{id}` is the label of every path that it matches.
//!
//! # The syntax
//! Segments between slashes: a literal; `{name}` or `*`, which is any one segment that is not empty; and at the end `{name=**}` or `**`,
//! which is the rest, however many segments it has. Literals are compared byte by byte; a path's query is not part of it.
//!
//! # Which one
//! The most specific: at the first segment in which two templates that match differ, a literal goes before a parameter, and that
//! before a rest. The order in which they are written decides nothing, and two that match the same paths are refused.
//!
//! # The index
//! A tree of segments. A path is walked down once; where a literal leads nowhere, the parameter beside it is tried. No more
//! nodes are visited than the tree has, and of ordinary templates one for each segment.

use std::collections::HashMap;

/// Segments of a template. More are a mistake, and the walk goes one call deeper with each.
const MOST_SEGMENTS: usize = 64;

/// Templates, ready to be looked up.
#[derive(Debug)]
pub struct Templates {
    /// As they are written.
    texts: Vec<String>,
    nodes: Vec<Node>,
}

#[derive(Debug, Default)]
struct Node {
    literals: HashMap<Box<[u8]>, usize>,
    parameter: Option<usize>,
    /// The template that ends here.
    here: Option<usize>,
    /// The template whose rest begins here.
    rest: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Segment<'a> {
    Literal(&'a str),
    Parameter,
    Rest,
}

impl Templates {
    /// Takes them apart.
    ///
    /// # Errors
    /// Which one is wrong, and why.
    pub fn parse(texts: &[String]) -> Result<Self, (usize, String)> {
        let mut templates = Self { texts: texts.to_vec(), nodes: vec![Node::default()] };
        for (index, text) in texts.iter().enumerate() {
            templates.insert(index, text).map_err(|message| (index, message))?;
        }
        Ok(templates)
    }

    /// The template that a path matches, without its query.
    #[must_use]
    pub fn find(&self, path: &[u8]) -> Option<&str> {
        let path = path.split(|byte| *byte == b'?').next()?.strip_prefix(b"/")?;
        self.texts.get(self.walk(0, Some(path))?).map(String::as_str)
    }

    fn walk(&self, node: usize, path: Option<&[u8]>) -> Option<usize> {
        let node = self.nodes.get(node)?;
        let Some(path) = path else { return node.here };
        let end = path.iter().position(|byte| *byte == b'/');
        let (segment, after) = match end {
            Some(end) => (path.get(..end)?, path.get(end + 1..)),
            None => (path, None),
        };
        let literal = node.literals.get(segment).and_then(|next| self.walk(*next, after));
        let parameter = || node.parameter.filter(|_| !segment.is_empty()).and_then(|next| self.walk(next, after));
        literal.or_else(parameter).or(node.rest)
    }

    fn insert(&mut self, index: usize, text: &str) -> Result<(), String> {
        let mut at = 0;
        let segments = segments(text)?;
        for segment in &segments {
            let fresh = self.nodes.len();
            let Some(node) = self.nodes.get_mut(at) else { return Ok(()) };
            at = match segment {
                Segment::Literal(literal) => *node.literals.entry(literal.as_bytes().into()).or_insert(fresh),
                Segment::Parameter => *node.parameter.get_or_insert(fresh),
                Segment::Rest => break,
            };
            if at == fresh {
                self.nodes.push(Node::default());
            }
        }
        let Some(node) = self.nodes.get_mut(at) else { return Ok(()) };
        let place = if segments.last() == Some(&Segment::Rest) { &mut node.rest } else { &mut node.here };
        match place {
            Some(other) => {
                let other = self.texts.get(*other).map(String::as_str).unwrap_or_default();
                Err(format!("\"{text}\" matches the same paths as \"{other}\"; leave one of them out"))
            }
            None => {
                *place = Some(index);
                Ok(())
            }
        }
    }
}

fn segments(text: &str) -> Result<Vec<Segment<'_>>, String> {
    let path =
        text.strip_prefix('/').ok_or_else(|| format!("\"{text}\" is no template of a path, which begins with '/'"))?;
    if path.contains(['?', '#']) {
        return Err(format!("\"{text}\" has a query or a fragment; templates are of the path alone"));
    }
    let count = path.split('/').count();
    if count > MOST_SEGMENTS {
        return Err(format!("\"{text}\" has more than {MOST_SEGMENTS} segments"));
    }
    path.split('/').enumerate().map(|(at, part)| segment(text, part, at + 1 == count)).collect()
}

fn segment<'a>(text: &str, part: &'a str, last: bool) -> Result<Segment<'a>, String> {
    let inside = part.strip_prefix('{').and_then(|part| part.strip_suffix('}'));
    let (name, pattern) = match inside {
        Some(inside) => inside.split_once('=').unwrap_or((inside, "*")),
        None if part == "*" || part == "**" => ("any", part),
        None if part.contains(['{', '}', '*']) => {
            return Err(format!(
                "\"{part}\" in \"{text}\" is neither a literal nor a parameter: a parameter is a whole segment, {{name}}, and the rest of a path is {{name=**}}"
            ));
        }
        None => return Ok(Segment::Literal(part)),
    };
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte)) {
        return Err(format!("\"{part}\" in \"{text}\" has no name that is one: letters, digits and any of _-."));
    }
    match pattern {
        "*" => Ok(Segment::Parameter),
        "**" if last => Ok(Segment::Rest),
        "**" => Err(format!("\"{part}\" in \"{text}\" is the rest of a path, and nothing can follow it")),
        _ => Err(format!("\"{part}\" in \"{text}\": behind '=' there is * or **")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn owned(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    /// Tries one after the other. `None`: it does not match; otherwise how specific each segment is, less being more.
    fn naive(template: &str, path: &str) -> Option<Vec<u8>> {
        let segments = segments(template).unwrap();
        let parts: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
        let mut ranks = Vec::new();
        for (at, segment) in segments.iter().enumerate() {
            match (segment, parts.get(at)) {
                (Segment::Literal(literal), Some(part)) if literal == part => ranks.push(0),
                (Segment::Parameter, Some(part)) if !part.is_empty() => ranks.push(1),
                (Segment::Rest, Some(_)) => {
                    ranks.push(2);
                    return Some(ranks);
                }
                _ => return None,
            }
        }
        (segments.len() == parts.len()).then_some(ranks)
    }

    proptest! {
        #[test]
        fn the_index_finds_what_trying_all_of_them_finds(
            templates in prop::collection::btree_set("(/(a|b|\\{x\\}|)){1,4}(/\\*\\*)?", 0..12),
            path in "(/(a|b|c|)){1,5}",
        ) {
            // Of those that clash, the first one stays.
            let mut kept: Vec<String> = Vec::new();
            for template in templates {
                kept.push(template);
                if Templates::parse(&kept).is_err() {
                    kept.pop();
                }
            }
            let best = kept.iter().filter_map(|template| Some((naive(template, &path)?, template))).min();
            let index = Templates::parse(&kept).unwrap();
            prop_assert_eq!(index.find(path.as_bytes()), best.map(|(_, template)| template.as_str()));
        }

        #[test]
        fn any_text_is_a_template_or_is_refused(text in ".{0,40}", path in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(templates) = Templates::parse(&[text]) {
                let _ = templates.find(&path);
            }
        }
    }

    #[test]
    fn the_most_specific_template_wins_whatever_the_order() {
        let templates =
            Templates::parse(&owned(&["/**", "/users/{id}", "/users/me", "/users/{id}/orders/*", "/users/me/{x=**}"]))
                .unwrap();
        for (path, found) in [
            ("/users/7", Some("/users/{id}")),
            ("/users/me", Some("/users/me")),
            ("/users/me/orders/3", Some("/users/me/{x=**}")),
            ("/users/7/orders/3?a=/b", Some("/users/{id}/orders/*")),
            ("/users/7/orders", Some("/**")),
            ("/users/", Some("/**")),
            ("/", Some("/**")),
            ("", None),
            ("*", None),
        ] {
            assert_eq!(templates.find(path.as_bytes()), found, "{path}");
        }
    }

    #[test]
    fn where_a_literal_leads_nowhere_the_parameter_is_tried() {
        let templates = Templates::parse(&owned(&["/a/b/c", "/{x}/b/d", "/a/{y}/e"])).unwrap();
        for (path, found) in [("/a/b/d", "/{x}/b/d"), ("/a/b/e", "/a/{y}/e"), ("/a/b/c", "/a/b/c")] {
            assert_eq!(templates.find(path.as_bytes()), Some(found));
        }
    }

    #[test]
    fn ten_thousand_templates_are_looked_up_by_their_segments() {
        let texts: Vec<String> = (0..10_000).map(|number| format!("/service-{number}/{{id}}")).collect();
        let templates = Templates::parse(&texts).unwrap();
        assert_eq!(templates.find(b"/service-9999/x"), Some("/service-9999/{id}"));
        assert_eq!(templates.find(b"/service-10000/x"), None);
    }

    #[test]
    fn what_is_no_template_is_refused_with_what_to_try() {
        for (texts, index, message) in [
            (&["users"][..], 0, "\"users\" is no template of a path, which begins with '/'"),
            (
                &["/a", "/{x}.json"],
                1,
                "\"{x}.json\" in \"/{x}.json\" is neither a literal nor a parameter: a parameter is a whole segment, {name}, and the rest of a path is {name=**}",
            ),
            (&["/**/a"], 0, "\"**\" in \"/**/a\" is the rest of a path, and nothing can follow it"),
            (&["/{}"], 0, "\"{}\" in \"/{}\" has no name that is one: letters, digits and any of _-."),
            (&["/{a=x}"], 0, "\"{a=x}\" in \"/{a=x}\": behind '=' there is * or **"),
            (&["/a?b"], 0, "\"/a?b\" has a query or a fragment; templates are of the path alone"),
            (
                &["/u/{id}", "/u/me", "/u/{name}"],
                2,
                "\"/u/{name}\" matches the same paths as \"/u/{id}\"; leave one of them out",
            ),
            (
                &["/u/**", "/u/{rest=**}"],
                1,
                "\"/u/{rest=**}\" matches the same paths as \"/u/**\"; leave one of them out",
            ),
        ] {
            assert_eq!(Templates::parse(&owned(texts)).err(), Some((index, message.to_owned())));
        }
    }
}
