//! `fyke.values.read.v1`: many properties and headers of a stream with one call.

use fyke_engine::{ContextId, Host as _, Map, MapKind, Status};

use super::{call::Call, foreign::Arguments};

/// Most values of one call.
pub const MOST: usize = 256;
/// Most bytes of one answer.
pub const MOST_BYTES: usize = 1024 * 1024;

/// What says that an item is a property. The others are types of maps.
const PROPERTY: u8 = 255;
/// The length of what is not there.
const NONE: [u8; 4] = u32::MAX.to_le_bytes();

/// `None`: the arguments are wrong, or the answer would be too long.
pub(super) fn read(host: &mut Call<'_>, cx: ContextId, args: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut args = Arguments(args);
    for _ in 0..MOST {
        if args.0.is_empty() {
            return Some(());
        }
        let what = *args.take(1)?.first()?;
        let name = args.bytes()?;
        let place = out.len();
        out.extend_from_slice(&NONE);
        let start = out.len();
        if find(host, cx, what, name, out)? {
            let length = u32::try_from(out.len().checked_sub(start)?).ok()?;
            out.get_mut(place..start)?.copy_from_slice(&length.to_le_bytes());
        } else {
            out.truncate(start);
        }
        if out.len() > MOST_BYTES {
            return None;
        }
    }
    args.0.is_empty().then_some(())
}

/// Appends a value. `false`: there is none.
fn find(host: &mut Call<'_>, cx: ContextId, what: u8, name: &[u8], out: &mut Vec<u8>) -> Option<bool> {
    if what == PROPERTY {
        return Some(host.property(cx, name, out) == Status::Ok);
    }
    let map = match MapKind::from_abi(u32::from(what))? {
        map @ (MapKind::RequestHeaders
        | MapKind::RequestTrailers
        | MapKind::ResponseHeaders
        | MapKind::ResponseTrailers) => map,
        _ => return None,
    };
    let mut found = false;
    host.with_map(cx, map, &mut |map: &mut dyn Map| {
        if let Some(value) = map.get(name) {
            out.extend_from_slice(value);
            found = true;
        }
    });
    Some(found)
}
