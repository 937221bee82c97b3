//! Measures what hostcalls cost, from inside: answers each request with one line for each kind, `name nanoseconds`.

use fyke_sdk::{
    ConfigError, Counter, Env, Flow, HttpFilter, Reply, Request, Result,
    abi::{self, MapKind},
    http_filter,
};

/// Calls of each kind.
const TIMES: u32 = 20_000;

/// The filter.
pub struct Cost {
    plain: Counter<0>,
    labelled: Counter<2>,
}

#[http_filter]
impl HttpFilter for Cost {
    type Config = ();
    type Ctx = ();

    fn configure((): (), env: &mut Env) -> Result<Self, ConfigError> {
        let labelled = env.counter("cost_labelled_total", ["method", "route"])?;
        Ok(Self { plain: env.counter("cost_plain_total", [])?, labelled })
    }

    async fn on_request(&self, (): &mut (), request: &mut Request) -> Result<Flow> {
        request.set("x-cost", "a value of usual length")?;
        let map = MapKind::RequestHeaders;
        abi::set_shared_data("cost", b"a value of usual length", 0)?;
        let lines = [
            each("header get, missing", || drop(abi::header(map, "x-missing"))),
            each("header get", || drop(abi::header(map, "x-cost"))),
            each("header set", || _ = abi::set_header(map, "x-cost", b"a value of usual length")),
            each("property get", || drop(abi::property(b"source\0address"))),
            each("shared data get", || drop(abi::shared_data("cost"))),
            each("shared data set", || _ = abi::set_shared_data("cost", b"a value of usual length", 0)),
            each("counter", || self.plain.increment([])),
            each("counter with two labels", || self.labelled.increment(["GET", "users-by-id"])),
        ];
        Ok(Reply::text(200, lines.concat()).into())
    }
}

fn each(name: &str, call: impl Fn()) -> String {
    let begun = abi::now();
    for _ in 0..TIMES {
        call();
    }
    let each = abi::now().saturating_sub(begun) as f64 / f64::from(TIMES);
    format!("{name}: {each:.1}\n")
}
