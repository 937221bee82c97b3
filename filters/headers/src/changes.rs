//! Changes to one head.

use std::collections::BTreeMap;

use fyke_sdk::{ConfigError, Headers, Result, Template, header_name, header_value};

use crate::config;

/// Changes, ready to be made.
#[derive(Debug)]
pub struct Changes {
    remove: Vec<String>,
    set: Vec<(String, Template)>,
    add: Vec<(String, Template)>,
}

impl Changes {
    pub fn build(raw: config::Changes) -> Result<Self, ConfigError> {
        let config::Changes { remove, set, add } = raw;
        let remove = remove
            .iter()
            .enumerate()
            .map(|(at, name)| changed_name(name).map_err(|error| error.under(format!("remove[{at}]"))));
        Ok(Self {
            remove: remove.collect::<Result<_, _>>()?,
            set: templates(set).map_err(|error| error.under("set"))?,
            add: templates(add).map_err(|error| error.under("add"))?,
        })
    }

    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }

    /// Values are read before anything is changed, so that each may speak of what arrived.
    pub fn apply(&self, headers: &mut Headers) -> Result<()> {
        let render = |changes: &[(String, Template)]| -> Vec<Option<Vec<u8>>> {
            changes.iter().map(|(_, template)| template.render().map(printable)).collect()
        };
        let (set, add) = (render(&self.set), render(&self.add));
        for name in &self.remove {
            headers.remove(name)?;
        }
        for ((name, _), value) in self.set.iter().zip(set) {
            match value {
                Some(value) => headers.set(name, value)?,
                // What somebody else says under this name is not what was meant.
                None => headers.remove(name)?,
            }
        }
        for ((name, _), value) in self.add.iter().zip(add) {
            if let Some(value) = value {
                headers.add(name, value)?;
            }
        }
        Ok(())
    }
}

/// A property may contain anything; a header's value is one line.
fn printable(mut value: Vec<u8>) -> Vec<u8> {
    for byte in &mut value {
        if (*byte < b' ' && *byte != b'\t') || *byte == 0x7f {
            *byte = b'_';
        }
    }
    value
}

fn changed_name(name: &str) -> Result<String, ConfigError> {
    if name.starts_with(':') || name.eq_ignore_ascii_case("host") {
        return Err(ConfigError::new("the router changes where requests go; see its `rewrite`"));
    }
    if ["content-length", "transfer-encoding", "connection"].iter().any(|one| name.eq_ignore_ascii_case(one)) {
        return Err(ConfigError::new("frames the message, and is the host's"));
    }
    header_name(name)
}

fn templates(raw: BTreeMap<String, String>) -> Result<Vec<(String, Template)>, ConfigError> {
    raw.into_iter()
        .map(|(name, value)| {
            let template = header_value(value).and_then(|value| Template::parse(&value).map_err(ConfigError::new));
            let checked = changed_name(&name).and_then(|lower| Ok((lower, template?)));
            checked.map_err(|error| error.under(name))
        })
        .collect()
}
