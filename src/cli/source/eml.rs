//! Files that are an mbox or one message, and which files of a folder are mail.
//!
//! A file named on its own is always mail, and so is every file of a folder that is said to hold
//! single messages ([`Format::Eml`]). Any other file met in a folder is mail when
//!
//! - its name ends in `.eml` (also before `.zst` or `.gz`), in any case; or
//! - it starts, decompressed, with a From_ line that has a date; or
//! - it starts as messages do: its first line is a header field (after a byte order mark or a From_
//!   line without a date, if any) and one of the fields in its first 8 KiB, before the first empty
//!   line, has a name that mail has ([`USUAL`]).
//!
//! The name alone decides nothing else: text, notes and source code lie in such folders too, and
//! mail lies there as `.txt`, `.msg` or with no extension at all.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::compress::{self, Input};
use super::mbox::Reader;
use super::{Format, Found, Options, Origin, SourceError, check_len, from_line, read_message};

/// Bytes looked at to tell what a file is.
const LOOK_LEN: usize = 2 * from_line::LEN_MAX;

/// Fields of which every message has one, in lower case.
const USUAL: [&[u8]; 12] = [
    b"received",
    b"return-path",
    b"delivered-to",
    b"message-id",
    b"mime-version",
    b"content-type",
    b"date",
    b"from",
    b"to",
    b"cc",
    b"sender",
    b"subject",
];

/// A file that was opened.
pub(super) enum Opened {
    /// One message.
    Message(Found),
    /// An mbox.
    Mbox(Box<Reader>),
    /// A file of a folder that is no mail of the format.
    Nothing,
}

/// Opens a file as a folder's walk meets it, or as it was named.
///
/// # Errors
///
/// `Io`, `NotMbox` when the format asks for an mbox, `TooLarge` for a single message.
pub(super) fn open(
    path: &Path,
    is_named: bool,
    options: Options,
    read_bytes: &Arc<AtomicU64>,
) -> Result<Opened, SourceError> {
    let file = File::open(path).map_err(SourceError::io("open", path, 0))?;
    let file_len = file
        .metadata()
        .map_err(SourceError::io("read", path, 0))?
        .len();
    read(counted(file, read_bytes), file_len, path, is_named, options)
}

/// Opens standard input, which is an mbox.
///
/// # Errors
///
/// `Io`, `NotMbox`.
pub(super) fn open_stdin(
    options: Options,
    read_bytes: &Arc<AtomicU64>,
) -> Result<Opened, SourceError> {
    let options = Options {
        format: Format::Mbox,
        ..options
    };
    read(
        counted(io::stdin(), read_bytes),
        0,
        Path::new("-"),
        true,
        options,
    )
}

/// Adds the bytes that are read to `read_bytes`.
struct Counted<R> {
    inner: R,
    read_bytes: Arc<AtomicU64>,
}

fn counted(inner: impl Read + Send + 'static, read_bytes: &Arc<AtomicU64>) -> Input {
    let read_bytes = Arc::clone(read_bytes);
    Box::new(Counted { inner, read_bytes })
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.inner.read(buffer)?;
        self.read_bytes.fetch_add(len as u64, Ordering::Relaxed);
        Ok(len)
    }
}

/// Tells what `input` is. `file_len` is its length before decompression, or 0 where it has none.
fn read(
    input: Input,
    file_len: u64,
    path: &Path,
    is_named: bool,
    options: Options,
) -> Result<Opened, SourceError> {
    let (input, is_compressed) = decompressed(input, path, options)?;
    let (start, input) =
        compress::peek(input, LOOK_LEN).map_err(SourceError::io("read", path, 0))?;
    let is_mbox = from_line::starts_mbox(&start);
    let is_eml = is_eml_name(path);
    let opens_as_mbox = match options.format {
        Format::Mbox => is_named || is_mbox,
        Format::Auto => is_mbox || (start.is_empty() && !is_eml),
        Format::Eml => false,
    };
    if opens_as_mbox {
        return Ok(Opened::Mbox(Box::new(Reader::new(input, path, options)?)));
    }
    let is_message = match options.format {
        Format::Mbox => false,
        Format::Auto => is_named || is_eml || looks_like_mail(&start),
        Format::Eml => true,
    };
    if !is_message {
        return Ok(Opened::Nothing);
    }
    if !is_compressed {
        // Before reading: a message that is over the limit costs no memory.
        check_len(file_len, path, 0, options)?;
    }
    let raw = read_message(input, path, options)?;
    Ok(Opened::Message(Found {
        raw,
        received: None,
        flags: Vec::new(),
        folder: Vec::new(),
        origin: Origin {
            path: path.to_path_buf(),
            offset: 0,
        },
    }))
}

