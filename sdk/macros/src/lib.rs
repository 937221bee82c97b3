//! The attribute of `fyke-sdk`: see `fyke_sdk::http_filter`.
//!
//! It leaves the `impl` as it is and looks at which methods are there. From that come two things: the constant that the runtime
//! reads, on every target, and the module's exports, on wasm32 only. A callback that nobody handles is not exported, so the
//! host never makes the call.

mod exports;
mod methods;

use proc_macro::TokenStream;
use quote::quote;
use syn::{ItemImpl, parse_macro_input};

use methods::Methods;

/// Makes a Proxy-Wasm module of an `impl HttpFilter for X`: exports the callbacks of the methods that are there, and no others.
/// One per crate.
#[proc_macro_attribute]
pub fn http_filter(arguments: TokenStream, item: TokenStream) -> TokenStream {
    if !arguments.is_empty() {
        let arguments = proc_macro2::TokenStream::from(arguments);
        return syn::Error::new_spanned(arguments, "#[http_filter] takes no arguments").to_compile_error().into();
    }
    let item = parse_macro_input!(item as ItemImpl);
    match expand(&item) {
        Ok(added) => quote!(#item #added).into(),
        Err(error) => {
            let error = error.to_compile_error();
            quote!(#item #error).into()
        }
    }
}

fn expand(item: &ItemImpl) -> syn::Result<proc_macro2::TokenStream> {
    let methods = Methods::of(item)?;
    let filter = &*item.self_ty;
    let present = methods.present(filter);
    let exports = exports::exports(&methods, filter);
    Ok(quote!(#present #exports))
}
