//! What a device holds: what it shows, what it would still hold after a power cut, and the writes in between.
//!
//! A device with a volatile cache promises nothing about a write before a later flush has returned. After a power cut each
//! sector that was written since may be the new or the old one, whatever the order of the writes.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use crate::Dice;

/// What a device writes whole or not at all.
pub(crate) const SECTOR: usize = 512;
const PAGE: usize = 4096;

/// Bytes by pages; a page that is missing is zero. Clones share their pages.
#[derive(Clone, Default)]
struct Pages(BTreeMap<u64, Arc<[u8; PAGE]>>);

impl Pages {
    fn read(&self, offset: u64, out: &mut [u8]) {
        for (page, within, part) in pieces(offset, out.len()) {
            match self.0.get(&page) {
                Some(content) => {
                    let len = part.len();
                    out[part].copy_from_slice(&content[within..within + len]);
                }
                None => out[part].fill(0),
            }
        }
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) {
        for (page, within, part) in pieces(offset, bytes.len()) {
            let part = &bytes[part];
            if self.takes_nothing(page, part) {
                continue;
            }
            let content = self.0.entry(page).or_insert_with(|| Arc::new([0; PAGE]));
            Arc::make_mut(content)[within..within + part.len()].copy_from_slice(part);
        }
    }

    /// Zeroes onto a page that is missing.
    fn takes_nothing(&self, page: u64, part: &[u8]) -> bool {
        !self.0.contains_key(&page) && part.iter().all(|byte| *byte == 0)
    }
}

/// The pages that a range touches: the page's number, where in it, and which part of the range.
fn pieces(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset + done as u64;
        let within = (at % PAGE as u64) as usize;
        let end = len.min(done + PAGE - within);
        let part = done..end;
        done = end;
        (!part.is_empty()).then_some((at / PAGE as u64, within, part))
    })
}

/// The bytes of one device.
#[derive(Clone)]
pub(crate) struct Medium {
    len: u64,
    shown: Pages,
    durable: Pages,
    /// Since the last flush, in order.
    unsynced: Vec<(u64, Vec<u8>)>,
}

