//! The schema of a configuration, put together while the filter is compiled: JSON Schema, in the module's custom section.

/// Says of a configuration type what it accepts, as JSON Schema (draft 2020-12), for hosts and editors. Derive it next to
/// `serde::Deserialize`; it understands serde's attributes, and takes descriptions from the doc comments.
///
/// A field that serde reads by a function of its own may be anything, unless `#[config(schema = "...")]` says better, as the members
/// of a JSON object: `#[config(schema = r#""type": "string", "minLength": 1"#)]`.
///
/// ```
/// use fyke_sdk::FilterConfig;
/// use serde::Deserialize;
///
/// #[derive(Deserialize, FilterConfig)]
/// #[serde(deny_unknown_fields)]
/// struct Config {
///     /// What to say.
///     greeting: String,
///     #[serde(default)]
///     times: u8,
/// }
///
/// let schema: serde_json::Value = serde_json::from_str(&Config::SCHEMA.to_json()).unwrap();
/// assert_eq!(schema, serde_json::json!({
///     "type": "object",
///     "properties": {
///         "greeting": { "type": "string", "description": "What to say." },
///         "times": { "type": "integer", "minimum": 0, "maximum": 255 },
///     },
///     "required": ["greeting"],
///     "additionalProperties": false,
/// }));
/// ```
pub trait FilterConfig {
    /// Its members.
    const SCHEMA: Schema;
}

/// The members of a JSON object, without its braces.
#[derive(Debug, Clone, Copy)]
pub struct Schema {
    /// What comes first.
    pub before: &'static str,
    /// What is inside.
    pub inner: &'static [Schema],
    /// What comes last.
    pub after: &'static str,
}

impl Schema {
    /// Nothing but text.
    #[must_use]
    pub const fn text(before: &'static str) -> Self {
        Self { before, inner: &[], after: "" }
    }

    /// As a JSON object.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut bytes = vec![b' '; self.length()];
        self.fill(&mut bytes, 0);
        format!("{{{}}}", String::from_utf8_lossy(&bytes))
    }

    /// How many bytes it has.
    #[must_use]
    pub const fn length(&self) -> usize {
        let mut length = self.before.len() + self.after.len();
        let mut rest = self.inner;
        while let [first, others @ ..] = rest {
            length += first.length();
            rest = others;
        }
        length
    }

    /// For custom sections: all of it, as an array. `N` is [`Schema::length`].
    #[must_use]
    pub const fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [b' '; N];
        self.fill(&mut bytes, 0);
        bytes
    }

    /// Writes it from `at` on, as far as there is room; where it ends.
    const fn fill(&self, out: &mut [u8], at: usize) -> usize {
        let mut at = put(self.before, out, at);
        let mut rest = self.inner;
        while let [first, others @ ..] = rest {
            at = first.fill(out, at);
            rest = others;
        }
        put(self.after, out, at)
    }
}

/// Writes text from `at` on, if there is room; where it ends.
pub(crate) const fn put(text: &str, out: &mut [u8], at: usize) -> usize {
    if let Some((_, room)) = out.split_at_mut_checked(at)
        && let Some((room, _)) = room.split_at_mut_checked(text.len())
    {
        room.copy_from_slice(text.as_bytes());
    }
    at + text.len()
}

macro_rules! plain {
    ($($type:ty => $schema:literal,)*) => {
        $(impl FilterConfig for $type {
            const SCHEMA: Schema = Schema::text($schema);
        })*
    };
}

plain! {
    () => "\"type\":[\"object\",\"null\"],\"maxProperties\":0",
    bool => "\"type\":\"boolean\"",
    u8 => "\"type\":\"integer\",\"minimum\":0,\"maximum\":255",
    u16 => "\"type\":\"integer\",\"minimum\":0,\"maximum\":65535",
    u32 => "\"type\":\"integer\",\"minimum\":0,\"maximum\":4294967295",
    u64 => "\"type\":\"integer\",\"minimum\":0",
    usize => "\"type\":\"integer\",\"minimum\":0,\"maximum\":4294967295",
    i8 => "\"type\":\"integer\",\"minimum\":-128,\"maximum\":127",
    i16 => "\"type\":\"integer\",\"minimum\":-32768,\"maximum\":32767",
    i32 => "\"type\":\"integer\",\"minimum\":-2147483648,\"maximum\":2147483647",
    i64 => "\"type\":\"integer\"",
    isize => "\"type\":\"integer\"",
    f32 => "\"type\":\"number\"",
    f64 => "\"type\":\"number\"",
    char => "\"type\":\"string\",\"minLength\":1,\"maxLength\":1",
    String => "\"type\":\"string\"",
    Box<str> => "\"type\":\"string\"",
    serde_json::Value => "\"title\":\"anything\"",
    serde::de::IgnoredAny => "\"title\":\"anything\"",
    crate::units::Percent => "\"type\":\"string\",\"pattern\":\"%$\"",
    serde_json::Map<String, serde_json::Value> => "\"type\":\"object\"",
}

impl<T: FilterConfig> FilterConfig for Box<T> {
    const SCHEMA: Schema = T::SCHEMA;
}

impl<T: FilterConfig> FilterConfig for Option<T> {
    const SCHEMA: Schema = Schema { before: "\"anyOf\":[{", inner: &[T::SCHEMA], after: "},{\"type\":\"null\"}]" };
}

