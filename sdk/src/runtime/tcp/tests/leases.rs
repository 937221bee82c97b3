//! Connections that borrow.

use std::time::Duration;

use super::{DOWN, closed_by_filter};
use crate::abi::Action;
use crate::lease::Reason;
use crate::tcp::{close, show_again, write};
use crate::testing::{LeaseState, TcpHost, World};
use crate::{
    Cluster, ConfigError, Conn, Data, Env, LeaseRefused, LeaseToken, Leased, Result, Side, StreamLog, TcpFilter,
    TcpFlow, sleep, tcp_filter,
};

mod asking;
mod losing;
mod passing;

const UP: Side = Side::Upstream;

/// Requests and answers are lines, and take turns.
struct Pool {
    servers: Cluster,
    eager: bool,
}

#[derive(Default)]
struct Talk {
    lease: Option<LeaseToken>,
    seen: Vec<String>,
}

fn first_line(data: &Data) -> Option<u64> {
    data.bytes().iter().position(|byte| *byte == b'\n').map(|at| at as u64 + 1)
}

#[tcp_filter]
impl TcpFilter for Pool {
    type Config = Option<bool>;
    type Ctx = Talk;

    fn configure(eager: Option<bool>, env: &mut Env) -> Result<Self, ConfigError> {
        Ok(Self { servers: env.cluster("servers")?, eager: eager.unwrap_or_default() })
    }

    async fn on_connect(&self, talk: &mut Talk, connection: &mut Conn) -> Result<TcpFlow> {
        connection.borrows_upstream()?;
        if self.eager {
            talk.lease = Some(self.servers.lease().ask()?);
            sleep(Duration::from_millis(10)).await;
        }
        Ok(TcpFlow::Continue)
    }

    fn on_downstream(&self, talk: &mut Talk, data: &mut Data) -> Result<TcpFlow> {
        match data.bytes() {
            b"twice\n" => {
                self.servers.lease().ask()?;
                self.servers.lease().ask()?;
            }
            b"loop\n" => show_again(DOWN)?,
            _ if talk.lease.is_none() && first_line(data).is_some() => {
                let request = self.servers.lease().endpoint("10.0.0.1:7").label("role", "primary").identity(b"me");
                let request = request.share("slow", 3).timeout(Duration::from_millis(250)).client(b"you");
                talk.lease = Some(request.ask()?);
            }
            _ => {}
        }
        Ok(TcpFlow::NeedMore)
    }

    fn on_leased(&self, talk: &mut Talk, lease: Result<Leased, LeaseRefused>, data: &mut Data) -> Result<TcpFlow> {
        match lease {
            Ok(lease) => {
                talk.seen.push(format!("{} {}us {}", lease.endpoint, lease.waited.as_micros(), lease.reused));
                talk.lease = Some(lease.token);
            }
            Err(refused) => {
                talk.seen.push(format!("{:?} {}", refused.reason, refused.text));
                talk.lease = None;
                data.write(DOWN, b"-no\n")?;
                return Ok(if refused.reason == Reason::UnknownCluster { TcpFlow::Close } else { TcpFlow::Continue });
            }
        }
        match first_line(data) {
            Some(1) => return Ok(TcpFlow::Continue),
            Some(length) => data.pass(length)?,
            None => {}
        }
        Ok(TcpFlow::NeedMore)
    }

    fn on_upstream(&self, talk: &mut Talk, data: &mut Data) -> Result<TcpFlow> {
        match data.bytes() {
            b"bad\n" => talk.lease.take().into_iter().for_each(|lease| lease.close("it is bad")),
            b"bye\n" => close()?,
            said if said.ends_with(b"\n") => {
                talk.lease.take().into_iter().for_each(LeaseToken::release);
                show_again(DOWN)?;
            }
            said if said.ends_with(b"+") => {
                talk.lease.take().into_iter().for_each(LeaseToken::release);
                return Ok(TcpFlow::NeedMore);
            }
            said if said.ends_with(b"5") => {
                data.skip(5)?;
                talk.lease.take().into_iter().for_each(LeaseToken::release);
            }
            _ => {}
        }
        Ok(TcpFlow::Continue)
    }

    fn on_close(&self, talk: &mut Talk, side: Side) {
        talk.seen.push(format!("{side:?}"));
        if side == UP {
            talk.lease = None;
            write(DOWN, b"-lost\n").unwrap();
            show_again(DOWN).unwrap();
        }
    }

    fn on_log(&self, talk: &mut Talk, _log: &StreamLog) {
        crate::log::write(crate::abi::Level::Info, &talk.seen.join(", "));
    }
}

fn pool() -> TcpHost<Pool> {
    TcpHost::configure("").unwrap()
}

fn connected() -> (TcpHost<Pool>, u32) {
    let host = pool();
    let (connection, action) = host.connect();
    assert_eq!(action, Action::Continue);
    (host, connection)
}

fn states<F: TcpFilter + crate::TcpPresent>(host: &TcpHost<F>, connection: u32) -> Vec<LeaseState> {
    host.leases(connection).into_iter().map(|lease| lease.state).collect()
}

fn seen(host: &TcpHost<Pool>, connection: u32) -> String {
    host.finish(connection);
    assert_eq!(host.connections(), 0);
    World::with(|world| world.logs.pop().unwrap().1)
}
