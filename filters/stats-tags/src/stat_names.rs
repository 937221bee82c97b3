//! Dotted names, and Envoy's tags (`config.metrics.v3.TagSpecifier`).
//!
//! A name is made for each stream, of text and properties. Every tag looks at the whole name as it was made: the first group of
//! its expression is what will be taken out, the second one, or else the first, is the tag's value. Of several tags of one name
//! the first that matches counts.
//!
//! What is left when all of it is taken out is the name of a metric, and that has to be known when the filter is configured. So the
//! tags are tried then on names with examples in place of the properties: where something of an example is left, no tag takes it out, and the
//! configuration is refused.

use fyke_sdk::property::Typed;
use fyke_sdk::{ConfigError, DynamicCounter, Env};
use regex_lite::Regex;

use crate::config::{Config, Tag as WrittenTag};
use crate::expressions::Expressions;
use crate::labels::{check_label, cut};

/// What stands for a property when the tags are tried.
const EXAMPLES: &[&str] = &["x", "200", "2"];

/// Expressions of the tags that Envoy knows by itself, rewritten without looking ahead (`well_known_names.cc`).
const WELL_KNOWN: &[(&str, &str)] = &[
    ("envoy.response_code", r"_rq(_(\d{3}))$"),
    ("envoy.response_code_class", r"_rq_((\d))xx$"),
    ("envoy.cluster_name", r"^cluster\.(([^.]+)\.)"),
    ("envoy.virtual_host", r"^vhost\.((.*?)\.)"),
    ("envoy.virtual_cluster", r"^vhost\..*?\.vcluster\.((.*?)\.)\w+?$"),
    ("envoy.http_conn_manager_prefix", r"^http\.((.*?)\.)"),
    ("envoy.http_user_agent", r"^http\..*?\.user_agent\.((.*?)\.)\w+?$"),
    ("envoy.grpc_bridge_service", r"^cluster\..*?\.grpc\.((.*?)\.)"),
    ("envoy.grpc_bridge_method", r"^cluster\..*?\.grpc\..*\.((.*?)\.)\w+?$"),
    ("envoy.tcp_prefix", r"^tcp\.((.*?)\.)\w+?$"),
    ("envoy.fault_downstream_cluster", r"^http\..*?\.fault\.((.*?)\.)\w+?$"),
];

/// All names of a configuration.
#[derive(Debug)]
pub struct StatNames {
    names: Vec<StatName>,
    tags: Tags,
    maximum: usize,
}

#[derive(Debug)]
struct StatName {
    template: NameTemplate,
    counter: DynamicCounter,
}

/// Text and properties.
#[derive(Debug)]
struct NameTemplate {
    pieces: Vec<Piece>,
}

#[derive(Debug)]
enum Piece {
    Text(String),
    Property { property: Typed, example: Option<String>, written: String },
}

#[derive(Debug)]
struct Tags {
    /// Names of labels, each once.
    labels: Vec<String>,
    tags: Vec<Tag>,
}

#[derive(Debug)]
struct Tag {
    label: usize,
    value: TagValue,
}

#[derive(Debug)]
enum TagValue {
    Fixed(String),
    Regex(Regex),
}

impl StatNames {
    /// Makes names and tags ready, and defines their metrics.
    ///
    /// # Errors
    /// What is wrong, and where in the configuration.
    pub fn new(config: &Config, expressions: &mut Expressions, env: &mut Env) -> Result<Self, ConfigError> {
        if config.stat_names.is_empty() && !config.stats_tags.is_empty() {
            return Err(ConfigError::at("stats_tags", "are taken out of `stat_names`, and there are none"));
        }
        // Each looks at every name.
        let tags = Tags::new(&config.stats_tags, config.stat_names.len(), expressions)?;
        let mut names: Vec<StatName> = Vec::new();
        for (at, text) in config.stat_names.iter().enumerate() {
            let name = StatName::new(text, config, &tags, env);
            names.push(name.map_err(|error| error.under(format!("stat_names[{at}]")))?);
        }
        Ok(Self { names, tags, maximum: usize::from(config.maximum_length) })
    }

    /// Counts the stream in question. Expressions look at `reach` bytes of a name.
    pub fn count(&self, reach: usize) {
        for stat in &self.names {
            let mut name = stat.template.render(reach);
            name.truncate(name.floor_char_boundary(reach));
            let extracted = self.tags.values(&name);
            stat.counter.add(1, extracted.iter().map(|value| cut(value.unwrap_or_default(), self.maximum)));
        }
    }
}

impl StatName {
    fn new(text: &str, config: &Config, tags: &Tags, env: &mut Env) -> Result<Self, ConfigError> {
        let template = NameTemplate::parse(text).map_err(ConfigError::new)?;
        let name = template.name(tags).map_err(ConfigError::new)?;
        let name = format!("{}{}", config.stat_prefix, sanitized(&name));
        let counter = env.metric(&name).labels(&tags.labels).counter()?;
        Ok(Self { template, counter })
    }
}

