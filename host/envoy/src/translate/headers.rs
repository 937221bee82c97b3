//! Changes to headers. Envoy makes a list of them one after the other; Fyke removes, sets and adds, in this order.

use serde_json::{Map, Value};

use super::format;
use crate::{reader::Reader, units::Object};

/// Changes in the order in which they are made.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Changes {
    remove: Vec<String>,
    set: Map<String, Value>,
    set_if_present: Map<String, Value>,
    add: Map<String, Value>,
    add_if_absent: Map<String, Value>,
}

/// Who makes the changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Maker {
    /// `builtin:router`
    Router,
    /// `builtin:headers`, which knows no conditions.
    Filter,
}

impl Changes {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What a message says in `KEY_to_remove` and `KEY_to_add`.
    pub fn of(reader: &Reader<'_>, direction: &str) -> Self {
        let mut changes = Self::default();
        let (remove, add) = (format!("{direction}_headers_to_remove"), format!("{direction}_headers_to_add"));
        // Envoy takes headers away before it adds any, at each level.
        for (index, name) in reader.texts(&remove).into_iter().enumerate() {
            if let Some(name) = changed(reader, &remove, index, name) {
                changes.take_away(&name);
            }
        }
        for option in reader.messages(&add) {
            changes.option(&option, Maker::Router);
        }
        changes
    }

    /// Removes a header, and what was to become of it before.
    pub fn take_away(&mut self, name: &str) {
        for map in [&mut self.set, &mut self.set_if_present, &mut self.add, &mut self.add_if_absent] {
            map.shift_remove(name);
        }
        if !self.remove.iter().any(|there| there == name) {
            self.remove.push(name.to_owned());
        }
    }

    /// `envoy.config.core.v3.HeaderValueOption`
    pub fn option(&mut self, option: &Reader<'_>, maker: Maker) {
        let Some(header) = option.message("header") else {
            option.refuse_at("header", "is missing");
            return;
        };
        option.only("keep_empty_value", false, "a header without a value is not written");
        let key = header.text_or_empty("key").to_ascii_lowercase();
        let Some(value) = value(&header) else { return };
        if !changeable(&key) {
            header.refuse_at("key", format!("{key:?} is changed by `rewrite` only, or not at all"));
            return;
        }
        let append = option.boolean("append");
        let action = match (append, option.text("append_action")) {
            (Some(false), _) => "OVERWRITE_IF_EXISTS_OR_ADD",
            (Some(true), _) | (None, None) => "APPEND_IF_EXISTS_OR_ADD",
            (None, Some(action)) => action,
        };
        if maker == Maker::Filter && matches!(action, "ADD_IF_ABSENT" | "OVERWRITE_IF_EXISTS") {
            option.refuse_at(
                "append_action",
                "is possible in routes only: `request_headers` and `response_headers` of the router",
            );
            return;
        }
        let earlier = [&self.set, &self.set_if_present, &self.add_if_absent].iter().any(|map| map.contains_key(&key));
        let map = match action {
            "OVERWRITE_IF_EXISTS_OR_ADD" => {
                // Whatever was to become of it before does not matter.
                for map in [&mut self.set_if_present, &mut self.add, &mut self.add_if_absent] {
                    map.shift_remove(&key);
                }
                &mut self.set
            }
            "OVERWRITE_IF_EXISTS" if earlier || self.add.contains_key(&key) => {
                option.refuse_here("the same header is changed before in the same place");
                return;
            }
            "ADD_IF_ABSENT" if earlier || self.add.contains_key(&key) => {
                option.refuse_here("the same header is changed before in the same place");
                return;
            }
            "OVERWRITE_IF_EXISTS" => &mut self.set_if_present,
            "ADD_IF_ABSENT" => &mut self.add_if_absent,
            _ if self.add.contains_key(&key) => {
                option.refuse_here(format!(
                    "header {key:?} is added twice, which is possible once: join the values with a comma"
                ));
                return;
            }
            _ => &mut self.add,
        };
        map.insert(key, Value::String(value));
    }

    /// `envoy.config.common.mutation_rules.v3.HeaderMutation`, for the filter.
    pub fn mutation(&mut self, mutation: &Reader<'_>) {
        if let Some(name) = mutation.text("remove") {
            if changeable(&name.to_ascii_lowercase()) {
                self.take_away(&name.to_ascii_lowercase());
            } else {
                mutation.refuse_at("remove", format!("{name:?} cannot be removed"));
            }
        }
        if let Some(option) = mutation.message("append") {
            self.option(&option, Maker::Filter);
        }
    }

    /// A header that is the proxy's own to set.
    pub fn set(&mut self, name: &str, value: &str) {
        self.set.insert(name.to_owned(), Value::from(value));
    }

    /// Sets what nobody else says anything about.
    pub fn merge_defaults(&mut self, others: &Self) {
        for (name, value) in &others.set {
            let said = self.remove.contains(name)
                || [&self.set, &self.set_if_present, &self.add, &self.add_if_absent]
                    .iter()
                    .any(|map| map.contains_key(name));
            if !said {
                self.set.insert(name.clone(), value.clone());
            }
        }
    }

    /// What is set or added, where nothing was there before.
    pub fn values(self) -> Map<String, Value> {
        self.add.into_iter().chain(self.set).collect()
    }

    pub fn into_object(self) -> Object {
        let mut object = Object::default();
        object.set_filled("remove", self.remove);
        object.set_filled("set", self.set);
        object.set_filled("set_if_present", self.set_if_present);
        object.set_filled("add", self.add);
        object.set_filled("add_if_absent", self.add_if_absent);
        object
    }
}

/// The value of a `HeaderValue`, if every command in it is understood.
fn value(header: &Reader<'_>) -> Option<String> {
    let value = header.text_or_empty("value");
    header.refuse("raw_value", "is no text: write it as value");
    if let Some(problem) = format::problem(value, format::IN_HEADERS) {
        header.refuse_at("value", problem);
        return None;
    }
    Some(value.to_owned())
}

fn changed(reader: &Reader<'_>, key: &str, index: usize, name: &str) -> Option<String> {
    let lower = name.to_ascii_lowercase();
    if changeable(&lower) {
        return Some(lower);
    }
    let place = reader.place().key(key).index(index);
    crate::reader::report(reader.findings(), &place, crate::Severity::Refused, format!("{name:?} cannot be removed"));
    None
}

/// Names of headers that filters may change: no pseudo header, nothing that frames the message.
fn changeable(name: &str) -> bool {
    let framing = ["host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "keep-alive"];
    !name.is_empty() && !name.starts_with(':') && !framing.contains(&name) && name.bytes().all(is_token)
}

/// RFC 9110, section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
