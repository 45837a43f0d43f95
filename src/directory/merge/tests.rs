use super::*;
use crate::mail::AccountId;

fn info(number: u32, lo: u64, hi: u64, len: u64) -> RunInfo {
    RunInfo {
        number,
        nonce: [0; 16],
        lo,
        hi,
        rows: len,
        len,
    }
}

fn runs(lens: &[u64]) -> Vec<RunInfo> {
    let numbered = lens.iter().zip(0..);
    numbered
        .map(|(len, at)| info(at, at.into(), u64::from(at) + 1, *len))
        .collect()
}

#[test]
fn equal_neighbours_are_merged_and_unequal_ones_are_left() {
    assert_eq!(choose(&runs(&[])), None);
    assert_eq!(choose(&runs(&[1, 1, 1])), None);
    assert_eq!(choose(&runs(&[1, 1, 1, 1])), Some(0..4));
    assert_eq!(choose(&runs(&[100, 1, 1, 1])), None);
    assert_eq!(choose(&runs(&[100, 1, 1, 1, 1])), Some(1..5));
    assert_eq!(choose(&runs(&[9, 9, 9, 9, 100, 2, 2, 2, 2])), Some(5..9));
    assert_eq!(choose(&runs(&[1; 20])), Some(0..8));
    // No sum overflows.
    assert!(choose(&runs(&[u64::MAX; 9])).is_some());
}

#[test]
fn a_window_does_not_cross_a_gap() {
    let mut all = runs(&[1, 1, 1, 1]);
    all[1].hi = 1;
    assert_eq!(choose(&all), None);
    all.extend((10..14).map(|at| info(at, at.into(), u64::from(at) + 1, 1)));
    assert_eq!(choose(&all), Some(4..8));
}

/// Sizes like a ruler's marks have no window that is worth it, but are too many.
#[test]
fn too_many_runs_are_merged_at_any_price() {
    let lens: Vec<u64> = (1_u32..=64)
        .map(|at| 4_u64.pow(at.trailing_zeros()))
        .collect();
    assert_eq!(choose(&runs(&lens[..RUNS_MAX])), None);
    assert!(choose(&runs(&lens[..=RUNS_MAX])).is_some());
}

/// Goal: n flushes of one size write O(n log n) bytes and leave O(log n) runs, at every moment.
#[test]
fn merging_writes_n_log_n_and_leaves_log_n() {
    let mut all: Vec<RunInfo> = Vec::new();
    let mut written = 0;
    for flushes in 1_u64..=10_000 {
        all.push(info(0, flushes, flushes + 1, 1));
        written += 1;
        while let Some(window) = choose(&all) {
            let merged = &all[window.clone()];
            let len = merged.iter().map(|run| run.len).sum();
            let run = info(0, merged[0].lo, merged[merged.len() - 1].hi, len);
            written += len;
            all.splice(window, [run]);
        }
        let log3 = u64::from(flushes.ilog(3));
        assert!(written <= flushes * (log3 + 1), "{written} for {flushes}");
        assert!(
            all.len() as u64 <= 3 * (log3 + 1),
            "{} after {flushes}",
            all.len()
        );
    }
    assert_eq!(all.iter().map(|run| run.len).sum::<u64>(), 10_000);
}

fn row(key: u8, record: u64, modseq: u64) -> Row {
    Row {
        last_record: record,
        records: 1,
        modseq,
        ..Row::new(AccountId::from_bytes([key; 16]))
    }
}

#[test]
fn sources_become_one_in_order() {
    let sources = [
        vec![row(1, 1, 1), row(3, 2, 2), row(5, 3, 9)],
        Vec::new(),
        vec![row(3, 5, 7), row(4, 6, 6)],
        vec![row(3, 8, 6), row(5, 9, 4)],
    ];
    let merged = Merged::new(sources.map(|rows| rows.into_iter().map(Ok::<Row, ()>)));
    let merged: Vec<Row> = merged.map(Result::unwrap).collect();
    let short = |row: &Row| {
        (
            row.key.as_bytes()[0],
            row.last_record,
            row.modseq,
            row.records,
        )
    };
    let found: Vec<_> = merged.iter().map(short).collect();
    assert_eq!(
        found,
        [(1, 1, 1, 1), (3, 8, 7, 3), (4, 6, 6, 1), (5, 9, 9, 2)]
    );
}

#[test]
fn an_error_of_a_source_ends_the_whole() {
    let sources = [vec![Ok(row(1, 1, 1)), Err("bad")], vec![Ok(row(2, 2, 2))]];
    let mut merged = Merged::new(sources.map(Vec::into_iter));
    assert!(merged.next().unwrap().is_ok());
    assert_eq!(merged.next(), Some(Err("bad")));
    assert_eq!(merged.next(), None);
}
