//! Version 1: a line of text (section 2.1).

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

use super::{
    Endpoints, Header, Invalid, Parsed, Progress, Version,
    parse::{Begins, begins},
};

/// What makes a line a header. With the space: no word that merely begins like this is taken for one.
pub(super) const SIGNATURE: &[u8] = b"PROXY ";
/// The longest line, with CR LF.
pub(super) const LONGEST: usize = 107;

#[derive(Clone, Copy)]
enum Protocol {
    Tcp4,
    Tcp6,
    Unknown,
}

const PROTOCOLS: [(&[u8], Protocol); 3] =
    [(b"TCP4 ", Protocol::Tcp4), (b"TCP6 ", Protocol::Tcp6), (b"UNKNOWN", Protocol::Unknown)];

/// Judges bytes that begin with [`SIGNATURE`].
pub(super) fn parse(bytes: &[u8]) -> Result<Parsed, Invalid> {
    // What lies beyond the longest line is payload or does not matter.
    let window = bytes.get(..LONGEST).unwrap_or(bytes);
    let rest = window.get(SIGNATURE.len()..).unwrap_or_default();
    let Some((word, protocol)) = PROTOCOLS.iter().find(|(word, _)| begins(rest, word) == Begins::Yes) else {
        let perhaps = PROTOCOLS.iter().any(|(word, _)| begins(rest, word) == Begins::Perhaps);
        return if perhaps { Ok(Parsed::Incomplete(Progress::Begun)) } else { Err(Invalid::Protocol) };
    };
    let fields = rest.get(word.len()..).unwrap_or_default();
    let end = match protocol {
        Protocol::Unknown => end_of_unknown(fields)?,
        Protocol::Tcp4 | Protocol::Tcp6 => end_of_addresses(fields)?,
    };
    let Some(end) = end else {
        return if window.len() < LONGEST {
            Ok(Parsed::Incomplete(Progress::Begun))
        } else {
            Err(Invalid::TooLong { length: bytes.len(), limit: LONGEST })
        };
    };
    let fields = fields.get(..end).unwrap_or_default();
    let endpoints = match protocol {
        Protocol::Tcp4 => addresses::<Ipv4Addr>(fields)?,
        Protocol::Tcp6 => addresses::<Ipv6Addr>(fields)?,
        Protocol::Unknown => Endpoints::Unknown,
    };
    Ok(Parsed::Header {
        header: Header { version: Version::One, endpoints, tlvs: Vec::new() },
        length: SIGNATURE.len() + word.len() + end + 2,
    })
}

/// Where CR LF is. Everything before it is to be ignored, whatever it is.
fn end_of_unknown(fields: &[u8]) -> Result<Option<usize>, Invalid> {
    match fields.first() {
        None | Some(b' ' | b'\r') => Ok(fields.windows(2).position(|pair| pair == b"\r\n")),
        Some(_) => Err(Invalid::Protocol),
    }
}

/// Where CR LF is. A CR or LF on its own must not be tolerated, and nothing else but addresses may be before it.
fn end_of_addresses(fields: &[u8]) -> Result<Option<usize>, Invalid> {
    let Some(end) = fields.iter().position(|byte| !(byte.is_ascii_hexdigit() || b".: ".contains(byte))) else {
        return Ok(None);
    };
    match (fields.get(end), fields.get(end + 1)) {
        (Some(b'\r'), Some(b'\n')) => Ok(Some(end)),
        (Some(b'\r'), None) => Ok(None),
        _ => Err(Invalid::Line),
    }
}

fn addresses<T: FromStr + Into<IpAddr>>(fields: &[u8]) -> Result<Endpoints, Invalid> {
    let text = std::str::from_utf8(fields).map_err(|_| Invalid::Line)?;
    let mut fields = text.split(' ');
    let mut next = || fields.next().ok_or(Invalid::Line);
    let (source, destination, from, to) = (next()?, next()?, next()?, next()?);
    if fields.next().is_some() {
        return Err(Invalid::Line);
    }
    let address = |text: &str| text.parse::<T>().map(Into::into).map_err(|_| Invalid::Address);
    Ok(Endpoints::Internet {
        source: SocketAddr::new(address(source)?, port(from)?),
        destination: SocketAddr::new(address(destination)?, port(to)?),
    })
}

fn port(text: &str) -> Result<u16, Invalid> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if plain { text.parse().map_err(|_| Invalid::Port) } else { Err(Invalid::Port) }
}
