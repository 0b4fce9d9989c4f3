//! Horizontal bars with their ranges as SVG, readable on light and on dark.

use std::fmt::Write as _;

use crate::statistics::Summary;

/// One bar.
pub struct Bar {
    /// On its left.
    pub name: String,
    /// Its length, and the whisker on its end.
    pub figure: Summary,
    /// On its right, after the figure.
    pub note: String,
    /// Drawn in the strong colour.
    pub ours: bool,
}

/// Bars under one heading.
pub struct Panel {
    /// Above them.
    pub heading: String,
    /// From top to bottom.
    pub bars: Vec<Bar>,
}

const WIDTH: f64 = 760.0;
/// Where bars begin, and how long the longest may be.
const LEFT: f64 = 110.0;
const LONGEST: f64 = 420.0;
const ROW: f64 = 28.0;
const THICK: f64 = 18.0;
const MARGIN: f64 = 16.0;

/// Both schemes bring their own background: a viewer that knows none of them shows the light one.
const STYLE: &str = "text{font:13px system-ui,sans-serif;fill:#1f2328}.title{font-weight:600;font-size:15px}\
    .heading{font-weight:600}.paper{fill:#fff}.theirs{fill:#9aa4b2}.ours{fill:#0b7a75}.range{stroke:#1f2328}\
    @media(prefers-color-scheme:dark){text{fill:#e6edf3}.paper{fill:#0d1117}.theirs{fill:#6e7781}.ours{fill:#2fb8ac}\
    .range{stroke:#e6edf3}}";

/// Draws the panels to one scale.
#[must_use]
pub fn svg(title: &str, unit: &str, panels: &[Panel]) -> String {
    let most = panels.iter().flat_map(|panel| &panel.bars).map(|bar| bar.figure.max).fold(f64::MIN_POSITIVE, f64::max);
    let scale = LONGEST / most;
    let (mut body, mut y) = (String::new(), MARGIN + 14.0);
    text(&mut body, MARGIN, y, "title", "start", title);
    for panel in panels {
        y += ROW + 4.0;
        text(&mut body, MARGIN, y, "heading", "start", &panel.heading);
        y += 10.0;
        for bar in &panel.bars {
            row(&mut body, y, scale, unit, bar);
            y += ROW;
        }
    }
    let height = y + MARGIN;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         role=\"img\" aria-label=\"{}\">\n<style>{STYLE}</style>\n\
         <rect class=\"paper\" width=\"{WIDTH}\" height=\"{height}\"/>\n{body}</svg>\n",
        escaped(title)
    )
}

fn row(body: &mut String, y: f64, scale: f64, unit: &str, bar: &Bar) {
    let Bar { name, figure, note, ours } = bar;
    let middle = y + THICK / 2.0;
    text(body, LEFT - 10.0, middle + 4.5, "name", "end", name);
    let class = if *ours { "ours" } else { "theirs" };
    let length = figure.median * scale;
    let _ = writeln!(
        body,
        "<rect class=\"{class}\" x=\"{LEFT}\" y=\"{y:.1}\" width=\"{length:.1}\" height=\"{THICK}\" rx=\"2\"/>"
    );
    let (from, to) = (LEFT + figure.min * scale, LEFT + figure.max * scale);
    let _ = writeln!(
        body,
        "<line class=\"range\" x1=\"{from:.1}\" x2=\"{to:.1}\" y1=\"{middle:.1}\" y2=\"{middle:.1}\" stroke-width=\"1.5\"/>"
    );
    text(body, to + 8.0, middle + 4.5, "figure", "start", &format!("{:.2} {unit}{note}", figure.median));
}

fn text(body: &mut String, x: f64, y: f64, class: &str, anchor: &str, words: &str) {
    let words = escaped(words);
    let _ = writeln!(body, "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{words}</text>");
}

fn escaped(words: &str) -> String {
    words.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_bar_has_the_longest_length_and_text_is_escaped() {
        let figure = |median| Summary { median, min: median, max: median, n: 1 };
        let bar = |name: &str, median| Bar { name: name.into(), figure: figure(median), note: "".into(), ours: false };
        let panel = Panel { heading: "a & b".into(), bars: vec![bar("<one>", 2.0), bar("two", 4.0)] };
        let drawn = svg("t", "s", &[panel]);
        assert!(drawn.contains("width=\"420.0\"") && drawn.contains("width=\"210.0\""), "{drawn}");
        assert!(drawn.contains("a &amp; b") && drawn.contains("&lt;one>"), "{drawn}");
    }
}
