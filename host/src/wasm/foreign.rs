//! Foreign functions that run on streams (`host/docs/extensions.md` has their bytes). Those that belong to
//! configuration are in [`super::build`].

use std::{sync::Arc, time::Duration};

use fyke_engine::{Callback, CallbackSet, ContextId, Host, MapKind, MetricKind, Status, StreamKind};

use super::{
    call::{Call, direction},
    endpoints,
    exchange::Exchange,
    leasing,
    maps::RequestHead,
    protobuf, redis,
    route::Selection,
    stretch, tap, trace, values, zlib,
};
use crate::config::resolved;
use crate::shared::{NoSum, Scope};
use crate::telemetry::{FilterMetricError, FilterMetricKind, Registry, labelled::Family};

/// What `fyke.features.v1` lists.
pub const FEATURES: &[&str] = &[
    "fyke.features.v1",
    "fyke.headers.values.v1",
    "fyke.values.read.v1",
    "fyke.configure.refuse.v1",
    "fyke.cluster.require.v1",
    "fyke.route.define.v1",
    "fyke.route.select.v1",
    "fyke.route.again.v1",
    "fyke.explain.v1",
    "fyke.log.open.v1",
    "fyke.log.write.v1",
    "fyke.callbacks.skip.v1",
    "fyke.metric.define.v1",
    "fyke.metric.record.v1",
    "fyke.shared.delete.v1",
    "fyke.shared.list.v1",
    "fyke.shared.add.v1",
    "fyke.shared.expire.v1",
    "fyke.shared.take.v1",
    "fyke.stream.skip.v1",
    "fyke.stream.write.v1",
    "fyke.stream.pass.v1",
    "fyke.stream.show.v1",
    "fyke.upstream.none.v1",
    "fyke.upstream.lease.v1",
    "fyke.upstream.release.v1",
    "fyke.upstream.close.v1",
    "fyke.upstream.limit.v1",
    "fyke.upstream.opened.v1",
    "fyke.crypto.pbkdf2.v1",
    "fyke.redis.call.v1",
    "fyke.endpoint.list.v1",
    "fyke.endpoint.label.v1",
    "fyke.span.stream.v1",
    "fyke.span.start.v1",
    "fyke.span.tag.v1",
    "fyke.span.end.v1",
    "clear_route_cache",
    "set_envoy_filter_state",
    "declare_property",
    "compress",
    "uncompress",
];

/// Function id of `fyke.route.again.v1` in `proxy_on_foreign_function`.
pub const ROUTE_AGAIN: u32 = 1;
/// The same of `fyke.explain.v1`, which is also the name of the function that answers it.
pub const EXPLAIN: u32 = 2;

/// The same of the event that ends waiting for a lease.
pub const LEASED: u32 = 3;
/// The same of `fyke.upstream.opened.v1`.
pub const OPENED: u32 = 4;

/// The same of the key that `fyke.crypto.pbkdf2.v1` has derived.
pub const STRETCHED: u32 = 5;
/// The same of what answers `fyke.redis.call.v1`.
pub const REDIS: u32 = 6;

/// Reads little-endian arguments.
pub struct Arguments<'a>(pub &'a [u8]);

impl<'a> Arguments<'a> {
    /// The next `count` bytes.
    pub fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(head)
    }

    /// The next four bytes as a number.
    pub fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    /// The next eight bytes as a number.
    pub fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    /// A length and that many bytes.
    pub fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.u32()?;
        self.take(usize::try_from(length).ok()?)
    }
}

/// Writes a list as extensions.md lays it out.
pub fn list<'a>(out: &mut Vec<u8>, values: impl Iterator<Item = &'a [u8]> + Clone) {
    let length = |value: usize| u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes();
    out.extend_from_slice(&length(values.clone().count()));
    for value in values.clone() {
        out.extend_from_slice(&length(value.len()));
    }
    for value in values {
        out.extend_from_slice(value);
    }
}