/// The data of a file that may be compressed, and whether it is.
fn decompressed(input: Input, path: &Path, options: Options) -> Result<(Input, bool), SourceError> {
    let (magic, input) = compress::peek(input, 4).map_err(SourceError::io("read", path, 0))?;
    let may_be = options.format != Format::Eml || without_compression(path) != path;
    match compress::detect(&magic).filter(|_| may_be) {
        Some(compression) => {
            let plain = compress::decode(input, compression).map_err(SourceError::io(
                "decompress",
                path,
                0,
            ))?;
            Ok((plain, true))
        }
        None => Ok((input, false)),
    }
}

/// The path less `.zst` or `.gz`.
fn without_compression(path: &Path) -> &Path {
    let is = |extension| {
        path.extension()
            .is_some_and(|found| found.eq_ignore_ascii_case(extension))
    };
    match path.file_stem() {
        Some(stem) if is("zst") || is("gz") => Path::new(stem),
        _ => path,
    }
}

/// Whether the name is that of a single message.
fn is_eml_name(path: &Path) -> bool {
    without_compression(path)
        .extension()
        .is_some_and(|found| found.eq_ignore_ascii_case("eml"))
}

/// Whether the first bytes of a file are the header of a message.
fn looks_like_mail(start: &[u8]) -> bool {
    let start = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start);
    // CR alone ends lines too: mail of old Macs lies around as files.
    let mut lines = start.split(|byte| matches!(byte, b'\r' | b'\n')).peekable();
    lines.next_if(|line| line.starts_with(b"From "));
    if start.starts_with(b"From ") {
        lines.next_if(|line| line.is_empty());
    }
    if lines.peek().and_then(|line| field_name(line)).is_none() {
        return false;
    }
    let mut empty_count = 0;
    lines
        .take_while(|line| {
            // CRLF makes an empty piece after each line: two in a row end the header.
            empty_count = if line.is_empty() { empty_count + 1 } else { 0 };
            empty_count < 2
        })
        .filter_map(field_name)
        .any(|name| USUAL.iter().any(|usual| name.eq_ignore_ascii_case(usual)))
}

/// The name of a header field: printable ASCII without space, then a colon (RFC 5322 section 3.6.8).
fn field_name(line: &[u8]) -> Option<&[u8]> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let name = line.get(..colon)?.trim_ascii_end();
    (!name.is_empty() && name.iter().all(u8::is_ascii_graphic)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_of_mail() {
        for start in [
            &b"Subject: x\n\nbody"[..],
            b"\xef\xbb\xbfFrom: a@b\r\n\r\nbody",
            b"X-Odd: 1\r\nX-More: 2\r\nto : a@b\r\n",
            b"X-Odd: 1\rDate: now\r\rbody",
            b"From someone\r\nReceived: by me\r\n",
            b"From someone\nReceived: by me\n",
        ] {
            assert!(looks_like_mail(start), "{}", start.escape_ascii());
        }
        for start in [
            &b""[..],
            b"\nSubject: x\n",
            b"This is a note\nSubject: x\n",
            b"name: build\non: push\n",
            b"note: x\n\n\nSubject: x\n",
            b"Dear all: hello\n",
            b": x\nSubject: x\n",
            b"fn main() {}\n",
            b"From here on\nall is text\n",
        ] {
            assert!(!looks_like_mail(start), "{}", start.escape_ascii());
        }
    }

    #[test]
    fn a_file_over_the_limit_is_not_read() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("huge.eml");
        // A hole: reading it would take as much memory as the limit allows.
        File::create(&path).unwrap().set_len(1 << 40).unwrap();
        let options = Options {
            message_max: 1 << 39,
            ..Options::default()
        };
        let read_bytes = Arc::default();
        let error = open(&path, true, options, &read_bytes).err().unwrap();
        assert_eq!(read_bytes.load(Ordering::Relaxed), LOOK_LEN as u64);
        assert!(matches!(
            error,
            SourceError::TooLarge {
                found: 0x100_0000_0000,
                ..
            }
        ));
    }

    #[test]
    fn names_of_single_messages() {
        for name in ["a.eml", "a.EML", "a.eml.zst", "a.b.eml.GZ"] {
            assert!(is_eml_name(Path::new(name)), "{name}");
        }
        for name in ["a", "eml", ".eml", "a.eml.xz", "a.eml.zst.gz", "a.eml.txt"] {
            assert!(!is_eml_name(Path::new(name)), "{name}");
        }
    }
}
