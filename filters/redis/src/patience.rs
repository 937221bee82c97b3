//! How much is done in one call. Hosts end a filter that takes too long over one, and with it the connections of everybody else; so of many small messages a part is
//! done, and the rest once others have had their turn.

use std::time::Duration;

use fyke_sdk::tcp::show_again;
use fyke_sdk::{Data, Result, Side, TcpFlow};

/// Commands or replies, and lines that say nothing.
pub const MESSAGES: usize = 512;
/// Bytes that are looked at, which those of long strings are not.
pub const BYTES: usize = 64 << 10;
/// Bytes of the filter's own answers.
pub const SAID: usize = 64 << 10;

/// What of a direction is here and was not let go is shown again.
///
/// # Errors
/// The host cannot.
pub fn later(side: Side, data: &Data) -> Result<TcpFlow> {
    if data.end_of_stream() {
        // There is no more to be needed behind an end, but waiting is possible.
        return Ok(TcpFlow::Wait(Duration::from_millis(1)));
    }
    show_again(side)?;
    Ok(TcpFlow::NeedMore)
}
