//! `envoy.extensions.filters.http.header_mutation.v3` to `builtin:headers`.

use serde_json::{Map, Value};

use super::per_route::{Innermost, unwrapped};
use crate::{
    reader::Reader,
    translate::{headers::Changes, route::Layers},
    units::Object,
};

/// What the filter does on every route.
#[derive(Debug, Default, Clone)]
pub(in crate::translate) struct Base {
    request: Changes,
    response: Changes,
    most_specific_wins: bool,
}

impl Base {
    pub fn of(reader: &Reader<'_>) -> Self {
        let mut base =
            Self { most_specific_wins: reader.flag("most_specific_header_mutations_wins"), ..Self::default() };
        base.add(reader);
        base
    }

    pub fn is_empty(&self) -> bool {
        self.request.is_empty() && self.response.is_empty()
    }

    fn add(&mut self, reader: &Reader<'_>) {
        let Some(mutations) = reader.message("mutations") else { return };
        for mutation in mutations.messages("request_mutations") {
            self.request.mutation(&mutation);
        }
        for mutation in mutations.messages("response_mutations") {
            self.response.mutation(&mutation);
        }
        for key in ["query_parameter_mutations", "response_trailers_mutations", "request_trailers_mutations"] {
            mutations.refuse(key, "the filter changes headers only");
        }
    }

    fn config(self) -> Object {
        let mut config = Object::default();
        config.set_filled("request", self.request.into_object());
        config.set_filled("response", self.response.into_object());
        config
    }

    pub fn definition(&self) -> Object {
        let mut definition = Object::default();
        definition.set("module", "builtin:headers");
        definition.set_filled("config", self.clone().config());
        definition
    }
}

/// The filter's changes, then those of all layers: a route's configuration takes the place of the filter's here.
pub(super) fn per_route(base: &Base, layers: &Layers<'_, '_>, name: &str) -> Value {
    let mut all = base.clone();
    let mut configs = layers.configs(name);
    // The route's last word comes last only where Envoy is told so.
    if !base.most_specific_wins {
        configs.reverse();
    }
    for config in configs {
        match unwrapped(config) {
            Innermost::Config(config) => all.add(&config),
            Innermost::Disabled(_) => return Value::Object(Map::new()),
            Innermost::Nothing => {}
        }
    }
    all.config().into()
}
