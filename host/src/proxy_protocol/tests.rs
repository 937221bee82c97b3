use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use proptest::prelude::*;
use tokio::io::{AsyncRead, ReadBuf};

use super::*;

/// Gives its bytes in pieces of the given lengths, over and over, and knows how many it gave.
struct Pieces {
    bytes: Vec<u8>,
    given: usize,
    lengths: Vec<usize>,
    turn: usize,
}

impl Pieces {
    fn new(bytes: &[u8], lengths: &[usize]) -> Self {
        Self { bytes: bytes.to_vec(), given: 0, lengths: lengths.to_vec(), turn: 0 }
    }
}

impl AsyncRead for Pieces {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let length = self.lengths[self.turn % self.lengths.len()];
        self.turn += 1;
        let left = self.bytes.len() - self.given;
        let count = length.min(to.remaining()).min(left);
        to.put_slice(&self.bytes[self.given..self.given + count]);
        self.given += count;
        Poll::Ready(Ok(()))
    }
}

fn run<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn read(bytes: &[u8], lengths: &[usize], mode: Mode) -> Result<(Option<Header>, Bytes), Error> {
    run(accept(&mut Pieces::new(bytes, lengths), mode, Limits::default()))
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn binary(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    header.extend([command, family]);
    header.extend(u16::try_from(block.len()).unwrap().to_be_bytes());
    header.extend(block);
    header
}

fn verdict(bytes: &[u8]) -> Result<Parsed, Invalid> {
    parse(bytes, &Limits::default())
}

fn endpoints_of(bytes: &[u8]) -> Endpoints {
    match verdict(bytes) {
        Ok(Parsed::Header { header, length }) if length == bytes.len() => header.endpoints,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_line_names_the_client() {
    let bytes = b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\nGET / HTTP/1.1\r\n";
    let (header, rest) = read(bytes, &[1000], Mode::Require).unwrap();
    let header = header.unwrap();
    assert_eq!(header.source(), Some(address("192.168.0.1:56324")));
    assert_eq!(header.destination(), Some(address("192.168.0.11:443")));
    assert_eq!(header.version, Version::One);
    assert_eq!(rest, &b"GET / HTTP/1.1\r\n"[..]);
}

#[test]
fn the_longest_lines_are_read_and_longer_ones_refused() {
    let ip = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    let longest = format!("PROXY UNKNOWN {ip} {ip} 65535 65535\r\n");
    assert_eq!(longest.len(), 107);
    assert_eq!(endpoints_of(longest.as_bytes()), Endpoints::Unknown);
    let longer = format!("PROXY UNKNOWN {ip} {ip} 65535 65535 \r\n");
    assert_eq!(verdict(longer.as_bytes()), Err(Invalid::TooLong { length: 108, limit: 107 }));
    let six = format!("PROXY TCP6 {ip} {ip} 65535 65535\r\n");
    assert_eq!(six.len(), 104);
    assert!(matches!(endpoints_of(six.as_bytes()), Endpoints::Internet { .. }));
}

#[test]
fn lines_that_break_the_specification_are_refused() {
    for (line, expected) in [
        ("PROXY TCP5 1.2.3.4 5.6.7.8 1 2\r\n", Invalid::Protocol),
        ("PROXY UDP4", Invalid::Protocol),
        ("PROXY  TCP4", Invalid::Protocol),
        ("PROXY UNKNOWNS\r\n", Invalid::Protocol),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n", Invalid::Line),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 1 2\rX", Invalid::Line),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n", Invalid::Line),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n", Invalid::Line),
        ("PROXY TCP4 1.2.3.4\t5.6.7.8 1 2\r\n", Invalid::Line),
        ("PROXY TCP4  1.2.3.4 5.6.7.8 1 2\r\n", Invalid::Line),
        ("PROXY TCP4 1.2.3.04 5.6.7.8 1 2\r\n", Invalid::Address),
        ("PROXY TCP4 1.2.3.256 5.6.7.8 1 2\r\n", Invalid::Address),
        ("PROXY TCP4 ::1 ::2 1 2\r\n", Invalid::Address),
        ("PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n", Invalid::Address),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n", Invalid::Port),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 1 65536\r\n", Invalid::Port),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 1 \r\n", Invalid::Port),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 +1 2\r\n", Invalid::Line),
    ] {
        assert_eq!(verdict(line.as_bytes()), Err(expected), "{line:?}");
    }
}

