//! Envoy's URI templates: `/users/{id}/*/**`.
//!
//! `*` is one segment of at least one byte, `{name}` and `{name=*}` are one that has a name, `{name=a/*}` is several,
//! and `**` is whatever follows, perhaps nothing; it comes last. Literal text may stand around them: `/*.m4s`,
//! `/**.mpd`. A segment has one operator at most, so a match never goes back: it looks at each byte of a path once.

use fyke_sdk::ConfigError;

use crate::case::Case;
use crate::rewrite::check_path;

/// As in Envoy.
const MOST_NAMES: usize = 5;

/// A template, taken apart.
#[derive(Debug, Clone, Default)]
pub struct UriTemplate {
    segments: Vec<Segment>,
    /// Text behind a `**`, which stands for everything after `segments`.
    tail: Option<String>,
    names: Vec<Name>,
}

/// Between two slashes.
#[derive(Debug, Clone, Default)]
struct Segment {
    before: String,
    operator: bool,
    after: String,
}

/// What a name stands for: from `skip` bytes into segment `from` until `cut` bytes before the end of segment `to`.
#[derive(Debug, Clone)]
struct Name {
    text: String,
    from: usize,
    skip: usize,
    to: usize,
    cut: usize,
}

impl UriTemplate {
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        check_path(text)?;
        if text.contains(['?', '#']) {
            return Err(ConfigError::new("is compared without the query; use `query` for that"));
        }
        let mut parser = Parser::default();
        parser.run(text.strip_prefix('/').unwrap_or(text)).map_err(ConfigError::new)?;
        Ok(parser.template)
    }

    pub fn matches(&self, path: &[u8], case: Case) -> bool {
        let Some(mut rest) = path.strip_prefix(b"/") else { return false };
        let mut ended = false;
        for segment in &self.segments {
            if ended {
                return false;
            }
            let end = rest.iter().position(|byte| *byte == b'/');
            let Some(part) = rest.get(..end.unwrap_or(rest.len())) else { return false };
            if !segment.matches(part, case) {
                return false;
            }
            ended = end.is_none();
            rest = end.and_then(|end| rest.get(end + 1..)).unwrap_or_default();
        }
        match &self.tail {
            None => ended,
            Some(after) => !ended && case.ends(rest, after.as_bytes()),
        }
    }

    /// Literal text that every path begins with that matches.
    pub fn beginning(&self) -> String {
        let mut beginning = String::from("/");
        for (at, segment) in self.segments.iter().enumerate() {
            beginning.push_str(&segment.before);
            if segment.operator {
                return beginning;
            }
            if at + 1 < self.segments.len() || self.tail.is_some() {
                beginning.push('/');
            }
        }
        beginning
    }

    /// The number of a name, for [`UriTemplate::value`].
    pub fn name(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|known| known.text == name)
    }

    /// What a name stands for in a path that matches.
    pub fn value<'p>(&self, path: &'p [u8], name: usize) -> &'p [u8] {
        self.find(path, name).unwrap_or_default()
    }

    fn find<'p>(&self, path: &'p [u8], name: usize) -> Option<&'p [u8]> {
        let name = self.names.get(name)?;
        let (start, end) = (self.span(path, name.from)?.0, self.span(path, name.to)?.1);
        path.get(start.checked_add(name.skip)?..end.checked_sub(name.cut)?)
    }

    /// Where a segment begins and ends in a path. The one behind the last is what `**` stands for.
    fn span(&self, path: &[u8], segment: usize) -> Option<(usize, usize)> {
        let mut slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        let start = slashes.nth(segment)? + 1;
        let open = self.tail.is_some() && segment == self.segments.len();
        Some((start, if open { path.len() } else { slashes.next().unwrap_or(path.len()) }))
    }
}

impl Segment {
    fn matches(&self, part: &[u8], case: Case) -> bool {
        if !self.operator {
            return case.equal(part, self.before.as_bytes());
        }
        let rest = case.after(part, self.before.as_bytes());
        rest.is_some_and(|rest| rest.len() > self.after.len() && case.ends(rest, self.after.as_bytes()))
    }
}

#[derive(Default)]
struct Parser {
    template: UriTemplate,
    segment: Segment,
    /// The name that is open, and what it holds so far.
    open: Option<Name>,
    /// The name that ended in this segment, whose `cut` grows with the text behind it.
    closed: Option<usize>,
}

