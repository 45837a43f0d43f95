//! What a power cut leaves: the rules of the simulated medium.
//!
//! * Sectors. A write not yet synced reaches the medium sector by sector, in any order. Of two writes to one
//!   sector the later is never there without the earlier: the cache holds one copy of it.
//! * Lengths. A file's length is stored apart from its sectors: a grown length without the data reads as zeroes,
//!   data without the grown length is not there. Lengths become durable in order.
//! * Names. Creations, renames and removals become durable in order within a folder, in any order between
//!   folders. Syncing a folder makes durable all that came before in it, and whatever else those changes rest on
//!   (a rename out of another folder). A file's data being durable says nothing of its name, and the reverse.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::{Op, SECTOR, Sim, SyncFails, folder_of};

/// What is in a file. Shared between images until one of them changes it.
#[derive(Clone, Debug, Default)]
pub(super) struct Content(Arc<Held>);

#[derive(Clone, Debug, Default)]
struct Held {
    bytes: Vec<u8>,
    /// The checksum, once somebody asked: most files of an image are those of the one before.
    sum: OnceLock<u32>,
}

impl Content {
    fn new(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Held {
            bytes,
            sum: OnceLock::new(),
        }))
    }

    /// To be changed.
    fn edit(&mut self) -> &mut Vec<u8> {
        let held = Arc::make_mut(&mut self.0);
        held.sum.take();
        &mut held.bytes
    }

    fn sum(&self) -> u32 {
        *self.0.sum.get_or_init(|| crc32c::crc32c(self))
    }
}

impl Deref for Content {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0.bytes
    }
}

/// The content of a disk: what is on the medium, or what the page cache shows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Image {
    /// Content by inode number.
    pub(super) inodes: Vec<Content>,
    /// These two are shared as the contents are: hardly any change is one of names.
    pub(super) names: Arc<BTreeMap<Arc<str>, usize>>,
    pub(super) folders: Arc<BTreeSet<String>>,
}

impl Image {
    pub(super) fn add(&mut self, name: &str, content: Vec<u8>) {
        Arc::make_mut(&mut self.names).insert(name.into(), self.inodes.len());
        self.inodes.push(Content::new(content));
    }

    /// Every file that has a name.
    pub(super) fn files(&self) -> BTreeMap<String, Vec<u8>> {
        self.names
            .iter()
            .map(|(name, inode)| (name.to_string(), self.inodes[*inode].to_vec()))
            .collect()
    }

    /// The names of files.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.keys().map(|name| &**name)
    }

    /// What the file of that name holds.
    pub(crate) fn content(&self, name: &str) -> Option<&[u8]> {
        self.names.get(name).map(|inode| &*self.inodes[*inode])
    }

    /// The content of the file of that name, to be changed.
    pub(crate) fn edit(&mut self, name: &str) -> &mut [u8] {
        self.inodes[self.names[name]].edit()
    }

    /// A number for what is in it: equal images have equal ones, and different ones hardly ever.
    pub(crate) fn mark(&self) -> u64 {
        let mut mark = self.folders.len() as u64;
        for (name, inode) in &*self.names {
            let content = &self.inodes[*inode];
            let sums = [
                u64::from(crc32c::crc32c(name.as_bytes())),
                u64::from(content.sum()) << 32 | content.len() as u64,
            ];
            for sum in sums {
                mark = (mark ^ sum).wrapping_mul(0x9E37_79B9_7F4A_7C15);
                mark ^= mark >> 29;
            }
        }
        mark
    }

    /// What a reader sees after this change.
    pub(super) fn apply(&mut self, op: &Op) {
        match op {
            Op::Create { inode, .. } => {
                self.inodes
                    .resize((inode + 1).max(self.inodes.len()), Content::default());
                self.apply_name(op);
            }
            Op::Write {
                inode,
                offset,
                bytes,
            } => overwrite(self.inodes[*inode].edit(), *offset, bytes),
            Op::SetLen { inode, len } => self.inodes[*inode].edit().resize(*len, 0),
            Op::Became { inode, content } => self.inodes[*inode] = Content::new(content.to_vec()),
            Op::Rename { .. } | Op::Remove { .. } | Op::Lost { .. } | Op::CreateFolder { .. } => {
                self.apply_name(op)
            }
            Op::Sync { .. } | Op::SyncFailed { .. } | Op::SyncDir { .. } => {}
        }
    }

    /// A change of names; one whose file never got its name changes nothing.
    fn apply_name(&mut self, op: &Op) {
        let names = &mut self.names;
        match op {
            Op::Create { name, inode } => {
                Arc::make_mut(names).insert(name.as_str().into(), *inode);
            }
            Op::Rename { from, to } if names.contains_key(from.as_str()) => {
                let names = Arc::make_mut(names);
                if let Some(inode) = names.remove(from.as_str()) {
                    names.insert(to.as_str().into(), inode);
                }
            }
            Op::Remove { name } | Op::Lost { name } if names.contains_key(name.as_str()) => {
                Arc::make_mut(names).remove(name.as_str());
            }
            Op::CreateFolder { folder } => {
                Arc::make_mut(&mut self.folders).insert(folder.clone());
            }
            _ => {}
        }
    }

    /// A failed sync after which the cache shows what the medium holds; the length stays.
    pub(super) fn revert(&mut self, failed: &Op, durable: &CrashPoint) {
        if let Op::SyncFailed { inode, .. } = failed {
            let len = self.inodes[*inode].len();
            self.inodes[*inode] = durable.image.inodes[*inode].clone();
            self.inodes[*inode].edit().resize(len, 0);
        }
    }
}

