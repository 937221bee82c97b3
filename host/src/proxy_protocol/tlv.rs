//! Typed values behind the addresses (section 2.2, "TLV").

use bytes::{BufMut, Bytes, BytesMut};
use crc::{CRC_32_ISCSI, Crc};

use super::{EncodeError, Invalid};

pub(super) const ALPN: u8 = 0x01;
pub(super) const AUTHORITY: u8 = 0x02;
pub(super) const CRC32C: u8 = 0x03;
pub(super) const NOOP: u8 = 0x04;
pub(super) const UNIQUE_ID: u8 = 0x05;
pub(super) const SSL: u8 = 0x20;
pub(super) const NETNS: u8 = 0x30;

const SSL_VERSION: u8 = 0x21;
const SSL_CN: u8 = 0x22;
const SSL_CIPHER: u8 = 0x23;
const SSL_SIG_ALG: u8 = 0x24;
const SSL_KEY_ALG: u8 = 0x25;

/// Bytes of a type and a length.
const HEAD: usize = 3;
/// Longest unique id (section 2.2.5).
const LONGEST_ID: usize = 128;
/// RFC 4960, appendix B. A constant, so that nothing is shared or initialised.
const CASTAGNOLI: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

/// One value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tlv {
    /// The protocol that was negotiated (`PP2_TYPE_ALPN`).
    Alpn(Bytes),
    /// The host name that the client asked for (`PP2_TYPE_AUTHORITY`).
    Authority(String),
    /// What identifies the connection, at most 128 bytes (`PP2_TYPE_UNIQUE_ID`).
    UniqueId(Bytes),
    /// How the client was connected by TLS (`PP2_TYPE_SSL`).
    Ssl(Ssl),
    /// The name of a network namespace (`PP2_TYPE_NETNS`).
    Netns(String),
    /// Any other type, such as those of clouds.
    Other {
        /// Its type.
        kind: u8,
        /// Its value.
        value: Bytes,
    },
}

/// How a client was connected by TLS (section 2.2.6).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ssl {
    /// Bits: 1 by TLS at all, 2 a certificate on this connection, 4 a certificate at least once in the session.
    pub client: u8,
    /// Zero if there was a certificate and it was verified.
    pub verify: u32,
    /// Types and values inside.
    pub values: Vec<(u8, Bytes)>,
}

impl Ssl {
    /// The client was connected by TLS (`PP2_CLIENT_SSL`).
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.client & 1 != 0
    }

    /// The client has shown a certificate, on the connection or in its session, and it was verified.
    #[must_use]
    pub fn is_verified(&self) -> bool {
        self.client & 6 != 0 && self.verify == 0
    }

    /// Version of TLS, such as `TLSv1.3` (`PP2_SUBTYPE_SSL_VERSION`).
    #[must_use]
    pub fn version(&self) -> Option<&[u8]> {
        self.value(SSL_VERSION)
    }

    /// Common name of the client's certificate (`PP2_SUBTYPE_SSL_CN`).
    #[must_use]
    pub fn common_name(&self) -> Option<&[u8]> {
        self.value(SSL_CN)
    }

    /// Cipher in use (`PP2_SUBTYPE_SSL_CIPHER`).
    #[must_use]
    pub fn cipher(&self) -> Option<&[u8]> {
        self.value(SSL_CIPHER)
    }

    /// Algorithm that signed the certificate of the proxy's frontend (`PP2_SUBTYPE_SSL_SIG_ALG`).
    #[must_use]
    pub fn signature_algorithm(&self) -> Option<&[u8]> {
        self.value(SSL_SIG_ALG)
    }

    /// Algorithm of that certificate's key (`PP2_SUBTYPE_SSL_KEY_ALG`).
    #[must_use]
    pub fn key_algorithm(&self) -> Option<&[u8]> {
        self.value(SSL_KEY_ALG)
    }

    fn value(&self, kind: u8) -> Option<&[u8]> {
        self.values.iter().find(|(known, _)| *known == kind).map(|(_, value)| value.as_ref())
    }
}