#[test]
fn a_binary_header_names_the_client() {
    let block = [10, 0, 0, 1, 10, 0, 0, 2, 0x04, 0xd2, 0x01, 0xbb];
    let expected = Endpoints::Internet { source: address("10.0.0.1:1234"), destination: address("10.0.0.2:443") };
    assert_eq!(endpoints_of(&binary(0x21, 0x11, &block)), expected);
}

#[test]
fn local_is_accepted_whatever_comes_with_it() {
    for (family, block) in [(0, &[][..]), (0x11, &[1, 2, 3]), (0xff, &[9; 40]), (0, b"\x03\0\x04wrong")] {
        assert_eq!(endpoints_of(&binary(0x20, family, block)), Endpoints::Local);
    }
}

#[test]
fn what_a_stream_cannot_use_counts_as_unknown() {
    let block = [0; 216];
    for (family, length) in [(0x00, 0), (0x01, 0), (0x10, 12), (0x12, 12), (0x20, 36), (0x22, 36), (0x32, 216)] {
        assert_eq!(endpoints_of(&binary(0x21, family, &block[..length])), Endpoints::Unknown);
    }
    assert_eq!(endpoints_of(&binary(0x21, 0x00, &[1, 2, 3, 4, 5, 6, 7])), Endpoints::Unknown);
}

#[test]
fn binary_headers_that_break_the_specification_are_refused() {
    let four = [0; 12];
    for (bytes, expected) in [
        (binary(0x11, 0x11, &four), Invalid::Version(1)),
        (binary(0x22, 0x11, &four), Invalid::Command(2)),
        (binary(0x21, 0x41, &four), Invalid::Family(0x41)),
        (binary(0x21, 0x13, &four), Invalid::Family(0x13)),
        (binary(0x21, 0x21, &four), Invalid::ShortAddresses { length: 12, needed: 36 }),
        (binary(0x21, 0x11, &[&four[..], &[1, 0]].concat()), Invalid::TlvLength),
        (binary(0x21, 0x11, &[&four[..], &[1, 0, 2, b'h']].concat()), Invalid::TlvLength),
        (binary(0x21, 0x11, &[&four[..], &[2, 0, 1, 0xff]].concat()), Invalid::TlvValue(2)),
        (binary(0x21, 0x11, &[&four[..], &[3, 0, 1, 0xff]].concat()), Invalid::TlvValue(3)),
        (binary(0x21, 0x11, &[&four[..], &[0x20, 0, 4, 1, 0, 0, 0]].concat()), Invalid::TlvValue(0x20)),
        (binary(0x21, 0x11, &[&four[..], &[5, 0, 129], &[7; 129]].concat()), Invalid::TlvValue(5)),
        (binary(0x21, 0x11, &[&four[..], &[4, 0, 0].repeat(65)].concat()), Invalid::TooManyTlvs(64)),
        (binary(0x21, 0x11, &[0; 4081]), Invalid::TooLong { length: 4097, limit: 4096 }),
    ] {
        assert_eq!(verdict(&bytes), Err(expected));
    }
}

#[test]
fn a_length_over_the_limit_is_refused_before_it_is_read() {
    let header = &binary(0x21, 0x11, &vec![0; 60000])[..16];
    assert!(matches!(verdict(header), Err(Invalid::TooLong { length: 60016, .. })));
}

#[test]
fn a_wrong_checksum_is_refused() {
    let endpoints = Endpoints::internet(address("1.2.3.4:5"), address("6.7.8.9:10"));
    let header = encode_v2(&endpoints, &[], Checksum::Crc32c).unwrap();
    assert_eq!(endpoints_of(&header), endpoints);
    for index in 18..header.len() {
        let mut broken = header.to_vec();
        broken[index] ^= 0x10;
        if !(28..31).contains(&index) {
            assert!(matches!(verdict(&broken), Err(Invalid::Checksum { .. })), "{index}");
        }
    }
}

#[test]
fn the_checksum_is_castagnolis() {
    // RFC 3720, B.4: 32 bytes of zeros. Four of them stand for the field.
    assert_eq!(tlv::crc32c(&[0; 32], 7), 0x8a91_36aa);
}

#[test]
fn the_checksum_is_that_of_the_header_with_zeros_in_its_place() {
    // Bit by bit, as RFC 4960, appendix B, defines it.
    let bitwise = |bytes: &[u8]| {
        !bytes.iter().fold(u32::MAX, |sum, byte| {
            (0..8).fold(sum ^ u32::from(*byte), |sum, _| if sum & 1 == 1 { sum >> 1 ^ 0x82f6_3b78 } else { sum >> 1 })
        })
    };
    let endpoints = Endpoints::internet(address("127.0.0.1:12345"), address("192.168.0.1:443"));
    let header = encode_v2(&endpoints, &[Tlv::UniqueId(Bytes::from_static(b"1234"))], Checksum::Crc32c).unwrap();
    let (rest, stated) = header.split_at(header.len() - 4);
    assert_eq!(stated, bitwise(&[rest, &[0; 4]].concat()).to_be_bytes());
}

