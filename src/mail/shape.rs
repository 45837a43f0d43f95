//! What the raw bytes of a message are like: how large on the wire, and what a server must know before it sends them.

use bytes::Bytes;

/// Which line ends a message has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LineEnds {
    /// No LF at all.
    None,
    /// LF without CR before it.
    Lf,
    /// CR and LF.
    CrLf,
    /// Some of either.
    Mixed,
}

/// The shape of a message's raw bytes.
///
/// ```
/// use mailkeep::mail::{LineEnds, Shape};
///
/// let shape = Shape::of(b"Subject: hi\n\nhello\n");
/// assert_eq!(shape.line_ends(), LineEnds::Lf);
/// assert_eq!(shape.wire_size(), 19 + 3);
/// assert_eq!(Shape::from_parts(shape.wire_size(), shape.bits()), Some(shape));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    wire_size: u64,
    bits: u16,
}

impl Shape {
    /// The most bytes of a line, its end not counted (RFC 5322, 2.1.1).
    pub const LINE_LEN_MAX: usize = 998;

    const LINE_ENDS: u16 = 3;
    const NUL: u16 = 4;
    const EIGHT_BIT: u16 = 8;
    const LONG_LINES: u16 = 16;
    const BARE_CR: u16 = 32;
    const KNOWN: u16 = 63;

    /// Looks at every byte once.
    ///
    /// # Cost
    /// A few vector instructions for 16 bytes; lines are looked at one by one only where they are long.
    #[must_use]
    pub fn of(raw: &[u8]) -> Self {
        let mut tally = Tally::default();
        let mut rest = raw;
        let mut start = 0;
        while !rest.is_empty() {
            match rest.first_chunk() {
                Some(block) => tally.add(block),
                None => tally.add(&padded(rest)),
            }
            start += BLOCK;
            if tally.open_blocks == OPEN_BLOCKS {
                tally.long |= is_long(raw, start - OPEN_BLOCKS * BLOCK);
            }
            rest = raw.get(start..).unwrap_or_default();
        }
        tally.shape(raw.len())
    }

    /// The shape with this wire size in bytes and these [`bits`](Self::bits), or `None` where a bit has no meaning.
    #[must_use]
    pub const fn from_parts(wire_size: u64, bits: u16) -> Option<Self> {
        if bits & !Self::KNOWN == 0 {
            Some(Self { wire_size, bits })
        } else {
            None
        }
    }

    /// Everything but the size, as bits that never change their meaning: 0 and 1 are the line ends (none, LF, CRLF,
    /// mixed), 2 is NUL, 3 is 8-bit, 4 is long lines, 5 is bare CR.
    #[must_use]
    pub const fn bits(self) -> u16 {
        self.bits
    }

    /// Size in bytes with each bare LF sent as CRLF: IMAP's RFC822.SIZE, and what quotas count.
    #[must_use]
    pub const fn wire_size(self) -> u64 {
        self.wire_size
    }

    /// Which line ends there are.
    #[must_use]
    pub const fn line_ends(self) -> LineEnds {
        match self.bits & Self::LINE_ENDS {
            0 => LineEnds::None,
            1 => LineEnds::Lf,
            2 => LineEnds::CrLf,
            _ => LineEnds::Mixed,
        }
    }

    /// Whether a byte is 0, which IMAP can only send as a binary literal.
    #[must_use]
    pub const fn nul(self) -> bool {
        self.bits & Self::NUL != 0
    }

    /// Whether a byte is above 127.
    #[must_use]
    pub const fn eight_bit(self) -> bool {
        self.bits & Self::EIGHT_BIT != 0
    }

    /// Whether a line is longer than [`LINE_LEN_MAX`](Self::LINE_LEN_MAX).
    #[must_use]
    pub const fn long_lines(self) -> bool {
        self.bits & Self::LONG_LINES != 0
    }

    /// Whether a CR stands without LF after it.
    #[must_use]
    pub const fn bare_cr(self) -> bool {
        self.bits & Self::BARE_CR != 0
    }
}

