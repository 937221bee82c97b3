//! `tests:`

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, uri::Authority};
use rustls::pki_types::ServerName;

use super::{Filters, Resolver, place::Place};
use crate::config::{
    include::Included,
    raw,
    resolved::{
        Expectation, Expected, HeaderCondition, Listener, ListenerProtocol, Seen, StatusCondition, Test, TestAnswer,
        TestRequest, TextCondition, TextTest,
    },
    suggest,
    tree::quote,
    units,
};

/// How long one answer may take, unless something else is written.
const PATIENCE: Duration = Duration::from_secs(10);
/// How far shares may be off, of 100.
const TOLERANCE: f64 = 5.0;

/// A key, what is written there, and what is looked at.
type Text<'a> = (&'static str, &'a Option<raw::TestText>, fn(TextCondition) -> Seen);

impl Resolver<'_, '_> {
    pub(super) fn tests(
        &mut self,
        tests: &[raw::Test],
        listeners: &[Listener],
        filters: &Filters,
        place: &Place<'_>,
    ) -> Vec<Test> {
        let mut resolved: Vec<Test> = Vec::new();
        for (index, test) in tests.iter().enumerate() {
            let place = place.index(index);
            let name = place.key("name");
            if test.name.trim().is_empty() {
                self.diagnostics.error(name.span, &name.path, "a test needs a name");
            }
            if let Some(first) = tests.iter().take(index).position(|earlier| earlier.name == test.name) {
                let message = format!("test {} is there twice (the first one is number {})", name.shown(), first + 1);
                self.diagnostics.error(name.span, &name.path, message);
            }
            resolved.extend(self.test(test, listeners, filters, &place));
        }
        resolved
    }

    fn test(&mut self, raw: &raw::Test, listeners: &[Listener], filters: &Filters, place: &Place<'_>) -> Option<Test> {
        let request = self.test_request(&raw.request, listeners, &place.key("request"));
        let upstreams = self.test_answers(&raw.upstreams, &place.key("upstreams"));
        let expectations = self.expectations(&raw.expect, filters, &place.key("expect"));
        let timeout = self.timeout(raw.timeout, PATIENCE, &place.key("timeout"));
        Some(Test {
            name: raw.name.clone(),
            origin: self.diagnostics.sources.origin(place.key("name").span),
            request: request?,
            upstreams,
            count: raw.count.unwrap_or(1),
            timeout,
            expectations,
        })
    }

    fn test_request(
        &mut self,
        raw: &raw::TestRequest,
        listeners: &[Listener],
        place: &Place<'_>,
    ) -> Option<TestRequest> {
        let listener = self.test_listener(raw.listener.as_deref(), listeners, place);
        let method = self.read(raw.method.as_deref().unwrap_or("GET"), "a method", &place.key("method"), |text| {
            text.parse::<Method>().ok().filter(|method| *method != Method::CONNECT)
        });
        let target = self.read(raw.path.as_deref().unwrap_or("/"), "a path", &place.key("path"), |text| {
            let uri = text.parse::<Uri>().ok()?;
            (text.starts_with('/') || text == "*").then_some(uri)
        });
        let host = self.read(raw.host.as_deref().unwrap_or("localhost"), "a host", &place.key("host"), |text| {
            text.parse::<Authority>().ok().filter(|host| !host.as_str().contains('@'))
        });
        let from = self.read(raw.from.as_deref().unwrap_or("127.0.0.1"), "an IP address", &place.key("from"), |text| {
            let alone = |ip: IpAddr| SocketAddr::new(ip, 40_000);
            text.parse().ok().or_else(|| text.parse().ok().map(alone))
        });
        let headers = self.test_headers(&raw.headers, &place.key("headers"));
        let (listener, host) = (listener?, host?);
        let tls = match raw.scheme {
            None => listener.tls.is_some() || raw.sni.is_some(),
            Some(scheme) => scheme == raw::TestScheme::Https,
        };
        let encrypts = listener.tls.is_some() || listener.chains.iter().any(|chain| chain.tls.is_some());
        if tls && !encrypts {
            let key = if raw.scheme.is_some() { "scheme" } else { "sni" };
            let message = format!("listener {} has no certificates", quote(&listener.name));
            let place = place.key(key);
            self.diagnostics.error_with_help(place.span, &place.path, message, "give it `tls:`, or take this away");
        }
        if let (Some(_), false) = (&raw.sni, tls) {
            let place = place.key("sni");
            self.diagnostics.error(place.span, &place.path, "without TLS no name is asked for");
        }
        let name = match &raw.sni {
            Some(name) => self.read(name, "a server name", &place.key("sni"), |text| {
                matches!(ServerName::try_from(text), Ok(ServerName::DnsName(_))).then(|| text.to_owned())
            }),
            None => {
                matches!(ServerName::try_from(host.host()), Ok(ServerName::DnsName(_))).then(|| host.host().to_owned())
            }
        };
        Some(TestRequest {
            listener: listener.name.clone(),
            method: method?,
            target: target?,
            host,
            tls: tls.then_some(name),
            http2: raw.protocol == Some(raw::TestProtocol::Http2),
            headers,
            body: raw.body.clone().unwrap_or_default(),
            from: from?,
        })
    }