#[test]
fn payload_is_told_at_the_first_byte_that_differs() {
    assert_eq!(verdict(b"G"), Ok(Parsed::Absent));
    assert_eq!(verdict(b"PRI"), Ok(Parsed::Absent));
    assert_eq!(verdict(b"\x16"), Ok(Parsed::Absent));
    assert_eq!(verdict(b"\r\n\r\nG"), Ok(Parsed::Absent));
    assert_eq!(verdict(b"PROXYS"), Ok(Parsed::Absent));
    assert_eq!(verdict(b"PROXY"), Ok(Parsed::Incomplete(Progress::Perhaps)));
    assert_eq!(verdict(b""), Ok(Parsed::Incomplete(Progress::Perhaps)));
}

#[test]
fn optional_headers_lose_no_payload() {
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"PROX", b"\r\n\r\n\0", b"", b"\x16\x03\x01", b"PRI * HTTP/2.0"] {
        let mut io = Pieces::new(bytes, &[1]);
        let (header, read) = run(accept(&mut io, Mode::Accept, Limits::default())).unwrap();
        assert_eq!(header, None);
        assert_eq!([&read[..], &io.bytes[io.given..]].concat(), bytes);
    }
}

#[test]
fn required_headers_are_required() {
    assert!(matches!(read(b"GET /", &[1], Mode::Require), Err(Error::Missing { read: 1 })));
    assert!(matches!(read(b"", &[1], Mode::Require), Err(Error::Missing { read: 0 })));
    assert!(matches!(read(b"PROXY TCP4 ", &[1], Mode::Require), Err(Error::Truncated { read: 11 })));
}

#[test]
fn a_broken_header_is_never_payload() {
    assert!(matches!(read(b"PROXY / HTTP/1.1", &[1], Mode::Accept), Err(Error::Invalid(Invalid::Protocol))));
    assert!(matches!(read(b"PROXY TCP4 ", &[3], Mode::Accept), Err(Error::Truncated { .. })));
}

#[tokio::test]
async fn a_cancelled_acceptor_keeps_what_it_read() {
    let (mut ours, mut theirs) = tokio::io::duplex(64);
    let mut acceptor = Acceptor::new(Mode::Accept, Limits::default());
    tokio::io::AsyncWriteExt::write_all(&mut theirs, b"PROXY TC").await.unwrap();
    tokio::select! {
        biased;
        _ = acceptor.accept(&mut ours) => panic!("not complete"),
        () = std::future::ready(()) => {}
    }
    tokio::io::AsyncWriteExt::write_all(&mut theirs, b"P4 1.1.1.1 2.2.2.2 3 4\r\nrest").await.unwrap();
    let header = acceptor.accept(&mut ours).await.unwrap().unwrap();
    assert_eq!(header.source(), Some(address("1.1.1.1:3")));
    assert_eq!(acceptor.into_bytes(), &b"rest"[..]);
}

#[test]
fn addresses_of_two_families_are_brought_to_one() {
    let mixed = Endpoints::Internet { source: address("1.2.3.4:5"), destination: address("[2001:db8::1]:6") };
    assert_eq!(encode_v1(&mixed), &b"PROXY TCP6 ::ffff:102:304 2001:db8::1 5 6\r\n"[..]);
    let mapped = Endpoints::internet(address("[::ffff:1.2.3.4]:5"), address("6.7.8.9:10"));
    assert_eq!(encode_v1(&mapped), &b"PROXY TCP4 1.2.3.4 6.7.8.9 5 10\r\n"[..]);
    let header = encode_v2(&mixed, &[], Checksum::None).unwrap();
    let expected =
        Endpoints::Internet { source: address("[::ffff:1.2.3.4]:5"), destination: address("[2001:db8::1]:6") };
    assert_eq!(endpoints_of(&header), expected);
}