/// Writes into a file, which grows where needed.
fn overwrite(content: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    content.resize(content.len().max(end), 0);
    content[offset..end].copy_from_slice(bytes);
}

/// Something that a power cut may or may not take. `op` is the index of the change it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pending {
    Sector {
        op: usize,
        inode: usize,
        sector: usize,
    },
    Length {
        op: usize,
        inode: usize,
        len: usize,
    },
    Name {
        op: usize,
    },
}

/// What a [`Pending`] does when it is kept.
#[derive(Clone, Debug)]
enum Effect {
    Data { offset: usize, bytes: Bytes },
    Length,
    Name(Op),
}

/// One point of a run at which the power may go: what is durable there, and what is not.
#[derive(Clone, Debug, Default)]
pub(crate) struct CrashPoint {
    image: Image,
    /// In the order it was done.
    pending: Vec<(Pending, Effect)>,
    /// File lengths as the running system sees them.
    lens: Vec<usize>,
    /// How many changes led here.
    steps: usize,
}

impl CrashPoint {
    /// Where all that the disk holds is durable.
    pub(super) fn durable(image: Image) -> Self {
        let lens = image.inodes.iter().map(|content| content.len()).collect();
        Self {
            image,
            lens,
            ..Self::default()
        }
    }

    /// The point right after these changes that came after this one.
    pub(super) fn after(&self, ops: &[Op]) -> Self {
        let mut point = self.clone();
        ops.iter().for_each(|op| point.step(op));
        point
    }

    /// The disk as `kill -9` here leaves it, where no sync failed before: all is there, and what was not synced is lost
    /// in a later crash of the returned disk. Its count of changes starts again.
    pub(crate) fn killed(&self) -> Sim {
        Sim::started(self.image(&mut |_| true), self.clone())
    }

    /// How many things are undecided here.
    pub(crate) fn pending_len(&self) -> usize {
        self.pending.len()
    }

    /// What is undecided here, in the order it was done.
    pub(crate) fn pending(&self) -> impl Iterator<Item = Pending> {
        self.pending.iter().map(|(what, _)| *what)
    }

    /// The disk after a power cut here. Every pending thing is asked for, in order; one that rests on another that
    /// was lost is lost too.
    pub(crate) fn state(&self, choose: &mut dyn FnMut(Pending) -> bool) -> Sim {
        Sim::from_image(self.image(choose))
    }

