//! Looks at what a client says first, without taking it away from whoever reads it afterwards.
//!
//! A chain may be chosen by what is in a TLS hello before there is a certificate, and what is chosen may pass the bytes on as they are. So
//! they are put back, and a handshake reads them once more. rustls reads the hello; nothing is parsed here.

use std::io;

use bytes::{Bytes, BytesMut};
use rustls::server::Acceptor;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::chain::Transport;
use crate::transport::Wire;

/// The type of TLS records that a handshake begins with (RFC 8446, section 5.1).
const HANDSHAKE: u8 = 22;
/// Most bytes of a hello, twice what browsers with post-quantum keys and resumption send many times over.
const LONGEST: usize = 64 * 1024;

/// What is known of a client by its first bytes.
#[derive(Debug, PartialEq, Eq)]
pub struct Hello {
    /// Whether it speaks TLS.
    pub transport: Transport,
    /// The name that it asks for.
    pub sni: Option<String>,
    /// Protocols that it offers, in its order.
    pub alpn: Vec<Vec<u8>>,
}

/// Reads as much as it takes, and puts it back. There is no time limit inside; not cancel safe: bytes that were read are lost with the
/// future.
///
/// # Errors
/// Of the connection, and of a hello that is none: the client has been told then, where there is a word for it.
pub async fn look(wire: &mut Wire) -> io::Result<Hello> {
    let mut read = BytesMut::new();
    let mut acceptor = Acceptor::default();
    let hello = loop {
        let before = read.len();
        if before >= LONGEST {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the TLS hello is too long"));
        }
        read.reserve(1024);
        let count = wire.read_buf(&mut read).await?;
        if read.first() != Some(&HANDSHAKE) {
            break Hello { transport: Transport::Plain, sni: None, alpn: Vec::new() };
        }
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut fresh = read.get(before..).unwrap_or_default();
        while !fresh.is_empty() {
            if acceptor.read_tls(&mut fresh)? == 0 {
                break;
            }
        }
        match acceptor.accept() {
            Ok(None) => {}
            Ok(Some(accepted)) => {
                let said = accepted.client_hello();
                break Hello {
                    transport: Transport::Tls,
                    sni: said.server_name().map(str::to_owned),
                    alpn: said.alpn().into_iter().flatten().map(<[u8]>::to_vec).collect(),
                };
            }
            Err((error, mut alert)) => {
                let mut farewell = Vec::new();
                let _ = alert.write_all(&mut farewell);
                let _ = wire.write_all(&farewell).await;
                return Err(io::Error::new(io::ErrorKind::InvalidData, error));
            }
        }
    };
    wire.put_back(Bytes::from(read));
    Ok(hello)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::{ClientConfig, ClientConnection, RootCertStore, crypto::ring};
    use tokio::net::UnixStream;

    use super::*;
    use crate::transport::Socket;

    fn hello_of(name: &str, alpn: &[&[u8]]) -> Vec<u8> {
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let mut config = builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        let name = rustls::pki_types::ServerName::try_from(name.to_owned()).unwrap();
        let mut connection = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut bytes = Vec::new();
        connection.write_tls(&mut bytes).unwrap();
        bytes
    }

    /// What is seen of bytes that come one after the other, and what can be read afterwards.
    async fn seen(bytes: Vec<u8>) -> (io::Result<Hello>, Vec<u8>) {
        let (near, mut far) = UnixStream::pair().unwrap();
        let mut wire = Wire::from(Socket::Unix(near));
        let sends = async move {
            for byte in bytes {
                // Whoever has seen enough may have gone.
                if far.write_all(&[byte]).await.is_err() {
                    break;
                }
                tokio::task::yield_now().await;
            }
        };
        let looks = async {
            let hello = look(&mut wire).await;
            let mut rest = Vec::new();
            let _ = wire.read_to_end(&mut rest).await;
            (hello, rest)
        };
        tokio::join!(sends, looks).1
    }

    #[tokio::test]
    async fn a_hello_is_seen_byte_by_byte_and_read_again() {
        let mut bytes = hello_of("a.example", &[b"h2", b"http/1.1"]);
        bytes.extend_from_slice(b"more");
        let (hello, rest) = seen(bytes.clone()).await;
        let hello = hello.unwrap();
        assert_eq!((hello.transport, hello.sni.as_deref()), (Transport::Tls, Some("a.example")));
        assert_eq!(hello.alpn, [b"h2".to_vec(), b"http/1.1".to_vec()]);
        assert_eq!(rest, bytes);
    }

    #[tokio::test]
    async fn what_is_no_hello_is_plain_at_its_first_byte() {
        let (hello, rest) = seen(b"GET / HTTP/1.1\r\n".to_vec()).await;
        assert_eq!(hello.unwrap(), Hello { transport: Transport::Plain, sni: None, alpn: Vec::new() });
        assert_eq!(rest, b"GET / HTTP/1.1\r\n");
        assert_eq!(seen(Vec::new()).await.0.unwrap().transport, Transport::Plain);
    }

    #[tokio::test]
    async fn a_broken_hello_is_refused() {
        let whole = hello_of("a.example", &[]);
        assert!(seen(whole[..whole.len() - 1].to_vec()).await.0.is_err());
        assert!(seen([&[HANDSHAKE, 3, 1, 0, 4], &[9; 100][..]].concat()).await.0.is_err());
        // A record of nothing but its announcement, for ever.
        assert!(seen([HANDSHAKE, 3, 1, 0, 1, 1].repeat(20_000)).await.0.is_err());
    }
}
