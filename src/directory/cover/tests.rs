use super::*;

fn slot(number: u32, lo: u64, hi: u64) -> Arc<Slot> {
    Arc::new(Slot::new(RunInfo {
        number,
        nonce: [0; 16],
        lo,
        hi,
        rows: 0,
        len: 0,
    }))
}

fn cover(ranges: &[(u64, u64)], tail: u64) -> Cover {
    let slots = ranges.iter().zip(1..);
    let slots = slots.map(|((lo, hi), number)| slot(number, *lo, *hi));
    Cover::new(slots.collect(), tail)
}

fn numbers(cover: &Cover) -> Vec<u32> {
    cover.slots().iter().map(|slot| slot.info.number).collect()
}

#[test]
fn what_lies_between_runs_is_uncovered() {
    assert_eq!(cover(&[], 1).gaps(), []);
    assert_eq!(cover(&[], 9).gaps(), std::slice::from_ref(&(1..9)));
    assert_eq!(cover(&[(1, 9)], 9).gaps(), []);
    let all = cover(&[(20, 30), (3, 9), (9, 12)], 40);
    assert_eq!(all.gaps(), [1..3, 12..20, 30..40]);
    assert_eq!(numbers(&all), [2, 3, 1]);
    assert_eq!(all.without(&[3]).gaps(), [1..3, 9..20, 30..40]);
    let info = slot(7, 40, 50).info;
    assert_eq!(all.with(info, 50).gaps(), [1..3, 12..20, 30..40]);
}

#[test]
fn runs_that_cannot_be_are_left_out() {
    assert_eq!(numbers(&cover(&[(1, 9), (8, 12)], 40)), [1]);
    assert_eq!(numbers(&cover(&[(1, 9), (2, 3), (9, 10)], 40)), [1, 3]);
    assert_eq!(
        numbers(&cover(&[(0, 9), (9, 9), (9, 41), (12, 10)], 40)),
        [0; 0]
    );
}

#[test]
fn only_what_is_wholly_uncovered_is_lacking() {
    let all = cover(&[(10, 20)], 40);
    for range in [1..10, 1..2, 9..10, 20..40, 39..40] {
        assert!(all.lacks(&range), "{range:?}");
    }
    for range in [0..5, 9..11, 10..20, 19..21, 20..41, 5..5, 5..30] {
        assert!(!all.lacks(&range), "{range:?}");
    }
}