    /// What such a disk holds.
    pub(crate) fn image(&self, choose: &mut dyn FnMut(Pending) -> bool) -> Image {
        let mut image = self.image.clone();
        settle(&mut image, &self.pending, choose);
        let Image { names, folders, .. } = &mut image;
        let there = |name: &str| folder_of(name).is_empty() || folders.contains(folder_of(name));
        if !names.keys().all(|name| there(name)) {
            Arc::make_mut(names).retain(|name, _| there(name));
        }
        image
    }

    /// The disks that a power cut here may leave: all of them when no more than `exhaustive_max` things are
    /// undecided (at most 30), otherwise the extremes and `samples` random ones.
    pub(crate) fn states(
        &self,
        exhaustive_max: usize,
        samples: usize,
        seed: u64,
    ) -> impl Iterator<Item = Sim> {
        let count = self.pending.len();
        let exhaustive = count <= exhaustive_max.min(30);
        let total = if exhaustive { 1 << count } else { 4 + samples };
        let mut random = Random::new(seed);
        (0..total).map(move |n: usize| {
            if exhaustive {
                let mut bit = 0..;
                return self.state(&mut |_| bit.next().is_some_and(|bit: u32| n >> bit & 1 == 1));
            }
            // Half, nearly nothing, nearly everything: a single loss among many is a case of its own.
            let odds = [4, 1, 7][n % 3];
            self.state(&mut |what| match n {
                0 => false,
                1 => true,
                2 => matches!(what, Pending::Name { .. }),
                3 => !matches!(what, Pending::Sector { .. }),
                _ => random.below(8) < odds,
            })
        })
    }

    pub(super) fn step(&mut self, op: &Op) {
        let at = self.steps;
        self.steps += 1;
        match op {
            Op::Create { inode, .. } => {
                self.image
                    .inodes
                    .resize((inode + 1).max(self.image.inodes.len()), Content::default());
                self.lens.resize((inode + 1).max(self.lens.len()), 0);
                self.pending
                    .push((Pending::Name { op: at }, Effect::Name(op.clone())));
            }
            Op::Rename { .. } | Op::Remove { .. } | Op::CreateFolder { .. } => {
                self.pending
                    .push((Pending::Name { op: at }, Effect::Name(op.clone())));
            }
            Op::Write {
                inode,
                offset,
                bytes,
            } => self.write(at, *inode, *offset, bytes),
            Op::SetLen { inode, len } => self.length(at, *inode, *len),
            Op::Sync { inode } => self.keep(|what, _| of_inode(what) == Some(*inode)),
            Op::SyncFailed {
                how: SyncFails::Kept,
                ..
            } => {}
            // The data is gone for good. Lengths are kept by the file system's journal, which did not fail.
            Op::SyncFailed { inode, .. } => {
                self.pending.retain(
                    |(what, _)| !matches!(what, Pending::Sector { inode: of, .. } if of == inode),
                );
            }
            Op::SyncDir { folder } => self.sync_dir(folder),
            Op::Became { inode, content } => {
                self.pending
                    .retain(|(what, _)| of_inode(what) != Some(*inode));
                self.lens[*inode] = content.len();
                self.image.apply(op);
            }
            Op::Lost { name } => {
                self.sync_dir(folder_of(name));
                self.image.apply(op);
            }
        }
    }

    fn write(&mut self, at: usize, inode: usize, offset: usize, bytes: &Bytes) {
        let end = offset + bytes.len();
        if end > self.lens[inode] {
            self.length(at, inode, end);
        }
        let mut from = offset;
        while from < end {
            let sector = from / SECTOR;
            let to = ((sector + 1) * SECTOR).min(end);
            let piece = bytes.slice(from - offset..to - offset);
            let effect = Effect::Data {
                offset: from,
                bytes: piece,
            };
            self.pending.push((
                Pending::Sector {
                    op: at,
                    inode,
                    sector,
                },
                effect,
            ));
            from = to;
        }
    }

    fn length(&mut self, op: usize, inode: usize, len: usize) {
        self.lens[inode] = len;
        self.pending
            .push((Pending::Length { op, inode, len }, Effect::Length));
    }