impl<T: FilterConfig> FilterConfig for Vec<T> {
    const SCHEMA: Schema = Schema { before: "\"type\":\"array\",\"items\":{", inner: &[T::SCHEMA], after: "}" };
}

impl<T: FilterConfig, S> FilterConfig for std::collections::HashMap<String, T, S> {
    const SCHEMA: Schema = map::<T>();
}

impl<T: FilterConfig> FilterConfig for std::collections::BTreeMap<String, T> {
    const SCHEMA: Schema = map::<T>();
}

const fn map<T: FilterConfig>() -> Schema {
    Schema { before: "\"type\":\"object\",\"additionalProperties\":{", inner: const { &[T::SCHEMA] }, after: "}" }
}

/// Finds a type's schema where it has one: the inherent constant wins over the trait's.
#[doc(hidden)]
#[derive(Debug)]
pub struct Of<T>(std::marker::PhantomData<T>);

impl<T: FilterConfig> Of<T> {
    pub const SCHEMA: Schema = Schema { before: ",\"config\":{", inner: &[T::SCHEMA], after: "}" };
}

/// What a type without a schema says: nothing.
#[doc(hidden)]
pub trait Unknown {
    const SCHEMA: Schema = Schema::text("");
}

impl<T> Unknown for Of<T> {}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;
    use serde_json::{Value, json};

    use super::*;
    use crate::FilterConfig;

    #[derive(Deserialize, FilterConfig)]
    #[serde(rename_all = "kebab-case", deny_unknown_fields)]
    #[allow(dead_code)]
    struct Whole {
        /// Says "this",
        /// and that.
        first_word: Option<String>,
        #[serde(rename = "list", default)]
        many: Vec<Part>,
        #[serde(deserialize_with = "crate::units::duration")]
        time: std::time::Duration,
        #[config(schema = r#""type":"string","minLength":1"#)]
        #[serde(deserialize_with = "crate::units::duration")]
        other: std::time::Duration,
        #[serde(skip)]
        hidden: u8,
        map: BTreeMap<String, f64>,
    }

    #[derive(Deserialize, FilterConfig)]
    #[allow(dead_code)]
    struct Part(u16);

    #[derive(Deserialize, FilterConfig)]
    #[serde(rename_all = "snake_case")]
    #[allow(dead_code)]
    enum Word {
        OneWord,
        #[serde(rename = "2")]
        Two,
    }

    #[derive(Deserialize, FilterConfig)]
    #[allow(dead_code)]
    enum Mixed {
        Nothing,
        One(String),
        Named { a: bool },
    }

    #[derive(Deserialize, FilterConfig)]
    #[serde(untagged)]
    #[allow(dead_code)]
    enum Either {
        Text(String),
        Number(u8),
    }

    #[derive(Deserialize, FilterConfig)]
    #[serde(tag = "kind", rename_all = "lowercase")]
    #[allow(dead_code)]
    enum Tagged {
        Fixed { value: u8 },
        Free,
    }

    fn schema<T: FilterConfig>() -> Value {
        serde_json::from_str(&T::SCHEMA.to_json()).unwrap()
    }

    #[test]
    fn a_struct_is_an_object_in_serdes_words() {
        let expected = json!({
            "type": "object",
            "properties": {
                "first-word": { "anyOf": [{ "type": "string" }, { "type": "null" }], "description": "Says \"this\", and that." },
                "list": { "type": "array", "items": { "type": "integer", "minimum": 0, "maximum": 65535 } },
                "time": {},
                "other": { "type": "string", "minLength": 1 },
                "map": { "type": "object", "additionalProperties": { "type": "number" } },
            },
            "required": ["time", "other", "map"],
            "additionalProperties": false,
        });
        assert_eq!(schema::<Whole>(), expected);
    }

    #[test]
    fn enums_have_the_shape_that_serde_gives_them() {
        assert_eq!(schema::<Word>(), json!({ "enum": ["one_word", "2"] }));
        assert_eq!(
            schema::<Either>(),
            json!({ "anyOf": [{ "type": "string" }, { "type": "integer", "minimum": 0, "maximum": 255 }] })
        );
        let named = json!({ "type": "object", "properties": { "a": { "type": "boolean" } }, "required": ["a"] });
        let one = |name: &str, schema: Value| json!({ "type": "object", "properties": { name: schema }, "required": [name], "additionalProperties": false });
        assert_eq!(
            schema::<Mixed>(),
            json!({ "anyOf": [{ "const": "Nothing" }, one("One", json!({ "type": "string" })), one("Named", named)] })
        );
        let tagged =
            |name: &str| json!({ "type": "object", "properties": { "kind": { "const": name } }, "required": ["kind"] });
        assert_eq!(schema::<Tagged>(), json!({ "anyOf": [tagged("fixed"), tagged("free")] }));
    }

    #[test]
    fn a_type_without_a_schema_says_nothing() {
        struct Plain;
        assert_eq!(<Of<Plain> as Unknown>::SCHEMA.length(), 0);
        assert!(Of::<Word>::SCHEMA.length() > 0);
        assert_eq!(Of::<Word>::SCHEMA.bytes::<40>().trim_ascii_end(), br#","config":{"enum":["one_word","2"]}"#);
    }
}
