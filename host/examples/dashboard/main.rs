//! Serves the dashboard of a proxy that does not exist, to look at its pages and to test them in a browser.
//!
//! ```text
//! cargo run --example dashboard -- 127.0.0.1:9900
//! listening on http://127.0.0.1:9900/dashboard
//! ```
//!
//! `POST /fake/kill?cluster=C&address=A`, `/fake/revive` and `/fake/traffic?cluster=C&rate=R` change what it pretends.

mod fake;
mod http;

use std::{
    io::Write as _,
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use fyke::admin::dashboard::{
    Source as _, action, link,
    live::{FEEDS, PERIOD},
    model::Viewer,
    route::{self, Post, Request, Response, Wish},
    session::Sessions,
};

use self::fake::Fake;

/// What signs in.
const TOKEN: &str = "fyke";
const CONNECTIONS: usize = 256;

struct Server {
    fake: Fake,
    sessions: Sessions,
    feeds: AtomicUsize,
    open: AtomicUsize,
    /// Everybody may change everything, as behind a unix socket.
    is_trusting: bool,
}

fn main() -> std::io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let address = arguments.first().map_or("127.0.0.1:9900", String::as_str);
    let is_trusting = !arguments.iter().any(|argument| argument == "--sign-in");
    let listener = TcpListener::bind(address)?;
    let address = listener.local_addr()?;
    let server = Arc::new(Server {
        fake: Fake::new(),
        sessions: Sessions::new(address.port()),
        feeds: AtomicUsize::new(0),
        open: AtomicUsize::new(0),
        is_trusting,
    });
    println!("listening on http://{address}{}", link::BASE);
    let ticking = Arc::clone(&server);
    thread::spawn(move || {
        loop {
            ticking.fake.tick();
            thread::sleep(Duration::from_millis(PERIOD));
        }
    });
    for stream in listener.incoming().flatten() {
        if server.open.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS {
            server.open.fetch_sub(1, Ordering::Relaxed);
            continue;
        }
        let server = Arc::clone(&server);
        thread::spawn(move || {
            // Whoever goes away early is no trouble of ours.
            let _ = serve(&server, &stream);
            server.open.fetch_sub(1, Ordering::Relaxed);
        });
    }
    Ok(())
}

fn serve(server: &Server, stream: &TcpStream) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    stream.set_write_timeout(Some(Duration::from_secs(5)))?;
    stream.set_nodelay(true)?;
    let mut reader = http::Reader::new(stream);
    while let Some(request) = reader.next_request()? {
        let viewer = if server.is_trusting {
            Viewer { csrf: Some("trusted".to_owned()), signs_in: false }
        } else {
            server.sessions.viewer(server.fake.now(), request.header("cookie"))
        };
        if request.method == "GET" && request.path() == route::LIVE {
            return live(server, stream, &request, viewer);
        }
        let response = match request.method.as_str() {
            "GET" | "HEAD" if request.path() == "/" => {
                http::write(stream, &plain(303, link::BASE), true)?;
                continue;
            }
            "GET" | "HEAD" => route::respond(
                &Request {
                    path_and_query: &request.target,
                    if_none_match: Some(request.header("if-none-match")),
                    viewer: &viewer,
                },
                &server.fake,
            ),
            "POST" if request.path().starts_with("/fake/") => plain(server.fake.pretend(&request.target), ""),
            "POST" => change(server, &request, &viewer),
            _ => plain(405, ""),
        };
        http::write(stream, &response, request.method != "HEAD")?;
    }
    Ok(())
}

fn plain(status: u16, location: &str) -> Response {
    let headers = if location.is_empty() { Vec::new() } else { vec![("location", location.to_owned())] };
    Response { status, content_type: "text/plain", headers, body: Vec::new().into() }
}

fn change(server: &Server, request: &http::Request, viewer: &Viewer) -> Response {
    let (origin, host) = (request.header("origin"), request.header("host"));
    if !origin.is_empty() && origin != format!("http://{host}") {
        return plain(403, "");
    }
    let (content_type, accept) = (request.header("content-type"), request.header("accept"));
    if request.body.len() > action::most(content_type) {
        return plain(413, "");
    }
    let posted = Post { path: request.path(), content_type, accept, body: &request.body, viewer };
    match route::post(&posted, &server.fake) {
        Err(response) => response,
        Ok(Wish::Act(action)) => {
            let outcome = server.fake.act(&action);
            route::done(&action, outcome, accept, viewer, &server.fake)
        }
        Ok(Wish::SignIn { token, to }) => {
            // A fake has nothing to guard; a host takes its entropy from the system.
            let cookie = (token == TOKEN).then(|| server.sessions.open(server.fake.now(), server.fake.entropy()));
            route::signed_in(cookie, &to, viewer, &server.fake)
        }
        Ok(Wish::SignOut) => route::signed_out(server.sessions.close(request.header("cookie"))),
    }
}

/// Events until the browser goes.
fn live(server: &Server, mut stream: &TcpStream, request: &http::Request, viewer: Viewer) -> std::io::Result<()> {
    let query = request.target.split_once('?').map_or("", |(_, query)| query);
    let Some((head, mut feed)) = route::feed(query, viewer) else {
        return http::write(stream, &plain(400, ""), true);
    };
    if server.feeds.fetch_add(1, Ordering::Relaxed) >= FEEDS {
        server.feeds.fetch_sub(1, Ordering::Relaxed);
        return http::write(stream, &plain(503, ""), true);
    }
    let mut send = || -> std::io::Result<()> {
        http::write_head(stream, &head, None)?;
        loop {
            stream.write_all(&feed.poll(&server.fake))?;
            stream.flush()?;
            server.fake.wait();
        }
    };
    let ended = send();
    server.feeds.fetch_sub(1, Ordering::Relaxed);
    ended
}
