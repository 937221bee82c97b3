//! What a bootstrap file says beside its resources.

use serde_json::{Map, Value};

use super::{
    common::{self, Address, Ports},
    context::Context,
    runtime::Runtime,
};
use crate::{
    finding::Severity,
    place::{Place, ResourceKind},
    reader::Reader,
    units::{self, Object},
};

/// What is written in front of the listeners.
pub(super) fn before(context: &Context<'_>, rest: &Value, top: &mut Object) {
    let Some(reader) = Reader::new(rest, Place::resource(ResourceKind::Bootstrap, ""), context.findings) else {
        return;
    };
    if let Some(node) = reader.message("node") {
        top.set_some("node", self::node(&node));
    }
    if let Some(admin) = reader.message("admin") {
        top.set_some("admin", self::admin(&admin));
    }
    if let Some(overload) = reader.message("overload_manager") {
        top.set_some("limits", self::overload(&overload));
    }
    let manager = reader.message("cluster_manager");
    let dynamic = reader.message("dynamic_resources");
    let loads = manager.as_ref().and_then(|manager| manager.message("load_stats_config"));
    let layers = asked_layers(rest);
    top.set_some("control_planes", control_planes(context, dynamic.as_ref(), loads.as_ref(), layers));
    let sinks = reader.messages("stats_sinks");
    let interval = reader.limit("stats_flush_interval");
    top.set_some("metrics", self::metrics(context, sinks, interval));
    // Whatever of it is left has no counterpart.
    drop(reader.message("static_resources"));
    if let Some(runtime) = reader.message("layered_runtime") {
        for layer in runtime.messages("layers") {
            let name = layer.text_or_empty("name").to_owned();
            // They are asked for by the control plane's `runtime`.
            if let Some(asked) = layer.message("rtds_layer") {
                asked.raw("name");
                if let Some(config) = asked.message("rtds_config") {
                    source(context, config);
                }
            }
            // What it sets is in the resources already; what a control plane sends it does not reach.
            if layer.raw("static_layer").is_some() && context.control_plane.borrow().is_some() {
                let reason = "is for what is written here: what the control plane sends has its own layers";
                layer.report_at("static_layer", Severity::Ignored, reason);
            }
            if let Some(disk) = layer.message("disk_layer") {
                let reason = "files of a runtime are not read: write what they set where it counts";
                disk.refuse_whole(format!("layer {name:?}: {reason}"));
            }
            if let Some(admin) = layer.message("admin_layer") {
                let reason = "the admin endpoint changes routes and filters themselves";
                admin.ignore_whole(format!("layer {name:?}: {reason}"));
            }
        }
    }
    if let Some(config) = reader.message("stats_config") {
        config.ignore_whole("metrics have labels: `builtin:stats-tags` takes stats_tags over as they are");
    }
    if let Some(tracing) = reader.message("tracing") {
        tracing.refuse_whole("is said by each connection manager: its tracing.provider");
    }
    if let Some(manager) = manager {
        manager.ignore(
            "local_cluster_name",
            "the zone of this proxy is `node.zone`, and clusters prefer it by `zone_aware`",
        );
        manager.ignore("enable_deferred_cluster_creation", "a worker makes a cluster when it first uses it");
        if let Some(outliers) = manager.message("outlier_detection") {
            outliers.ignore_whole("ejections are in the proxy's log");
        }
    }
    for key in ["watchdog", "watchdogs", "default_regex_engine", "application_log_config", "deferred_stat_options"] {
        if let Some(part) = reader.message(key) {
            part.ignore_whole("is Envoy's own");
        }
    }
    reader.ignore_all(
        &[
            "enable_dispatcher_stats",
            "stats_flush_on_admin",
            "stats_server_version_override",
            "use_tcp_for_dns_lookups",
            "perf_tracing_file_path",
            "flags_path",
            "node_context_params",
            "default_socket_interface",
        ],
        "is Envoy's own",
    );
}

