//! Documents of 16 MB: a server and clients on blocking connections, a thread for each.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    thread,
    time::Duration,
};

use anyhow::{Context as _, anyhow, ensure};

use super::wire;

const PATIENCE: Duration = Duration::from_secs(60);
/// Bytes read at a time.
const PIECE: usize = 256 * 1024;
/// What is longer is an insert.
const SHORT: usize = 1 << 16;

/// Starts a server that takes inserts and answers finds with a document of 16 MB; it lives as long as the program.
pub fn serve() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let reply = Arc::new(wire::large_reply());
    thread::spawn(move || {
        for stream in listener.incoming().filter_map(Result::ok) {
            let reply = Arc::clone(&reply);
            // Errors show where replies are counted: at the client.
            thread::spawn(move || answer(stream, &reply));
        }
    });
    Ok(address)
}

fn answer(mut stream: TcpStream, reply: &[u8]) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let mut reply = reply.to_vec();
    loop {
        let mut head = [0; wire::HEADER];
        stream.read_exact(&mut head)?;
        let (id, length) = (wire::request_id(&head), wire::length_of(&head)?.context("no length")?);
        if length > SHORT {
            swallow(&mut stream, length - head.len())?;
            let mut inserted = wire::inserted();
            wire::set_ids(&mut inserted, id, id);
            stream.write_all(&inserted)?;
            continue;
        }
        let mut message = head.to_vec();
        message.resize(length, 0);
        stream.read_exact(message.get_mut(wire::HEADER..).unwrap_or_default())?;
        if wire::command(&message) == b"find" {
            wire::set_ids(&mut reply, id, id);
            stream.write_all(&reply)?;
        } else {
            let mut greeting = wire::greeting();
            wire::set_ids(&mut greeting, id, id);
            stream.write_all(&greeting)?;
        }
    }
}

/// Has `connections` clients pass `documents` each, half of them by inserts, half by finds. Returns how many bytes of messages
/// they were.
pub fn pass(address: SocketAddr, connections: u32, documents: u32) -> anyhow::Result<u64> {
    let clients: Vec<_> = (0..connections)
        .map(|number| {
            thread::spawn(move || if number % 2 == 0 { find(address, documents) } else { insert(address, documents) })
        })
        .collect();
    let mut bytes = 0;
    for client in clients {
        bytes += client.join().map_err(|_| anyhow!("a client panicked"))??;
    }
    Ok(bytes)
}

fn connect(address: SocketAddr) -> anyhow::Result<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    wire::greet(&mut stream)?;
    Ok(stream)
}

fn find(address: SocketAddr, documents: u32) -> anyhow::Result<u64> {
    let (mut stream, mut find, expected) = (connect(address)?, wire::large_find(), wire::large_reply().len());
    for id in 2..documents + 2 {
        wire::set_ids(&mut find, id, 0);
        stream.write_all(&find)?;
        let mut head = [0; wire::HEADER];
        stream.read_exact(&mut head).context("no reply to a find")?;
        ensure!(wire::response_to(&head) == id, "a reply to something else");
        ensure!(wire::length_of(&head)? == Some(expected), "a reply of another length");
        swallow(&mut stream, expected - head.len())?;
    }
    Ok(u64::from(documents) * expected as u64)
}

fn insert(address: SocketAddr, documents: u32) -> anyhow::Result<u64> {
    let (mut stream, mut insert, inserted) = (connect(address)?, wire::large_insert(), wire::inserted());
    for id in 2..documents + 2 {
        wire::set_ids(&mut insert, id, 0);
        stream.write_all(&insert)?;
        let reply = wire::read(&mut stream).context("no reply to an insert")?;
        ensure!(wire::response_to(&reply) == id, "a reply to something else");
        ensure!(reply.get(wire::HEADER..) == inserted.get(wire::HEADER..), "an insert was refused");
    }
    Ok(u64::from(documents) * insert.len() as u64)
}

fn swallow(stream: &mut TcpStream, length: usize) -> anyhow::Result<()> {
    let mut piece = vec![0; PIECE];
    let mut left = length;
    while left > 0 {
        let want = left.min(PIECE);
        let read = stream.read(piece.get_mut(..want).unwrap_or_default())?;
        ensure!(read > 0, "a message was cut short by {left} bytes");
        left -= read;
    }
    Ok(())
}