    fn test_listener<'l>(
        &mut self,
        written: Option<&str>,
        listeners: &'l [Listener],
        place: &Place<'_>,
    ) -> Option<&'l Listener> {
        let speaks_http = |listener: &&Listener| listener.protocol == ListenerProtocol::Http;
        let Some(name) = written else {
            let mut all = listeners.iter().filter(speaks_http);
            let (first, more) = (all.next(), all.next());
            if more.is_none() && first.is_some() {
                return first;
            }
            let help = match more {
                Some(_) => format!(
                    "add `listener:`, one of {}",
                    listeners.iter().filter(speaks_http).map(|one| one.name.as_str()).collect::<Vec<_>>().join(", ")
                ),
                None => "tests send requests, and no listener speaks HTTP".to_owned(),
            };
            self.diagnostics.error_with_help(place.span, &place.path, "which listener is not said", help);
            return None;
        };
        let place = place.key("listener");
        let Some(listener) = listeners.iter().find(|listener| listener.name == name) else {
            if self.names.included == Included::All {
                let names: Vec<&str> = listeners.iter().map(|listener| listener.name.as_str()).collect();
                let message = format!("listener {} does not exist", place.shown());
                self.diagnostics.error_with_help(place.span, &place.path, message, suggest::help(name, &names));
            }
            return None;
        };
        if !speaks_http(&listener) {
            let message = format!("listener {} has `protocol: tcp`, and a test sends a request", place.shown());
            self.diagnostics.error(place.span, &place.path, message);
            return None;
        }
        Some(listener)
    }

    /// Reads a text, or says that it is not `what`.
    fn read<T>(
        &mut self,
        text: &str,
        what: &str,
        place: &Place<'_>,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let read = read(text);
        if read.is_none() {
            self.diagnostics.error(place.span, &place.path, format!("{} is not {what}", place.shown()));
        }
        read
    }

    fn test_headers(&mut self, raw: &BTreeMap<String, raw::TestValues>, place: &Place<'_>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, values) in raw {
            let place = place.key(name);
            let Some(parsed) = self.header_name(name, &place) else { continue };
            for value in values.all() {
                match HeaderValue::from_str(value) {
                    Ok(value) => drop(headers.append(parsed.clone(), value)),
                    Err(_) => self.diagnostics.error(place.span, &place.path, "this cannot be a header's value"),
                }
            }
        }
        headers
    }

    fn header_name(&mut self, name: &str, place: &Place<'_>) -> Option<HeaderName> {
        let known = match name {
            ":method" | ":path" => Some(name.trim_start_matches(':')),
            ":authority" => Some("host"),
            _ if name.eq_ignore_ascii_case("host") => Some("host"),
            ":status" => Some("status"),
            _ => None,
        };
        if let Some(key) = known {
            let message = format!("{} is a key of its own here", quote(name));
            self.diagnostics.error_with_help(
                place.span,
                &place.path,
                message,
                format!("write `{key}:` beside `headers`"),
            );
            return None;
        }
        let parsed = name.parse::<HeaderName>().ok();
        if parsed.is_none() {
            self.diagnostics.error(place.span, &place.path, format!("{} is not a header's name", quote(name)));
        }
        parsed
    }

    fn test_answers(
        &mut self,
        raw: &BTreeMap<String, raw::TestAnswers>,
        place: &Place<'_>,
    ) -> BTreeMap<String, Vec<TestAnswer>> {
        let mut resolved = BTreeMap::new();
        for (name, answers) in raw {
            let place = place.key(name);
            self.known_cluster(name, &place);
            if answers.all().is_empty() {
                let help = "write at least one; `{}` is 200 without a body";
                self.diagnostics.error_with_help(place.span, &place.path, "no answer is none", help);
                continue;
            }
            let each = answers.all().iter().enumerate().map(|(index, answer)| {
                let place = match answers {
                    raw::TestAnswers::One(_) => place.clone(),
                    raw::TestAnswers::Several(_) => place.index(index),
                };
                TestAnswer {
                    status: StatusCode::from_u16(answer.status.unwrap_or(200)).unwrap_or_default(),
                    headers: self.test_headers(&answer.headers, &place.key("headers")),
                    body: answer.body.clone().unwrap_or_default(),
                    delay: answer.delay.map_or(Duration::ZERO, |units::Duration(delay)| delay),
                    reset: answer.reset,
                }
            });
            let each = each.collect();
            resolved.insert(name.clone(), each);
        }
        resolved
    }

    /// Reports a key or a value that names a cluster which there is not.
    fn known_cluster(&mut self, name: &str, place: &Place<'_>) {
        let known = &self.names.clusters;
        if known.contains(name) || self.names.included == Included::Some || self.removed.contains("clusters") {
            return;
        }
        let names: Vec<&str> = known.iter().map(String::as_str).collect();
        let help = suggest::help(name, &names);
        let message = format!("cluster {} does not exist", quote(name));
        self.diagnostics.error_with_help(place.span, &place.path, message, help);
    }

    fn expectations(&mut self, raw: &raw::TestExpectations, filters: &Filters, place: &Place<'_>) -> Vec<Expectation> {
        let mut all = Vec::new();
        if let Some(status) = &raw.status {
            let place = place.key("status");
            let condition = match status {
                raw::TestStatus::Code(code) => Some(StatusCondition::Code(*code)),
                raw::TestStatus::Class(text) => self.read(text, "a status or a class such as 2xx", &place, |text| {
                    let class = text.strip_suffix("xx")?.parse::<u16>().ok()?;
                    (2..=5).contains(&class).then_some(StatusCondition::Class(class))
                }),
            };
            all.extend(condition.map(|condition| self.expectation(&place, Expected::Status(condition))));
        }
        let text = |resolver: &mut Self, text: &Option<raw::TestText>, key: &str| {
            let place = place.key(key);
            Some((resolver.text(text.as_ref()?, &place)?, place))
        };
        let route = text(self, &raw.route, "route").map(|(text, place)| (Expected::Route(text), place));
        let details = text(self, &raw.response_code_details, "response_code_details");
        let details = details.map(|(text, place)| (Expected::Details(text), place));
        for (expected, place) in route.into_iter().chain(details) {
            all.push(self.expectation(&place, expected));
        }
        if let Some(cluster) = &raw.cluster {
            let place = place.key("cluster");
            self.known_cluster(cluster, &place);
            all.push(self.expectation(&place, Expected::Cluster(cluster.clone())));
        }
        if let Some(filter) = &raw.replied_by {
            let place = place.key("replied_by");
            if !filters.contains_key(filter) {
                self.unknown("filter", filter, &place);
            }
            all.push(self.expectation(&place, Expected::RepliedBy(filter.clone())));
        }
        for (condition, place) in self.headers(&raw.headers, &place.key("headers")) {
            all.push(self.expectation(&place, Expected::Header(condition)));
        }
        if let Some((text, place)) = text(self, &raw.body, "body") {
            all.push(self.expectation(&place, Expected::Body(text)));
        }
        if let Some(seen) = &raw.upstream_request {
            self.seen(None, seen, &place.key("upstream_request"), &mut all);
        }
        for (cluster, seen) in &raw.upstreams {
            let place = place.key("upstreams").key(cluster);
            self.known_cluster(cluster, &place);
            self.seen(Some(cluster), seen, &place, &mut all);
        }
        self.shares(raw, &place.key("share"), &mut all);
        if all.is_empty() && self.diagnostics.problems.is_empty() {
            let help = "for example `expect: { status: 200 }`";
            self.diagnostics.error_with_help(
                place.span,
                &place.path,
                "nothing is expected, so nothing is tested",
                help,
            );
        }
        all
    }

    fn shares(&mut self, raw: &raw::TestExpectations, place: &Place<'_>, all: &mut Vec<Expectation>) {
        for cluster in raw.share.keys() {
            self.known_cluster(cluster, &place.key(cluster));
        }
        if !raw.share.is_empty() {
            let shares = raw.share.iter().map(|(cluster, share)| (cluster.clone(), share.0)).collect();
            let tolerance = raw.tolerance.map_or(TOLERANCE, |tolerance| tolerance.0);
            all.push(self.expectation(place, Expected::Shares(shares, tolerance)));
        }
    }

    /// What a cluster has to see.
    fn seen(
        &mut self,
        cluster: Option<&String>,
        raw: &raw::TestUpstreamRequest,
        place: &Place<'_>,
        all: &mut Vec<Expectation>,
    ) {
        let mut push = |resolver: &mut Self, place: &Place<'_>, seen: Seen| {
            all.push(resolver.expectation(place, Expected::Upstream(cluster.cloned(), seen)));
        };
        if let Some(requests) = raw.requests {
            push(self, &place.key("requests"), Seen::Requests(requests));
        }
        let texts: [Text<'_>; 4] = [
            ("method", &raw.method, Seen::Method),
            ("path", &raw.path, Seen::Path),
            ("host", &raw.host, Seen::Host),
            ("body", &raw.body, Seen::Body),
        ];
        for (key, text, seen) in texts {
            let place = place.key(key);
            if let Some(text) = text.as_ref().and_then(|text| self.text(text, &place)) {
                push(self, &place, seen(text));
            }
        }
        for (condition, place) in self.headers(&raw.headers, &place.key("headers")) {
            push(self, &place, Seen::Header(condition));
        }
    }

    fn expectation(&self, place: &Place<'_>, what: Expected) -> Expectation {
        let path = place.path.split_once(".expect.").map_or(place.path.as_str(), |(_, path)| path);
        Expectation { origin: self.diagnostics.sources.origin(place.span), path: path.to_owned(), what }
    }

    fn headers<'a>(&mut self, raw: &[raw::TestHeader], place: &Place<'a>) -> Vec<(HeaderCondition, Place<'a>)> {
        let mut all = Vec::new();
        for (index, header) in raw.iter().enumerate() {
            let place = place.index(index);
            let Some(name) = self.header_name(&header.name, &place.key("name")) else { continue };
            let presence = match (header.present, header.absent) {
                (Some(present), None) => Some(TextTest::Present(present)),
                (None, Some(absent)) => Some(TextTest::Present(!absent)),
                (None, None) => None,
                (Some(_), Some(_)) => {
                    self.diagnostics.error(place.span, &place.path, "`present` and `absent` say the same: take one");
                    continue;
                }
            };
            let words = raw::TestCondition {
                exact: header.exact.clone(),
                prefix: header.prefix.clone(),
                suffix: header.suffix.clone(),
                contains: header.contains.clone(),
                regex: header.regex.clone(),
                invert: header.invert,
            };
            let condition = self.condition(&words, presence, Some(TextTest::Present(true)), &place);
            let name = name.as_str().to_owned();
            all.extend(condition.map(|condition| (HeaderCondition { name, condition }, place)));
        }
        all
    }

    fn text(&mut self, raw: &raw::TestText, place: &Place<'_>) -> Option<TextCondition> {
        match raw {
            raw::TestText::Exact(text) => Some(TextCondition::exact(text)),
            raw::TestText::Condition(words) => self.condition(words, None, None, place),
        }
    }

    fn condition(
        &mut self,
        raw: &raw::TestCondition,
        presence: Option<TextTest>,
        default: Option<TextTest>,
        place: &Place<'_>,
    ) -> Option<TextCondition> {
        let regex = match &raw.regex {
            Some(pattern) => Some(self.expression(pattern, &place.key("regex"))?),
            None => None,
        };
        let mut tests = [
            raw.exact.clone().map(TextTest::Exact),
            raw.prefix.clone().map(TextTest::Prefix),
            raw.suffix.clone().map(TextTest::Suffix),
            raw.contains.clone().map(TextTest::Contains),
            regex,
            presence,
        ]
        .into_iter()
        .flatten();
        let first = tests.next();
        let several = first.is_some() && tests.next().is_some();
        let test = first.or(default).filter(|_| !several);
        if test.is_none() {
            let message = if several { "this asks several things" } else { "this asks nothing" };
            let help = "write one of exact, prefix, suffix, contains and regex";
            self.diagnostics.error_with_help(place.span, &place.path, message, help);
        }
        Some(TextCondition { test: test?, invert: raw.invert })
    }

    fn expression(&mut self, pattern: &str, place: &Place<'_>) -> Option<TextTest> {
        // Alone first, so that an error speaks of what was written, and a stray parenthesis cannot pair with ours.
        let regex = regex_lite::Regex::new(pattern).and_then(|_| regex_lite::Regex::new(&format!("^(?:{pattern})$")));
        match regex {
            Ok(regex) => Some(TextTest::Regex(pattern.to_owned(), regex)),
            Err(error) => {
                let message = format!("{} is not a regular expression: {error}", place.shown());
                self.diagnostics.error(place.span, &place.path, message);
                None
            }
        }
    }
}
