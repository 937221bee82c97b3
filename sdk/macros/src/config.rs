//! `#[derive(FilterConfig)]`: the schema of a type that serde reads, in serde's words.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Attribute, Data, DeriveInput, Field, Fields, Lit, LitStr, Meta, Variant};

use crate::case::Case;

pub fn derive(input: &DeriveInput) -> syn::Result<TokenStream> {
    if !input.generics.params.is_empty() {
        return Err(syn::Error::new_spanned(&input.generics, "a configuration is one concrete type"));
    }
    let name = &input.ident;
    let container = Attributes::of(&input.attrs)?;
    let schema = match (&container.schema, &input.data) {
        (Some(text), _) => text_node(text),
        _ if container.opaque => text_node(""),
        (None, Data::Struct(data)) => fields(&data.fields, &container)?,
        (None, Data::Enum(data)) => variants(data.variants.iter(), &container)?,
        (None, Data::Union(_)) => return Err(syn::Error::new_spanned(name, "serde reads no unions")),
    };
    Ok(quote! {
        impl ::fyke_sdk::FilterConfig for #name {
            const SCHEMA: ::fyke_sdk::Schema = #schema;
        }
    })
}

/// What the attributes of a type, variant or field say.
#[derive(Default)]
struct Attributes {
    rename: Option<String>,
    rename_all: Case,
    rename_all_fields: Case,
    default: bool,
    deny_unknown: bool,
    skip: bool,
    flatten: bool,
    untagged: bool,
    tag: Option<String>,
    /// Read by a function of its own, or by another type.
    opaque: bool,
    schema: Option<String>,
    description: String,
}

impl Attributes {
    fn of(attributes: &[Attribute]) -> syn::Result<Self> {
        let mut found = Self::default();
        for attribute in attributes {
            if attribute.path().is_ident("doc") {
                found.describe(&attribute.meta);
            } else if attribute.path().is_ident("serde") {
                attribute.parse_nested_meta(|meta| {
                    let word = meta.path.get_ident().map(ToString::to_string).unwrap_or_default();
                    // `rename(deserialize = "...", serialize = "...")`.
                    if word.starts_with("rename") && meta.input.peek(syn::token::Paren) {
                        return meta.parse_nested_meta(|inner| {
                            let value: LitStr = inner.value()?.parse()?;
                            if inner.path.is_ident("deserialize") {
                                found.take(&word, Some(value.value()));
                            }
                            Ok(())
                        });
                    }
                    let value = if meta.input.peek(syn::Token![=]) {
                        match meta.value()?.parse()? {
                            Lit::Str(text) => Some(text.value()),
                            _ => None,
                        }
                    } else {
                        if meta.input.peek(syn::token::Paren) {
                            meta.parse_nested_meta(|inner| inner.value()?.parse::<Lit>().map(drop))?;
                        }
                        None
                    };
                    found.take(&word, value);
                    Ok(())
                })?;
            } else if attribute.path().is_ident("config") {
                attribute.parse_nested_meta(|meta| {
                    if !meta.path.is_ident("schema") {
                        return Err(meta.error("`#[config(schema = \"...\")]` is all there is"));
                    }
                    found.schema = Some(meta.value()?.parse::<LitStr>()?.value());
                    Ok(())
                })?;
            }
        }
        Ok(found)
    }

    fn take(&mut self, word: &str, value: Option<String>) {
        match word {
            "rename" => self.rename = value,
            "rename_all" => self.rename_all = value.as_deref().map(Case::named).unwrap_or_default(),
            "rename_all_fields" => self.rename_all_fields = value.as_deref().map(Case::named).unwrap_or_default(),
            "default" => self.default = true,
            "deny_unknown_fields" => self.deny_unknown = true,
            "skip" | "skip_deserializing" => self.skip = true,
            "flatten" => self.flatten = true,
            "untagged" => self.untagged = true,
            "tag" => self.tag = value,
            "with" | "deserialize_with" | "from" | "try_from" | "remote" => self.opaque = true,
            _ => {}
        }
    }

    /// A line of a doc comment. A blank one ends the description.
    fn describe(&mut self, meta: &Meta) {
        let Meta::NameValue(pair) = meta else { return };
        let syn::Expr::Lit(syn::ExprLit { lit: Lit::Str(line), .. }) = &pair.value else { return };
        let line = line.value();
        let line = line.trim();
        if line.is_empty() || self.description.ends_with('\n') {
            if !self.description.is_empty() && !self.description.ends_with('\n') {
                self.description.push('\n');
            }
            return;
        }
        if !self.description.is_empty() {
            self.description.push(' ');
        }
        self.description.push_str(line);
    }
}

fn fields(fields: &Fields, container: &Attributes) -> syn::Result<TokenStream> {
    match fields {
        Fields::Named(named) => object(named.named.iter(), container.rename_all, container),
        Fields::Unnamed(unnamed) if unnamed.unnamed.len() == 1 => match unnamed.unnamed.first() {
            Some(field) => schema_of(field, &Attributes::of(&field.attrs)?),
            None => Ok(text_node("")),
        },
        Fields::Unnamed(_) => Ok(text_node("\"type\":\"array\"")),
        Fields::Unit => Ok(text_node("\"type\":\"null\"")),
    }
}