impl Parser {
    fn run(&mut self, mut rest: &str) -> Result<(), String> {
        loop {
            let end = rest.find(['/', '*', '{', '}']).unwrap_or(rest.len());
            let (literal, after) = rest.split_at(end);
            self.literal(literal);
            rest = after;
            if let Some(after) = rest.strip_prefix("**") {
                self.operator()?;
                self.template.tail = Some(String::new());
                rest = after;
            } else if let Some(after) = rest.strip_prefix('*') {
                self.operator()?;
                rest = after;
            } else if let Some(after) = rest.strip_prefix('{') {
                rest = self.begin_name(after)?;
            } else if let Some(after) = rest.strip_prefix('}') {
                self.end_name()?;
                rest = after;
            } else if let Some(after) = rest.strip_prefix('/') {
                if self.template.tail.is_some() {
                    return Err("\"**\" must be in the last segment".to_owned());
                }
                self.end_segment();
                rest = after;
            } else {
                break;
            }
        }
        if let Some(open) = &self.open {
            return Err(format!("\"{{{}\" has no closing brace", open.text));
        }
        match &mut self.template.tail {
            Some(tail) if self.segment.before.is_empty() => *tail = std::mem::take(&mut self.segment.after),
            Some(_) => return Err("nothing may stand before \"**\" in its segment".to_owned()),
            None => self.end_segment(),
        }
        Ok(())
    }

    fn literal(&mut self, text: &str) {
        if self.segment.operator { &mut self.segment.after } else { &mut self.segment.before }.push_str(text);
        if let Some(name) = self.closed.and_then(|at| self.template.names.get_mut(at)) {
            name.cut += text.len();
        }
    }

    fn operator(&mut self) -> Result<(), String> {
        if self.segment.operator || self.closed.is_some() {
            return Err("a segment has one operator at most".to_owned());
        }
        self.segment.operator = true;
        Ok(())
    }

    fn end_segment(&mut self) {
        self.template.segments.push(std::mem::take(&mut self.segment));
        self.closed = None;
    }

