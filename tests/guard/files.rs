//! Files that are held, below any store: pages that go, mappings that come and go, a table that is full.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mailkeep::io::{Directory, Held, Open, Storage, faults};
use mailkeep::{install_guard, still_good};

use crate::process::{Dice, env, seconds, survives};

pub(crate) const PAGE: usize = 4096;

/// The byte at an offset of every file here: never 0, and no page like the next.
fn byte(at: usize) -> u8 {
    (at.wrapping_mul(0x9E37_79B9) >> 11) as u8 | 1
}

fn content(len: usize) -> Vec<u8> {
    (0..len).map(byte).collect()
}

/// A file of `len` bytes.
pub(crate) fn filled(len: usize) -> File {
    let file = tempfile::tempfile().unwrap();
    file.write_all_at(&content(len), 0).unwrap();
    file
}

/// A folder of files.
pub(crate) struct Volume {
    folder: tempfile::TempDir,
    volume: Directory,
    next: AtomicU64,
}

impl Volume {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let volume = Directory::create_or_open(folder.path(), false).unwrap();
        let next = AtomicU64::new(0);
        Self {
            folder,
            volume,
            next,
        }
    }

    fn make(&self) -> (String, PathBuf) {
        let name = format!("{}.bin", self.next.fetch_add(1, Ordering::Relaxed));
        let path = self.folder.path().join(&name);
        (name, path)
    }

    /// All of a new file.
    pub(crate) fn hold(&self, len: usize) -> Held {
        let (name, path) = self.make();
        std::fs::write(path, content(len)).unwrap();
        let file = self.volume.open(&name, Open::Read).unwrap();
        file.held(0, len).unwrap()
    }

    /// All of a new file of zeroes that take no room, which another program then cuts.
    pub(crate) fn cut_under(&self, len: usize, to: u64) -> Held {
        let (name, path) = self.make();
        let writer = File::create(path).unwrap();
        writer.set_len(len as u64).unwrap();
        let file = self.volume.open(&name, Open::Read).unwrap();
        let held = file.held(0, len).unwrap();
        writer.set_len(to).unwrap();
        held
    }
}

/// Goal: without the guard nothing is mapped, and a file that was cut is an error.
#[test]
fn without_the_guard_nothing_is_mapped() {
    survives("files::without_the_guard_nothing_is_mapped", || {
        let volume = Volume::new();
        let (name, path) = volume.make();
        std::fs::write(&path, content(3 * PAGE)).unwrap();
        let file = volume.volume.open(&name, Open::Read).unwrap();
        let held = file.held(5, 2 * PAGE).unwrap();
        assert!(!held.is_mapped());
        assert_eq!(held[..], content(3 * PAGE)[5..2 * PAGE + 5]);
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(10)
            .unwrap();
        assert!(held.is_readable() && still_good(&held));
        assert_eq!(held[..], content(3 * PAGE)[5..2 * PAGE + 5]);
        let error = file.held(5, 2 * PAGE).unwrap_err();
        assert_eq!(error.to_string(), "8192 bytes at 5 are not in the file");
        assert_eq!(file.held(5, 5).unwrap()[..], content(10)[5..]);
        assert_eq!(faults(), 0);
    });
}

/// Goal: the first page that is gone ends the mapping of its file, for good: what was held stays bad, also when the file
/// is whole again, and what is read from then on is what the system says.
#[test]
fn poison_never_clears_and_the_file_is_read_from_then_on() {
    survives(
        "files::poison_never_clears_and_the_file_is_read_from_then_on",
        || {
            install_guard().unwrap();
            let volume = Volume::new();
            let (name, path) = volume.make();
            std::fs::write(&path, content(4 * PAGE)).unwrap();
            let file = volume.volume.open(&name, Open::Read).unwrap();
            let held = file.held(0, 4 * PAGE).unwrap();
            assert!(held.is_mapped() && held.is_readable());
            let other = File::options().write(true).open(&path).unwrap();
            other.set_len(PAGE as u64 + 1).unwrap();
            assert!(held.is_good(), "nobody has looked yet");
            assert!(!held.is_readable());
            // The page that the end lies in is there, behind it zeroes; those behind it are the guard's.
            assert_eq!(held[..=PAGE], content(4 * PAGE)[..=PAGE]);
            assert!(held[PAGE + 1..].iter().all(|byte| *byte == 0));
            assert!(held.copy().is_none() && !still_good(&held) && !held.slice(0..9).is_good());
            assert!(file.held(0, 4 * PAGE).is_err());
            assert!(file.copied(PAGE as u64, 2).is_err());
            let front = file.held(0, PAGE).unwrap();
            assert!(!front.is_mapped() && front.is_good());
            other.write_all_at(&content(4 * PAGE), 0).unwrap();
            assert!(!held.is_good(), "what was zeroes once proves nothing");
            assert!(held[PAGE * 2..].iter().all(|byte| *byte == 0));
            assert_eq!(file.held(0, 4 * PAGE).unwrap()[..], content(4 * PAGE));
            assert_eq!(
                file.copied(1, PAGE).unwrap()[..],
                content(4 * PAGE)[1..=PAGE]
            );
            // The place in the table is used again, by a mapping that is sound.
            drop((held, file));
            let again = volume.hold(3 * PAGE);
            assert!(again.is_mapped() && again.is_readable());
            assert_eq!(again[..], content(3 * PAGE));
        },
    );
}

