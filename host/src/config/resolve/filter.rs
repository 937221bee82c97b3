//! `filters:`

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{Filters, Resolver, place::Place, reload};
use crate::config::{
    fingerprint::Fingerprint,
    module::{PublicKey, Reference, Url},
    raw,
    resolved::{
        Allow, CANARY, Canary, Choice, Filter, FilterLimits, HeadersPause, Isolation, Locations, MIN_STREAMS,
        ModuleSource, OnFailure, Origin, RollbackOn,
    },
    source::{Sources, Span},
    tree::{Node, Value, join, join_index, quote},
    units,
};

/// A page of WebAssembly, and all of a 32-bit memory.
const MEMORY: (u64, u64) = (64 * 1024, 4 * 1024 * 1024 * 1024);

impl Resolver<'_, '_> {
    pub(super) fn filters(&mut self, filters: &BTreeMap<String, raw::Filter>, place: &Place<'_>) -> Filters {
        let resolved: Filters = filters
            .iter()
            .filter_map(|(name, filter)| Some((name.clone(), Arc::new(self.filter(name, filter, &place.key(name))?))))
            .collect();
        self.shared_instances(&resolved, place);
        resolved
    }

    fn filter(&mut self, name: &str, raw: &raw::Filter, place: &Place<'_>) -> Option<Filter> {
        self.contents.clear();
        let module = self.module(&raw.module, &place.key("module"));
        let sha256 = self.pinned(raw.sha256.as_ref(), module.as_ref(), place);
        let signed_by = self.keys(&raw.signed_by, &place.key("signed_by"));
        let allow = self.allow(raw.allow.clone().unwrap_or_default(), &place.key("allow"));
        let limits = self.filter_limits(raw.limits.clone().unwrap_or_default(), &place.key("limits"));
        let (configuration, locations) = self.configuration(&place.key("config"));
        for key in raw.environment.keys().filter(|key| key.contains(['=', '\0'])) {
            let place = place.key("environment").key(key);
            self.diagnostics.error(place.span, &place.path, format!("{} cannot be a variable's name", quote(key)));
        }
        if name.ends_with(CANARY) {
            let message = format!("the name of a filter cannot end with {CANARY}: canaries are called so");
            self.diagnostics.error(place.span, &place.path, message);
        }
        let isolation = match raw.isolation {
            raw::Isolation::Worker => Isolation::Worker,
            raw::Isolation::Stream => Isolation::Stream,
        };
        if isolation == Isolation::Stream && raw.vm.is_some() {
            let place = place.key("isolation");
            let message = "with `isolation: stream` no instance is shared, so there is no `vm`";
            self.diagnostics.error(place.span, &place.path, message);
        }
        let mut filter = Filter {
            name: name.to_owned(),
            origin: self.diagnostics.sources.origin(place.span),
            module: module?,
            module_origin: self.diagnostics.sources.origin(place.key("module").span),
            sha256: sha256?,
            signed_by,
            configuration,
            locations: Arc::new(locations),
            root_id: raw.root_id.clone().unwrap_or_else(|| name.to_owned()),
            vm: raw.vm.clone(),
            environment: raw.environment.clone().into_iter().collect(),
            on_failure: match raw.on_failure {
                raw::OnFailure::Close => OnFailure::Close,
                raw::OnFailure::Open => OnFailure::Open,
            },
            isolation,
            limits,
            allow,
            callbacks: raw.callbacks.as_ref().map(|callbacks| callbacks.iter().map(callback).collect()),
            headers_pause: raw.headers_pause.map(|pause| match pause {
                raw::HeadersPause::StopAll => HeadersPause::StopAll,
                raw::HeadersPause::HeadersOnly => HeadersPause::HeadersOnly,
            }),
            reload: reload(raw.reload),
            canary: None,
            of_instance: self.fingerprint(&raw::Filter { canary: None, ..raw.clone() }),
            fingerprint: self.fingerprint(raw),
        };
        if let Some(canary) = &raw.canary {
            filter.canary = self.canary(canary, &filter, &place.key("canary")).map(Arc::new);
        }
        Some(filter)
    }

