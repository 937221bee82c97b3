//! Waits in every way there is: for several calls at once, for whichever is first, for time, for gRPC; has a task; counts with labels.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use fyke_sdk::{
    Cluster, ConfigError, Counter, Either, Env, FilterConfig, Flow, HttpFilter, HttpRequest, Request, Response, Result,
    http_filter, join, select, sleep, timeout,
};
use serde::Deserialize;

/// The configuration.
#[derive(Deserialize, FilterConfig)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// How often the task calls `echo`, in milliseconds; 0: never.
    #[serde(default)]
    refresh_ms: u64,
}

/// The filter.
pub struct Busy {
    echo: Cluster,
    grpc: Cluster,
    told: Counter<2>,
    refreshed: Rc<Cell<u32>>,
}

#[http_filter]
impl HttpFilter for Busy {
    type Config = Config;
    type Ctx = ();

    fn configure(config: Config, env: &mut Env) -> Result<Self, ConfigError> {
        let echo = env.cluster("echo")?;
        let refreshed = Rc::new(Cell::new(0));
        if config.refresh_ms > 0 {
            let (echo, refreshed) = (echo.clone(), refreshed.clone());
            env.every(Duration::from_millis(config.refresh_ms), move || {
                let (echo, refreshed) = (echo.clone(), refreshed.clone());
                async move {
                    echo.call(HttpRequest::get("/refresh")).await?;
                    refreshed.set(refreshed.get() + 1);
                    Ok(())
                }
            });
        }
        Ok(Self { echo, grpc: env.cluster("grpc")?, told: env.counter("told_total", ["how", "what"])?, refreshed })
    }

    async fn on_request(&self, (): &mut (), request: &mut Request) -> Result<Flow> {
        let how = request.get_str("x-do")?.unwrap_or_default().to_owned();
        let call = |path| self.echo.call(HttpRequest::get(path));
        let said = match how.as_str() {
            "join" => {
                let (one, two) = join(call("/slow"), call("/quick")).await;
                [one?.body(), two?.body()].concat()
            }
            "select" => match select(call("/never"), call("/quick")).await {
                Either::Left(answer) | Either::Right(answer) => answer?.body().to_vec(),
            },
            "timeout" => match timeout(Duration::from_millis(30), call("/never")).await {
                Ok(answer) => answer?.body().to_vec(),
                Err(elapsed) => elapsed.to_string().into_bytes(),
            },
            "sleep" => {
                sleep(Duration::from_millis(30)).await;
                b"rested".to_vec()
            }
            "unary" => match self.grpc.grpc("test.Echo", "Say").send(*b"hi").await {
                Ok(answer) => answer.into_message(),
                Err(error) => error.to_string().into_bytes(),
            },
            "stream" => {
                let mut stream = self.grpc.grpc("test.Echo", "Talk").metadata("x-meta", "yes").stream()?;
                stream.send(b"one,")?;
                let mut said = stream.next().await?.unwrap_or_default();
                stream.send(b"two")?;
                stream.finish();
                while let Some(message) = stream.next().await? {
                    said.extend(message);
                }
                said
            }
            _ => {
                ::log::warn!("asked for {how}");
                b"nothing".to_vec()
            }
        };
        self.told.increment([&how, "x"]);
        request.set("x-said", said)?;
        Ok(Flow::Continue)
    }

    async fn on_response(&self, (): &mut (), response: &mut Response) -> Result<Flow> {
        response.set("x-refreshed", self.refreshed.get().to_string())?;
        Ok(Flow::Continue)
    }
}