impl Medium {
    /// A device full of zeroes.
    pub(crate) fn new(len: u64) -> Self {
        Self {
            len,
            shown: Pages::default(),
            durable: Pages::default(),
            unsynced: Vec::new(),
        }
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Bytes that this write would take of a thin volume, in whole pages.
    pub(crate) fn fresh(&self, offset: u64, bytes: &[u8]) -> u64 {
        let pages = pieces(offset, bytes.len())
            .filter(|(page, _, part)| !self.shown.takes_nothing(*page, &bytes[part.clone()]));
        pages
            .filter(|(page, ..)| !self.shown.0.contains_key(page))
            .count() as u64
            * PAGE as u64
    }

    /// How many writes no flush has covered.
    pub(crate) fn unsynced(&self) -> usize {
        self.unsynced.len()
    }

    pub(crate) fn read(&self, offset: u64, out: &mut [u8]) {
        self.shown.read(offset, out);
    }

    pub(crate) fn write(&mut self, offset: u64, bytes: &[u8]) {
        self.shown.write(offset, bytes);
        self.unsynced.push((offset, bytes.to_vec()));
    }

    /// A flush: all that was written is durable.
    pub(crate) fn sync(&mut self) {
        for (offset, bytes) in self.unsynced.drain(..) {
            self.durable.write(offset, &bytes);
        }
    }

    /// What a power cut now leaves: the flushed bytes, and of the other writes the sectors that the seed chooses. None,
    /// all, a prefix that ends inside a write, or a mixture: real caches do any of these.
    pub(crate) fn crash(&self, seed: u64) -> Self {
        let mut dice = Dice(seed);
        let mut left = self.durable.clone();
        let count = self.unsynced.len() as u64;
        let (manner, stop) = (dice.below(8), dice.below(count + 1));
        for (at, (offset, bytes)) in self.unsynced.iter().enumerate() {
            let (keep, drop) = match manner {
                0 => (false, true),
                1 => (true, false),
                2 | 3 => ((at as u64) < stop, at as u64 > stop),
                _ => {
                    let kept = dice.below(3);
                    (kept == 0, kept == 1)
                }
            };
            for (sector, bytes) in bytes.chunks(SECTOR).enumerate() {
                if keep || (!drop && dice.coin()) {
                    left.write(offset + (sector * SECTOR) as u64, bytes);
                }
            }
        }
        Self {
            len: self.len,
            shown: left.clone(),
            durable: left,
            unsynced: Vec::new(),
        }
    }

    /// Damage: inverts the bits of `mask` in one byte, for ever.
    pub(crate) fn flip(&mut self, offset: u64, mask: u8) {
        for pages in [&mut self.shown, &mut self.durable] {
            let mut byte = [0];
            pages.read(offset, &mut byte);
            pages.write(offset, &[byte[0] ^ mask]);
        }
    }

    /// Where `bytes` are found, across pages that follow one another.
    pub(crate) fn find(&self, bytes: &[u8]) -> Vec<u64> {
        let mut found = Vec::new();
        for page in self.shown.0.keys() {
            let mut text = vec![0; PAGE + bytes.len() - 1];
            let start = page * PAGE as u64;
            self.shown.read(start, &mut text);
            found.extend(places(&text, bytes).map(|at| start + at as u64));
        }
        found
    }

    /// A device that holds what a file holds.
    pub(crate) fn load(path: &Path) -> io::Result<Self> {
        let mut file = std::fs::File::open(path)?;
        let mut medium = Self::new(file.metadata()?.len());
        let mut chunk = vec![0; 1 << 20];
        let mut offset = 0;
        loop {
            let len = io::Read::read(&mut file, &mut chunk)?;
            if len == 0 {
                medium.sync();
                return Ok(medium);
            }
            medium.write(offset, &chunk[..len]);
            offset += len as u64;
        }
    }

    /// Writes what it shows into a file, with holes.
    pub(crate) fn save(&self, path: &Path) -> io::Result<()> {
        use std::io::{Seek as _, SeekFrom};
        let mut file = std::fs::File::create(path)?;
        file.set_len(self.len)?;
        for (page, content) in &self.shown.0 {
            file.seek(SeekFrom::Start(page * PAGE as u64))?;
            file.write_all(&content[..])?;
        }
        Ok(())
    }
}

/// Where `wanted` is found in `text`.
pub(crate) fn places(text: &[u8], wanted: &[u8]) -> impl Iterator<Item = usize> {
    let first = wanted[0];
    let starts = text.iter().enumerate();
    starts
        .filter(move |(at, byte)| **byte == first && text[*at..].starts_with(wanted))
        .map(|(at, _)| at)
}

fn bytes_of(medium: &Medium, range: Range<u64>) -> Vec<u8> {
    let mut out = vec![0; (range.end - range.start) as usize];
    medium.read(range.start, &mut out);
    out
}

/// Goal: what was flushed survives every power cut; what was not survives in some, by sectors.
#[test]
fn a_power_cut_takes_only_what_was_not_flushed() {
    let mut medium = Medium::new(1 << 20);
    medium.write(100, &[1; 5000]);
    medium.sync();
    medium.write(4096, &[2; 8192]);
    assert_eq!(bytes_of(&medium, 4096..12_288), [2; 8192]);
    let (mut old, mut new, mut torn) = (0, 0, 0);
    for seed in 0..200 {
        let left = medium.crash(seed);
        assert_eq!(bytes_of(&left, 100..4096), [1; 3996]);
        let sectors = bytes_of(&left, 4096..12_288);
        let kept = sectors
            .chunks(SECTOR)
            .filter(|sector| **sector == [2; SECTOR])
            .count();
        for sector in sectors.chunks(SECTOR) {
            assert!(
                !sector.contains(&2) || *sector == [2; SECTOR],
                "half a sector"
            );
        }
        match kept {
            0 => old += 1,
            16 => new += 1,
            _ => torn += 1,
        }
        assert_eq!(
            bytes_of(&left, 4096..8192),
            bytes_of(&medium.crash(seed), 4096..8192)
        );
    }
    assert!(old > 10 && new > 10 && torn > 10, "{old} {new} {torn}");
    medium.sync();
    assert_eq!(bytes_of(&medium.crash(0), 4096..12_288), [2; 8192]);
}

/// Goal: bytes are found where they are, also across pages, and a flip changes one bit of what is read and what stays.
#[test]
fn bytes_are_found_and_flipped() {
    let mut medium = Medium::new(1 << 20);
    medium.write(4090, b"needle in pages");
    assert_eq!(medium.find(b"needle in pages"), [4090]);
    medium.sync();
    medium.flip(4091, 1);
    assert_eq!(bytes_of(&medium, 4090..4096), b"ndedle");
    assert_eq!(bytes_of(&medium.crash(3), 4090..4096), b"ndedle");
}
