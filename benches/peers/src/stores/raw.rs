//! The floor: one file, a head and a body for each message, the same checksum and digest as mailkeep computes, one write
//! and one `fdatasync` for all who commit at the same time. Flags and places are in memory, in columns; opening reads the
//! whole file. No index, no segments, no reuse of space: a limit, not a store.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::IoSlice;
use std::os::unix::fs::FileExt as _;
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard};

use mailkeep::format::checksum;
use memmap2::Mmap;

use super::Setup;
use crate::group::Group;
use crate::record;
use crate::store::{FLAGGED, Mail, Place, Result, Scan, Session, Store, missing};

pub(super) const SETTINGS: &str = "one file; head of 96 bytes with CRC-32C and BLAKE3 (computed by each thread) and body \
     in one pwritev; group commit; fdatasync; reads are mapped and their CRC-32C checked";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Growing,
    Prewritten,
    /// Reads look at no checksum.
    Unchecked,
}

pub(super) struct Raw {
    file: File,
    kind: Kind,
    durable: bool,
    group: Group<Entry>,
    /// Where the next write goes.
    end: Mutex<u64>,
    mailboxes: RwLock<HashMap<Place, Columns>>,
}

/// The entries of a mailbox, in the order of their UIDs, which begin with 1 and have no gaps.
#[derive(Default)]
struct Columns {
    flags: Vec<u32>,
    bodies: Vec<Stretch>,
    modseq: u64,
}

/// Where a body is.
#[derive(Clone, Copy)]
struct Stretch {
    at: u64,
    len: u32,
    crc: u32,
}

/// What happened, as written to the file. Only deliveries have bytes.
#[derive(Clone, Copy)]
struct Entry {
    what: What,
    place: Place,
    /// 0 where it is not known yet.
    uid: u32,
    flags: u32,
    body: Stretch,
    digest: [u8; 32],
    bytes: &'static [u8],
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Delivered = 1,
    Flagged = 2,
    Copied = 3,
}

const HEAD: usize = 96;
const MAGIC: u32 = 0x7761_7221;

impl Entry {
    fn head(&self, modseq: u64, date: u64) -> [u8; HEAD] {
        let mut head = [0; HEAD];
        let mut at = 8;
        let mut put = |bytes: &[u8]| {
            head[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        };
        put(&(self.what as u32).to_le_bytes());
        put(&self.place.0.to_le_bytes());
        put(&self.uid.to_le_bytes());
        put(&self.flags.to_le_bytes());
        put(&self.body.at.to_le_bytes());
        put(&self.body.len.to_le_bytes());
        put(&self.body.crc.to_le_bytes());
        put(&modseq.to_le_bytes());
        put(&date.to_le_bytes());
        put(&self.digest);
        let crc = checksum(0, &head[8..]);
        head[..4].copy_from_slice(&MAGIC.to_le_bytes());
        head[4..8].copy_from_slice(&crc.to_le_bytes());
        head
    }

    /// The entry of a head, with its MODSEQ; `None` behind the last.
    fn decode(head: &[u8; HEAD]) -> Option<(Self, u64)> {
        let u32_at = |at: usize| -> Option<u32> {
            Some(u32::from_le_bytes(head.get(at..at + 4)?.try_into().ok()?))
        };
        let u64_at = |at: usize| -> Option<u64> {
            Some(u64::from_le_bytes(head.get(at..at + 8)?.try_into().ok()?))
        };
        if u32_at(0)? != MAGIC || u32_at(4)? != checksum(0, &head[8..]) {
            return None;
        }
        let what = match u32_at(8)? {
            1 => What::Delivered,
            2 => What::Flagged,
            3 => What::Copied,
            _ => return None,
        };
        let entry = Self {
            what,
            place: Place(u32_at(12)?),
            uid: u32_at(16)?,
            flags: u32_at(20)?,
            body: Stretch {
                at: u64_at(24)?,
                len: u32_at(32)?,
                crc: u32_at(36)?,
            },
            digest: head.get(56..88)?.try_into().ok()?,
            bytes: &[],
        };
        Some((entry, u64_at(40)?))
    }
}

impl Columns {
    fn apply(&mut self, entry: &Entry, modseq: u64) -> Result<()> {
        self.modseq = modseq;
        if entry.what == What::Flagged {
            let flags = self.flags.get_mut(entry.uid as usize - 1);
            *flags.ok_or("flags of a message that is not there")? = entry.flags;
        } else {
            self.flags.push(entry.flags);
            self.bodies.push(entry.body);
        }
        Ok(())
    }
}

impl Raw {
    pub(super) fn open(setup: Setup<'_>, kind: Kind) -> Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = options.open(setup.dir.join("log"))?;
        let len = file.metadata()?.len();
        let (mailboxes, end) = replay(&map(&file)?)?;
        if kind == Kind::Prewritten && len < end + setup.room {
            let zeroes = vec![0; 1 << 20];
            for at in (len..end + setup.room).step_by(zeroes.len()) {
                file.write_all_at(&zeroes, at)?;
            }
            file.sync_all()?;
        }
        Ok(Self {
            file,
            kind,
            durable: setup.durable,
            group: Group::new(),
            end: Mutex::new(end),
            mailboxes: RwLock::new(mailboxes),
        })
    }

