//! Compressed files, known by their first bytes.
//!
//! Both decoders stream and go on over joined frames (zstd) and members (gzip). What is compressed
//! twice is decompressed once.

use std::io::{self, Cursor, Read};

/// The largest zstd window that is accepted, as a power of two: 256 MiB. `zstd --long=27` stays
/// below it; `--long=31` would let a small file claim 2 GiB of memory.
const WINDOW_LOG_MAX: u32 = 28;

/// Something to read mail from.
pub(super) type Input = Box<dyn Read + Send>;

/// How data is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    /// Zstandard, RFC 8878.
    Zstd,
    /// Gzip, RFC 1952.
    Gzip,
}

/// Tells compression by the first bytes of a file.
pub(super) fn detect(start: &[u8]) -> Option<Compression> {
    match start {
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Compression::Zstd),
        // A skippable frame (RFC 8878 section 3.1.2), which some tools write first.
        [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Compression::Zstd),
        // Deflate is the only method there is.
        [0x1f, 0x8b, 0x08, ..] => Some(Compression::Gzip),
        _ => None,
    }
}

/// The decompressed data of `input`.
pub(super) fn decode(input: Input, compression: Compression) -> io::Result<Input> {
    Ok(match compression {
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::new(input)?;
            decoder.window_log_max(WINDOW_LOG_MAX)?;
            Box::new(decoder)
        }
        Compression::Gzip => Box::new(flate2::read::MultiGzDecoder::new(input)),
    })
}

/// Looks at the first `len` bytes (fewer at the end) and gives an input that still has them.
pub(super) fn peek(mut input: Input, len: usize) -> io::Result<(Vec<u8>, Input)> {
    let mut start = Vec::new();
    input.by_ref().take(len as u64).read_to_end(&mut start)?;
    let whole = Box::new(Cursor::new(start.clone()).chain(input));
    Ok((start, whole))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn zstd(data: &[u8]) -> Vec<u8> {
        zstd::encode_all(data, 3).unwrap()
    }

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn decoded(data: Vec<u8>) -> io::Result<Vec<u8>> {
        let compression = detect(&data).expect("compressed");
        let mut whole = Vec::new();
        decode(Box::new(Cursor::new(data)), compression)?.read_to_end(&mut whole)?;
        Ok(whole)
    }

    #[test]
    fn joined_frames_and_members_are_one() {
        assert_eq!(
            decoded([zstd(b"one "), zstd(b"two")].concat()).unwrap(),
            b"one two"
        );
        assert_eq!(
            decoded([gzip(b"one "), gzip(b"two")].concat()).unwrap(),
            b"one two"
        );
        let skippable = [0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 9];
        assert_eq!(
            decoded([&skippable[..], &zstd(b"two")].concat()).unwrap(),
            b"two"
        );
    }

    #[test]
    fn cut_data_is_an_error() {
        for mut data in [zstd(&[7; 1000]), gzip(&[7; 1000])] {
            data.truncate(data.len() - 5);
            decoded(data).unwrap_err();
        }
    }

    #[test]
    fn plain_data_is_plain() {
        for start in [
            &b""[..],
            b"From ",
            &[0x28, 0xb5, 0x2f],
            &[0x1f, 0x8b],
            &[0x1f, 0x8b, 7],
        ] {
            assert_eq!(detect(start), None);
        }
    }

    #[test]
    fn a_window_over_the_limit_is_refused() {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(WINDOW_LOG_MAX).unwrap();
        encoder.write_all(b"mail").unwrap();
        encoder.flush().unwrap();
        let mut data = encoder.finish().unwrap();
        assert_eq!(decoded(data.clone()).unwrap(), b"mail");
        // The window descriptor follows magic and frame header: exponent in the top five bits.
        data[5] += 1 << 3;
        assert!(
            decoded(data)
                .unwrap_err()
                .to_string()
                .contains("too much memory")
        );
    }

    #[test]
    fn peeking_takes_nothing() {
        let (start, mut whole) = peek(Box::new(&b"message"[..]), 3).unwrap();
        assert_eq!(start, b"mes");
        let mut all = String::new();
        whole.read_to_string(&mut all).unwrap();
        assert_eq!(all, "message");
    }
}
