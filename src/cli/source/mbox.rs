//! Mbox files, read as a stream.
//!
//! The rule, for files with LF and with CRLF alike:
//!
//! 0. Blank lines before the first From_ line are skipped, up to 4 KiB of them.
//! 1. A line that is a From_ line (`from_line`: it has a date) starts a message, whether or not a
//!    blank line precedes it. Nothing else does; `Content-Length` fields are not looked at.
//! 2. One blank line (LF or CRLF) before a From_ line, or before the end of the file, belongs to the
//!    mbox and is taken off. Further blank lines belong to the message.
//! 3. Quoting is undone as [`Quoting`] says. All other bytes, line ends too, are the message's.
//! 4. After a From_ line of the sender `NO-FINAL-NEWLINE`, which only our own sink writes, the
//!    newline that is last after step 2 is taken off too.
//!
//! A message is collected in one buffer that never grows beyond the limit and one From_ line; once a
//! message is over it, the buffer is emptied and the rest only searched for the next From_ line.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use super::compress::Input;
use super::from_line::{self, FromLine};
use super::{Found, Options, Origin, SourceError, check_len};

/// Bytes that a message in the buffer may still lose at its end: a blank line and a newline.
const TRIM_MAX: u64 = 4;

/// A line of this many bytes is too long for a From_ line.
const LONG_LINE: u64 = from_line::LEN_MAX as u64 + 1;

/// How lines that look like separators were changed when the mbox was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Quoting {
    /// mboxrd: each line that matches `^>*From ` got one more `>`, so each that matches `^>+From `
    /// loses one. The default: it also undoes mboxo, but for lines that had a `>` before.
    #[default]
    Rd,
    /// mboxo: a line `From ` became `>From `; lines that start with more than one `>` are as they
    /// were. Whether `>From ` was there before cannot be told, it loses its `>`.
    O,
    /// Nothing was quoted, nothing is changed.
    None,
}

impl Quoting {
    /// Whether a line, given whole, has a `>` too many.
    fn is_quoted(self, line: &[u8]) -> bool {
        let depth = line.iter().take_while(|byte| **byte == b'>').count();
        let depth_fits = match self {
            Self::Rd => depth >= 1,
            Self::O => depth == 1,
            Self::None => false,
        };
        depth_fits
            && line
                .get(depth..)
                .is_some_and(|rest| rest.starts_with(b"From "))
    }
}

/// The messages of one mbox.
pub(super) struct Reader {
    input: BufReader<Input>,
    path: PathBuf,
    options: Options,
    /// Bytes read from `input`.
    offset: u64,
    /// The From_ line of the next message and its offset; `None` at the end.
    next: Option<(FromLine, u64)>,
}

/// How a message ended up.
enum Body {
    /// In the buffer, with what step 2 and 4 take off.
    Whole,
    /// Over the limit, not in the buffer.
    Over,
}

impl Reader {
    /// Starts at a From_ line.
    ///
    /// # Errors
    ///
    /// `NotMbox` when the first line that is not blank is none, `Io` when it cannot be read. An input without a byte
    /// is an mbox without messages.
    pub(super) fn new(input: Input, path: &Path, options: Options) -> Result<Self, SourceError> {
        let mut input = BufReader::with_capacity(256 << 10, input);
        let (mut line, mut offset) = (Vec::new(), 0);
        while line.trim_ascii().is_empty() && offset < LONG_LINE {
            line.clear();
            let len = input
                .by_ref()
                .take(LONG_LINE)
                .read_until(b'\n', &mut line)
                .map_err(SourceError::io("read", path, 0))?;
            if len == 0 {
                break;
            }
            offset += len as u64;
        }
        let next = from_line::parse(&line).map(|from| (from, offset - line.len() as u64));
        if next.is_none() && offset > 0 {
            let start = line.get(..60).unwrap_or(&line);
            let found = String::from_utf8_lossy(start).trim_end().to_owned();
            return Err(SourceError::NotMbox {
                path: path.to_path_buf(),
                found,
            });
        }
        Ok(Self {
            input,
            path: path.to_path_buf(),
            options,
            offset,
            next,
        })
    }

