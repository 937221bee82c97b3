//! `fyke filter check MODULE`

use std::path::Path;

use fyke_engine::{Engine, EngineOptions, Module};
use serde_json::{Value, json};

use super::{BAD_CONFIGURATION, Output, print};
use crate::wasm::{
    manifest::Manifest,
    panels::Panel,
    source::{Fetcher, Wanted},
};

/// Hostcalls that work only where `allow:` grants them, and the grant.
const GRANTS: &[(&str, &str)] = &[
    ("proxy_http_call", "clusters"),
    ("proxy_grpc_call", "clusters"),
    ("proxy_grpc_stream", "clusters"),
    ("proxy_get_shared_data", "shared_data"),
    ("proxy_set_shared_data", "shared_data"),
    ("proxy_register_shared_queue", "queues"),
    ("proxy_resolve_shared_queue", "queues"),
];

/// Loads a module as the proxy would, without running it, and says what it is.
pub fn check(module: &str, output: Output) -> u8 {
    match load(module) {
        Ok(loaded) => {
            let manifest = Manifest::of(&loaded);
            let panels = match manifest.panels() {
                Ok(panels) => panels,
                Err(reason) => {
                    // The proxy would serve with it and leave them out; its author should know now.
                    if output == Output::Json {
                        print(format_args!("{:#}", json!({ "module": module, "loads": true, "reason": reason })));
                    }
                    eprintln!("error: {module} loads, but its manifest is wrong: {reason}");
                    return BAD_CONFIGURATION;
                }
            };
            let facts = facts(module, &loaded, &manifest, &panels);
            match output {
                Output::Json => print(format_args!("{facts:#}")),
                Output::Text | Output::Junit => print(format_args!("{}", text(&facts))),
            }
        }
        Err(reason) => {
            if output == Output::Json {
                print(format_args!("{:#}", json!({ "module": module, "loads": false, "reason": reason })));
            }
            eprintln!("error: {module} would not load: {reason}");
            BAD_CONFIGURATION
        }
    }
}

fn load(module: &str) -> Result<Module, String> {
    let source = match module.strip_prefix("builtin:") {
        Some(name) => crate::config::resolved::ModuleSource::Builtin(name.to_owned()),
        None => crate::config::resolved::ModuleSource::File(Path::new(module).to_owned()),
    };
    let wanted = Wanted { source: &source, sha256: None, signed_by: &[] };
    let bytes = Fetcher::new(None).read(&wanted).map_err(|error| error.to_string())?.bytes;
    let engine = Engine::new(EngineOptions::default()).map_err(|error| error.to_string())?;
    engine.compile(&bytes).map_err(|error| error.to_string())
}

fn facts(path: &str, module: &Module, manifest: &Manifest, panels: &[Panel]) -> Value {
    let mut grants: Vec<&str> = GRANTS
        .iter()
        .filter(|(import, _)| module.imports().iter().any(|name| name == import))
        .map(|(_, grant)| *grant)
        .collect();
    grants.dedup();
    json!({
        "module": path,
        "loads": true,
        "name": manifest.name,
        "version": manifest.version,
        "description": manifest.description,
        "sdk": manifest.sdk,
        "abi": module.abi().to_string(),
        "bytes": module.size(),
        "sha256": module.hash(),
        "callbacks": module.callbacks().iter().map(|callback| callback.name()).collect::<Vec<_>>(),
        "exports": module.exports(),
        "hostcalls": module.imports(),
        "may_need": grants,
        "config": manifest.config,
        "panels": panels.iter().map(|panel| format!("{} ({})", panel.title, panel.metric)).collect::<Vec<_>>(),
    })
}

fn text(facts: &Value) -> String {
    let word = |key: &str| facts.get(key).and_then(Value::as_str).unwrap_or_default();
    let list = |key: &str| {
        let items = facts.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
    };
    let name = match (word("name"), word("version")) {
        ("", _) => "it says no name of itself".to_owned(),
        (name, version) => format!("{name} {version}"),
    };
    let mut out = format!("{}: loads; {name}\n", word("module"));
    let mut line = |title: &str, value: &str| {
        if !value.is_empty() {
            out.push_str(&format!("  {title:<14}{value}\n"));
        }
    };
    line("what for", word("description"));
    line("made with", word("sdk"));
    line("ABI", word("abi"));
    line("size", &format!("{} KiB", facts.get("bytes").and_then(Value::as_u64).unwrap_or_default().div_ceil(1024)));
    line("sha256", word("sha256"));
    line("callbacks", &list("callbacks"));
    let exports = facts.get("exports").and_then(Value::as_array).map_or(0, Vec::len);
    line("exports", &format!("{exports} functions"));
    line("hostcalls", &list("hostcalls"));
    line("panels", &list("panels"));
    let grants = list("may_need");
    if !grants.is_empty() {
        line("may need", &format!("allow: {{ {}: ... }}, where it uses them", grants.replace(", ", ": ..., ")));
    }
    if let Some(config) = facts.get("config").filter(|config| !config.is_null()) {
        let properties = config.get("properties").and_then(Value::as_object);
        let required = config.get("required").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        match properties {
            Some(properties) => {
                for (key, schema) in properties {
                    let must = if required.iter().any(|one| one == key) { " (required)" } else { "" };
                    let what = schema.get("description").and_then(Value::as_str).unwrap_or_default();
                    line("config", format!("{key}{must}  {}", what.replace('\n', " ")).trim_end());
                }
            }
            None => line("config", "none"),
        }
    }
    out.truncate(out.trim_end().len());
    out
}
