//! A blocked Bloom filter over the keys' first halves: whether a run may hold a name, for one page read.
//!
//! All bits of a key lie in one block of 64 bytes (Putze, Sanders and Singler, "Cache-, Hash- and Space-Efficient Bloom
//! Filters", 2007), so of a cold filter only the page with that block is read. With 10 bits for a key, about one miss
//! in a hundred is not seen.

use super::page::CONTENT;

/// Bytes of a block.
const BLOCK: usize = 64;
/// Blocks in a page.
const IN_PAGE: u32 = (CONTENT / BLOCK) as u32;
/// Bits set for a key.
const PROBES: u32 = 7;
/// Bits of the filter for a key.
const BITS_FOR_KEY: u64 = 10;

/// A filter under construction.
#[derive(Debug)]
pub(super) struct Filter {
    blocks: Vec<[u8; BLOCK]>,
}

impl Filter {
    /// A filter for about so many keys: more of them make it see fewer misses, nothing worse.
    pub(super) fn sized(keys: u64) -> Self {
        let blocks = keys.saturating_mul(BITS_FOR_KEY).div_ceil(BLOCK as u64 * 8);
        // The bound keeps a block's number in 32 bits; it is reached at 200 billion keys.
        let blocks = blocks.clamp(1, u32::MAX.into());
        Self {
            blocks: vec![[0; BLOCK]; usize::try_from(blocks).unwrap_or(usize::MAX)],
        }
    }

    pub(super) fn block_count(&self) -> u32 {
        u32::try_from(self.blocks.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn insert(&mut self, prefix: [u8; 8]) {
        let hash = Hash::of(prefix);
        let at = hash.block(self.block_count()) as usize;
        if let Some(block) = self.blocks.get_mut(at) {
            for (byte, mask) in hash.bits() {
                if let Some(byte) = block.get_mut(byte) {
                    *byte |= mask;
                }
            }
        }
    }

    /// The contents of its pages.
    pub(super) fn pages(&self) -> impl Iterator<Item = Vec<u8>> {
        let chunks = self.blocks.chunks(IN_PAGE as usize);
        chunks.map(|blocks| blocks.concat())
    }
}

/// How many pages so many blocks take.
pub(super) fn page_count(blocks: u32) -> u32 {
    blocks.div_ceil(IN_PAGE)
}

/// Which page of a filter of so many blocks, from 0, tells of the key.
pub(super) fn page_of(prefix: [u8; 8], blocks: u32) -> u32 {
    Hash::of(prefix).block(blocks) / IN_PAGE
}

/// Whether a key of that first half may be in the run, by the content of its [`page_of`].
pub(super) fn may_hold(prefix: [u8; 8], blocks: u32, page: &[u8]) -> bool {
    let hash = Hash::of(prefix);
    let start = (hash.block(blocks) % IN_PAGE) as usize * BLOCK;
    let block = page.get(start..).unwrap_or_default();
    hash.bits()
        .all(|(byte, mask)| block.get(byte).is_some_and(|byte| byte & mask != 0))
}

/// Two independent numbers of a key: which block, and which bits in it.
#[derive(Clone, Copy)]
struct Hash {
    place: u64,
    bits: u64,
}

impl Hash {
    fn of(prefix: [u8; 8]) -> Self {
        let place = mixed(u64::from_le_bytes(prefix));
        Self {
            place,
            bits: mixed(place),
        }
    }

    fn block(self, blocks: u32) -> u32 {
        // The upper half, scaled: below `blocks` without a division.
        let scaled = ((self.place >> 32) * u64::from(blocks)) >> 32;
        u32::try_from(scaled).unwrap_or(0)
    }

    /// Byte in the block and bit in the byte, for each probe.
    fn bits(self) -> impl Iterator<Item = (usize, u8)> {
        (0..PROBES).map(move |probe| {
            let bit = (self.bits >> (probe * 9)) & 511;
            ((bit >> 3) as usize, 1 << (bit & 7))
        })
    }
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood, 2014). Keys are digests already; ids of other origin may not be.
fn mixed(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u64) -> [u8; 8] {
        number.to_le_bytes()
    }

    fn finds(filter: &Filter, prefix: [u8; 8]) -> bool {
        let pages: Vec<Vec<u8>> = filter.pages().collect();
        let blocks = filter.block_count();
        assert_eq!(pages.len(), page_count(blocks) as usize);
        may_hold(prefix, blocks, &pages[page_of(prefix, blocks) as usize])
    }

    /// Goal: no key is ever missed, and few others pass, also where keys are plain counters.
    #[test]
    fn all_keys_are_found_and_few_others() {
        let mut filter = Filter::sized(10_000);
        (0..10_000).for_each(|number| filter.insert(key(number)));
        let pages: Vec<Vec<u8>> = filter.pages().collect();
        let blocks = filter.block_count();
        let passes = |prefix| may_hold(prefix, blocks, &pages[page_of(prefix, blocks) as usize]);
        assert!((0..10_000).all(|number| passes(key(number))));
        let wrong = (10_000..110_000)
            .filter(|number| passes(key(*number)))
            .count();
        assert!(wrong < 2_000, "{wrong} of 100000");
        assert!(pages.iter().map(Vec::len).sum::<usize>() <= 10_000 * 10 / 8 + BLOCK);
    }

    /// Goal: the smallest filter works, and one that gets more keys than it was told of stays right.
    #[test]
    fn sizes_at_the_edge() {
        let mut filter = Filter::sized(0);
        assert_eq!(filter.block_count(), 1);
        assert!(!finds(&filter, key(7)));
        (0..5_000).for_each(|number| filter.insert(key(number)));
        assert!((0..5_000).all(|number| finds(&filter, key(number))));
    }

    /// Goal: a page shorter than its blocks says no and does not panic.
    #[test]
    fn a_short_page_holds_nothing() {
        assert!(!may_hold(key(1), 1, &[]));
    }
}