    /// Behind the opening brace; returns what follows the name, or the closing brace of a name alone.
    fn begin_name<'t>(&mut self, text: &'t str) -> Result<&'t str, String> {
        let end = text.find(['=', '}']).ok_or_else(|| format!("\"{{{text}\" has no closing brace"))?;
        let (name, rest) = text.split_at(end);
        let legal = name.starts_with(|c: char| c.is_ascii_alphabetic())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !legal {
            return Err(format!("\"{name}\" is not a name: a letter, then letters, digits and '_'"));
        }
        if self.open.is_some() {
            return Err("a name cannot be inside of another".to_owned());
        }
        if self.template.name(name).is_some() {
            return Err(format!("\"{name}\" is there already"));
        }
        if self.template.names.len() == MOST_NAMES {
            return Err(format!("has more than {MOST_NAMES} names"));
        }
        if self.segment.operator || self.closed.is_some() {
            return Err("a segment has one operator at most".to_owned());
        }
        let from = self.template.segments.len();
        self.open = Some(Name { text: name.to_owned(), from, skip: self.segment.before.len(), to: from, cut: 0 });
        match rest.strip_prefix('=') {
            Some(rest) if rest.starts_with('}') => Err(format!("\"{{{name}=\" needs a pattern")),
            Some(rest) => Ok(rest),
            None => {
                self.operator()?;
                Ok(rest)
            }
        }
    }

    fn end_name(&mut self) -> Result<(), String> {
        let mut name = self.open.take().ok_or("a closing brace has no opening one")?;
        name.to = self.template.segments.len();
        self.closed = Some(self.template.names.len());
        self.template.names.push(name);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(template: &str, path: &str) -> bool {
        UriTemplate::parse(template).unwrap().matches(path.as_bytes(), Case::Counts)
    }

    fn value(template: &str, path: &str, name: &str) -> String {
        let template = UriTemplate::parse(template).unwrap();
        assert!(template.matches(path.as_bytes(), Case::Counts), "{path}");
        String::from_utf8(template.value(path.as_bytes(), template.name(name).unwrap()).to_vec()).unwrap()
    }

    #[test]
    fn operators_take_what_envoy_says() {
        for (template, good, bad) in [
            (
                "/videos/*/*/*.m4s",
                &["/videos/1/hls/a.m4s"][..],
                &["/videos/1/hls/.m4s", "/videos/1/a.m4s", "/videos/1/2/3/a.m4s"][..],
            ),
            ("/videos/{file}", &["/videos/a.m4s"], &["/videos/", "/videos", "/videos/a/b", "/videos/a/"]),
            ("/**.mpd", &["/a/b.mpd", "/.mpd"], &["/a.mp", "mpd"]),
            ("/a/**", &["/a/", "/a/b", "/a/b/c/"], &["/a", "/ab", "/b/a"]),
            ("/{path=v1/*}/x", &["/v1/b/x"], &["/v2/b/x", "/v1/x"]),
            ("/a/{b}/", &["/a/1/"], &["/a/1", "/a//"]),
            ("/a/b", &["/a/b"], &["/a/b/", "/a", "/a/bc"]),
            ("/", &["/"], &["", "/a"]),
        ] {
            for path in good {
                assert!(matches(template, path), "{template} {path}");
            }
            for path in bad {
                assert!(!matches(template, path), "{template} {path}");
            }
        }
        let template = UriTemplate::parse("/Users/{id}").unwrap();
        assert!(template.matches(b"/uSERS/1", Case::Ignored) && !template.matches(b"/uSERS/1", Case::Counts));
    }

    #[test]
    fn names_stand_for_what_they_took() {
        assert_eq!(value("/users/{id}/x", "/users/42/x", "id"), "42");
        assert_eq!(value("/a/{file}.html", "/a/index.html", "file"), "index");
        assert_eq!(value("/{path=v1/*}/x", "/v1/b/x", "path"), "v1/b");
        assert_eq!(value("/a/{rest=**}", "/a/b/c/", "rest"), "b/c/");
        assert_eq!(value("/a/{rest=b/**}.mpd", "/a/b/c/d.mpd", "rest"), "b/c/d");
        assert_eq!(value("/a/v{n}/{x=b}/*", "/a/v1/b/c", "n"), "1");
    }

    #[test]
    fn the_beginning_is_literal() {
        for (template, beginning) in [
            ("/a/b", "/a/b"),
            ("/a/x*/b", "/a/x"),
            ("/a/**", "/a/"),
            ("/**", "/"),
            ("/a/{n=b/*}", "/a/b/"),
            ("/a/", "/a/"),
        ] {
            assert_eq!(UriTemplate::parse(template).unwrap().beginning(), beginning, "{template}");
        }
    }

    #[test]
    fn mistakes_are_refused() {
        for bad in [
            "a",
            "/a b",
            "/a?b",
            "/**/a",
            "/***",
            "/a**",
            "/*-*",
            "/{a}{b}",
            "/{a",
            "/a}",
            "/{}",
            "/{1}",
            "/{a=}",
            "/{a={b}}",
            "/{a}/{a}",
            "/{a}*",
            "/*{a=b}",
            "/{a}/{b}/{c}/{d}/{e}/{f}",
        ] {
            assert!(UriTemplate::parse(bad).is_err(), "{bad}");
        }
    }

    /// A segment, and the expression that says the same.
    fn segment() -> impl Strategy<Value = (String, String)> {
        ("[ab]{0,2}", any::<bool>(), "[ab]{0,2}", any::<bool>()).prop_map(|(before, operator, after, named)| {
            let (text, regex) = match (operator, named) {
                (false, _) => ("", ""),
                (true, false) => ("*", "[^/]+"),
                (true, true) => ("{n}", "[^/]+"),
            };
            (format!("{before}{text}{after}"), format!("{before}{regex}{after}"))
        })
    }

    proptest! {
        #[test]
        fn a_template_matches_what_its_expression_matches(
            segments in prop::collection::vec(segment(), 1..4),
            tail in prop::option::of("[ab]{0,2}"),
            path in "[ab/]{0,8}",
        ) {
            let (mut text, mut regex) = (String::new(), "^".to_owned());
            for (at, (segment, expression)) in segments.iter().enumerate() {
                text = format!("{text}/{}", segment.replace("{n}", &format!("{{n{at}}}")));
                regex = format!("{regex}/{expression}");
            }
            if let Some(after) = &tail {
                text = format!("{text}/**{after}");
                regex = format!("{regex}/.*{after}");
            }
            let path = format!("/{path}");
            let template = UriTemplate::parse(&text).unwrap();
            let matches = template.matches(path.as_bytes(), Case::Counts);
            prop_assert_eq!(matches, crate::values::regex(&format!("{regex}$")).unwrap().is_match(&path), "{} {}", text, path);
            prop_assert!(!matches || path.starts_with(&template.beginning()), "{} {}", text, path);
        }

        #[test]
        fn nothing_that_is_written_does_harm(text in "/[ab/*{}=]{0,12}", path in ".{0,12}") {
            if let Ok(template) = UriTemplate::parse(&text) {
                template.matches(path.as_bytes(), Case::Ignored);
                for name in 0..=template.names.len() {
                    template.value(path.as_bytes(), name);
                }
            }
        }
    }
}
