//! Order of the calls, contexts, configuration, and the meaning of results.

use fyke_engine::{
    Callback, CallbackSet, ConfigureError, ContextId, DataAction, HeadersAction, Instance, InstanceOptions, LogLevel,
    PeerKind, TrapKind,
};

use crate::guest::{ALLOCATOR, Guest, compile, module, on_headers, prelude};
use crate::recorder::Recorder;

/// Exports every callback; each logs its name, then its parameters as digits.
fn chatty(version: &str) -> String {
    let mut fields = String::new();
    for (index, callback) in Callback::ALL.iter().enumerate() {
        let name = callback.name();
        let (parameters, result) = match callback {
            Callback::RequestHeaders | Callback::ResponseHeaders if version == "0_1_0" => (2, true),
            Callback::RequestHeaders | Callback::ResponseHeaders => (3, true),
            Callback::DownstreamData | Callback::UpstreamData | Callback::RequestBody | Callback::ResponseBody => {
                (3, true)
            }
            Callback::RequestTrailers | Callback::ResponseTrailers | Callback::VmStart | Callback::Configure => {
                (2, true)
            }
            Callback::NewConnection | Callback::Done => (1, true),
            Callback::Tick | Callback::Log | Callback::Delete => (1, false),
            Callback::HttpCallResponse => (5, false),
            Callback::DownstreamConnectionClose
            | Callback::UpstreamConnectionClose
            | Callback::QueueReady
            | Callback::ContextCreate => (2, false),
            _ => (3, false),
        };
        let at = 1000 + index * 100;
        fields += &format!("(data (i32.const {at}) \"{name} \")\n");
        fields += &format!(
            "(func (export \"{}\") (param{}) {}\n",
            callback.export(),
            " i32".repeat(parameters),
            if result { "(result i32)" } else { "" }
        );
        for parameter in 0..parameters {
            let place = at + name.len() + 1 + parameter;
            fields += &format!("(i32.store8 (i32.const {place}) (i32.add (i32.const 48) (local.get {parameter})))\n");
        }
        fields += &format!("(call $say (i32.const {at}) (i32.const {}))\n", name.len() + 1 + parameters);
        fields += if result { "(i32.const 1))\n" } else { ")\n" };
    }
    module(version, &fields)
}

#[test]
fn callbacks_arrive_in_order_with_their_arguments() {
    let mut host = Recorder::default();
    let mut guest = Guest::new(&chatty("0_2_1"), &mut host);
    let (root, cx, instance) = (guest.root, guest.stream, &mut guest.instance);
    let host = &mut host;
    assert_eq!(instance.callbacks(), CallbackSet::ALL);
    assert_eq!(instance.on_request_headers(host, cx, 3, true).unwrap(), HeadersAction::Pause);
    assert_eq!(instance.on_request_body(host, cx, 4, false).unwrap(), DataAction::PauseAndBuffer);
    assert_eq!(instance.on_request_trailers(host, cx, 5).unwrap(), HeadersAction::Pause);
    assert_eq!(instance.on_response_headers(host, cx, 3, false).unwrap(), HeadersAction::Pause);
    assert_eq!(instance.on_response_body(host, cx, 4, true).unwrap(), DataAction::PauseAndBuffer);
    assert_eq!(instance.on_response_trailers(host, cx, 5).unwrap(), HeadersAction::Pause);
    instance.on_http_call_response(host, root, 7, 1, 2, 3).unwrap();
    instance.on_grpc_receive_initial_metadata(host, root, 8, 1).unwrap();
    instance.on_grpc_receive(host, root, 8, 2).unwrap();
    instance.on_grpc_receive_trailing_metadata(host, root, 8, 3).unwrap();
    instance.on_grpc_close(host, root, 8, 4).unwrap();
    instance.on_tick(host, root).unwrap();
    instance.on_queue_ready(host, root, 6).unwrap();
    instance.on_foreign_function(host, cx, 1, b"abc").unwrap();
    assert_eq!(instance.on_new_connection(host, cx).unwrap(), DataAction::PauseAndBuffer);
    assert_eq!(instance.on_downstream_data(host, cx, 1, false).unwrap(), DataAction::PauseAndBuffer);
    assert_eq!(instance.on_upstream_data(host, cx, 2, true).unwrap(), DataAction::PauseAndBuffer);
    instance.on_downstream_connection_close(host, cx, PeerKind::Remote).unwrap();
    instance.on_upstream_connection_close(host, cx, PeerKind::Local).unwrap();
    instance.on_log(host, cx).unwrap();
    assert!(instance.on_done(host, cx).unwrap());
    instance.on_delete(host, cx).unwrap();
    instance.delete_root(host, root).unwrap();
    assert_eq!(
        host.said(),
        [
            "context_create 10",
            "vm_start 10",
            "configure 1=",
            "context_create 21",
            "request_headers 231",
            "request_body 240",
            "request_trailers 25",
            "response_headers 230",
            "response_body 241",
            "response_trailers 25",
            "http_call_response 17123",
            "grpc_receive_initial_metadata 181",
            "grpc_receive 182",
            "grpc_receive_trailing_metadata 183",
            "grpc_close 184",
            "tick 1",
            "queue_ready 16",
            "foreign_function 213",
            "new_connection 2",
            "downstream_data 210",
            "upstream_data 221",
            "downstream_connection_close 22",
            "upstream_connection_close 21",
            "log 2",
            "done 2",
            "delete 2",
            "done 1",
            "delete 1",
        ]
    );
}

