//! Counts requests by the part of the site that they are for, and how long they took.

use std::time::SystemTime;

use fyke_sdk::{
    ConfigError, Counter, Env, FilterConfig, Flow, Histogram, HttpFilter, Request, Result, StreamLog, http_filter,
    property, time,
};
use serde::Deserialize;

/// What operators write below `config:`.
#[derive(Deserialize, FilterConfig)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The parts of the site, by the beginning of their paths.
    paths: Vec<String>,
}

/// One configuration of the filter; every stream looks at it.
pub struct __Name__ {
    paths: Vec<String>,
    // How many labels a metric has is part of its type: a value that is missing does not compile.
    requests: Counter<2>,
    milliseconds: Histogram<1>,
}

/// What belongs to one stream.
#[derive(Default)]
pub struct Ctx {
    part: Option<usize>,
    began: Option<SystemTime>,
}

#[http_filter]
impl HttpFilter for __Name__ {
    type Config = Config;
    type Ctx = Ctx;

    fn configure(config: Config, env: &mut Env) -> Result<Self, ConfigError> {
        if let Some(at) = config.paths.iter().position(|path| !path.starts_with('/')) {
            return Err(ConfigError::at(format!("paths[{at}]"), "must begin with '/'"));
        }
        Ok(Self {
            paths: config.paths,
            requests: env.counter("site_requests_total", ["part", "status"])?,
            milliseconds: env.histogram("site_request_milliseconds", ["part"])?,
        })
    }

    async fn on_request(&self, cx: &mut Ctx, request: &mut Request) -> Result<Flow> {
        cx.part = self.paths.iter().position(|path| request.path().starts_with(path.as_bytes()));
        cx.began = Some(time::now());
        Ok(Flow::Continue)
    }

    // Labels come from the configuration and from a status, never from a client: nobody can make series without end.
    fn on_log(&self, cx: &mut Ctx, _log: &StreamLog) {
        let part = cx.part.and_then(|part| self.paths.get(part)).map_or("other", String::as_str);
        let status = property::integer(&["response", "code"]).unwrap_or(0).to_string();
        self.requests.increment([part, &status]);
        if let Some(took) = cx.began.and_then(|began| time::now().duration_since(began).ok()) {
            self.milliseconds.record(u64::try_from(took.as_millis()).unwrap_or(u64::MAX), [part]);
        }
    }
}

#[cfg(test)]
mod tests {
    use fyke_sdk::testing::{TestHost, TestRequest, TestResponse};

    use super::*;

    #[test]
    fn requests_are_counted_by_part_and_status() {
        let mut host = TestHost::<__Name__>::configure("paths: [/api]").unwrap();
        host.upstream(|request| TestResponse::new(if request.path() == "/api/missing" { 404 } else { 200 }));
        for path in ["/api/a", "/api/b", "/api/missing", "/"] {
            let _ = host.send(TestRequest::get(path));
        }
        assert_eq!(host.counter("site_requests_total", [("part", "/api"), ("status", "200")]), 2);
        assert_eq!(host.counter("site_requests_total", [("part", "/api"), ("status", "404")]), 1);
        assert_eq!(host.counter("site_requests_total", [("part", "other"), ("status", "200")]), 1);
        assert_eq!(host.histogram_count("site_request_milliseconds", [("part", "/api")]), 3);
    }

    #[test]
    fn a_path_without_a_slash_is_refused() {
        let error = TestHost::<__Name__>::configure("paths: [/api, static]").err().unwrap();
        assert_eq!(error.path(), "paths[1]");
    }
}
