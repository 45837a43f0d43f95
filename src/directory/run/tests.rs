use super::*;
use crate::Error;
use crate::directory::FileId;
use crate::directory::row::Inbox;
use crate::io::{Directory as Volume, Open};

const STORE: StoreId = StoreId([4; 16]);

fn id(number: u32, nonce: u8) -> FileId {
    FileId {
        store: STORE,
        number,
        nonce: [nonce; 16],
    }
}

fn volume() -> (tempfile::TempDir, Volume) {
    let above = tempfile::tempdir().unwrap();
    let volume = Volume::create_or_open(&above.path().join("mail"), true).unwrap();
    volume.create_folder(FOLDER).unwrap();
    (above, volume)
}

/// Keys spread like digests, in order.
fn key(number: u64, of: u64) -> AccountId {
    let prefix = u64::MAX / of * number + number % 7;
    key_of(prefix.swap_bytes().to_le_bytes(), [1; 8])
}

fn row(number: u64, of: u64) -> Row {
    Row {
        name: Some(format!("user{number}@example.it").into()),
        last_record: number + 1,
        inbox: Inbox {
            uid_validity: 9,
            uid_next: number,
        },
        ..Row::new(key(number, of))
    }
}

fn written(volume: &Volume, number: u32, rows: &[Row]) -> RunInfo {
    let all = rows.iter().cloned().map(Ok::<Row, Error>);
    write_run(volume, id(number, 1), 5..900, rows.len() as u64, all).unwrap()
}

fn open(volume: &Volume, number: u32) -> Result<Arc<Run>> {
    Run::open(volume, number, STORE).map(Arc::new)
}

/// Goal: every row is found, what lies between is not, and a walk from anywhere gives the rest in order.
fn check(rows: &[Row]) {
    let (_above, volume) = volume();
    let info = written(&volume, 1, rows);
    let run = open(&volume, 1).unwrap();
    assert_eq!(
        (run.lo(), run.hi(), run.rows(), run.len()),
        (5, 900, info.rows, info.len)
    );
    assert_eq!(info.rows, rows.len() as u64);
    for row in rows {
        assert_eq!(run.get(&row.key).unwrap().as_ref(), Some(row));
        let mut other = *row.key.as_bytes();
        other[15] ^= 1;
        assert_eq!(run.get(&AccountId::from_bytes(other)).unwrap(), None);
    }
    for from in (0..rows.len()).step_by(rows.len() / 20 + 1) {
        let found: Vec<Row> = run.iter_from(rows[from].key).map(Result::unwrap).collect();
        assert_eq!(found, &rows[from..]);
    }
    let all = run.iter_from(AccountId::from_bytes([0; 16]));
    assert_eq!(all.map(Result::unwrap).collect::<Vec<_>>(), rows);
    let behind = run.iter_from(AccountId::from_bytes([0xff; 16]));
    assert!(
        behind
            .map(Result::unwrap)
            .all(|row| row.key.as_bytes() == &[0xff; 16])
    );
}

#[test]
fn runs_of_all_sizes_are_read_back() {
    for many in [0, 1, 2, 28, 29, 30, 31, 500] {
        check(&(0..many).map(|at| row(at, many)).collect::<Vec<_>>());
    }
}

/// More than one page of the page index.
#[test]
fn a_run_with_many_pages_is_read_back() {
    let rows: Vec<Row> = (0..20_000).map(|at| row(at, 20_000)).collect();
    let (_above, volume) = volume();
    let info = written(&volume, 1, &rows);
    let run = open(&volume, 1).unwrap();
    assert!(run.head.index_page_count() > 2);
    assert!(
        info.len / 20_000 < 150,
        "{} bytes for a row",
        info.len / 20_000
    );
    for row in rows.iter().step_by(7) {
        assert_eq!(run.get(&row.key).unwrap().as_ref(), Some(row));
    }
    for at in [0, 1, 7_000, 19_999] {
        assert_eq!(run.iter_from(rows[at].key).count(), 20_000 - at);
    }
    // A miss reads no row: few get past the filter.
    let misses = (0..20_000_u64).map(|at| prefix_of(&key(at * 3 + 1, 60_007)));
    let passed = misses
        .filter(|prefix| run.may_hold(*prefix).unwrap())
        .count();
    assert!(passed < 600, "{passed}");
}

