//! A registry that is asked over HTTP, in both of its forms: `GET` of a registration, and `POST` of a `DiscoveryRequest`.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use fyke_registry::client;
use http::{
    Method, Request, StatusCode,
    header::{ACCEPT, AUTHORIZATION, CONNECTION, CONTENT_TYPE, ETAG, HOST, HeaderValue, IF_NONE_MATCH, USER_AGENT},
};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde_json::json;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use super::{
    hosts::{self, Hosts},
    source::{Said, SourceError},
};
use crate::config::resolved::Registry;

/// For one question, answer included.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);
/// The largest answer that is read.
const LARGEST: usize = 16 << 20;
/// What says that a registry wants the second form.
const EDS: &str = "/v3/discovery:endpoints";

/// See the module.
pub struct Rest {
    registry: Registry,
    tag: Option<HeaderValue>,
    version: String,
}

/// What came back.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) tag: Option<HeaderValue>,
    pub(super) body: Bytes,
}

/// What an answer means.
#[derive(Clone)]
pub(super) enum Meaning {
    /// What was said before.
    Unchanged,
    /// These.
    Hosts { hosts: Hosts, version: String, tag: Option<HeaderValue> },
}

impl Rest {
    /// Nothing is asked yet.
    #[must_use]
    pub fn new(registry: Registry) -> Self {
        Self { registry, tag: None, version: String::new() }
    }

    pub(super) async fn ask(&mut self) -> Result<Said, SourceError> {
        let asked = tokio::time::timeout(TIMEOUT, self.exchange()).await;
        let url = &self.registry.url;
        let late = |_| SourceError::Unreachable(format!("{url}: no answer within {TIMEOUT:?}"));
        let answer = asked.map_err(late)?.map_err(|error| SourceError::Unreachable(format!("{url}: {error}")))?;
        let meaning = self.read(&answer)?;
        Ok(self.take(meaning))
    }

    /// What an answer means.
    pub(super) fn read(&self, answer: &Answer) -> Result<Meaning, SourceError> {
        let url = &self.registry.url;
        match answer.status {
            StatusCode::OK => {}
            StatusCode::NOT_MODIFIED => return Ok(Meaning::Unchanged),
            status => return Err(SourceError::Unreachable(format!("{url}: the answer is {status}"))),
        }
        let malformed = |error: String| SourceError::Malformed(format!("{url}: {error}"));
        let (version, hosts) = if self.is_eds() {
            let (version, hosts) = hosts::assignment(&answer.body, &self.registry.service).map_err(malformed)?;
            // It may not know the service yet: that says nothing of its hosts.
            let none = || malformed(format!("it says nothing of cluster_name \"{}\"", self.registry.service));
            (version, hosts.ok_or_else(none)?)
        } else {
            let version = format!("{:016x}", xxhash_rust::xxh64::xxh64(&answer.body, 0));
            (version, hosts::registration(&answer.body).map_err(malformed)?)
        };
        Ok(Meaning::Hosts { hosts, version, tag: answer.tag.clone() })
    }

    /// Remembers what is known now.
    pub(super) fn take(&mut self, meaning: Meaning) -> Said {
        let Meaning::Hosts { hosts, version, tag } = meaning else {
            return Said { hosts: None, version: self.version.clone(), holds: None, lacks: None };
        };
        // Nobody is no answer: said to be known, it would be called unchanged from then on.
        if !hosts.is_empty() {
            self.tag = tag;
            self.version.clone_from(&version);
        }
        Said { hosts: Some(hosts), version, holds: None, lacks: None }
    }

    fn is_eds(&self) -> bool {
        self.registry.url.path() == EDS
    }

    pub(super) fn request(&self) -> Result<Request<Full<Bytes>>, http::Error> {
        let Registry { url, service, node, .. } = &self.registry;
        let path = url.path_and_query().map_or("/", |path| path.as_str());
        let request = Request::builder()
            .uri(path)
            .header(HOST, url.authority().map_or("", |authority| authority.as_str()))
            .header(ACCEPT, "application/json")
            .header(CONNECTION, "close")
            .header(USER_AGENT, concat!("fyke/", env!("CARGO_PKG_VERSION")));
        if self.is_eds() {
            let question = json!({
                "version_info": self.version,
                "node": { "id": node.0, "cluster": node.1 },
                "resource_names": [service],
                "type_url": "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
            });
            let request = request.method(Method::POST).header(CONTENT_TYPE, "application/json");
            return request.body(Full::from(question.to_string()));
        }
        let request = match &self.tag {
            Some(tag) => request.header(IF_NONE_MATCH, tag),
            None => request,
        };
        request.body(Full::default())
    }

    async fn exchange(&self) -> Result<Answer, String> {
        let url = &self.registry.url;
        let mut request = self.request().map_err(|error| error.to_string())?;
        if let Some(file) = &self.registry.token_file {
            let token = client::token(file).await.map_err(|error| error.to_string())?;
            request.headers_mut().insert(AUTHORIZATION, token);
        }
        let host = url.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        let secure = url.scheme_str() == Some("https");
        let port = url.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let stream = connect(host, port).await?;
        if !secure {
            return answer(stream, request).await;
        }
        let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
        let mut config = self.registry.tls.config().await.map_err(|error| error.to_string())?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let stream = TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
            .map_err(|error| format!("TLS: {error}"))?;
        answer(stream, request).await
    }
}

