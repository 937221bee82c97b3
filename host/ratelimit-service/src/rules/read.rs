//! YAML to rules. Every mistake of a file is found at once.

use std::collections::HashSet;

use super::{Algorithm, Domain, Level, Limit, Measure, Reading, Rule};
use crate::messages::Unit;
use crate::yaml::{Key, Mistake, Node, Place, Value};

const FILE_KEYS: &[&str] = &["domain", "descriptors"];
const DESCRIPTOR_KEYS: &[&str] = &[
    "key",
    "value",
    "rate_limit",
    "descriptors",
    "shadow_mode",
    "detailed_metric",
    "value_to_metric",
    "share_threshold",
    "quota_mode",
];
const LIMIT_KEYS: &[&str] = &["unit", "requests_per_unit", "unlimited", "name", "replaces", "algorithm", "burst"];

/// Reads one file's rules.
pub(super) struct Reader<'a> {
    file: &'a str,
    reading: &'a Reading,
    mistakes: &'a mut Vec<Mistake>,
    warnings: &'a mut Vec<Mistake>,
    domain: String,
    names: HashSet<String>,
    replaced: Vec<(String, String, Place)>,
}

impl<'a> Reader<'a> {
    pub fn new(
        file: &'a str,
        reading: &'a Reading,
        mistakes: &'a mut Vec<Mistake>,
        warnings: &'a mut Vec<Mistake>,
    ) -> Self {
        Self { file, reading, mistakes, warnings, domain: String::new(), names: HashSet::new(), replaced: Vec::new() }
    }

    /// A domain; what is wrong with it is among the mistakes.
    pub fn domain(mut self, node: &Node) -> Option<(String, Domain)> {
        let entries = self.map(node, "", FILE_KEYS)?;
        let (key, name) = self.required(entries, "domain", "", node.place)?;
        let line = key.place.line;
        match &name.value {
            Value::List(_) | Value::Map(_) => self.wrong(name.place, "domain", "expected a name".to_owned()),
            _ if name.text.is_empty() => self.wrong(name.place, "domain", "must not be empty".to_owned()),
            _ => {}
        }
        self.domain = name.text.clone();
        let mut top = Level::default();
        if let Some((_, descriptors)) = get(entries, "descriptors") {
            self.level(descriptors, "descriptors", &mut Vec::new(), &mut top);
        }
        for (name, path, place) in std::mem::take(&mut self.replaced) {
            if !self.names.contains(&name) {
                let message = format!("no limit of this domain has the name {name:?}: there is nothing to replace");
                let warning = self.about(place, &path, message);
                self.warnings.push(warning);
            }
        }
        Some((self.domain, Domain { file: self.file.to_owned(), line, top }))
    }

    fn level(&mut self, node: &Node, path: &str, labels: &mut Vec<String>, level: &mut Level) {
        let items = match &node.value {
            Value::List(items) => items,
            Value::Null => return,
            other => return self.wrong(node.place, path, format!("expected a list, found {}", other.kind())),
        };
        for (at, item) in items.iter().enumerate() {
            self.rule(item, &format!("{path}[{at}]"), labels, level);
        }
    }

    fn rule(&mut self, node: &Node, path: &str, labels: &mut Vec<String>, level: &mut Level) {
        let Some(entries) = self.map(node, path, DESCRIPTOR_KEYS) else { return };
        let Some((_, key)) = self.required(entries, "key", path, node.place) else { return };
        let key_path = join(path, "key");
        let Some(key) = self.text(key, &key_path) else { return };
        if key.is_empty() {
            return self.wrong(node.place, &key_path, "must not be empty".to_owned());
        }
        let value = match get(entries, "value") {
            // Nothing and empty text are the same to envoyproxy/ratelimit: any value.
            Some((_, value)) if !matches!(value.value, Value::Null) => {
                let Some(text) = self.text(value, &join(path, "value")) else { return };
                text
            }
            _ => "",
        };
        let wildcard = value.strip_suffix('*');
        let shares = self.flag(entries, "share_threshold", path);
        if shares && wildcard.is_none() {
            let place = get(entries, "share_threshold").map_or(node.place, |(key, _)| key.place);
            let message =
                "belongs to a value that ends with *: only such a rule has several values that can share".to_owned();
            self.wrong(place, &join(path, "share_threshold"), message);
        }
        if self.flag(entries, "quota_mode", path) {
            let place = get(entries, "quota_mode").map_or(node.place, |(key, _)| key.place);
            self.wrong(place, &join(path, "quota_mode"), "is not supported by this service".to_owned());
        }
        let label = if value.is_empty() { key.to_owned() } else { format!("{key}_{value}") };
        labels.push(label.clone());
        let shadow_mode = self.flag(entries, "shadow_mode", path);
        let detailed_metric = self.flag(entries, "detailed_metric", path);
        let limit = get(entries, "rate_limit").and_then(|(_, limit)| self.limit(limit, path, labels));
        let limit = limit.map(|limit| Limit { shadow_mode, detailed_metric, ..limit });
        let mut rule = Rule {
            label,
            shared: (shares && wildcard.is_some()).then(|| value.to_owned()),
            value_to_metric: self.flag(entries, "value_to_metric", path),
            is_exact: !value.is_empty() && wildcard.is_none(),
            limit,
            below: Level::default(),
        };
        if let Some((_, below)) = get(entries, "descriptors") {
            self.level(below, &join(path, "descriptors"), labels, &mut rule.below);
        }
        labels.pop();
        self.insert(level, node.place, path, key, value, rule);
    }

