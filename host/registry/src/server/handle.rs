//! Requests and their answers.

use std::{error::Error, sync::Arc, time::Duration};

use http::{HeaderMap, Method, Request, StatusCode, header, request::Parts};
use http_body_util::Full;
use hyper::body::Body;
use serde_json::{Value, json};

use super::{
    Inner,
    body::{Takes, fields},
    reply::{self, Reply},
    route::Target,
};
use crate::{
    auth::Identity,
    catalog::{Outcome, Registration, Version, View},
    eds,
    error::{Problem, Reason, Refusal, shown},
    host::{Selector, ServiceName, Weight, number, typed},
    metrics::Gauges,
    store::Condition,
};

/// Answers a request, whatever it is.
pub(super) async fn answer<B>(inner: &Inner, request: Request<B>, peer: &Identity) -> Reply
where
    B: Body,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let head_only = request.method() == Method::HEAD;
    let (parts, body) = request.into_parts();
    let reply = match dispatch(inner, &parts, body, peer).await {
        Ok(reply) => reply,
        Err(refusal) => {
            inner.metrics.refuse(refusal.reason);
            tracing::debug!(
                path = parts.uri.path(),
                reason = refusal.reason.word(),
                error = refusal.message,
                "refused"
            );
            reply::refusal(&refusal)
        }
    };
    if head_only { without_body(reply) } else { reply }
}

fn without_body(mut reply: Reply) -> Reply {
    let length = reply.body().size_hint().exact().unwrap_or_default();
    reply.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    *reply.body_mut() = Full::default();
    reply
}

async fn dispatch<B>(inner: &Inner, parts: &Parts, body: B, peer: &Identity) -> Result<Reply, Refusal>
where
    B: Body,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let target = Target::read(parts.uri.path())?;
    let headers = &parts.headers;
    // HEAD is a GET of which the body is left out.
    let method = if parts.method == Method::HEAD { &Method::GET } else { &parts.method };
    match (target, method.as_str()) {
        (Target::Health, "GET") => Ok(health(inner)),
        (Target::Metrics, "GET") => {
            inner.access.read(None, headers, peer)?;
            Ok(metrics(inner))
        }
        (Target::Services, "GET") => {
            inner.access.read(None, headers, peer)?;
            ready(inner)?;
            Ok(services(inner))
        }
        (Target::Service(service), "GET") => {
            inner.access.read(Some(&service), headers, peer)?;
            ready(inner)?;
            let asked = Asked::read(parts)?;
            hosts(inner, &service, &asked).await
        }
        (Target::Service(service), "POST") => {
            inner.access.write(&service, headers, peer)?;
            register(inner, service, headers, body).await
        }
        (Target::Host(service, which), "DELETE") => {
            inner.access.write(&service, headers, peer)?;
            remove(inner, service, which).await
        }
        (Target::Weight(service, which), "POST") => {
            inner.access.write(&service, headers, peer)?;
            let fields = fields(headers, body, Takes::FormOrJson).await?;
            let weight = typed(&fields, "load_balancing_weight", |value| number(value, 1, 100))?;
            let weight = weight.and_then(|weight| u8::try_from(weight).ok()).and_then(Weight::new);
            let weight = weight.ok_or_else(|| Problem::new("load_balancing_weight", "is missing"))?;
            weigh(inner, service, which, Some(weight)).await
        }
        (Target::Weight(service, which), "DELETE") => {
            inner.access.write(&service, headers, peer)?;
            weigh(inner, service, which, None).await
        }
        (Target::Endpoints, "POST") => endpoints(inner, headers, body, peer).await,
        (target, _) => Err(Refusal::method(target.allow())),
    }
}

/// Refuses to say "nobody" before the store has been read.
fn ready(inner: &Inner) -> Result<(), Refusal> {
    match inner.store.condition() {
        Condition::Unread => Err(Refusal::new(Reason::NotReady, "the store has not been reached yet")),
        Condition::Ready | Condition::Away => Ok(()),
    }
}

fn health(inner: &Inner) -> Reply {
    let condition = inner.store.condition();
    let mut reply = reply::json(json!({"status": condition.word()}).to_string());
    if condition == Condition::Unread {
        *reply.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    reply
}

fn metrics(inner: &Inner) -> Reply {
    let gauges =
        Gauges { services: inner.catalog.counts(), waiting: inner.catalog.waiting(), store: inner.store.condition() };
    reply::typed(inner.metrics.text(&gauges), "text/plain; version=0.0.4")
}

fn services(inner: &Inner) -> Reply {
    let services = inner.catalog.counts().into_iter();
    let services: Vec<Value> = services.map(|(service, hosts)| json!({"service": service, "hosts": hosts})).collect();
    reply::json(json!({"services": services}).to_string())
}

/// What a reader has, and how long it would wait for something else.
#[derive(Debug)]
struct Asked {
    /// `If-None-Match`, without the marks of weakness: they do not matter here (RFC 9110, section 13.1.2).
    tags: Vec<String>,
    any: bool,
    index: Option<u64>,
    wait: Option<Duration>,
}

impl Asked {
    fn read(parts: &Parts) -> Result<Self, Refusal> {
        let mut asked = Self { tags: Vec::new(), any: false, index: None, wait: None };
        for line in parts.headers.get_all(header::IF_NONE_MATCH) {
            for tag in line.to_str().unwrap_or_default().split(',').map(str::trim) {
                asked.any |= tag == "*";
                asked.tags.push(tag.strip_prefix("W/").unwrap_or(tag).trim_matches('"').to_owned());
            }
        }
        for (name, value) in form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()) {
            match &*name {
                "index" => asked.index = Some(index(&value)?),
                "wait" => asked.wait = Some(wait(&value)?),
                _ => {}
            }
        }
        Ok(asked)
    }

    /// Whether the reader has this already.
    fn knows(&self, view: &View, version: Version) -> bool {
        let text = version.to_string();
        self.tags.contains(&text)
            || (self.any && !view.is_empty())
            || self.index.is_some_and(|index| index == version.index())
    }
}