    /// Writes all entries at once and has them in memory, too; their UIDs. One thread at a time is here.
    fn write(&self, entries: &[Entry]) -> Result<Vec<u32>> {
        let mut end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut given, mut heads) = (HashMap::new(), Vec::with_capacity(entries.len()));
        let (mut entries, date, mut at) = (entries.to_vec(), record::now(), *end);
        {
            let known = self
                .mailboxes
                .read()
                .unwrap_or_else(PoisonError::into_inner);
            for entry in &mut entries {
                let of = |columns: &Columns| (columns.flags.len() as u32, columns.modseq);
                let (last, modseq) = given
                    .entry(entry.place)
                    .or_insert_with(|| known.get(&entry.place).map_or((0, 0), of));
                *modseq += 1;
                if entry.uid == 0 {
                    *last += 1;
                    entry.uid = *last;
                }
                at += HEAD as u64;
                if entry.what == What::Delivered {
                    entry.body.at = at;
                }
                heads.push((entry.head(*modseq, date), *modseq));
                at += entry.bytes.len() as u64;
            }
        }
        let mut parts: Vec<IoSlice<'_>> = Vec::with_capacity(2 * entries.len());
        for ((head, _), entry) in heads.iter().zip(&entries) {
            parts.push(IoSlice::new(head));
            if !entry.bytes.is_empty() {
                parts.push(IoSlice::new(entry.bytes));
            }
        }
        write_all(&self.file, &mut parts, *end)?;
        if self.durable {
            self.file.sync_data()?;
        }
        *end = at;
        let mut known = self
            .mailboxes
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        for ((_, modseq), entry) in heads.iter().zip(&entries) {
            known
                .entry(entry.place)
                .or_default()
                .apply(entry, *modseq)?;
        }
        Ok(entries.iter().map(|entry| entry.uid).collect())
    }

    /// What is known of some messages of a mailbox.
    fn find(&self, place: Place, uids: &[u32]) -> Result<Vec<(u32, Stretch)>> {
        let known = self
            .mailboxes
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let columns = known.get(&place).ok_or("no such mailbox")?;
        let found = uids.iter().map(|uid| {
            let at = *uid as usize - 1;
            match (columns.flags.get(at), columns.bodies.get(at)) {
                (Some(flags), Some(body)) => Ok((*flags, *body)),
                _ => missing(place, *uid),
            }
        });
        found.collect()
    }
}

