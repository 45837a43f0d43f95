//! The small files beside the log: MANIFEST and SEGMENTS.
//!
//! Order that must not change: a segment's file and its name are durable before SEGMENTS names it; the edit is
//! durable before MANIFEST counts it; MANIFEST is durable before a batch goes into the segment.

use std::sync::Arc;

use super::recovery::TAIL;
use super::{join_path, segment_name};
use crate::error::{Error, Result};
use crate::format::manifest::{Manifest, Member, MemberState};
use crate::format::segments::{self, Edit, What};
use crate::format::tail::FILE_LEN;
use crate::format::{Fault, Features, PAGE, StoreId};
use crate::io::{File, Host, Open, Storage};
use crate::switch::Switch;

pub(super) const MANIFEST: &str = "MANIFEST";
pub(super) const SEGMENTS: &str = "SEGMENTS";
const MANIFEST_NEW: &str = "MANIFEST.new";

/// MANIFEST and SEGMENTS of a volume, open.
#[derive(Debug)]
pub(super) struct Ledger {
    pub(super) manifest: Manifest,
    /// Whether one slot of MANIFEST is bad: it may have been the newer one, and the other counts too few edits.
    pub(super) doubt: bool,
    volume: String,
    manifest_file: Arc<dyn File>,
    segments_file: Arc<dyn File>,
}

impl Ledger {
    /// Makes a new store's files. MANIFEST comes last and whole: without it there is no store.
    pub(super) fn create(storage: &dyn Storage, host: &dyn Host) -> Result<()> {
        let volume = storage.describe();
        let at = |name: &str| join_path(&volume, name);
        let wrap = |op, name: &'static str| move |source| Error::io(op, at(name), source);
        for folder in ["log", "index", "quarantine"] {
            storage
                .create_folder(folder)
                .map_err(|source| Error::io("create", join_path(&volume, folder), source))?;
        }
        let store = StoreId(host.unique());
        let own = host.unique();
        let zeroes = vec![0; usize::try_from(FILE_LEN).unwrap_or(0)];
        replace(storage, TAIL, &zeroes, Switch::CreateTailSync).map_err(wrap("create", TAIL))?;
        replace(
            storage,
            SEGMENTS,
            &segments::encode_head(store),
            Switch::CreateSegmentsSync,
        )
        .map_err(wrap("create", SEGMENTS))?;
        let manifest = Manifest {
            store,
            volume: own,
            generation: 0,
            epoch: 0,
            nonce: [0; 16],
            next_record: 1,
            durable_batch: 0,
            edits: 0,
            edits_chain: 0,
            created_ms: host.now_ms(),
            clean: true,
            features: Features::default(),
            members: vec![Member {
                volume: own,
                state: MemberState::Current,
                since_batch: 0,
            }],
        };
        let mut slots = manifest.encode();
        slots.resize(2 * PAGE, 0);
        let aside = Switch::ManifestAside.some(MANIFEST_NEW).unwrap_or(MANIFEST);
        replace(storage, aside, &slots, Switch::CreateManifestSync)
            .map_err(wrap("create", MANIFEST))?;
        storage
            .rename(aside, MANIFEST)
            .map_err(wrap("create", MANIFEST))?;
        Switch::CreateNamesSync
            .guard(|| storage.sync_dir(""))
            .map_err(wrap("create", MANIFEST))
    }

