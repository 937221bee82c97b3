//! Lets connections through that begin with a greeting, and takes it off.

use fyke_sdk::{ConfigError, Counter, Data, Env, FilterConfig, Result, TcpFilter, TcpFlow, tcp_filter};
use serde::Deserialize;

/// What operators write below `config:`.
#[derive(Deserialize, FilterConfig)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The first line of every connection.
    greeting: String,
}

/// One configuration of the filter; every connection looks at it.
pub struct __Name__ {
    greeting: Vec<u8>,
    strangers: Counter<0>,
}

/// What belongs to one connection.
#[derive(Default)]
pub struct Ctx {
    greeted: bool,
}

#[tcp_filter]
impl TcpFilter for __Name__ {
    type Config = Config;
    type Ctx = Ctx;

    fn configure(config: Config, env: &mut Env) -> Result<Self, ConfigError> {
        if config.greeting.is_empty() {
            return Err(ConfigError::at("greeting", "must not be empty"));
        }
        let greeting = format!("{}\n", config.greeting).into_bytes();
        Ok(Self { greeting, strangers: env.counter("strangers_total", [])? })
    }

    fn on_downstream(&self, cx: &mut Ctx, data: &mut Data) -> Result<TcpFlow> {
        if cx.greeted {
            return Ok(TcpFlow::Continue);
        }
        let bytes = data.bytes();
        if !bytes.starts_with(&self.greeting) {
            // Half of the greeting may still become a whole one.
            if self.greeting.starts_with(bytes) {
                return Ok(TcpFlow::NeedMore);
            }
            self.strangers.increment([]);
            return Ok(TcpFlow::Close);
        }
        let rest = bytes.get(self.greeting.len()..).unwrap_or_default().to_vec();
        data.replace(rest)?;
        cx.greeted = true;
        Ok(TcpFlow::Continue)
    }
}

#[cfg(test)]
mod tests {
    use fyke_sdk::testing::TcpTestHost;

    use super::*;

    fn host() -> TcpTestHost<__Name__> {
        TcpTestHost::configure("greeting: hello").unwrap()
    }

    #[test]
    fn the_greeting_is_taken_off_in_whatever_pieces_it_comes() {
        host().every_chunking("hello\nrest", |host, connection| {
            assert_eq!(host.upstream_got(connection), "rest");
            host.upstream_sends(connection, "fine");
            assert_eq!(host.client_got(connection), "fine");
        });
    }

    #[test]
    fn strangers_are_closed() {
        let mut host = host();
        let stranger = host.connect();
        host.client_sends(&stranger, "help");
        assert!(!host.is_open(&stranger));
        assert_eq!(host.upstream_got(&stranger), "");
        assert_eq!(host.counter("strangers_total", []), 1);
        host.close(stranger);
    }
}
