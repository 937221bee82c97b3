//! Frames of one length byte and a body: holds them until they are whole, lets long ones pass unseen, answers pings by itself,
//! and asks a service before a connection goes on.

use fyke_sdk::{
    Cluster, ConfigError, Conn, Counter, Data, Env, Error, HttpRequest, Result, Side, StreamLog, TcpFilter, TcpFlow,
    log, tcp_filter,
};

/// The filter.
pub struct Frames {
    gate: Cluster,
    frames: Counter<1>,
}

/// What a connection has seen.
#[derive(Default)]
pub struct Seen {
    events: Vec<String>,
}

#[tcp_filter]
impl TcpFilter for Frames {
    type Config = ();
    type Ctx = Seen;

    fn configure((): (), env: &mut Env) -> Result<Self, ConfigError> {
        Ok(Self { gate: env.cluster("gate")?, frames: env.counter("frames_total", ["kind"])? })
    }

    async fn on_connect(&self, cx: &mut Seen, connection: &mut Conn) -> Result<TcpFlow> {
        let from = connection.source_address();
        let answer = self.gate.call(HttpRequest::get("/may").header("x-from", from)).await?;
        cx.events.push(format!("gate {}", answer.status()));
        if let Some(cluster) = answer.header("x-cluster") {
            connection.set_cluster(std::str::from_utf8(cluster)?)?;
        }
        Ok(if answer.status() == 200 { TcpFlow::Continue } else { TcpFlow::Close })
    }

    fn on_downstream(&self, _cx: &mut Seen, data: &mut Data) -> Result<TcpFlow> {
        let mut at = 0;
        while let Some(length) = data.read(at, 1).first().copied() {
            let whole = at + 1 + usize::from(length);
            match length {
                0 => return Err(Error::new("an empty frame")),
                1 if data.read(at + 1, 1) == b"!" => return Ok(TcpFlow::Close),
                1 if data.read(at + 1, 1) == b"?" => {
                    self.frames.increment(["ping"]);
                    data.write(Side::Downstream, b"pong\n")?;
                    data.replace(b"")?;
                    return Ok(TcpFlow::Continue);
                }
                200.. if whole > data.len() => {
                    self.frames.increment(["long"]);
                    data.skip((whole - data.len()) as u64)?;
                    return Ok(TcpFlow::Continue);
                }
                _ if whole > data.len() => return Ok(TcpFlow::NeedMore),
                _ => self.frames.increment(["short"]),
            }
            at = whole;
        }
        Ok(TcpFlow::Continue)
    }

    fn on_upstream(&self, cx: &mut Seen, data: &mut Data) -> Result<TcpFlow> {
        cx.events.push(format!("up {}", data.len()));
        Ok(TcpFlow::Continue)
    }

    fn on_close(&self, cx: &mut Seen, side: Side) {
        cx.events.push(format!("close {side:?}"));
    }

    fn on_log(&self, cx: &mut Seen, _log: &StreamLog) {
        log::write(fyke_sdk::abi::Level::Info, &format!("seen: {}", cx.events.join(", ")));
    }
}