#[test]
fn headers_callbacks_of_0_1_0_have_no_end_of_stream() {
    let mut host = Recorder::default();
    let mut guest = Guest::new(&chatty("0_1_0"), &mut host);
    guest.headers(&mut host).unwrap();
    guest.instance.on_response_headers(&mut host, guest.stream, 2, true).unwrap();
    assert_eq!(host.said()[4..], ["request_headers 21", "response_headers 22"]);
}

#[test]
fn the_vm_starts_once_and_roots_are_configured_each() {
    let mut host = Recorder::default();
    let mut guest = Guest::new(&chatty("0_2_0"), &mut host);
    let second = guest.instance.configure_root(&mut host, b"").unwrap();
    assert_eq!(second, ContextId(3));
    assert_eq!(host.said()[4..], ["context_create 30", "configure 30"]);
    assert_eq!(guest.instance.create_stream(&mut host, second).unwrap(), ContextId(4));
    assert_eq!(*host.said().last().unwrap(), "context_create 43");
}

#[test]
fn callbacks_that_are_not_wanted_are_not_called() {
    let mut host = Recorder::default();
    let wanted = [Callback::ResponseHeaders].into_iter().collect();
    let options = InstanceOptions { callbacks: Some(wanted), ..InstanceOptions::default() };
    let mut guest = Guest::with(&chatty("0_2_1"), &options, &mut host);
    let cx = guest.stream;
    assert!(guest.instance.callbacks().contains(Callback::Delete));
    assert!(!guest.instance.callbacks().contains(Callback::RequestHeaders));
    assert_eq!(guest.headers(&mut host).unwrap(), HeadersAction::Continue);
    assert_eq!(guest.instance.on_request_body(&mut host, cx, 9, true).unwrap(), DataAction::Continue);
    assert!(guest.instance.on_done(&mut host, cx).unwrap());
    guest.instance.on_response_headers(&mut host, cx, 1, true).unwrap();
    guest.instance.on_delete(&mut host, cx).unwrap();
    assert_eq!(host.said()[4..], ["response_headers 211", "delete 2"]);
}

#[test]
fn a_module_without_callbacks_is_neutral() {
    let mut host = Recorder::default();
    let mut guest = Guest::new(&module("0_2_1", ""), &mut host);
    assert_eq!(guest.instance.callbacks(), CallbackSet::EMPTY);
    assert_eq!(guest.headers(&mut host).unwrap(), HeadersAction::Continue);
    assert!(guest.instance.on_done(&mut host, guest.stream).unwrap());
    guest.instance.delete_root(&mut host, guest.root).unwrap();
    assert!(host.logs.is_empty());
}

#[test]
fn actions_are_as_wide_as_in_the_field() {
    for (value, headers, data) in [
        (0, HeadersAction::Continue, DataAction::Continue),
        (1, HeadersAction::Pause, DataAction::PauseAndBuffer),
        (2, HeadersAction::ContinueAndEndStream, DataAction::PauseAndWatermark),
        (3, HeadersAction::PauseAllAndBuffer, DataAction::PauseNoBuffer),
        (4, HeadersAction::PauseAllAndWatermark, DataAction::PauseAndBuffer),
        (-7, HeadersAction::PauseAllAndWatermark, DataAction::PauseAndBuffer),
    ] {
        let mut host = Recorder::default();
        let text = module(
            "0_2_100",
            &format!(
                r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (i32.const {value}))
                   (func (export "proxy_on_request_body") (param i32 i32 i32) (result i32) (i32.const {value}))
                   (func (export "proxy_on_request_trailers") (param i32 i32) (result i32) (i32.const {value}))"#
            ),
        );
        let mut guest = Guest::new(&text, &mut host);
        assert_eq!(guest.headers(&mut host).unwrap(), headers);
        assert_eq!(guest.instance.on_request_body(&mut host, guest.stream, 1, false).unwrap(), data);
        let trailers = guest.instance.on_request_trailers(&mut host, guest.stream, 1).unwrap();
        assert_eq!(trailers, if value == 0 { HeadersAction::Continue } else { HeadersAction::Pause });
    }
}

