//! `transport_socket` of filter chains and clusters.

use serde_json::Value;

use super::{common, context::Context};
use crate::{place::Place, reader::Reader, units::Object};

const DOWNSTREAM: &str = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext";
const UPSTREAM: &str = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext";
const PLAIN: &str = "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer";
const PROXY_PROTOCOL: &str = "envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport";

const UNVERIFIED: &str =
    "certificates are not verified by Envoy without a validation_context; here by the system's authorities";

/// Whether the chain speaks HTTP, whose protocols the proxy itself offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speaks {
    Http,
    Bytes,
}

/// `tls:` of a listener or chain. `Err`: the chain cannot be carried over.
pub(super) fn downstream(context: &Context<'_>, socket: &Reader<'_>, speaks: Speaks) -> Result<Option<Value>, ()> {
    socket.text("name");
    let Some((kind, reader)) = socket.any("typed_config") else {
        socket.refuse_at("typed_config", "is missing");
        return Err(());
    };
    match kind {
        PLAIN => Ok(None),
        DOWNSTREAM => downstream_tls(context, &reader, speaks).map(Some).ok_or(()),
        other => {
            reader.refuse_whole(format!("the transport {other} is not supported"));
            Err(())
        }
    }
}

fn downstream_tls(context: &Context<'_>, reader: &Reader<'_>, speaks: Speaks) -> Option<Value> {
    let required = reader.boolean("require_client_certificate").unwrap_or(false);
    reader.only("ocsp_staple_policy", "LENIENT_STAPLING", "OCSP responses are not stapled");
    reader.ignore_all(
        &[
            "session_timeout",
            "disable_stateful_session_resumption",
            "full_scan_certs_on_sni_mismatch",
            "prefer_client_ciphers",
        ],
        "sessions are resumed by tickets of rustls",
    );
    let Some(common) = reader.message("common_tls_context") else {
        reader.refuse_at("common_tls_context", "is missing: there are no certificates");
        return None;
    };
    parameters(&common);
    alpn(&common, speaks);
    let mut certificates = Vec::new();
    for certificate in common.messages("tls_certificates") {
        certificates.extend(certified(context, &certificate));
    }
    let secrets = common.messages("tls_certificate_sds_secret_configs");
    // Of a listener by itself its secrets are not known.
    if context.alone && !secrets.is_empty() {
        certificates.push(Value::Null);
    }
    for secret in secrets {
        if let Some(found) = secret_of(context, &secret, "tls_certificate") {
            certificates.extend(certified(context, &found));
        }
    }
    let mut client_ca = None;
    if let Some(validation) = validation(context, &common) {
        client_ca = authority(context, &validation);
        validation.refuse("crl", "revoked certificates of clients are not looked up");
        if validation.has("match_typed_subject_alt_names") || validation.has("match_subject_alt_names") {
            for key in ["match_typed_subject_alt_names", "match_subject_alt_names"] {
                validation.refuse(
                    key,
                    "names of clients are not compared: WITHOUT IT WHOEVER HAS A CERTIFICATE OF trusted_ca IS LET IN; a filter can compare \
                     `connection.uri_san_peer_certificate` or `connection.dns_san_peer_certificate`",
                );
            }
        }
        trust(&validation);
    }
    let awaited = context.alone
        && (common.has("validation_context_sds_secret_config") || common.has("combined_validation_context"));
    match (required, client_ca.is_some()) {
        (true, false) if awaited => {}
        (true, false) => reader.refuse_at("require_client_certificate", "there is no trusted_ca to verify them by"),
        (false, true) => reader.refuse_at(
            "require_client_certificate",
            "where there is a trusted_ca, clients must show a certificate here; in Envoy they may",
        ),
        _ => {}
    }
    if certificates.is_empty() {
        common.refuse_at("tls_certificates", "there is no certificate that could be carried over");
        return None;
    }
    let mut tls = Object::default();
    tls.set("certificates", certificates);
    tls.set_some("client_ca", client_ca);
    Some(tls.into())
}

/// What a cluster's connections begin with.
#[derive(Debug, Default)]
pub(super) struct Upstream {
    pub tls: Option<Value>,
    pub proxy_protocol: Option<&'static str>,
}

