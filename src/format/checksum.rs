//! The checksum used throughout: CRC-32C (Castagnoli). FORMAT.md section 3. The one place that names what computes it.
//!
//! `crc32c` computes what is short; `crc-fast` what is long, where it is more than twice as fast. It chooses among instructions that
//! few processors have, and a checksum that is wrong on one of them would be written into the store: before it is used it
//! has to agree with `crc32c` in this process, on this processor.

use std::sync::OnceLock;

use crc_fast::{CrcAlgorithm, Digest};

/// From so many bytes on `crc-fast` is faster.
const LONG: usize = 512;

/// CRC-32C of `bytes`, continued from `seed`: that of what comes before them, or 0.
///
/// # Cost
/// No allocation. A sector of 512 bytes in some 20 ns, long runs at more than 50 GB/s on a processor with AVX-512.
///
/// # Examples
/// ```
/// use mailkeep::format::checksum;
/// assert_eq!(checksum(0, b"123456789"), 0xe306_9283);
/// assert_eq!(checksum(checksum(0, b"1234"), b"56789"), 0xe306_9283);
/// ```
#[must_use]
pub fn checksum(seed: u32, bytes: &[u8]) -> u32 {
    static AGREES: OnceLock<bool> = OnceLock::new();
    if bytes.len() >= LONG && *AGREES.get_or_init(|| agrees(long)) {
        long(seed, bytes)
    } else {
        crc32c::crc32c_append(seed, bytes)
    }
}

fn long(seed: u32, bytes: &[u8]) -> u32 {
    let mut digest = Digest::new_with_init_state(CrcAlgorithm::Crc32Iscsi, u64::from(!seed));
    digest.update(bytes);
    // Of the 64 bits these are all that this algorithm has.
    digest.finalize() as u32
}

/// Whether `other` computes what `crc32c` does: for all lengths in which its steps could end, from all places in a line of memory.
fn agrees(other: fn(u32, &[u8]) -> u32) -> bool {
    const LINE: usize = 64;
    let bytes: Vec<u8> = (0..4096 + 2 * LINE as u32)
        .map(|n| (n.wrapping_mul(0x9e37_79b9) >> 24) as u8)
        .collect();
    let lengths = (LONG..LONG + 2 * LINE).chain([1024, 4095, 4096, 4096 + LINE]);
    lengths.enumerate().all(|(nth, len)| {
        let part = bytes.get(nth % LINE..).and_then(|part| part.get(..len));
        part.is_none_or(|part| {
            let seed = (nth as u32).wrapping_mul(0x85eb_ca6b);
            other(seed, part) == crc32c::crc32c_append(seed, part)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the two give the same for every length around the bounds, wherever the bytes lie, whatever they continue.
    #[test]
    fn both_compute_the_same() {
        assert!(agrees(long), "crc-fast is not used here");
        let bytes: Vec<u8> = (0..70_000_u32)
            .map(|n| (n.wrapping_mul(n) >> 7) as u8)
            .collect();
        let lengths = (0..1500).chain([4096, 65_535, 65_536, 69_000]);
        for len in lengths {
            for (seed, at) in [(0, 0), (1, 13), (u32::MAX, 64), (0x8000_0000, 127)] {
                let part = &bytes[at..at + len];
                let expected = crc32c::crc32c_append(seed, part);
                assert_eq!(long(seed, part), expected, "{len} bytes at {at}");
                assert_eq!(checksum(seed, part), expected, "{len} bytes at {at}");
                let (front, back) = part.split_at(len / 3);
                assert_eq!(checksum(checksum(seed, front), back), expected);
            }
        }
    }

    /// Goal: one that is wrong for some lengths only, or for what it continues, is found out.
    #[test]
    fn one_that_is_wrong_is_not_used() {
        use crc32c::crc32c_append as right;
        let wrong: [fn(u32, &[u8]) -> u32; 3] = [
            |seed, bytes| right(seed, bytes) ^ u32::from(bytes.len() == 577),
            |seed, bytes| right(seed, bytes) ^ u32::from(bytes.len() > 4096),
            |_, bytes| right(0, bytes),
        ];
        assert!(agrees(right));
        assert!(wrong.into_iter().all(|wrong| !agrees(wrong)));
    }
}