    fn sync_dir(&mut self, folder: &str) {
        // Backwards, because a change takes along what came before in each folder that it touches.
        let mut folders = BTreeSet::from([folder.to_owned()]);
        let mut durable = BTreeSet::new();
        for (what, effect) in self.pending.iter().rev() {
            let touched = touched(effect);
            if touched.iter().any(|folder| folders.contains(*folder)) {
                folders.extend(touched.iter().map(|folder| (*folder).to_owned()));
                durable.extend(op_of_name(what));
            }
        }
        self.keep(|what, _| op_of_name(what).is_some_and(|op| durable.contains(&op)));
    }

    /// Makes durable what `select` selects.
    fn keep(&mut self, select: impl Fn(&Pending, &Effect) -> bool) {
        let all = std::mem::take(&mut self.pending);
        let (kept, rest) = all
            .into_iter()
            .partition(|(what, effect)| select(what, effect));
        self.pending = rest;
        settle(&mut self.image, &kept, &mut |_| true);
    }
}

fn of_inode(what: &Pending) -> Option<usize> {
    match what {
        Pending::Sector { inode, .. } | Pending::Length { inode, .. } => Some(*inode),
        Pending::Name { .. } => None,
    }
}

fn op_of_name(what: &Pending) -> Option<usize> {
    if let Pending::Name { op } = what {
        Some(*op)
    } else {
        None
    }
}

/// The folders whose names an effect changes.
fn touched(effect: &Effect) -> Vec<&str> {
    match effect {
        Effect::Name(Op::Rename { from, to }) => vec![folder_of(from), folder_of(to)],
        Effect::Name(Op::Create { name, .. } | Op::Remove { name }) => vec![folder_of(name)],
        Effect::Name(_) => vec![""],
        Effect::Data { .. } | Effect::Length => Vec::new(),
    }
}

/// Writes to the medium what `choose` keeps.
fn settle(
    image: &mut Image,
    pending: &[(Pending, Effect)],
    choose: &mut dyn FnMut(Pending) -> bool,
) {
    let mut lost_sectors = BTreeSet::new();
    let mut lost_lengths = BTreeSet::new();
    let mut lost_folders = BTreeSet::new();
    // Sectors beyond the durable length are on the medium, but no part of the file unless its length grows too.
    let mut lens: BTreeMap<usize, usize> = BTreeMap::new();
    for (what, effect) in pending {
        let kept = choose(*what);
        if let Some(inode) = of_inode(what) {
            lens.entry(inode)
                .or_insert_with(|| image.inodes[inode].len());
        }
        match (what, effect) {
            (Pending::Sector { inode, sector, .. }, Effect::Data { offset, bytes }) => {
                let place = (*inode, *sector);
                if kept && !lost_sectors.contains(&place) {
                    overwrite(image.inodes[*inode].edit(), *offset, bytes);
                } else {
                    lost_sectors.insert(place);
                }
            }
            (Pending::Length { inode, len, .. }, _) => {
                if !kept || lost_lengths.contains(inode) {
                    lost_lengths.insert(*inode);
                } else {
                    if lens.get(inode).is_some_and(|old| len < old) {
                        // What is cut does not come back when the file grows again.
                        image.inodes[*inode].edit().truncate(*len);
                    }
                    lens.insert(*inode, *len);
                }
            }
            (_, Effect::Name(op)) => {
                let touched = touched(effect);
                if !kept || touched.iter().any(|folder| lost_folders.contains(*folder)) {
                    lost_folders.extend(touched.into_iter().map(str::to_owned));
                } else {
                    image.apply_name(op);
                }
            }
            _ => {}
        }
    }
    for (inode, len) in lens {
        if image.inodes[inode].len() != len {
            image.inodes[inode].edit().resize(len, 0);
        }
    }
}

/// A xorshift generator: small, seeded, the same everywhere.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        // Neighbouring seeds must not give alike sequences (this is the first step of splitmix64), nor may 0 come out.
        let mixed = seed
            .wrapping_add(0x9E37_79B9_7F4A_7C15)
            .wrapping_mul(0xBF58_476D_1CE4_E5B9);
        Self((mixed ^ mixed >> 31).max(1))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 11) % bound
    }
}