/// Keys in two heaps and at both ends of all keys: the guess is wrong, the search is not.
#[test]
fn keys_that_are_not_spread_evenly_are_found() {
    let id = |number: u128| AccountId::from_bytes(number.swap_bytes().to_le_bytes());
    let low = (0..9_000_u128).map(id);
    let high = (0..9_000_u128).rev().map(|at| id(u128::MAX - at));
    let rows: Vec<Row> = low.chain(high).map(Row::new).collect();
    let (_above, volume) = volume();
    written(&volume, 1, &rows);
    let run = open(&volume, 1).unwrap();
    for row in rows.iter().step_by(11).chain(rows.last()) {
        assert_eq!(run.get(&row.key).unwrap().as_ref(), Some(row));
    }
    // All of one prefix, over many pages.
    assert_eq!(run.prefix([0; 8]).unwrap(), &rows[..9_000]);
}

#[test]
fn a_prefix_gives_all_its_rows() {
    let prefixed = |first: u8, rest: u8| Row::new(key_of([first; 8], [rest; 8]));
    let mut rows = vec![prefixed(1, 9)];
    rows.extend((0..=255).map(|rest| prefixed(2, rest)));
    rows.push(prefixed(3, 0));
    let (_above, volume) = volume();
    written(&volume, 1, &rows);
    let run = open(&volume, 1).unwrap();
    assert_eq!(run.prefix([2; 8]).unwrap(), &rows[1..257]);
    assert_eq!(run.prefix([3; 8]).unwrap(), &rows[257..]);
    assert_eq!(run.prefix([1; 8]).unwrap(), &rows[..1]);
    for none in [[0; 8], [4; 8], [2, 2, 2, 2, 2, 2, 2, 3]] {
        assert_eq!(run.prefix(none).unwrap(), Vec::new());
    }
}

#[test]
fn a_run_of_another_store_or_number_is_refused() {
    let (_above, volume) = volume();
    written(&volume, 1, &[row(0, 1)]);
    volume.rename(&path_of(1), &path_of(2)).unwrap();
    assert!(matches!(
        open(&volume, 2),
        Err(Error::Damaged { offset: 0, .. })
    ));
    volume.rename(&path_of(2), &path_of(1)).unwrap();
    let other = Run::open(&volume, 1, StoreId([5; 16]));
    assert!(matches!(other, Err(Error::Damaged { offset: 0, .. })));
    assert!(matches!(open(&volume, 3), Err(Error::Io { .. })));
}

#[test]
fn rows_out_of_order_leave_no_file() {
    let (_above, volume) = volume();
    for rows in [[row(1, 9), row(0, 9)], [row(1, 9), row(1, 9)]] {
        let all = rows.into_iter().map(Ok::<Row, Error>);
        let refused = write_run(&volume, id(1, 1), 1..2, 2, all);
        assert!(refused.unwrap_err().to_string().contains("order of keys"));
        assert!(volume.list(FOLDER).unwrap().is_empty());
    }
    let failing = [Ok(row(1, 9)), Err(Error::Closed)];
    assert!(write_run(&volume, id(1, 1), 1..2, 2, failing.into_iter()).is_err());
    assert!(volume.list(FOLDER).unwrap().is_empty());
}

/// What a crash left under the number is no obstacle.
#[test]
fn a_leftover_file_is_replaced() {
    let (_above, volume) = volume();
    let left = volume.open(&path_of(1), Open::Create).unwrap();
    left.write_at(&[&[9; 99_999]], 0).unwrap();
    written(&volume, 1, &[row(0, 1)]);
    assert_eq!(open(&volume, 1).unwrap().rows(), 1);
}

/// Goal: with any byte of the file changed, each read gives the right answer or says which page is bad.
#[test]
fn every_changed_byte_is_seen_or_does_not_matter() {
    let (_above, volume) = volume();
    let rows: Vec<Row> = (0..70).map(|at| row(at, 70)).collect();
    let info = written(&volume, 1, &rows);
    let file = volume.open(&path_of(1), Open::Write).unwrap();
    let sound = file
        .bytes(0, usize::try_from(info.len).unwrap())
        .unwrap()
        .to_vec();
    let mut refused = 0;
    for (at, byte) in sound.iter().enumerate() {
        let offset = at as u64;
        file.write_at(&[&[byte ^ (1 << (at % 8))]], offset).unwrap();
        refused += usize::from(!still_right(&volume, &rows, offset));
        file.write_at(&[&[*byte]], offset).unwrap();
    }
    assert_eq!(refused, sound.len(), "a page that nobody verified");
    assert!(still_right(&volume, &rows, 0));
}