/// The message with each bare LF as CRLF, which is what goes over the wire.
///
/// # Cost
/// No copy where every line end is CRLF already, else one of [`Shape::wire_size`] bytes.
///
/// ```
/// use bytes::Bytes;
/// use mailkeep::mail::crlf;
///
/// assert_eq!(crlf(&Bytes::from_static(b"a\nb\r\n\n")), "a\r\nb\r\n\r\n");
/// ```
#[must_use]
pub fn crlf(raw: &Bytes) -> Bytes {
    let wire_size = usize::try_from(Shape::of(raw).wire_size).unwrap_or(raw.len());
    if wire_size == raw.len() {
        return raw.clone();
    }
    let mut wire = Vec::with_capacity(wire_size);
    for line in raw.split_inclusive(|byte| *byte == b'\n') {
        match line.strip_suffix(b"\n") {
            Some(text) if text.last() != Some(&b'\r') => {
                wire.extend_from_slice(text);
                wire.extend_from_slice(b"\r\n");
            }
            _ => wire.extend_from_slice(line),
        }
    }
    wire.into()
}

/// How many bytes are counted at once: few enough for 8-bit counters, which is what fills a vector best.
const BLOCK: usize = 192;

/// A line over the limit fills at least this many blocks, however much of it lies in the block where it begins.
const OPEN_BLOCKS: usize = (Shape::LINE_LEN_MAX + 1 - (BLOCK - 1)) / BLOCK;

const _: () = assert!(BLOCK <= u8::MAX as usize && OPEN_BLOCKS >= 2);

/// What is known of the bytes so far.
#[derive(Default)]
struct Tally {
    lf: u64,
    crlf: u64,
    cr: u64,
    nul: bool,
    high: bool,
    long: bool,
    /// How many blocks in a row, up to the last one, hold no LF.
    open_blocks: usize,
}

impl Tally {
    /// Counts the first [`BLOCK`] bytes; the one after them only tells whether a CR in the last place has its LF.
    #[inline]
    fn add(&mut self, block: &[u8; BLOCK + 1]) {
        let (mut lf, mut crlf, mut cr, mut nul, mut any) = (0_u8, 0_u8, 0_u8, 0_u8, 0_u8);
        let next = block.split_first().map_or(&[][..], |(_, next)| next);
        for (byte, next) in block.iter().zip(next) {
            lf += u8::from(*byte == b'\n');
            cr += u8::from(*byte == b'\r');
            crlf += u8::from((*byte == b'\r') & (*next == b'\n'));
            nul |= u8::from(*byte == 0);
            any |= *byte;
        }
        self.lf += u64::from(lf);
        self.cr += u64::from(cr);
        self.crlf += u64::from(crlf);
        self.nul |= nul != 0;
        self.high |= any >= 0x80;
        self.open_blocks = if lf == 0 { self.open_blocks + 1 } else { 0 };
    }

    /// The shape of a message of `len` bytes that has been counted.
    fn shape(&self, len: usize) -> Shape {
        let bare_lf = self.lf - self.crlf;
        let bit = |set: bool, bit: u16| if set { bit } else { 0 };
        let bits = bit(bare_lf > 0, 1)
            | bit(self.crlf > 0, 2)
            | bit(self.nul, Shape::NUL)
            | bit(self.high, Shape::EIGHT_BIT)
            | bit(self.long, Shape::LONG_LINES)
            | bit(self.cr > self.crlf, Shape::BARE_CR);
        Shape {
            wire_size: len as u64 + bare_lf,
            bits,
        }
    }
}

/// The end of a message as a block, filled up with a byte that counts as nothing.
#[cold]
fn padded(tail: &[u8]) -> [u8; BLOCK + 1] {
    let mut block = [b' '; BLOCK + 1];
    block
        .iter_mut()
        .zip(tail)
        .for_each(|(to, from)| *to = *from);
    block
}

