//! The imports, by name. A status is what they return; the second parameter of two of them is 64 bits wide.

macro_rules! hostcalls {
    ($($name:ident($($kind:ident)*);)*) => {
        #[link(wasm_import_module = "env")]
        unsafe extern "C" {
            $(safe fn $name($(_: $kind),*) -> i32;)*
        }

        /// Calls one with these arguments: `None` when there is none of that name, or the number of arguments is another one.
        pub fn call(name: &str, arguments: &[i64]) -> Option<i32> {
            let mut arguments = arguments.iter();
            match name {
                $(
                    name if stringify!($name).strip_prefix("proxy_") == Some(name) => {
                        let status = hostcalls!(@call $name arguments $($kind)*);
                        arguments.next().is_none().then_some(status)
                    }
                )*
                _ => None,
            }
        }
    };
    (@call $name:ident $arguments:ident) => { $name() };
    (@call $name:ident $arguments:ident $($kind:ident)+) => { $name($(*$arguments.next()? as $kind),+) };
}

hostcalls! {
    proxy_log(i32 i32 i32);
    proxy_get_log_level(i32);
    proxy_get_current_time_nanoseconds(i32);
    proxy_set_tick_period_milliseconds(i32);
    proxy_set_effective_context(i32);
    proxy_done();
    proxy_get_buffer_bytes(i32 i32 i32 i32 i32);
    proxy_set_buffer_bytes(i32 i32 i32 i32 i32);
    proxy_get_buffer_status(i32 i32 i32);
    proxy_get_header_map_size(i32 i32);
    proxy_get_header_map_pairs(i32 i32 i32);
    proxy_set_header_map_pairs(i32 i32 i32);
    proxy_get_header_map_value(i32 i32 i32 i32 i32);
    proxy_add_header_map_value(i32 i32 i32 i32 i32);
    proxy_replace_header_map_value(i32 i32 i32 i32 i32);
    proxy_remove_header_map_value(i32 i32 i32);
    proxy_continue_stream(i32);
    proxy_close_stream(i32);
    proxy_get_status(i32 i32 i32);
    proxy_send_local_response(i32 i32 i32 i32 i32 i32 i32 i32);
    proxy_http_call(i32 i32 i32 i32 i32 i32 i32 i32 i32 i32);
    proxy_grpc_call(i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32);
    proxy_grpc_stream(i32 i32 i32 i32 i32 i32 i32 i32 i32);
    proxy_grpc_send(i32 i32 i32 i32);
    proxy_grpc_cancel(i32);
    proxy_grpc_close(i32);
    proxy_set_shared_data(i32 i32 i32 i32 i32);
    proxy_get_shared_data(i32 i32 i32 i32 i32);
    proxy_register_shared_queue(i32 i32 i32);
    proxy_resolve_shared_queue(i32 i32 i32 i32 i32);
    proxy_enqueue_shared_queue(i32 i32 i32);
    proxy_dequeue_shared_queue(i32 i32 i32);
    proxy_define_metric(i32 i32 i32 i32);
    proxy_record_metric(i32 i64);
    proxy_increment_metric(i32 i64);
    proxy_get_metric(i32 i32);
    proxy_get_property(i32 i32 i32 i32);
    proxy_set_property(i32 i32 i32 i32);
    proxy_call_foreign_function(i32 i32 i32 i32 i32 i32);
    proxy_get_configuration(i32 i32);
    proxy_continue_request();
    proxy_continue_response();
    proxy_clear_route_cache();
}