/// `tls:` and `proxy_protocol:` of a cluster.
pub(super) fn upstream(context: &Context<'_>, socket: &Reader<'_>, auto_sni: bool) -> Upstream {
    socket.text("name");
    let Some((kind, reader)) = socket.any("typed_config") else {
        socket.refuse_at("typed_config", "is missing");
        return Upstream::default();
    };
    match kind {
        PLAIN => Upstream::default(),
        UPSTREAM => Upstream { tls: Some(upstream_tls(context, &reader, auto_sni)), ..Upstream::default() },
        PROXY_PROTOCOL => {
            let inner = reader.message("transport_socket").map(|inner| upstream(context, &inner, auto_sni));
            let config = reader.message("config");
            let version = config.as_ref().and_then(|config| config.text("version"));
            let version = if version == Some("V2") { "v2" } else { "v1" };
            Upstream { proxy_protocol: Some(version), ..inner.unwrap_or_default() }
        }
        other => {
            reader.refuse_whole(format!("the transport {other} is not supported"));
            Upstream::default()
        }
    }
}

fn upstream_tls(context: &Context<'_>, reader: &Reader<'_>, auto_sni: bool) -> Value {
    let mut tls = Object::default();
    reader.ignore_all(&["max_session_keys", "enforce_rsa_key_usage"], "sessions and keys are handled by rustls");
    reader.only("allow_renegotiation", false, "TLS is never negotiated again");
    let common = reader.message("common_tls_context");
    if let Some(common) = &common {
        parameters(common);
        common.ignore("alpn_protocols", "what is offered follows from the cluster's protocol");
        let certificates = common.messages("tls_certificates");
        if let Some(second) = certificates.get(1) {
            second.refuse_here("one certificate is shown, the first");
        }
        let of_secrets = common.messages("tls_certificate_sds_secret_configs");
        let secret = of_secrets.first().and_then(|secret| secret_of(context, secret, "tls_certificate"));
        if let Some(Value::Object(pair)) =
            certificates.first().or(secret.as_ref()).and_then(|one| certified(context, one))
        {
            for (key, value) in pair {
                tls.set(&key, value);
            }
        }
        for certificate in certificates.into_iter().skip(1) {
            certificate.leave();
        }
        if let Some(validation) = validation(context, common) {
            tls.set_some("ca", authority(context, &validation));
            let crl = validation.message("crl").and_then(|crl| common::file(context, &crl, "crl"));
            tls.set_some("crl", crl);
            tls.set_filled("subject_alternative_names", names(&validation));
            trust(&validation);
            if !validation.has("trusted_ca") && !validation.has("system_root_certs") {
                unverified(context, &validation);
            }
        } else {
            unverified(context, common);
        }
    } else {
        unverified(context, reader);
    }
    match reader.text("sni") {
        Some(name) if !name.is_empty() => tls.set("sni", name),
        _ if auto_sni => tls.set("sni", "auto"),
        _ => {
            if !reader.flag("auto_host_sni") {
                reader.ignore_here("no sni: the request's host is asked for, and verified");
            } else {
                reader.refuse_at("auto_host_sni", "the endpoint's name is not asked for: write sni");
            }
        }
    }
    tls.into()
}

/// In Envoy nobody verifies the endpoint. A proxy of a mesh, whose endpoints have certificates of an authority, is not kept from starting by it.
fn unverified(context: &Context<'_>, reader: &Reader<'_>) {
    if context.alone || context.resources.control_plane.is_some() {
        reader.ignore_here(UNVERIFIED);
    } else {
        reader.refuse_here(UNVERIFIED);
    }
}

/// Versions and ciphers.
fn parameters(common: &Reader<'_>) {
    let Some(parameters) = common.message("tls_params") else { return };
    match parameters.text("tls_minimum_protocol_version") {
        Some("TLSv1_3") => parameters.refuse_at("tls_minimum_protocol_version", "TLS 1.2 is spoken as well"),
        Some("TLSv1_0" | "TLSv1_1") => {
            parameters.report_at(
                "tls_minimum_protocol_version",
                crate::Severity::Ignored,
                "TLS 1.2 is the oldest that is spoken",
            );
        }
        _ => {}
    }
    if let Some("TLSv1_0" | "TLSv1_1" | "TLSv1_2") = parameters.text("tls_maximum_protocol_version") {
        parameters.refuse_at("tls_maximum_protocol_version", "TLS 1.3 is spoken as well");
    }
    parameters.ignore_all(
        &["cipher_suites", "ecdh_curves", "signature_algorithms"],
        "rustls chooses among what is safe: AES-GCM and ChaCha20-Poly1305 with ECDHE",
    );
}

fn alpn(common: &Reader<'_>, speaks: Speaks) {
    let protocols = common.texts("alpn_protocols");
    match speaks {
        Speaks::Bytes if !protocols.is_empty() => {
            common.refuse_at("alpn_protocols", "a listener of TCP offers no protocols in its handshake");
        }
        Speaks::Http if !protocols.contains(&"h2") => {
            common.report_at("alpn_protocols", crate::Severity::Ignored, "h2 and http/1.1 are always offered");
        }
        _ => {}
    }
}