    /// One message, up to the next From_ line.
    fn message(&mut self, from: FromLine, start: u64) -> Result<Found, SourceError> {
        let mut raw = Vec::new();
        let body_start = self.offset;
        let body = self
            .body(&mut raw)
            .map_err(SourceError::io("read", &self.path, start))?;
        match body {
            Body::Whole => trim_end(&mut raw, from.no_final_newline),
            Body::Over => {
                let end = self.next.map_or(self.offset, |(_, next_start)| next_start);
                check_len(end - body_start, &self.path, start, self.options)?;
            }
        }
        check_len(raw.len() as u64, &self.path, start, self.options)?;
        Ok(Found {
            raw,
            received: from.received,
            flags: Vec::new(),
            folder: Vec::new(),
            origin: Origin {
                path: self.path.clone(),
                offset: start,
            },
        })
    }

    /// Reads lines into `raw` up to a From_ line, which becomes `self.next`, or the end.
    fn body(&mut self, raw: &mut Vec<u8>) -> std::io::Result<Body> {
        let hold_max = self.options.message_max.saturating_add(TRIM_MAX);
        loop {
            let line_start = raw.len();
            // At least a From_ line fits after each message that is not over the limit.
            let room = hold_max.saturating_add(LONG_LINE) - line_start as u64;
            let line_len = self.line(raw, room)?;
            let line = raw.get(line_start..).unwrap_or_default();
            if line_len == 0 || self.separates(line) {
                raw.truncate(line_start);
                return Ok(Body::Whole);
            }
            let is_cut = line_len == room && !line.ends_with(b"\n");
            if self.options.quoting.is_quoted(line) {
                raw.remove(line_start);
            }
            if raw.len() as u64 > hold_max {
                raw.clear();
                self.skip(is_cut, raw)?;
                return Ok(Body::Over);
            }
        }
    }

    /// Reads on to a From_ line, which becomes `self.next`, or the end. Holds no more than
    /// [`LONG_LINE`] bytes, in `line`, and leaves that empty.
    fn skip(&mut self, mut in_line: bool, line: &mut Vec<u8>) -> std::io::Result<()> {
        loop {
            if in_line {
                self.offset += self.input.skip_until(b'\n')? as u64;
            }
            line.clear();
            let line_len = self.line(line, LONG_LINE)?;
            if line_len == 0 || self.separates(line) {
                line.clear();
                return Ok(());
            }
            in_line = line_len == LONG_LINE && !line.ends_with(b"\n");
        }
    }

    /// Appends the next line, or its first `len_max` bytes, to `raw`. 0 is the end of the input.
    fn line(&mut self, raw: &mut Vec<u8>, len_max: u64) -> std::io::Result<u64> {
        let len = self.input.by_ref().take(len_max).read_until(b'\n', raw)? as u64;
        self.offset += len;
        Ok(len)
    }

    /// Keeps a From_ line that was just read as the start of the next message.
    fn separates(&mut self, line: &[u8]) -> bool {
        self.next = from_line::parse(line).map(|from| (from, self.offset - line.len() as u64));
        self.next.is_some()
    }
}

impl Iterator for Reader {
    type Item = Result<Found, SourceError>;

    fn next(&mut self) -> Option<Self::Item> {
        // After an error of the input nothing can follow: `next` stays empty.
        let (from, start) = self.next.take()?;
        Some(self.message(from, start))
    }
}

