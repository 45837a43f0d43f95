//! What the command says: results on standard output, warnings and progress on standard error.
//!
//! Mail is written by strangers: nothing of it reaches a terminal without [`safe`].

use std::borrow::Cow;
use std::fmt;
use std::io::{self, BufWriter, StdoutLock, Write};

use indicatif::{ProgressBar, ProgressStyle};
use mailkeep::{InternalDate, Rebuild};
use serde_json::Value;

use crate::civil;
use crate::error::CliError;

/// Standard output, as text or as JSON.
pub(crate) struct Output {
    out: BufWriter<StdoutLock<'static>>,
    json: bool,
}

impl Output {
    /// Takes standard output.
    pub(crate) fn new(json: bool) -> Self {
        Self {
            out: BufWriter::new(io::stdout().lock()),
            json,
        }
    }

    /// Whether JSON was asked for.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Writes a line of text. What came from mail or from names must be [`safe`].
    pub(crate) fn line(&mut self, text: impl fmt::Display) -> Result<(), CliError> {
        writeln!(self.out, "{text}").map_err(CliError::Stdout)
    }

    /// Writes a JSON value, in one line. Other control characters than those of ASCII stay: it is for programs.
    pub(crate) fn value(&mut self, value: &Value) -> Result<(), CliError> {
        self.line(value)
    }

    /// Writes bytes as they are.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        self.out.write_all(bytes).map_err(CliError::Stdout)
    }

    /// Writes what is buffered. To be called last, or errors are lost.
    pub(crate) fn finish(&mut self) -> Result<(), CliError> {
        self.out.flush().map_err(CliError::Stdout)
    }
}

/// Says something on standard error. Nobody is left to tell when that fails.
pub(crate) fn warn(text: &str) {
    for line in text.lines() {
        let _ = writeln!(io::stderr(), "{}", safe(line));
    }
}

/// How far a long run is: a bar with the time that is left, drawn only when standard error is a terminal.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// Of `total_bytes`; 0 where that is not known.
    pub(crate) fn new(total_bytes: u64) -> Self {
        let (bar, template) = if total_bytes == 0 {
            let template = "{elapsed_precise} {binary_bytes} ({binary_bytes_per_sec}) {msg}";
            (ProgressBar::no_length(), template)
        } else {
            let template = "{elapsed_precise} {wide_bar} {binary_bytes}/{binary_total_bytes} \
                            ({binary_bytes_per_sec}, {eta} left) {msg}";
            (ProgressBar::new(total_bytes), template)
        };
        Self::drawn(bar, template)
    }

    /// Of something that says itself how far it is and how long it takes yet.
    pub(crate) fn told() -> Self {
        let template = "{elapsed_precise} {wide_bar} {binary_bytes}/{binary_total_bytes} {msg}";
        Self::drawn(ProgressBar::new(1), template)
    }

    fn drawn(bar: ProgressBar, template: &str) -> Self {
        // The template is ours: were it wrong, the default would be drawn.
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Self(bar)
    }

    /// Shows how far a rebuild is.
    pub(crate) fn show_rebuild(&self, at: &Rebuild) {
        self.show_of(at.done_bytes, at.total_bytes);
        let left = at.left.map(|left| format!("({} s left)", left.as_secs()));
        self.0.set_message(left.unwrap_or_default());
    }

    /// Shows how many bytes and how many messages are done.
    pub(crate) fn show(&self, bytes: u64, messages: u64) {
        self.0.set_position(bytes);
        self.0.set_message(format!("{messages} messages"));
    }

    /// Shows how many bytes are done, of how many.
    pub(crate) fn show_of(&self, bytes: u64, total_bytes: u64) {
        self.0.set_length(total_bytes);
        self.0.set_position(bytes);
    }

    /// Says something above the bar.
    pub(crate) fn warn(&self, text: &str) {
        self.0.suspend(|| warn(text));
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        self.0.finish_and_clear();
    }
}

/// Text that does nothing to a terminal: control characters, and those that change the direction of text or break
/// lines, become escapes like `\u{1b}`.
pub(crate) fn safe(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unsafe) {
        return text.into();
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if is_unsafe(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown.into()
}

/// Control characters of ASCII and Latin-1, line separators, and the marks of bidirectional text (as in "Trojan
/// Source", CVE-2021-42574).
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The text cut or padded to `width` characters, [`safe`].
pub(crate) fn column(text: &str, width: usize) -> String {
    let shown = safe(text);
    if shown.chars().count() <= width {
        return format!("{shown:width$}");
    }
    let mut cut: String = shown.chars().take(width.saturating_sub(1)).collect();
    cut.push('~');
    cut
}

/// A date as RFC 3339 writes it, in its own zone.
pub(crate) fn date(date: InternalDate) -> String {
    civil::rfc3339(date.seconds(), date.zone_minutes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_reaches_the_terminal_raw() {
        for (text, shown) in [
            ("plain \u{e9}", "plain \u{e9}"),
            ("\u{1b}[31m", "\\u{1b}[31m"),
            ("a\tb\r\n", "a\\tb\\r\\n"),
            ("\u{9b}2J", "\\u{9b}2J"),
            ("\u{202e}gpj.exe", "\\u{202e}gpj.exe"),
            ("a\u{2028}b", "a\\u{2028}b"),
            ("\u{7f}\0", "\\u{7f}\\u{0}"),
        ] {
            assert_eq!(safe(text), shown);
        }
    }

    #[test]
    fn columns_have_their_width() {
        for (text, shown) in [("", "   "), ("ab", "ab "), ("abc", "abc"), ("abcd", "ab~")] {
            assert_eq!(column(text, 3), shown);
        }
        assert_eq!(column("\u{1b}", 4), "\\u{~");
    }
}