#[test]
fn what_does_not_fit_is_not_written() {
    let unix = Endpoints::Unix { source: vec![1; 109].into(), destination: Bytes::new() };
    assert_eq!(encode_v2(&unix, &[], Checksum::None), Err(EncodeError::Path(109)));
    let long = Tlv::Alpn(vec![0; 65533].into());
    assert_eq!(encode_v2(&Endpoints::Unknown, &[long], Checksum::None), Err(EncodeError::TooLong(65536)));
    let reserved = Tlv::Other { kind: 3, value: Bytes::new() };
    assert_eq!(encode_v2(&Endpoints::Unknown, &[reserved], Checksum::None), Err(EncodeError::Reserved(3)));
    assert_eq!(encode_v1(&Endpoints::Local), &b"PROXY UNKNOWN\r\n"[..]);
}

fn any_internet() -> impl Strategy<Value = Endpoints> {
    let four = (any::<[u8; 4]>(), any::<[u8; 4]>()).prop_map(|(a, b)| (IpAddr::from(a), IpAddr::from(b)));
    let six = (any::<[u8; 16]>(), any::<[u8; 16]>()).prop_map(|(a, b)| (IpAddr::from(a), IpAddr::from(b)));
    let some = prop_oneof![
        Just((Ipv6Addr::LOCALHOST.into(), Ipv6Addr::UNSPECIFIED.into())),
        Just((Ipv4Addr::LOCALHOST.into(), Ipv4Addr::BROADCAST.into())),
    ];
    (prop_oneof![four, six, some], any::<u16>(), any::<u16>()).prop_map(|((source, destination), from, to)| {
        Endpoints::Internet { source: SocketAddr::new(source, from), destination: SocketAddr::new(destination, to) }
    })
}

fn any_path() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..=108).prop_map(|mut path| {
        while path.last() == Some(&0) {
            path.pop();
        }
        path.into()
    })
}

fn any_endpoints() -> impl Strategy<Value = Endpoints> {
    prop_oneof![
        6 => any_internet(),
        1 => Just(Endpoints::Unknown),
        2 => (any_path(), any_path()).prop_map(|(source, destination)| Endpoints::Unix { source, destination }),
    ]
}

fn any_bytes(most: usize) -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..most).prop_map(Into::into)
}

fn any_tlv() -> impl Strategy<Value = Tlv> {
    let values = prop::collection::vec((any::<u8>(), any_bytes(20)), 0..4);
    let ssl = (any::<u8>(), any::<u32>(), values).prop_map(|(client, verify, values)| Ssl { client, verify, values });
    prop_oneof![
        any_bytes(20).prop_map(Tlv::Alpn),
        ".{0,12}".prop_map(Tlv::Authority),
        any_bytes(129).prop_map(Tlv::UniqueId),
        ssl.prop_map(Tlv::Ssl),
        "[a-z]{0,12}".prop_map(Tlv::Netns),
        (0x31..=0xff_u8, any_bytes(20)).prop_map(|(kind, value)| Tlv::Other { kind, value }),
    ]
}

fn any_tlvs() -> impl Strategy<Value = Vec<Tlv>> {
    prop::collection::vec(any_tlv(), 0..6)
}

fn any_checksum() -> impl Strategy<Value = Checksum> {
    prop_oneof![Just(Checksum::None), Just(Checksum::Crc32c)]
}

/// A valid header of either version, and what it says.
fn any_header() -> impl Strategy<Value = (Vec<u8>, Header)> {
    let one = any_internet().prop_map(|endpoints| {
        let bytes = encode_v1(&endpoints).to_vec();
        (bytes, Header { version: Version::One, endpoints, tlvs: Vec::new() })
    });
    let two = (any_endpoints(), any_tlvs(), any_checksum()).prop_map(|(endpoints, tlvs, checksum)| {
        let bytes = encode_v2(&endpoints, &tlvs, checksum).unwrap().to_vec();
        (bytes, Header { version: Version::Two, endpoints, tlvs })
    });
    prop_oneof![one, two]
}

