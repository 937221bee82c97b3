//! `envoy.extensions.wasm.v3.PluginConfig` to a filter of `filters:`.

use data_encoding::BASE64;
use serde_json::{Map, Value};

use crate::{
    reader::Reader,
    translate::{common, context::Context},
    units::Object,
};

/// The name that it would like to have, and its definition. `None`, with a finding: there is no module.
pub(in crate::translate) fn plugin(
    context: &Context<'_>,
    reader: &Reader<'_>,
    fallback: &str,
) -> Option<(String, Object)> {
    let (name, root) = (reader.text_or_empty("name"), reader.text_or_empty("root_id"));
    let wanted = [name, root].into_iter().find(|name| !name.is_empty()).map(str::to_owned);
    let wanted = wanted.unwrap_or_else(|| fallback.rsplit('.').next().unwrap_or("wasm").to_owned());
    let wanted: String =
        wanted.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') { c } else { '-' }).collect();
    let mut filter = Object::default();
    let Some(vm) = reader.message("vm_config") else {
        reader.refuse_at("vm_config", "is missing");
        return None;
    };
    let code = vm.message("code");
    let Some(()) = code.as_ref().and_then(|code| module(context, code, &wanted, &mut filter)) else {
        if code.is_none() {
            vm.refuse_at("code", "is missing");
        }
        vm.leave();
        return None;
    };
    if let Some(configuration) = reader.message("configuration") {
        filter.set_some("config", any(&configuration));
    }
    if root != wanted {
        filter.set("root_id", root);
    }
    filter.set_some("vm", vm.text("vm_id").filter(|id| !id.is_empty()));
    machine(&vm, &mut filter);
    let open = reader.flag("fail_open") || reader.text("failure_policy") == Some("FAIL_OPEN");
    if open {
        filter.set("on_failure", "open");
    }
    if reader.text("failure_policy") == Some("FAIL_RELOAD") {
        reader.report_at("failure_policy", crate::Severity::Ignored, "an instance that failed is always replaced");
    }
    if let Some(reload) = reader.message("reload_config") {
        reload.ignore_whole("an instance that failed is replaced at once, with backoff when that repeats");
    }
    reader.ignore_here(
        "clusters that it calls, and shared data, are granted by `allow`: { clusters: [...], shared_data: true }",
    );
    if let Some(capabilities) = reader.message("capability_restriction_config") {
        capabilities.refuse_whole("what a filter may do is said by `allow`");
    }
    if let Some(only_headers) = reader.boolean("allow_on_headers_stop_iteration") {
        filter.set("headers_pause", if only_headers { "headers_only" } else { "stop_all" });
    }
    Some((wanted, filter))
}

/// `module:`, and `sha256:`.
fn module(context: &Context<'_>, code: &Reader<'_>, name: &str, filter: &mut Object) -> Option<()> {
    if let Some(local) = code.message("local") {
        filter.set("module", common::file(context, &local, &format!("{name}.wasm"))?);
        return Some(());
    }
    let remote = code.message("remote")?;
    let uri = remote.message("http_uri")?;
    let address = uri.text_or_empty("uri");
    // The proxy fetches it by itself, without a cluster.
    uri.ignore("cluster", "modules are fetched by the proxy itself, from the address in uri");
    uri.ignore("timeout", "modules are fetched before they are needed");
    if let Some(retry) = remote.message("retry_policy") {
        retry.ignore_whole("what could not be fetched is fetched again");
    }
    if !(address.starts_with("https://") || address.starts_with("oci://")) {
        uri.refuse_at("uri", "modules come from https:// or oci://, or from a file");
        return None;
    }
    let sha256 = remote.text_or_empty("sha256");
    if sha256.len() != 64 || !sha256.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        remote.refuse_at("sha256", "must be the 64 hexadecimal digits of a module from elsewhere");
        return None;
    }
    filter.set("module", address);
    filter.set("sha256", sha256.to_ascii_lowercase());
    Some(())
}

/// What is said of the virtual machine.
fn machine(vm: &Reader<'_>, filter: &mut Object) {
    vm.ignore("runtime", "modules run in Wasmtime");
    vm.ignore("allow_precompiled", "modules are compiled here, and kept in `state`");
    vm.ignore("nack_on_code_cache_miss", "modules are fetched before the configuration is taken");
    if let Some(configuration) = vm.message("configuration") {
        configuration.refuse_whole("a module has one configuration, that of the filter");
    }
    let Some(variables) = vm.message("environment_variables") else { return };
    variables.refuse("host_env_keys", "variables of the proxy's environment are named one by one, as `!env NAME`");
    let values = variables.entries("key_values").into_iter();
    let values: Map<String, Value> = values.map(|(key, value)| (key.to_owned(), value.clone())).collect();
    filter.set_filled("environment", values);
}

/// What a filter is handed: text as it is, anything else as JSON, as in Envoy.
fn any(reader: &Reader<'_>) -> Option<Value> {
    let value = reader.raw("value");
    match reader.type_name() {
        "google.protobuf.StringValue" | "google.protobuf.Struct" => value.cloned(),
        "google.protobuf.BytesValue" => {
            let bytes = value.and_then(Value::as_str).and_then(|text| BASE64.decode(text.as_bytes()).ok());
            let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
            if text.is_none() {
                reader.refuse_here("is no text in UTF-8");
            }
            text.map(Value::String)
        }
        other => {
            reader.refuse_here(format!("a configuration is text or a Struct, not {other}"));
            for key in reader.keys() {
                reader.raw(key);
            }
            None
        }
    }
}
