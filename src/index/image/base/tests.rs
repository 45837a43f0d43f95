use proptest::prelude::*;

use super::super::testing::{
    ACCOUNT, create_account, deliver, fold_of, record, records, seen, steps, uid,
};
use super::*;
use crate::format::change::Change;
use crate::index::buckets::Bucket;
use crate::index::tree::Leaf as _;
use crate::mail::{AccountId, Flags};

fn bytes_of(fold: &Fold) -> Bytes {
    encode(fold).into()
}

/// A mailbox of `count` entries.
fn plain(count: u32) -> Fold {
    let mut all = vec![record(1, 0, create_account())];
    all.extend((1..=count).map(|n| record(u64::from(n) + 1, 1, deliver(n, n.into()))));
    fold_of(&all)
}

/// The image with its checksums made good again: what somebody else might write.
fn mend(bytes: &mut [u8]) {
    let len = Take::new(&bytes[12..]).u32().unwrap() as usize;
    let columns = Take::new(&bytes[16..]).u64().unwrap() as usize;
    let from = padded(len, 8);
    let pieces = bytes[from..from + columns].chunks(CHUNK);
    let sums: Vec<u32> = pieces.map(|piece| checksum(0, piece)).collect();
    for (at, sum) in sums.into_iter().enumerate() {
        patch_u32(bytes, 32 + at * 4, sum);
    }
    let sum = checksum(0, &bytes[..len - 4]);
    patch_u32(bytes, len - 4, sum);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Goal: any fold comes back as it was, and both go on alike.
    #[test]
    fn a_fold_comes_back(first in steps(120), then in steps(60)) {
        let all: Vec<_> = first.iter().chain(&then).copied().collect();
        let all = records(&all);
        let mut fold = fold_of(&all[..=first.len()]);
        let mut again = decode(&bytes_of(&fold)).unwrap();
        prop_assert_eq!(seen(&again), seen(&fold));
        let snapshot = again.clone();
        let before = seen(&snapshot);
        for (header, change) in &all[first.len() + 1..] {
            fold.apply(header, change);
            again.apply(header, change);
        }
        prop_assert_eq!(seen(&again), seen(&fold));
        prop_assert_eq!(seen(&snapshot), before);
        let one = bytes_of(&again);
        prop_assert_eq!(bytes_of(&decode(&one).unwrap()), bytes_of(&decode(&bytes_of(&decode(&one).unwrap())).unwrap()));
    }

    /// Goal: bytes that somebody else wrote, with good checksums, are refused or give a fold that can go on.
    #[test]
    fn hostile_bytes_do_no_harm(
        first in steps(60),
        then in steps(60),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let all: Vec<_> = first.iter().chain(&then).copied().collect();
        let all = records(&all);
        let mut bytes = bytes_of(&fold_of(&all[..=first.len()])).to_vec();
        for (at, value) in edits {
            let at = 32 + at.index(bytes.len() - 32);
            bytes[at] = value;
        }
        mend(&mut bytes);
        if let Ok(mut fold) = decode(&bytes.into()) {
            for (header, change) in &all[first.len() + 1..] {
                fold.apply(header, change);
            }
            seen(&fold);
        }
    }
}

/// Goal: a flipped bit anywhere is a fault.
#[test]
fn every_flipped_byte_is_found() {
    let mut fold = fold_of(&records(&[
        (3, 0, 1, 5),
        (11, 1, 4, 50),
        (12, 1, 4, 9),
        (5, 1, 30, 9),
    ]));
    fold.next_mailbox += 1;
    let whole = encode(&fold);
    for at in 0..whole.len() {
        for bit in 0..8 {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << bit;
            assert!(decode(&bytes.into()).is_err(), "byte {at} bit {bit}");
        }
    }
}

/// Goal: a base that is cut, or has more behind it, is a fault.
#[test]
fn other_lengths_are_refused() {
    let whole = bytes_of(&plain(3));
    for len in 0..whole.len() {
        assert!(decode(&whole.slice(..len)).is_err(), "{len} bytes");
    }
    let mut more = whole.to_vec();
    more.push(0);
    assert!(decode(&more.into()).is_err());
}

