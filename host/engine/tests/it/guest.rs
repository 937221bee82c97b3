//! Guests: every import, a bump allocator that logs at trace level, and helpers to say what happened.

use std::sync::OnceLock;

use fyke_engine::{
    ContextId, Engine, EngineOptions, HeadersAction, Instance, InstanceOptions, LoadError, Module, Trap,
};

use crate::recorder::Recorder;

/// Name and parameters of every function of `env`; all return an `i32`.
pub const IMPORTS: &[(&str, &str)] = &[
    ("proxy_log", "i32 i32 i32"),
    ("proxy_get_log_level", "i32"),
    ("proxy_get_current_time_nanoseconds", "i32"),
    ("proxy_set_tick_period_milliseconds", "i32"),
    ("proxy_set_effective_context", "i32"),
    ("proxy_done", ""),
    ("proxy_get_buffer_bytes", "i32 i32 i32 i32 i32"),
    ("proxy_set_buffer_bytes", "i32 i32 i32 i32 i32"),
    ("proxy_get_buffer_status", "i32 i32 i32"),
    ("proxy_get_header_map_size", "i32 i32"),
    ("proxy_get_header_map_pairs", "i32 i32 i32"),
    ("proxy_set_header_map_pairs", "i32 i32 i32"),
    ("proxy_get_header_map_value", "i32 i32 i32 i32 i32"),
    ("proxy_add_header_map_value", "i32 i32 i32 i32 i32"),
    ("proxy_replace_header_map_value", "i32 i32 i32 i32 i32"),
    ("proxy_remove_header_map_value", "i32 i32 i32"),
    ("proxy_continue_stream", "i32"),
    ("proxy_close_stream", "i32"),
    ("proxy_get_status", "i32 i32 i32"),
    ("proxy_send_local_response", "i32 i32 i32 i32 i32 i32 i32 i32"),
    ("proxy_http_call", "i32 i32 i32 i32 i32 i32 i32 i32 i32 i32"),
    ("proxy_grpc_call", "i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32"),
    ("proxy_grpc_stream", "i32 i32 i32 i32 i32 i32 i32 i32 i32"),
    ("proxy_grpc_send", "i32 i32 i32 i32"),
    ("proxy_grpc_cancel", "i32"),
    ("proxy_grpc_close", "i32"),
    ("proxy_set_shared_data", "i32 i32 i32 i32 i32"),
    ("proxy_get_shared_data", "i32 i32 i32 i32 i32"),
    ("proxy_register_shared_queue", "i32 i32 i32"),
    ("proxy_resolve_shared_queue", "i32 i32 i32 i32 i32"),
    ("proxy_enqueue_shared_queue", "i32 i32 i32"),
    ("proxy_dequeue_shared_queue", "i32 i32 i32"),
    ("proxy_define_metric", "i32 i32 i32 i32"),
    ("proxy_record_metric", "i32 i64"),
    ("proxy_increment_metric", "i32 i64"),
    ("proxy_get_metric", "i32 i32"),
    ("proxy_get_property", "i32 i32 i32 i32"),
    ("proxy_set_property", "i32 i32 i32 i32"),
    ("proxy_call_foreign_function", "i32 i32 i32 i32 i32 i32"),
    ("proxy_get_configuration", "i32 i32"),
    ("proxy_continue_request", ""),
    ("proxy_continue_response", ""),
    ("proxy_clear_route_cache", ""),
];

/// The marker, the memory, the imports, and functions to say things with:
/// `$say (ptr) (len)` logs, `$status (status)` logs a status as one character, `$value` logs what the pointers at 16 and 20 say.
pub fn prelude(version: &str) -> String {
    let mut text = String::new();
    for (name, parameters) in IMPORTS {
        text += &format!("(import \"env\" \"{name}\" (func ${name} (param {parameters}) (result i32)))\n");
    }
    text += &format!(
        r#"
        (memory (export "memory") 2)
        (data (i32.const 100) "keyKEYvalue")
        (func (export "proxy_abi_version_{version}"))
        (func $say (param $ptr i32) (param $len i32)
            (drop (call $proxy_log (i32.const 2) (local.get $ptr) (local.get $len))))
        (func $status (param $status i32)
            (i32.store8 (i32.const 8) (i32.add (i32.const 48) (local.get $status)))
            (call $say (i32.const 8) (i32.const 1)))
        (func $value
            (call $say (i32.load (i32.const 16)) (i32.load (i32.const 20))))
        "#
    );
    text
}

/// The bump allocator, which says "alloc" at trace level.
pub const ALLOCATOR: &str = r#"
    (global $heap (mut i32) (i32.const 65536))
    (data (i32.const 0) "alloc")
    (func (export "proxy_on_memory_allocate") (param $size i32) (result i32)
        (drop (call $proxy_log (i32.const 0) (i32.const 0) (i32.const 5)))
        (global.get $heap)
        (global.set $heap (i32.add (global.get $heap) (local.get $size))))
"#;

/// A module with prelude and allocator.
pub fn module(version: &str, fields: &str) -> String {
    format!("(module {} {ALLOCATOR} {fields})", prelude(version))
}

/// A module whose request headers callback does `body` and continues.
pub fn on_headers(body: &str) -> String {
    module(
        "0_2_1",
        &format!(
            r#"(func (export "proxy_on_request_headers") (param $cx i32) (param $n i32) (param $eos i32) (result i32)
                {body} (i32.const 0))"#
        ),
    )
}

pub fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| Engine::new(EngineOptions::default()).expect("an engine"))
}

pub fn compile(text: &str) -> Result<Module, LoadError> {
    engine().compile(&wat::parse_str(text).expect("valid WAT"))
}

/// An instance with a root and a stream context.
pub struct Guest {
    pub instance: Instance,
    pub root: ContextId,
    pub stream: ContextId,
}

impl Guest {
    pub fn new(text: &str, host: &mut Recorder) -> Guest {
        Guest::with(text, &InstanceOptions::default(), host)
    }

    pub fn with(text: &str, options: &InstanceOptions, host: &mut Recorder) -> Guest {
        let module = compile(text).expect("a module");
        let mut instance = Instance::new(&module, options, host).expect("an instance");
        let root = instance.configure_root(host, b"configuration").expect("a root");
        let stream = instance.create_stream(host, root).expect("a stream");
        Guest { instance, root, stream }
    }

    pub fn headers(&mut self, host: &mut Recorder) -> Result<HeadersAction, Trap> {
        self.instance.on_request_headers(host, self.stream, 1, false)
    }
}

/// Runs `body` in a request headers callback; what the guest said is in the host.
pub fn run(body: &str, mut host: Recorder) -> Recorder {
    let mut guest = Guest::new(&on_headers(body), &mut host);
    guest.headers(&mut host).expect("no trap");
    host
}

/// Runs `body` in a request headers callback, where it traps.
pub fn trap(body: &str, mut host: Recorder) -> Trap {
    let mut guest = Guest::new(&on_headers(body), &mut host);
    guest.headers(&mut host).expect_err("a trap")
}