/// Answers `proxy_call_foreign_function`.
pub fn call(host: &mut Call<'_>, cx: ContextId, name: &[u8], args: &[u8], out: &mut Vec<u8>) -> Status {
    match name {
        b"fyke.route.select.v1" => select(host, cx, args).unwrap_or(Status::BadArgument),
        b"fyke.explain.v1" => match host.stream(cx, |exchange, index| tap::explains(exchange, index, args)) {
            Some(true) => Status::Ok,
            // Nobody has asked.
            _ => Status::BadArgument,
        },
        b"fyke.log.write.v1" => {
            let mut args = Arguments(args);
            let Some(handle) = args.u32() else { return Status::BadArgument };
            let Some(sink) = usize::try_from(handle).ok().and_then(|handle| host.slot().sinks.get(handle)) else {
                return Status::BadArgument;
            };
            sink.write(args.0);
            Status::Ok
        }
        b"fyke.headers.values.v1" => {
            let mut args = Arguments(args);
            let Some(map) = args.u32().and_then(MapKind::from_abi) else { return Status::BadArgument };
            let mut values: Vec<Vec<u8>> = Vec::new();
            host.with_map(cx, map, &mut |map| {
                // Shown as `:authority`, and known as either.
                if args.0.eq_ignore_ascii_case(b"host") {
                    values.extend(map.get(b"host").map(<[u8]>::to_vec));
                    return;
                }
                map.for_each(&mut |key, value| {
                    if key.eq_ignore_ascii_case(args.0) {
                        values.push(value.to_vec());
                    }
                });
            });
            list(out, values.iter().map(Vec::as_slice));
            Status::Ok
        }
        b"fyke.values.read.v1" => values::read(host, cx, args, out).map_or(Status::BadArgument, |()| Status::Ok),
        b"fyke.metric.record.v1" => record(&host.slot().metrics, args).unwrap_or(Status::BadArgument),
        b"fyke.features.v1" => {
            list(out, FEATURES.iter().map(|name| name.as_bytes()));
            Status::Ok
        }
        b"clear_route_cache" => {
            host.clear_route_cache(cx);
            Status::Ok
        }
        b"set_envoy_filter_state" => {
            let Some((path, value)) = protobuf::filter_state(args) else { return Status::BadArgument };
            host.set_property(cx, path, value);
            Status::Ok
        }
        b"fyke.stream.skip.v1" | b"fyke.stream.write.v1" => {
            bytes_of(host, cx, name, args).unwrap_or(Status::BadArgument)
        }
        b"fyke.crypto.pbkdf2.v1" => stretch::call(host, cx, args, out).unwrap_or(Status::BadArgument),
        b"fyke.redis.call.v1" => redis::call(host, cx, args, out).unwrap_or(Status::BadArgument),
        b"fyke.stream.pass.v1" | b"fyke.stream.show.v1" => {
            leasing::of_stream(host, cx, name, args).unwrap_or(Status::BadArgument)
        }
        name if name.starts_with(b"fyke.upstream.") => {
            leasing::call(host, cx, name, args, out).unwrap_or(Status::BadArgument)
        }
        b"fyke.endpoint.list.v1" | b"fyke.endpoint.label.v1" => endpoints::call(host, cx, name, args, out),
        name if name.starts_with(b"fyke.span.") => {
            let env = std::rc::Rc::clone(host.env());
            let done =
                host.stream(cx, |exchange, index| trace::call(exchange, index, env.tracer.as_ref(), name, args, out));
            if done.flatten().is_some() { Status::Ok } else { Status::BadArgument }
        }
        b"declare_property" | b"compress" | b"uncompress" => pure(name, args, out),
        name if name.starts_with(b"fyke.shared.") => shared(host.shared(cx), name, args, out),
        // These belong to configuration; on a stream they are out of place.
        b"fyke.cluster.require.v1"
        | b"fyke.route.define.v1"
        | b"fyke.log.open.v1"
        | b"fyke.configure.refuse.v1"
        | b"fyke.callbacks.skip.v1"
        | b"fyke.metric.define.v1" => Status::BadArgument,
        _ => Status::NotFound,
    }
}

/// Envoy's functions that need nothing but their arguments. Properties need no declaration here: they have no type but bytes.
pub fn pure(name: &[u8], args: &[u8], out: &mut Vec<u8>) -> Status {
    match name {
        b"compress" => zlib::compress(args, out),
        b"uncompress" => zlib::uncompress(args, out),
        _ => protobuf::declared_property(args).map_or(Status::BadArgument, |_| Status::Ok),
    }
}

/// `fyke.metric.record.v1`: which metric, how much, and a value for each of its labels.
pub fn record(metrics: &[Arc<Family>], args: &[u8]) -> Option<Status> {
    let mut args = Arguments(args);
    let family = metrics.get(usize::try_from(args.u32()?).ok()?)?;
    let value = args.u64()?.cast_signed();
    Some(metric_status(family.record(value, args.0)))
}