/// Says status and contents of buffers 6, 7 and 8, and of `proxy_get_configuration`.
const READ_CONFIGURATION: &str = r#"
    (func $read (param $buffer i32)
        (i64.store (i32.const 16) (i64.const 0))
        (call $status (call $proxy_get_buffer_bytes (local.get $buffer) (i32.const 0) (i32.const -1) (i32.const 16) (i32.const 20)))
        (call $value))
    (func $read_all
        (call $read (i32.const 6)) (call $read (i32.const 7)) (call $read (i32.const 8))
        (i64.store (i32.const 16) (i64.const 0))
        (call $status (call $proxy_get_configuration (i32.const 16) (i32.const 20)))
        (call $value))
    (func (export "proxy_on_context_create") (param i32 i32) (call $read_all))
    (func (export "proxy_on_vm_start") (param i32 i32) (result i32) (call $read_all) (i32.const 1))
    (func (export "proxy_on_configure") (param i32 i32) (result i32) (call $read_all)
        (drop (call $proxy_set_buffer_bytes (i32.const 7) (i32.const 0) (i32.const 0) (i32.const 100) (i32.const 3)))
        (call $read (i32.const 7))
        (i32.const 1))
    (func (export "proxy_on_tick") (param i32) (call $read_all))
    (func (export "proxy_on_foreign_function") (param i32 i32 i32) (call $read_all))
"#;

#[test]
fn configuration_and_arguments_are_readable_only_where_they_belong() {
    let mut host = Recorder::default();
    let module = compile(&module("0_2_1", READ_CONFIGURATION)).unwrap();
    let options = InstanceOptions { vm_configuration: b"vm".to_vec(), ..InstanceOptions::default() };
    let mut instance = Instance::new(&module, &options, &mut host).unwrap();
    let root = instance.configure_root(&mut host, b"plugin").unwrap();
    let nothing = ["1", "", "1", "", "1", "", "0", ""];
    assert_eq!(host.said()[..8], nothing, "context_create");
    assert_eq!(host.said()[8..16], ["0", "vm", "1", "", "1", "", "0", "vm"], "vm_start");
    assert_eq!(host.said()[16..], ["0", "vm", "0", "plugin", "1", "", "0", "plugin", "0", "plugin"], "configure");
    host.logs.clear();
    instance.on_tick(&mut host, root).unwrap();
    assert_eq!(host.said(), nothing, "tick");
    host.logs.clear();
    instance.on_foreign_function(&mut host, root, 1, b"arguments").unwrap();
    assert_eq!(host.said(), ["1", "", "1", "", "0", "arguments", "0", ""], "foreign_function");
}

#[test]
fn a_vm_that_refuses_to_start_is_of_no_use() {
    let mut host = Recorder::default();
    let text = module(
        "0_2_1",
        r#"(func (export "proxy_on_vm_start") (param i32 i32) (result i32) (call $status (i32.const 1)) (i32.const 0))"#,
    );
    let mut instance = Instance::new(&compile(&text).unwrap(), &InstanceOptions::default(), &mut host).unwrap();
    assert!(matches!(instance.configure_root(&mut host, b""), Err(ConfigureError::VmRefused)));
    assert!(matches!(instance.configure_root(&mut host, b""), Err(ConfigureError::VmRefused)));
    assert_eq!(host.said(), ["1"], "it was asked once");
}

#[test]
fn a_refused_configuration_costs_its_context_only() {
    let mut host = Recorder::default();
    // Accepts configurations of more than one byte.
    let text = module(
        "0_2_1",
        r#"(func (export "proxy_on_configure") (param i32 i32) (result i32) (i32.gt_u (local.get 1) (i32.const 1)))
           (func (export "proxy_on_delete") (param i32) (call $status (local.get 0)))"#,
    );
    let mut guest = Guest::new(&text, &mut host);
    assert!(matches!(guest.instance.configure_root(&mut host, b"x"), Err(ConfigureError::Refused)));
    assert_eq!(host.said(), ["3"], "it was deleted");
    assert!(guest.instance.configure_root(&mut host, b"xyz").is_ok());
    assert!(!guest.instance.is_condemned());
}

