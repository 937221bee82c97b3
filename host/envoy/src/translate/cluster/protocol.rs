//! What is spoken with a cluster: `typed_extension_protocol_options`, and the older fields of the same meaning.

use crate::{
    reader::Reader,
    units::{self, Object},
};

const HTTP: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
const REDIS: &str = "envoy.extensions.filters.network.redis_proxy.v3.RedisProtocolOptions";

/// What is spoken, and how.
#[derive(Debug, Default)]
pub(super) struct Options {
    protocol: Option<&'static str>,
    /// The cluster says something about HTTP.
    pub said: bool,
    /// The request's host is the name that TLS asks for.
    pub auto_sni: bool,
    /// What `pool:` says about it.
    pub pool: Object,
}

impl Options {
    pub fn http2(&self) -> bool {
        self.protocol == Some("http2")
    }

    pub fn write_protocol(&self, config: &mut Object) {
        config.set_some("protocol", self.protocol);
    }
}

pub(super) fn translate(reader: &Reader<'_>) -> Options {
    let mut options = Options::default();
    // The fields of the cluster itself, which Envoy has deprecated.
    if let Some(http2) = reader.message("http2_protocol_options") {
        options.protocol = Some("http2");
        self::http2(&http2, &mut options.pool);
        options.said = true;
    }
    if let Some(http1) = reader.message("http_protocol_options") {
        self::http1(&http1);
        options.said = true;
    }
    if let Some(common) = reader.message("common_http_protocol_options") {
        self::common(&common, &mut options.pool);
    }
    if let Some(upstream) = reader.message("upstream_http_protocol_options") {
        self::upstream(&upstream, &mut options);
    }
    if reader.text("protocol_selection") == Some("USE_DOWNSTREAM_PROTOCOL") {
        reader.refuse_at("protocol_selection", "a cluster speaks one protocol, whatever its client speaks");
    }
    for (_, extension) in reader.message_map("typed_extension_protocol_options") {
        match extension.type_name() {
            HTTP => self::extension(&extension, &mut options),
            REDIS => self::redis(&extension),
            other => {
                let reason = format!("options of type {other} are not supported");
                extension.refuse_whole(reason);
            }
        }
    }
    options
}

/// Who logs in; the filter that does takes it from here.
fn redis(reader: &Reader<'_>) {
    for key in ["auth_username", "auth_password"] {
        if let Some(source) = reader.message(key) {
            source.text("inline_string");
        }
    }
}

fn extension(reader: &Reader<'_>, options: &mut Options) {
    options.said = true;
    if let Some(common) = reader.message("common_http_protocol_options") {
        self::common(&common, &mut options.pool);
    }
    if let Some(upstream) = reader.message("upstream_http_protocol_options") {
        self::upstream(&upstream, options);
    }
    reader.refuse(
        "use_downstream_protocol_config",
        "a cluster speaks one protocol, whatever its client speaks: use explicit_http_config or auto_config",
    );
    if let Some(explicit) = reader.message("explicit_http_config") {
        if let Some(http1) = explicit.message("http_protocol_options") {
            self::http1(&http1);
            options.protocol = None;
        }
        if let Some(http2) = explicit.message("http2_protocol_options") {
            self::http2(&http2, &mut options.pool);
            options.protocol = Some("http2");
        }
        explicit.refuse("http3_protocol_options", "HTTP/3 is not spoken");
    }
    if let Some(auto) = reader.message("auto_config") {
        options.protocol = Some("auto");
        if let Some(http1) = auto.message("http_protocol_options") {
            self::http1(&http1);
        }
        if let Some(http2) = auto.message("http2_protocol_options") {
            self::http2(&http2, &mut options.pool);
        }
        auto.refuse("http3_protocol_options", "HTTP/3 is not spoken");
    }
}

fn common(reader: &Reader<'_>, pool: &mut Object) {
    match reader.duration("idle_timeout") {
        Some(never) if never.is_zero() => {
            reader.refuse_at("idle_timeout", "there is always a limit; zero would be none")
        }
        idle => pool.set_some("idle_timeout", idle.map(units::duration)),
    }
    if let Some(age) = reader.duration("max_connection_duration").filter(|age| !age.is_zero()) {
        pool.set("max_age", units::duration(age));
    }
    pool.set_some("requests_per_connection", reader.unsigned("max_requests_per_connection"));
    reader.ignore("max_headers_count", "heads of answers are bounded by the host");
    reader.ignore("max_response_headers_kb", "heads of answers are bounded by the host");
}

fn upstream(reader: &Reader<'_>, options: &mut Options) {
    options.auto_sni |= reader.flag("auto_sni");
    // Whatever is asked for is verified; without `auto_sni` that is the configured name.
    if reader.flag("auto_san_validation") && !options.auto_sni {
        reader.report_at(
            "auto_san_validation",
            crate::Severity::Ignored,
            "the name that is asked for is always verified",
        );
    }
}

fn http1(reader: &Reader<'_>) {
    reader.ignore_all(
        &[
            "accept_http_10",
            "use_balsa_parser",
            "allow_absolute_url",
            "enable_trailers",
            "override_stream_error_on_invalid_http_message",
        ],
        "hyper's HTTP/1.1 has one way to do this",
    );
}

fn http2(reader: &Reader<'_>, pool: &mut Object) {
    pool.set_some("streams_per_connection", reader.bounded("max_concurrent_streams", 1, u32::MAX.into()));
    if let Some(probe) = reader.message("connection_keepalive") {
        let mut ping = Object::default();
        ping.set_some("interval", probe.limit("interval").map(units::duration));
        ping.set_some("timeout", probe.limit("timeout").map(units::duration));
        probe.ignore_all(&["interval_jitter", "connection_idle_interval"], "pings are sent by `interval`");
        if ping.has("interval") {
            pool.set("ping", ping);
        }
    }
    common_http2(reader);
}

/// What both sides of HTTP/2 have, and is not for operators to set here.
pub(in crate::translate) fn common_http2(reader: &Reader<'_>) {
    reader.ignore_all(
        &[
            "hpack_table_size",
            "initial_stream_window_size",
            "initial_connection_window_size",
            "allow_connect",
            "max_outbound_frames",
            "max_outbound_control_frames",
            "max_consecutive_inbound_frames_with_empty_payload",
            "max_inbound_priority_frames_per_stream",
            "max_inbound_window_update_frames_per_data_frame_sent",
            "stream_error_on_invalid_http_messaging",
            "override_stream_error_on_invalid_http_message",
            "use_oghttp2_codec",
            "max_metadata_size",
        ],
        "windows, tables and limits against floods of HTTP/2 are the host's",
    );
    reader.only("allow_metadata", false, "METADATA frames are not passed on");
}
