//! Which segments there are: SEGMENTS, the folder, and the segments' own headers, held against each other.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::opening::Opening;
use super::report::RecoveryReport;
use super::tail::Mark;
use crate::error::{Error, Result};
use crate::format::footer::Trailer;
use crate::format::segment::{Behind, Holds, SegmentHeader};
use crate::format::segments::{Edit, What};
use crate::format::{Fault, Features, PAGE, StoreId};
use crate::io::{File, Kind, Open, Storage};
use crate::log::files::Files;
use crate::log::footing;
use crate::log::large::drop_segment;
use crate::log::ledger::Ledger;
use crate::log::scan::Scanner;
use crate::log::segment::{Known, Segment};
use crate::log::spare::SPARE;
use crate::log::{join_path, segment_name};
use crate::switch::Switch;

/// One log segment that is there.
pub(super) struct Listed {
    pub(super) segment: Arc<Segment>,
    /// Length of its file.
    pub(super) len: u64,
    edit: Edit,
}

/// All segments.
#[derive(Default)]
pub(super) struct List {
    /// Those with batches, by first record.
    pub(super) segments: Vec<Listed>,
    /// Numbers of those with a large body.
    pub(super) large: Vec<u64>,
    /// Highest number that any file or edit has.
    pub(super) highest: u64,
    pub(super) missing: Vec<String>,
    pub(super) unlisted: Vec<String>,
    pub(super) bad_edits: u64,
    /// Files that nothing needs.
    pub(super) leftovers: Vec<String>,
    /// Whether the list may name fewer segments than there are.
    unsure: bool,
    /// Numbers of the files that are there, with their length; `u64::MAX` where it is no regular file: opening it says so.
    present: HashMap<u64, u64>,
}

impl Listed {
    /// A scanner over the part that holds batches.
    pub(super) fn scanner(&self) -> Result<Scanner> {
        let file = self.segment.file()?;
        let len = file.len().unwrap_or(0);
        let limit = if self.is_finished() {
            self.edit.end.min(len)
        } else {
            len
        };
        let (place, first) = (self.segment.place, self.segment.first_record());
        Ok(Scanner::new(file, place, first, limit))
    }

    /// As [`scanner`](Self::scanner), for the first use at an opening: refuses a file that is not the list's.
    pub(super) fn checked_scanner(&self) -> Result<Scanner> {
        self.segment.check_header()?;
        self.scanner()
    }

    pub(super) fn is_sealed(&self) -> bool {
        self.edit.what == What::Sealed
    }

    /// Whether it is known where its batches end.
    pub(super) fn is_finished(&self) -> bool {
        matches!(self.edit.what, What::Sealed | What::Ended)
    }

    /// How long the file must be, or something is missing.
    pub(super) fn needed_len(&self, tail: &Mark) -> u64 {
        match self.edit.what {
            What::Sealed => self.edit.end + PAGE as u64,
            // Its last batches may never have been durable: the batch that comes next tells whether any are missing.
            What::Ended => PAGE as u64,
            _ => tail.end_in(self.edit.segment).max(PAGE as u64),
        }
    }

    /// The checksum that its first batch repeats of the batch before it.
    pub(super) fn first_previous(&self) -> Option<u32> {
        // One that cannot be opened is an error when its turn comes.
        let first = self.scanner().ok()?.next_batch(PAGE as u64);
        first.map(|found| found.head.previous)
    }

    /// The number after its last record, where its end is known.
    pub(super) fn known_next(&self) -> Option<u64> {
        self.is_finished().then_some(self.edit.next_record)
    }

    /// Where its batches end, where that is known.
    pub(super) fn known_end(&self) -> Option<u64> {
        self.is_finished().then_some(self.edit.end)
    }

    fn footer(&self) -> Result<Option<Trailer>> {
        match Switch::FooterSound.on() {
            true => footing::read_sound(&self.segment),
            false => Ok(footing::read_trailer(&*self.segment.file()?)),
        }
    }

