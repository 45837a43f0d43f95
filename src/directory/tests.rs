//! The directory against a model: a list of records, and rows made from all of them.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::row::key_of;
use super::run::{FOLDER, path_of};
use super::*;
use crate::format::PAGE;
use crate::format::change::{Fence, MailboxProperties};
use crate::io::{Directory as Volume, Open};

const STORE: StoreId = StoreId([4; 16]);

fn next(number: u32) -> FileId {
    FileId {
        store: STORE,
        number,
        nonce: [2; 16],
    }
}

/// Keys in a few heaps, so that prefixes are shared.
fn durable() -> Result<()> {
    Ok(())
}

fn key(number: u8) -> AccountId {
    key_of([number / 4; 8], [number % 4; 8])
}

/// A log: every record, and the number of the first one that is not in it yet.
#[derive(Debug, Default)]
struct Log {
    records: Vec<(RecordHeader, Change)>,
    /// How often it was asked.
    asked: Mutex<usize>,
}

impl Log {
    fn next(&self) -> u64 {
        self.records.len() as u64 + 1
    }

    fn append(&mut self, account: u8, change: Change) -> &(RecordHeader, Change) {
        let number = self.next();
        let same = |(header, _): &&(RecordHeader, Change)| header.account == key(account);
        let previous = self.records.iter().rev().find(same);
        let header = RecordHeader {
            number,
            previous: previous.map_or(0, |(header, _)| header.number),
            account: key(account),
            mailbox: 0,
            modseq: number,
        };
        self.records.push((header, change));
        self.records.last().unwrap()
    }

    /// The rows of some records, as they were made one by one.
    fn rows_of(&self, range: Range<u64>) -> BTreeMap<AccountId, Row> {
        let (mut rows, mut fences) = (BTreeMap::new(), Fences::default());
        for (header, change) in &self.records {
            if let Change::Fence(fence) = change {
                fences.add(FenceAt {
                    number: header.number,
                    bound: fence.bound,
                    first_lost: 0,
                    last_lost: 0,
                });
            } else if range.contains(&header.number) {
                let row = rows.entry(header.account);
                let row: &mut Row = row.or_insert_with(|| Row::new(header.account));
                fences.apply(row, header.number);
                row.advance(header, change);
            }
        }
        rows
    }

    /// What a lookup must give.
    fn expected(&self) -> BTreeMap<AccountId, Row> {
        let mut rows = self.rows_of(1..u64::MAX);
        let directory = Directory::open(volume().1, next(0), &[], &[], 1);
        self.records
            .iter()
            .for_each(|(header, change)| directory.note(header, change));
        let fences = directory.fences();
        rows.values_mut()
            .for_each(|row| fences.apply(row, u64::MAX));
        rows
    }
}

impl Uncovered for Log {
    fn rows(
        &self,
        records: Range<u64>,
        first: AccountId,
        last: AccountId,
        limit: usize,
    ) -> Result<Vec<Row>> {
        *self.asked.lock() += 1;
        let rows = self.rows_of(records);
        let some = rows.range(first..=last).take(limit);
        Ok(some.map(|(_, row)| row.clone()).collect())
    }
}

fn volume() -> (tempfile::TempDir, Arc<Volume>) {
    let above = tempfile::tempdir().unwrap();
    let volume = Volume::create_or_open(&above.path().join("mail"), true).unwrap();
    volume.create_folder(FOLDER).unwrap();
    (above, Arc::new(volume))
}

fn create(name: &str) -> Change {
    Change::CreateAccount {
        name: name.into(),
        uid_validity_mark: 3,
    }
}

/// A store with its directory.
struct World {
    _above: tempfile::TempDir,
    volume: Arc<Volume>,
    log: Log,
    directory: Directory,
}

impl World {
    fn new() -> Self {
        let (above, volume) = volume();
        let directory = Directory::open(Arc::clone(&volume) as _, next(1), &[], &[], 1);
        Self {
            _above: above,
            volume,
            log: Log::default(),
            directory,
        }
    }

    fn append(&mut self, account: u8, change: Change) {
        let (header, change) = self.log.append(account, change);
        self.directory.note(header, change);
    }

    fn flush(&self) -> RunInfo {
        self.directory
            .flush(self.log.next(), durable)
            .unwrap()
            .unwrap()
    }

    /// Opens it again from what a checkpoint keeps.
    fn reopen(&mut self) {
        let (runs, fences) = (self.directory.runs(), self.directory.fences());
        let (tail, next_file) = (self.directory.tail(), self.directory.next_file());
        let storage = Arc::clone(&self.volume) as _;
        let fences = fences.all();
        self.directory = Directory::open(storage, next(next_file), &runs, fences, tail);
        let behind = self
            .log
            .records
            .iter()
            .filter(|(header, _)| header.number >= tail);
        behind.for_each(|(header, change)| self.directory.note(header, change));
    }

