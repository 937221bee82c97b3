//! Which methods an `impl` has, and whether any of them waits.

use proc_macro2::{TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::{ImplItem, ImplItemFn, ItemImpl, Type};

use crate::Given;

/// Macros that are known not to wait. Any other one might hide an `.await`.
const NEVER_WAIT: &[&str] = &[
    "format",
    "vec",
    "matches",
    "assert",
    "assert_eq",
    "debug_assert",
    "write",
    "writeln",
    "concat",
    "include_str",
    "println",
    "eprintln",
];

#[derive(Default)]
pub struct Methods {
    pub on_request: bool,
    pub on_request_with_body: bool,
    pub on_request_chunk: bool,
    pub on_reroute: bool,
    pub explain: bool,
    pub on_response: bool,
    pub on_response_with_body: bool,
    pub on_response_chunk: bool,
    pub on_log: bool,
    /// Whether a method may wait for a callout.
    pub waits: bool,
    /// Whether something may: a method, or a task.
    pub tasks: bool,
    /// Whether the host says something by `proxy_on_foreign_function`.
    pub answers: bool,
}

#[derive(Default)]
pub struct TcpMethods {
    pub on_connect: bool,
    pub on_downstream: bool,
    pub on_upstream: bool,
    pub on_leased: bool,
    pub on_opened: bool,
    pub on_close: bool,
    pub on_log: bool,
    pub tasks: bool,
    /// Whether the host says something by `proxy_on_foreign_function`.
    pub answers: bool,
}

impl TcpMethods {
    pub fn of(item: &ItemImpl, given: &Given) -> syn::Result<Self> {
        check(item, "TcpFilter", "tcp_filter")?;
        let tasks = given.tasks || mentions(item, "every") || mentions(item, "Wait");
        let mut methods = Self { tasks, ..Self::default() };
        for method in functions(item) {
            match method.sig.ident.to_string().as_str() {
                "on_connect" => methods.on_connect = true,
                "on_downstream" => methods.on_downstream = true,
                "on_upstream" => methods.on_upstream = true,
                "on_leased" => methods.on_leased = true,
                "on_opened" => methods.on_opened = true,
                "on_close" => methods.on_close = true,
                "on_log" => methods.on_log = true,
                _ => {}
            }
            methods.tasks |= may_wait(method);
        }
        if methods.on_opened && !methods.on_leased {
            let message = "on_opened makes connections fit to be lent: without on_leased, nothing borrows them";
            return Err(syn::Error::new_spanned(&item.self_ty, message));
        }
        methods.answers = given.answers || methods.on_leased || asks(item);
        Ok(methods)
    }

    /// The constant that the runtime reads. `both`: the module has streams too.
    pub fn present(&self, filter: &Type, both: bool) -> TokenStream {
        let Self { on_connect, on_downstream, on_upstream, on_leased, on_opened, on_close, on_log, tasks, answers } =
            self;
        // Each attribute sees its own `impl`, and the other one exports what both kinds share.
        let told = (both && *answers).then(|| {
            quote! {
                const _: () = ::core::assert!(
                    <#filter as ::fyke_sdk::Present>::CALLBACKS.answers,
                    "connections borrow, derive keys, or call Redis: say #[http_filter(with_tcp, answers)]",
                );
            }
        });
        quote! {
            #told

            impl ::fyke_sdk::TcpPresent for #filter {
                const CALLBACKS: ::fyke_sdk::TcpCallbacks = ::fyke_sdk::TcpCallbacks {
                    on_connect: #on_connect,
                    on_downstream: #on_downstream,
                    on_upstream: #on_upstream,
                    on_leased: #on_leased,
                    on_opened: #on_opened,
                    on_close: #on_close,
                    on_log: #on_log,
                    tasks: #tasks,
                    answers: #answers,
                };
            }
        }
    }
}

/// It is an `impl TRAIT for X` of one concrete type.
fn check(item: &ItemImpl, expected: &str, attribute: &str) -> syn::Result<()> {
    let named =
        item.trait_.as_ref().and_then(|(path, _)| path.segments.last()).is_some_and(|name| name.ident == expected);
    if !named {
        let message = format!("#[{attribute}] belongs on an `impl {expected} for ...`");
        return Err(syn::Error::new_spanned(&item.self_ty, message));
    }
    if !item.generics.params.is_empty() {
        return Err(syn::Error::new_spanned(
            &item.generics,
            "a filter is one concrete type: its callbacks have no type parameters",
        ));
    }
    Ok(())
}