    /// Finds records through the footer from now on, if all of it is sound: one bad page of it would hide the records
    /// of many sound batches, which were all just read.
    pub(super) fn load_footer(&self, report: &mut RecoveryReport) -> Result<()> {
        match self.footer()? {
            Some(trailer) => self.segment.set_sealed(trailer),
            None => {
                self.segment.note_bad_footer();
                report.bad_footers.push(self.segment.path().to_owned());
            }
        }
        Ok(())
    }
}

/// Lists all segments. Their files are not opened.
pub(super) fn segments(
    storage: &dyn Storage,
    ledger: &Ledger,
    edits: Vec<Result<Edit, Fault>>,
    files: &Arc<Files>,
) -> Result<List> {
    let how = files.how();
    let store = ledger.manifest.store;
    let mut list = List::default();
    let mut latest = BTreeMap::new();
    for edit in edits {
        match edit {
            Ok(edit) => {
                latest.insert(edit.segment, edit);
            }
            Err(fault) if fault.is_newer() => {
                return Err(Error::fault(storage.describe(), 0, fault));
            }
            Err(_) => list.bad_edits += 1,
        }
    }
    list.unsure = Switch::UnlistedAdopted.on() && (ledger.doubt || list.bad_edits > 0);
    list.look_around(storage, store, &mut latest, how)?;
    for edit in latest.into_values() {
        list.highest = list.highest.max(edit.segment);
        match edit.what {
            What::Dropped => {}
            What::Body => {
                list.large.push(edit.segment);
                if !list.present.contains_key(&edit.segment) {
                    let name = segment_name(edit.segment);
                    list.missing.push(join_path(&storage.describe(), &name));
                }
            }
            What::Created | What::Ended | What::Sealed => list.add(storage, store, edit, files),
        }
    }
    list.segments
        .sort_by_key(|listed| (listed.segment.first_record(), listed.segment.number()));
    for pair in list.segments.windows(2) {
        if let [listed, next] = pair
            && !listed.is_finished()
        {
            listed.segment.set_next_record(next.segment.first_record());
        }
    }
    Ok(list)
}

impl List {
    /// Bytes of all segments that are there, as far as they are files.
    pub(super) fn log_len(&self) -> u64 {
        let lens = self.present.values().filter(|len| **len != u64::MAX);
        lens.sum()
    }

    /// Holds the folder against the list. What only the folder has is adopted where an edit is damaged, removed where
    /// it is the leftover of a segment that was being made, and else left alone and reported.
    fn look_around(
        &mut self,
        storage: &dyn Storage,
        store: StoreId,
        latest: &mut BTreeMap<u64, Edit>,
        how: Open,
    ) -> Result<()> {
        let folder = join_path(&storage.describe(), "log");
        let found = storage.list("log").map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => Error::Incomplete {
                path: storage.describe(),
                what: "the folder log is missing".into(),
            },
            _ => Error::io("list", &folder, source),
        })?;
        for entry in found {
            let name = format!("log/{}", entry.name);
            let number = number_of(&entry.name);
            let listed = number.filter(|number| latest.contains_key(number));
            if let Some(number) = listed.filter(|_| entry.kind != Kind::File) {
                self.present.insert(number, u64::MAX);
            }
            let Some(number) = number.filter(|_| entry.kind == Kind::File) else {
                if !name.starts_with(SPARE) {
                    self.unlisted.push(name);
                } else if how == Open::Write {
                    // Of an earlier run; nothing counts on it, and the next one may want another length.
                    self.leftovers.push(name);
                }
                continue;
            };
            self.highest = self.highest.max(number);
            self.present.insert(number, entry.len);
            if latest.contains_key(&number) {
                continue;
            }
            match judge(storage, store, &name, number) {
                // A large body may be all that is left of an acknowledged message: whether a record names it is seen later.
                Extra::Holds(edit) if self.unsure || edit.what == What::Body => {
                    latest.insert(number, edit);
                }
                Extra::Leftover if how == Open::Write => {
                    storage.remove(&name).map_err(|source| {
                        Error::io("remove", join_path(&folder, &entry.name), source)
                    })?;
                }
                // A batch is written only when its segment is listed: the lists are older than the log.
                Extra::Holds(_) => {
                    let path = join_path(&folder, &entry.name);
                    self.missing.push(format!("{path} from the list"));
                    self.unlisted.push(name);
                }
                Extra::Leftover | Extra::Other => self.unlisted.push(name),
            }
        }
        Ok(())
    }

    /// Takes up a segment that the list names, unless it is missing.
    fn add(&mut self, storage: &dyn Storage, store: StoreId, edit: Edit, files: &Arc<Files>) {
        let name = segment_name(edit.segment);
        let path = join_path(&storage.describe(), &name);
        let Some(len) = self.present.get(&edit.segment).copied() else {
            self.missing.push(path);
            return;
        };
        let known = Known {
            sealed: edit.what == What::Sealed,
            end: edit.end,
            next_record: edit.next_record,
        };
        let segment = Segment::listed(header_of(store, &edit), path, name, files, known);
        self.segments.push(Listed {
            segment: Arc::new(segment),
            len,
            edit,
        });
    }
}

