//! Bytes at rest change: bits flip, sectors are zeroes or others' or older, files end early, go missing, or come from
//! another store. Never wrong bytes, never a panic, never a message that is silently missing, and what does not
//! overlap the damage is served.
//!
//! `MAILKEEP_EVERY_BIT=1` and `MAILKEEP_EVERY_SECTOR=1` try them all.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use mailkeep::{Digest, Error, Options, Store};

use crate::kit::{deliver, env, open, options, state, steps};
use crate::sim::{SECTOR, Sim};

type Files = BTreeMap<String, Vec<u8>>;

/// Account, mailbox, UID: digest.
type Mail = BTreeMap<(String, String, u32), Digest>;

/// A store that was written and closed.
struct Sample {
    files: Files,
    mail: Mail,
}

/// All of the log is read at opening, so that all damage is reported there.
fn options_here(run: u64) -> Options {
    options(run).replay_all(true)
}

/// The workload, closed or not, up to before the steps that delete most of it.
fn sample(closed: bool, first_run: u64) -> Sample {
    let sim = Sim::new();
    let store = open(&sim, options_here(first_run)).unwrap();
    for step in &steps()[..22] {
        (step.run)(&store, step.durability).unwrap();
    }
    store.sync().unwrap();
    let mail = served(&store, None);
    let files = sim.files();
    drop(store);
    Sample {
        files: if closed { sim.files() } else { files },
        mail,
    }
}

/// What can be read. Bytes must be those of `expected`, where it is given.
fn served(store: &Store, expected: Option<&Mail>) -> Mail {
    let mut mail = Mail::new();
    let mut names = store.accounts(None, 100).unwrap();
    names.sort();
    for name in names {
        let account = store.account(&name).unwrap();
        for info in account.mailboxes().unwrap() {
            let view = account.mailbox(&info.name).unwrap().view().unwrap();
            for row in view.iter() {
                let read = view.message(row.uid).and_then(|message| message.bytes());
                let Ok(bytes) = read else { continue };
                let key = (name.clone(), info.name.clone(), row.uid.get());
                let digest = Digest::of(&bytes);
                if let Some(expected) = expected.and_then(|mail| mail.get(&key)) {
                    assert_eq!(*expected, digest, "wrong bytes of {key:?}");
                }
                mail.insert(key, digest);
            }
        }
    }
    mail
}

/// What became of a damaged store.
enum Fate {
    Refused(Error),
    /// So many messages are not served.
    Opened {
        lost: usize,
        named: bool,
    },
}

fn fate(files: Files, mail: &Mail, options: Options) -> Fate {
    let sim = Sim::from_files(files);
    let store = match open(&sim, options) {
        Ok(store) => store,
        Err(error) => return Fate::Refused(error),
    };
    let served = served(&store, Some(mail));
    let lost = mail.keys().filter(|key| !served.contains_key(*key)).count();
    let report = store.verify(&mut |_| ControlFlow::Continue(())).unwrap();
    if std::env::var_os("MAILKEEP_SHOW").is_some() && lost > 0 {
        let gone: Vec<_> = mail
            .keys()
            .filter(|key| !served.contains_key(*key))
            .collect();
        println!("{gone:?}\n{}", store.recovery());
    }
    let named = !store.recovery().is_whole() || !report.is_whole();
    if lost == 0 {
        deliver(&store, 1 << 50, 100).unwrap();
    }
    Fate::Opened { lost, named }
}

/// Applies one damage; whatever the fate, nothing is silent. Returns how many messages are not served.
fn damaged(sample: &Sample, what: &str, change: impl FnOnce(&mut Files)) -> usize {
    let mut files = sample.files.clone();
    change(&mut files);
    match fate(files, &sample.mail, options_here(50)) {
        Fate::Refused(error) => {
            let small = what.starts_with("MANIFEST") || what.starts_with("SEGMENTS");
            let kind = matches!(
                error,
                Error::Damaged { .. }
                    | Error::Incomplete { .. }
                    | Error::Foreign { .. }
                    | Error::UnsupportedFormat { .. }
            );
            assert!(kind, "{what}: {error:?}");
            assert!(
                small || !matches!(error, Error::Damaged { .. }),
                "{what}: {error}"
            );
            0
        }
        Fate::Opened { lost, named } => {
            assert!(
                lost == 0 || named,
                "{what}: {lost} messages are gone and nothing says so"
            );
            lost
        }
    }
}

fn names(sample: &Sample) -> Vec<String> {
    sample
        .files
        .keys()
        .filter(|name| *name != "LOCK")
        .cloned()
        .collect()
}

#[test]
fn every_bit() {
    let sample = sample(true, 0);
    let mut tried = 0;
    let mut most = 0;
    for name in names(&sample) {
        let bits = sample.files[&name].len() * 8;
        let usual = if bits < 200_000 { 151 } else { 9_973 };
        for bit in (0..bits).step_by(env("MAILKEEP_EVERY_BIT", usual) as usize) {
            let what = format!("{name} bit {bit}");
            let lost = damaged(&sample, &what, |files| {
                files.get_mut(&name).unwrap()[bit / 8] ^= 1 << (bit % 8);
            });
            if lost > most {
                println!("{what}: {lost} lost");
            }
            most = most.max(lost);
            tried += 1;
        }
    }
    println!(
        "{tried} flips; at most {most} of {} messages not served",
        sample.mail.len()
    );
    assert!(most <= 3, "one bit costs one message, with its copies");
}