/// Goal: pages by the hundred thousand, many files at once: more parts of mappings than the kernel has room for.
#[test]
fn pages_by_the_hundred_thousand() {
    survives("files::pages_by_the_hundred_thousand", || {
        install_guard().unwrap();
        let pages = env("MAILKEEP_GUARD_PAGES", 100_000);
        let volume = Volume::new();
        let start = Instant::now();
        let mut held = Vec::new();
        let mut parts = 0;
        while faults() < pages {
            // Every second page, so that no two that were replaced lie side by side.
            let one = volume.cut_under(4 * 4096 * PAGE, 0);
            assert!(one.is_mapped());
            assert!(one.iter().step_by(2 * PAGE).all(|byte| *byte == 0));
            assert!(!one.is_good());
            held.push(one);
            if held.len() == 12 {
                parts = std::fs::read_to_string("/proc/self/maps")
                    .unwrap()
                    .lines()
                    .count();
                held.clear();
            }
        }
        let each = start.elapsed() / u32::try_from(faults()).unwrap();
        println!(
            "{} pages, {each:?} each, {parts} parts of mappings",
            faults()
        );
        assert!(parts < 65_000, "{parts}");
    });
}

/// Goal: a file for which the table has no room is read into memory; room that is given back is used.
#[test]
fn a_full_table_is_no_error() {
    survives("files::a_full_table_is_no_error", || {
        install_guard().unwrap();
        let volume = Volume::new();
        let mut held: Vec<Held> = (0..4096).map(|_| volume.hold(10)).collect();
        assert!(held.iter().all(Held::is_mapped));
        for _ in 0..3 {
            let more = volume.hold(PAGE + 10);
            assert!(!more.is_mapped() && more.is_readable() && still_good(&more));
            assert_eq!(more[..], content(PAGE + 10));
        }
        held.pop();
        assert!(volume.hold(10).is_mapped());
        assert!(
            held.iter()
                .all(|held| held.is_good() && held[..] == content(10))
        );
    });
}

/// Goal: while mappings come and go on many threads and some of them fail, each failure is told of its own mapping, and
/// of no other: zeroes are never called good, and good bytes never bad.
#[test]
fn failures_are_told_of_the_mapping_that_they_are_in() {
    survives(
        "files::failures_are_told_of_the_mapping_that_they_are_in",
        || {
            install_guard().unwrap();
            let until = Instant::now() + Duration::from_secs(seconds());
            let rounds = AtomicU64::new(0);
            std::thread::scope(|threads| {
                for thread in 0..8 {
                    let rounds = &rounds;
                    threads.spawn(move || {
                        let (mut dice, volume) = (Dice::new(thread), Volume::new());
                        while Instant::now() < until {
                            come_and_go(&volume, &mut dice);
                            rounds.fetch_add(1, Ordering::Relaxed);
                        }
                    });
                }
            });
            let (rounds, faults) = (rounds.into_inner(), faults());
            println!("{rounds} mappings, {faults} pages that were gone");
            assert!(rounds > 50 && faults > rounds / 4, "{rounds} {faults}");
        },
    );
}

fn come_and_go(volume: &Volume, dice: &mut Dice) {
    let len = (1 + dice.below(6)) * PAGE;
    let expected = content(len);
    let (name, path) = volume.make();
    std::fs::write(&path, &expected).unwrap();
    let file = volume.volume.open(&name, Open::Read).unwrap();
    let held = file.held(0, len).unwrap();
    assert!(held.is_mapped());
    let is_cut = dice.below(2) == 0;
    if is_cut {
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(0)
            .unwrap();
    }
    // Two threads, so that one may meet zeroes that the other has caused.
    std::thread::scope(|threads| {
        for _ in 0..2 {
            threads.spawn(|| {
                let right = held[..] == expected;
                assert_eq!(right, !is_cut);
                assert_eq!(held.is_good(), right, "told of the mapping that it is in");
            });
        }
    });
    assert_eq!(still_good(&held), !is_cut);
    std::fs::remove_file(&path).unwrap();
}

/// Goal: a disk that fails under a mapping is the system's error. Needs a file of which the disk does not give a range:
/// `MAILKEEP_EIO_FILE=PATH:OFFSET:LEN`.
#[test]
fn a_disk_that_fails_is_its_error() {
    let Ok(text) = std::env::var("MAILKEEP_EIO_FILE") else {
        println!("skipped: MAILKEEP_EIO_FILE names no file with a range that cannot be read");
        return;
    };
    survives("files::a_disk_that_fails_is_its_error", || {
        install_guard().unwrap();
        let mut fields = text.rsplitn(3, ':');
        let len: usize = fields.next().unwrap().parse().unwrap();
        let offset: u64 = fields.next().unwrap().parse().unwrap();
        let path = PathBuf::from(fields.next().unwrap());
        let volume = Directory::create_or_open(path.parent().unwrap(), false).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        let file = volume.open(name, Open::Read).unwrap();
        let held = file.held(offset, len).unwrap();
        assert!(held.is_mapped());
        assert!(!held.is_readable(), "the range can be read");
        let error = file.held(offset, len).unwrap_err();
        println!("{} pages: {error}", faults());
        assert_eq!(error.raw_os_error(), Some(libc::EIO), "{error}");
    });
}
