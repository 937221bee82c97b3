//! Version 2: binary (section 2.2).

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::{Buf, Bytes};

use super::{Endpoints, Header, Invalid, Limits, Parsed, Progress, Tlv, Version, tlv};

/// What makes it a header.
pub(super) const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Bytes of the part that is always there: signature, version and command, family and transport, length of the rest.
pub(super) const FIXED: usize = 16;
/// Bytes of a UNIX path.
pub(super) const PATH: usize = 108;

const LOCAL: u8 = 0;
const PROXY: u8 = 1;
const UNSPECIFIED: u8 = 0;
const STREAM: u8 = 1;
const DATAGRAM: u8 = 2;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    Unspecified,
    Internet4,
    Internet6,
    Unix,
}

/// Judges bytes that begin with [`SIGNATURE`].
pub(super) fn parse(bytes: &[u8], limits: &Limits) -> Result<Parsed, Invalid> {
    const BEGUN: Result<Parsed, Invalid> = Ok(Parsed::Incomplete(Progress::Begun));
    let mut fixed = bytes.get(SIGNATURE.len()..).unwrap_or_default().iter().copied();
    let Some(version_and_command) = fixed.next() else { return BEGUN };
    let (version, command) = (version_and_command >> 4, version_and_command & 0x0f);
    if version != 2 {
        return Err(Invalid::Version(version));
    }
    if command > PROXY {
        return Err(Invalid::Command(command));
    }
    let Some(family_and_transport) = fixed.next() else { return BEGUN };
    // The family that comes with LOCAL is to be ignored.
    let (family, transport) =
        if command == LOCAL { (Family::Unspecified, UNSPECIFIED) } else { family(family_and_transport)? };
    let (Some(high), Some(low)) = (fixed.next(), fixed.next()) else { return BEGUN };
    let length = FIXED + usize::from(u16::from_be_bytes([high, low]));
    if length > limits.bound() {
        return Err(Invalid::TooLong { length, limit: limits.bound() });
    }
    let Some(whole) = bytes.get(..length) else { return BEGUN };
    let (endpoints, tlvs) =
        if command == LOCAL { (Endpoints::Local, Vec::new()) } else { block(whole, family, transport, limits.tlvs)? };
    Ok(Parsed::Header { header: Header { version: Version::Two, endpoints, tlvs }, length })
}

fn family(byte: u8) -> Result<(Family, u8), Invalid> {
    let family = match byte >> 4 {
        0 => Family::Unspecified,
        1 => Family::Internet4,
        2 => Family::Internet6,
        3 => Family::Unix,
        _ => return Err(Invalid::Family(byte)),
    };
    let transport = byte & 0x0f;
    if transport > DATAGRAM { Err(Invalid::Family(byte)) } else { Ok((family, transport)) }
}

/// What follows the fixed part: addresses, then TLVs.
fn block(whole: &[u8], family: Family, transport: u8, most: usize) -> Result<(Endpoints, Vec<Tlv>), Invalid> {
    let needed = match family {
        Family::Unspecified => 0,
        Family::Internet4 => 2 * 4 + 2 * 2,
        Family::Internet6 => 2 * 16 + 2 * 2,
        Family::Unix => 2 * PATH,
    };
    let block = whole.get(FIXED..).unwrap_or_default();
    let Some(addresses) = block.get(..needed) else {
        return Err(Invalid::ShortAddresses { length: block.len(), needed });
    };
    let endpoints = endpoints(addresses, family, transport).unwrap_or(Endpoints::Unknown);
    let tlvs = match tlv::parse(whole, FIXED + needed, most) {
        // There may be addresses of a family that nobody knows, which are to be ignored.
        Err(Invalid::TlvLength) if family == Family::Unspecified => Vec::new(),
        other => other?,
    };
    Ok((endpoints, tlvs))
}

/// The addresses of a stream. Others are valid, and of no use to a listener of streams: "falls back to the UNSPEC
/// mode".
fn endpoints(mut addresses: &[u8], family: Family, transport: u8) -> Option<Endpoints> {
    if transport != STREAM {
        return None;
    }
    let (source, destination) = match family {
        Family::Unspecified => return None,
        Family::Unix => {
            let (source, destination) = addresses.split_at_checked(PATH)?;
            return Some(Endpoints::Unix { source: path(source), destination: path(destination) });
        }
        Family::Internet4 => {
            let mut ip = || addresses.try_get_u32().ok().map(Ipv4Addr::from_bits);
            (ip()?.into(), ip()?.into())
        }
        Family::Internet6 => {
            let mut ip = || addresses.try_get_u128().ok().map(Ipv6Addr::from_bits);
            (ip()?.into(), ip()?.into())
        }
    };
    let mut port = || addresses.try_get_u16().ok();
    let (from, to) = (port()?, port()?);
    Some(Endpoints::Internet { source: SocketAddr::new(source, from), destination: SocketAddr::new(destination, to) })
}

/// A path without the zeros that pad it.
fn path(bytes: &[u8]) -> Bytes {
    let length = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    Bytes::copy_from_slice(bytes.get(..length).unwrap_or_default())
}
