//! What Prometheus reads (text format 0.0.4).

use std::fmt::{Display, Write as _};

/// The media type of the text.
pub(super) const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The kind of a metric.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Counter,
    Gauge,
}

/// Metrics as text.
#[derive(Default)]
pub(super) struct Exposition(String);

impl Exposition {
    /// A metric with one line.
    pub(super) fn one(&mut self, name: &str, kind: Kind, help: &str, labels: &[(&str, &str)], value: impl Display) {
        self.head(name, kind, help);
        self.line(name, labels, value);
    }

    /// The head of a metric. `help` has no backslash and no line break.
    pub(super) fn head(&mut self, name: &str, kind: Kind, help: &str) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        // Writing to a text does not fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// A line of the metric whose head was written last.
    pub(super) fn line(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let labels: Vec<String> = labels.iter().map(|(key, value)| format!("{key}=\"{}\"", escaped(value))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }

    /// The text.
    pub(super) fn text(self) -> String {
        self.0
    }
}

/// A label's value as the format has it.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_text_format() {
        let mut page = Exposition::default();
        page.one("a_total", Kind::Counter, "Help.", &[("x", "1\"2\\3\n")], 4);
        page.one("b", Kind::Gauge, "Help.", &[], 0.5);
        assert_eq!(
            page.text(),
            "# HELP a_total Help.\n# TYPE a_total counter\na_total{x=\"1\\\"2\\\\3\\n\"} 4\n\
             # HELP b Help.\n# TYPE b gauge\nb 0.5\n"
        );
    }
}
