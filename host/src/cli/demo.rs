//! `fyke demo`: three small services, the proxy before them, a trickle of traffic, and what to try.

use std::{
    convert::Infallible,
    io,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{Empty, Full};
use hyper::{body::Incoming, client, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

use super::{BAD_CONFIGURATION, FAILED, Output, complain, print, process};
use crate::{
    config::{self, Format, resolved::Address},
    telemetry::logging::Control,
};

/// Runs the demo until Ctrl-C, or for `duration`.
pub fn run(duration: Option<Duration>, port: u16, log: Control) -> u8 {
    let runtime = match process::control_plane() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start: {error}");
            return FAILED;
        }
    };
    let services = match runtime.block_on(services()) {
        Ok(services) => services,
        Err(error) => {
            eprintln!("error: cannot start the sample services: {error}");
            return FAILED;
        }
    };
    let Some(admin) = (if port == 0 { Some(0) } else { port.checked_add(1) }) else {
        eprintln!("error: the admin endpoint needs the port after {port}, and there is none");
        return BAD_CONFIGURATION;
    };
    let text = configuration(port, admin, &services);
    let config = match config::load_text("demo.yaml", &text, Format::Yaml, Path::new(".")) {
        Ok(config) => config,
        Err(report) => return complain(&report, Output::Text),
    };
    let started = {
        let _entered = runtime.enter();
        process::Process::start(config, None, false, log)
    };
    let process = match started {
        Ok(process) => process,
        Err(report) => {
            let code = complain(&report, Output::Text);
            eprintln!("try another port: fyke demo --port 18080 (the admin endpoint has the one after it)");
            let _ = std::fs::remove_file(log_file());
            return code;
        }
    };
    let proxy = process.listeners().first().and_then(|(_, address)| address.ip());
    if let (Some(proxy), Some(admin)) = (proxy, &process.admin_address) {
        print(format_args!("{}", welcome(proxy, admin, &services, &text)));
        runtime.spawn(trickle(proxy));
    }
    runtime.block_on(process.asked_to_end(duration));
    print(format_args!("\ndraining: open requests finish, new connections are refused"));
    process.drain(&runtime);
    let _ = std::fs::remove_file(log_file());
    let code = print(format_args!("done"));
    runtime.shutdown_background();
    code
}

struct Services {
    shop: SocketAddr,
    users: SocketAddr,
    slow: SocketAddr,
}

fn configuration(port: u16, admin: u16, services: &Services) -> String {
    let Services { shop, users, slow } = services;
    format!(
        r#"admin: {{ address: 127.0.0.1:{admin} }}
workers: 2
listeners:
  web: {{ address: 127.0.0.1:{port}, filters: [request-id, access-log, router], drain: 5s }}
filters:
  request-id: {{ module: builtin:request-id, config: {{ response: true }} }}
  access-log: {{ module: builtin:access-log, config: {{ format: json, sink: requests, fields: {{ method: request.method, path: request.path, status: response.code, why: response.code_details, route: route_name, to: upstream.address }} }} }}
  router:
    module: builtin:router
    config:
      routes:
        - {{ name: users, match: {{ path_prefix: /users }}, cluster: users, rewrite: {{ prefix: / }} }}
        - {{ name: slow, match: {{ path: /slow }}, cluster: slow, timeout: 1s }}
        - {{ name: old, match: {{ path: /old }}, redirect: {{ path: /, code: 301 }} }}
        - {{ name: ping, match: {{ path: /ping }}, respond: {{ status: 200, body: "pong\n" }} }}
        - {{ name: canary, match: {{ path: /mixed }}, weighted_clusters: [{{ cluster: shop, weight: 80 }}, {{ cluster: users, weight: 20 }}] }}
        - {{ name: shop, cluster: shop }}
clusters:
  shop: {{ endpoints: [{shop}] }}
  users: {{ endpoints: [{users}] }}
  slow: {{ endpoints: [{slow}] }}
sinks:
  requests: {{ file: {log} }}
"#,
        log = log_file().display()
    )
}

fn log_file() -> std::path::PathBuf {
    std::env::temp_dir().join(format!("fyke-demo-{}.log", std::process::id()))
}

fn welcome(proxy: SocketAddr, admin: &Address, services: &Services, configuration: &str) -> String {
    format!(
        "Fyke demo
  proxy    http://{proxy}        chain: request-id, access-log, router (three WebAssembly filters)
  admin    http://{admin}
  services shop {shop}, users {users}, slow {slow}

Its configuration is this:

{configuration}
Try:
  1. curl -i http://{proxy}/users/42
       answered by `users`; the router took /users off, request-id added x-request-id
  2. curl -i http://{proxy}/slow
       504 after one second: the route's timeout, not the service's three seconds
  3. for i in 1 2 3 4 5 6 7 8 9 10; do curl -s http://{proxy}/mixed; done
       about eight from `shop` and two from `users`: weighted clusters
  4. tail -f {log}
       one JSON line for each request, with the route, the endpoint and why it was answered so
  5. curl -s http://{admin}/metrics | grep fyke_listener_requests_total
       what the trickle of traffic adds up to; also: /clusters /filters /config /ready

Ctrl-C drains and ends.",
        shop = services.shop,
        users = services.users,
        slow = services.slow,
        log = log_file().display()
    )
}

async fn services() -> io::Result<Services> {
    Ok(Services {
        shop: service("shop", Duration::ZERO).await?,
        users: service("users", Duration::ZERO).await?,
        slow: service("slow", Duration::from_secs(3)).await?,
    })
}

/// A service that says who it is and what it was asked.
async fn service(name: &'static str, delay: Duration) -> io::Result<SocketAddr> {
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = socket.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = socket.accept().await {
            let service = service_fn(move |request: Request<Incoming>| async move {
                tokio::time::sleep(delay).await;
                let mut response = Response::new(Full::new(Bytes::from(format!(
                    "{name} got {} {}\n",
                    request.method(),
                    request.uri()
                ))));
                response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
                if request.uri().path().ends_with("/missing") {
                    *response.status_mut() = StatusCode::NOT_FOUND;
                }
                Ok::<_, Infallible>(response)
            });
            tokio::spawn(async move {
                // A client that leaves is no news here.
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    Ok(address)
}

/// About four requests a second, so that logs and metrics have something to show.
async fn trickle(proxy: SocketAddr) {
    let paths = Arc::new(["/", "/users/1", "/mixed", "/ping", "/users/missing", "/old"]);
    for path in paths.iter().cycle() {
        tokio::time::sleep(Duration::from_millis(250)).await;
        if let Err(error) = ask(proxy, path).await {
            tracing::debug!("the trickle of traffic: {error}");
        }
    }
}

async fn ask(proxy: SocketAddr, path: &str) -> anyhow::Result<()> {
    let stream = TcpStream::connect(proxy).await?;
    let (mut sender, connection) = client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let serving = tokio::spawn(connection);
    let request = Request::builder()
        .uri(path)
        .header(header::HOST, proxy.to_string())
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())?;
    sender.send_request(request).await?;
    drop(sender);
    serving.await??;
    Ok(())
}
