//! Hostile mail: whatever a message is made of, it is stored and comes back byte for byte, it costs no more time and
//! memory than its length is worth, and no byte of it is ever taken for the log's own.
//!
//! `MAILKEEP_HOSTILE` multiplies the crashes that are tried, `MAILKEEP_SEED` chooses others.

mod imitation;
mod monsters;
mod paths;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use mailkeep::mail::{LineEnds, Shape, Summary, crlf};
use mailkeep::{Delivery, Digest, Error, Options, Recipient, Store};

use self::monsters::{Monster, all, middling, small};
use crate::harm::{Dice, lose_all};
use crate::kit::{assert_whole, env, open, options, tried};
use crate::sim::Sim;

/// Messages by the names of account and mailbox, and by UID.
type Kept<'a> = BTreeMap<(&'static str, u32), &'a Monster>;

/// Delivers by handle, by name and in a transaction, in turn.
fn keep<'a>(store: &Store, monsters: &'a [Monster]) -> Kept<'a> {
    let mut kept = Kept::new();
    for name in ["anna", "bruno", "carla"] {
        store.create_account(name).unwrap();
    }
    for (nth, monster) in monsters.iter().enumerate() {
        let raw = &monster.1[..];
        let inbox = |name| store.account(name).unwrap().inbox().unwrap();
        let (name, uid) = match nth % 3 {
            0 => {
                let to = inbox("anna");
                let appended = to.append(raw, Delivery::to(&to)).unwrap().wait();
                ("anna", appended.unwrap().uid)
            }
            1 => {
                let sent = store.deliver_to(raw, [Recipient::new("bruno", "INBOX")]);
                let accepted = sent.unwrap().wait().unwrap().remove(0).unwrap();
                ("bruno", accepted.delivered().expect("delivered").uid)
            }
            _ => {
                let both = ["anna", "carla"].map(|name| Delivery::to(&inbox(name)));
                let sent = store.deliver(raw, both).unwrap().wait().unwrap();
                let [anna, carla] = &sent[..] else {
                    panic!("two")
                };
                kept.insert(("anna", anna.as_ref().unwrap().uid.get()), monster);
                ("carla", carla.as_ref().unwrap().uid)
            }
        };
        kept.insert((name, uid.get()), monster);
    }
    kept
}

/// Everything a message tells, against what its bytes say to slow and simple code.
fn check(store: &Store, kept: &Kept<'_>, when: &str) {
    let mut views = BTreeMap::new();
    for ((name, uid), (what, raw)) in kept {
        let view = views.entry(*name).or_insert_with(|| {
            store
                .account(name)
                .unwrap()
                .inbox()
                .unwrap()
                .view()
                .unwrap()
        });
        let message = view.message(mailkeep::Uid::new(*uid).unwrap());
        let message = message.unwrap_or_else(|error| panic!("{when}: {what}: {error}"));
        let bytes = message.bytes().unwrap();
        assert!(bytes == raw, "{when}: {what} is {} bytes", bytes.len());
        assert_eq!(message.len(), raw.len(), "{when}: {what}");
        assert_eq!(message.digest().unwrap(), Digest::of(raw), "{when}: {what}");
        assert_eq!(
            message.summary().unwrap(),
            Summary::of(raw),
            "{when}: {what}"
        );
        assert!(
            raw.starts_with(&message.header().unwrap()),
            "{when}: {what}"
        );
        assert!(message.crlf().unwrap() == wire(raw), "{when}: {what}");
        assert_eq!(
            message.shape().unwrap().line_ends(),
            line_ends(raw),
            "{when}: {what}"
        );
        message.check().unwrap();
        let third = raw.len() / 3;
        assert!(message.range(third..2 * third).unwrap() == raw[third..2 * third]);
    }
    let count: usize = views.values().map(|view| view.len()).sum();
    assert_eq!(count, kept.len(), "{when}");
}

/// A CR before every LF that has none.
fn wire(raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len());
    for byte in raw {
        if *byte == b'\n' && out.last() != Some(&b'\r') {
            out.push(b'\r');
        }
        out.push(*byte);
    }
    out
}