    fn insert(&mut self, level: &mut Level, place: Place, path: &str, key: &str, value: &str, rule: Rule) {
        let values = level.keys.entry(key.to_owned()).or_default();
        let twice = match value.strip_suffix('*') {
            Some(prefix) => {
                let twice = values.wildcards.iter().any(|(known, _)| known == prefix);
                let shadow = values.wildcards.iter().find(|(known, _)| prefix.starts_with(known.as_str()));
                if let Some((known, _)) = shadow.filter(|_| !twice) {
                    let message = format!("never matches: {known}*, which comes before it, has all of its values");
                    let warning = self.about(place, &join(path, "value"), message);
                    self.warnings.push(warning);
                }
                values.wildcards.push((prefix.to_owned(), rule));
                twice
            }
            None if value.is_empty() => values.any.replace(rule).is_some(),
            None => values.exact.insert(value.to_owned(), rule).is_some(),
        };
        if twice {
            let what = if value.is_empty() {
                format!("key {key:?} without a value")
            } else {
                format!("key {key:?} with value {value:?}")
            };
            self.wrong(place, path, format!("{what} is there twice"));
        }
    }

    /// A limit, without what is written beside it.
    fn limit(&mut self, node: &Node, path: &str, labels: &[String]) -> Option<Limit> {
        let path = &join(path, "rate_limit");
        if matches!(node.value, Value::Null) {
            return None;
        }
        let entries = self.map(node, path, LIMIT_KEYS)?;
        let unlimited = self.flag(entries, "unlimited", path);
        let measure = if unlimited {
            for key in ["unit", "requests_per_unit", "algorithm", "burst"] {
                if let Some((key, _)) = get(entries, key) {
                    self.wrong(key.place, &join(path, &key.text), "belongs to no limit that is unlimited".to_owned());
                }
            }
            Some(Measure { requests_per_unit: 0, unit: Unit::Unknown, algorithm: Algorithm::FixedWindow })
        } else {
            let unit = self.unit(entries, path, node.place);
            let requests = self.required(entries, "requests_per_unit", path, node.place);
            let requests = requests.and_then(|(_, node)| self.number(node, &join(path, "requests_per_unit")));
            let algorithm = self.algorithm(entries, path, requests);
            requests.zip(unit).zip(algorithm).map(|((requests_per_unit, unit), algorithm)| Measure {
                requests_per_unit,
                unit,
                algorithm,
            })
        };
        let name = get(entries, "name").and_then(|(_, name)| self.text(name, &join(path, "name"))).unwrap_or_default();
        let replaces = self.replaces(entries, path, name);
        if !name.is_empty() {
            self.names.insert(name.to_owned());
        }
        Some(Limit {
            measure: measure?,
            unlimited,
            shadow_mode: false,
            name: name.to_owned(),
            replaces,
            detailed_metric: false,
            stats: self.reading.registry.of_rule(&self.domain, labels),
        })
    }

    fn unit(&mut self, entries: &[(Key, Node)], path: &str, place: Place) -> Option<Unit> {
        let (_, node) = self.required(entries, "unit", path, place)?;
        let path = &join(path, "unit");
        let text = self.text(node, path)?;
        let found = Unit::ALL.into_iter().find(|unit| unit.name().eq_ignore_ascii_case(text));
        if found.is_none() {
            let names: Vec<&str> = Unit::ALL.iter().map(|unit| unit.name()).collect();
            let message = format!("{text:?} is no unit: expected one of {}", names.join(", "));
            self.wrong(node.place, path, message);
        }
        found
    }

    fn algorithm(&mut self, entries: &[(Key, Node)], path: &str, requests: Option<u32>) -> Option<Algorithm> {
        let burst = get(entries, "burst");
        let Some((_, node)) = get(entries, "algorithm") else {
            if let Some((key, _)) = burst {
                self.wrong(key.place, &join(path, "burst"), "belongs to algorithm: gcra".to_owned());
            }
            return Some(Algorithm::FixedWindow);
        };
        match node.text.as_str() {
            "fixed_window" => {
                if let Some((key, _)) = burst {
                    self.wrong(key.place, &join(path, "burst"), "belongs to algorithm: gcra".to_owned());
                }
                Some(Algorithm::FixedWindow)
            }
            "gcra" => {
                let burst = match burst {
                    Some((_, node)) => self.number(node, &join(path, "burst")).map(|number| (number, node.place)),
                    None => requests.map(|number| (number, node.place)),
                };
                let (burst, place) = burst?;
                if burst == 0 || requests == Some(0) {
                    let message =
                        "gcra needs a rate and a burst above zero; to refuse everything, leave out the algorithm"
                            .to_owned();
                    self.wrong(place, &join(path, "algorithm"), message);
                    return None;
                }
                Some(Algorithm::Gcra { burst })
            }
            other => {
                let message = format!("{other:?} is no algorithm: expected fixed_window or gcra");
                self.wrong(node.place, &join(path, "algorithm"), message);
                None
            }
        }
    }