    fn canary(&mut self, raw: &raw::Canary, of: &Filter, place: &Place<'_>) -> Option<Canary> {
        let module = self.module(&raw.module, &place.key("module"));
        let sha256 = self.pinned(raw.sha256.as_ref(), module.as_ref(), place);
        let mut version = Filter {
            name: of.canary_name(),
            module: module?,
            module_origin: self.diagnostics.sources.origin(place.key("module").span),
            sha256: sha256?,
            ..of.clone()
        };
        let config = place.key("config");
        if config.node().is_some() {
            let (configuration, locations) = self.configuration(&config);
            version.configuration = configuration;
            version.locations = Arc::new(locations);
        }
        let on = raw.rollback_on.clone().unwrap_or_default();
        let default = RollbackOn::default();
        Some(Canary {
            version: Arc::new(version),
            share: raw.percent / 100.0,
            min_streams: u64::from(raw.min_streams.unwrap_or(MIN_STREAMS)),
            rollback_on: RollbackOn {
                traps: on.traps.map_or(default.traps, |traps| traps.0 / 100.0),
                errors: on.errors.map_or(default.errors, |errors| errors.0 / 100.0),
                latency: on.latency.map(|latency| latency.0 / 100.0),
            },
        })
    }

    fn module(&mut self, text: &str, place: &Place<'_>) -> Option<ModuleSource> {
        const HELP: &str =
            "expected builtin:NAME, the path of a .wasm file, https://... or oci://REGISTRY/REPOSITORY:TAG";
        let wrong = |resolver: &mut Self, message: &str| {
            resolver.diagnostics.error_with_help(place.span, &place.path, message, HELP);
            None
        };
        match text.strip_prefix("builtin:") {
            Some("") => return wrong(self, "a name is missing"),
            Some(name) => return Some(ModuleSource::Builtin(name.to_owned())),
            None => {}
        }
        let parsed = match text.split_once("://") {
            Some(("https" | "http", _)) => Url::parse(text).map(ModuleSource::Https),
            Some(("oci", _)) => Reference::parse(text).map(ModuleSource::Oci),
            Some(_) if place.is_secret() => Err(format!("{} is not a module", place.shown())),
            Some((scheme, _)) => Err(format!("modules cannot come from {scheme}://")),
            None if text.is_empty() => Err("a module is missing".to_owned()),
            None => return Some(ModuleSource::File(self.file(place, text))),
        };
        match parsed {
            Ok(source) => Some(source),
            Err(_) if place.is_secret() => wrong(self, &format!("{} is not a module", place.shown())),
            Err(error) => wrong(self, &error),
        }
    }

    /// A module's digest, which may be left out where nobody else can change what its source leads to.
    fn pinned(
        &mut self,
        written: Option<&String>,
        source: Option<&ModuleSource>,
        place: &Place<'_>,
    ) -> Option<Option<String>> {
        if let Some(digest) = written {
            return self.digest(digest, &place.key("sha256")).map(Some);
        }
        let open = match source {
            Some(ModuleSource::Https(_)) => true,
            Some(ModuleSource::Oci(reference)) => reference.digest().is_none(),
            _ => false,
        };
        if open {
            let place = place.key("module");
            let help =
                "write `sha256:`, which `sha256sum` prints of the module, so that nobody else decides what runs here";
            self.diagnostics.error_with_help(place.span, &place.path, "`sha256` is missing", help);
        }
        Some(None)
    }

    fn keys(&mut self, files: &[String], place: &Place<'_>) -> Vec<PublicKey> {
        let mut keys = Vec::new();
        for (index, file) in files.iter().enumerate() {
            let place = place.index(index);
            let path = self.file(&place, file);
            self.files.push(path.clone());
            match PublicKey::read(&path) {
                Ok(key) => {
                    self.contents.push(Fingerprint::of([&key.bytes()[..]]));
                    keys.push(key);
                }
                Err(error) => self.diagnostics.error(place.span, &place.path, error),
            }
        }
        keys
    }

