//! New paths out of old ones. Everything here is about the path without its query, which stays as it is.

use std::rc::Rc;

use fyke_sdk::ConfigError;
use regex_lite::{Captures, Regex};

use crate::config::RegexRewrite;
use crate::scan::{Part, Scan};
use crate::uri_template::UriTemplate;
use crate::values::regex;

/// How a path is made.
#[derive(Debug)]
pub enum PathRewrite {
    /// This one.
    Path(String),
    /// Another beginning in place of the one that matched.
    Prefix(String),
    /// Another text wherever an expression matches.
    Regex(Substitution),
    /// What names of the match's template stand for, put together anew.
    Template(Rearrangement),
}

impl PathRewrite {
    /// They exclude each other. `matched` is the template of the route's match.
    pub fn build(
        prefix: Option<String>,
        path: Option<String>,
        regex: Option<RegexRewrite>,
        template: Option<String>,
        matched: Option<Rc<UriTemplate>>,
    ) -> Result<Option<Self>, ConfigError> {
        for (key, text) in [("prefix", &prefix), ("path", &path)] {
            if let Some(text) = text {
                check_path(text).map_err(|error| error.under(key))?;
            }
        }
        let regex = regex.map(|raw| Substitution::build(&raw).map_err(|error| error.under("regex"))).transpose()?;
        let template = template
            .map(|text| Rearrangement::build(&text, matched).map_err(|error| error.under("path_template")))
            .transpose()?;
        let mut all =
            [prefix.map(Self::Prefix), path.map(Self::Path), regex.map(Self::Regex), template.map(Self::Template)]
                .into_iter()
                .flatten();
        let rewrite = all.next();
        if all.next().is_some() {
            return Err(ConfigError::new("needs only one of prefix, path, path_template and regex"));
        }
        Ok(rewrite)
    }

    /// The new path. `matched` bytes of the old one are what the route's match recognised.
    pub fn apply(&self, path: &[u8], matched: usize, scan: &Scan) -> Vec<u8> {
        match self {
            Self::Path(new) => new.as_bytes().to_vec(),
            Self::Prefix(new) => join(new.as_bytes(), path, matched),
            Self::Regex(substitution) => {
                let mut new = substitution.apply(path, Part::Target, scan);
                if !new.starts_with(b"/") {
                    new.insert(0, b'/');
                }
                new
            }
            Self::Template(rearrangement) => rearrangement.apply(path),
        }
    }
}

/// Literal text and names of a [`UriTemplate`].
#[derive(Debug)]
pub struct Rearrangement {
    template: Rc<UriTemplate>,
    pieces: Vec<Piece>,
}

impl Rearrangement {
    fn build(text: &str, template: Option<Rc<UriTemplate>>) -> Result<Self, ConfigError> {
        check_path(text)?;
        if text.contains(['?', '#']) {
            return Err(ConfigError::new("is the path only: the request's query stays"));
        }
        let template = template.ok_or_else(|| ConfigError::new("needs `match.path_template`, whose names it uses"))?;
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (name, after) =
                after.split_once('}').ok_or_else(|| ConfigError::new(format!("\"{{{after}\" has no closing brace")))?;
            let group = template
                .name(name)
                .ok_or_else(|| ConfigError::new(format!("`match.path_template` has no \"{{{name}}}\"")))?;
            pieces.push(Piece::Text(before.to_owned()));
            pieces.push(Piece::Group(group));
            rest = after;
        }
        pieces.push(Piece::Text(rest.to_owned()));
        let stray = |piece: &Piece| matches!(piece, Piece::Text(text) if text.contains(['*', '}']));
        if pieces.iter().any(stray) {
            return Err(ConfigError::new("may have names in braces, but no operators"));
        }
        Ok(Self { template, pieces })
    }

    fn apply(&self, path: &[u8]) -> Vec<u8> {
        let mut new = Vec::with_capacity(path.len());
        for piece in &self.pieces {
            new.extend_from_slice(match piece {
                Piece::Text(text) => text.as_bytes(),
                Piece::Group(name) => self.template.value(path, *name),
            });
        }
        new
    }
}

/// Beginning and rest meet in exactly one slash, where the match ended at one.
fn join(new: &[u8], path: &[u8], matched: usize) -> Vec<u8> {
    let matched = match path.get(..matched) {
        Some([before @ .., b'/']) => before.len(),
        _ => matched,
    };
    let rest = path.get(matched..).unwrap_or_default();
    let mut joined = new.to_vec();
    if rest.starts_with(b"/") && joined.ends_with(b"/") {
        joined.pop();
    }
    joined.extend_from_slice(rest);
    joined
}

/// Paths begin with a slash and contain nothing that would end one.
pub fn check_path(text: &str) -> Result<(), ConfigError> {
    if !text.starts_with('/') {
        return Err(ConfigError::new(format!("must begin with '/', unlike \"{text}\"")));
    }
    if text.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
        return Err(ConfigError::new("must not contain spaces or control characters; write them as %20 and so on"));
    }
    Ok(())
}

