//! Goal: what is not this store's, not all of it, or not what was written is refused or told, and nothing that may yet
//! be needed is taken away.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use mailkeep::format::batch::{BatchHead, Facts, encode_head};
use mailkeep::format::body::{BodyHeader, Codec, chunk_checksums, sign as sign_body};
use mailkeep::format::change::Change;
use mailkeep::format::record::{Frame, RecordHeader, encode, sign};
use mailkeep::format::segment::{Behind, Holds, SegmentHeader};
use mailkeep::format::{Features, StoreId};
use mailkeep::{AccountId, Delivery, Durability, Error, Options, UidSet};

use crate::kit::{deliver, message, open, options, state};
use crate::sim::{Op, Pending, SECTOR, Sim};

const FIRST: &str = "log/0000000000000001.seg";
const SECOND: &str = "log/0000000000000002.seg";

fn bare(run: u64) -> Options {
    options(run).replay_all(true)
}

/// A store that was killed right after its second segment was begun.
fn two_segments(first_run: u64) -> Sim {
    let sim = Sim::new();
    let store = open(&sim, bare(first_run)).unwrap();
    let mut seed = 0;
    while !sim.files().contains_key(SECOND) {
        seed += 1;
        deliver(&store, seed, 9_000).unwrap();
    }
    sim.killed(sim.ops_len())
}

fn header() -> SegmentHeader {
    SegmentHeader {
        store: StoreId([7; 16]),
        segment: 3,
        generation: 0,
        salt: 99,
        first_record: 1,
        first_batch: 1,
        epoch: 1,
        created_ms: 0,
        holds: Holds::Batches,
        behind: Behind::Zeroes,
        features: Features::default(),
    }
}

/// Shows every single-bit change of `bytes` to `refused`.
fn each_flip(bytes: &[u8], refused: impl Fn(&[u8]) -> bool) {
    for bit in 0..bytes.len() * 8 {
        let mut hurt = bytes.to_vec();
        hurt[bit / 8] ^= 1 << (bit % 8);
        assert!(refused(&hurt), "bit {bit}");
    }
}

#[test]
fn no_bit_of_a_record_flips_unseen() {
    let (place, mut frame) = (header().place(), Vec::new());
    let record = RecordHeader {
        number: 5,
        previous: 4,
        account: AccountId::from_bytes([1; 16]),
        mailbox: 1,
        modseq: 9,
    };
    let uids = UidSet::full();
    encode(&record, &Change::Expunge { uids }, &mut frame);
    sign(place, 5, &mut frame);
    assert_eq!(Frame::decode(place, &frame).unwrap().header, record);
    each_flip(&frame, |hurt| Frame::decode(place, hurt).is_err());
}

#[test]
fn no_bit_of_a_body_header_flips_unseen() {
    let (place, mut bytes) = (header().place(), Vec::new());
    let body = BodyHeader {
        number: 5,
        account: AccountId::from_bytes([1; 16]),
        mailbox: 1,
        uid: 2,
        stored_len: 10,
        raw_len: 10,
        key: 0,
        codec: Codec::Plain,
        owners: vec![AccountId::from_bytes([2; 16])].into(),
        chunks: vec![77].into(),
    };
    body.encode(&mut bytes);
    sign_body(place, 5, &mut bytes);
    assert_eq!(BodyHeader::decode(place, &bytes).unwrap(), body);
    each_flip(&bytes, |hurt| BodyHeader::decode(place, hurt).is_err());
}

#[test]
fn no_bit_of_a_sector_table_flips_unseen() {
    let place = header().place();
    let facts = Facts {
        batch: 1,
        epoch: 1,
        nonce: [3; 16],
        first_record: 1,
        durable: 0,
        commit_ms: 0,
        count: 0,
        previous: 0,
    };
    let (head, _, _) = encode_head(place, 4096, &facts, &[], &[5; 2_000]);
    let fixed = mailkeep::format::batch::FIXED;
    let decoded = BatchHead::decode(place, 4096, &head).unwrap();
    decoded.verify_table(place, 4096, &head).unwrap();
    each_flip(&head[fixed..], |table| {
        let whole = [&head[..fixed], table].concat();
        decoded.verify_table(place, 4096, &whole).is_err()
    });
}

#[test]
fn a_segment_that_is_too_short_is_refused() {
    let sim = two_segments(0);
    sim.truncate(SECOND, 4096 + 512);
    let refused = open(&sim, bare(1));
    assert!(
        matches!(refused, Err(Error::Incomplete { .. })),
        "{refused:?}"
    );
}