    fn replaces(&mut self, entries: &[(Key, Node)], path: &str, own: &str) -> Vec<String> {
        let path = &join(path, "replaces");
        let mut names = Vec::new();
        let Some((_, node)) = get(entries, "replaces") else { return names };
        let Value::List(items) = &node.value else {
            self.wrong(
                node.place,
                path,
                format!("expected a list like [{{name: other}}], found {}", node.value.kind()),
            );
            return names;
        };
        for (at, item) in items.iter().enumerate() {
            let path = &format!("{path}[{at}]");
            let Some(entries) = self.map(item, path, &["name"]) else { continue };
            let Some((_, node)) = self.required(entries, "name", path, item.place) else { continue };
            let path = &join(path, "name");
            match self.text(node, path) {
                Some("") => self.wrong(node.place, path, "must not be empty".to_owned()),
                Some(name) if name == own => {
                    self.wrong(node.place, path, "is this limit's own name: a limit cannot replace itself".to_owned());
                }
                Some(name) => {
                    self.replaced.push((name.to_owned(), path.clone(), node.place));
                    names.push(name.to_owned());
                }
                None => {}
            }
        }
        names
    }

    fn flag(&mut self, entries: &[(Key, Node)], key: &str, path: &str) -> bool {
        match get(entries, key).map(|(_, node)| (node, &node.value)) {
            None | Some((_, Value::Null)) => false,
            Some((_, Value::Bool(value))) => *value,
            Some((node, other)) => {
                self.wrong(node.place, &join(path, key), format!("expected true or false, found {}", other.kind()));
                false
            }
        }
    }

    fn number(&mut self, node: &Node, path: &str) -> Option<u32> {
        let number = match &node.value {
            Value::Integer(value) => u32::try_from(*value).ok(),
            other => {
                self.wrong(node.place, path, format!("expected a number, found {}", other.kind()));
                return None;
            }
        };
        if number.is_none() {
            self.wrong(node.place, path, format!("{} is not a whole number from 0 to {}", node.text, u32::MAX));
        }
        number
    }

    /// Any scalar is text, as it is written.
    fn text<'n>(&mut self, node: &'n Node, path: &str) -> Option<&'n str> {
        if matches!(node.value, Value::List(_) | Value::Map(_)) {
            self.wrong(node.place, path, format!("expected text, found {}", node.value.kind()));
            return None;
        }
        Some(&node.text)
    }

    fn required<'n>(
        &mut self,
        entries: &'n [(Key, Node)],
        key: &str,
        path: &str,
        place: Place,
    ) -> Option<(&'n Key, &'n Node)> {
        let found = get(entries, key);
        if found.is_none() {
            self.wrong(place, path, format!("{key} is missing"));
        }
        found
    }

    fn map<'n>(&mut self, node: &'n Node, path: &str, known: &[&str]) -> Option<&'n [(Key, Node)]> {
        let Value::Map(entries) = &node.value else {
            self.wrong(node.place, path, format!("expected a map, found {}", node.value.kind()));
            return None;
        };
        for (key, _) in entries {
            if known.contains(&key.text.as_str()) {
                continue;
            }
            let nearest = known
                .iter()
                .map(|known| (strsim::damerau_levenshtein(known, &key.text), *known))
                .min()
                .filter(|(distance, known)| *distance <= known.len().max(3) / 3);
            let message = match nearest {
                Some((_, known)) => format!("unknown key {:?}, did you mean {known:?}?", key.text),
                None => format!("unknown key {:?}, expected one of {}", key.text, known.join(", ")),
            };
            self.wrong(key.place, path, message);
        }
        Some(entries)
    }

    fn wrong(&mut self, place: Place, path: &str, message: String) {
        let mistake = self.about(place, path, message);
        self.mistakes.push(mistake);
    }

    fn about(&self, place: Place, path: &str, message: String) -> Mistake {
        let (line, column) = (place.line, place.column);
        Mistake { file: self.file.to_owned(), line, column, path: path.to_owned(), message }
    }
}

fn get<'n>(entries: &'n [(Key, Node)], key: &str) -> Option<(&'n Key, &'n Node)> {
    entries.iter().find(|(known, _)| known.text == key).map(|(key, node)| (key, node))
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}
