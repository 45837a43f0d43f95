//! The simulated disk itself: if it were too kind, every test that stands on it would prove nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::sync::Arc;

use mailkeep::io::{File, Host, Kind, Open, Storage};

use crate::sim::{Call, Fault, Op, Pending, SECTOR, Sim, SimHost, SyncFails, WriteFails};

const KEEP: fn(Pending) -> bool = |_| true;
const LOSE: fn(Pending) -> bool = |_| false;

/// A disk with a durable, empty file "f", and its only changes so far.
fn with_file() -> (Sim, Arc<dyn File>) {
    let sim = Sim::from_files(BTreeMap::from([("f".to_owned(), Vec::new())]));
    let file = sim.open("f", Open::Write).unwrap();
    (sim, file)
}

/// The file "f" after a power cut now.
fn crashed(sim: &Sim, mut choose: impl FnMut(Pending) -> bool) -> Vec<u8> {
    sim.crash(sim.ops_len(), &mut choose).files()["f"].clone()
}

fn names(sim: &Sim) -> Vec<String> {
    sim.files().into_keys().collect()
}

/// Every different set of files that a power cut now may leave.
fn all_states(sim: &Sim) -> BTreeSet<BTreeMap<String, Vec<u8>>> {
    sim.crash_point(sim.ops_len())
        .states(20, 0, 0)
        .map(|state| state.files())
        .collect()
}

#[test]
fn live_reads_see_every_write() {
    let (sim, file) = with_file();
    file.write_at(&[b"ab", b"", b"cd"], 2).unwrap();
    let mut buf = [b'-'; 6];
    assert_eq!(file.read_at(&mut buf, 1).unwrap(), 5);
    assert_eq!(&buf, b"\0abcd-");
    let held = file.bytes(2, 4).unwrap();
    file.write_at(&[b"x"], 2).unwrap();
    file.set_len(3).unwrap();
    sim.remove("f").unwrap();
    assert_eq!(&held[..], b"abcd");
    assert_eq!(
        file.bytes(2, 2).unwrap_err().kind(),
        ErrorKind::UnexpectedEof
    );
    assert_eq!(
        file.bytes(u64::MAX, 2).unwrap_err().kind(),
        ErrorKind::UnexpectedEof
    );
    assert_eq!(
        (file.len().unwrap(), file.read_at(&mut buf, 9).unwrap()),
        (3, 0)
    );
}

#[test]
fn an_unsynced_write_may_be_lost_and_a_synced_one_not() {
    let (sim, file) = with_file();
    file.write_at(&[b"one"], 0).unwrap();
    assert_eq!(crashed(&sim, LOSE), b"");
    assert_eq!(crashed(&sim, KEEP), b"one");
    file.sync().unwrap();
    file.write_at(&[b"two"], 3).unwrap();
    assert_eq!(crashed(&sim, LOSE), b"one");
    assert_eq!(sim.crash(1, &mut |_| false).files()["f"], b"");
}

#[test]
fn each_sector_of_a_write_is_kept_or_lost_on_its_own() {
    let (sim, file) = with_file();
    file.set_len(3 * SECTOR as u64).unwrap();
    file.sync().unwrap();
    file.write_at(&[&[7; 2 * SECTOR]], SECTOR as u64 / 2)
        .unwrap();
    assert_eq!(all_states(&sim).len(), 8);
    let middle = crashed(&sim, |what| {
        matches!(what, Pending::Sector { sector: 1, .. })
    });
    assert_eq!(middle, [[0; SECTOR], [7; SECTOR], [0; SECTOR]].concat());
}

#[test]
fn a_later_write_to_a_sector_is_never_there_without_the_earlier() {
    let (sim, file) = with_file();
    file.write_at(&[b"...."], 0).unwrap();
    file.sync().unwrap();
    file.write_at(&[b"a"], 0).unwrap();
    file.write_at(&[b"b"], 1).unwrap();
    let found: Vec<Vec<u8>> = all_states(&sim)
        .into_iter()
        .map(|files| files["f"].clone())
        .collect();
    assert_eq!(found, [&b"...."[..], b"a...", b"ab.."]);
}

#[test]
fn length_and_data_are_lost_apart_from_each_other() {
    let (sim, file) = with_file();
    file.write_at(&[b"data"], 0).unwrap();
    let found: Vec<Vec<u8>> = all_states(&sim)
        .into_iter()
        .map(|files| files["f"].clone())
        .collect();
    assert_eq!(found, [&b""[..], b"\0\0\0\0", b"data"]);
}

#[test]
fn what_was_cut_does_not_come_back() {
    let (sim, file) = with_file();
    file.write_at(&[b"secret"], 0).unwrap();
    file.sync().unwrap();
    file.set_len(1).unwrap();
    file.set_len(3).unwrap();
    let found: Vec<Vec<u8>> = all_states(&sim)
        .into_iter()
        .map(|files| files["f"].clone())
        .collect();
    assert_eq!(found, [&b"s"[..], b"s\0\0", b"secret"]);
}