async fn connect(host: &str, port: u16) -> Result<TcpStream, String> {
    let found = tokio::net::lookup_host((host, port)).await.map_err(|error| format!("{host}: {error}"))?;
    let mut failed = format!("{host} has no address");
    for address in found.collect::<Vec<SocketAddr>>() {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => failed = format!("{address}: {error}"),
        }
    }
    Err(failed)
}

async fn answer<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Answer, String>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let failed = |error: hyper::Error| error.to_string();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    // It ends with the answer. What fails there fails here, too.
    let running = tokio::spawn(connection);
    let (head, body) = sender.send_request(request).await.map_err(failed)?.into_parts();
    let body = Limited::new(body, LARGEST).collect().await.map_err(|error| error.to_string())?;
    running.abort();
    Ok(Answer { status: head.status, tag: head.headers.get(ETAG).cloned(), body: body.to_bytes() })
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// Answers each request in turn with one of these, and gives back what was asked.
    async fn registry(answers: Vec<String>) -> (SocketAddr, tokio::task::JoinHandle<Vec<String>>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let served = tokio::spawn(async move {
            let mut asked = Vec::new();
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = vec![0; 4096];
                let mut length = 0;
                loop {
                    length += stream.read(&mut request[length..]).await.unwrap();
                    let text = String::from_utf8_lossy(&request[..length]).into_owned();
                    let wanted = text
                        .to_lowercase()
                        .split("content-length: ")
                        .nth(1)
                        .and_then(|rest| rest.split("\r\n").next().and_then(|number| number.parse::<usize>().ok()));
                    if let Some((_, body)) = text.split_once("\r\n\r\n")
                        && body.len() >= wanted.unwrap_or(0)
                    {
                        asked.push(text.clone());
                        break;
                    }
                }
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
            asked
        });
        (address, served)
    }

    fn ok(fields: &str, body: &str) -> String {
        format!("HTTP/1.1 200 OK\r\n{fields}content-length: {}\r\n\r\n{body}", body.len())
    }

    fn rest(address: SocketAddr, path: &str) -> Rest {
        let url = format!("http://{address}{path}").parse().unwrap();
        let node = ("edge-1".to_owned(), "edge".to_owned());
        Rest::new(Registry {
            url,
            service: "users".to_owned(),
            node,
            token_file: None,
            tls: client::TlsFiles::default(),
        })
    }

    #[tokio::test]
    async fn a_registration_is_asked_for_with_the_tag_that_is_known() {
        let body = r#"{"hosts":[{"ip_address":"127.0.0.1","port":1}]}"#;
        let unchanged = "HTTP/1.1 304 Not Modified\r\n\r\n".to_owned();
        let broken = "HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n".to_owned();
        let (address, served) = registry(vec![ok("etag: \"a\"\r\n", body), unchanged, broken]).await;
        let mut rest = rest(address, "/v1/registration/users");
        let first = rest.ask().await.unwrap();
        assert_eq!(first.hosts.map(|hosts| hosts.len()), Some(1));
        let second = rest.ask().await.unwrap();
        assert_eq!((second.hosts, second.version), (None, first.version));
        let third = rest.ask().await.unwrap_err();
        assert!(third.to_string().ends_with("the answer is 500 Internal Server Error"), "{third}");
        let asked = served.await.unwrap();
        assert!(asked[0].starts_with("GET /v1/registration/users HTTP/1.1\r\n") && !asked[0].contains("if-none-match"));
        assert!(asked[1].contains("if-none-match: \"a\"\r\n"), "{}", asked[1]);
    }

    #[tokio::test]
    async fn an_answer_without_hosts_is_asked_for_again_as_if_it_had_not_come() {
        let none = r#"{"hosts":[]}"#;
        let some = r#"{"hosts":[{"ip_address":"127.0.0.1","port":1}]}"#;
        let answers = vec![ok("etag: \"a\"\r\n", some), ok("etag: \"b\"\r\n", none), ok("etag: \"b\"\r\n", none)];
        let (address, served) = registry(answers).await;
        let mut rest = rest(address, "/v1/registration/users");
        rest.ask().await.unwrap();
        assert_eq!(rest.ask().await.unwrap().hosts, Some(Vec::new()));
        assert_eq!(rest.ask().await.unwrap().hosts, Some(Vec::new()));
        let asked = served.await.unwrap();
        assert!(asked[2].contains("if-none-match: \"a\"\r\n"), "{}", asked[2]);
    }

    #[tokio::test]
    async fn endpoints_are_asked_for_with_the_version_that_is_known() {
        let one = r#"{"version_info":"7","resources":[{"cluster_name":"users","endpoints":[{"lb_endpoints":[
            {"endpoint":{"address":{"socket_address":{"address":"127.0.0.1","port_value":9}}}}]}]}]}"#;
        let none = r#"{"version_info":"8","resources":[]}"#;
        let (address, served) = registry(vec![ok("", one), ok("", none)]).await;
        let mut rest = rest(address, EDS);
        assert_eq!(rest.ask().await.unwrap().version, "7");
        let error = rest.ask().await.unwrap_err();
        assert!(matches!(error, SourceError::Malformed(_)), "{error}");
        let asked = served.await.unwrap();
        assert!(asked[0].contains("\"version_info\":\"\"") && asked[1].contains("\"version_info\":\"7\""));
        assert!(asked[1].contains("\"resource_names\":[\"users\"]") && asked[1].contains("\"id\":\"edge-1\""));
    }
}
