//! Who takes part, and under which names.

use clap::ValueEnum;

/// Who takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Contestant {
    /// Fyke, its listener forwarding to a cluster without filters.
    #[value(name = "fyke-0")]
    Fyke0,
    /// Fyke with the router.
    #[value(name = "fyke-1")]
    Fyke1,
    /// Fyke with the router, an instance of it for every stream.
    #[value(name = "fyke-1-stream")]
    Fyke1Stream,
    /// Fyke with request-id, the router and three header filters on the official SDK.
    #[value(name = "fyke-5")]
    Fyke5,
    /// The same with header filters on Fyke's SDK.
    #[value(name = "fyke-5-sdk")]
    Fyke5Sdk,
    /// The same with an instance of each filter for every stream.
    #[value(name = "fyke-5-stream")]
    Fyke5Stream,
    /// Fyke with five filters of which two observe: tracing context at 1%, request-id, the router, statistics with labels, and a header filter on Fyke's SDK.
    #[value(name = "fyke-5-observed")]
    Fyke5Observed,
    /// Fyke with ten header filters on the official SDK and nothing else: what one costs is a tenth of what it costs more than without.
    #[value(name = "fyke-10")]
    Fyke10,
    /// The same with header filters on Fyke's SDK.
    #[value(name = "fyke-10-sdk")]
    Fyke10Sdk,
    /// Fyke with the router and a filter that does nothing.
    #[value(name = "fyke-empty")]
    FykeEmpty,
    /// The same with `builtin:rate-limit` in its place: one rule for each value of a header, which never refuses.
    #[value(name = "fyke-limit")]
    FykeLimit,
    /// The same, and answers do not say what is left of the limit.
    #[value(name = "fyke-limit-silent")]
    FykeLimitSilent,
    /// As `fyke-limit-silent`, counted by a Redis server.
    #[value(name = "fyke-limit-redis")]
    FykeLimitRedis,
    /// HAProxy, one thread.
    Haproxy,
    /// nginx, one worker.
    Nginx,
    /// Envoy, concurrency 1.
    Envoy,
}

impl Contestant {
    /// All, in the order of reports.
    pub const ALL: [Self; 16] = [
        Self::Fyke0,
        Self::Fyke1,
        Self::Fyke1Stream,
        Self::Fyke5Sdk,
        Self::Fyke5Stream,
        Self::Fyke5,
        Self::Fyke5Observed,
        Self::Fyke10Sdk,
        Self::Fyke10,
        Self::FykeEmpty,
        Self::FykeLimit,
        Self::FykeLimitSilent,
        Self::FykeLimitRedis,
        Self::Haproxy,
        Self::Nginx,
        Self::Envoy,
    ];

    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fyke0 => "fyke-0",
            Self::Fyke1 => "fyke-1",
            Self::Fyke1Stream => "fyke-1-stream",
            Self::Fyke5 => "fyke-5",
            Self::Fyke5Sdk => "fyke-5-sdk",
            Self::Fyke5Stream => "fyke-5-stream",
            Self::Fyke5Observed => "fyke-5-observed",
            Self::Fyke10 => "fyke-10",
            Self::Fyke10Sdk => "fyke-10-sdk",
            Self::FykeEmpty => "fyke-empty",
            Self::FykeLimit => "fyke-limit",
            Self::FykeLimitSilent => "fyke-limit-silent",
            Self::FykeLimitRedis => "fyke-limit-redis",
            Self::Haproxy => "haproxy",
            Self::Nginx => "nginx",
            Self::Envoy => "envoy",
        }
    }

    /// Whether it has a rule that counts requests.
    pub fn limits(self) -> bool {
        matches!(self, Self::FykeLimit | Self::FykeLimitSilent | Self::FykeLimitRedis)
    }

    /// Whether it is there for what limits cost.
    pub fn is_about_limits(self) -> bool {
        self == Self::FykeEmpty || self.limits()
    }

    /// As in a table.
    pub fn title(self) -> &'static str {
        match self {
            Self::Fyke0 => "Fyke, no filter",
            Self::Fyke1 => "Fyke, 1 filter (router)",
            Self::Fyke1Stream => "Fyke, 1 filter (router), `isolation: stream`",
            Self::Fyke5 => "Fyke, 5 filters (request-id, router, 3 header filters on the official SDK)",
            Self::Fyke5Sdk => "Fyke, 5 filters (request-id, router, 3 header filters on its own SDK)",
            Self::Fyke5Stream => {
                "Fyke, 5 filters (request-id, router, 3 header filters on its own SDK), each `isolation: stream`"
            }
            Self::Fyke5Observed => {
                "Fyke, 5 filters (tracing-context with a sample of 1%, request-id, router, stats-tags, a header filter on its own SDK)"
            }
            Self::Fyke10 => "Fyke, 10 header filters on the official SDK",
            Self::Fyke10Sdk => "Fyke, 10 header filters on its own SDK",
            Self::FykeEmpty => "Fyke, router and a filter that does nothing",
            Self::FykeLimit => "Fyke, router and a local rate limit, told in answers",
            Self::FykeLimitSilent => "Fyke, router and a local rate limit",
            Self::FykeLimitRedis => "Fyke, router and a rate limit in Redis",
            Self::Haproxy => "HAProxy, one thread",
            Self::Nginx => "nginx, one worker",
            Self::Envoy => "Envoy, concurrency 1, plain router",
        }
    }
}