/// A file in log/ that no sound edit names.
enum Extra {
    /// Made, and never used.
    Leftover,
    /// Holds batches, or a large body, of this store.
    Holds(Edit),
    /// Not ours.
    Other,
}

fn judge(storage: &dyn Storage, store: StoreId, name: &str, number: u64) -> Extra {
    let Ok(file) = storage.open(name, Open::Read) else {
        return Extra::Other;
    };
    let mut page = vec![0; PAGE];
    if file.read_at(&mut page, 0).is_err() {
        return Extra::Other;
    }
    let limit = file.len().unwrap_or(0);
    let header = match SegmentHeader::decode(&page) {
        Ok(header) => header,
        Err(_) if is_zero(&*file, 0, limit) => return Extra::Leftover,
        Err(_) => return Extra::Other,
    };
    if Switch::ExtraIdentity.on() && (header.store != store || header.segment != number) {
        return Extra::Other;
    }
    if is_zero(&*file, PAGE as u64, limit) {
        return Extra::Leftover;
    }
    Extra::Holds(Edit {
        what: match header.holds {
            Holds::Batches => What::Created,
            Holds::Body => What::Body,
        },
        segment: number,
        generation: header.generation,
        first_record: header.first_record,
        first_batch: header.first_batch,
        end: 0,
        next_record: 0,
        salt: header.salt,
    })
}

/// Whether nothing was written from `from` on. What cannot be read may have been.
fn is_zero(file: &dyn File, from: u64, limit: u64) -> bool {
    let mut piece = vec![0; 16 * PAGE];
    let mut at = from;
    while at < limit {
        match file.read_at(&mut piece, at) {
            Ok(0) => return true,
            Ok(read) if piece.iter().take(read).all(|byte| *byte == 0) => at += read as u64,
            _ => return false,
        }
    }
    true
}

/// What the list says of a segment's header: all that reading needs.
fn header_of(store: StoreId, edit: &Edit) -> SegmentHeader {
    SegmentHeader {
        store,
        segment: edit.segment,
        generation: edit.generation,
        salt: edit.salt,
        first_record: edit.first_record,
        first_batch: edit.first_batch,
        epoch: 0,
        created_ms: 0,
        holds: Holds::Batches,
        behind: Behind::Zeroes,
        features: Features::default(),
    }
}

fn number_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".seg")?;
    let number = digits.parse().ok()?;
    (segment_name(number) == format!("log/{name}")).then_some(number)
}

/// Drops segments of large bodies above number `above` that no record names: their deliveries were never acknowledged.
/// All records that can name them were read.
pub(super) fn drop_orphans(
    storage: &dyn Storage,
    ledger: &mut Ledger,
    large: &[u64],
    named: &HashSet<u64>,
    above: u64,
) -> Result<()> {
    let orphan =
        |number: &&u64| (**number > above || !Switch::OrphansAbove.on()) && !named.contains(number);
    for number in large.iter().filter(orphan) {
        drop_segment(storage, ledger, *number)?;
    }
    Ok(())
}

impl Opening<'_> {
    /// Takes over what the listing found.
    pub(super) fn note(&mut self, list: &mut List) {
        self.report.unlisted = std::mem::take(&mut list.unlisted);
        self.report.missing = std::mem::take(&mut list.missing);
        self.report.bad_edits = list.bad_edits;
        self.highest_segment = list.highest;
    }
}