fn functions(item: &ItemImpl) -> impl Iterator<Item = &ImplItemFn> {
    item.items.iter().filter_map(|item| match item {
        ImplItem::Fn(method) => Some(method),
        _ => None,
    })
}

/// Whether a method says this word: that of a function which needs more than methods, such as `env.every(...)`.
fn mentions(item: &ItemImpl, word: &str) -> bool {
    fn inside(tokens: TokenStream, word: &str) -> bool {
        tokens.into_iter().any(|token| match token {
            TokenTree::Ident(name) => name == word,
            TokenTree::Group(group) => inside(group.stream(), word),
            _ => false,
        })
    }
    functions(item).any(|method| inside(method.block.to_token_stream(), word))
}

/// Whether a method asks the host for what comes by `proxy_on_foreign_function`.
fn asks(item: &ItemImpl) -> bool {
    mentions(item, "pbkdf2") || mentions(item, "redis")
}

impl Methods {
    pub fn of(item: &ItemImpl, given: &Given) -> syn::Result<Self> {
        check(item, "HttpFilter", "http_filter")?;
        let mut methods = Self::default();
        for method in functions(item) {
            match method.sig.ident.to_string().as_str() {
                "on_request" => methods.on_request = true,
                "on_request_with_body" => methods.on_request_with_body = true,
                "on_request_chunk" => methods.on_request_chunk = true,
                "on_reroute" => methods.on_reroute = true,
                "explain" => methods.explain = true,
                "on_response" => methods.on_response = true,
                "on_response_with_body" => methods.on_response_with_body = true,
                "on_response_chunk" => methods.on_response_chunk = true,
                "on_log" => methods.on_log = true,
                _ => {}
            }
            methods.waits |= may_wait(method);
        }
        for (both, side) in [
            (methods.on_request_with_body && methods.on_request_chunk, "request"),
            (methods.on_response_with_body && methods.on_response_chunk, "response"),
        ] {
            if both {
                let message =
                    format!("on_{side}_with_body and on_{side}_chunk exclude each other: a body is held or streamed");
                return Err(syn::Error::new_spanned(&item.self_ty, message));
            }
        }
        methods.tasks = given.tasks || methods.waits || mentions(item, "every");
        methods.answers = given.answers || methods.on_reroute || methods.explain || asks(item);
        Ok(methods)
    }

    /// The constant that the runtime reads.
    pub fn present(&self, filter: &Type) -> TokenStream {
        let Self {
            on_request,
            on_request_with_body,
            on_request_chunk,
            on_reroute,
            explain,
            on_response,
            on_response_with_body,
            on_response_chunk,
            on_log,
            waits,
            tasks,
            answers,
        } = self;
        quote! {
            impl ::fyke_sdk::Present for #filter {
                const CALLBACKS: ::fyke_sdk::Callbacks = ::fyke_sdk::Callbacks {
                    on_request: #on_request,
                    on_request_with_body: #on_request_with_body,
                    on_request_chunk: #on_request_chunk,
                    on_reroute: #on_reroute,
                    explain: #explain,
                    on_response: #on_response,
                    on_response_with_body: #on_response_with_body,
                    on_response_chunk: #on_response_chunk,
                    on_log: #on_log,
                    waits: #waits,
                    tasks: #tasks,
                    answers: #answers,
                };
            }
        }
    }
}

/// An `async fn` without an `.await` in sight never waits; a function that returns a future of its own may.
fn may_wait(method: &ImplItemFn) -> bool {
    if method.sig.asyncness.is_none() {
        return matches!(&method.sig.output, syn::ReturnType::Type(_, output) if matches!(&**output, Type::ImplTrait(_)));
    }
    contains_await(method.block.to_token_stream())
}

fn contains_await(tokens: TokenStream) -> bool {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    tokens.iter().enumerate().any(|(at, token)| match token {
        TokenTree::Ident(name) if name == "await" => true,
        TokenTree::Ident(name) => {
            let bang = matches!(tokens.get(at + 1), Some(TokenTree::Punct(mark)) if mark.as_char() == '!');
            let body = matches!(tokens.get(at + 2), Some(TokenTree::Group(_)));
            bang && body && !NEVER_WAIT.contains(&name.to_string().as_str()) && !is_keyword(&name.to_string())
        }
        TokenTree::Group(group) => contains_await(group.stream()),
        _ => false,
    })
}

/// `if !(...)`, `return !(...)`: not macros.
fn is_keyword(name: &str) -> bool {
    matches!(name, "if" | "while" | "return" | "match" | "in" | "else" | "break")
}