/// Whether the line is too long that fills the block at `open_start`, the first one in a row without an LF.
#[cold]
fn is_long(raw: &[u8], open_start: usize) -> bool {
    let before = raw
        .get(open_start.saturating_sub(BLOCK)..open_start)
        .unwrap_or_default();
    let begun = before
        .iter()
        .rev()
        .take_while(|byte| **byte != b'\n')
        .count();
    let line = raw.get(open_start - begun..).unwrap_or_default();
    // The longest line that is allowed has its LF among the first 1000 bytes.
    let line = line.get(..Shape::LINE_LEN_MAX + 2).unwrap_or(line);
    let len = match line.iter().position(|byte| *byte == b'\n') {
        Some(lf) => lf - usize::from(line.get(..lf).is_some_and(|text| text.ends_with(b"\r"))),
        None => line.len(),
    };
    len > Shape::LINE_LEN_MAX
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The same, one byte and one line after the other.
    fn plain(raw: &[u8]) -> Shape {
        let pairs = raw.windows(2).filter(|pair| pair == b"\r\n").count();
        let count = |wanted| raw.iter().filter(|byte| **byte == wanted).count();
        let lines = raw.split_inclusive(|byte| *byte == b'\n');
        let text = lines.map(|line| {
            line.strip_suffix(b"\r\n")
                .or(line.strip_suffix(b"\n"))
                .unwrap_or(line)
        });
        let bare = count(b'\n') - pairs;
        let bits = [
            bare > 0,
            pairs > 0,
            count(0) > 0,
            !raw.is_ascii(),
            text.into_iter().any(|text| text.len() > 998),
            count(b'\r') > pairs,
        ];
        let bits = bits
            .iter()
            .rev()
            .fold(0, |bits, bit| bits << 1 | u16::from(*bit));
        Shape {
            wire_size: (raw.len() + bare) as u64,
            bits,
        }
    }

    /// Goal: each property is seen alone.
    #[test]
    fn properties() {
        assert_eq!(Shape::of(b"").line_ends(), LineEnds::None);
        assert_eq!(Shape::of(b"a\r\n").line_ends(), LineEnds::CrLf);
        assert_eq!(Shape::of(b"a\r\nb\n").line_ends(), LineEnds::Mixed);
        assert_eq!(Shape::of(b"\n").line_ends(), LineEnds::Lf);
        assert!(Shape::of(b"\0").nul() && !Shape::of(b"1").nul());
        assert!(Shape::of(b"\x80").eight_bit() && !Shape::of(b"\x7f").eight_bit());
        assert!(
            Shape::of(b"\r").bare_cr()
                && Shape::of(b"\r\r\n").bare_cr()
                && !Shape::of(b"\r\n").bare_cr()
        );
    }

    /// Goal: 998 bytes are a line, 999 are too many, wherever the line begins and however it ends.
    #[test]
    fn long_lines() {
        for offset in 0..2 * BLOCK {
            for end in [&b""[..], b"\n", b"\r\n", b"\r", b"\n\r\n", b"\r\nx\n"] {
                for len in [190, 997, 998, 999, 1000] {
                    let mut raw = vec![b'.'; offset];
                    raw.extend_from_slice(if offset == 0 { b"" } else { b"\n" });
                    raw.extend(vec![b'x'; len]);
                    raw.extend_from_slice(end);
                    assert_eq!(Shape::of(&raw), plain(&raw), "{offset} {end:?} {len}");
                }
            }
        }
    }

    /// Goal: a long line after lines that are nearly too long is found.
    #[test]
    fn long_line_behind_others() {
        let mut raw = b"x".repeat(998);
        raw.extend_from_slice(b"\r\n");
        let mut raw = raw.repeat(9);
        assert!(!Shape::of(&raw).long_lines());
        raw.extend(vec![b'x'; 999]);
        assert!(Shape::of(&raw).long_lines());
    }

    /// Goal: only bits with a meaning are taken.
    #[test]
    fn unknown_bits_are_refused() {
        assert!(Shape::from_parts(1, 63).is_some());
        for bit in 6..16 {
            assert_eq!(Shape::from_parts(1, 1 << bit), None);
        }
    }

    /// Goal: what has CRLF already is not copied.
    #[test]
    fn crlf_copies_only_when_needed() {
        let raw = Bytes::from_static(b"a\r\nb\r");
        assert_eq!(crlf(&raw).as_ptr(), raw.as_ptr());
        assert_eq!(crlf(&Bytes::from_static(b"\n\r\r\n\nx")), "\r\n\r\r\n\r\nx");
    }

    proptest! {
        /// Goal: counting by blocks agrees with counting by bytes, and the wire size is the size of the CRLF view.
        #[test]
        fn agrees_with_plain_counting(
            parts in prop::collection::vec((prop::sample::select(&b"\r\n\0\xffax"[..]), 0_usize..600), 0..12),
        ) {
            let raw: Vec<u8> = parts.iter().flat_map(|(byte, count)| {
                let count = if byte.is_ascii_alphabetic() { *count } else { count % 3 };
                vec![*byte; count]
            }).collect();
            let shape = Shape::of(&raw);
            prop_assert_eq!(shape, plain(&raw));
            prop_assert_eq!(crlf(&raw.into()).len() as u64, shape.wire_size());
        }
    }
}