fn index(value: &str) -> Result<u64, Problem> {
    value.parse().map_err(|_| Problem::new("index", format!("must be a number, not {:?}", shown(value))))
}

fn wait(value: &str) -> Result<Duration, Problem> {
    let read = match value.parse::<u32>() {
        Ok(seconds) => Ok(Duration::from_secs(seconds.into())),
        Err(_) => humantime::parse_duration(value),
    };
    read.map_err(|_| Problem::new("wait", format!("must be a span of time such as 30s, not {:?}", shown(value))))
}

async fn hosts(inner: &Inner, service: &ServiceName, asked: &Asked) -> Result<Reply, Refusal> {
    let show = |view: &View, version| reply::of(reply::json(view.body(inner.settings.env.as_deref())), version);
    let same = |version| Ok(reply::of(reply::empty(StatusCode::NOT_MODIFIED), version));
    let view = inner.catalog.view(service);
    let version = view.version();
    if !asked.knows(&view, version) {
        return Ok(show(&view, version));
    }
    let Some(wait) = asked.wait else { return same(version) };
    let Some(mut waiter) = inner.catalog.wait(service) else {
        return Err(Refusal::new(Reason::Waiters, "as many readers wait as may"));
    };
    let over = inner.clock.sleep(wait.min(inner.settings.limits.wait));
    let mut stop = inner.stop.subscribe();
    tokio::pin!(over);
    loop {
        // After the waiter was made: no change is missed.
        let view = inner.catalog.view(service);
        let version = view.version();
        if !asked.knows(&view, version) {
            return Ok(show(&view, version));
        }
        drop(view);
        tokio::select! {
            () = waiter.changed() => {}
            () = &mut over => return same(version),
            _ = stop.wait_for(|stop| *stop) => return same(version),
        }
    }
}

async fn register<B>(inner: &Inner, service: ServiceName, headers: &HeaderMap, body: B) -> Result<Reply, Refusal>
where
    B: Body,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let fields = fields(headers, body, Takes::FormOrJson).await?;
    let registration = Registration::read(&fields, inner.settings.limits.tags)?;
    let registered = inner.store.register(service.clone(), registration).await?;
    let result = match registered.outcome {
        Outcome::New => "registered",
        Outcome::Changed => "changed",
        Outcome::Unchanged => "unchanged",
    };
    if registered.outcome != Outcome::Unchanged {
        tracing::info!(%service, host = %registered.record.address, result, "a host registers");
    }
    let ttl = inner.settings.host_ttl.as_secs();
    Ok(reply::json(json!({"result": result, "ttl": ttl, "host": registered.host}).to_string()))
}

async fn remove(inner: &Inner, service: ServiceName, which: Selector) -> Result<Reply, Refusal> {
    let removed = inner.store.remove(service.clone(), which).await;
    if removed.is_empty() {
        return Err(Refusal::new(Reason::NotFound, format!("service {service} has no such host")));
    }
    tracing::info!(%service, hosts = ?removed, "hosts were taken out");
    Ok(reply::json(json!({"removed": removed.len()}).to_string()))
}

async fn weigh(
    inner: &Inner,
    service: ServiceName,
    which: Option<Selector>,
    weight: Option<Weight>,
) -> Result<Reply, Refusal> {
    let weighed = inner.store.weigh(service.clone(), which, weight).await;
    if weighed.is_empty() {
        return Err(Refusal::new(Reason::NotFound, format!("service {service} has no such host")));
    }
    tracing::info!(%service, hosts = ?weighed, ?weight, "an operator sets weights");
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

async fn endpoints<B>(inner: &Inner, headers: &HeaderMap, body: B, peer: &Identity) -> Result<Reply, Refusal>
where
    B: Body,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let fields = fields(headers, body, Takes::Json).await?;
    let request = eds::Request::read(&fields, inner.settings.limits.services)?;
    if request.services.is_empty() {
        inner.access.read(None, headers, peer)?;
    }
    for service in &request.services {
        inner.access.read(Some(service), headers, peer)?;
    }
    ready(inner)?;
    let names = if request.services.is_empty() { inner.catalog.services() } else { request.services };
    let views = names.into_iter().map(|service| {
        let view = inner.catalog.view(&service);
        (service, view)
    });
    let views: Vec<(ServiceName, Arc<View>)> = views.filter(|(_, view)| !view.is_empty()).collect();
    let version = eds::version(&views);
    if version == request.version {
        return Ok(reply::empty(StatusCode::NOT_MODIFIED));
    }
    Ok(reply::json(eds::response(&version, &views)))
}