/// Values of a complete header, from `at` on. The checksum is verified, wherever it is.
pub(super) fn parse(header: &[u8], at: usize, most: usize) -> Result<Vec<Tlv>, Invalid> {
    let mut tlvs = Vec::new();
    let mut checksum = None;
    let mut count = 0_usize;
    let mut counted = || {
        count += 1;
        if count > most { Err(Invalid::TooManyTlvs(most)) } else { Ok(()) }
    };
    let mut position = at;
    let mut rest = header.get(at..).unwrap_or_default();
    while let Some((kind, value)) = next(&mut rest)? {
        counted()?;
        position += HEAD;
        match kind {
            NOOP => {}
            CRC32C => {
                let stated = value.try_into().map(u32::from_be_bytes).map_err(|_| Invalid::TlvValue(CRC32C))?;
                // Of two one would have to be wrong.
                if checksum.replace((position, stated)).is_some() {
                    return Err(Invalid::TlvValue(CRC32C));
                }
            }
            ALPN => tlvs.push(Tlv::Alpn(Bytes::copy_from_slice(value))),
            AUTHORITY => tlvs.push(Tlv::Authority(text(kind, value)?)),
            NETNS => tlvs.push(Tlv::Netns(text(kind, value)?)),
            UNIQUE_ID if value.len() > LONGEST_ID => return Err(Invalid::TlvValue(kind)),
            UNIQUE_ID => tlvs.push(Tlv::UniqueId(Bytes::copy_from_slice(value))),
            SSL => tlvs.push(Tlv::Ssl(ssl(value, &mut counted)?)),
            _ => tlvs.push(Tlv::Other { kind, value: Bytes::copy_from_slice(value) }),
        }
        position += value.len();
    }
    if let Some((position, stated)) = checksum {
        let computed = crc32c(header, position);
        if stated != computed {
            return Err(Invalid::Checksum { stated, computed });
        }
    }
    Ok(tlvs)
}

/// Checksum of a header whose checksum, at `position`, counts as zeros.
pub(super) fn crc32c(header: &[u8], position: usize) -> u32 {
    let table = CASTAGNOLI;
    let mut digest = table.digest();
    digest.update(header.get(..position).unwrap_or_default());
    digest.update(&[0; 4]);
    digest.update(header.get(position + 4..).unwrap_or_default());
    digest.finalize()
}

/// Writes a value.
pub(super) fn write(to: &mut BytesMut, tlv: &Tlv) -> Result<(), EncodeError> {
    match tlv {
        Tlv::Alpn(value) => put(to, ALPN, value),
        Tlv::Authority(name) => put(to, AUTHORITY, name.as_bytes()),
        Tlv::UniqueId(id) if id.len() > LONGEST_ID => Err(EncodeError::TooLong(id.len())),
        Tlv::UniqueId(id) => put(to, UNIQUE_ID, id),
        Tlv::Netns(name) => put(to, NETNS, name.as_bytes()),
        Tlv::Ssl(ssl) => {
            let mut inner = BytesMut::new();
            inner.put_u8(ssl.client);
            inner.put_u32(ssl.verify);
            for (kind, value) in &ssl.values {
                put(&mut inner, *kind, value)?;
            }
            put(to, SSL, &inner)
        }
        Tlv::Other { kind: kind @ (ALPN | AUTHORITY | CRC32C | NOOP | UNIQUE_ID | SSL | NETNS), .. } => {
            Err(EncodeError::Reserved(*kind))
        }
        Tlv::Other { kind, value } => put(to, *kind, value),
    }
}

/// Writes a type, a length and a value.
pub(super) fn put(to: &mut BytesMut, kind: u8, value: &[u8]) -> Result<(), EncodeError> {
    let length = u16::try_from(value.len()).map_err(|_| EncodeError::TooLong(value.len()))?;
    to.put_u8(kind);
    to.put_u16(length);
    to.put_slice(value);
    Ok(())
}

/// The next type and value.
fn next<'a>(rest: &mut &'a [u8]) -> Result<Option<(u8, &'a [u8])>, Invalid> {
    if rest.is_empty() {
        return Ok(None);
    }
    let Some(([kind, high, low], after)) = rest.split_first_chunk() else { return Err(Invalid::TlvLength) };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    let (value, after) = after.split_at_checked(length).ok_or(Invalid::TlvLength)?;
    *rest = after;
    Ok(Some((*kind, value)))
}

fn text(kind: u8, value: &[u8]) -> Result<String, Invalid> {
    std::str::from_utf8(value).map(str::to_owned).map_err(|_| Invalid::TlvValue(kind))
}

fn ssl(value: &[u8], counted: &mut impl FnMut() -> Result<(), Invalid>) -> Result<Ssl, Invalid> {
    let Some(([client, verify @ ..], mut rest)) = value.split_first_chunk::<5>() else {
        return Err(Invalid::TlvValue(SSL));
    };
    let mut ssl = Ssl { client: *client, verify: u32::from_be_bytes(*verify), values: Vec::new() };
    while let Some((kind, value)) = next(&mut rest).map_err(|_| Invalid::TlvValue(SSL))? {
        counted()?;
        ssl.values.push((kind, Bytes::copy_from_slice(value)));
    }
    Ok(ssl)
}
