//! The filter.

use fyke_sdk::{
    ConfigError, Env, Flow, Headers, HttpFilter, Reply, Request, Response, Result, header_name, http_filter,
};

use crate::config::Config;
use crate::origin::Allowed;

/// One configuration of the filter.
pub struct Cors {
    origins: Vec<Allowed>,
    methods: String,
    headers: AllowedHeaders,
    expose: String,
    credentials: bool,
    max_age: Option<String>,
    /// Every origin gets the same answer, so caches need not tell them apart.
    same_for_all: bool,
}

enum AllowedHeaders {
    /// Those that the page asks for.
    Asked,
    These(String),
}

/// What a stream's answer has to say.
#[derive(Default)]
pub struct Ctx {
    /// The request's origin, where it is allowed.
    origin: Option<Box<[u8]>>,
}

#[http_filter]
impl HttpFilter for Cors {
    type Config = Config;
    type Ctx = Ctx;

    fn configure(config: Config, _env: &mut Env) -> Result<Self, ConfigError> {
        if config.allow_origins.is_empty() {
            return Err(ConfigError::at(
                "allow_origins",
                "must not be empty: then nothing is allowed, which is so without this filter",
            ));
        }
        let origins =
            config.allow_origins.into_iter().enumerate().map(|(at, origin)| {
                Allowed::build(origin).map_err(|error| error.under(format!("allow_origins[{at}]")))
            });
        let origins: Vec<Allowed> = origins.collect::<Result<_, _>>()?;
        let every = origins.iter().any(|allowed| matches!(allowed, Allowed::Every));
        if every && config.allow_credentials {
            return Err(ConfigError::at(
                "allow_credentials",
                "cannot be given to every origin: name them in `allow_origins`",
            ));
        }
        let max_age = config.max_age.map(|age| age.as_secs().to_string());
        Ok(Self {
            origins,
            methods: names(&config.allow_methods, "allow_methods", false)?,
            headers: if config.allow_headers.iter().any(|name| name == "*") {
                AllowedHeaders::Asked
            } else {
                AllowedHeaders::These(names(&config.allow_headers, "allow_headers", true)?)
            },
            expose: names(&config.expose_headers, "expose_headers", true)?,
            credentials: config.allow_credentials,
            max_age,
            same_for_all: every,
        })
    }

    async fn on_request(&self, cx: &mut Ctx, request: &mut Request) -> Result<Flow> {
        let Some(origin) = request.get("origin") else {
            return Ok(Flow::Continue);
        };
        if !self.origins.iter().any(|allowed| allowed.matches(origin)) {
            return Ok(Flow::Continue);
        }
        let origin: Box<[u8]> = origin.into();
        if request.method() == b"OPTIONS" && request.contains("access-control-request-method") {
            return Ok(self.preflight(&origin, request).into());
        }
        cx.origin = Some(origin);
        Ok(Flow::Continue)
    }

    async fn on_response(&self, cx: &mut Ctx, response: &mut Response) -> Result<Flow> {
        if !self.same_for_all {
            // Also where there was no origin: a cache must not give that answer to one.
            vary(response)?;
        }
        let Some(origin) = &cx.origin else {
            return Ok(Flow::Continue);
        };
        response.set("access-control-allow-origin", if self.same_for_all { b"*" } else { &**origin })?;
        // Nothing of what the upstream said to its own origins is said to this one.
        if self.credentials {
            response.set("access-control-allow-credentials", "true")?;
        } else {
            response.remove("access-control-allow-credentials")?;
        }
        if self.expose.is_empty() {
            response.remove("access-control-expose-headers")?;
        } else {
            response.set("access-control-expose-headers", &self.expose)?;
        }
        Ok(Flow::Continue)
    }
}

impl Cors {
    fn preflight(&self, origin: &[u8], request: &Request) -> Reply {
        let mut reply = Reply::new(204)
            .details("cors_preflight")
            .header("access-control-allow-origin", if self.same_for_all { b"*" } else { origin })
            .header("access-control-allow-methods", &self.methods);
        match &self.headers {
            AllowedHeaders::Asked => {
                if let Some(asked) = request.get("access-control-request-headers") {
                    reply = reply.header("access-control-allow-headers", asked);
                }
            }
            AllowedHeaders::These(names) if !names.is_empty() => {
                reply = reply.header("access-control-allow-headers", names);
            }
            AllowedHeaders::These(_) => {}
        }
        if self.credentials {
            reply = reply.header("access-control-allow-credentials", "true");
        }
        if let Some(age) = &self.max_age {
            reply = reply.header("access-control-max-age", age);
        }
        reply.header("vary", "origin, access-control-request-method, access-control-request-headers")
    }
}

fn vary(headers: &mut Headers) -> Result<()> {
    let says_so = |value: &Vec<u8>| {
        value
            .split(|byte| *byte == b',')
            .any(|one| matches!(one.trim_ascii(), b"*") || one.trim_ascii().eq_ignore_ascii_case(b"origin"))
    };
    if headers.values("vary").iter().any(says_so) {
        return Ok(());
    }
    headers.add("vary", "origin")
}

fn names(list: &[String], key: &str, lower: bool) -> Result<String, ConfigError> {
    let names = list.iter().enumerate().map(|(at, name)| {
        let checked = header_name(name)
            .map_err(|_| ConfigError::at(format!("{key}[{at}]"), format!("\"{name}\" is not a name")))?;
        Ok(if lower { checked } else { name.clone() })
    });
    Ok(names.collect::<Result<Vec<_>, ConfigError>>()?.join(", "))
}