    /// Opens the ledger and reads the list of segments. `how` is [`Open::Write`] or [`Open::Read`].
    pub(super) fn open(
        storage: &dyn Storage,
        how: Open,
    ) -> Result<(Self, Vec<Result<Edit, Fault>>)> {
        let volume = storage.describe();
        let manifest_path = join_path(&volume, MANIFEST);
        let manifest_file = storage
            .open(MANIFEST, how)
            .map_err(|source| Error::io("open", &manifest_path, source))?;
        let (mut manifest, doubt) = read_manifest(&*manifest_file, &manifest_path)?;
        allow(manifest.features, how).map_err(|fault| Error::fault(&manifest_path, 0, fault))?;
        let segments_path = join_path(&volume, SEGMENTS);
        let segments_file = storage
            .open(SEGMENTS, how)
            .map_err(|source| match source.kind() {
                std::io::ErrorKind::NotFound => Error::Incomplete {
                    path: volume.clone(),
                    what: "SEGMENTS is missing".into(),
                },
                _ => Error::io("open", &segments_path, source),
            })?;
        let mut edits = read_edits(&*segments_file, &manifest, &segments_path)?;
        if doubt && Switch::EditsCounted.on() {
            count_more(storage, &*segments_file, &mut manifest, &mut edits);
        }
        Ok((
            Self {
                manifest,
                doubt,
                volume,
                manifest_file,
                segments_file,
            },
            edits,
        ))
    }

    /// Adds edits to SEGMENTS and counts them in MANIFEST, with what `also` changes there; both are durable after.
    pub(super) fn append(
        &mut self,
        edits: &[Edit],
        also: impl FnOnce(&mut Manifest),
    ) -> Result<()> {
        let path = join_path(&self.volume, SEGMENTS);
        let first = self.manifest.edits;
        let mut bytes = Vec::new();
        let mut chain = self.manifest.edits_chain;
        for (index, edit) in (first..).zip(edits) {
            let encoded = edit.encode(self.manifest.store, index);
            chain = segments::chain(chain, &encoded);
            bytes.extend_from_slice(&encoded);
        }
        let file = Arc::clone(&self.segments_file);
        let list = || {
            let written = file.write_at(&[&bytes], segments::offset(first));
            written.map_err(|source| Error::io("write", &path, source))?;
            let synced = Switch::EditSync.guard(|| file.sync());
            synced.map_err(|source| Error::io("sync", &path, source))
        };
        Switch::EditFirst.guard(list)?;
        let count = edits.len() as u64;
        self.update(|manifest| {
            manifest.edits += count;
            manifest.edits_chain = chain;
            also(manifest);
        })?;
        Switch::EditFirst.off(list).map_or(Ok(()), |list| list())
    }

    /// Writes the next generation of MANIFEST; durable after.
    pub(super) fn update(&mut self, change: impl FnOnce(&mut Manifest)) -> Result<()> {
        let mut next = self.manifest.clone();
        change(&mut next);
        next.generation += 1;
        let path = join_path(&self.volume, MANIFEST);
        let written = self.manifest_file.write_at(&[&next.encode()], next.slot());
        written.map_err(|source| Error::io("write", &path, source))?;
        Switch::ManifestSync
            .guard(|| self.manifest_file.sync())
            .map_err(|source| Error::io("sync", &path, source))?;
        self.manifest = next;
        Ok(())
    }
}

/// Creates `name` anew with `bytes` and makes the file (not its name) durable.
fn replace(storage: &dyn Storage, name: &str, bytes: &[u8], synced: Switch) -> std::io::Result<()> {
    match storage.remove(name) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = storage.open(name, Open::Create)?;
    file.write_at(&[bytes], 0)?;
    synced.guard(|| file.sync())
}

/// The newer of the two slots that are sound, and whether the other is not. A slot of a newer format is never passed over for an older one.
fn read_manifest(file: &dyn File, path: &str) -> Result<(Manifest, bool)> {
    let mut slots = Vec::new();
    for slot in 0..2 {
        let mut page = vec![0; PAGE];
        let read = file.read_at(&mut page, slot * PAGE as u64);
        read.map_err(|source| Error::io("read", path, source))?;
        match Manifest::decode(&page) {
            Err(fault) if fault.is_newer() => {
                return Err(Error::fault(path, slot * PAGE as u64, fault));
            }
            slot => slots.push(slot),
        }
    }
    let first_fault = slots.iter().find_map(|slot| slot.as_ref().err().copied());
    let newest = slots
        .into_iter()
        .flatten()
        .max_by_key(|manifest| Switch::ManifestNewest.number(manifest.generation));
    let newest = newest.ok_or_else(|| Error::fault(path, 0, first_fault.unwrap_or(Fault::Lost)))?;
    // The second slot of a store that was just created was never written.
    let doubt = Switch::ManifestDoubt.on() && first_fault.is_some() && newest.generation > 0;
    Ok((newest, doubt))
}