/// One sector of one file becomes something else.
fn each_sector(sample: &Sample, usual: u64, change: impl Fn(&str, usize, &mut Files)) {
    let (mut tried, mut most) = (0, 0);
    for name in names(sample) {
        let sectors = sample.files[&name].len().div_ceil(SECTOR);
        let every = if sectors < 32 {
            1
        } else {
            env("MAILKEEP_EVERY_SECTOR", usual)
        };
        for sector in (0..sectors).step_by(every as usize) {
            let what = format!("{name} sector {sector}");
            let lost = damaged(sample, &what, |files| change(&name, sector, files));
            if lost > most {
                println!("{what}: {lost} lost");
            }
            most = most.max(lost);
            tried += 1;
        }
    }
    println!(
        "{tried} sectors; at most {most} of {} messages not served",
        sample.mail.len()
    );
}

fn sector_of(file: &[u8], sector: usize) -> Vec<u8> {
    file[sector * SECTOR..file.len().min((sector + 1) * SECTOR)].to_vec()
}

fn put_sector(file: &mut [u8], sector: usize, content: &[u8]) {
    let len = file.len();
    let range = sector * SECTOR..len.min((sector + 1) * SECTOR);
    file[range]
        .iter_mut()
        .zip(content)
        .for_each(|(to, from)| *to = *from);
}

#[test]
fn every_sector_zeroed() {
    each_sector(&sample(true, 0), 5, |name, sector, files| {
        put_sector(files.get_mut(name).unwrap(), sector, &[0; SECTOR]);
    });
}

#[test]
fn every_sector_of_an_open_store_zeroed() {
    each_sector(&sample(false, 0), 7, |name, sector, files| {
        put_sector(files.get_mut(name).unwrap(), sector, &[0; SECTOR]);
    });
}

#[test]
fn every_sector_another() {
    each_sector(&sample(true, 0), 7, |name, sector, files| {
        let from = files.range("log".to_owned()..).nth(sector % 3).unwrap().1;
        let content = sector_of(from, (sector * 7 + 8) % (from.len() / SECTOR));
        put_sector(files.get_mut(name).unwrap(), sector, &content);
    });
}

#[test]
fn every_sector_of_another_store() {
    let other = sample(true, 40).files;
    each_sector(&sample(true, 0), 7, |name, sector, files| {
        let content = sector_of(&other[name], sector);
        put_sector(files.get_mut(name).unwrap(), sector, &content);
    });
}

#[test]
fn every_sector_older() {
    let older = sample(false, 0).files;
    each_sector(&sample(true, 0), 7, |name, sector, files| {
        if let Some(file) = older.get(name).filter(|file| file.len() > sector * SECTOR) {
            let content = sector_of(file, sector);
            put_sector(files.get_mut(name).unwrap(), sector, &content);
        }
    });
}

#[test]
fn every_truncation() {
    let sample = sample(true, 0);
    for name in names(&sample) {
        let len = sample.files[&name].len();
        let every = if len < 20_000 {
            1
        } else {
            env("MAILKEEP_EVERY_SECTOR", 9) as usize
        };
        for to in (0..len).step_by(every * SECTOR) {
            let what = format!("{name} cut to {to}");
            damaged(&sample, &what, |files| {
                files.get_mut(&name).unwrap().truncate(to)
            });
        }
    }
}

#[test]
fn files_missing_swapped_or_foreign() {
    let (sample, other) = (sample(true, 0), sample(true, 40).files);
    for name in names(&sample) {
        damaged(&sample, &format!("{name} missing"), |files| {
            files.remove(&name);
        });
        damaged(&sample, &format!("{name} foreign"), |files| {
            files.insert(name.clone(), other[&name].clone());
        });
        for second in names(&sample) {
            let swapped = format!("{name} is a copy of {second}");
            damaged(&sample, &swapped, |files| {
                let content = files[&second].clone();
                files.insert(name.clone(), content);
            });
        }
    }
}

/// Goal: one of the log's small files is removed below an open store: `verify` says which, and reads all the rest.
/// Fails when: it ends with an error there, and the damage behind is not looked for.
#[test]
fn a_small_file_that_goes_is_told_with_the_rest() {
    for name in ["MANIFEST", "SEGMENTS", "TAIL"] {
        let sim = Sim::new();
        let store = open(&sim, options_here(0)).unwrap();
        for step in &steps()[..22] {
            (step.run)(&store, step.durability).unwrap();
        }
        store.sync().unwrap();
        let mut names = sim.files().into_keys();
        let segment = names.find(|name| name.ends_with(".seg")).unwrap();
        sim.zero_sector(&segment, 9);
        sim.lose(name);
        let report = store.verify(&mut |_| ControlFlow::Continue(())).unwrap();
        let told = |path: &str| report.damage.iter().any(|bad| bad.path.ends_with(path));
        assert!(told(name), "{name}: {:?}", report.damage);
        assert!(told(&segment), "{name}: {:?}", report.damage);
    }
}

