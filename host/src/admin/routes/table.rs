//! The operations, one by one.

use http::Method;

use super::{Answered, Content, Id, In, Operation, Parameter, Place};
use crate::admin::access::Right;

const JSON: &str = "application/json";
const TEXT: &str = "text/plain";
const STREAM: &str = "text/event-stream";

/// What every refusal is.
const ERROR: &[Content] = &[json("Error")];

const fn json(schema: &'static str) -> Content {
    Content { kind: JSON, schema }
}

const fn ok(about: &'static str, contents: &'static [Content]) -> Answered {
    Answered { status: 200, about, contents }
}

const fn error(status: u16, about: &'static str) -> Answered {
    Answered { status, about, contents: ERROR }
}

const fn query(name: &'static str, schema: &'static str, about: &'static str) -> Parameter {
    Parameter { name, place: In::Query, schema, about }
}

const BAD: Answered = error(400, "A parameter or the body is not understood.");
const STALE: Answered = error(412, "Another generation runs than `If-Match` names.");
const REFUSED: Answered = Answered { status: 422, about: "Refused; what ran goes on.", contents: &[json("Refused")] };
const BUSY: Answered = error(429, "Too many changes or streams already; ask again in a second.");
const UNKNOWN: Answered = error(404, "There is no such filter, or no such generation.");
const CONFLICT: Answered = error(409, "What runs does not allow it.");
const TOO_LARGE: Answered = error(413, "The body is too large.");
const TOO_SLOW: Answered = error(408, "The body took too long.");
const CHANGED: Answered = ok("What became of it.", &[json("Outcome")]);

