//! The attributes of `fyke-sdk`: see `fyke_sdk::http_filter` and `fyke_sdk::tcp_filter`.
//!
//! They leave the `impl` as it is and look at which methods are there. From that come two things: the constant that the runtime
//! reads, on every target, and the module's exports, on wasm32 only. A callback that nobody handles is not exported, so the
//! host never makes the call.

mod case;
mod config;
mod exports;
mod methods;

use proc_macro::TokenStream;
use quote::quote;
use syn::{ItemImpl, parse_macro_input};

use methods::{Methods, TcpMethods};

/// Makes a Proxy-Wasm module of an `impl HttpFilter for X`: exports the callbacks of the methods that are there, and no others.
/// One per crate. `#[http_filter(tasks)]` says that the filter has tasks where the attribute cannot see a call of `every`, and `answers` that it derives keys
/// or calls Redis where it cannot see a use of `pbkdf2` or `redis`.
/// `#[http_filter(with_tcp)]` goes with `#[tcp_filter(with_http)]` on an `impl TcpFilter` of the same type: the module then serves streams
/// and connections, and `HttpFilter::configure` makes the one value for both. Where its connections borrow, derive keys or call
/// Redis, `answers` belongs there too.
#[proc_macro_attribute]
pub fn http_filter(arguments: TokenStream, item: TokenStream) -> TokenStream {
    attribute("http_filter", "with_tcp", arguments, item, |item, given| {
        let methods = Methods::of(item, given)?;
        let filter = &*item.self_ty;
        let present = methods.present(filter);
        let exports = exports::http(&methods, filter, given.both);
        Ok(quote!(#present #exports))
    })
}

/// Makes a Proxy-Wasm module of an `impl TcpFilter for X`; as `http_filter`. `#[tcp_filter(tasks)]` is for filters that answer `TcpFlow::Wait` in a helper, too.
#[proc_macro_attribute]
pub fn tcp_filter(arguments: TokenStream, item: TokenStream) -> TokenStream {
    attribute("tcp_filter", "with_http", arguments, item, |item, given| {
        let methods = TcpMethods::of(item, given)?;
        let filter = &*item.self_ty;
        let present = methods.present(filter, given.both);
        let exports = exports::tcp(&methods, filter, given.both);
        Ok(quote!(#present #exports))
    })
}

/// The schema of a configuration type; see `fyke_sdk::FilterConfig`.
#[proc_macro_derive(FilterConfig, attributes(config, serde))]
pub fn filter_config(item: TokenStream) -> TokenStream {
    let input = parse_macro_input!(item as syn::DeriveInput);
    config::derive(&input).unwrap_or_else(|error| error.to_compile_error()).into()
}

/// What an attribute was given.
#[derive(Default)]
struct Given {
    tasks: bool,
    /// The host says something by `proxy_on_foreign_function`.
    answers: bool,
    /// The module is a filter of the other kind too.
    both: bool,
}

/// Leaves the `impl` as it is, and adds what `expand` makes of it. `other` is the word for a module of both kinds.
fn attribute(
    name: &str,
    other: &str,
    arguments: TokenStream,
    item: TokenStream,
    expand: impl FnOnce(&ItemImpl, &Given) -> syn::Result<proc_macro2::TokenStream>,
) -> TokenStream {
    let arguments = proc_macro2::TokenStream::from(arguments);
    let mut given = Given::default();
    for word in arguments.to_string().split(',').map(str::trim).filter(|word| !word.is_empty()) {
        if word == "tasks" {
            given.tasks = true;
        } else if word == "answers" {
            given.answers = true;
        } else if word == other {
            given.both = true;
        } else {
            let message = format!("#[{name}] takes no arguments but `tasks`, `answers` and `{other}`");
            return syn::Error::new_spanned(arguments, message).to_compile_error().into();
        }
    }
    let item = parse_macro_input!(item as ItemImpl);
    match expand(&item, &given) {
        Ok(added) => quote!(#item #added).into(),
        Err(error) => {
            let error = error.to_compile_error();
            quote!(#item #error).into()
        }
    }
}