/// `pwritev` until all is written.
fn write_all(file: &File, parts: &mut [IoSlice<'_>], mut at: u64) -> Result<()> {
    const MOST: usize = 1024;
    let mut parts = parts;
    while !parts.is_empty() {
        let now = parts.len().min(MOST);
        let written = rustix::io::pwritev(file, &parts[..now], at)?;
        at += written as u64;
        IoSlice::advance_slices(&mut parts, written);
    }
    Ok(())
}

fn map(file: &File) -> Result<Mmap> {
    // SAFETY: the file is this process's own and is never cut. Bytes that are written while it is mapped lie behind those
    // that are looked at.
    #[allow(unsafe_code)]
    let map = unsafe { Mmap::map(file)? };
    Ok(map)
}

/// All that a file says, every checksum checked, and where it ends.
fn replay(bytes: &[u8]) -> Result<(HashMap<Place, Columns>, u64)> {
    let (mut mailboxes, mut at) = (HashMap::<Place, Columns>::new(), 0);
    while let Some(head) = bytes.get(at..at + HEAD) {
        let Some((entry, modseq)) = Entry::decode(head.try_into()?) else {
            break;
        };
        let mut next = at + HEAD;
        if entry.what == What::Delivered {
            next += entry.body.len as usize;
            let body = bytes.get(at + HEAD..next);
            if body.is_none_or(|body| checksum(0, body) != entry.body.crc) {
                break;
            }
        }
        mailboxes
            .entry(entry.place)
            .or_default()
            .apply(&entry, modseq)?;
        at = next;
    }
    Ok((mailboxes, at as u64))
}

impl Store for Raw {
    fn deliver(&self, mails: &[Mail]) -> Result<Vec<u32>> {
        let entry = |mail: &Mail| Entry {
            what: What::Delivered,
            place: mail.place,
            uid: 0,
            flags: mail.flags(),
            body: Stretch {
                at: 0,
                len: mail.body.len() as u32,
                crc: checksum(0, mail.body),
            },
            digest: *blake3::hash(mail.body).as_bytes(),
            bytes: mail.body,
        };
        match mails {
            [one] => {
                let uid = self
                    .group
                    .commit(entry(one), |entries| self.write(entries))?;
                Ok(vec![uid])
            }
            many => self.write(&many.iter().map(entry).collect::<Vec<_>>()),
        }
    }

    fn flag(&self, place: Place, uids: &[u32], on: bool) -> Result<()> {
        let found = self.find(place, uids)?;
        let entries = uids.iter().zip(found).map(|(uid, (flags, body))| Entry {
            what: What::Flagged,
            place,
            uid: *uid,
            flags: if on {
                flags | FLAGGED
            } else {
                flags & !FLAGGED
            },
            body,
            digest: [0; 32],
            bytes: &[],
        });
        self.write(&entries.collect::<Vec<_>>())?;
        Ok(())
    }

    fn copy(&self, from: Place, uids: &[u32], to: Place) -> Result<()> {
        let entries = self
            .find(from, uids)?
            .into_iter()
            .map(|(flags, body)| Entry {
                what: What::Copied,
                place: to,
                uid: 0,
                flags,
                body,
                digest: [0; 32],
                bytes: &[],
            });
        self.write(&entries.collect::<Vec<_>>())?;
        Ok(())
    }

    fn session(&self) -> Result<Box<dyn Session + '_>> {
        Ok(Box::new(Reader {
            check: self.kind != Kind::Unchecked,
            known: self
                .mailboxes
                .read()
                .unwrap_or_else(PoisonError::into_inner),
            map: map(&self.file)?,
        }))
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(self.file.sync_data()?)
    }

    fn shares_commits(&self) -> bool {
        true
    }
}

struct Reader<'a> {
    check: bool,
    known: RwLockReadGuard<'a, HashMap<Place, Columns>>,
    map: Mmap,
}

impl Session for Reader<'_> {
    fn read(&mut self, place: Place, uid: u32, see: &mut dyn FnMut(&[u8])) -> Result<()> {
        let columns = self.known.get(&place);
        let Some(body) = columns.and_then(|columns| columns.bodies.get(uid as usize - 1)) else {
            return missing(place, uid);
        };
        let from = body.at as usize;
        let bytes = self.map.get(from..from + body.len as usize);
        let bytes = bytes.ok_or("a body behind the end of the file")?;
        if self.check && checksum(0, bytes) != body.crc {
            return Err("a body is damaged".into());
        }
        see(bytes);
        Ok(())
    }

    fn scan(&mut self, place: Place) -> Result<Scan> {
        let mut scan = Scan::default();
        for flags in &self.known.get(&place).ok_or("no such mailbox")?.flags {
            scan.count(*flags);
        }
        Ok(scan)
    }
}