/// `fyke.stream.skip.v1` and `fyke.stream.write.v1`. The first names where bytes come from, the second where they go to.
fn bytes_of(host: &mut Call<'_>, cx: ContextId, name: &[u8], args: &[u8]) -> Option<Status> {
    let mut args = Arguments(args);
    let stream = StreamKind::from_abi(args.u32()?)?;
    let skipped = if name == b"fyke.stream.skip.v1" { Some(args.u64()?) } else { None };
    let done = host.stream(cx, |exchange: &mut Exchange, index| {
        let from = direction(exchange.kind, stream)?;
        match skipped {
            Some(count) => exchange.skip(index, from, count),
            None => exchange.inject(index, from.opposite(), args.0).ok()?,
        }
        Some(Status::Ok)
    });
    done.flatten()
}

/// `fyke.shared.*`: what the ABI's shared data lacks. Without the grant there is nothing.
pub fn shared(scope: Option<&Scope>, name: &[u8], args: &[u8], out: &mut Vec<u8>) -> Status {
    const MOST_LISTED: usize = 1 << 20;
    let Some(scope) = scope else { return Status::NotFound };
    let there = |found| if found { Status::Ok } else { Status::NotFound };
    let mut rest = Arguments(args);
    match name {
        b"fyke.shared.delete.v1" => there(scope.delete(args)),
        b"fyke.shared.list.v1" => {
            list(out, scope.keys(args, MOST_LISTED).iter().map(Vec::as_slice));
            Status::Ok
        }
        b"fyke.shared.add.v1" => {
            let Some(delta) = rest.u64() else { return Status::BadArgument };
            match scope.add(rest.0, delta.cast_signed()) {
                Ok(sum) => {
                    out.extend_from_slice(&sum.to_le_bytes());
                    Status::Ok
                }
                Err(NoSum::NoNumber) => Status::BadArgument,
                Err(NoSum::Full) => Status::InternalFailure,
            }
        }
        b"fyke.shared.take.v1" => match scope.limits().take(args, out) {
            Ok(()) => Status::Ok,
            Err(_) => Status::BadArgument,
        },
        b"fyke.shared.expire.v1" => match rest.u64() {
            Some(milliseconds) => there(scope.expire(rest.0, Duration::from_millis(milliseconds))),
            None => Status::BadArgument,
        },
        _ => Status::NotFound,
    }
}

/// Callbacks, by their names and separated by commas, of those that a stream may go without.
#[must_use]
pub fn callbacks(names: &[u8]) -> Option<CallbackSet> {
    let may =
        |callback| CallbackSet::HTTP.contains(callback) || matches!(callback, Callback::ContextCreate | Callback::Log);
    let names = std::str::from_utf8(names).ok()?.split(',');
    names.map(|name| Callback::from_name(name).filter(|callback| may(*callback))).collect()
}

fn select(host: &mut Call<'_>, cx: ContextId, args: &[u8]) -> Option<Status> {
    let mut args = Arguments(args);
    let handle = args.u32()?;
    let flags = args.u32()?;
    if flags & !0xff != 0 {
        return None;
    }
    let route = std::rc::Rc::clone(host.slot().routes.get(usize::try_from(handle).ok()?)?);
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
    let cluster = if flags & 1 != 0 { Some(text(args.bytes()?)?) } else { None };
    let timeout = if flags & 2 != 0 { Some(Duration::from_millis(args.u64()?)) } else { None };
    let hostname = if flags & 4 != 0 { Some(args.bytes()?.to_vec()) } else { None };
    if let Some(name) = &hostname {
        // Fail here, where the filter can be told, not when the request is sent.
        http::HeaderValue::from_bytes(name).ok()?;
    }
    let hash = if flags & 8 != 0 { Some(args.u64()?) } else { None };
    let endpoint = if flags & 16 != 0 { text(args.bytes()?)?.parse().ok() } else { None };
    let retry = if flags & 32 != 0 { Some(Arc::new(serde_json::from_slice(args.bytes()?).ok()?)) } else { None };
    let hedges = if flags & 64 != 0 { Some(args.u32()? & 1 != 0) } else { None };
    let timeout_status = if flags & 128 != 0 { Some(status(args.u32()?)?) } else { None };
    let draw = if route.action.weighted_clusters.is_empty() { 0 } else { fastrand::u64(..) };
    let selected = host.stream(cx, |exchange: &mut Exchange, index| {
        exchange.selection = Some(Selection {
            route,
            by: index,
            cluster,
            timeout,
            host: hostname,
            hash,
            endpoint,
            retry,
            hedges,
            timeout_status,
            draw,
        });
        exchange.route_cleared = false;
    });
    selected.map(|()| Status::Ok)
}

fn status(number: u32) -> Option<u16> {
    u16::try_from(number).ok().filter(|status| (200..600).contains(status))
}