#[test]
fn a_new_name_needs_its_folder_synced() {
    let sim = Sim::new();
    let file = sim.open("f", Open::Create).unwrap();
    file.write_at(&[b"x"], 0).unwrap();
    file.sync().unwrap();
    assert!(names(&sim.crash(sim.ops_len(), &mut |_| false)).is_empty());
    sim.sync_dir("").unwrap();
    assert_eq!(crashed(&sim, LOSE), b"x");
}

#[test]
fn a_file_in_a_folder_needs_the_folder_itself_too() {
    let sim = Sim::new();
    sim.create_folder("log").unwrap();
    sim.open("log/1", Open::Create).unwrap().sync().unwrap();
    sim.sync_dir("log").unwrap();
    assert!(names(&sim.crash(sim.ops_len(), &mut |_| false)).is_empty());
    sim.sync_dir("").unwrap();
    assert_eq!(names(&sim.crash(sim.ops_len(), &mut |_| false)), ["log/1"]);
}

#[test]
fn a_rename_without_a_folder_sync_may_be_lost_but_never_half_done() {
    let sim = Sim::from_files(BTreeMap::from([("f".to_owned(), b"old".to_vec())]));
    let file = sim.open("tmp", Open::Create).unwrap();
    file.write_at(&[b"new"], 0).unwrap();
    file.sync().unwrap();
    sim.rename("tmp", "f").unwrap();
    let found = all_states(&sim);
    let of = |files: &[(&str, &[u8])]| {
        files
            .iter()
            .map(|(n, c)| ((*n).to_owned(), c.to_vec()))
            .collect()
    };
    assert_eq!(
        found,
        BTreeSet::from([
            of(&[("f", b"old")]),
            of(&[("f", b"old"), ("tmp", b"new")]),
            of(&[("f", b"new")])
        ])
    );
    sim.sync_dir("").unwrap();
    assert_eq!(crashed(&sim, LOSE), b"new");
}

#[test]
fn a_rename_of_an_unsynced_file_may_leave_it_empty() {
    let (sim, _) = with_file();
    sim.open("tmp", Open::Create)
        .unwrap()
        .write_at(&[b"new"], 0)
        .unwrap();
    sim.rename("tmp", "f").unwrap();
    sim.sync_dir("").unwrap();
    assert_eq!(crashed(&sim, LOSE), b"");
}

#[test]
fn names_of_one_folder_are_kept_in_order_and_of_two_in_any() {
    let sim = Sim::from_files(BTreeMap::from([("log/0".to_owned(), Vec::new())]));
    sim.open("a", Open::Create).unwrap();
    sim.open("b", Open::Create).unwrap();
    sim.open("log/c", Open::Create).unwrap();
    let found: BTreeSet<Vec<String>> = all_states(&sim)
        .into_iter()
        .map(|files| files.into_keys().collect())
        .collect();
    assert_eq!(found.len(), 6, "{found:?}");
    assert!(!found.contains(&vec!["b".to_owned(), "log/0".to_owned()]));
    assert!(found.contains(&vec!["log/0".to_owned(), "log/c".to_owned()]));
}

#[test]
fn a_synced_rename_out_of_another_folder_takes_its_creation_along() {
    let sim = Sim::from_files(BTreeMap::from([("log/0".to_owned(), Vec::new())]));
    sim.open("tmp", Open::Create).unwrap();
    sim.rename("tmp", "log/1").unwrap();
    sim.open("later", Open::Create).unwrap();
    sim.sync_dir("log").unwrap();
    assert_eq!(
        names(&sim.crash(sim.ops_len(), &mut |_| false)),
        ["log/0", "log/1"]
    );
}

#[test]
fn a_removal_without_a_folder_sync_may_come_back() {
    let (sim, _) = with_file();
    sim.remove("f").unwrap();
    assert_eq!(names(&sim.crash(sim.ops_len(), &mut |_| false)), ["f"]);
    sim.sync_dir("").unwrap();
    assert!(names(&sim.crash(sim.ops_len(), &mut |_| false)).is_empty());
}

#[test]
fn after_a_kill_all_is_seen_and_a_power_cut_still_loses_it() {
    let (sim, file) = with_file();
    file.write_at(&[b"seen"], 0).unwrap();
    file.write_at(&[b"not yet"], 4).unwrap();
    let killed = sim.killed(1);
    assert_eq!(killed.files()["f"], b"seen");
    assert_eq!(crashed(&killed, LOSE), b"");
    killed.open("f", Open::Write).unwrap().sync().unwrap();
    assert_eq!(killed.ops_len(), 2);
    assert_eq!(crashed(&killed, LOSE), b"seen");
}