/// The control plane that resources mean by `ads`, which clusters need to know before anything of it is read.
pub(super) fn control_plane_name(rest: &Value) -> Option<String> {
    let dynamic = rest.get("dynamic_resources")?;
    let sources = [dynamic.get("ads_config"), source_of(dynamic, "lds_config"), source_of(dynamic, "cds_config")];
    let mut names = sources.into_iter().flatten().filter_map(|source| {
        let service = source.get("grpc_services")?.as_array()?.first()?;
        service.get("envoy_grpc")?.get("cluster_name")?.as_str().map(str::to_owned)
    });
    names.next()
}

/// What the static layers set.
pub(super) fn runtime(rest: &Value) -> Runtime {
    Runtime::of(layers(rest).filter_map(|layer| layer.get("static_layer")))
}

/// The layers that a control plane is asked for.
fn asked_layers(rest: &Value) -> Vec<Value> {
    let asked = layers(rest).filter_map(|layer| layer.get("rtds_layer"));
    asked.filter_map(|asked| asked.get("name").cloned()).collect()
}

fn layers(rest: &Value) -> impl Iterator<Item = &Value> {
    let layers = rest.get("layered_runtime").and_then(|runtime| runtime.get("layers")).and_then(Value::as_array);
    layers.into_iter().flatten()
}

fn source_of<'a>(dynamic: &'a Value, key: &str) -> Option<&'a Value> {
    dynamic.get(key)?.get("api_config_source")
}

fn node(reader: &Reader<'_>) -> Option<Value> {
    let mut node = Object::default();
    node.set_some("id", reader.text("id").filter(|id| !id.is_empty()));
    node.set_some("cluster", reader.text("cluster").filter(|cluster| !cluster.is_empty()));
    if let Some(locality) = reader.message("locality") {
        let (zone, region) = (locality.text_or_empty("zone"), locality.text_or_empty("region"));
        node.set_filled("zone", if zone.is_empty() { region } else { zone });
        if !zone.is_empty() && !region.is_empty() {
            locality.report_at("region", Severity::Ignored, "a node has one failure domain, its zone");
        }
        locality.ignore("sub_zone", "a node has one failure domain, its zone");
    }
    node.set_some(
        "metadata",
        reader.raw("metadata").filter(|metadata| metadata.as_object().is_some_and(|all| !all.is_empty())).cloned(),
    );
    reader.ignore_all(
        &["user_agent_name", "user_agent_version", "user_agent_build_version", "extensions", "client_features"],
        "the proxy says who it is by itself",
    );
    node.filled()
}

fn admin(reader: &Reader<'_>) -> Option<Value> {
    reader.ignore("access_log_path", "requests to the admin endpoint are not logged");
    for log in reader.messages("access_log") {
        log.ignore_whole("requests to the admin endpoint are not logged");
    }
    reader.ignore("profile_path", "profiles are not written");
    reader.ignore("ignore_global_conn_limit", "the admin endpoint is not counted");
    let address = common::address(&reader.message("address")?, Ports::Set)?;
    if let Address::Name(name, _) = &address {
        reader.refuse_at("address", format!("{name:?} is a name: write its IP address"));
        return None;
    }
    let mut admin = Object::default();
    admin.set("address", address.text());
    Some(admin.into())
}

/// Limits of the process, as far as the overload manager is about them.
fn overload(reader: &Reader<'_>) -> Option<Value> {
    reader.ignore("refresh_interval", "load is looked at by the proxy");
    let mut limits = Object::default();
    for monitor in reader.messages("resource_monitors") {
        monitor.text("name");
        match monitor.any("typed_config") {
            Some(("envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig", heap)) => {
                limits.set_some("memory", heap.unsigned("max_heap_size_bytes").map(units::bytes));
            }
            Some((
                "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
                connections,
            )) => {
                limits.set_some(
                    "connections",
                    connections.bounded("max_active_downstream_connections", 1, u32::MAX.into()),
                );
            }
            Some((other, config)) => config.refuse_whole(format!("{other} is not watched: memory and connections are")),
            None => monitor.refuse_here("has no typed_config"),
        }
    }
    for key in ["actions", "loadshed_points"] {
        for action in reader.messages(key) {
            action.ignore_whole("what is done under load follows from `limits`");
        }
    }
    limits.filled()
}