/// Whether all reads succeed; those that do are right, and the others name the page.
fn still_right(volume: &Volume, rows: &[Row], changed: u64) -> bool {
    let page = changed / PAGE as u64 * PAGE as u64;
    let named = |error: &Error| matches!(error, Error::Damaged { offset, .. } if *offset == page);
    let run = match open(volume, 1) {
        Ok(run) => run,
        Err(error) => {
            assert!(named(&error), "{error}");
            return false;
        }
    };
    let mut all = true;
    for row in rows.iter().step_by(3) {
        match run.get(&row.key) {
            Ok(found) => assert_eq!(found.as_ref(), Some(row)),
            Err(error) => {
                assert!(named(&error), "{error}");
                all = false;
            }
        }
    }
    for (found, row) in run.iter_from(rows[0].key).zip(rows) {
        match found {
            Ok(found) => assert_eq!(found, *row),
            Err(error) => {
                assert!(named(&error), "{error}");
                all = false;
            }
        }
    }
    all
}

/// Goal: a file cut anywhere is refused, before anything beyond its end is touched.
#[test]
fn every_cut_is_seen() {
    let (_above, volume) = volume();
    let rows: Vec<Row> = (0..70).map(|at| row(at, 70)).collect();
    let len = written(&volume, 1, &rows).len;
    let file = volume.open(&path_of(1), Open::Write).unwrap();
    for cut in (0..len).rev().step_by(509).chain([0]) {
        file.set_len(cut).unwrap();
        assert!(
            matches!(open(&volume, 1), Err(Error::Damaged { .. })),
            "{cut}"
        );
    }
    file.set_len(len + 1).unwrap();
    assert!(open(&volume, 1).is_err());
}

/// Goal: rows that do not ascend are a fault, also under good checksums: nobody who goes on behind the last row that he
/// got is led in a circle.
#[test]
fn rows_out_of_order_are_refused() {
    use crate::directory::page::{CONTENT, salt_behind, salt_of, seal};

    let rows: Vec<Row> = (0..3).map(|number| row(number, 3)).collect();
    let (_above, volume) = volume();
    written(&volume, 1, &rows);
    let file = volume.open(&path_of(1), Open::Write).unwrap();
    let mut page = vec![0; PAGE];
    file.read_at(&mut page, PAGE as u64).unwrap();
    page.truncate(CONTENT);
    // The keys of the first two rows change places.
    let (first, second) = page.split_at_mut(100);
    first[4..20].swap_with_slice(&mut second[20..36]);
    seal(salt_behind(salt_of(STORE, 1), [1; 16]), 1, &mut page);
    file.write_at(&[&page], PAGE as u64).unwrap();
    let run = open(&volume, 1).unwrap();
    let found: Vec<_> = run.iter_from(AccountId::from_bytes([0; 16])).collect();
    assert!(
        matches!(found[..], [Err(Error::Damaged { .. })]),
        "{found:?}"
    );
}

/// Goal: a page as it was in an earlier file of the same number (all files were lost, and made again) does not pass.
#[test]
fn a_page_of_an_earlier_file_of_the_number_is_refused() {
    let (_above, volume) = volume();
    let page = |bytes: Option<&[u8]>, row: Row| {
        let rows = [Ok::<Row, Error>(row)].into_iter();
        write_run(&volume, id(1, u8::from(bytes.is_some())), 5..900, 1, rows).unwrap();
        let file = volume.open(&path_of(1), Open::Write).unwrap();
        let mut page = vec![0; PAGE];
        file.read_at(&mut page, PAGE as u64).unwrap();
        if let Some(bytes) = bytes {
            file.write_at(&[bytes], PAGE as u64).unwrap();
        }
        page
    };
    let deleted = Row {
        exists: Some(false),
        ..row(0, 1)
    };
    let earlier = page(None, row(0, 1));
    page(Some(&earlier), deleted);
    let found = open(&volume, 1).unwrap().get(&row(0, 1).key);
    assert!(matches!(found, Err(Error::Damaged { .. })), "{found:?}");
}

#[test]
fn pages_that_changed_places_are_refused() {
    let rows: Vec<Row> = (0..500).map(|at| row(at, 500)).collect();
    let (_above, volume) = volume();
    written(&volume, 1, &rows);
    let file = volume.open(&path_of(1), Open::Write).unwrap();
    let [one, two] = [1, 2].map(|page| {
        let mut bytes = vec![0; PAGE];
        file.read_at(&mut bytes, page * PAGE as u64).unwrap();
        bytes
    });
    file.write_at(&[&two, &one], PAGE as u64).unwrap();
    let found = open(&volume, 1).unwrap().get(&rows[0].key);
    assert!(matches!(found, Err(Error::Damaged { .. })), "{found:?}");
}