/// Presents the host that a selection asks for.
pub fn apply_host(head: &mut RequestHead, selection: &Selection) {
    if let Some(host) = &selection.host
        && let Ok(value) = http::HeaderValue::from_bytes(host)
    {
        head.fields.insert(http::header::HOST, value);
    }
}

/// Whose metrics they are, and how many of them there may be.
pub fn budget(owner: Option<&resolved::Filter>) -> (&str, usize) {
    owner.map_or(("", 0), |owner| (owner.plain_name(), owner.limits.series))
}

/// `proxy_define_metric`.
pub fn define_metric(registry: &Registry, owner: Option<&resolved::Filter>, kind: MetricKind, name: &[u8]) -> u32 {
    let kind = match kind {
        MetricKind::Counter => FilterMetricKind::Counter,
        MetricKind::Gauge => FilterMetricKind::Gauge,
        MetricKind::Histogram => FilterMetricKind::Histogram,
    };
    let (owner, limit) = budget(owner);
    registry.filter_metrics().define(owner, limit, kind, &String::from_utf8_lossy(name))
}

/// The metric of a filter that may have none: it counts nothing.
pub const NO_METRIC: u32 = u32::MAX;

/// `proxy_record_metric`
pub fn record_metric(registry: &Registry, metric: u32, value: u64) -> Status {
    if metric == NO_METRIC { Status::Ok } else { metric_status(registry.filter_metrics().record(metric, value)) }
}

/// `proxy_increment_metric`
pub fn increment_metric(registry: &Registry, metric: u32, delta: i64) -> Status {
    if metric == NO_METRIC { Status::Ok } else { metric_status(registry.filter_metrics().increment(metric, delta)) }
}

/// `proxy_get_metric`
///
/// # Errors
/// The status, where there is no such metric.
pub fn metric(registry: &Registry, metric: u32) -> Result<u64, Status> {
    if metric == NO_METRIC {
        return Ok(0);
    }
    registry.filter_metrics().value_of(metric).map_err(|error| metric_status(Err(error)))
}

/// The status of a metric call.
#[must_use]
pub fn metric_status(result: Result<(), FilterMetricError>) -> Status {
    match result {
        Ok(()) => Status::Ok,
        Err(FilterMetricError::Unknown) => Status::NotFound,
        Err(FilterMetricError::Refused) => Status::BadArgument,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_count_lengths_values() {
        let mut out = Vec::new();
        list(&mut out, [b"ab".as_slice(), b"", b"c"].into_iter());
        assert_eq!(out, [3, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, b'a', b'b', b'c']);
    }

    #[test]
    fn callbacks_of_streams_may_be_skipped_and_no_others() {
        let set = callbacks(b"response_headers,log").unwrap();
        assert_eq!(set.iter().collect::<Vec<_>>(), [Callback::ResponseHeaders, Callback::Log]);
        for bad in [&b""[..], b"log,", b"delete", b"Log", b"\xff"] {
            assert_eq!(callbacks(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn shared_data_is_reached_by_name_and_only_with_the_grant() {
        let data = crate::shared::SharedData::default();
        let scope = data.scope("vm");
        let mut out = Vec::new();
        let five = [&5_u64.to_le_bytes()[..], b"n"].concat();
        assert_eq!(shared(Some(&scope), b"fyke.shared.add.v1", &five, &mut out), Status::Ok);
        assert_eq!(out, 5_i64.to_le_bytes());
        out.clear();
        assert_eq!(shared(Some(&scope), b"fyke.shared.list.v1", b"", &mut out), Status::Ok);
        assert_eq!(out, [1, 0, 0, 0, 1, 0, 0, 0, b'n']);
        assert_eq!(shared(Some(&scope), b"fyke.shared.expire.v1", &five, &mut out), Status::Ok);
        assert_eq!(shared(Some(&scope), b"fyke.shared.delete.v1", b"n", &mut out), Status::Ok);
        assert_eq!(shared(Some(&scope), b"fyke.shared.delete.v1", b"n", &mut out), Status::NotFound);
        assert_eq!(shared(Some(&scope), b"fyke.shared.add.v1", b"1", &mut out), Status::BadArgument);
        assert_eq!(shared(None, b"fyke.shared.add.v1", &five, &mut out), Status::NotFound);
    }

    #[test]
    fn arguments_end_where_they_end() {
        let mut args = Arguments(&[1, 0, 0, 0, 9]);
        assert_eq!(args.bytes(), Some([9].as_slice()));
        assert_eq!(args.u32(), None);
        assert_eq!(Arguments(&[255, 255, 255, 255]).bytes(), None);
    }
}