fn object<'a>(fields: impl Iterator<Item = &'a Field>, case: Case, container: &Attributes) -> syn::Result<TokenStream> {
    let (mut properties, mut required, mut open) = (Vec::new(), Vec::new(), !container.deny_unknown);
    for field in fields {
        let attributes = Attributes::of(&field.attrs)?;
        if attributes.skip {
            continue;
        }
        if attributes.flatten {
            open = true;
            continue;
        }
        let name = match (&attributes.rename, &field.ident) {
            (Some(name), _) => name.clone(),
            (None, Some(ident)) => case.of_field(ident.to_string().trim_start_matches("r#")),
            (None, None) => continue,
        };
        let schema = schema_of(field, &attributes)?;
        let separator = if properties.is_empty() { "" } else { "," };
        let before = format!("{separator}{}:{{", json(&name));
        let after = match (attributes.description.trim_end(), is_empty(field, &attributes)) {
            ("", _) => "}".to_owned(),
            (text, true) => format!("\"description\":{}}}", json(text)),
            (text, false) => format!(",\"description\":{}}}", json(text)),
        };
        properties.push(node(&before, &[schema], &after));
        if !attributes.default && !container.default && !is_option(field) {
            required.push(json(&name));
        }
    }
    let mut after = "}".to_owned();
    if !required.is_empty() {
        after.push_str(&format!(",\"required\":[{}]", required.join(",")));
    }
    if !open {
        after.push_str(",\"additionalProperties\":false");
    }
    Ok(node("\"type\":\"object\",\"properties\":{", &properties, &after))
}

fn schema_of(field: &Field, attributes: &Attributes) -> syn::Result<TokenStream> {
    let kind = &field.ty;
    Ok(match (&attributes.schema, attributes.opaque) {
        (Some(text), _) => text_node(text),
        (None, true) => text_node(""),
        (None, false) => quote!(<#kind as ::fyke_sdk::FilterConfig>::SCHEMA),
    })
}

/// Whether nothing is known of a field, so that its description comes first.
fn is_empty(_field: &Field, attributes: &Attributes) -> bool {
    match &attributes.schema {
        Some(text) => text.trim().is_empty(),
        None => attributes.opaque,
    }
}

fn is_option(field: &Field) -> bool {
    matches!(&field.ty, syn::Type::Path(path) if path.path.segments.last().is_some_and(|last| last.ident == "Option"))
}

fn variants<'a>(variants: impl Iterator<Item = &'a Variant>, container: &Attributes) -> syn::Result<TokenStream> {
    let (mut words, mut shapes) = (Vec::new(), Vec::new());
    for variant in variants {
        let attributes = Attributes::of(&variant.attrs)?;
        if attributes.skip {
            continue;
        }
        let name =
            attributes.rename.clone().unwrap_or_else(|| container.rename_all.of_variant(&variant.ident.to_string()));
        let inside = Attributes {
            rename_all: match (attributes.rename_all, container.rename_all_fields) {
                (Case::AsIs, outer) => outer,
                (own, _) => own,
            },
            deny_unknown: container.deny_unknown,
            ..Attributes::default()
        };
        let name = json(&name);
        let shape = if container.untagged || attributes.untagged {
            fields(&variant.fields, &inside)?
        } else if let Some(tag) = &container.tag {
            // What comes with the tag is the variant's business.
            let tag = json(tag);
            text_node(&format!(
                "\"type\":\"object\",\"properties\":{{{tag}:{{\"const\":{name}}}}},\"required\":[{tag}]"
            ))
        } else if matches!(variant.fields, Fields::Unit) {
            words.push(name.clone());
            text_node(&format!("\"const\":{name}"))
        } else {
            let content = fields(&variant.fields, &inside)?;
            let before = format!("\"type\":\"object\",\"properties\":{{{name}:{{");
            node(&before, &[content], &format!("}}}},\"required\":[{name}],\"additionalProperties\":false"))
        };
        shapes.push(shape);
    }
    if words.len() == shapes.len() {
        return Ok(text_node(&format!("\"enum\":[{}]", words.join(","))));
    }
    let shapes: Vec<_> = shapes
        .iter()
        .enumerate()
        .map(|(at, shape)| node(if at == 0 { "{" } else { ",{" }, std::slice::from_ref(shape), "}"))
        .collect();
    Ok(node("\"anyOf\":[", &shapes, "]"))
}

fn text_node(text: &str) -> TokenStream {
    quote!(::fyke_sdk::Schema::text(#text))
}

fn node(before: &str, inner: &[TokenStream], after: &str) -> TokenStream {
    quote!(::fyke_sdk::Schema { before: #before, inner: &[#(#inner),*], after: #after })
}

/// A JSON string.
pub fn json(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            c if u32::from(c) < 0x20 => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