const NAME: Parameter = Parameter {
    name: "name",
    place: In::Path,
    schema: r#"{"type":"string"}"#,
    about: "A filter of the configuration, percent-encoded.",
};
const IF_MATCH: Parameter = Parameter {
    name: "If-Match",
    place: In::Header,
    schema: r#"{"type":"string"}"#,
    about: "Changes nothing unless this generation runs, as in \"7\".",
};
const DRY_RUN: Parameter = query("dry_run", r#"{"type":"boolean"}"#, "Only says what would change.");
const EVENT_ID: Parameter = Parameter {
    name: "Last-Event-ID",
    place: In::Header,
    schema: r#"{"type":"string"}"#,
    about: "Begins behind this event, where it is still kept.",
};
const SHARE: &str = r#"{"type":"string","examples":["5%"]}"#;
const WORDS: &str = r#"{"type":"string"}"#;
const NUMBER: &str = r#"{"type":"integer","minimum":1}"#;

const PLAIN: Operation = Operation {
    id: Id::Index,
    name: "index",
    method: Method::GET,
    path: "/",
    place: Place::Both,
    right: Right::Read,
    about: "The paths, for people.",
    parameters: &[],
    body: &[],
    answers: &[ok("The paths.", &[Content { kind: TEXT, schema: "" }])],
};

const CHANGE: Operation = Operation { method: Method::POST, right: Right::Change, ..PLAIN };

/// All of them.
pub(in crate::admin) static ALL: &[Operation] = &[
    PLAIN,
    Operation {
        id: Id::IsLive,
        name: "isLive",
        path: "/live",
        place: Place::Bare,
        about: "Answers while the process runs. A probe's path has no version.",
        answers: &[ok("It runs.", &[Content { kind: TEXT, schema: "" }])],
        ..PLAIN
    },
    Operation {
        id: Id::Ready,
        name: "isReady",
        path: "/ready",
        about: "Whether the process accepts traffic.",
        answers: &[
            ok("It does.", &[Content { kind: TEXT, schema: "" }]),
            Answered {
                status: 503,
                about: "It drains, or waits for a control plane at its start.",
                contents: &[Content { kind: TEXT, schema: "" }],
            },
        ],
        ..PLAIN
    },
    Operation {
        id: Id::Status,
        name: "status",
        path: "/status",
        about: "Version, generation, listeners, what is not healthy, the last change, what is used of the limits.",
        answers: &[ok("The status.", &[json("Status")])],
        ..PLAIN
    },
    Operation {
        id: Id::Config,
        name: "config",
        path: "/config",
        about: "The configuration as it was written, secrets masked. The generation is its `ETag`.",
        answers: &[ok("The configuration.", &[json("Config")])],
        ..PLAIN
    },
    Operation {
        id: Id::Generations,
        name: "generations",
        path: "/generations",
        about: "Generations that can be gone back to, oldest first.",
        answers: &[ok("The generations.", &[json("Generations")])],
        ..PLAIN
    },
    Operation {
        id: Id::Audit,
        name: "audit",
        path: "/audit",
        about: "Who changed what, and how that went, oldest first; the last 200.",
        answers: &[ok("The entries.", &[json("Audit")])],
        ..PLAIN
    },
    Operation {
        id: Id::Clusters,
        name: "clusters",
        path: "/clusters",
        about: "Clusters with endpoints, settings and counts.",
        answers: &[ok("By name.", &[json("Clusters")])],
        ..PLAIN
    },
    Operation {
        id: Id::Filters,
        name: "filters",
        path: "/filters",
        about: "Filters with module, version, generation, callbacks, counts and canary.",
        answers: &[ok("By name.", &[json("Filters")])],
        ..PLAIN
    },
    Operation {
        id: Id::Filter,
        name: "filter",
        path: "/filters/{name}",
        about: "One filter.",
        parameters: &[NAME],
        answers: &[ok("The filter.", &[json("Filter")]), UNKNOWN],
        ..PLAIN
    },
    Operation {
        id: Id::Explain,
        name: "explain",
        path: "/explain",
        about: "Which listener, chain, filters, route and cluster a request would meet, and why others do not match. Nothing that runs is touched.",
        parameters: &[
            query("url", WORDS, "What would be asked for: `http://host:port/path?query`."),
            query("method", WORDS, "The method. Default: GET."),
            query("header", WORDS, "A field of the request, `name: value`; may be given several times."),
            query("listener", WORDS, "The listener, where the URL's port does not say it."),
            query("from", WORDS, "The client's address."),
            query("http2", r#"{"type":"boolean"}"#, "Over HTTP/2."),
        ],
        answers: &[ok("The explanation.", &[json("Explanation")]), BAD, BUSY],
        ..PLAIN
    },
    Operation {
        id: Id::Metrics,
        name: "metrics",
        path: "/metrics",
        about: "All metrics, in Prometheus' text format or, where `Accept` asks for it, in OpenMetrics 1.0.",
        answers: &[ok(
            "The metrics.",
            &[Content { kind: TEXT, schema: "" }, Content { kind: "application/openmetrics-text", schema: "" }],
        )],
        ..PLAIN
    },
    Operation {
        id: Id::Logging,
        name: "logging",
        path: "/logging",
        about: "Levels of the log: what the process was started with, and what is changed for a while.",
        answers: &[ok("The levels.", &[json("Logging")])],
        ..PLAIN
    },
    Operation {
        id: Id::SetLogging,
        name: "setLogging",
        path: "/logging",
        about: "Has a target of the log, and all below it, log at another level for a while: 5 minutes, or what `for` says, at most an hour.",
        parameters: &[IF_MATCH],
        body: &[json("SetLogging")],
        answers: &[
            ok("The levels as they are now.", &[json("Logging")]),
            BAD,
            TOO_SLOW,
            CONFLICT,
            STALE,
            TOO_LARGE,
            BUSY,
        ],
        ..CHANGE
    },
    Operation {
        id: Id::OpenApi,
        name: "openApi",
        path: "/openapi.json",
        place: Place::Versioned,
        about: "This description, in OpenAPI 3.1.",
        answers: &[ok("The description.", &[json("OpenApi")])],
        ..PLAIN
    },
    Operation {
        id: Id::Reload,
        name: "reload",
        path: "/reload",
        about: "Reads the configuration again and applies it, whole or not at all.",
        parameters: &[DRY_RUN, IF_MATCH],
        answers: &[CHANGED, BAD, STALE, REFUSED, BUSY],
        ..CHANGE
    },
    Operation {
        id: Id::Rollback,
        name: "rollback",
        path: "/rollback",
        about: "Has the generation before run again, or another one that is kept.",
        parameters: &[query("to", NUMBER, "The generation."), IF_MATCH],
        answers: &[CHANGED, BAD, UNKNOWN, CONFLICT, STALE, REFUSED, BUSY],
        ..CHANGE
    },
    Operation {
        id: Id::Release,
        name: "release",
        path: "/release",
        about: "Follows control planes again, from what they have sent last: a rollback keeps them away.",
        parameters: &[IF_MATCH],
        answers: &[CHANGED, BAD, STALE, REFUSED, BUSY],
        ..CHANGE
    },
    Operation {
        id: Id::Drain,
        name: "drain",
        path: "/drain",
        about: "Takes no more connections, finishes what is open, and ends the process.",
        parameters: &[IF_MATCH],
        answers: &[Answered { status: 202, about: "It drains.", contents: &[json("Outcome")] }, BAD, STALE],
        ..CHANGE
    },
    Operation {
        id: Id::ChangeEndpoint,
        name: "changeEndpoint",
        path: "/clusters/{name}/endpoint",
        place: Place::Versioned,
        about: "Drains or restores one endpoint of a cluster, or sets its weight. It holds at once, and through reloads and rollbacks, until it is taken back, the endpoint leaves the cluster, or the process ends.",
        parameters: &[
            Parameter { about: "A cluster of the configuration, percent-encoded.", ..NAME },
            query("address", r#"{"type":"string","examples":["10.0.0.1:80"]}"#, "The endpoint."),
            query("drain", r#"{"type":"boolean"}"#, "Whether it gets no new requests while others can take them."),
            query(
                "weight",
                r#"{"type":"string","examples":["3","written"]}"#,
                "Its weight, 0 to 65535; 0 is as if it drained; `written` is what the configuration says.",
            ),
            IF_MATCH,
        ],
        answers: &[CHANGED, BAD, error(404, "There is no such cluster, or it has no such endpoint."), STALE, BUSY],
        ..CHANGE
    },
    Operation {
        id: Id::LoadFilter,
        name: "loadFilter",
        method: Method::PUT,
        path: "/filters/{name}",
        about: "Has the module in the body take the filter's place; with `canary` only for a share of the streams.",
        parameters: &[
            NAME,
            DRY_RUN,
            query("canary", SHARE, "Only for this share of the streams."),
            query("min_streams", NUMBER, "The canary is not judged before so many streams have met it."),
            query("traps", SHARE, "It is taken back when more of its streams trap."),
            query("errors", SHARE, "It is taken back when so many more of its streams end in errors."),
            query(
                "latency",
                r#"{"type":"string","examples":["+20%"]}"#,
                "It is taken back when it takes so much longer.",
            ),
            query("listener", WORDS, "For a filter that the configuration does not have: where it goes."),
            query("before", WORDS, "The filter of that listener before which it goes."),
            Parameter {
                name: "x-fyke-signature",
                place: In::Header,
                schema: WORDS,
                about: "The module's Ed25519 signature in base64, for a filter with `signed_by`.",
            },
            IF_MATCH,
        ],
        body: &[Content { kind: "application/wasm", schema: "" }, json("FilterVersion")],
        answers: &[CHANGED, BAD, TOO_SLOW, UNKNOWN, CONFLICT, STALE, TOO_LARGE, REFUSED, BUSY],
        ..CHANGE
    },
    Operation {
        id: Id::RemoveFilter,
        name: "removeFilter",
        method: Method::DELETE,
        path: "/filters/{name}",
        about: "Takes the filter out of all chains.",
        parameters: &[NAME, DRY_RUN, IF_MATCH],
        answers: &[CHANGED, BAD, UNKNOWN, CONFLICT, STALE, REFUSED, BUSY],
        ..CHANGE
    },
    Operation {
        id: Id::PromoteFilter,
        name: "promoteFilter",
        path: "/filters/{name}/promote",
        about: "The canary takes the filter's place.",
        parameters: &[NAME, DRY_RUN, IF_MATCH],
        answers: &[CHANGED, BAD, UNKNOWN, CONFLICT, STALE, REFUSED, BUSY],
        ..CHANGE
    },
    Operation {
        id: Id::AbortFilter,
        name: "abortFilter",
        path: "/filters/{name}/abort",
        about: "The canary goes.",
        parameters: &[NAME, DRY_RUN, IF_MATCH],
        answers: &[CHANGED, BAD, UNKNOWN, CONFLICT, STALE, REFUSED, BUSY],
        ..CHANGE
    },
    Operation {
        id: Id::RollbackFilter,
        name: "rollbackFilter",
        path: "/filters/{name}/rollback",
        about: "The last change of this filter is taken back.",
        parameters: &[NAME, DRY_RUN, IF_MATCH],
        answers: &[CHANGED, BAD, UNKNOWN, CONFLICT, STALE, REFUSED, BUSY],
        ..CHANGE
    },
    Operation {
        id: Id::Events,
        name: "events",
        path: "/events",
        place: Place::Versioned,
        about: "What happens, as it happens: reloads, traps, health, ejections, overload and so on, by server-sent events whose data is JSON. The last 1,000 are kept.",
        parameters: &[
            query(
                "format",
                r#"{"type":"string","enum":["sse","json"]}"#,
                "`json`: those that are kept, as a list, and no more.",
            ),
            query("kind", WORDS, "Only these kinds, with commas between them."),
            query("after", r#"{"type":"integer","minimum":0}"#, "Begins behind this event, as `Last-Event-ID` does."),
            EVENT_ID,
        ],
        answers: &[ok("The events.", &[Content { kind: STREAM, schema: "Event" }, json("Events")]), BAD, BUSY],
        ..PLAIN
    },
    Operation {
        id: Id::Live,
        name: "live",
        path: "/live",
        place: Place::Versioned,
        about: "Rates of the last second by listener, cluster, endpoint, filter and worker, once a second, by server-sent events whose data is JSON.",
        parameters: &[
            query("format", r#"{"type":"string","enum":["sse","json"]}"#, "`json`: once, and no more."),
            query(
                "part",
                r#"{"type":"string"}"#,
                "Only these of listeners, clusters, endpoints, filters, workers, with commas between them.",
            ),
        ],
        answers: &[ok("The rates.", &[Content { kind: STREAM, schema: "Live" }, json("Live")]), BAD, BUSY],
        ..PLAIN
    },
    Operation {
        id: Id::Tap,
        name: "tap",
        path: "/tap",
        place: Place::Versioned,
        right: Right::Change,
        about: "Requests as they finish, with what each filter did, by server-sent events whose data is JSON. It needs the token: it shows what users send. Values of header fields that carry credentials are masked.",
        parameters: &[
            query(
                "status",
                r#"{"type":"string","examples":["5xx","404"]}"#,
                "Only with this status, or of this class.",
            ),
            query("method", WORDS, "Only with this method."),
            query("path_prefix", WORDS, "Only where the path that the client asked for begins so."),
            query(
                "header",
                r#"{"type":"string","examples":["x-user:alice"]}"#,
                "Only with this header field of the request, or this value of it; all of several.",
            ),
            query("route", WORDS, "Only of this route."),
            query("listener", WORDS, "Only of this listener."),
            query("cluster", WORDS, "Only of this cluster."),
            query("min_latency", r#"{"type":"string","examples":["100ms"]}"#, "Only what took as long."),
            query("limit", NUMBER, "Ends after so many."),
            query(
                "rate",
                r#"{"type":"integer","minimum":1,"maximum":1000}"#,
                "Looks at no more requests than this in a second (default 100); others that may match are counted as skipped.",
            ),
        ],
        answers: &[ok("The requests.", &[Content { kind: STREAM, schema: "Tapped" }]), BAD, BUSY],
        ..PLAIN
    },
    Operation {
        id: Id::SupportBundle,
        name: "supportBundle",
        path: "/support-bundle",
        place: Place::Versioned,
        about: "All that helps to understand a problem, without secrets, as a gzipped tar archive.",
        answers: &[
            ok("The archive.", &[Content { kind: "application/gzip", schema: "" }]),
            BUSY,
            error(500, "It cannot be made."),
        ],
        ..PLAIN
    },
];