impl NameTemplate {
    fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("%{") {
            let (inside, after) =
                after.split_once('}').ok_or_else(|| format!("\"%{{{after}\" has no closing brace"))?;
            let (path, example) = match inside.split_once('|') {
                Some((path, example)) => (path, Some(example.to_owned())),
                None => (inside, None),
            };
            if !before.is_empty() {
                pieces.push(Piece::Text(literal(before)?));
            }
            pieces.push(Piece::Property { property: Typed::parse(path)?, example, written: format!("%{{{inside}}}") });
            rest = after;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(literal(rest)?));
        }
        if pieces.is_empty() {
            return Err(
                "is empty; a name is text with dots, and properties in it, like cluster.%{cluster_name}.upstream_rq"
                    .to_owned(),
            );
        }
        Ok(Self { pieces })
    }

    /// The name for the stream in question. What properties say has no dots of its own here: nobody else makes segments.
    fn render(&self, reach: usize) -> String {
        let mut name = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => name.push_str(text),
                Piece::Property { property, .. } => {
                    let value = property.read().map(fyke_sdk::property::Value::into_text).unwrap_or_default();
                    let value = String::from_utf8_lossy(value.get(..reach).unwrap_or(&value));
                    name.extend(value.chars().map(|c| if c == '.' || c.is_control() { '_' } else { c }));
                }
            }
        }
        name
    }

    /// What is left of it whatever the properties say.
    fn name(&self, tags: &Tags) -> Result<String, String> {
        let mut refusal = String::new();
        for example in EXAMPLES {
            let (mut name, mut places) = (String::new(), Vec::new());
            for piece in &self.pieces {
                match piece {
                    Piece::Text(text) => name.push_str(text),
                    Piece::Property { example: own, written, .. } => {
                        let start = name.len();
                        name.push_str(own.as_deref().unwrap_or(example));
                        places.push((start..name.len(), written));
                    }
                }
            }
            let gone = tags.removed(&name);
            match places
                .iter()
                .find(|(place, _)| place.clone().any(|byte| !gone.iter().any(|range| range.contains(&byte))))
            {
                None => return Ok(without(&name, &gone)),
                Some((_, written)) if refusal.is_empty() => {
                    refusal = format!(
                        "no tag takes {written} out of \"{name}\", and without that there is no fixed name for a metric. Add one to `stats_tags`; \
                         where its expression takes special values only, write one into the name: {}|example}}",
                        written.trim_end_matches('}')
                    );
                }
                Some(_) => {}
            }
        }
        Err(refusal)
    }
}

impl Tags {
    fn new(written: &[WrittenTag], names: usize, expressions: &mut Expressions) -> Result<Self, ConfigError> {
        let mut tags = Self { labels: Vec::new(), tags: Vec::new() };
        for (at, tag) in written.iter().enumerate() {
            tags.add(tag, names, expressions).map_err(|error| error.under(format!("stats_tags[{at}]")))?;
        }
        Ok(tags)
    }

    fn add(&mut self, written: &WrittenTag, names: usize, expressions: &mut Expressions) -> Result<(), ConfigError> {
        let name = &written.tag_name;
        let label = sanitized(name);
        check_label(&label).map_err(|error| error.under("tag_name"))?;
        let value = match (&written.regex, &written.fixed_value) {
            (Some(_), Some(_)) => {
                return Err(ConfigError::at(
                    "fixed_value",
                    "there is a `regex` already; only one of them gives the value",
                ));
            }
            (None, Some(value)) => TagValue::Fixed(value.clone()),
            (Some(text), None) => {
                TagValue::Regex(tag_regex(text, names, expressions).map_err(|error| error.under("regex"))?)
            }
            (None, None) => {
                let known = WELL_KNOWN.iter().find(|(known, _)| known == name);
                let (_, text) = known.ok_or_else(|| {
                    ConfigError::new(format!(
                        "\"{name}\" is no tag that is known by its name; it needs a `regex` or a `fixed_value`"
                    ))
                })?;
                TagValue::Regex(tag_regex(text, names, expressions)?)
            }
        };
        let label = self.labels.iter().position(|known| *known == label).unwrap_or_else(|| {
            self.labels.push(label);
            self.labels.len() - 1
        });
        self.tags.push(Tag { label, value });
        Ok(())
    }

    /// The labels' values in a name.
    fn values<'a>(&'a self, name: &'a str) -> Vec<Option<&'a str>> {
        let mut values = vec![None; self.labels.len()];
        for tag in &self.tags {
            let Some(value @ None) = values.get_mut(tag.label) else { continue };
            *value = match &tag.value {
                TagValue::Fixed(fixed) => Some(fixed.as_str()),
                TagValue::Regex(regex) => regex.captures(name).and_then(|groups| {
                    let removed = groups.get(1)?;
                    let value = groups.get(2).filter(|value| !value.as_str().is_empty());
                    Some(value.unwrap_or(removed).as_str())
                }),
            };
        }
        values
    }