/// Where statistics are sent.
fn metrics(context: &Context<'_>, sinks: Vec<Reader<'_>>, interval: Option<std::time::Duration>) -> Option<Value> {
    let mut metrics = Object::default();
    for sink in sinks {
        sink.text("name");
        let Some((kind, config)) = sink.any("typed_config") else {
            sink.refuse_here("has no typed_config");
            continue;
        };
        match kind {
            "envoy.config.metrics.v3.StatsdSink" | "envoy.config.metrics.v3.DogStatsdSink" => {
                let dog = kind.ends_with("DogStatsdSink");
                metrics.set_some("statsd", statsd(&config, dog));
            }
            "envoy.extensions.stat_sinks.open_telemetry.v3.SinkConfig" => {
                let service = config.message("grpc_service");
                let service = service.as_ref().and_then(common::grpc_service);
                let place = config.place().key("grpc_service");
                metrics.set_some("otlp", service.and_then(|(cluster, _)| context.address_of(cluster, &place)));
                config.ignore_all(
                    &[
                        "report_counters_as_deltas",
                        "report_histograms_as_deltas",
                        "emit_tags_as_attributes",
                        "use_tag_extracted_name",
                    ],
                    "sums are cumulative, and tags are attributes",
                );
            }
            other => {
                config.refuse_whole(format!("statistics are not sent by {other}: StatsD and OpenTelemetry are spoken"))
            }
        }
    }
    if metrics.is_empty() {
        return None;
    }
    metrics.set_some("interval", interval.map(units::duration));
    Some(metrics.into())
}

fn statsd(config: &Reader<'_>, dog: bool) -> Option<Value> {
    config.refuse("tcp_cluster_name", "StatsD is sent over UDP or a socket: name its address");
    let address = config.message("address")?;
    let address = match address.message("socket_address") {
        Some(socket) => {
            // Statistics are the one thing that goes over UDP.
            socket.raw("protocol");
            let (host, port) = (socket.text_or_empty("address"), socket.bounded("port_value", 1, 65_535)?);
            if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
        }
        None => common::address(&address, Ports::Set)?.text(),
    };
    let mut object = Object::default();
    object.set("address", address);
    if dog {
        object.set("dialect", "dogstatsd");
    }
    // Envoy's own default, so that dashboards go on.
    object.set("prefix", config.text("prefix").filter(|prefix| !prefix.is_empty()).unwrap_or("envoy"));
    let datagram = config.bounded("max_bytes_per_datagram", 128, 65_507);
    object.set_some("datagram", datagram.map(units::bytes));
    Some(object.into())
}

/// `control_planes:`: one that resources come from, and one that is told of loads, which may be the same.
fn control_planes(
    context: &Context<'_>,
    dynamic: Option<&Reader<'_>>,
    loads: Option<&Reader<'_>>,
    layers: Vec<Value>,
) -> Option<Value> {
    let mut planes = Object::default();
    let source = dynamic.and_then(|dynamic| source_of_all(context, dynamic));
    let told = loads.and_then(|loads| api(context, loads));
    // The cluster says where it is, and with which TLS.
    let is_same = matches!((&source, &told), (Some((source, _)), Some((told, _))) if source == told);
    if let Some((name, mut plane)) = source {
        plane.set_filled("runtime", layers);
        plane.set_if("load_reports", is_same);
        planes.set(&name, plane);
    }
    if let Some((name, mut plane)) = told.filter(|_| !is_same) {
        plane.set("resources", Vec::<Value>::new());
        plane.set("load_reports", true);
        planes.set(&name, plane);
    }
    planes.filled()
}