/// Goal: from bytes that begin anywhere, and past the bounds of leaves and of checksummed pieces.
#[test]
fn bytes_may_lie_askew() {
    for count in [0, 1, 127, 128, 129, 1000, 4100] {
        let fold = plain(count);
        let whole = bytes_of(&fold);
        for askew in 0..8 {
            let mut laid = vec![0; askew];
            laid.extend_from_slice(&whole);
            let found = decode(&Bytes::from(laid).slice(askew..)).unwrap();
            assert_eq!(seen(&found), seen(&fold), "{count} entries, {askew} askew");
        }
    }
}

/// Goal: an image has the size that is promised.
#[test]
fn an_entry_takes_84_bytes_at_most() {
    let count = 10_000;
    let ascending = plain(count);
    let mut other = plain(count - 1);
    let (header, change) = record(count.into(), 1, deliver(count, 0));
    other.apply(&header, &change);
    for (fold, bytes) in [(ascending, 72), (other, 84)] {
        let len = encode(&fold).len();
        assert!(len <= count as usize * bytes + 1024, "{len} bytes");
    }
}

/// Goal: what the root says must fit the columns: each of these is written with good checksums and refused.
#[test]
fn a_root_that_contradicts_its_columns_is_refused() {
    type Lie = (&'static str, fn(&mut MailboxFold));
    let lies: [Lie; 9] = [
        ("unseen", |mailbox| mailbox.counters.unseen += 1),
        ("deleted", |mailbox| mailbox.counters.deleted ^= 1),
        ("bytes", |mailbox| mailbox.counters.bytes -= 1),
        ("deleted bytes", |mailbox| {
            mailbox.counters.deleted_bytes += 1
        }),
        ("messages", |mailbox| mailbox.counters.messages -= 1),
        ("UIDNEXT", |mailbox| mailbox.uid_next = 300),
        ("UID to assign", |mailbox| mailbox.uid_assign = 300),
        ("MODSEQ", |mailbox| mailbox.modseq = 300),
        ("bucket", |mailbox| {
            mailbox.buckets.set(Bucket {
                rows: 299,
                ..Bucket::default()
            });
        }),
    ];
    let fold = plain(300);
    for (what, change) in lies {
        let mut bad = fold.clone();
        change(Arc::make_mut(
            Arc::make_mut(&mut bad.mailboxes).get_mut(&1).unwrap(),
        ));
        assert!(decode(&bytes_of(&bad)).is_err(), "{what}");
    }
    let mut bad = fold.clone();
    bad.next_mailbox = 1;
    assert!(decode(&bytes_of(&bad)).is_err(), "mailbox id");
    let mut bad = fold;
    bad.keywords = Keywords::default();
    assert!(decode(&bytes_of(&bad)).is_err(), "keyword set");
}

/// Goal: rows that no fold has are refused under good checksums.
#[test]
fn columns_that_are_no_mailbox_are_refused() {
    let fold = plain(200);
    let whole = bytes_of(&fold).to_vec();
    let len = Take::new(&whole[12..]).u32().unwrap() as usize;
    let from = padded(len, 8);
    let extent = |before: usize, at: usize| from + 200 * before + at;
    let cases = [
        ("UID 0", extent(0, 0), 0),
        ("a UID twice", extent(0, 4), 1),
        ("UIDs that fall", extent(0, 40), 200),
        ("unknown flags", extent(4, 7), 0x80),
        ("a keyword set that is none", extent(6, 2), 1),
        ("a MODSEQ above the mailbox's", extent(10, 5), 1),
        ("an Email twice", extent(26, 8), 1),
    ];
    for (what, at, value) in cases {
        let mut bytes = whole.clone();
        assert_ne!(bytes[at], value, "{what}");
        bytes[at] = value;
        mend(&mut bytes);
        assert!(decode(&bytes.into()).is_err(), "{what}");
    }
    let mut same = whole.clone();
    mend(&mut same);
    assert_eq!(same, whole);
}

/// Goal: members that are not the entries' are refused, also where their number is right.
#[test]
fn members_must_be_entries() {
    let mut fold = plain(200);
    let (header, change) = record(300, 1, deliver(300, 5));
    fold.apply(&header, &change);
    assert_eq!(
        fold.mailboxes[&1].members.len(),
        200,
        "an Email is a member once"
    );
    let (header, change) = record(
        301,
        1,
        Change::Expunge {
            uids: [uid(300)].into_iter().collect(),
        },
    );
    fold.apply(&header, &change);
    let (header, change) = record(302, 1, deliver(302, 0));
    fold.apply(&header, &change);
    let whole = bytes_of(&fold).to_vec();
    assert_eq!(seen(&decode(&whole.clone().into()).unwrap()), seen(&fold));
    let mut bytes = whole.clone();
    let uids = whole.len() - padded(201 * 4, 8);
    bytes[uids + 4] = 2; // the Email of UID 1 is now that of UID 2
    mend(&mut bytes);
    assert!(decode(&bytes.into()).is_err());
    let missing = deliver(400, 5);
    let (header, change) = record(400, 1, missing);
    fold.apply(&header, &change);
    let found = decode(&bytes_of(&fold)).unwrap();
    assert_eq!(seen(&found), seen(&fold), "fewer members than entries");
}

/// Goal: a foreign or newer file is told from a damaged one, and an empty account is an image too.
#[test]
fn kinds_of_bytes_are_told_apart() {
    let fold = Fold::new(AccountId::from_bytes([1; 16]));
    let whole = bytes_of(&fold);
    assert_eq!(seen(&decode(&whole).unwrap()), seen(&fold));
    assert_eq!(covered(&fold), 0);
    let mut newer = whole.to_vec();
    newer[8] = 2;
    mend(&mut newer);
    assert!(decode(&newer.into()).unwrap_err().is_newer());
    let mut other = whole.to_vec();
    other[0] ^= 1;
    assert!(matches!(decode(&other.into()), Err(Fault::Magic { .. })));
    assert!(matches!(decode(&Bytes::new()), Err(Fault::Short { .. })));
    assert_eq!(plain(1).id, ACCOUNT);
}

/// Figures for a mailbox of a million entries, for people.
#[test]
#[ignore = "measures, in a release build; takes some seconds"]
fn figures() {
    use std::time::Instant;
    let count: u32 = 1_000_000;
    let fold = plain(count);
    let start = Instant::now();
    let mut whole = encode(&fold);
    println!("encode {:?}, {} bytes", start.elapsed(), whole.len());
    whole.shrink_to_fit();
    let bytes = Bytes::from(whole);
    assert_eq!(
        bytes.as_ptr().align_offset(8),
        0,
        "as it is where it is mapped"
    );
    for _ in 0..3 {
        let start = Instant::now();
        let parts = Parts::of(&bytes).unwrap();
        let verified = start.elapsed();
        let mut found = parts.fold().unwrap();
        let built = start.elapsed() - verified;
        let start = Instant::now();
        let leaves = found.mailboxes[&1].entries.leaves();
        let unseen: usize = leaves
            .map(|leaf| {
                leaf.flags()
                    .iter()
                    .filter(|flags| !flags.contains(Flags::SEEN))
                    .count()
            })
            .sum();
        let scanned = start.elapsed();
        assert_eq!(unseen as u64, found.mailboxes[&1].counters.unseen);
        let snapshot = found.clone();
        let start = Instant::now();
        for n in 0..10_000_u32 {
            let target = n.wrapping_mul(2_654_435_761) % count + 1;
            let change = super::super::testing::flag(
                [uid(target)].into_iter().collect(),
                Flags::FLAGGED,
                Flags::EMPTY,
                Vec::new(),
            );
            let (header, change) = record(u64::from(count) + 2 + u64::from(n), 1, change);
            found.apply(&header, &change);
        }
        let flagged = start.elapsed();
        println!(
            "verify {verified:?}, check and build {built:?}, scan {scanned:?}, 10,000 flags {flagged:?}"
        );
        drop(snapshot);
    }
}

/// What a golden base holds, in words that no change of this code changes.
fn told(fold: &Fold) -> Vec<String> {
    let mut all = vec![format!(
        "{} record {} modseq {} mailbox {} email {} mark {} fence {} assigned {}",
        fold.name,
        fold.last_record,
        fold.modseq,
        fold.next_mailbox,
        fold.next_email,
        fold.uid_validity_mark,
        fold.fence,
        fold.assigned,
    )];
    all.extend(
        fold.subscriptions
            .iter()
            .map(|(who, name)| format!("subscribed {who} {name}")),
    );
    all.extend(
        fold.past_names
            .iter()
            .map(|(name, mark)| format!("past {name} {mark}")),
    );
    for (id, mailbox) in fold.mailboxes.iter() {
        all.push(format!(
            "{id} in {} {} validity {} next {} {} modseq {} counts {} {} {} {} {}",
            mailbox.parent,
            mailbox.name,
            mailbox.uid_validity,
            mailbox.uid_next,
            mailbox.uid_assign,
            mailbox.modseq,
            mailbox.counters.messages,
            mailbox.counters.unseen,
            mailbox.counters.deleted,
            mailbox.counters.bytes,
            mailbox.counters.deleted_bytes,
        ));
        let gone = mailbox.expunged.items();
        all.extend(
            gone.map(|gone| format!("gone {} to {} by {}", gone.first, gone.last, gone.modseq)),
        );
        let buckets = mailbox.buckets.iter();
        all.extend(buckets.map(|bucket| {
            format!(
                "bucket {} {} {}",
                bucket.number, bucket.rows, bucket.state[0]
            )
        }));
        for leaf in mailbox.entries.leaves() {
            for entry in (0..leaf.len()).map(|at| leaf.row(at)) {
                let words: Vec<_> = fold
                    .keywords
                    .get(entry.keywords)
                    .iter()
                    .map(|word| word.as_str())
                    .collect();
                all.push(format!(
                    "uid {} {} {words:?} {} {} email {} record {} date {} {} {} size {} {}",
                    entry.uid,
                    entry.flags,
                    entry.modseq,
                    entry.created,
                    entry.email,
                    entry.record,
                    entry.date,
                    entry.zone,
                    entry.save_date,
                    entry.size,
                    entry.raw_len,
                ));
            }
        }
        for leaf in mailbox.members.leaves() {
            let pairs = leaf.email().iter().zip(leaf.uid());
            all.extend(pairs.map(|(email, uid)| format!("member {email} {uid}")));
        }
    }
    all
}

const TOLD: [&str; 24] = [
    r#"Anna record 25 modseq 25 mailbox 5 email 22 mark 9 fence 25 assigned 17"#,
    r#"subscribed 1 s0"#,
    r#"subscribed 1 s3"#,
    r#"past Recovered 3 5"#,
    r#"past m1 1"#,
    r#"past r2 2"#,
    r#"past r2/m7 7"#,
    r#"1 in 2 m7 validity 7 next 1 1 modseq 22 counts 0 0 0 0 0"#,
    r#"2 in 0 r1 validity 1 next 20 20 modseq 23 counts 2 0 1 244 120"#,
    r#"gone 1 to 1 by 2"#,
    r#"bucket 0 2 8"#,
    r#"uid 15 \Seen \Answered \Flagged \Deleted ["$forwarded", "a"] 15 15 email 15 record 15 date 1700000015 90 1700000100 size 120 115"#,
    r#"uid 19 \Seen \Answered \Draft ["$junk", "a"] 19 19 email 19 record 19 date 1700000019 90 1700000100 size 124 119"#,
    r#"member 15 15"#,
    r#"member 19 19"#,
    r#"4 in 0 Recovered 4 validity 9 next 22 22 modseq 21 counts 3 0 0 358 0"#,
    r#"gone 1 to 1 by 2"#,
    r#"bucket 0 3 8"#,
    r#"uid 5 \Seen \Answered \Draft ["$junk", "a"] 13 13 email 19 record 13 date 1700000005 90 1700000100 size 110 105"#,
    r#"uid 17 \Seen \Draft ["$forwarded", "a"] 17 17 email 17 record 17 date 1700000017 90 1700000100 size 122 117"#,
    r#"uid 21 \Seen \Flagged \Draft ["$forwarded", "$junk", "a"] 21 21 email 21 record 21 date 1700000021 90 1700000100 size 126 121"#,
    r#"member 17 17"#,
    r#"member 19 5"#,
    r#"member 21 21"#,
];

/// Goal: a base of version 1, written once and never again, is read as what it was; the same account is the same bytes
/// today. The log has them.
#[test]
fn a_base_of_version_1_is_read() {
    let golden = include_bytes!("../../../../tests/golden/v1/base.bin");
    let fold = decode(&Bytes::from_static(golden)).unwrap();
    assert_eq!(told(&fold), TOLD);
    assert_eq!(bytes_of(&fold), golden.as_slice());
}