    /// What is taken out of a name.
    fn removed(&self, name: &str) -> Vec<std::ops::Range<usize>> {
        let groups = self.tags.iter().filter_map(|tag| match &tag.value {
            TagValue::Fixed(_) => None,
            TagValue::Regex(regex) => Some(regex.captures(name)?.get(1)?.range()),
        });
        groups.collect()
    }
}

fn without(name: &str, gone: &[std::ops::Range<usize>]) -> String {
    name.char_indices().filter(|(at, _)| !gone.iter().any(|range| range.contains(at))).map(|(_, c)| c).collect()
}

fn tag_regex(text: &str, names: usize, expressions: &mut Expressions) -> Result<Regex, ConfigError> {
    let regex = expressions.compile(text, names)?;
    if regex.captures_len() < 2 {
        return Err(ConfigError::new(format!(
            "\"{text}\" has no group: the first one is what is taken out of the name, the second one, if there is one, the value"
        )));
    }
    Ok(regex)
}

fn literal(text: &str) -> Result<String, String> {
    if text.contains('%') {
        return Err(format!("\"{text}\" has a percent sign in it; a property is written %{{path}}"));
    }
    Ok(text.to_owned())
}

/// As Envoy's Prometheus page has names: what is no letter, digit or underscore is an underscore.
fn sanitized(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is left of a name, and the tags' values.
    fn extract(tags: &[(&str, Option<&str>)], name: &str) -> (String, Vec<Option<String>>) {
        let written: Vec<WrittenTag> = tags
            .iter()
            .map(|(name, regex)| WrittenTag {
                tag_name: (*name).to_owned(),
                regex: regex.map(str::to_owned),
                fixed_value: None,
            })
            .collect();
        let tags = Tags::new(&written, 1, &mut Expressions::default()).unwrap();
        let values = tags.values(name).into_iter().map(|value| value.map(str::to_owned)).collect();
        (without(name, &tags.removed(name)), values)
    }

    fn some(value: &str) -> Option<String> {
        Some(value.to_owned())
    }

    #[test]
    fn the_examples_of_envoys_documentation_come_out_as_it_says() {
        assert_eq!(
            extract(&[("envoy.cluster_name", Some(r"^cluster\.((.+?)\.)"))], "cluster.foo_cluster.upstream_rq_timeout"),
            ("cluster.upstream_rq_timeout".to_owned(), vec![some("foo_cluster")])
        );
        let both = [
            ("envoy.http_user_agent", Some(r"^http\..*?\.user_agent\.((.+?)\.)\w+?$")),
            ("envoy.http_conn_manager_prefix", Some(r"^http\.((.*?)\.)")),
        ];
        let name = "http.connection_manager_1.user_agent.ios.downstream_cx_total";
        let expected = "http.user_agent.downstream_cx_total".to_owned();
        assert_eq!(extract(&both, name), (expected.clone(), vec![some("ios"), some("connection_manager_1")]));
        // Every tag sees the whole name, so their order decides nothing.
        let turned = [both[1], both[0]];
        assert_eq!(extract(&turned, name), (expected, vec![some("connection_manager_1"), some("ios")]));
    }

    #[test]
    fn without_a_second_group_the_first_is_the_value_too_and_the_third_is_nothing() {
        assert_eq!(extract(&[("a", Some("x(y)"))], "axyb"), ("axb".to_owned(), vec![some("y")]));
        assert_eq!(extract(&[("a", Some("(x(y)(z))"))], "axyzb"), ("ab".to_owned(), vec![some("y")]));
        assert_eq!(extract(&[("a", Some("(x(q)?)"))], "axb"), ("ab".to_owned(), vec![some("x")]));
        assert_eq!(extract(&[("a", Some("(q)"))], "axb"), ("axb".to_owned(), vec![None]));
    }

    #[test]
    fn of_two_tags_of_one_name_the_first_that_matches_counts() {
        let tags = [("a", Some(r"\.((one))\.")), ("a", Some(r"\.((two))\."))];
        assert_eq!(extract(&tags, "x.two.y").1, [some("two")]);
        assert_eq!(extract(&tags, "x.one.z.two.y").1, [some("one")]);
    }

    #[test]
    fn tags_that_envoy_knows_need_no_expression() {
        let tags = [("envoy.cluster_name", None), ("envoy.response_code", None)];
        assert_eq!(
            extract(&tags, "cluster.users.upstream_rq_503"),
            ("cluster.upstream_rq".to_owned(), vec![some("users"), some("503")])
        );
        let tags = [("envoy.response_code_class", None), ("envoy.virtual_host", None), ("envoy.virtual_cluster", None)];
        assert_eq!(
            extract(&tags, "vhost.v.vcluster.c.upstream_rq_5xx"),
            ("vhost.vcluster.upstream_rq_xx".to_owned(), vec![some("5"), some("v"), some("c")])
        );
        for (_, text) in WELL_KNOWN {
            tag_regex(text, 1, &mut Expressions::default()).unwrap();
        }
    }
}