fn line_ends(raw: &[u8]) -> LineEnds {
    let lf = raw.iter().filter(|byte| **byte == b'\n').count();
    let crlf = raw.windows(2).filter(|pair| pair == b"\r\n").count();
    match (lf, crlf) {
        (0, _) => LineEnds::None,
        (_, 0) => LineEnds::Lf,
        (lf, crlf) if lf == crlf => LineEnds::CrLf,
        _ => LineEnds::Mixed,
    }
}

/// Goal: every monster comes back by every way in, after a reopening, after a kill, without the index, rebuilt, and
/// read-only; and a verification finds nothing.
#[test]
fn monsters_come_back_in_every_way() {
    let monsters = all();
    let sim = Sim::new();
    let store = open(&sim, options(0)).unwrap();
    let kept = keep(&store, &monsters);
    check(&store, &kept, "at once");
    // As `kill -9` leaves it.
    let killed = Sim::from_files(sim.files());
    store.close().unwrap();
    for (when, sim, options, loses) in [
        ("after a kill", &killed, options(1), false),
        ("reopened", &sim, options(2), false),
        ("without the index", &sim, options(3), true),
        ("index saved at every turn", &sim, tried(4), false),
        ("rebuilt", &sim, options(5).rebuild(true), false),
        ("all read again", &sim, options(6).replay_all(true), false),
        ("read-only", &sim, options(7).read_only(true), false),
    ] {
        if loses {
            lose_all(sim);
        }
        let store = open(sim, options).unwrap();
        assert!(store.recovery().is_whole(), "{when}: {}", store.recovery());
        check(&store, &kept, when);
        assert_whole(&store);
        drop(store);
    }
}

/// Goal: a power cut while a monster is written leaves it whole or absent, and everything before it as it was: no body
/// makes a torn batch look whole, or a whole one torn.
#[test]
fn a_power_cut_leaves_a_monster_whole_or_absent() {
    let seed = env("MAILKEEP_SEED", 1);
    let rounds = env("MAILKEEP_HOSTILE", 1);
    let mut dice = Dice::new(seed);
    let (mut states, mut whole, mut absent) = (0_u64, 0_u64, 0_u64);
    let some = small();
    let chosen = some.iter().step_by(4).cloned().chain(middling());
    for (what, raw) in chosen {
        let sim = Sim::new();
        let store = open(&sim, options(0)).unwrap();
        let before: Vec<Monster> = vec![
            ("before".into(), raw.clone()),
            ("text".into(), b"a\n".into()),
        ];
        let kept = keep(&store, &before);
        let from = sim.ops_len();
        let carla = store.account("carla").unwrap().inbox().unwrap();
        store
            .deliver(&raw, [Delivery::to(&carla)])
            .unwrap()
            .wait()
            .unwrap();
        for at in from..=sim.ops_len() {
            let point = sim.crash_point(at);
            for state in point.states(2, 4 * rounds as usize, dice.next()) {
                states += 1;
                let store = open(&state, options(1)).unwrap();
                let says = format!("{what}, seed {seed}, {at} of {from}: {}", store.recovery());
                assert!(store.recovery().is_whole(), "{says}");
                check_but(&store, &kept, "carla", &says);
                let view = store
                    .account("carla")
                    .unwrap()
                    .inbox()
                    .unwrap()
                    .view()
                    .unwrap();
                match view.at(1) {
                    None => {
                        absent += 1;
                        assert!(at < sim.ops_len(), "acknowledged: {says}");
                    }
                    Some(row) => {
                        whole += 1;
                        assert!(
                            view.message(row.uid).unwrap().bytes().unwrap() == raw,
                            "{says}"
                        );
                        assert_eq!(view.len(), 1, "{says}");
                    }
                }
            }
        }
    }
    assert!(
        absent > 100 && whole > 100,
        "{absent} absent, {whole} whole"
    );
    println!("{states} states, {whole} whole, {absent} absent");
}

/// As [`check`], of all accounts but one.
fn check_but(store: &Store, kept: &Kept<'_>, but: &str, when: &str) {
    let others = kept.iter().filter(|((name, _), _)| *name != but);
    check(
        store,
        &others.map(|(key, monster)| (*key, *monster)).collect(),
        when,
    );
}

