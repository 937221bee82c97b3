//! The configuration, made into what requests need.

use fyke_sdk::{ConfigError, Template, header_name};

use crate::config::{Config, Reads};
use crate::decide::Sampler;
use crate::extract::Formats;
use crate::tags::Tags;
use crate::trust::Judge;

/// What force a trace where nothing is configured: Envoy's names.
const FORCE: [&str; 2] = ["x-envoy-force-trace", "x-client-trace-id"];
/// The headers of the formats themselves, which nothing else may be written to.
pub(crate) const TAKEN: [&str; 8] = [
    "traceparent",
    "tracestate",
    "b3",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-parentspanid",
    "x-b3-sampled",
    "x-b3-flags",
];

/// One configuration that is in order.
#[derive(Debug)]
pub struct Settings {
    pub extract: Vec<Reads>,
    pub inject: Option<Formats>,
    pub judge: Judge,
    pub sampler: Sampler,
    pub force: Vec<String>,
    pub operation: Option<Template>,
    pub tags: Tags,
    pub answer: Option<Answer>,
}

/// How the answer tells the trace.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// `traceresponse`, in its own format.
    TraceResponse,
    /// The trace's id, in this header.
    Id(String),
}

impl Settings {
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        if config.max_per_second == Some(0) {
            return Err(ConfigError::at("max_per_second", "must be above 0; nothing is recorded with `sample: 0%`"));
        }
        let force = match config.force_headers {
            None => FORCE.map(str::to_owned).to_vec(),
            Some(names) => {
                let name = |(at, name): (usize, &String)| header(name, &format!("force_headers[{at}]"));
                names.iter().enumerate().map(name).collect::<Result<_, _>>()?
            }
        };
        let answer = match &config.response_header {
            None => None,
            Some(name) if name.eq_ignore_ascii_case("traceresponse") => Some(Answer::TraceResponse),
            Some(name) => Some(Answer::Id(header(name, "response_header")?)),
        };
        let operation = config.operation.as_deref().map(Template::parse).transpose();
        Ok(Self {
            extract: distinct(config.extract.unwrap_or_else(|| vec![Reads::W3c, Reads::B3]), "extract")?,
            inject: config.inject.map(|formats| distinct(formats, "inject")).transpose()?.map(Formats::from_iter),
            judge: Judge::new(config.trust, config.internal_networks.as_deref())?,
            sampler: Sampler::new(config.sample.map(|share| share.fraction()), config.max_per_second, config.untrusted),
            force,
            operation: operation.map_err(|error| ConfigError::at("operation", error))?,
            tags: Tags::new(config.tags)?,
            answer,
        })
    }
}

fn header(name: &str, path: &str) -> Result<String, ConfigError> {
    let name = header_name(name).map_err(|error| error.under(path))?;
    if TAKEN.contains(&name.as_str()) {
        return Err(ConfigError::at(path, format!("{name} is a header of the trace itself")));
    }
    Ok(name)
}

fn distinct<T: PartialEq>(list: Vec<T>, path: &str) -> Result<Vec<T>, ConfigError> {
    for (at, one) in list.iter().enumerate() {
        if list.iter().take(at).any(|before| before == one) {
            return Err(ConfigError::at(format!("{path}[{at}]"), "is there twice"));
        }
    }
    Ok(list)
}