/// Refuses to write beside features of a newer build that are safe for readers only.
pub(super) fn allow(features: Features, how: Open) -> Result<(), Fault> {
    if features.writable()? || how == Open::Read {
        Ok(())
    } else {
        let unknown = features.read_only_safe;
        Err(Fault::Features { unknown })
    }
}

/// Counts the sound edits behind those that MANIFEST counts. They are durable: an edit is, before it is counted. One whose
/// segment is not there was never counted: an opening removed the segment before a crash tore its MANIFEST.
fn count_more(
    storage: &dyn Storage,
    file: &dyn File,
    manifest: &mut Manifest,
    edits: &mut Vec<Result<Edit, Fault>>,
) {
    let mut bytes = vec![0; segments::EDIT_LEN];
    loop {
        let read = file.read_at(&mut bytes, segments::offset(manifest.edits));
        if !read.is_ok_and(|len| len == bytes.len()) {
            return;
        }
        let Ok(edit) = Edit::decode(manifest.store, manifest.edits, &bytes) else {
            return;
        };
        if was_removed(storage, &edit) {
            return;
        }
        manifest.edits_chain = segments::chain(manifest.edits_chain, &bytes);
        manifest.edits += 1;
        edits.push(Ok(edit));
    }
}

/// Whether the segment that an edit begins is certainly not there.
fn was_removed(storage: &dyn Storage, edit: &Edit) -> bool {
    let found = match edit.what {
        What::Created | What::Body => storage.open(&segment_name(edit.segment), Open::Read),
        What::Ended | What::Sealed | What::Dropped => return false,
    };
    found.is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
}

/// Edits that are read at once.
const AT_ONCE: usize = 64;

/// The edits that MANIFEST counts. A single bad one is passed on as such: the segment's own header says most of it.
fn read_edits(
    file: &dyn File,
    manifest: &Manifest,
    path: &str,
) -> Result<Vec<Result<Edit, Fault>>> {
    let io = |source| Error::io("read", path, source);
    let len = file.len().map_err(io)?;
    let needed = segments::offset(manifest.edits);
    if len < needed {
        let what = format!("SEGMENTS has {len} bytes, {needed} are needed");
        return Err(Error::Incomplete {
            path: path.into(),
            what,
        });
    }
    let mut head = vec![0; segments::EDIT_LEN];
    file.read_at(&mut head, 0).map_err(io)?;
    let store = segments::decode_head(&head).map_err(|fault| Error::fault(path, 0, fault))?;
    if Switch::SegmentsStore.on() && store != manifest.store {
        return Err(Error::Foreign { path: path.into() });
    }
    let mut edits = Vec::new();
    let mut bytes = [0; AT_ONCE * segments::EDIT_LEN];
    for first in (0..manifest.edits).step_by(AT_ONCE) {
        let read = file.read_at(&mut bytes, segments::offset(first));
        let read = bytes.get(..read.map_err(io)?).unwrap_or_default();
        // The length was looked at: what is missing now is damage of those edits.
        let parts = read
            .chunks(segments::EDIT_LEN)
            .chain(std::iter::repeat(&[][..]));
        let edits_here = (first..manifest.edits).take(AT_ONCE).zip(parts);
        edits.extend(edits_here.map(|(index, bytes)| Edit::decode(store, index, bytes)));
    }
    Ok(edits)
}
