//! Response flags: why a response is not simply the upstream's. The property is a set of bits, in Envoy's order.

const NAMES: [&str; 27] = [
    "LH", "UH", "UT", "LR", "UR", "UF", "UC", "UO", "NR", "DI", "FI", "RL", "UAEX", "RLSE", "DC", "URX", "SI", "IH",
    "DPE", "UMSDR", "RFCF", "NFCF", "DT", "UPE", "NC", "OM", "DF",
];

/// Appends the names, joined by commas; nothing when there are none.
pub fn write(out: &mut Vec<u8>, bits: i64) {
    let mut separator: &[u8] = b"";
    for (_, name) in NAMES.iter().enumerate().filter(|(bit, _)| bits >> bit & 1 == 1) {
        out.extend_from_slice(separator);
        out.extend_from_slice(name.as_bytes());
        separator = b",";
    }
}