#[test]
fn a_failed_sync_drops_what_it_covered_and_the_next_one_lies() {
    let cases = [
        (SyncFails::Kept, &b"old new"[..], &b"old new"[..]),
        (SyncFails::Dropped, b"old new", b"old\0\0\0\0"),
        (SyncFails::Reverted, b"old\0\0\0\0", b"old\0\0\0\0"),
    ];
    for (how, cached, stored) in cases {
        let (sim, file) = with_file();
        file.write_at(&[b"old"], 0).unwrap();
        file.sync().unwrap();
        file.write_at(&[b" new"], 3).unwrap();
        sim.set_fault(Some(Fault {
            sync: how,
            ..Fault::once(&[Call::Sync], 0)
        }));
        assert_eq!(file.sync().unwrap_err().raw_os_error(), Some(5));
        file.sync().unwrap();
        assert_eq!(sim.files()["f"], cached, "{how:?}");
        assert_eq!(crashed(&sim, LOSE), stored, "{how:?}");
        assert_eq!(sim.killed(sim.ops_len()).files()["f"], cached, "{how:?}");
    }
}

#[test]
fn a_fault_hits_the_calls_it_names_once_or_for_ever() {
    let (sim, file) = with_file();
    sim.set_fault(Some(Fault::once(&[Call::Write], 1)));
    let once = [0, 1, 2].map(|_| (file.len().is_ok(), file.write_at(&[b"x"], 0).is_ok()));
    assert_eq!(once, [(true, true), (true, false), (true, true)]);
    sim.set_fault(Some(Fault {
        error: || ErrorKind::ReadOnlyFilesystem.into(),
        ..Fault::from(&[], 1)
    }));
    file.len().unwrap();
    assert_eq!(
        file.len().unwrap_err().kind(),
        ErrorKind::ReadOnlyFilesystem
    );
    assert!(
        sim.open("f", Open::Read).is_err() && sim.list("").is_err() && sim.sync_dir("").is_err()
    );
    assert_eq!(sim.fault_hits(), 4);
    sim.set_fault(None);
    file.len().unwrap();
}

#[test]
fn a_failed_write_leaves_nothing_or_half() {
    for (how, left) in [(WriteFails::Nothing, &b""[..]), (WriteFails::Half, b"ab")] {
        let (sim, file) = with_file();
        sim.set_fault(Some(Fault {
            write: how,
            ..Fault::once(&[Call::Write], 0)
        }));
        file.write_at(&[b"a", b"bcd"], 0).unwrap_err();
        assert_eq!(sim.files()["f"], left);
    }
}

#[test]
fn a_full_disk_refuses_growth_only() {
    let (sim, file) = with_file();
    sim.set_space(Some(6));
    file.write_at(&[b"1234"], 0).unwrap();
    assert_eq!(
        file.write_at(&[b"abcd"], 3).unwrap_err().kind(),
        ErrorKind::StorageFull
    );
    assert_eq!(sim.files()["f"], b"123abc");
    file.write_at(&[b"123456"], 0).unwrap();
    assert_eq!(file.set_len(7).unwrap_err().kind(), ErrorKind::StorageFull);
    let other = sim.open("g", Open::Create).unwrap();
    assert_eq!(
        other.write_at(&[b"x"], 0).unwrap_err().kind(),
        ErrorKind::StorageFull
    );
    sim.remove("f").unwrap();
    other.write_at(&[b"123456"], 0).unwrap();
}

#[test]
fn damage_changes_the_medium_at_once() {
    let content: Vec<u8> = [[1; SECTOR], [2; SECTOR], [3; SECTOR]].concat();
    let sim = Sim::from_files(BTreeMap::from([
        ("f".to_owned(), content),
        ("g".to_owned(), vec![9; 700]),
    ]));
    sim.flip("f", 8);
    assert_eq!(crashed(&sim, LOSE)[..3], [1, 0, 1]);
    sim.zero_sector("f", 0);
    sim.copy_sector(("g", 1), ("f", 2));
    let found = crashed(&sim, LOSE);
    assert_eq!(found[..SECTOR], [0; SECTOR]);
    assert_eq!(
        found[2 * SECTOR..],
        [&[9; 188][..], &[3; SECTOR - 188]].concat()
    );
    sim.truncate("f", 5);
    assert_eq!(crashed(&sim, LOSE), [0; 5]);
    sim.lose("f");
    assert_eq!(names(&sim.crash(sim.ops_len(), &mut |_| false)), ["g"]);
    assert_eq!(names(&sim), ["g"]);
}