#[test]
fn a_trap_while_configuring_is_told() {
    let mut host = Recorder::default();
    let text = module("0_2_1", r#"(func (export "proxy_on_configure") (param i32 i32) (result i32) unreachable)"#);
    let mut instance = Instance::new(&compile(&text).unwrap(), &InstanceOptions::default(), &mut host).unwrap();
    let Err(ConfigureError::Trap(trap)) = instance.configure_root(&mut host, b"") else { panic!("no trap") };
    assert_eq!((trap.kind, trap.callback), (TrapKind::Unreachable, "configure"));
    let Err(ConfigureError::Trap(trap)) = instance.configure_root(&mut host, b"") else { panic!("no trap") };
    assert_eq!(trap.kind, TrapKind::Condemned);
}

#[test]
fn reactors_initialize_then_run_main_and_commands_start() {
    for (exports, expected) in [
        ("(func (export \"_initialize\") (call $status (i32.const 1)))", &["1"][..]),
        (
            "(func (export \"_initialize\") (call $status (i32.const 1)))
             (func (export \"main\") (param i32 i32) (result i32) (call $status (i32.const 2)) (i32.const 0))
             (func (export \"_start\") (call $status (i32.const 9)))",
            &["1", "2"],
        ),
        (
            "(func (export \"_initialize\") (call $status (i32.const 1)))
             (func (export \"__main_void\") (result i32) (call $status (i32.const 3)) (i32.const 0))",
            &["1", "3"],
        ),
        (
            "(func (export \"_start\") (call $status (i32.const 4)))
             (func (export \"main\") (param i32 i32) (result i32) (call $status (i32.const 9)) (i32.const 0))",
            &["4"],
        ),
        ("(func $begin (call $status (i32.const 5))) (start $begin)", &["5"]),
    ] {
        let mut host = Recorder::default();
        let module = compile(&module("0_2_1", exports)).unwrap();
        Instance::new(&module, &InstanceOptions::default(), &mut host).unwrap();
        assert_eq!(host.said(), expected);
        assert!(host.logs.iter().all(|(cx, _, _)| *cx == ContextId(0)));
    }
}

#[test]
fn malloc_is_the_allocator_when_there_is_no_other() {
    let mut host = Recorder::default().with_map(fyke_engine::MapKind::RequestHeaders, &[("key", "found")]);
    let text = on_headers(
        "(drop (call $proxy_get_header_map_value (i32.const 0) (i32.const 100) (i32.const 3) (i32.const 16) (i32.const 20))) (call $value)",
    )
    .replace("proxy_on_memory_allocate", "malloc");
    let mut guest = Guest::new(&text, &mut host);
    guest.headers(&mut host).unwrap();
    assert_eq!(host.said(), ["found"]);
    assert_eq!(host.allocations(), 1);
}

#[test]
fn the_specification_s_allocator_comes_first() {
    let text = format!(
        r#"(module {} {ALLOCATOR} (func (export "malloc") (param i32) (result i32) unreachable)
        (func (export "proxy_on_tick") (param i32)
            (drop (call $proxy_get_property (i32.const 100) (i32.const 3) (i32.const 16) (i32.const 20))) (call $value)))"#,
        prelude("0_2_1")
    );
    let mut host = Recorder::default();
    let mut guest = Guest::new(&text, &mut host);
    guest.instance.on_tick(&mut host, guest.root).unwrap();
    assert_eq!(host.said(), ["property"]);
}

#[test]
fn logs_have_the_context_that_wrote_them() {
    let mut host = Recorder::default();
    let mut guest =
        Guest::new(&on_headers("(drop (call $proxy_log (i32.const 4) (i32.const 100) (i32.const 3)))"), &mut host);
    guest.headers(&mut host).unwrap();
    assert_eq!(host.logs, [(guest.stream, LogLevel::Error, "key".to_owned())]);
}

#[test]
fn instances_may_move_between_threads() {
    fn assert_send<T: Send>() {}
    fn assert_shared<T: Send + Sync>() {}
    assert_send::<Instance>();
    assert_shared::<fyke_engine::Engine>();
    assert_shared::<fyke_engine::Module>();

    let mut host = Recorder::default();
    let mut guest = Guest::new(&chatty("0_2_1"), &mut host);
    let action = std::thread::spawn(move || guest.headers(&mut Recorder::default())).join().unwrap();
    assert_eq!(action.unwrap(), HeadersAction::Pause);
}