    fn spoil(&self, info: &RunInfo, offset: u64) {
        let file = self
            .volume
            .open(&path_of(info.number), Open::Write)
            .unwrap();
        let mut byte = [0];
        file.read_at(&mut byte, offset).unwrap();
        file.write_at(&[&[byte[0] ^ 1]], offset).unwrap();
    }

    /// Every way of asking gives what the log says.
    fn check(&self) {
        let expected = self.log.expected();
        for number in 0..=40 {
            let found = self.directory.lookup(&key(number), &self.log).unwrap();
            same(found.iter(), expected.get(&key(number)));
        }
        for prefix in 0..=10 {
            let found = self.directory.by_prefix([prefix; 8], &self.log).unwrap();
            same(
                &found,
                expected
                    .range(key(prefix * 4)..=key(prefix * 4 + 3))
                    .map(|(_, row)| row),
            );
        }
        let mut walked: Vec<Row> = Vec::new();
        loop {
            let after = walked.last().map(|row| row.key);
            let page = self.directory.page(after, 3, &self.log).unwrap();
            assert!(page.len() <= 3);
            if page.is_empty() {
                break;
            }
            walked.extend(page);
        }
        same(&walked, expected.values());
    }
}

/// The rows are the same, but that sources which overlap count a record twice.
fn same<'a>(found: impl IntoIterator<Item = &'a Row>, expected: impl IntoIterator<Item = &'a Row>) {
    let expected: Vec<&Row> = expected.into_iter().collect();
    let mut found: Vec<Row> = found.into_iter().cloned().collect();
    for (found, expected) in found.iter_mut().zip(&expected) {
        assert!(found.records >= expected.records);
        found.records = expected.records;
    }
    assert_eq!(found.iter().collect::<Vec<_>>(), expected);
}

#[derive(Clone, Debug)]
enum Op {
    Append(u8, Change),
    Fence(u32),
    /// So many records before the newest.
    Flush(u64),
    Maintain,
    Reopen,
    /// Run and byte, in 256ths.
    Damage(u8, u8),
    Cover,
    Remove,
}

fn op() -> impl Strategy<Value = Op> {
    let change = prop_oneof![
        "[a-z]{1,9}".prop_map(|name| create(&name)),
        "[a-z]{1,9}".prop_map(|name| Change::RenameAccount {
            name,
            uid_validity_mark: 7
        }),
        (0_u32..99).prop_map(|uid_validity_mark| Change::DeleteAccount { uid_validity_mark }),
        Just(Change::UpdateMailbox(MailboxProperties::default())),
    ];
    prop_oneof![
        20 => (0_u8..40, change).prop_map(|(account, change)| Op::Append(account, change)),
        1 => (1_u32..50).prop_map(Op::Fence),
        5 => prop_oneof![Just(0), 0_u64..6].prop_map(Op::Flush),
        3 => Just(Op::Maintain),
        1 => Just(Op::Reopen),
        2 => any::<(u8, u8)>().prop_map(|(run, byte)| Op::Damage(run, byte)),
        1 => Just(Op::Cover),
        1 => Just(Op::Remove),
    ]
}

