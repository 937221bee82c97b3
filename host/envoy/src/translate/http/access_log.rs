//! `envoy.config.accesslog.v3.AccessLog` to `builtin:access-log` and `sinks:`.

use serde_json::{Map, Value};

use crate::{
    reader::Reader,
    translate::{common, context::Context, format},
    units::Object,
};

const FILE: &str = "envoy.extensions.access_loggers.file.v3.FileAccessLog";
const STDOUT: &str = "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog";
const OPEN_TELEMETRY: &str = "envoy.extensions.access_loggers.open_telemetry.v3.OpenTelemetryAccessLogConfig";

/// Filters, by the names that they would like to have.
pub(in crate::translate) fn logs(context: &Context<'_>, logs: Vec<Reader<'_>>) -> Vec<(String, Value)> {
    let mut filters = Vec::new();
    for log in logs.into_iter().map(Reader::unit) {
        log.text("name");
        log.refuse("filter", "every request is logged");
        let Some((kind, config)) = log.any("typed_config") else {
            log.refuse_here("has no typed_config");
            continue;
        };
        let mut filter = Object::default();
        match kind {
            FILE => {
                let path = config.text_or_empty("path");
                let sink = self::sink(context, path);
                filter.set_some("sink", sink);
                file_format(&config, &mut filter);
            }
            STDOUT => {
                if let Some(format) = config.message("log_format") {
                    self::format(&format, &mut filter);
                }
            }
            OPEN_TELEMETRY => match open_telemetry(context, &config, &mut filter) {
                Some(sink) => filter.set("sink", sink),
                None => {
                    config.leave();
                    continue;
                }
            },
            other => {
                config.refuse_whole(format!("logs of type {other} are not supported: files and standard output are"));
                continue;
            }
        }
        let mut definition = Object::default();
        definition.set("module", "builtin:access-log");
        definition.set_filled("config", filter);
        filters.push(("access-log".to_owned(), definition.into()));
    }
    filters
}

/// Records by OpenTelemetry's protocol. `None`, with a finding: there is no collector.
fn open_telemetry(context: &Context<'_>, config: &Reader<'_>, filter: &mut Object) -> Option<String> {
    let common = config.message("common_config");
    let service = match &common {
        Some(common) => common.message("grpc_service"),
        None => config.message("grpc_service"),
    };
    let Some(service) = service else {
        config.refuse_here("names no grpc_service: records go to a collector over gRPC");
        return None;
    };
    service.ignore("timeout", "records that wait are bounded, whatever the collector does");
    let (cluster, _) = common::grpc_service(&service)?;
    let place = service.place().key("envoy_grpc").key("cluster_name");
    context.sends_requests(cluster, &place);
    let address = context.address_of(cluster, &place)?;
    if let Some(common) = &common {
        common.ignore_all(
            &["log_name", "buffer_flush_interval", "buffer_size_bytes", "filter_state_objects_to_log"],
            "records are sent in batches, under the name of the proxy's service",
        );
        common::api_version(common, "transport_api_version");
    }
    config.ignore_all(
        &["body", "resource_attributes", "disable_builtin_labels", "stat_prefix", "log_name"],
        "a record has fields, and the resource of the proxy",
    );
    let attributes = config.message("attributes").map(|attributes| self::attributes(&attributes)).unwrap_or_default();
    if !attributes.is_empty() {
        fields(config, "attributes", &attributes, filter);
    }
    let mut sink = Object::default();
    sink.set("otlp", address);
    Some(context.sink("otlp", &sink.into()))
}

/// `opentelemetry.proto.common.v1.KeyValueList`
fn attributes(reader: &Reader<'_>) -> Map<String, Value> {
    let mut map = Map::new();
    for attribute in reader.messages("values") {
        let Some(value) = attribute.message("value") else { continue };
        match value.text("string_value") {
            Some(text) => drop(map.insert(attribute.text_or_empty("key").to_owned(), Value::from(text))),
            None => value.refuse_here("a field is text"),
        }
    }
    map
}

/// `None`: standard output, which is the default.
fn sink(context: &Context<'_>, path: &str) -> Option<String> {
    if matches!(path, "/dev/stdout" | "/dev/fd/1" | "/proc/self/fd/1") {
        return None;
    }
    let mut sink = Object::default();
    sink.set("file", path);
    let name = path.rsplit('/').next().unwrap_or(path);
    let name = name.strip_suffix(".log").unwrap_or(name);
    let name: String = name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '-' }).collect();
    let name = name.trim_matches('-');
    Some(context.sink(if name.is_empty() { "access" } else { name }, &sink.into()))
}

fn file_format(config: &Reader<'_>, filter: &mut Object) {
    if let Some(text) = config.text("format") {
        return template(config, "format", text, filter);
    }
    for key in ["json_format", "typed_json_format"] {
        if let Some(object) = config.raw(key).and_then(Value::as_object) {
            return fields(config, key, object, filter);
        }
    }
    if let Some(format) = config.message("log_format") {
        self::format(&format, filter);
    }
}

/// `envoy.config.core.v3.SubstitutionFormatString`
fn format(reader: &Reader<'_>, filter: &mut Object) {
    reader.ignore("omit_empty_values", "what has no value is - in text and null in JSON");
    reader.ignore("content_type", "a log has no type");
    if let Some(options) = reader.message("json_format_options") {
        options.ignore_whole("keys stay in the order in which they are written");
    }
    if let Some(text) = reader.text("text_format") {
        return template(reader, "text_format", text, filter);
    }
    if let Some(source) = reader.message("text_format_source") {
        if let Some(text) = common::inline_text(&source) {
            template(reader, "text_format_source", &text, filter);
        }
        return;
    }
    if let Some(object) = reader.raw("json_format").and_then(Value::as_object) {
        fields(reader, "json_format", object, filter);
    }
}

/// A line. The proxy ends each by itself.
fn template(reader: &Reader<'_>, key: &str, text: &str, filter: &mut Object) {
    let line = text.strip_suffix('\n').unwrap_or(text);
    match format::problem(line, format::IN_LOGS) {
        Some(problem) => reader.refuse_at(key, problem),
        None if line.contains('\n') => reader.refuse_at(key, "a record is one line"),
        None => filter.set("template", line),
    }
}

fn fields(reader: &Reader<'_>, key: &str, object: &Map<String, Value>, filter: &mut Object) {
    let place = reader.place().key(key);
    let mut fields = Map::new();
    for (name, value) in object {
        let problem = match value {
            Value::String(text) => match format::problem(text, format::IN_LOGS) {
                // Text without a command would be the path of a property.
                None if !text.contains('%') => Some("is the same in every record, which is not possible".to_owned()),
                None => {
                    fields.insert(name.clone(), value.clone());
                    None
                }
                problem => problem,
            },
            _ => Some("is no text: records have one level".to_owned()),
        };
        if let Some(problem) = problem {
            crate::reader::report(reader.findings(), &place.key(name), crate::Severity::Refused, problem);
        }
    }
    filter.set("format", "json");
    filter.set_filled("fields", fields);
}
