//! A filter that does what a script tells it, hostcall by hostcall, and logs every callback and every result.
//!
//! No SDK is in between: a script says exactly which arguments a hostcall gets, bad ones too, and sees its bare status. The script is the
//! environment variable `SCRIPT`, so that it is there from the first callback on; a line of it is
//!
//! ```text
//! CALLBACK[@NTH]: HOSTCALL ARGUMENT...      the name without `proxy_`
//! CALLBACK[@NTH]: return NUMBER             what the callback returns
//! CALLBACK[@NTH]: trap | recurse | grow
//! ```
//!
//! `@NTH` means the NTH time only that a context has this callback. Arguments are
//!
//! | argument | parameters | meaning |
//! |---|---|---|
//! | `7`, `-1`, `0xff` | 1 | a number |
//! | `$name` | 1 | what an out cell of that name holds, or the callback's `$ctx`, `$1`, `$2`, ... |
//! | `"text"` | 2 | address and length of these bytes; `\n`, `\0`, `\xNN`, and `\{name}` for four bytes of a variable |
//! | `[a=b;c=d]` | 2 | address and length of serialized pairs |
//! | `&4`, `&8` | 1 | an out cell of that size; `&4=name` keeps it |
//! | `&b` | 2 | out cells for address and length, shown as text; `&p` shows pairs |
//!
//! Results are logged as `CALLBACK> HOSTCALL = STATUS RESULT...`, callbacks as `CALLBACK CONTEXT PARAMETER...`. With a line `dynamic` the header
//! `x-probe` of a request adds lines for its stream, separated by `|`; with a line `quiet` neither callbacks nor the results in
//! `context_create` are logged.

#![allow(unsafe_code, missing_docs, reason = "this is the ABI, bare")]

mod hostcalls;
mod parse;
mod run;

pub use run::{allocate, callback};

/// The exports of one ABI version.
#[macro_export]
macro_rules! exports {
    ($marker:ident, headers($($end:ident)?)) => {
        #[unsafe(no_mangle)]
        pub extern "C" fn $marker() {}

        #[unsafe(no_mangle)]
        pub extern "C" fn proxy_on_memory_allocate(size: usize) -> *mut u8 {
            $crate::allocate(size)
        }

        $crate::exports!(@each
            proxy_on_vm_start(context, size) -> 1;
            proxy_on_configure(context, size) -> 1;
            proxy_on_new_connection(context) -> 0;
            proxy_on_downstream_data(context, size, end) -> 0;
            proxy_on_upstream_data(context, size, end) -> 0;
            proxy_on_request_headers(context, count $(, $end)?) -> 0;
            proxy_on_request_body(context, size, end) -> 0;
            proxy_on_request_trailers(context, count) -> 0;
            proxy_on_response_headers(context, count $(, $end)?) -> 0;
            proxy_on_response_body(context, size, end) -> 0;
            proxy_on_response_trailers(context, count) -> 0;
            proxy_on_done(context) -> 1;
        );
        $crate::exports!(@silent
            proxy_on_context_create(context, parent);
            proxy_on_tick(context);
            proxy_on_queue_ready(context, queue);
            proxy_on_downstream_connection_close(context, peer);
            proxy_on_upstream_connection_close(context, peer);
            proxy_on_http_call_response(context, token, headers, body, trailers);
            proxy_on_grpc_receive_initial_metadata(context, token, count);
            proxy_on_grpc_receive(context, token, size);
            proxy_on_grpc_receive_trailing_metadata(context, token, count);
            proxy_on_grpc_close(context, token, status);
            proxy_on_log(context);
            proxy_on_delete(context);
            proxy_on_foreign_function(context, function, size);
        );
    };
    (@each $($name:ident($($parameter:ident),*) -> $default:literal;)*) => {
        $(
            #[unsafe(no_mangle)]
            pub extern "C" fn $name($($parameter: u32),*) -> u32 {
                $crate::callback(stringify!($name), &[$($parameter),*], $default)
            }
        )*
    };
    (@silent $($name:ident($($parameter:ident),*);)*) => {
        $(
            #[unsafe(no_mangle)]
            pub extern "C" fn $name($($parameter: u32),*) {
                $crate::callback(stringify!($name), &[$($parameter),*], 0);
            }
        )*
    };
}