#[test]
fn a_segment_of_another_store_is_refused() {
    let mut files = two_segments(0).files();
    files.insert(FIRST.into(), two_segments(40).files()[FIRST].clone());
    let refused = open(&Sim::from_files(files), bare(1));
    assert!(matches!(refused, Err(Error::Foreign { .. })), "{refused:?}");
}

#[test]
fn a_header_of_another_store_is_told_by_verify() {
    let sim = two_segments(0);
    let store = open(&sim, bare(1)).unwrap();
    let other = two_segments(40).files()[SECOND].clone();
    sim.damage_if_there(SECOND, |content| {
        content[..4096].copy_from_slice(&other[..4096]);
    });
    let report = store.verify(&mut |_| ControlFlow::Continue(())).unwrap();
    assert!(!report.is_whole());
}

/// One slot of MANIFEST is lost: it was the one that counts the last segment.
#[test]
fn the_last_segment_is_found_without_the_newest_manifest() {
    let sim = two_segments(0);
    // The segment has a batch, and nothing was said in MANIFEST since.
    let (second, ops) = (sim.inode(SECOND), sim.ops());
    let batch =
        |op: &Op| matches!(op, Op::Write { inode, offset, .. } if *inode == second && *offset > 0);
    let batch = ops.iter().position(batch).unwrap();
    assert_eq!(ops[batch + 1], Op::Sync { inode: second });
    let sim = sim.killed(batch + 2);
    let expected = state(&open(&Sim::from_files(sim.files()), bare(1)).unwrap());
    let mut files = sim.files();
    let manifest = files.get_mut("MANIFEST").unwrap();
    let generation = |slot: usize| {
        let bytes = manifest[slot + 56..slot + 64].try_into().unwrap();
        u64::from_le_bytes(bytes)
    };
    let newest = [0, 4096].into_iter().max_by_key(|slot| generation(*slot));
    let newest = newest.unwrap();
    manifest[newest..newest + 4096].fill(0);
    let store = open(&Sim::from_files(files), bare(1)).unwrap();
    assert_eq!(state(&store), expected, "{}", store.recovery());
}

/// The record is lost and the body is not: it may be all that is left of the message.
#[test]
fn a_large_body_whose_record_is_lost_is_kept() {
    let sim = Sim::new();
    let store = open(&sim, bare(0)).unwrap();
    for (seed, len) in [(1, 500), (2, (1 << 20) + 500), (3, 500)] {
        deliver(&store, seed, len).unwrap();
    }
    store.close().unwrap();
    let large = |files: &BTreeMap<String, Vec<u8>>| {
        let large = files.iter().filter(|(_, content)| content.len() > 1 << 20);
        large.map(|(name, _)| name.clone()).collect::<Vec<_>>()
    };
    let before = sim.files();
    assert_eq!(large(&before).len(), 1);
    let log = &before[FIRST];
    let starts = (0..log.len() / SECTOR).filter(|at| log[at * SECTOR..].starts_with(b"MKBATCH1"));
    let starts: Vec<usize> = starts.collect();
    // The batch before the last.
    let [.., from, to] = starts[..] else {
        panic!("{starts:?}")
    };
    (from..to).for_each(|sector| sim.zero_sector(FIRST, sector));
    for run in 1..3 {
        let store = open(&sim, bare(run)).unwrap();
        deliver(&store, 10 + run, 100).unwrap();
        store.close().unwrap();
        assert_eq!(large(&sim.files()), large(&before), "opening {run}");
    }
}

/// MANIFEST and SEGMENTS were put back to before the first segment, which is gone.
#[test]
fn a_store_that_was_put_back_to_its_beginning_is_told() {
    let sim = Sim::new();
    let store = open(&sim, bare(0)).unwrap();
    let mut files = sim.files();
    deliver(&store, 1, 200).unwrap();
    files.insert("TAIL".into(), sim.files()["TAIL"].clone());
    match open(&Sim::from_files(files), bare(1)) {
        Ok(store) => assert!(!store.recovery().is_whole()),
        Err(error) => assert!(matches!(error, Error::Incomplete { .. }), "{error:?}"),
    }
}