/// With the loss accepted, the rest is served, and the store takes mail again.
#[test]
fn a_missing_segment_costs_itself() {
    let sample = sample(true, 0);
    let segments: Vec<String> = names(&sample)
        .into_iter()
        .filter(|name| name.ends_with(".seg"))
        .collect();
    for name in &segments {
        let mut files = sample.files.clone();
        files.remove(name);
        let sim = Sim::from_files(files);
        let store = open(&sim, options_here(60).accept_loss(true)).unwrap();
        assert!(!store.recovery().missing.is_empty());
        let before = served(&store, Some(&sample.mail));
        assert!(before.len() < sample.mail.len());
        let uid = deliver(&store, 7, 100).unwrap();
        let reused = sample
            .mail
            .keys()
            .any(|key| key.0 == "anna" && key.1 == "INBOX" && key.2 == uid);
        let known = before.keys().any(|key| key.0 == "anna");
        assert!(!reused || !known, "UID {uid} is used again without {name}");
    }
}

/// Opening for reading changes nothing, whatever the state of the store.
#[test]
fn reading_changes_nothing() {
    let sim = Sim::new();
    let store = open(&sim, options_here(0)).unwrap();
    for step in &steps()[..20] {
        (step.run)(&store, step.durability).unwrap();
    }
    for op in (20..sim.ops_len()).step_by(7) {
        for disk in [sim.killed(op), sim.crash(op, &mut |_| false)] {
            let before = disk.files();
            if let Ok(store) = open(&disk, options_here(1).read_only(true)) {
                state(&store);
                assert!(matches!(store.create_account("x"), Err(Error::ReadOnly)));
            }
            assert!(disk.files() == before);
        }
    }
    // While it is being written, a reader sees what was acknowledged.
    let reader = open(&sim, options_here(2).read_only(true)).unwrap();
    assert_eq!(state(&reader), state(&store));
}

/// Where the front of a batch is lost and its body's header is not, the report says which message it was.
#[test]
fn a_lost_message_is_named_by_its_body() {
    let sim = Sim::new();
    let store = open(&sim, options_here(0).segment_len(1 << 20)).unwrap();
    // Long enough that the table of sectors pushes the body's header out of the first one.
    for seed in 1..4 {
        deliver(&store, seed, 40_000).unwrap();
    }
    let account = store.account("anna").unwrap().id();
    store.close().unwrap();
    let files = sim.files();
    let (name, file) = files
        .iter()
        .find(|(name, _)| name.ends_with(".seg"))
        .unwrap();
    let starts = (0..file.len() / SECTOR).filter(|at| file[at * SECTOR..].starts_with(b"MKBATCH1"));
    // The first is of the account.
    for (uid, sector) in (1..).zip(starts.skip(1)) {
        let mut hurt = files.clone();
        put_sector(hurt.get_mut(name).unwrap(), sector, &[0; SECTOR]);
        let sim = Sim::from_files(hurt);
        let store = open(&sim, options_here(1)).unwrap();
        let lost: Vec<_> = store
            .recovery()
            .lost
            .iter()
            .map(|lost| (lost.account, lost.uid))
            .collect();
        assert_eq!(lost, [(account, uid)], "{}", store.recovery());
        let view = store
            .account("anna")
            .unwrap()
            .inbox()
            .unwrap()
            .view()
            .unwrap();
        assert_eq!(view.len(), 2);
        // Its UID is not given again, and the fence is logged once.
        assert!(deliver(&store, 9, 10).unwrap() > 3);
        drop((view, store));
        let records = open(&sim, options_here(2)).unwrap().health().next_record;
        assert_eq!(
            open(&sim, options_here(3)).unwrap().health().next_record,
            records
        );
    }
}

/// What was cut is in quarantine/, byte for byte.
#[test]
fn a_cut_tail_is_kept() {
    let sim = Sim::new();
    let store = open(&sim, options_here(0)).unwrap();
    deliver(&store, 1, 3_000).unwrap();
    let shown = state(&store);
    let before = sim.ops_len();
    deliver(&store, 2, 5_000).unwrap();
    // The batch was written and not synced; its last sector is lost.
    let left = sim.crash(before + 1, &mut {
        let mut left = sim.crash_point(before + 1).pending_len();
        move |_| {
            left -= 1;
            left > 0
        }
    });
    let torn = left.files();
    let store = open(&left, options_here(1)).unwrap();
    let cut = store.recovery().cut.clone().unwrap();
    let name = cut.segment.strip_prefix("simulated disk/").unwrap();
    let (from, to) = (cut.offset as usize, (cut.offset + cut.len) as usize);
    let kept = &left.files()[cut.quarantine.as_deref().unwrap()];
    assert!(!kept.is_empty() && kept[..] == torn[name][from..to]);
    assert!(store.recovery().is_whole());
    assert_eq!(state(&store), shown);
}
