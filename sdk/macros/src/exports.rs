//! The module's exports.

use proc_macro2::TokenStream;
use quote::quote;
use syn::Type;

use crate::config::json;
use crate::methods::{Methods, TcpMethods};

/// `both`: the module has connections too, and these are the exports that both kinds share.
pub fn http(methods: &Methods, filter: &Type, both: bool) -> TokenStream {
    let request_headers = methods.on_request || methods.on_request_with_body;
    let request_body = methods.on_request_with_body || methods.on_request_chunk;
    // Trailers end a body that is wanted whole, and follow chunks that may be held while a method waits.
    let request_trailers = methods.on_request_with_body || (methods.on_request_chunk && methods.waits);
    let response_headers = methods.on_response || methods.on_response_with_body;
    let response_body = methods.on_response_with_body || methods.on_response_chunk;
    let response_trailers = methods.on_response_with_body || (methods.on_response_chunk && methods.waits);

    let optional: TokenStream = [
        (request_headers, headers("proxy_on_request_headers", "Request")),
        (request_body, body("proxy_on_request_body", "Request")),
        (request_trailers, trailers("proxy_on_request_trailers", "Request")),
        (response_headers, headers("proxy_on_response_headers", "Response")),
        (response_body, body("proxy_on_response_body", "Response")),
        (response_trailers, trailers("proxy_on_response_trailers", "Response")),
        (methods.tasks || both, tasks()),
        (methods.answers, foreign_function()),
        (methods.on_log || both, log()),
    ]
    .into_iter()
    .filter_map(|(wanted, export)| wanted.then_some(export))
    .collect();

    // A method that wants the whole body holds the headers meanwhile: the host must let the body come.
    let pauses = if methods.on_request_with_body || methods.on_response_with_body {
        ",\"headers_pause\":\"headers_only\""
    } else {
        ""
    };
    let more = if both { format!(",\"also\":\"tcp\"{pauses}") } else { pauses.to_owned() };
    let manifest = manifest("http", &more, filter, &name("HttpFilter"));
    let runtime = name(if both { "BothRuntime" } else { "Runtime" });
    let shared = if both { shared(filter) } else { TokenStream::new() };
    module(filter, &runtime, &quote!(#optional #shared #manifest))
}

/// `both`: everything that streams have too is exported already.
pub fn tcp(methods: &TcpMethods, filter: &Type, both: bool) -> TokenStream {
    let optional: TokenStream = [
        (true, new_connection()),
        (methods.on_downstream, data("proxy_on_downstream_data", "Downstream")),
        // Of a new connection, what the endpoint says in the handshake.
        (methods.on_upstream || methods.on_opened, data("proxy_on_upstream_data", "Upstream")),
        (
            methods.on_close || methods.tasks || methods.on_leased,
            close("proxy_on_downstream_connection_close", "Downstream"),
        ),
        (methods.on_close || methods.on_leased, close("proxy_on_upstream_connection_close", "Upstream")),
        (methods.answers && !both, foreign_function()),
        (methods.tasks && !both, tasks()),
        (methods.on_log && !both, log()),
    ]
    .into_iter()
    .filter_map(|(wanted, export)| wanted.then_some(export))
    .collect();
    if both {
        return quote! {
            #[cfg(target_arch = "wasm32")]
            #[allow(missing_docs)]
            const _: () = {
                const RUNTIME: ::fyke_sdk::runtime::OfModule<#filter> = ::fyke_sdk::runtime::OfModule::new();

                #optional
            };
        };
    }
    let manifest = manifest("tcp", "", filter, &name("TcpFilter"));
    module(filter, &name("TcpRuntime"), &quote!(#optional #manifest))
}

/// What the module says of itself, in a custom section that other hosts ignore.
fn manifest(kind: &str, more: &str, filter: &Type, filter_trait: &proc_macro2::Ident) -> TokenStream {
    let cargo = |name: &str| json(&std::env::var(name).unwrap_or_default());
    let description = match std::env::var("CARGO_PKG_DESCRIPTION") {
        Ok(text) if !text.is_empty() => format!(",\"description\":{}", json(&text)),
        _ => String::new(),
    };
    let before = format!(
        "{{\"name\":{},\"version\":{}{description},\"kind\":\"{kind}\",\"sdk\":\"fyke-sdk {}\"{more}",
        cargo("CARGO_PKG_NAME"),
        cargo("CARGO_PKG_VERSION"),
        env!("CARGO_PKG_VERSION"),
    );
    quote! {
        const PANELS: &[::fyke_sdk::Panel] = <#filter as ::fyke_sdk::#filter_trait>::PANELS;
        const PANELS_TEXT: [u8; ::fyke_sdk::panel_length(PANELS)] = match ::fyke_sdk::check_panels(PANELS) {
            None => ::fyke_sdk::panel_bytes(PANELS),
            // The author sees it at compile time.
            Some(why) => ::core::panic!("{}", why),
        };
        const MANIFEST_TEXT: ::fyke_sdk::Schema = {
            #[allow(unused_imports)]
            use ::fyke_sdk::UnknownSchema as _;

            ::fyke_sdk::Schema {
                before: #before,
                inner: &[
                    <::fyke_sdk::SchemaOf<<#filter as ::fyke_sdk::#filter_trait>::Config>>::SCHEMA,
                    ::fyke_sdk::Schema::text(match ::core::str::from_utf8(&PANELS_TEXT) {
                        Ok(text) => text,
                        Err(_) => "",
                    }),
                ],
                after: "}",
            }
        };
        #[used]
        #[unsafe(link_section = "fyke.manifest")]
        static MANIFEST: [u8; MANIFEST_TEXT.length()] = MANIFEST_TEXT.bytes();
    }
}

/// Where the callbacks of connections find the runtime.
fn shared(filter: &Type) -> TokenStream {
    quote! {
        impl ::fyke_sdk::runtime::Module for #filter {
            fn with<T>(look: impl FnOnce(&::fyke_sdk::runtime::BothRuntime<Self>) -> T) -> T {
                RUNTIME.with(|runtime| look(runtime))
            }
        }
    }
}

/// What every module has, and `optional`.
fn module(filter: &Type, runtime: &proc_macro2::Ident, optional: &TokenStream) -> TokenStream {
    quote! {
        #[cfg(target_arch = "wasm32")]
        #[allow(missing_docs)]
        const _: () = {
            ::std::thread_local! {
                // An instance has one thread and no end, so nothing is ever dropped.
                static RUNTIME: ::core::mem::ManuallyDrop<::fyke_sdk::runtime::#runtime<#filter>> =
                    const { ::core::mem::ManuallyDrop::new(::fyke_sdk::runtime::#runtime::new()) };
            }

            #[unsafe(no_mangle)]
            extern "C" fn proxy_abi_version_0_2_1() {}

            #[unsafe(no_mangle)]
            extern "C" fn _initialize() {
                ::fyke_sdk::abi::initialize();
            }

            #[unsafe(no_mangle)]
            extern "C" fn proxy_on_memory_allocate(size: usize) -> *mut u8 {
                ::fyke_sdk::abi::allocate(size)
            }

            #[unsafe(no_mangle)]
            extern "C" fn proxy_on_context_create(context: u32, parent: u32) {
                RUNTIME.with(|runtime| runtime.on_context_create(context, parent));
            }

            #[unsafe(no_mangle)]
            extern "C" fn proxy_on_configure(root: u32, size: usize) -> u32 {
                RUNTIME.with(|runtime| u32::from(runtime.on_configure(root, size)))
            }

            #[unsafe(no_mangle)]
            extern "C" fn proxy_on_delete(context: u32) {
                RUNTIME.with(|runtime| runtime.on_delete(context));
            }

            #optional
        };
    }
}

fn name(text: &str) -> proc_macro2::Ident {
    proc_macro2::Ident::new(text, proc_macro2::Span::call_site())
}

fn headers(export: &str, side: &str) -> TokenStream {
    let (export, side) = (name(export), name(side));
    quote! {
        #[unsafe(no_mangle)]
        extern "C" fn #export(context: u32, _count: u32, end_of_stream: u32) -> u32 {
            RUNTIME.with(|runtime| runtime.on_headers(::fyke_sdk::abi::Side::#side, context, end_of_stream != 0) as u32)
        }
    }
}

fn body(export: &str, side: &str) -> TokenStream {
    let (export, side) = (name(export), name(side));
    quote! {
        #[unsafe(no_mangle)]
        extern "C" fn #export(context: u32, size: usize, end_of_stream: u32) -> u32 {
            RUNTIME.with(|runtime| runtime.on_body(::fyke_sdk::abi::Side::#side, context, size, end_of_stream != 0) as u32)
        }
    }
}

fn trailers(export: &str, side: &str) -> TokenStream {
    let (export, side) = (name(export), name(side));
    quote! {
        #[unsafe(no_mangle)]
        extern "C" fn #export(context: u32, _count: u32) -> u32 {
            RUNTIME.with(|runtime| runtime.on_trailers(::fyke_sdk::abi::Side::#side, context) as u32)
        }
    }
}

/// What wakes a future.
fn tasks() -> TokenStream {
    quote! {
        use ::fyke_sdk::runtime::Waking as _;

        #[unsafe(no_mangle)]
        extern "C" fn proxy_on_tick(root: u32) {
            RUNTIME.with(|runtime| runtime.on_tick(root));
        }

        #[unsafe(no_mangle)]
        extern "C" fn proxy_on_http_call_response(_root: u32, token: u32, headers: u32, body: usize, _trailers: u32) {
            RUNTIME.with(|runtime| runtime.on_http_call_response(token, headers, body));
        }

        #[unsafe(no_mangle)]
        extern "C" fn proxy_on_grpc_receive_initial_metadata(_root: u32, token: u32, _count: u32) {
            RUNTIME.with(|runtime| runtime.on_grpc_receive(token, ::fyke_sdk::runtime::Received::InitialMetadata));
        }

        #[unsafe(no_mangle)]
        extern "C" fn proxy_on_grpc_receive(_root: u32, token: u32, size: usize) {
            RUNTIME.with(|runtime| runtime.on_grpc_receive(token, ::fyke_sdk::runtime::Received::Message(size)));
        }

        #[unsafe(no_mangle)]
        extern "C" fn proxy_on_grpc_receive_trailing_metadata(_root: u32, token: u32, _count: u32) {
            RUNTIME.with(|runtime| runtime.on_grpc_receive(token, ::fyke_sdk::runtime::Received::TrailingMetadata));
        }

        #[unsafe(no_mangle)]
        extern "C" fn proxy_on_grpc_close(_root: u32, token: u32, status: u32) {
            RUNTIME.with(|runtime| runtime.on_grpc_close(token, status));
        }
    }
}

fn new_connection() -> TokenStream {
    quote! {
        #[unsafe(no_mangle)]
        extern "C" fn proxy_on_new_connection(context: u32) -> u32 {
            RUNTIME.with(|runtime| runtime.on_new_connection(context) as u32)
        }
    }
}

fn data(export: &str, side: &str) -> TokenStream {
    let (export, side) = (name(export), name(side));
    quote! {
        #[unsafe(no_mangle)]
        extern "C" fn #export(context: u32, size: usize, end_of_stream: u32) -> u32 {
            RUNTIME.with(|runtime| runtime.on_data(::fyke_sdk::Side::#side, context, size, end_of_stream != 0) as u32)
        }
    }
}

fn close(export: &str, side: &str) -> TokenStream {
    let (export, side) = (name(export), name(side));
    quote! {
        #[unsafe(no_mangle)]
        extern "C" fn #export(context: u32, peer: u32) {
            // 1: the host's own doing.
            RUNTIME.with(|runtime| runtime.on_close(::fyke_sdk::Side::#side, context, peer == 1));
        }
    }
}

fn foreign_function() -> TokenStream {
    quote! {
        #[unsafe(no_mangle)]
        extern "C" fn proxy_on_foreign_function(context: u32, function: u32, size: usize) {
            RUNTIME.with(|runtime| runtime.on_foreign_function(context, function, size));
        }
    }
}

fn log() -> TokenStream {
    quote! {
        #[unsafe(no_mangle)]
        extern "C" fn proxy_on_log(context: u32) {
            RUNTIME.with(|runtime| runtime.on_log(context));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Given;

    const ALWAYS: [&str; 6] = [
        "_initialize",
        "proxy_abi_version_0_2_1",
        "proxy_on_configure",
        "proxy_on_context_create",
        "proxy_on_delete",
        "proxy_on_memory_allocate",
    ];
    const TASKS: [&str; 6] = [
        "proxy_on_grpc_close",
        "proxy_on_grpc_receive",
        "proxy_on_grpc_receive_initial_metadata",
        "proxy_on_grpc_receive_trailing_metadata",
        "proxy_on_http_call_response",
        "proxy_on_tick",
    ];

    fn names(exports: TokenStream) -> Vec<String> {
        let text = exports.to_string();
        let mut names: Vec<String> = text
            .split("extern \"C\" fn ")
            .skip(1)
            .filter_map(|rest| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().map(str::to_owned))
            .collect();
        names.sort();
        names
    }

    fn of_tcp(methods: TokenStream, given: &Given) -> Vec<String> {
        let item = syn::parse_quote!(impl TcpFilter for X { #methods });
        let filter: Type = syn::parse_quote!(X);
        names(tcp(&TcpMethods::of(&item, given).unwrap(), &filter, given.both))
    }

    fn of_http(methods: TokenStream, given: &Given) -> Vec<String> {
        let item = syn::parse_quote!(impl HttpFilter for X { #methods });
        let filter: Type = syn::parse_quote!(X);
        names(http(&Methods::of(&item, given).unwrap(), &filter, given.both))
    }

    fn and<'a>(more: impl IntoIterator<Item = &'a [&'a str]>) -> Vec<String> {
        let mut all: Vec<String> = more.into_iter().flatten().map(|name| (*name).to_owned()).collect();
        all.sort();
        all
    }

    #[test]
    fn a_filter_exports_what_its_methods_need_and_nothing_else() {
        let plain = Given::default();
        let (connection, down, up) = ("proxy_on_new_connection", "proxy_on_downstream_data", "proxy_on_upstream_data");
        let closes = ["proxy_on_downstream_connection_close", "proxy_on_upstream_connection_close"];
        assert_eq!(of_tcp(quote!(), &plain), and([&ALWAYS[..], &[connection]]));
        let data = quote!(
            fn on_downstream() {}
            fn on_upstream() {}
        );
        assert_eq!(of_tcp(data, &plain), and([&ALWAYS[..], &[connection, down, up]]));
        let waits = quote!(
            async fn on_connect() {
                call().await
            }
            fn on_close() {}
            fn on_log() {}
        );
        let expected = and([&ALWAYS[..], &TASKS, &closes, &[connection, "proxy_on_log"]]);
        assert_eq!(of_tcp(waits, &plain), expected);
        assert_eq!(
            of_http(
                quote!(
                    async fn on_request() {}
                ),
                &plain
            ),
            and([&ALWAYS[..], &["proxy_on_request_headers"]])
        );
    }

    #[test]
    fn what_borrows_is_told_of_it() {
        let plain = Given::default();
        let told = ["proxy_on_foreign_function", "proxy_on_new_connection"];
        let closes = ["proxy_on_downstream_connection_close", "proxy_on_upstream_connection_close"];
        assert_eq!(
            of_tcp(
                quote!(
                    fn on_leased() {}
                ),
                &plain
            ),
            and([&ALWAYS[..], &told, &closes])
        );
        let both = quote!(
            fn on_leased() {}
            async fn on_opened() {
                upstream.read(1).await
            }
        );
        let expected = and([&ALWAYS[..], &TASKS, &told, &closes, &["proxy_on_upstream_data"]]);
        assert_eq!(of_tcp(both, &plain), expected);
        let error = TcpMethods::of(&syn::parse_quote!(impl TcpFilter for X { async fn on_opened() {} }), &plain);
        assert!(error.err().unwrap().to_string().contains("on_leased"));
    }

    #[test]
    fn keys_and_replies_are_told_where_they_are_asked_for() {
        let foreign = ["proxy_on_foreign_function"];
        let asks = quote!(
            async fn on_request() {
                crypto::pbkdf2(a, b, c, 1).await
            }
        );
        let expected = and([&ALWAYS[..], &TASKS, &foreign, &["proxy_on_request_headers"]]);
        assert_eq!(of_http(asks, &Given::default()), expected);
        let calls = quote!(
            fn configure(env: &mut Env) {
                env.redis("cache")
            }
        );
        assert_eq!(of_http(calls.clone(), &Given::default()), and([&ALWAYS[..], &foreign]));
        let expected = and([&ALWAYS[..], &foreign, &["proxy_on_new_connection"]]);
        assert_eq!(of_tcp(calls, &Given::default()), expected);
        let given = Given { answers: true, ..Given::default() };
        assert_eq!(of_http(quote!(), &given), and([&ALWAYS[..], &foreign]));
        assert_eq!(of_tcp(quote!(), &given), and([&ALWAYS[..], &foreign, &["proxy_on_new_connection"]]));
    }

    #[test]
    fn a_module_of_both_kinds_exports_each_callback_once() {
        let given = Given { both: true, answers: true, ..Given::default() };
        let mut all = of_http(
            quote!(
                fn on_reroute() {}
            ),
            &given,
        );
        all.extend(of_tcp(
            quote!(
                fn on_leased() {}
                fn on_log() {}
            ),
            &Given { both: true, ..Given::default() },
        ));
        let count = all.len();
        all.sort();
        all.dedup();
        assert_eq!((all.len(), all.contains(&"proxy_on_foreign_function".to_owned())), (count, true));
        // As before, where nobody needs it.
        let given = Given { both: true, ..Given::default() };
        assert!(!of_http(quote!(), &given).contains(&"proxy_on_foreign_function".to_owned()));
    }
}