/// A live writer is about to sync a batch: nobody was told that it is there.
#[test]
fn a_reader_is_shown_what_was_acknowledged() {
    let sim = Sim::new();
    let store = open(&sim, bare(0)).unwrap();
    deliver(&store, 1, 200).unwrap();
    let (inode, from) = (sim.inode(FIRST), sim.ops_len());
    deliver(&store, 2, 200).unwrap();
    let batch = |op: &Op| matches!(op, Op::Write { inode: of, .. } if *of == inode);
    let at = from + sim.ops()[from..].iter().position(batch).unwrap();
    let reader = open(&sim.killed(at + 1), bare(1).read_only(true)).unwrap();
    let inbox = reader.account("anna").unwrap().inbox().unwrap();
    assert_eq!(inbox.view().unwrap().len(), 1);
}

/// Batches that were only written and are lost: their numbers are passed over, all of them.
#[test]
fn numbers_of_lost_written_batches_are_passed_over() {
    let sim = Sim::new();
    let store = open(&sim, bare(0)).unwrap();
    deliver(&store, 1, 200).unwrap();
    let inbox = store.account("anna").unwrap().inbox().unwrap();
    for seed in 2..7 {
        let to = [Delivery::to(&inbox)];
        let written = store.deliver_with(message(seed, 200), to, Durability::Written);
        written.unwrap().wait().unwrap();
    }
    let tail = sim.inode("TAIL");
    let only_tail = |what| matches!(what, Pending::Sector { inode, .. } if inode == tail);
    let left = sim.crash(sim.ops_len(), &mut { only_tail });
    let store = open(&left, bare(1)).unwrap();
    let lost = store.recovery().unsynced.expect("TAIL knows");
    assert_eq!(lost.last_lost - lost.first_lost, 4);
    // One more is the record that says so.
    assert_eq!(store.health().next_record, lost.last_lost + 2);
}

/// Nobody took a large message: its file is gone, and no opening misses it.
#[test]
fn a_large_body_that_was_dropped_is_not_missing() {
    let sim = Sim::new();
    let store = open(&sim, bare(0)).unwrap();
    let anna = store.create_account("anna").unwrap();
    let gone = anna.create_mailbox("gone").unwrap();
    anna.delete_mailbox("gone").unwrap();
    let kept = store.deliver(message(1, 2 << 20), [Delivery::to(&gone)]);
    assert!(kept.unwrap().wait().unwrap()[0].is_err());
    store.close().unwrap();
    let store = open(&sim, bare(1)).unwrap();
    assert!(store.recovery().is_whole(), "{}", store.recovery());
}

/// A large body's file is gone: the list names it, and no opening passes over that.
#[test]
fn a_large_body_that_is_gone_is_missing() {
    let sim = Sim::new();
    deliver(&open(&sim, bare(0)).unwrap(), 1, 2 << 20).unwrap();
    let mut files = sim.files();
    let large = |(_, content): &(&String, &Vec<u8>)| content.len() > 1 << 20;
    let name = files.iter().find(large).unwrap().0.clone();
    files.remove(&name);
    let refused = open(&Sim::from_files(files), bare(1));
    assert!(
        matches!(refused, Err(Error::Incomplete { .. })),
        "{refused:?}"
    );
}

/// A body was changed and all its checksums were made to fit: the digest of what was delivered tells.
#[test]
fn a_forged_body_is_told() {
    let sim = Sim::new();
    deliver(&open(&sim, bare(0)).unwrap(), 1, 2 << 20).unwrap();
    let mut files = sim.files();
    let large = |(_, content): &(&String, &mut Vec<u8>)| content.len() > 1 << 20;
    let (_, file) = files.iter_mut().find(large).unwrap();
    let place = SegmentHeader::decode(&file[..4096]).unwrap().place();
    let mut body = BodyHeader::decode(place, &file[4096..]).unwrap();
    let (mut header, at) = (Vec::new(), 4096);
    body.encode(&mut header);
    let start = at + header.len();
    let bytes = &mut file[start..start + body.stored_len as usize];
    bytes[1 << 20] ^= 1;
    body.chunks = chunk_checksums(bytes).into();
    header.clear();
    body.encode(&mut header);
    sign_body(place, body.number, &mut header);
    file[at..start].copy_from_slice(&header);
    let store = open(&Sim::from_files(files), bare(1)).unwrap();
    let view = store
        .account("anna")
        .unwrap()
        .inbox()
        .unwrap()
        .view()
        .unwrap();
    let forged = view.message(view.at(1).unwrap().uid).unwrap();
    assert!(forged.bytes().is_ok(), "or this shows nothing");
    let told = forged.check();
    assert!(matches!(told, Err(Error::Damaged { .. })), "{told:?}");
}
