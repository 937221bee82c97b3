//! The filter, of streams and of connections.

use std::cell::RefCell;

use fyke_sdk::{
    Chunk, ConfigError, Conn, Env, Flow, HttpFilter, Panel, Request, Result, StreamLog, TcpFilter, TcpFlow,
    http_filter, property, tcp_filter,
};

use crate::config::{Config, DurationUnit, istio_rules};
use crate::expressions::Expressions;
use crate::frames::{Frames, is_framed};
use crate::labels::{Labels, Sample, Values};
use crate::metrics::{Messages, Metrics, Moment};
use crate::panels::PANELS;
use crate::source::Kind;
use crate::stat_names::StatNames;

/// One configuration of the filter.
pub struct StatsTags {
    labels: Labels,
    requests: Metrics,
    opened: Metrics,
    closed: Metrics,
    stat_names: StatNames,
    /// How many bytes of a dotted name expressions look at.
    reach: usize,
    /// Whether bodies are looked at.
    counts_messages: bool,
    /// Whether the path is needed as it was at the beginning.
    keeps_path: bool,
    /// Nothing of a stream is in it when the next one comes.
    values: RefCell<Values>,
}

/// What is known of a stream before its end.
#[derive(Debug, Default)]
pub struct Seen {
    path: Option<Vec<u8>>,
    request: Body,
    response: Body,
}

/// What is known of a body.
#[derive(Debug, Default)]
enum Body {
    /// Nothing of it was seen.
    #[default]
    New,
    /// It is in frames.
    Framed(Frames),
    /// It is of some other type.
    Other,
}

impl Body {
    /// Counts messages; `map` has the content type.
    fn chunk(&mut self, map: &str, chunk: &mut Chunk) {
        if matches!(self, Self::New) {
            let content_type = property::read(&[map, "headers", "content-type"]);
            *self = if content_type.is_some_and(|value| is_framed(&value)) {
                Self::Framed(Frames::default())
            } else {
                // As good as all of it: nothing that a stream carries is longer. A host that refuses shows more than it must.
                let _ = chunk.skip(u64::MAX / 2);
                Self::Other
            };
        }
        if let Self::Framed(frames) = self {
            let unseen = frames.chunk(chunk.len(), |start, length| chunk.read(start, length));
            if unseen > 0 && chunk.skip(unseen).is_err() {
                // Then it will be shown, and heads are where they are.
                frames.expect(unseen);
            }
        }
    }

    const fn messages(&self) -> u64 {
        match self {
            Self::Framed(frames) => frames.messages(),
            Self::New | Self::Other => 0,
        }
    }
}

impl StatsTags {
    fn new(config: &Config, env: &mut Env) -> Result<Self, ConfigError> {
        if config.istio.is_some() && config.duration_unit != DurationUnit::Milliseconds {
            return Err(ConfigError::at("duration_unit", "Istio's durations are in milliseconds"));
        }
        if !config.grpc_messages {
            for (key, metric) in [
                ("request_messages", &config.metrics.request_messages),
                ("response_messages", &config.metrics.response_messages),
            ] {
                if metric.name.is_some() || metric.labels.is_some() || !metric.without.is_empty() {
                    let message = "messages are counted with `grpc_messages: true`, for which bodies are looked at";
                    return Err(ConfigError::at(format!("metrics.{key}"), message));
                }
            }
        }
        let istio = config.istio.as_ref().map(istio_rules).unwrap_or_default();
        let mut expressions = Expressions::default();
        let mut labels = Labels::new(config, &istio, &mut expressions)?;
        let stat_names = StatNames::new(config, &mut expressions, env)?;
        let reach = expressions.reach();
        labels.set_reach(reach);
        let requests = Metrics::define(config, &mut labels, Moment::Done, env)?;
        let opened = Metrics::define(config, &mut labels, Moment::Opened, env)?;
        let closed = Metrics::define(config, &mut labels, Moment::Closed, env)?;
        let keeps_path = config.original_path && labels.read_path();
        if config.original_path && !keeps_path {
            return Err(ConfigError::at("original_path", "no rule of `labels` reads the path"));
        }
        let counts_messages = config.grpc_messages;
        let values = RefCell::default();
        Ok(Self { labels, requests, opened, closed, stat_names, reach, counts_messages, keeps_path, values })
    }

    /// Counts the stream in question.
    fn count(&self, metrics: &Metrics, kind: Kind, path: Option<&[u8]>, messages: Messages) -> Sample {
        let Ok(mut values) = self.values.try_borrow_mut() else {
            debug_assert!(false, "a stream ended while another one was counted");
            return Sample::Dropped;
        };
        let sample = self.labels.fill(&mut values, kind, &metrics.wanted, path);
        if sample == Sample::Counts {
            metrics.record(&self.labels, &values, messages);
        }
        sample
    }
}

#[http_filter(with_tcp)]
impl HttpFilter for StatsTags {
    type Config = Config;
    type Ctx = Seen;

    const PANELS: &'static [Panel] = PANELS;

    fn configure(config: Config, env: &mut Env) -> Result<Self, ConfigError> {
        Self::new(&config, env)
    }

    async fn on_request(&self, cx: &mut Seen, request: &mut Request) -> Result<Flow> {
        if self.keeps_path {
            cx.path = request.path().split(|byte| *byte == b'?').next().map(<[u8]>::to_vec);
        }
        Ok(Flow::Continue)
    }

    fn on_request_chunk(&self, cx: &mut Seen, chunk: &mut Chunk) -> Result<()> {
        if self.counts_messages {
            cx.request.chunk("request", chunk);
        }
        Ok(())
    }

    fn on_response_chunk(&self, cx: &mut Seen, chunk: &mut Chunk) -> Result<()> {
        if self.counts_messages {
            cx.response.chunk("response", chunk);
        }
        Ok(())
    }

    fn on_log(&self, cx: &mut Seen, _log: &StreamLog) {
        let messages = Messages { request: cx.request.messages(), response: cx.response.messages() };
        if self.count(&self.requests, Kind::Http, cx.path.as_deref(), messages) == Sample::Counts {
            self.stat_names.count(self.reach);
        }
    }

    fn wants_request(&self) -> bool {
        self.keeps_path
    }

    fn wants_request_chunks(&self) -> bool {
        self.counts_messages
    }

    fn wants_response_chunks(&self) -> bool {
        self.counts_messages
    }
}

#[tcp_filter(with_http)]
impl TcpFilter for StatsTags {
    type Config = Config;
    type Ctx = ();

    fn configure(config: Config, env: &mut Env) -> Result<Self, ConfigError> {
        Self::new(&config, env)
    }

    async fn on_connect(&self, (): &mut (), _connection: &mut Conn) -> Result<TcpFlow> {
        if !self.opened.is_empty() {
            self.count(&self.opened, Kind::Tcp, None, Messages::default());
        }
        Ok(TcpFlow::Continue)
    }

    fn on_log(&self, (): &mut (), _log: &StreamLog) {
        if !self.closed.is_empty() {
            self.count(&self.closed, Kind::Tcp, None, Messages::default());
        }
    }
}
