//! TCP connections: the client's end and the upstream's.

use std::{collections::BTreeMap, io, net::SocketAddr, rc::Rc};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

use super::{
    bench::Bench,
    protocol::{From, text},
};

/// Connections, by number.
pub(super) type Connections = BTreeMap<u32, Connection>;

/// What is known of one.
#[derive(Default)]
pub(super) struct Connection {
    client: End,
    upstream: End,
}

#[derive(Default)]
struct End {
    /// To say something there; the upstream has none before the proxy has connected.
    write: Option<OwnedWriteHalf>,
    /// What was to be said before that.
    early: Vec<(Vec<u8>, bool)>,
    got: Vec<u8>,
    ended: bool,
}

impl Connection {
    fn end(&mut self, which: From) -> &mut End {
        match which {
            From::Client => &mut self.client,
            From::Upstream => &mut self.upstream,
        }
    }

    pub fn look(&self) -> Value {
        json!({
            "client": text(&self.client.got),
            "upstream": text(&self.upstream.got),
            "open": !self.client.ended,
        })
    }
}

/// A client connects.
pub(super) async fn connect(bench: &Rc<Bench>, address: SocketAddr, id: u32) -> io::Result<()> {
    bench.connections.borrow_mut().insert(id, Connection::default());
    let stream = TcpStream::connect(address).await?;
    begin(bench, stream, id, From::Client).await
}

/// The proxy connects to the upstream: for the oldest connection that has none.
pub(super) async fn accept(bench: Rc<Bench>, listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        let waits = |connection: &Connection| connection.upstream.write.is_none() && !connection.upstream.ended;
        let id = bench.connections.borrow().iter().find(|(_, one)| waits(one)).map(|(id, _)| *id);
        if let Some(id) = id {
            // A connection that is gone at once is what its reader finds out.
            let _ = begin(&bench, stream, id, From::Upstream).await;
        }
    }
}

async fn begin(bench: &Rc<Bench>, stream: TcpStream, id: u32, which: From) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (read, write) = stream.into_split();
    let early = {
        let mut connections = bench.connections.borrow_mut();
        let Some(connection) = connections.get_mut(&id) else { return Ok(()) };
        let end = connection.end(which);
        end.write = Some(write);
        std::mem::take(&mut end.early)
    };
    tokio::task::spawn_local(listen(Rc::clone(bench), read, id, which));
    for (bytes, end) in early {
        send(bench, id, which, bytes, end).await?;
    }
    Ok(())
}

async fn listen(bench: Rc<Bench>, mut read: OwnedReadHalf, id: u32, which: From) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = read.read(&mut buffer).await.unwrap_or(0);
        bench.event();
        let mut connections = bench.connections.borrow_mut();
        let Some(connection) = connections.get_mut(&id) else { return };
        let end = connection.end(which);
        if count == 0 {
            end.ended = true;
            return;
        }
        end.got.extend_from_slice(buffer.get(..count).unwrap_or_default());
    }
}

/// One end says something, or that it has nothing more to say.
pub(super) async fn send(bench: &Rc<Bench>, id: u32, which: From, bytes: Vec<u8>, ends: bool) -> io::Result<()> {
    let write = {
        let mut connections = bench.connections.borrow_mut();
        let Some(connection) = connections.get_mut(&id) else { return Ok(()) };
        let end = connection.end(which);
        match end.write.take() {
            Some(write) => write,
            None => {
                end.early.push((bytes, ends));
                return Ok(());
            }
        }
    };
    let mut write = write;
    let said = async {
        write.write_all(&bytes).await?;
        if ends { write.shutdown().await } else { Ok(()) }
    }
    .await;
    if let Some(connection) = bench.connections.borrow_mut().get_mut(&id) {
        connection.end(which).write = Some(write);
    }
    said
}
