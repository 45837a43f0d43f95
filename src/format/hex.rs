//! Bytes for people.

use std::fmt::Write as _;

/// Bytes as FORMAT.md shows them: offset, 16 bytes a line, a run of lines of zeroes as one `*`.
///
/// ```
/// let mut bytes = vec![0; 64];
/// bytes[1] = 0xab;
/// bytes[63] = 1;
/// assert_eq!(mailkeep::format::hexdump(&bytes), "
/// 0000  00 ab 00 00 00 00 00 00  00 00 00 00 00 00 00 00
/// *
/// 0030  00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 01
/// ");
/// ```
#[must_use]
pub fn hexdump(bytes: &[u8]) -> String {
    let mut text = String::from("\n");
    let mut skipping = false;
    for (number, line) in bytes.chunks(16).enumerate() {
        if line.iter().all(|byte| *byte == 0) {
            if !skipping {
                text.push_str("*\n");
            }
            skipping = true;
            continue;
        }
        skipping = false;
        // Writing to a String cannot fail.
        let _ = write!(text, "{:04x} ", number * 16);
        for (at, byte) in line.iter().enumerate() {
            let gap = if at == 8 { "  " } else { " " };
            let _ = write!(text, "{gap}{byte:02x}");
        }
        text.push('\n');
    }
    text
}
