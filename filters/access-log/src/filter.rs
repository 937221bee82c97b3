//! The filter.

use fyke_sdk::property::Reads;
use fyke_sdk::{ConfigError, Env, HttpFilter, LogSink, Result, StreamLog, http_filter};

use crate::config::{Config, Format};
use crate::fields::{DEFAULT, Record};
use crate::template::Template;

/// Envoy's, word for word.
const DEFAULT_TEMPLATE: &str = "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% \
    %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" \
    \"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\"";

/// One configuration of the filter.
pub struct AccessLog {
    sink: LogSink,
    line: Line,
    /// What the line tells of a stream.
    reads: Reads,
}

enum Line {
    Text(Template),
    Json(Record),
}

#[http_filter]
impl HttpFilter for AccessLog {
    type Config = Config;
    type Ctx = ();

    fn configure(config: Config, env: &mut Env) -> Result<Self, ConfigError> {
        let mut reads = Reads::default();
        let line = match (config.format, config.template, config.fields) {
            (Format::Text, _, Some(_)) => {
                return Err(ConfigError::at("fields", "belongs to `format: json`"));
            }
            (Format::Json, Some(_), _) => {
                return Err(ConfigError::at("template", "belongs to `format: text`; use `fields`"));
            }
            (Format::Text, template, None) => {
                let text = template.as_deref().unwrap_or(DEFAULT_TEMPLATE);
                Line::Text(Template::parse(text, &mut reads).map_err(|message| ConfigError::at("template", message))?)
            }
            (Format::Json, None, fields) => {
                let record = match &fields {
                    Some(fields) => {
                        let fields = fields.0.iter().map(|(key, source)| (key.as_str(), source.as_str()));
                        Record::parse(fields, &mut reads)
                    }
                    None => Record::parse(DEFAULT.iter().copied(), &mut reads),
                };
                Line::Json(record.map_err(|(key, message)| ConfigError::at(key, message).under("fields"))?)
            }
        };
        let sink = env.log_sink(&config.sink).map_err(|error| error.under("sink"))?;
        Ok(Self { sink, line, reads })
    }

    fn on_log(&self, _cx: &mut (), _log: &StreamLog) {
        let values = self.reads.read();
        self.sink.write_with(|record| match &self.line {
            Line::Text(template) => template.write_text(record, &values),
            Line::Json(fields) => fields.write(record, &values),
        });
    }
}

#[cfg(test)]
mod tests {
    use fyke_sdk::abi::MapKind;
    use fyke_sdk::testing::{Host, World};

    use super::*;

    fn record(configuration: &str) -> String {
        record_in(configuration, true)
    }

    fn record_in(configuration: &str, knows_fyke: bool) -> String {
        let host = Host::<AccessLog>::configure_in(configuration, |world| {
            world.knows_fyke = knows_fyke;
            world.sinks.push(("requests".to_owned(), Vec::new()));
        })
        .unwrap();
        let stream = host.open();
        host.stream(stream, |stream| {
            stream.set_headers(
                MapKind::RequestHeaders,
                &[
                    (":method", "GET"),
                    (":path", "/a?b=1"),
                    (":authority", "a.example"),
                    ("user-agent", "evil\"\n[fake]"),
                ],
            );
            stream.set_headers(MapKind::ResponseHeaders, &[(":status", "200"), ("server", "fyke")]);
            stream.set_property("request.time", 1_700_000_000_123_456_789_u64.to_le_bytes());
            stream.set_property("request.protocol", "HTTP/1.1");
            stream.set_property("request.path", "/a?b=1");
            stream.set_property("request.size", 0_u64.to_le_bytes());
            stream.set_property("response.size", 12_u64.to_le_bytes());
            stream.set_property("response.code", 200_u64.to_le_bytes());
            stream.set_property("response.flags", 0x104_u64.to_le_bytes());
            stream.set_property("request.duration", 1_234_567_u64.to_le_bytes());
            stream.set_property("source.address", "10.1.2.3:4567");
            stream.set_property("upstream.address", "127.0.0.1:3000");
            stream.set_property("connection.mtls", [0]);
        });
        host.finish(stream);
        World::with(|world| {
            let written = world.sinks.iter_mut().find_map(|(_, records)| records.pop());
            written.or_else(|| world.logs.pop().map(|(_, line)| line)).unwrap()
        })
    }

    #[test]
    fn the_default_line_is_envoys_and_cannot_be_broken_out_of() {
        assert_eq!(
            record(""),
            r#"[2023-11-14T22:13:20.123Z] "GET /a?b=1 HTTP/1.1" 200 UT,NR 0 12 1 "-" "evil\x22\x0A[fake]" "-" "a.example" "127.0.0.1:3000""#
        );
    }

    #[test]
    fn templates_take_lengths_alternatives_and_percent_signs() {
        let template = "%REQ(x-none?:path):2%|%RESP(server)%|%%|%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%|%PROPERTY(request.protocol):4%";
        let configuration = format!("{{\"sink\":\"requests\",\"template\":\"{template}\"}}");
        assert_eq!(record(&configuration), "/a|fyke|%|10.1.2.3|HTTP");
    }

    #[test]
    fn json_has_types_and_the_order_of_the_configuration() {
        let configuration = r#"{"format":"json","fields":{
            "time":"request.time","path":"request.path","code":"response.code","took":"request.duration",
            "mtls":"connection.mtls","none":"route_name","agent":"%REQ(user-agent)%"}}"#;
        assert_eq!(
            record(configuration),
            r#"{"time":"2023-11-14T22:13:20.123Z","path":"/a?b=1","code":200,"took":1.234,"mtls":false,"none":null,"agent":"evil\"\n[fake]"}"#
        );
        let default: serde_json::Value = serde_json::from_str(&record(r#"{"format":"json"}"#)).unwrap();
        assert_eq!(default["status"], 200);
        assert_eq!(default["flags"], "UT,NR");
    }

    #[test]
    fn another_host_gets_the_record_in_its_log() {
        assert_eq!(record_in(r#"{"template":"%RESPONSE_CODE%"}"#, false), "200");
    }

    #[test]
    fn what_is_wrong_is_said_where() {
        for (configuration, path, message) in [
            (
                r#"{"template":"%RESPONS_CODE%"}"#,
                "template",
                "%RESPONS_CODE% is not a command; did you mean %RESPONSE_CODE%?",
            ),
            (r#"{"template":"%REQ%"}"#, "template", "%REQ% needs a header's name in parentheses, like %REQ(name)%"),
            (
                r#"{"template":"100% sure"}"#,
                "template",
                "\"% sure\" has no closing '%'; a percent sign itself is written %%",
            ),
            (
                r#"{"template":"%START_TIME(%s)%"}"#,
                "template",
                "%START_TIME% has one format, RFC 3339 with milliseconds",
            ),
            (r#"{"template":"a\n%REQ(x)%"}"#, "template", "a record is one line; the sink ends it"),
            (r#"{"template":"%REQ(x)%\nb"}"#, "template", "a record is one line; the sink ends it"),
            (r#"{"fields":{}}"#, "fields", "belongs to `format: json`"),
            (
                r#"{"format":"json","fields":{"a":"request..path"}}"#,
                "fields.a",
                "\"request..path\" is not a property path, like request.path",
            ),
            (r#"{"sink":"nowhere"}"#, "sink", "there is no sink \"nowhere\""),
        ] {
            let error = Host::<AccessLog>::configure(configuration).err().unwrap();
            assert_eq!((error.path(), error.message()), (path, message), "{configuration}");
        }
    }
}