/// Bytes that look like headers for a while.
fn any_nearly() -> impl Strategy<Value = Vec<u8>> {
    let mutated = (any_header(), any::<prop::sample::Index>(), any::<u8>()).prop_map(|((mut bytes, _), at, byte)| {
        let at = at.index(bytes.len());
        bytes[at] = byte;
        bytes
    });
    let started = prop_oneof![
        Just(&b""[..]),
        Just(&b"PROXY "[..]),
        Just(&b"PROXY TCP4 "[..]),
        Just(&b"PROXY UNKNOWN"[..]),
        Just(&b"\r\n\r\n\0\r\nQUIT\n"[..]),
        Just(&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0"[..]),
    ];
    let random = (started, prop::collection::vec(any::<u8>(), 0..300)).prop_map(|(a, b)| [a, &b[..]].concat());
    let line = "PROXY (TCP4|TCP6|UNKNOWN) [0-9a-f:. \r\n]{0,110}".prop_map(String::into_bytes);
    prop_oneof![mutated, random, line]
}

proptest! {
    #[test]
    fn headers_survive_being_written_and_read((bytes, header) in any_header()) {
        prop_assert_eq!(verdict(&bytes), Ok(Parsed::Header { header, length: bytes.len() }));
    }

    #[test]
    fn every_split_gives_the_same((bytes, header) in any_header(), payload in any_bytes(40)) {
        let whole = [&bytes[..], &payload[..]].concat();
        for cut in 0..bytes.len() {
            prop_assert!(matches!(verdict(&bytes[..cut]), Ok(Parsed::Incomplete(_))), "{}", cut);
            let mut io = Pieces::new(&whole, &[cut.max(1), whole.len()]);
            let (read, rest) = run(accept(&mut io, Mode::Accept, Limits::default())).unwrap();
            prop_assert_eq!(read.as_ref(), Some(&header));
            prop_assert_eq!([&rest[..], &whole[io.given..]].concat(), &payload[..]);
        }
    }

    #[test]
    fn any_pieces_give_the_same(
        (bytes, header) in any_header(), payload in any_bytes(40), lengths in prop::collection::vec(1..50_usize, 1..8),
    ) {
        let whole = [&bytes[..], &payload[..]].concat();
        let mut io = Pieces::new(&whole, &lengths);
        let (read, rest) = run(accept(&mut io, Mode::Require, Limits::default())).unwrap();
        prop_assert_eq!(read, Some(header));
        prop_assert_eq!([&rest[..], &whole[io.given..]].concat(), &payload[..]);
    }

    #[test]
    fn verdicts_are_final(bytes in any_nearly()) {
        let mut last = Ok(Parsed::Incomplete(Progress::Perhaps));
        for end in 0..=bytes.len() {
            let now = verdict(&bytes[..end]);
            match &last {
                Ok(Parsed::Incomplete(Progress::Perhaps)) => {}
                Ok(Parsed::Incomplete(Progress::Begun)) => {
                    prop_assert!(!matches!(now, Ok(Parsed::Absent | Parsed::Incomplete(Progress::Perhaps))));
                }
                Err(Invalid::TooLong { .. }) => prop_assert!(matches!(now, Err(Invalid::TooLong { .. })), "{:?}", now),
                decided => prop_assert_eq!(&now, decided),
            }
            last = now;
        }
    }

    #[test]
    fn arbitrary_bytes_neither_panic_nor_are_read_beyond_the_bound(
        bytes in any_nearly(), header in 0..400_usize, lengths in prop::collection::vec(1..200_usize, 1..4),
    ) {
        let limits = Limits { header, tlvs: 3 };
        let mut io = Pieces::new(&[&bytes[..], &[b'1'; 600]].concat(), &lengths);
        let result = run(accept(&mut io, Mode::Accept, limits));
        prop_assert!(io.given <= limits.bound());
        if let Ok((None, read)) = result {
            prop_assert_eq!(&read[..], &io.bytes[..io.given]);
        }
    }

    #[test]
    fn another_implementation_reads_what_is_written((bytes, header) in any_header()) {
        let (other, length) = proxy_header::ProxyHeader::parse(&bytes, proxy_header::ParseConfig::default()).unwrap();
        prop_assert_eq!(length, bytes.len());
        let addresses = other.proxied_address().map(|proxied| (proxied.source, proxied.destination));
        prop_assert_eq!(addresses, header.source().zip(header.destination()));
    }

    #[test]
    fn what_another_implementation_writes_is_read(endpoints in any_internet(), name in "[a-z.]{1,20}") {
        let Endpoints::Internet { source, destination } = endpoints else { unreachable!() };
        let proxied = proxy_header::ProxiedAddress::stream(source, destination);
        let mut bytes = Vec::new();
        let authority = proxy_header::Tlv::Authority(name.as_str().into());
        proxy_header::ProxyHeader::with_tlvs(Some(proxied.clone()), [authority]).encode_v2(&mut bytes).unwrap();
        match verdict(&bytes) {
            Ok(Parsed::Header { header, .. }) => {
                prop_assert_eq!(header.source(), Some(source));
                prop_assert_eq!(header.authority(), Some(name.as_str()));
            }
            other => prop_assert!(false, "{:?}", other),
        }
        let mut bytes = Vec::new();
        proxy_header::ProxyHeader::with_address(proxied).encode_v1(&mut bytes).unwrap();
        prop_assert_eq!(endpoints_of(&bytes), endpoints);
    }
}