#[test]
fn an_unreadable_range_fails_the_reads_that_touch_it() {
    let (sim, file) = with_file();
    file.set_len(100).unwrap();
    sim.fail_reads("f", 10..20);
    assert_eq!(file.bytes(0, 10).unwrap().len(), 10);
    assert_eq!(file.bytes(20, 80).unwrap().len(), 80);
    assert_eq!(file.bytes(19, 1).unwrap_err().raw_os_error(), Some(5));
    assert_eq!(
        file.read_at(&mut [0; 50], 0).unwrap_err().raw_os_error(),
        Some(5)
    );
}

#[test]
fn notes_lie_between_changes() {
    let (sim, file) = with_file();
    sim.note("start");
    file.write_at(&[b"1"], 0).unwrap();
    file.sync().unwrap();
    sim.note("acknowledged 1");
    file.write_at(&[b"2"], 1).unwrap();
    assert_eq!(sim.notes_before(1), ["start"]);
    assert_eq!(sim.notes_before(2), ["start", "acknowledged 1"]);
    assert_eq!(sim.killed(2).notes_before(9), ["start", "acknowledged 1"]);
    assert!(matches!(sim.ops()[1], Op::Sync { inode } if inode == sim.inode("f")));
}

#[test]
fn the_lock_excludes_until_dropped_and_does_not_outlive_a_crash() {
    let sim = Sim::new();
    let held = sim.lock("LOCK", "me").unwrap();
    assert_eq!(
        sim.lock("LOCK", "you").map(drop).unwrap_err().kind(),
        ErrorKind::WouldBlock
    );
    sim.killed(1).lock("LOCK", "you").map(drop).unwrap();
    drop(held);
    sim.lock("LOCK", "you").map(drop).unwrap();
    assert_eq!(sim.ops_len(), 1);
}

#[test]
fn calls_refuse_what_a_real_disk_refuses() {
    let (sim, file) = with_file();
    let kind = |name: &str, how| sim.open(name, how).unwrap_err().kind();
    assert_eq!(kind("g", Open::Write), ErrorKind::NotFound);
    assert_eq!(kind("log/g", Open::Create), ErrorKind::NotFound);
    assert_eq!(kind("f", Open::Create), ErrorKind::AlreadyExists);
    assert_eq!(kind("../f", Open::Read), ErrorKind::InvalidInput);
    assert_eq!(
        sim.rename("g", "h").unwrap_err().kind(),
        ErrorKind::NotFound
    );
    assert_eq!(sim.remove("g").unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(sim.list("log").unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(
        sim.create_folder("f").unwrap_err().kind(),
        ErrorKind::NotADirectory
    );
    sim.open("f", Open::Read)
        .unwrap()
        .write_at(&[b"x"], 0)
        .unwrap_err();
    file.write_at(&[b"12"], 0).unwrap();
    sim.create_folder("log").unwrap();
    let found: Vec<_> = sim
        .list("")
        .unwrap()
        .into_iter()
        .map(|found| (found.name, found.kind, found.len))
        .collect();
    assert_eq!(
        found,
        [
            ("f".to_owned(), Kind::File, 2),
            ("log".to_owned(), Kind::Folder, 0)
        ]
    );
}

#[test]
fn samples_hold_the_extremes_and_repeat_with_their_seed() {
    let (sim, file) = with_file();
    file.write_at(&[&[1; 40 * SECTOR]], 0).unwrap();
    let point = sim.crash_point(sim.ops_len());
    assert_eq!(point.pending_len(), 41);
    let run = |seed| {
        point
            .states(10, 50, seed)
            .map(|state| state.files()["f"].clone())
            .collect::<Vec<_>>()
    };
    let found = run(1);
    assert_eq!(
        (found.len(), found[0].len(), &found[1]),
        (54, 0, &vec![1; 40 * SECTOR])
    );
    assert_eq!(found[3], vec![0; 40 * SECTOR]);
    assert!(found.iter().collect::<BTreeSet<_>>().len() > 25);
    assert!(run(1) == found && run(2) != found);
}

#[test]
fn a_host_of_a_test_counts() {
    let host = SimHost::new(5, 1);
    assert_ne!(host.unique(), host.unique());
    assert_eq!(SimHost::new(0, 1).unique(), SimHost::new(9, 1).unique());
    host.set_now_ms(-3);
    assert_eq!(host.now_ms(), -3);
}

/// The budget of the crash tests: thousands of disks a second.
#[test]
fn a_disk_after_a_crash_is_cheap() {
    let (sim, file) = with_file();
    for n in 0..200 {
        file.write_at(&[&[1; 3000]], n * 3072).unwrap();
        file.sync().unwrap();
    }
    file.write_at(&[&[2; 8 * SECTOR]], 200 * 3072).unwrap();
    let point = sim.crash_point(sim.ops_len());
    let start = std::time::Instant::now();
    let count = point.states(9, 0, 0).count();
    let each = start.elapsed() / u32::try_from(count).unwrap();
    assert_eq!(count, 512);
    assert!(each < std::time::Duration::from_millis(5), "{each:?} each");
}
