//! What configurations look like, for the schemas of filters.

use fyke_sdk::{FilterConfig, Schema};

use crate::limit::Limit;
use crate::rate::{Amount, Quota, Rate, Span};

const AMOUNT: &str = r#""anyOf":[{"type":"integer","minimum":1},{"type":"string","pattern":"^[0-9]+[kMG]?$"}]"#;
const SPAN: &str = r#""type":"string","pattern":"^[0-9]*(ms|s|seconds?|m|min|minutes?|h|hours?|d|days?)$""#;

impl FilterConfig for Amount {
    const SCHEMA: Schema = Schema::text(AMOUNT);
}

impl FilterConfig for Span {
    const SCHEMA: Schema = Schema::text(SPAN);
}

impl FilterConfig for Rate {
    const SCHEMA: Schema = Schema {
        before: r#""anyOf":[{"type":"string","pattern":"^ *[0-9]+[kMG]? */ *[0-9]*[a-z]+ *$"},{"type":"object","additionalProperties":false,"required":["requests","per"],"properties":{"requests":{"#,
        inner: &[Amount::SCHEMA, Schema { before: r#"},"per":{"#, inner: &[Span::SCHEMA], after: "}}}]" }],
        after: "",
    };
}

impl FilterConfig for Quota {
    const SCHEMA: Schema = Rate::SCHEMA;
}

/// A field of an object.
const fn field(before: &'static str, inner: &'static [Schema]) -> Schema {
    Schema { before, inner, after: "}" }
}

impl FilterConfig for Limit {
    const SCHEMA: Schema = Schema {
        before: r#""anyOf":[{"type":"string"},{"type":"object","additionalProperties":false,"properties":{"#,
        inner: &[
            field(r#""rate":{"description":"So many, evenly.","#, &[Rate::SCHEMA]),
            field(
                r#","burst":{"description":"How many may come at once. Default: as many as rate names.","#,
                &[Amount::SCHEMA],
            ),
            field(r#","sustained":{"description":"A second rate, over a longer time.","#, &[Rate::SCHEMA]),
            field(r#","quota":{"description":"So many in each minute, hour or day in UTC.","#, &[Quota::SCHEMA]),
            field(r#","concurrency":{"description":"So many at the same time.","#, &[Amount::SCHEMA]),
            field(r#","lease":{"description":"How long a lost one is counted. Default: 5m.","#, &[Span::SCHEMA]),
            field(
                r#","delay":{"description":"How long one may wait in place of being refused. Default: not at all.","#,
                &[Span::SCHEMA],
            ),
        ],
        after: "}}]",
    };
}