/// Find and replace.
#[derive(Debug)]
pub struct Substitution {
    pattern: Regex,
    pieces: Vec<Piece>,
}

#[derive(Debug, PartialEq)]
enum Piece {
    Text(String),
    Group(usize),
}

impl Substitution {
    pub fn build(raw: &RegexRewrite) -> Result<Self, ConfigError> {
        let pattern = regex(&raw.pattern).map_err(|error| error.under("pattern"))?;
        let pieces = pieces(&raw.substitution, pattern.captures_len())
            .map_err(|message| ConfigError::at("substitution", message))?;
        Ok(Self { pattern, pieces })
    }

    /// What comes of it. What is no text stays as it is: expressions speak of text.
    pub fn apply(&self, bytes: &[u8], part: Part, scan: &Scan) -> Vec<u8> {
        let Some(text) = scan.text(bytes, part) else {
            return bytes.to_vec();
        };
        self.pattern.replace_all(text, |captures: &Captures<'_>| self.expand(captures)).into_owned().into_bytes()
    }

    fn expand(&self, captures: &Captures<'_>) -> String {
        self.pieces
            .iter()
            .map(|piece| match piece {
                Piece::Text(text) => text.as_str(),
                Piece::Group(group) => captures.get(*group).map_or("", |found| found.as_str()),
            })
            .collect()
    }
}

fn pieces(substitution: &str, groups: usize) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut text = String::new();
    let mut rest = substitution.chars();
    while let Some(c) = rest.next() {
        if c.is_control() || c == ' ' || c == '?' || c == '#' {
            return Err("must not contain spaces, control characters, '?' or '#'".to_owned());
        }
        if c != '\\' {
            text.push(c);
            continue;
        }
        match rest.next() {
            Some('\\') => text.push('\\'),
            Some(digit) if digit.is_ascii_digit() => {
                let group = digit.to_digit(10).and_then(|digit| usize::try_from(digit).ok()).unwrap_or(0);
                if group >= groups {
                    return Err(format!("\\{group} refers to a group that the pattern does not have"));
                }
                if !text.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut text)));
                }
                pieces.push(Piece::Group(group));
            }
            _ => return Err("a backslash must be followed by a digit or a backslash".to_owned()),
        }
    }
    if !text.is_empty() {
        pieces.push(Piece::Text(text));
    }
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(matched: &str, new: &str, path: &str) -> String {
        String::from_utf8(join(new.as_bytes(), path.as_bytes(), matched.len())).unwrap()
    }

    #[test]
    fn prefixes_meet_the_rest_in_one_slash() {
        assert_eq!(prefix("/users", "/", "/users/1"), "/1");
        assert_eq!(prefix("/users", "/", "/users"), "/");
        assert_eq!(prefix("/users", "/", "/users/"), "/");
        assert_eq!(prefix("/users", "/v2", "/users/1"), "/v2/1");
        assert_eq!(prefix("/users/", "/v2", "/users/1"), "/v2/1");
        assert_eq!(prefix("/users/", "/v2/", "/users/1"), "/v2/1");
        assert_eq!(prefix("/users/", "/", "/users/1"), "/1");
        assert_eq!(prefix("/users", "/people", "/users2"), "/people2");
        assert_eq!(prefix("/", "/api", "/x"), "/api/x");
        assert_eq!(prefix("/", "/api/", "/"), "/api/");
    }

    #[test]
    fn expressions_replace_every_match() {
        let raw = RegexRewrite { pattern: "/v([0-9]+)/".into(), substitution: r"/\1\\$1/".into() };
        let substitution = Substitution::build(&raw).unwrap();
        let scan = Scan::default();
        assert_eq!(substitution.apply(b"/v1/x/v22/", Part::Target, &scan), br"/1\$1/x/22\$1/");
        assert_eq!(substitution.apply(b"/none", Part::Target, &scan), b"/none");
        assert_eq!(substitution.apply(b"/v1/\xff", Part::Target, &scan), b"/v1/\xff");
    }

    #[test]
    fn names_of_a_template_are_put_together_anew() {
        let matched = || Some(Rc::new(UriTemplate::parse("/a/{id}/{rest=**}").unwrap()));
        let built = |text: &str| Rearrangement::build(text, matched());
        assert_eq!(built("/v2/{rest}/of-{id}").unwrap().apply(b"/a/7/b/c"), b"/v2/b/c/of-7");
        assert_eq!(built("/plain").unwrap().apply(b"/a/7/"), b"/plain");
        for bad in ["{id}", "/{other}", "/{id", "/id}", "/*", "/{id}?x"] {
            assert!(built(bad).is_err(), "{bad}");
        }
        assert!(Rearrangement::build("/x", None).is_err());
    }

    #[test]
    fn bad_substitutions_are_refused() {
        for bad in [r"\2", r"\x", "\\", "a b", "a?b"] {
            assert!(pieces(bad, 2).is_err(), "{bad}");
        }
    }
}
