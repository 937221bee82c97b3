//! What a stream is made of cannot be sent to another thread: the compiler would have to allow it first.

#![allow(missing_docs, reason = "tests")]

/// Compiles only where `T` is not `Send`: for a type that is, both implementations fit and the choice is ambiguous.
trait NotSend<Proof> {
    fn stays() -> bool {
        true
    }
}

impl<T: ?Sized> NotSend<()> for T {}

struct Ambiguous;

impl<T: ?Sized + Send> NotSend<Ambiguous> for T {}

#[test]
fn streams_connections_and_instances_stay_on_their_thread() {
    assert!(<fyke::http::stream::Stream as NotSend<_>>::stays());
    assert!(<fyke::http::stream::ResponseBody as NotSend<_>>::stays());
    assert!(<fyke::wasm::exchange::Exchange as NotSend<_>>::stays());
    assert!(<fyke::wasm::vm::Slot as NotSend<_>>::stays());
    assert!(<fyke::cluster::lease::Lease as NotSend<_>>::stays());
    assert!(<fyke::http::runtime::ListenerRuntime as NotSend<_>>::stays());
}
