//! Response flags: why an answer is not simply the upstream's. The property `response.flags` is a set of bits, in Envoy's order
//! (`CoreResponseFlag`).

const NAMES: [&str; 27] = [
    "LH", "UH", "UT", "LR", "UR", "UF", "UC", "UO", "NR", "DI", "FI", "RL", "UAEX", "RLSE", "DC", "URX", "SI", "IH",
    "DPE", "UMSDR", "RFCF", "NFCF", "DT", "UPE", "NC", "OM", "DF",
];

/// Appends the names of the flags that are set in the property `response.flags`, joined by commas, as Envoy writes them (`UF,URX`);
/// nothing when there are none.
///
/// ```
/// let mut names = Vec::new();
/// fyke_sdk::property::write_response_flags(&mut names, 0x104);
/// assert_eq!(names, b"UT,NR");
/// ```
pub fn write_response_flags(out: &mut Vec<u8>, bits: i64) {
    let mut separator: &[u8] = b"";
    for (_, name) in NAMES.iter().enumerate().filter(|(bit, _)| bits >> bit & 1 == 1) {
        out.extend_from_slice(separator);
        out.extend_from_slice(name.as_bytes());
        separator = b",";
    }
}
