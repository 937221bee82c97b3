//! The client: one request over a connection of its own.

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, Request, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{
    DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::CryptoProvider,
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    config::resolved::TestRequest,
    proxy_protocol::{Endpoints, encode_v1},
};

/// Bytes of an answer that are read.
const BODY: usize = 16 * 1024 * 1024;

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// Status.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
}

/// Sends a request to where a listener is `bound`, as if the client had connected to what is `meant`.
///
/// # Errors
/// What went wrong, for people.
pub(super) async fn exchange(bound: SocketAddr, meant: SocketAddr, request: &TestRequest) -> Result<Answer, String> {
    let mut stream = TcpStream::connect(bound).await.map_err(|error| format!("cannot connect: {error}"))?;
    let _ = stream.set_nodelay(true);
    let header = encode_v1(&Endpoints::internet(request.from, meant));
    stream.write_all(&header).await.map_err(|error| format!("the connection was closed: {error}"))?;
    match &request.tls {
        None => send(stream, request, "http").await,
        Some(name) => {
            let name = match name {
                Some(name) => ServerName::try_from(name.clone()).map_err(|error| error.to_string())?,
                // An address is not asked for.
                None => ServerName::from(bound.ip()),
            };
            let settings = settings(request.http2).map_err(|error| error.to_string())?;
            let connector = tokio_rustls::TlsConnector::from(Arc::new(settings));
            let stream = connector.connect(name, stream).await.map_err(|error| format!("TLS failed: {error}"))?;
            send(stream, request, "https").await
        }
    }
}

async fn send<S>(stream: S, request: &TestRequest, scheme: &str) -> Result<Answer, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let gone = |error: hyper::Error| format!("no answer: {}", plain(&error));
    let mut message = Request::new(Full::new(Bytes::from(request.body.clone())));
    *message.method_mut() = request.method.clone();
    *message.headers_mut() = request.headers.clone();
    let (response, driver) = if request.http2 {
        let target = request.target.path_and_query().map_or("/", |path| path.as_str());
        let uri = Uri::builder().scheme(scheme).authority(request.host.clone()).path_and_query(target).build();
        *message.uri_mut() = uri.map_err(|error| error.to_string())?;
        let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
        let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(gone)?;
        let driver = tokio::spawn(async move { connection.await.map_err(|error| error.to_string()) });
        (sender.send_request(message).await, driver)
    } else {
        *message.uri_mut() = request.target.clone();
        let host = http::HeaderValue::from_str(request.host.as_str()).map_err(|error| error.to_string())?;
        message.headers_mut().insert(header::HOST, host);
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(gone)?;
        let driver = tokio::spawn(async move { connection.await.map_err(|error| error.to_string()) });
        (sender.send_request(message).await, driver)
    };
    let (head, body) = response.map_err(gone)?.into_parts();
    let body = Limited::new(body, BODY).collect().await.map_err(|error| format!("the body broke off: {error}"));
    driver.abort();
    Ok(Answer { status: head.status.as_u16(), headers: head.headers, body: body?.to_bytes() })
}

/// An error and what is behind it.
fn plain(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

fn settings(http2: bool) -> Result<rustls::ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Arc::new(Ourselves(Arc::clone(&provider)));
    let mut settings = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    settings.alpn_protocols = vec![if http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
    Ok(settings)
}

/// The other side is this very process: its certificates are as they are, for whatever name and however old.
#[derive(Debug)]
struct Ourselves(Arc<CryptoProvider>);

impl ServerCertVerifier for Ourselves {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