/// Goal: the largest message that is allowed is kept, one byte more is refused and leaves nothing behind; so is an
/// empty one.
#[test]
fn the_largest_message_and_one_byte_more() {
    const MOST: usize = 64 << 20;
    let dir = tempfile::tempdir().unwrap();
    let limits = || Options::new().message_max(MOST as u64);
    let store = Store::open(dir.path().join("mail"), limits()).unwrap();
    let inbox = store.create_account("anna").unwrap().inbox().unwrap();
    let mut raw: Vec<u8> = (0..MOST as u64 / 8)
        .flat_map(|n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes())
        .collect();
    let kept = store.deliver(&raw, [Delivery::to(&inbox)]).unwrap().wait();
    let uid = kept.unwrap().remove(0).unwrap().uid;
    raw.push(b'x');
    for over in [&raw[..], b""] {
        let before = store.stat().log_bytes;
        let refused = [
            store.deliver(over, [Delivery::to(&inbox)]).err(),
            store
                .deliver_to(over, [Recipient::new("anna", "INBOX")])
                .err(),
            inbox.append(over, Delivery::to(&inbox)).err(),
        ];
        for error in refused {
            match error.expect("it is refused") {
                Error::EmptyMessage => assert!(over.is_empty()),
                Error::TooLarge { len, max, .. } => {
                    assert_eq!((len, max), (MOST as u64 + 1, MOST as u64));
                }
                other => panic!("{other}"),
            }
        }
        assert_eq!(store.stat().log_bytes, before);
    }
    raw.pop();
    store.close().unwrap();
    let store = Store::open(dir.path().join("mail"), limits()).unwrap();
    let inbox = store.account("anna").unwrap().inbox().unwrap();
    let view = inbox.view().unwrap();
    assert_eq!(view.len(), 1);
    assert!(view.message(uid).unwrap().bytes().unwrap() == raw);
    assert_whole(&store);
}

/// The shortest of some runs.
fn time<T>(mut act: impl FnMut() -> T) -> Duration {
    let run = || {
        let start = Instant::now();
        std::hint::black_box(act());
        start.elapsed()
    };
    std::iter::repeat_with(run).take(7).min().unwrap()
}

/// Goal: what is looked up in a message at delivery takes time by its length, whatever it is made of: no monster takes
/// 40 times what plain text of its length takes, and the summary of a long one no more than that of its first 64 KiB.
#[test]
fn a_monster_takes_no_more_time_than_its_length_is_worth() {
    let mut worst = (0.0, String::new());
    for (what, raw) in all() {
        let text: Vec<u8> = b"Subject: some words of a line\r\n".repeat(raw.len() / 31 + 1);
        let text = Bytes::from(text).slice(..raw.len());
        let bytes = Bytes::from(raw);
        let costs = |raw: &Bytes| {
            [
                ("shape", time(|| Shape::of(raw))),
                ("crlf", time(|| crlf(raw))),
                ("digest", time(|| Digest::of(raw))),
                // Of plain text: its window is full of subjects.
                ("summary", time(|| Summary::of(raw))),
            ]
        };
        for ((part, plain), (_, found)) in costs(&text).into_iter().zip(costs(&bytes)) {
            let floor = Duration::from_micros(20);
            let ratio = found.as_secs_f64() / plain.max(floor).as_secs_f64();
            if ratio > worst.0 {
                worst = (ratio, format!("{part} of {what}, {found:?} for {plain:?}"));
            }
            // Copying what had no line end to change costs nothing: that is no measure.
            assert!(
                part == "crlf" || ratio < 40.0,
                "{part} of {what}: {found:?}, text {plain:?}"
            );
        }
        let window = bytes.slice(..bytes.len().min(Summary::WINDOW));
        let (all, first) = (time(|| Summary::of(&bytes)), time(|| Summary::of(&window)));
        assert!(
            all < first * 10 + Duration::from_millis(1),
            "{what}: {all:?}, window {first:?}"
        );
    }
    println!("slowest against text: {:.1}, {}", worst.0, worst.1);
}