/// A `TlsCertificate` as `{ certificate, key }`.
fn certified(context: &Context<'_>, reader: &Reader<'_>) -> Option<Value> {
    let part = |key: &str, what: &str| match reader.message(key) {
        Some(source) => common::file(context, &source, what),
        None => {
            reader.refuse_at(key, "is missing");
            None
        }
    };
    reader.ignore("watched_directory", "files are read again with the configuration, or by `reload: watch`");
    let (certificate, key) = (part("certificate_chain", "certificate"), part("private_key", "key"));
    let mut pair = Object::default();
    pair.set("certificate", certificate?);
    pair.set("key", key?);
    Some(pair.into())
}

/// The `CertificateValidationContext`, wherever it is.
fn validation<'a>(context: &Context<'a>, common: &Reader<'a>) -> Option<Reader<'a>> {
    if let Some(validation) = common.message("validation_context") {
        return Some(validation);
    }
    if let Some(secret) = common.message("validation_context_sds_secret_config") {
        return secret_of(context, &secret, "validation_context");
    }
    let combined = common.message("combined_validation_context")?;
    let own = combined.message("default_validation_context");
    let secret = combined.message("validation_context_sds_secret_config");
    let secret = secret.and_then(|secret| secret_of(context, &secret, "validation_context"));
    match (own, secret) {
        (Some(own), Some(secret)) => {
            // Merging would need to know which of the two says what; one that says nothing is easy.
            if own.keys().next().is_none() {
                return Some(secret);
            }
            own.refuse_whole("goes together with a secret: write all of it in one place");
            Some(secret)
        }
        (own, secret) => own.or(secret),
    }
}

/// Whose certificates are believed.
fn authority(context: &Context<'_>, validation: &Reader<'_>) -> Option<String> {
    validation.ignore("watched_directory", "files are read again with the configuration, or by `reload: watch`");
    if let Some(system) = validation.message("system_root_certs") {
        system.leave();
    }
    validation.message("trusted_ca").and_then(|source| common::file(context, &source, "ca"))
}

fn trust(validation: &Reader<'_>) {
    validation.only("trust_chain_verification", "VERIFY_TRUST_CHAIN", "certificates are always verified");
    validation.only("allow_expired_certificate", false, "certificates that have expired are refused");
}

/// Names that an endpoint's certificate may have.
fn names(validation: &Reader<'_>) -> Vec<String> {
    let typed = validation.messages("match_typed_subject_alt_names").into_iter().filter_map(|name| {
        if name.text("san_type") == Some("OTHER_NAME") {
            name.refuse_at("san_type", "only DNS names, addresses, URIs and mail addresses are compared");
        }
        name.message("matcher")
    });
    let untyped = validation.messages("match_subject_alt_names");
    let matchers: Vec<Reader<'_>> = typed.chain(untyped).collect();
    let mut names = Vec::new();
    for matcher in &matchers {
        let Some(matches) = common::string_matcher(matcher) else { continue };
        match matches.kind {
            "exact" => names.push(matches.text),
            "suffix" => names.push(format!("*{}", matches.text)),
            "prefix" => names.push(format!("{}*", matches.text)),
            other => matcher.refuse_at(other, "a name is whole, or has one * in front or at the end"),
        }
    }
    names
}

/// A secret by its name, in its resource.
fn secret_of<'a>(context: &Context<'a>, config: &Reader<'a>, part: &str) -> Option<Reader<'a>> {
    let name = config.text_or_empty("name");
    if let Some(source) = config.message("sds_config") {
        super::bootstrap::source(context, source);
    }
    let Some(secret) = context.resources.secrets.get(name) else {
        if !context.alone {
            config.refuse_here(format!("there is no secret {name:?}"));
        }
        return None;
    };
    let place = Place::resource(crate::ResourceKind::Secret, name);
    let reader = Reader::new(secret, place, context.findings)?;
    reader.text("name");
    let found = reader.message(part);
    if found.is_none() {
        config.refuse_here(format!("secret {name:?} has no {part}"));
    }
    found
}

/// One secret, by itself.
pub(super) fn check_secret(context: &Context<'_>, secret: &Value, place: Place) {
    let Some(reader) = Reader::new(secret, place, context.findings) else { return };
    reader.text("name");
    if let Some(certificate) = reader.message("tls_certificate") {
        certified(context, &certificate);
    }
    if let Some(validation) = reader.message("validation_context") {
        authority(context, &validation);
        trust(&validation);
        drop(names(&validation));
        if let Some(crl) = validation.message("crl") {
            common::file(context, &crl, "crl");
        }
    }
}