/// Takes off what belongs to the mbox: one blank line, and the newline that our sink added.
fn trim_end(raw: &mut Vec<u8>, no_final_newline: bool) {
    let mut newline: &[u8] = b"\n";
    if *raw == b"\n" || raw.ends_with(b"\n\n") {
        raw.pop();
    } else if *raw == b"\r\n" || raw.ends_with(b"\n\r\n") {
        raw.truncate(raw.len() - 2);
        newline = b"\r\n";
    }
    // The blank line tells how lines end: our sink writes LF, so a CR before it is the message's,
    // unless the whole file was changed to CRLF afterwards.
    if no_final_newline && raw.ends_with(newline) {
        raw.truncate(raw.len() - newline.len());
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    const FROM: &str = "From a@b Thu Jan  1 00:00:00 2004\n";

    fn reader(mbox: &[u8], options: Options) -> Reader {
        Reader::new(
            Box::new(io::Cursor::new(mbox.to_vec())),
            Path::new("m"),
            options,
        )
        .unwrap()
    }

    fn bodies(mbox: &str, options: Options) -> Vec<String> {
        reader(mbox.as_bytes(), options)
            .map(|found| String::from_utf8(found.unwrap().raw).unwrap())
            .collect()
    }

    #[test]
    fn one_blank_line_belongs_to_the_mbox() {
        for (mbox, expected) in [
            ("F", &[""][..]),
            ("FF", &["", ""]),
            ("F\n", &[""]),
            ("F\n\n", &["\n"]),
            ("F\r\n", &[""]),
            ("Fa", &["a"]),
            ("Fa\n", &["a\n"]),
            ("Fa\n\n", &["a\n"]),
            ("Fa\n\n\n", &["a\n\n"]),
            ("Fa\nFb\n", &["a\n", "b\n"]),
            ("Fa\n\nFb\n\n", &["a\n", "b\n"]),
            ("Fa\r\n\r\nFb\r\n\r\n", &["a\r\n", "b\r\n"]),
            ("Fa\r\n\nFb\n\r\n", &["a\r\n", "b\n"]),
            ("Fa\r\r\n", &["a\r\r\n"]),
            ("Fa\n\n\n\nFb", &["a\n\n\n", "b"]),
        ] {
            assert_eq!(
                bodies(&mbox.replace('F', FROM), Options::default()),
                expected,
                "{mbox:?}"
            );
        }
    }

    #[test]
    fn the_mark_of_our_sink_takes_one_newline_more() {
        for (body, expected) in [
            ("a\n\n", "a"),
            ("a\r\n\n", "a\r"),
            ("\r\n\n", "\r"),
            ("a\r\n\r\n", "a"),
            ("a\r\r\n\r\n", "a\r"),
            ("a\n", "a"),
            ("a", "a"),
            ("", ""),
        ] {
            let mark = FROM.replace("a@b", from_line::NO_FINAL_NEWLINE);
            assert_eq!(
                bodies(&(mark + body), Options::default()),
                [expected],
                "{body:?}"
            );
        }
    }

    #[test]
    fn only_lines_with_a_date_separate() {
        let mbox = format!("{FROM}a\n\nFrom here on\n\nFrom - \n{FROM}b\n");
        assert_eq!(
            bodies(&mbox, Options::default()),
            ["a\n\nFrom here on\n\nFrom - \n", "b\n"]
        );
    }

    #[test]
    fn quoting_is_undone_as_asked() {
        let lines = ">From a\n>>From b\n>>>From c\n> From d\n>from e\nx >From f\n";
        let mbox = format!("{FROM}{lines}");
        let body = |quoting| {
            bodies(
                &mbox,
                Options {
                    quoting,
                    ..Options::default()
                },
            )
            .concat()
        };
        assert_eq!(
            body(Quoting::Rd),
            lines.replace(">From", "From").replace("x From", "x >From")
        );
        assert_eq!(body(Quoting::O), lines.replacen(">From", "From", 1));
        assert_eq!(body(Quoting::None), lines);
    }

    #[test]
    fn what_is_not_an_mbox_says_so() {
        for start in [
            "Subject: x\n",
            "\n",
            "From - \n",
            ">From a@b Thu Jan  1 00:00:00 2004\n",
        ] {
            let input: Input = Box::new(io::Cursor::new(start.as_bytes().to_vec()));
            let error = Reader::new(input, Path::new("m"), Options::default())
                .err()
                .unwrap();
            assert!(matches!(error, SourceError::NotMbox { .. }), "{start:?}");
        }
        assert_eq!(reader(b"", Options::default()).count(), 0);
    }

    #[test]
    fn blank_lines_before_the_first_message_are_skipped() {
        let mbox = format!("\n \t\r\n\n{FROM}a\n");
        let found: Vec<_> = reader(mbox.as_bytes(), Options::default())
            .flatten()
            .collect();
        assert_eq!(found.len(), 1);
        assert_eq!(
            (&found[0].raw[..], found[0].origin.offset),
            (&b"a\n"[..], 6)
        );
        let most = "\n".repeat(from_line::LEN_MAX) + FROM;
        assert_eq!(reader(most.as_bytes(), Options::default()).count(), 1);
        let endless = Box::new(io::repeat(b'\n').take(1 << 20));
        let error = Reader::new(endless, Path::new("m"), Options::default()).err();
        assert!(matches!(error, Some(SourceError::NotMbox { .. })));
    }

    #[test]
    fn dates_and_offsets() {
        let second = "From a@b Wed Dec 31 19:00:00 2003 -0500\n";
        let mbox = format!("{FROM}a\n\n{second}b\n");
        let found: Vec<Found> = reader(mbox.as_bytes(), Options::default())
            .collect::<Result<_, _>>()
            .unwrap();
        assert_eq!(found[0].received, Some((1_072_915_200, 0)));
        assert_eq!(found[1].received, Some((1_072_915_200, -300)));
        assert_eq!(found[0].origin.offset, 0);
        assert_eq!(found[1].origin.offset, FROM.len() as u64 + 3);
    }

    /// What a reader gives for bodies "a\n", `body`, "c\n" when messages have at most 10 bytes.
    fn limited(from: &str, body: &str) -> Vec<Result<Vec<u8>, (u64, u64)>> {
        let mbox = format!("{FROM}a\n\n{from}{body}\n\n{FROM}c\n\n");
        let options = Options {
            message_max: 10,
            ..Options::default()
        };
        reader(mbox.as_bytes(), options)
            .map(|item| match item {
                Ok(found) => Ok(found.raw),
                Err(SourceError::TooLarge {
                    offset,
                    found,
                    message_max: 10,
                    ..
                }) => Err((offset, found)),
                Err(error) => panic!("{error}"),
            })
            .collect()
    }

    #[test]
    fn a_message_over_the_limit_is_skipped() {
        let offset = FROM.len() as u64 + 3;
        let middle = |body: &str| {
            let items = limited(FROM, body);
            assert_eq!(items.len(), 3, "{body:?}");
            assert_eq!(
                (&items[0], &items[2]),
                (&Ok(b"a\n".to_vec()), &Ok(b"c\n".to_vec()))
            );
            items[1].clone()
        };
        assert_eq!(middle("123456789"), Ok(b"123456789\n".to_vec()));
        assert_eq!(middle("1234\n6789"), Ok(b"1234\n6789\n".to_vec()));
        // Quoting does not count.
        assert_eq!(middle(">From 789"), Ok(b"From 789\n".to_vec()));
        for len in [
            10,
            11,
            12,
            13,
            14,
            4096,
            4097,
            4109,
            4110,
            4111,
            4112,
            9000,
            1 << 20,
        ] {
            let (found_offset, found) = middle(&"x".repeat(len)).unwrap_err();
            assert_eq!(found_offset, offset, "{len}");
            assert!(
                found > len as u64 && found <= len as u64 + 2,
                "{len}: {found}"
            );
            // The same in short lines, and with a long line that only starts as a separator.
            middle(&"x\n".repeat(len)).unwrap_err();
            middle(&format!(
                "1234567890\n\n\n\n{}{}",
                FROM.trim_end(),
                "x".repeat(5000)
            ))
            .unwrap_err();
        }
        assert_eq!(
            limited(
                &FROM.replace("a@b", from_line::NO_FINAL_NEWLINE),
                "1234567890"
            )[1],
            Ok(b"1234567890".to_vec())
        );
    }

    #[test]
    fn the_buffer_stays_small() {
        let options = Options {
            message_max: 1000,
            ..Options::default()
        };
        let input = Box::new(FROM.as_bytes().chain(io::repeat(b'x').take(64 << 20)));
        let mut reader = Reader::new(input, Path::new("m"), options).unwrap();
        let mut raw = Vec::new();
        assert!(matches!(reader.body(&mut raw), Ok(Body::Over)));
        assert!(raw.capacity() < 16 << 10, "{}", raw.capacity());
        assert_eq!(reader.offset, FROM.len() as u64 + (64 << 20));
    }

    #[test]
    fn a_failing_input_ends_the_iteration_with_an_error() {
        struct Fails;
        impl Read for Fails {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("gone"))
            }
        }
        let start = format!("{FROM}a\n\n{FROM}b\n");
        let input = Box::new(io::Cursor::new(start.into_bytes()).chain(Fails));
        let mut reader = Reader::new(input, Path::new("m"), Options::default()).unwrap();
        assert_eq!(reader.next().unwrap().unwrap().raw, b"a\n");
        assert!(matches!(
            reader.next(),
            Some(Err(SourceError::Io { offset: 37, .. }))
        ));
        assert!(reader.next().is_none());
    }
}