/// The aggregated control plane, or that of the first of the others.
fn source_of_all(context: &Context<'_>, dynamic: &Reader<'_>) -> Option<(String, Object)> {
    let mut resources = Vec::new();
    let mut plane = None;
    if let Some(ads) = dynamic.message("ads_config") {
        plane = api(context, &ads);
    }
    let mut separate = false;
    for (key, name) in [("lds_config", "listeners"), ("cds_config", "clusters")] {
        let Some(config) = dynamic.message(key) else { continue };
        resources.push(Value::from(name));
        common::api_version(&config, "resource_api_version");
        config.ignore("initial_fetch_timeout", "a control plane has 15 seconds to answer first");
        if let Some(ads) = config.message("ads") {
            drop(ads);
        } else if let Some(source) = config.message("api_config_source") {
            let own = api(context, &source);
            separate |= !source.text("api_type").is_some_and(|kind| kind.starts_with("AGGREGATED"));
            if plane.is_some() && own != plane {
                config.refuse_here("another control plane is named already, and there is one");
            }
            plane = plane.or(own);
        } else {
            for key in ["path", "path_config_source"] {
                config.refuse(
                    key,
                    "resources of a file are written into Fyke's configuration: `include`, and `reload: watch`",
                );
            }
        }
    }
    dynamic.ignore_all(&["lds_resources_locator", "cds_resources_locator"], "all listeners and clusters are asked for");
    let (name, mut plane) = plane?;
    plane.set("resources", resources);
    plane.set_some("streams", separate.then_some("separate"));
    context.control_plane.borrow_mut().get_or_insert(name.clone());
    Some((name, plane))
}

/// A control plane's name, and where it is.
fn api(context: &Context<'_>, source: &Reader<'_>) -> Option<(String, Object)> {
    let mode = match source.text("api_type") {
        Some("GRPC" | "AGGREGATED_GRPC") => "state_of_the_world",
        Some("DELTA_GRPC" | "AGGREGATED_DELTA_GRPC") => "delta",
        _ => {
            source.refuse_at("api_type", "control planes speak gRPC");
            source.raw("cluster_names");
            return None;
        }
    };
    common::api_version(source, "transport_api_version");
    source.ignore_all(&["set_node_on_first_message_only", "request_timeout"], "is as the protocol wants it");
    let services = source.messages("grpc_services");
    let mut services = services.into_iter();
    let first = services.next()?;
    for further in services {
        further.refuse_whole("one control plane is asked, the first");
    }
    let (cluster, _) = common::grpc_service(&first)?;
    let address = context.address_of(cluster, first.place())?;
    let mut plane = Object::default();
    // TLS is said by itself.
    plane.set("grpc", address.strip_prefix("https://").unwrap_or(&address));
    plane.set("mode", mode);
    let resource = context.resources.clusters.iter().find(|resource| resource["name"] == cluster);
    if address.starts_with("https://") && resource.is_some() {
        plane.set("tls", context.tls_of(cluster).unwrap_or_else(|| Value::Object(Map::new())));
    }
    Some((cluster.to_owned(), plane))
}

/// `envoy.config.core.v3.ConfigSource` of a resource: the name of the control plane that is asked.
pub(super) fn source(context: &Context<'_>, source: Reader<'_>) -> Option<String> {
    common::api_version(&source, "resource_api_version");
    source.ignore("initial_fetch_timeout", "a control plane has 15 seconds to answer first");
    if let Some(ads) = source.message("ads") {
        drop(ads);
        let plane = context.control_plane.borrow().clone();
        if plane.is_none() && !context.alone {
            source.refuse_at("ads", "there is no control plane");
        }
        return plane.or_else(|| context.alone.then(|| "control-plane".to_owned()));
    }
    if let Some(api) = source.message("api_config_source") {
        let plane = context.control_plane.borrow().clone();
        match (&plane, context.alone) {
            (Some(_), _) | (None, true) => api.leave(),
            (None, false) => {
                api.refuse_whole("the control plane is named in dynamic_resources, where all resources come from")
            }
        }
        return plane.or_else(|| context.alone.then(|| "control-plane".to_owned()));
    }
    if let Some(own) = source.message("self") {
        drop(own);
        return context.control_plane.borrow().clone();
    }
    for key in ["path", "path_config_source"] {
        source.refuse(key, "resources of a file are written into Fyke's configuration");
    }
    None
}
