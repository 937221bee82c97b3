//! JUnit XML, as systems for continuous integration read it.

use std::{fmt::Write as _, time::Duration};

use super::{Results, words};

/// One suite, named after the configuration; a case for each test.
pub(super) fn render(results: &Results) -> String {
    let (all, failed) = (results.tests.len(), results.failed());
    let file = escaped(&results.file);
    let totals = format!(
        "name=\"{file}\" tests=\"{all}\" failures=\"{failed}\" errors=\"0\" skipped=\"0\" time=\"{}\"",
        seconds(results.took)
    );
    let mut xml =
        format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites {totals}>\n  <testsuite {totals}>\n");
    for (test, verdict) in &results.tests {
        // Writing to a `String` does not fail.
        let _ = write!(
            xml,
            "    <testcase name=\"{}\" classname=\"{file}\" file=\"{}\" line=\"{}\" time=\"{}\"",
            escaped(&test.name),
            escaped(&test.origin.file),
            test.origin.line,
            seconds(verdict.took)
        );
        let lines = words::details(test, verdict);
        match lines.first().filter(|_| !verdict.passed()) {
            None => xml.push_str("/>\n"),
            Some(first) => {
                let (message, body) = (escaped(first), escaped(&lines.join("\n")));
                let _ = write!(
                    xml,
                    ">\n      <failure message=\"{message}\" type=\"expectation\">{body}</failure>\n    </testcase>\n"
                );
            }
        }
    }
    xml.push_str("  </testsuite>\n</testsuites>\n");
    xml
}

fn seconds(time: Duration) -> String {
    format!("{:.3}", time.as_secs_f64())
}

/// For text and for attributes in double quotes. What XML 1.0 has no place for becomes U+FFFD.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            // In an attribute they would be read as spaces.
            '\n' => escaped.push_str("&#10;"),
            '\t' => escaped.push_str("&#9;"),
            '\r' => escaped.push_str("&#13;"),
            '\0'..='\x1f' | '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_gets_out_of_its_place() {
        assert_eq!(escaped("a<b>&\"'\n\u{1}]]>"), "a&lt;b&gt;&amp;&quot;&apos;&#10;\u{fffd}]]&gt;");
        assert_eq!(seconds(Duration::from_millis(1_234)), "1.234");
    }
}
