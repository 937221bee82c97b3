//! Lets clients of a protocol of lines share connections: one exchange of a line and its answer at a time.
//!
//! `put N` and `cut N` are followed by N bytes, and an answer `data N` too. `me NAME` says as whom the next exchanges are made; `at ADDRESS` with which
//! endpoint, `with ROLE` with which that have this role; `label ADDRESS ROLE` publishes one. The handshake says `user NAME` and wants `ok`.

use std::time::Duration;

use fyke_sdk::{
    Cluster, ConfigError, Conn, Data, Env, Error, LeaseRefused, LeaseToken, Leased, Opened, Result, Side, TcpFilter,
    TcpFlow, tcp, tcp_filter,
};

/// The filter.
pub struct Lines {
    servers: Cluster,
    wait: Duration,
}

/// One client.
#[derive(Default)]
pub struct Client {
    name: String,
    endpoint: String,
    role: Option<String>,
    exchange: Option<LeaseToken>,
}

#[tcp_filter]
impl TcpFilter for Lines {
    type Config = u64;
    type Ctx = Client;

    fn configure(wait: u64, env: &mut Env) -> Result<Self, ConfigError> {
        Ok(Self { servers: env.cluster("servers")?, wait: Duration::from_millis(wait) })
    }

    async fn on_connect(&self, _client: &mut Client, connection: &mut Conn) -> Result<TcpFlow> {
        connection.borrows_upstream()?;
        Ok(TcpFlow::Continue)
    }

    fn on_downstream(&self, client: &mut Client, data: &mut Data) -> Result<TcpFlow> {
        if client.exchange.is_some() {
            return Ok(TcpFlow::NeedMore);
        }
        let mut answered = 0;
        while let Some(line) = line(data.bytes().get(answered..).unwrap_or_default()) {
            let words: Vec<&str> = line.split(' ').collect();
            match words.as_slice() {
                ["me", name] => client.name = (*name).to_owned(),
                ["at", endpoint] => client.endpoint = (*endpoint).to_owned(),
                ["with", role] => client.role = Some((*role).to_owned()),
                ["label", endpoint, role] => self.servers.label(endpoint, "role", role)?,
                ["close"] => return Ok(TcpFlow::Close),
                _ => {
                    let mut ask = self.servers.lease().identity(&client.name).timeout(self.wait);
                    if let Some(role) = &client.role {
                        ask = ask.label("role", role);
                    }
                    client.exchange = Some(ask.endpoint(&client.endpoint).client(&client.name).ask()?);
                    break;
                }
            }
            answered += line.len() + 1;
        }
        if answered > 0 {
            let rest = data.bytes().get(answered..).unwrap_or_default().to_vec();
            data.replace(rest)?;
        }
        Ok(TcpFlow::NeedMore)
    }

    fn on_leased(&self, client: &mut Client, lease: Result<Leased, LeaseRefused>, data: &mut Data) -> Result<TcpFlow> {
        let line = line(data.bytes()).ok_or_else(|| Error::new("the line is gone"))?;
        match lease {
            Ok(lease) => {
                client.exchange = Some(lease.token);
                let body = line.strip_prefix("put ").or_else(|| line.strip_prefix("cut "));
                let follows = body.map_or(Ok(0), str::parse::<u64>)?;
                let length = u64::try_from(line.len() + 1)?;
                data.pass(length + follows)?;
            }
            Err(refused) => {
                client.exchange = None;
                let rest = data.bytes().get(line.len() + 1..).unwrap_or_default().to_vec();
                data.write(Side::Downstream, format!("refused {:?}\n", refused.reason))?;
                data.replace(rest)?;
                tcp::show_again(Side::Downstream)?;
            }
        }
        Ok(TcpFlow::NeedMore)
    }

    fn on_upstream(&self, client: &mut Client, data: &mut Data) -> Result<TcpFlow> {
        let Some(line) = line(data.bytes()) else { return Ok(TcpFlow::NeedMore) };
        let follows = line.strip_prefix("data ").map_or(Ok(0), str::parse::<u64>)?;
        let whole = u64::try_from(line.len() + 1)? + follows;
        data.pass(whole)?;
        if let Some(exchange) = client.exchange.take() {
            exchange.release();
        }
        tcp::show_again(Side::Downstream)?;
        // What is beyond the answer is nobody's.
        Ok(TcpFlow::NeedMore)
    }

    fn on_close(&self, client: &mut Client, side: Side) {
        if side == Side::Upstream && client.exchange.take().is_some() {
            let _ = tcp::write(Side::Downstream, b"lost\n");
            let _ = tcp::show_again(Side::Downstream);
        }
    }

    async fn on_opened(&self, _client: &mut Client, upstream: &mut Opened) -> Result<()> {
        upstream.write([b"user ", upstream.identity(), b"\n"].concat())?;
        let answer = upstream.read_until(b"\n").await?;
        if answer == b"ok\n" { Ok(()) } else { Err(Error::new("not let in")) }
    }
}

/// The first line, if all of it is there.
fn line(bytes: &[u8]) -> Option<String> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    String::from_utf8(bytes.get(..end)?.to_vec()).ok()
}
