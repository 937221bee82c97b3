//! What the proxies forward to: nginx with one static answer for loads, a sink and source of bytes for streams.

use std::{
    io::{BufReader, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::Path,
    thread,
    time::Duration,
};

use anyhow::Context as _;

use crate::{
    client::{Connection, Head, PIECE},
    process::{self, Process},
};

/// Bytes of the static answer.
pub const ANSWER: usize = 128;

/// A port that was free a moment ago.
pub fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// nginx, one worker, answering everything from memory, and taking spans.
pub struct Static {
    /// Where it listens.
    pub address: SocketAddr,
    _process: Process,
}

impl Static {
    /// Starts it on `core`, with its files in `folder`.
    pub fn start(folder: &Path, core: usize) -> anyhow::Result<Self> {
        let nginx = process::find("nginx").context("nginx is missing: apt-get install nginx-light")?;
        let address = free_address()?;
        let configuration = folder.join("upstream.conf");
        let home = folder.display();
        let answer = "a".repeat(ANSWER);
        std::fs::write(
            &configuration,
            format!(
                "worker_processes 1;\npid {home}/upstream.pid;\nerror_log stderr error;\nevents {{ worker_connections 4096; }}\n\
                 http {{\n  access_log off;\n  keepalive_requests 1000000000;\n  keepalive_timeout 1h;\n  client_body_temp_path {home}/upstream-body;\n  \
                 server {{\n    listen {address} reuseport backlog=4096;\n    location = /v1/traces {{ return 200; }}\n    location / {{ return 200 \"{answer}\"; }}\n  }}\n}}\n"
            ),
        )?;
        let configuration = configuration.to_string_lossy();
        let arguments = ["-e", "stderr", "-g", "daemon off;", "-c", &configuration];
        let mut process = Process::start(&nginx, &arguments, core, &folder.join("upstream.log"))?;
        process.wait_ready(Duration::from_secs(10), || answers(address)).context("the upstream nginx")?;
        Ok(Self { address, _process: process })
    }
}

/// Whether `GET /` is answered with 200.
pub fn answers(address: SocketAddr) -> bool {
    Connection::open(address).and_then(|mut connection| connection.get("/")).is_ok()
}

/// Threads of this program that swallow uploads and pour downloads: `POST /sink` answers the number of bytes received,
/// `GET /source/N` answers with N bytes, anything else with a few.
pub struct Streams {
    /// Where it listens.
    pub address: SocketAddr,
}

impl Streams {
    /// Starts it; it lives as long as the program.
    pub fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        thread::spawn(move || {
            for stream in listener.incoming().filter_map(Result::ok) {
                // Errors show where bytes are counted: at the client. A reset of an idle connection is none.
                thread::spawn(move || serve(stream));
            }
        });
        Ok(Self { address })
    }
}

fn serve(stream: TcpStream) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::with_capacity(PIECE, stream);
    while let Some(head) = Head::read(&mut stream)? {
        let received = head.body(&mut stream, |_| {})?;
        let path = head.first.split(' ').nth(1).unwrap_or_default();
        let out = stream.get_mut();
        if let Some(length) = path.strip_prefix("/source/") {
            let mut left: u64 = length.parse()?;
            write!(out, "HTTP/1.1 200 OK\r\nContent-Length: {left}\r\n\r\n")?;
            let zeros = vec![0; PIECE];
            while left > 0 {
                let piece = zeros.get(..usize::try_from(left)?.min(PIECE)).unwrap_or_default();
                out.write_all(piece)?;
                left -= piece.len() as u64;
            }
        } else {
            let body = if path == "/sink" { received.to_string() } else { "ok".to_owned() };
            write!(out, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())?;
        }
    }
    Ok(())
}