    fn digest(&mut self, text: &str, place: &Place<'_>) -> Option<String> {
        let digits = text.strip_prefix("sha256:").unwrap_or(text);
        if digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Some(digits.to_ascii_lowercase());
        }
        let message = format!("{} is not a SHA-256 digest", place.shown());
        self.diagnostics.error_with_help(
            place.span,
            &place.path,
            message,
            "expected 64 hexadecimal digits, as `sha256sum` prints",
        );
        None
    }

    fn allow(&mut self, raw: raw::Allow, place: &Place<'_>) -> Allow {
        let clusters = place.key("clusters");
        for (index, name) in raw.clusters.iter().enumerate() {
            self.unknown("cluster", name, &clusters.index(index));
        }
        let default = Allow::default();
        Allow {
            clusters: raw.clusters,
            shared_data: raw.shared_data,
            queues: raw.queues.unwrap_or(raw.shared_data),
            metrics: raw.metrics.unwrap_or(default.metrics),
            set_properties: raw.set_properties.unwrap_or(default.set_properties),
            foreign_functions: match raw.foreign_functions {
                None | Some(raw::Selection::All(true)) => Choice::All,
                Some(raw::Selection::All(false)) => Choice::Named(Vec::new()),
                Some(raw::Selection::Named(names)) => Choice::Named(names),
            },
            clock: raw.clock.unwrap_or(default.clock),
            random: raw.random.unwrap_or(default.random),
        }
    }

    fn filter_limits(&mut self, raw: raw::FilterLimits, place: &Place<'_>) -> FilterLimits {
        let default = FilterLimits::default();
        let mut time = |written: Option<units::Duration>, default: Duration, key: &str| {
            self.timeout(written, default, &place.key(key))
        };
        FilterLimits {
            call_time: time(raw.call_time, default.call_time, "call_time"),
            configure_time: time(raw.configure_time, default.configure_time, "configure_time"),
            memory: self.size(raw.memory, default.memory, MEMORY, &place.key("memory")),
            series: raw.series.map_or(default.series, |series| series as usize),
            instances: raw.instances.map_or(default.instances, |instances| instances as usize),
        }
    }

    /// The bytes for the filter and the place of every part of them. Taken from the tree, not from the typed
    /// value: there the keys are still in the order of writing.
    fn configuration(&mut self, place: &Place<'_>) -> (Vec<u8>, Locations) {
        let mut locations = Locations::default();
        let Some(node) = place.node() else {
            return (Vec::new(), locations);
        };
        locate(node, place.span, String::new(), self.diagnostics.sources, &mut locations);
        let bytes = match &node.value {
            Value::Null => Vec::new(),
            Value::String(text) => text.clone().into_bytes(),
            // Every value of the tree has a JSON form.
            _ => serde_json::to_vec(node).unwrap_or_default(),
        };
        (bytes, locations)
    }

    /// Filters that share an instance share what an instance has one of.
    fn shared_instances(&mut self, filters: &Filters, place: &Place<'_>) {
        let mut first: BTreeMap<&str, &Arc<Filter>> = BTreeMap::new();
        for filter in filters.values() {
            let Some(vm) = &filter.vm else { continue };
            let Some(other) = first.get(vm.as_str()) else {
                first.insert(vm, filter);
                continue;
            };
            let differs = [
                ("module", filter.module != other.module),
                ("environment", filter.environment != other.environment),
                ("limits.memory", filter.limits.memory != other.limits.memory),
            ];
            for (key, _) in differs.iter().filter(|(_, differs)| *differs) {
                let place = place.key(&filter.name).key("vm");
                let message = format!(
                    "filters {} and {} share vm {}, but their `{key}` differs",
                    quote(&other.name),
                    quote(&filter.name),
                    place.shown(),
                );
                let problem = self
                    .diagnostics
                    .problem(place.span, &place.path, message)
                    .related(other.origin.clone(), "the other");
                self.diagnostics.push(problem.help(format!("give both the same `{key}`, or another vm")));
            }
        }
    }
}

impl Locations {
    /// A path in the form `routes[0].match`, of that form or of a JSON pointer.
    #[must_use]
    pub fn path_of(path: &str) -> String {
        match path.strip_prefix('/') {
            None => path.trim_start_matches("$.").to_owned(),
            Some(pointer) => pointer.split('/').fold(String::new(), |path, part| match part.parse() {
                Ok(index) => join_index(&path, index),
                Err(_) => join(&path, &part.replace("~1", "/").replace("~0", "~")),
            }),
        }
    }

    /// The place of a path inside `config`, or of the nearest part around it. Understands `routes[0].match` and
    /// JSON pointers (`/routes/0/match`).
    #[must_use]
    pub fn nearest(&self, path: &str) -> Option<&Origin> {
        let mut path = Self::path_of(path);
        loop {
            if let Some(origin) = self.paths.get(&path) {
                return Some(origin);
            }
            let shorter = path.rfind(['.', '[']).unwrap_or(0);
            if path.is_empty() {
                return None;
            }
            path.truncate(shorter);
        }
    }
}

fn callback(callback: &raw::Callback) -> String {
    match serde_json::to_value(callback) {
        Ok(serde_json::Value::String(name)) => name,
        _ => String::new(),
    }
}

/// Remembers a value and what is inside. A map or list is at its key, where there is one.
fn locate(node: &Node, span: Span, path: String, sources: &Sources, locations: &mut Locations) {
    let span_of = |key: Span, node: &Node| if node.is_scalar() { node.span } else { key };
    match &node.value {
        Value::Seq(items) => {
            for (index, item) in items.iter().enumerate() {
                locate(item, item.span, join_index(&path, index), sources, locations);
            }
        }
        Value::Map(entries) => {
            for (key, item) in entries {
                locate(item, span_of(key.span, item), join(&path, &key.text), sources, locations);
            }
        }
        _ => {}
    }
    locations.paths.insert(path, sources.origin(span));
}
