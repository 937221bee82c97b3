//! Mistakes, each with its place and what to try.

use super::*;

#[test]
fn what_is_wrong_is_said_where_and_what_to_try() {
    for (configuration, path, message) in [
        (r#"{"labels":[{"label":"a","from":"hosts"}]}"#, "labels[0].from", "unknown variant `hosts`"),
        (
            r#"{"labels":[{"label":"le","from":"host"}]}"#,
            "labels[0].label",
            "\"le\" is no name of a label: letters, digits and underscores",
        ),
        (r#"{"labels":[{"label":"__a","from":"host"}]}"#, "labels[0].label", "\"__a\" is no name of a label"),
        (r#"{"labels":[{"label":"1a","from":"host"}]}"#, "labels[0].label", "\"1a\" is no name of a label"),
        (
            r#"{"labels":[{"from":"host"}]}"#,
            "labels[0].label",
            "is missing: without one, a rule needs a drop_sample in `then`",
        ),
        (
            r#"{"labels":[{"label":"a","from":{"value":"x"}},{"label":"a","from":"host"}]}"#,
            "labels[1].label",
            "\"a\" has a value for every stream already, by a rule above: this one is never asked",
        ),
        (
            r#"{"labels":[{"label":"a","from":"host","default":"x"},{"label":"a","from":"host"}]}"#,
            "labels[1].label",
            "\"a\" has a value for every stream already",
        ),
        (
            r#"{"labels":[{"label":"a","from":"host","regex":"("}]}"#,
            "labels[0].regex",
            "\"(\" is no regular expression: ",
        ),
        (
            r#"{"labels":[{"label":"a","from":"host","regex":"(\\w{1,200}-){100}"}]}"#,
            "labels[0].regex",
            "\"(\\w{1,200}-){100}\" is no regular expression: ",
        ),
        (
            r#"{"labels":[{"label":"a","from":"host","regex":"a(?=b)"}]}"#,
            "labels[0].regex",
            "\"a(?=b)\" is no regular expression: ",
        ),
        (
            r#"{"labels":[{"label":"a","from":"host","value":"$1"}]}"#,
            "labels[0].value",
            "is made of a match: it needs a `regex`",
        ),
        (
            r#"{"labels":[{"label":"a","from":"host","maximum_length":257}]}"#,
            "labels[0].maximum_length",
            "257 is not between 1 and 256 bytes",
        ),
        (
            r#"{"labels":[{"label":"a","from":{"request_header":"x y"}}]}"#,
            "labels[0].from.request_header",
            "\"x y\" is not the name of a header",
        ),
        (
            r#"{"labels":[{"label":"a","from":{"property":"a..b"}}]}"#,
            "labels[0].from.property",
            "\"a..b\" is not a property path",
        ),
        (
            r#"{"labels":[{"label":"a","from":{"route_metadata":""}}]}"#,
            "labels[0].from.route_metadata",
            "\"route_metadata.\" is not a property path",
        ),
        (r#"{"labels":[{"label":"a","from":{"text":"50%"}}]}"#, "labels[0].from.text", ""),
        (
            r#"{"labels":[{"label":"a","from":{"path_template":["/a","b"]}}]}"#,
            "labels[0].from.path_template[1]",
            "\"b\" is no template of a path, which begins with '/'",
        ),
        (
            r#"{"call_site_header":"a b","labels":[{"label":"a","from":"call_site"}]}"#,
            "call_site_header",
            "\"a b\" is not the name of a header",
        ),
        (
            r#"{"labels":[{"label":"a","from":"host","then":["lower_case",{"ranges":[]}]}]}"#,
            "labels[0].then[1].ranges",
            "needs a number at least",
        ),
        (
            r#"{"labels":[{"label":"a","from":"host","then":[{"ranges":[1,5,5]}]}]}"#,
            "labels[0].then[0].ranges[2]",
            "5 does not rise above 5, which is before it",
        ),
        (
            r#"{"labels":[{"label":"a","from":"host","then":[{"replace":{"regex":"[","with":""}}]}]}"#,
            "labels[0].then[0].replace.regex",
            "\"[\" is no regular expression: ",
        ),
        (
            r#"{"labels":[{"label":"a","from":"host","then":[{"drop_sample":{"regex":"["}}]}]}"#,
            "labels[0].then[0].drop_sample.regex",
            "\"[\" is no regular expression: ",
        ),
        (
            r#"{"metrics":{"requests":{"labels":["a"]}}}"#,
            "metrics.requests.labels[0]",
            "no rule gives \"a\" a value: there are no `labels`",
        ),
        (
            r#"{"labels":[{"label":"method","from":"method"}],"metrics":{"duration":{"labels":["metod"]}}}"#,
            "metrics.duration.labels[0]",
            "no rule gives \"metod\" a value; did you mean \"method\"?",
        ),
        (
            r#"{"labels":[{"label":"method","from":"method"}],"metrics":{"duration":{"without":["zone"]}}}"#,
            "metrics.duration.without[0]",
            "no rule gives \"zone\" a value; add one to `labels`",
        ),
        (
            r#"{"labels":[{"label":"a","from":"method"}],"metrics":{"duration":{"labels":["a","a"]}}}"#,
            "metrics.duration.labels[1]",
            "\"a\" is there twice",
        ),
        (
            r#"{"metrics":{"requests":{"buckets":[1]}}}"#,
            "metrics.requests.buckets",
            "belongs to a histogram, and this is a counter",
        ),
        (r#"{"metrics":{"duration":{"buckets":[2,1]}}}"#, "metrics.duration.buckets", "must rise"),
        (
            r#"{"metrics":{"request_messages":{"name":"m"}}}"#,
            "metrics.request_messages",
            "messages are counted with `grpc_messages: true`",
        ),
        (r#"{"istio":{},"duration_unit":"microseconds"}"#, "duration_unit", "Istio's durations are in milliseconds"),
        (r#"{"original_path":true}"#, "original_path", "no rule of `labels` reads the path"),
        (
            r#"{"stats_tags":[{"tag_name":"a","fixed_value":"b"}]}"#,
            "stats_tags",
            "are taken out of `stat_names`, and there are none",
        ),
        (
            r#"{"stat_names":["a"],"stats_tags":[{"tag_name":"a","regex":"a"}]}"#,
            "stats_tags[0].regex",
            "\"a\" has no group: ",
        ),
        (
            r#"{"stat_names":["a"],"stats_tags":[{"tag_name":"a","regex":"(a)","fixed_value":"b"}]}"#,
            "stats_tags[0].fixed_value",
            "there is a `regex` already",
        ),
        (
            r#"{"stat_names":["a"],"stats_tags":[{"tag_name":"mine"}]}"#,
            "stats_tags[0]",
            "\"mine\" is no tag that is known by its name",
        ),
        (
            r#"{"stat_names":["a"],"stats_tags":[{"tag_name":"9","fixed_value":"b"}]}"#,
            "stats_tags[0].tag_name",
            "\"9\" is no name of a label",
        ),
        (
            r#"{"stat_names":["a.%{cluster_name}.b"]}"#,
            "stat_names[0]",
            "no tag takes %{cluster_name} out of \"a.x.b\", and without that there is no fixed name for a metric.",
        ),
        (r#"{"stat_names":[""]}"#, "stat_names[0]", "is empty; "),
        (r#"{"stat_names":["a.%{b"]}"#, "stat_names[0]", "\"%{b\" has no closing brace"),
        (
            r#"{"stat_names":["a.%REQ(x)%"]}"#,
            "stat_names[0]",
            "\"a.%REQ(x)%\" has a percent sign in it; a property is written %{path}",
        ),
    ] {
        let error = Host::<StatsTags>::configure(configuration).err().unwrap_or_else(|| panic!("{configuration}"));
        assert_eq!(error.path(), path, "{configuration}: {error}");
        assert!(error.message().starts_with(message), "{configuration}: {error}");
    }
}

#[test]
fn a_name_with_other_labels_elsewhere_is_refused_at_its_metric() {
    let configuration = r#"{"labels":[{"label":"a","from":"host"},{"label":"b","from":"method"}],
        "metrics":{"request_size":{"name":"x"},"response_size":{"name":"x","labels":["a"]}}}"#;
    let error = Host::<StatsTags>::configure(configuration).err().unwrap();
    assert_eq!(error.path(), "metrics.response_size");
}