fn act(world: &mut World, op: Op) {
    match op {
        Op::Append(account, change) => world.append(account, change),
        Op::Fence(bound) => {
            let fence = Fence {
                first_lost: 0,
                last_lost: 0,
                bound,
            };
            world.append(255, Change::Fence(fence));
        }
        Op::Flush(back) => {
            let hi = world.log.next().saturating_sub(back);
            world.directory.flush(hi, durable).unwrap();
        }
        Op::Maintain => drop(world.directory.maintain().unwrap()),
        Op::Reopen => world.reopen(),
        Op::Damage(run, byte) => {
            let runs = world.directory.runs();
            if let Some(info) = runs.get(usize::from(run) * runs.len() / 256) {
                world.spoil(info, info.len * u64::from(byte) / 256);
            }
        }
        Op::Cover => {
            for range in world.directory.uncovered() {
                let rows = world.log.rows_of(range.clone()).into_values().map(Ok);
                assert!(world.directory.cover(range, 9, rows).unwrap().is_some());
            }
            assert_eq!(world.directory.uncovered(), []);
        }
        Op::Remove => {
            let runs = world.directory.runs();
            world.directory.remove_files_not_in_use(&runs).unwrap();
            let files = world.volume.list(FOLDER).unwrap();
            assert_eq!(files.len(), runs.len());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// Goal: whatever happens to the files, and whatever is flushed, merged or rebuilt, the answers are the log's.
    #[test]
    fn answers_are_those_of_the_log(ops in prop::collection::vec(op(), 1..60)) {
        let mut world = World::new();
        for (at, op) in ops.into_iter().enumerate() {
            act(&mut world, op);
            if at % 8 == 0 {
                world.check();
            }
        }
        world.check();
    }
}

/// Goal: an account whose row is complete in a newer source costs no look at the older ones.
#[test]
fn a_lookup_stops_where_the_row_is_complete() {
    let mut world = World::new();
    world.append(1, create("anna"));
    world.flush();
    let old = world.directory.runs()[0];
    world.append(2, create("bert"));
    world.flush();
    for at in 0..old.len / PAGE as u64 {
        world.spoil(&old, at * PAGE as u64);
    }
    let found = world
        .directory
        .lookup(&key(2), &world.log)
        .unwrap()
        .unwrap();
    assert_eq!(found.name.as_deref(), Some("bert"));
    assert_eq!(world.directory.runs().len(), 2);
    // Whoever needs the old one gets the log's answer, and the run is gone.
    let found = world
        .directory
        .lookup(&key(1), &world.log)
        .unwrap()
        .unwrap();
    assert_eq!(found.name.as_deref(), Some("anna"));
    assert_eq!(world.directory.uncovered(), [old.range()]);
    assert_eq!(*world.log.asked.lock(), 1);
    let damage = world.directory.take_damage();
    assert!(
        matches!(damage[..], [Error::Damaged { offset: 0, .. }]),
        "{damage:?}"
    );
    assert!(world.directory.take_damage().is_empty());
}

#[test]
fn a_run_that_is_gone_is_dropped() {
    let mut world = World::new();
    world.append(1, create("anna"));
    let info = world.flush();
    world.volume.remove(&path_of(info.number)).unwrap();
    world.check();
    assert!(world.directory.runs().is_empty());
}

/// A checkpoint that names a run by other numbers than its own is not believed.
#[test]
fn a_run_is_the_one_that_was_named() {
    let mut world = World::new();
    world.append(1, create("anna"));
    let info = world.flush();
    for wrong in [
        RunInfo {
            nonce: [8; 16],
            ..info
        },
        RunInfo { lo: 0, ..info },
        RunInfo { rows: 2, ..info },
        RunInfo { len: 1, ..info },
    ] {
        let slot = Slot::new(wrong);
        let opened = slot.run(&*world.volume, STORE);
        let refused = matches!(opened, Err(Error::Damaged { .. } | Error::Foreign { .. }));
        assert!(refused, "{wrong:?}: {opened:?}");
    }
}

#[test]
fn a_live_row_replaces_what_was_known() {
    let mut world = World::new();
    world.append(1, create("anna"));
    world.flush();
    let mut row = world
        .directory
        .lookup(&key(1), &world.log)
        .unwrap()
        .unwrap();
    row.last_record = 7;
    row.opaque = true;
    world.directory.put(row.clone());
    assert!(world.directory.memory_bytes() > 0);
    assert_eq!(
        world.directory.lookup(&key(1), &world.log).unwrap(),
        Some(row.clone())
    );
    assert_eq!(
        world
            .directory
            .flush(9, durable)
            .unwrap()
            .map(|info| info.range()),
        Some(2..9)
    );
    assert_eq!(
        world.directory.lookup(&key(1), &world.log).unwrap(),
        Some(row)
    );
    assert_eq!(world.directory.flush(9, durable).unwrap(), None);
    assert_eq!(world.directory.memory_bytes(), 0);
}

/// Goal: a flush that the system refuses changes nothing, and the next one has all rows.
#[test]
fn a_refused_flush_keeps_the_rows() {
    let mut world = World::new();
    world.append(1, create("anna"));
    let other = Directory::open(Arc::new(NoFolder), next(1), &[], &[], 1);
    let (header, change) = &world.log.records[0];
    other.note(header, change);
    assert!(other.flush(2, durable).is_err());
    assert_eq!((other.tail(), other.runs().len()), (1, 0));
    let found = other.lookup(&key(1), &world.log).unwrap().unwrap();
    assert_eq!(found.name.as_deref(), Some("anna"));
}

/// A volume that refuses everything.
#[derive(Debug)]
struct NoFolder;

fn refuse<T>() -> std::io::Result<T> {
    Err(std::io::ErrorKind::StorageFull.into())
}

impl Storage for NoFolder {
    fn open(&self, _: &str, _: Open) -> std::io::Result<Arc<dyn crate::io::File>> {
        refuse()
    }
    fn list(&self, _: &str) -> std::io::Result<Vec<crate::io::Listed>> {
        refuse()
    }
    fn create_folder(&self, _: &str) -> std::io::Result<()> {
        refuse()
    }
    fn rename(&self, _: &str, _: &str) -> std::io::Result<()> {
        refuse()
    }
    fn remove(&self, _: &str) -> std::io::Result<()> {
        refuse()
    }
    fn sync_dir(&self, _: &str) -> std::io::Result<()> {
        refuse()
    }
    fn lock(&self, _: &str, _: &str) -> std::io::Result<Box<dyn Send + Sync>> {
        refuse()
    }
    fn describe(&self) -> String {
        "nowhere".into()
    }
}

/// An error that says nothing about the file (no descriptors left, say) is told, and drops no run.
#[test]
fn a_run_that_cannot_be_read_now_is_kept() {
    let info = RunInfo {
        number: 1,
        nonce: [0; 16],
        lo: 1,
        hi: 9,
        rows: 1,
        len: 1,
    };
    let directory = Directory::open(Arc::new(NoFolder), next(1), &[info], &[], 9);
    let log = Log::default();
    assert!(directory.lookup(&key(1), &log).is_err());
    assert!(directory.by_prefix([0; 8], &log).is_err());
    assert!(directory.page(None, 9, &log).is_err());
    assert_eq!(directory.runs(), [info]);
    assert_eq!(directory.next_file(), 2);
}

#[test]
fn a_cover_takes_only_what_is_uncovered() {
    let mut world = World::new();
    (0..20).for_each(|at| world.append(at, create("x")));
    world.flush();
    let info = world.directory.runs()[0];
    let rows = |range| world.log.rows_of(range).into_values().map(Ok);
    assert_eq!(world.directory.cover(1..5, 4, rows(1..5)).unwrap(), None);
    world.directory.damaged(info.number, Error::Closed);
    assert!(
        world
            .directory
            .cover(5..10, 4, rows(5..10))
            .unwrap()
            .is_some()
    );
    assert_eq!(world.directory.uncovered(), [1..5, 10..21]);
    assert_eq!(world.directory.cover(9..12, 4, rows(9..12)).unwrap(), None);
    assert!(
        world
            .directory
            .cover(1..5, 4, rows(1..5).chain([Err(Error::Closed)]))
            .is_err()
    );
    world.check();
}

/// Files that the durable checkpoint names stay, as do those of other kinds.
#[test]
fn only_files_that_nobody_names_are_removed() {
    let mut world = World::new();
    let mut flushed = Vec::new();
    for at in 0..4 {
        world.append(at, create("x"));
        flushed.push(world.flush());
    }
    for name in ["CHECKPOINT", "00000001.img", "1.run", "0000000G.run"] {
        world
            .volume
            .open(&format!("{FOLDER}/{name}"), Open::Create)
            .unwrap();
    }
    assert!(world.directory.maintain().unwrap());
    assert!(!world.directory.maintain().unwrap());
    assert_eq!(world.directory.runs().len(), 1);
    assert_eq!(
        world.directory.remove_files_not_in_use(&flushed).unwrap(),
        0
    );
    assert_eq!(
        world
            .directory
            .remove_files_not_in_use(&flushed[..1])
            .unwrap(),
        3
    );
    assert_eq!(world.directory.remove_files_not_in_use(&[]).unwrap(), 1);
    assert_eq!(world.volume.list(FOLDER).unwrap().len(), 5);
    world.check();
}

/// Goal: readers that run beside flushes, merges and damage always see every account.
#[test]
fn readers_beside_the_maintainer_miss_nothing() {
    let mut world = World::new();
    for round in 0..12 {
        (0..40).for_each(|at| world.append(at, create(&format!("a{round}"))));
    }
    let World { log, directory, .. } = &world;
    let stop = std::sync::atomic::AtomicBool::new(false);
    let done = std::sync::atomic::Ordering::Relaxed;
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(done) {
                    for at in 0..40 {
                        let row = directory.lookup(&key(at), log).unwrap().unwrap();
                        assert_eq!(row.name.as_deref(), Some("a11"));
                    }
                    assert_eq!(directory.page(None, 99, log).unwrap().len(), 40);
                }
            });
        }
        for hi in (40..=481).step_by(40) {
            directory.flush(hi + 1, durable).unwrap();
            directory.maintain().unwrap();
            directory.remove_files_not_in_use(&[]).unwrap();
        }
        let runs = directory.runs();
        directory.damaged(runs[0].number, Error::Closed);
        directory.remove_files_not_in_use(&[]).unwrap();
        stop.store(true, done);
    });
}
