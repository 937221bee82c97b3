//! Headers for connections to upstreams. To be sent before anything else, in one piece.

use std::{
    fmt::Write,
    net::{IpAddr, SocketAddr},
};

use bytes::{BufMut, Bytes, BytesMut};

use super::{EncodeError, Endpoints, Tlv, tlv, v2};

const VERSION_2_LOCAL: u8 = 0x20;
const VERSION_2_PROXY: u8 = 0x21;

/// Whether a header carries a checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Checksum {
    /// None. The default, as in Envoy and `HAProxy`.
    #[default]
    None,
    /// CRC32C, behind all other values.
    Crc32c,
}

/// A header of version 1. What it has no words for, UNIX sockets and LOCAL, becomes `UNKNOWN`; it carries no TLVs.
#[must_use]
pub fn encode_v1(endpoints: &Endpoints) -> Bytes {
    let Some((source, destination)) = one_family(endpoints) else {
        return Bytes::from_static(b"PROXY UNKNOWN\r\n");
    };
    let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
    let mut line = String::with_capacity(super::v1::LONGEST);
    line.push_str("PROXY ");
    line.push_str(family);
    for address in [source, destination] {
        line.push(' ');
        push_canonical(&mut line, address.ip());
    }
    // Writing to a `String` does not fail.
    let _ = write!(line, " {} {}\r\n", source.port(), destination.port());
    line.into()
}

/// A header of version 2.
///
/// # Errors
/// [`EncodeError`] when something does not fit, or a value is not for the caller to write.
pub fn encode_v2(endpoints: &Endpoints, tlvs: &[Tlv], checksum: Checksum) -> Result<Bytes, EncodeError> {
    let mut header = BytesMut::with_capacity(v2::FIXED + 2 * v2::PATH);
    header.put_slice(v2::SIGNATURE);
    header.put_u8(if *endpoints == Endpoints::Local { VERSION_2_LOCAL } else { VERSION_2_PROXY });
    let mut block = BytesMut::new();
    let family = match endpoints {
        Endpoints::Local | Endpoints::Unknown => 0x00,
        Endpoints::Internet { .. } => write_internet(&mut block, endpoints),
        Endpoints::Unix { source, destination } => {
            write_path(&mut block, source)?;
            write_path(&mut block, destination)?;
            0x31
        }
    };
    // Receivers ignore all that comes with LOCAL, and the specification asks for a length of zero.
    if *endpoints != Endpoints::Local {
        tlvs.iter().try_for_each(|value| tlv::write(&mut block, value))?;
        if checksum == Checksum::Crc32c {
            tlv::put(&mut block, tlv::CRC32C, &[0; 4])?;
        }
    }
    header.put_u8(family);
    header.put_u16(u16::try_from(block.len()).map_err(|_| EncodeError::TooLong(block.len()))?);
    header.put_slice(&block);
    if *endpoints != Endpoints::Local && checksum == Checksum::Crc32c {
        let position = header.len().saturating_sub(4);
        let sum = tlv::crc32c(&header, position);
        header.truncate(position);
        header.put_u32(sum);
    }
    Ok(header.freeze())
}

/// The addresses of TCP, of one family.
fn one_family(endpoints: &Endpoints) -> Option<(SocketAddr, SocketAddr)> {
    let Endpoints::Internet { source, destination } = *endpoints else { return None };
    if source.is_ipv4() == destination.is_ipv4() {
        return Some((source, destination));
    }
    match Endpoints::internet(source, destination) {
        Endpoints::Internet { source, destination } => Some((source, destination)),
        _ => None,
    }
}

/// Writes addresses of TCP. Returns the byte of family and transport.
fn write_internet(to: &mut BytesMut, endpoints: &Endpoints) -> u8 {
    let Some((source, destination)) = one_family(endpoints) else { return 0x00 };
    for address in [source, destination] {
        match address.ip() {
            IpAddr::V4(ip) => to.put_slice(&ip.octets()),
            IpAddr::V6(ip) => to.put_slice(&ip.octets()),
        }
    }
    to.put_u16(source.port());
    to.put_u16(destination.port());
    if source.is_ipv4() { 0x11 } else { 0x21 }
}

fn write_path(to: &mut BytesMut, path: &[u8]) -> Result<(), EncodeError> {
    let padding = v2::PATH.checked_sub(path.len()).ok_or(EncodeError::Path(path.len()))?;
    to.put_slice(path);
    to.put_bytes(0, padding);
    Ok(())
}

/// Section 2.1 allows hexadecimal groups only, which `Display` does not keep to for IPv4 addresses inside of IPv6.
fn push_canonical(line: &mut String, address: IpAddr) {
    // Writing to a `String` does not fail.
    let _ = match address {
        IpAddr::V6(ip) => match (ip.to_ipv4_mapped(), ip.segments()) {
            (Some(_), [.., high, low]) => write!(line, "::ffff:{high:x}:{low:x}"),
            _ => write!(line, "{ip}"),
        },
        IpAddr::V4(ip) => write!(line, "{ip}"),
    };
}
