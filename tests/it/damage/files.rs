//! Whole files: missing, under another name as well, another's, empty; folders and links in their place; the small files
//! bit by bit; and copies of other times put together.

use mailkeep::format::Fault;

use super::check::{refused_or, served, verify};
use super::sample::{Sample, made, sample};
use super::{Files, all, in_part};
use crate::harm::Dice;
use crate::kit::{env, open, state};
use crate::sim::Sim;

const SMALL: [&str; 3] = ["MANIFEST", "SEGMENTS", "TAIL"];

fn log(files: &Files) -> Vec<String> {
    files
        .keys()
        .filter(|name| !name.starts_with("index/") && *name != "LOCK")
        .cloned()
        .collect()
}

/// Refused or harmless: whatever a single bit of the small files says, nothing is lost, and nothing is given twice.
#[test]
fn bits_of_the_small_files() {
    let sample = sample(0, 6);
    let seed = env("MAILKEEP_SEED", 1);
    let mut dice = Dice::new(seed);
    let bits: Vec<(&str, usize)> = SMALL
        .iter()
        .flat_map(|name| (0..8 * sample.files[*name].len()).map(move |bit| (*name, bit)))
        .collect();
    let chosen: Vec<usize> = match all() {
        true => (0..bits.len()).filter(|nth| in_part(*nth)).collect(),
        false => (0..env("MAILKEEP_FLIPS", 120))
            .map(|_| dice.below(bits.len()))
            .collect(),
    };
    let (mut refused, mut opened, mut told) = (0, 0, 0);
    for nth in chosen {
        let (name, bit) = bits[nth];
        let mut files = sample.files.clone();
        files.get_mut(name).unwrap()[bit / 8] ^= 1 << (bit % 8);
        let what = format!("{name} bit {bit}");
        let sim = Sim::from_files(files);
        let store = match open(&sim, made(50)) {
            Ok(store) => store,
            Err(error) => {
                use mailkeep::Error::{Damaged, Foreign, Incomplete, UnsupportedFormat};
                let named = matches!(
                    error,
                    Damaged { .. } | Foreign { .. } | Incomplete { .. } | UnsupportedFormat { .. }
                );
                assert!(named, "{what}: {error:?}");
                refused += 1;
                continue;
            }
        };
        opened += 1;
        let oracle = &sample.oracle;
        assert!(
            store.recovery().holes.is_empty() && store.recovery().cut.is_none(),
            "{what}: {}",
            store.recovery()
        );
        // Reading all mail each time takes long; where records go on is what these files say.
        if nth % 16 == 0 {
            let (readable, unreadable) = served(&store, oracle, &oracle.mail, &what);
            assert!(readable == oracle.mail && unreadable.is_empty(), "{what}");
            told += usize::from(!store.recovery().is_whole() || !verify(&store).is_whole());
        }
        assert_eq!(
            store.health().next_record,
            oracle.numbers().last().unwrap() + 1,
            "{what}"
        );
    }
    println!("{refused} refused, {opened} opened, of a sixteenth {told} told");
}

/// Goal: a verification names the head of SEGMENTS and the slots of TAIL, whichever bit of them is another one; and TAIL
/// when it is gone. Each byte of them; with all of damage, each bit.
#[test]
fn a_verification_looks_at_the_small_files() {
    let sim = Sim::new();
    let store = open(&sim, made(0)).unwrap();
    for seed in 0..5 {
        crate::kit::deliver(&store, seed, 300).unwrap();
    }
    assert!(verify(&store).is_whole());
    let parts = [
        ("SEGMENTS", 0..64),
        ("TAIL", 0..512),
        ("TAIL", 4096..4096 + 512),
    ];
    let mut flips = 0;
    for (name, range) in parts {
        for byte in range.clone() {
            let bits = if all() { 0..8 } else { byte % 8..byte % 8 + 1 };
            for bit in bits {
                let what = format!("{name} byte {byte} bit {bit}");
                sim.flip(name, 8 * byte + bit);
                let report = verify(&store);
                let [damage] = &report.damage[..] else {
                    panic!("{what}: {report:?}");
                };
                assert!(
                    damage.path.ends_with(name) && damage.what.is_some(),
                    "{what}"
                );
                assert_eq!(damage.from..damage.to, range.start as u64..range.end as u64);
                sim.flip(name, 8 * byte + bit);
                flips += 1;
            }
        }
    }
    assert!(verify(&store).is_whole() && flips >= 1088);
    sim.lose("TAIL");
    let report = verify(&store);
    let path = &report.damage[0].path;
    assert!(
        report.damage.len() == 1 && path.ends_with("TAIL"),
        "{report:?}"
    );
}

/// Goal: where a sealed segment is not what its footer says, the report says what is wrong, what was found and expected, and
/// what to do.
#[test]
fn a_wrong_digest_is_told_in_words() {
    use mailkeep::format::footer::Trailer;
    let sample = sample(0, 2);
    let name = "log/0000000000000001.seg";
    let mut files = sample.files.clone();
    let file = files.get_mut(name).unwrap();
    let trailer = Trailer::decode(&file[file.len() - 4096..]).unwrap();
    let body = sample
        .oracle
        .pieces
        .iter()
        .find(|piece| piece.file == name && matches!(piece.unit, super::oracle::Unit::Body(_)));
    file[body.unwrap().range.end - 1] ^= 1;
    let first = |digest: &[u8]| -> String {
        let first = digest[..8].iter();
        first.map(|byte| format!("{byte:02x}")).collect()
    };
    let found = first(blake3::hash(&file[..trailer.footer_at as usize]).as_bytes());
    let expected = first(trailer.digest.as_bytes());
    let store = open(&Sim::from_files(files), made(50)).unwrap();
    let report = verify(&store);
    let whole = report
        .damage
        .iter()
        .find(|damage| (damage.from, damage.to) == (0, trailer.footer_at));
    let whole = whole.unwrap_or_else(|| panic!("{report:?}"));
    assert!(whole.path.ends_with(name), "{whole:?}");
    let said = whole.what.unwrap().to_string();
    for part in ["digest", &found, &expected, "restore the file from a copy"] {
        assert!(said.contains(part), "{said}: no {part}");
    }
    // The sector is named too.
    let sectors = report.damage.iter().filter(|damage| damage.from > 0);
    assert!(sectors.count() > 0, "{report:?}");
}

/// Goal: the zeroes in front of a footer, too, are named when one of them is not zero, and no more than those.
#[test]
fn the_zeroes_in_front_of_a_footer_are_looked_at() {
    let sample = sample(0, 2);
    let footers = sample.oracle.pieces.iter().filter(|piece| {
        let zeroes = sample.files[&piece.file][piece.range.clone()].iter();
        piece.unit == super::oracle::Unit::Footer && zeroes.copied().all(|byte| byte == 0)
    });
    let mut tried = 0;
    for piece in footers {
        let end = piece.range.start as u64;
        let (first, last) = (piece.range.start, piece.range.end - 1);
        for at in [first, first, last, last] {
            let mut files = sample.files.clone();
            files.get_mut(&piece.file).unwrap()[at] = 1;
            let replay = tried % 2 == 0;
            let options = made(50).replay_all(replay);
            let store = open(&Sim::from_files(files), options).unwrap();
            let report = verify(&store);
            let named = report.damage.iter().any(|damage| {
                let digest = matches!(damage.what, Some(Fault::SegmentDigest { .. }));
                let here = (damage.from..damage.to).contains(&(at as u64));
                damage.path.ends_with(&piece.file) && here && !digest && damage.from >= end
            });
            assert!(named, "{} at {at}: {report:?}", piece.file);
            tried += 1;
        }
    }
    assert!(tried >= 2);
}

/// Goal: where nothing is left of the last batch of a sealed segment, its place is named, and not the whole segment only.
#[test]
fn a_last_batch_that_became_zeroes_is_named() {
    let sample = sample(0, 2);
    let pieces = &sample.oracle.pieces;
    let mut tried = 0;
    for pair in pieces.windows(2) {
        let [last, footer] = pair else { continue };
        let sealed = footer.unit == super::oracle::Unit::Footer;
        if !sealed || last.unit == super::oracle::Unit::Footer || last.file != footer.file {
            continue;
        }
        let batch = pieces.iter().filter(|piece| piece.domain == last.domain);
        let from = batch.map(|piece| piece.range.start).min().unwrap();
        for options in [made(50), made(51).replay_all(true)] {
            let mut files = sample.files.clone();
            files.get_mut(&last.file).unwrap()[from..last.range.end].fill(0);
            let store = open(&Sim::from_files(files), options).unwrap();
            let report = verify(&store);
            let named = report.damage.iter().any(|damage| {
                let whole = damage.from as usize == from && damage.to as usize >= last.range.end;
                damage.path.ends_with(&last.file) && damage.what == Some(Fault::Lost) && whole
            });
            assert!(named, "{} from {from}: {report:?}", last.file);
            tried += 1;
        }
    }
    assert!(tried > 4);
}

#[test]
fn missing_and_empty() {
    let sample = sample(0, 6);
    for name in log(&sample.files) {
        let mut files = sample.files.clone();
        files.remove(&name);
        let what = format!("{name} is missing");
        assert!(
            refused_or(&sample, files, &what) || name == "TAIL",
            "{what}"
        );
        for content in [vec![], vec![0; sample.files[&name].len()], vec![0xff; 100]] {
            let mut files = sample.files.clone();
            let what = format!(
                "{name} has {} bytes of {:?}",
                content.len(),
                content.first()
            );
            files.insert(name.clone(), content);
            refused_or(&sample, files, &what);
        }
    }
}

/// Copies of segments under other names, other stores' files and a person's: nothing of them is taken in.
#[test]
fn copies_and_strangers() {
    let (sample, other) = (sample(0, 6), sample(5000, 2));
    let segments: Vec<String> = log(&sample.files)
        .into_iter()
        .filter(|name| name.ends_with(".seg"))
        .collect();
    let mut files = sample.files.clone();
    for (nth, name) in segments.iter().enumerate() {
        files.insert(
            format!("log/{:016}.seg", 500 + nth),
            sample.files[name].clone(),
        );
        files.insert(format!("{name}.bak"), sample.files[name].clone());
        files.insert(format!("log/copy of {nth}"), sample.files[name].clone());
    }
    // What is empty is a segment that was about to be made.
    let written = |content: &&Vec<u8>| content.iter().any(|byte| *byte != 0);
    for (nth, content) in other.files.values().filter(written).enumerate() {
        files.insert(format!("log/{:016}.seg", 700 + nth), content.clone());
    }
    for strange in [
        "log/notes.txt",
        "log/1.seg",
        "log/99999999999999999999.seg",
        "log/-000000000000001.seg",
        "README",
        "index/x",
    ] {
        files.insert(strange.to_owned(), b"hello".to_vec());
    }
    for options in [
        made(50),
        made(51).replay_all(true),
        made(52).rebuild(true),
        made(53).read_only(true),
    ] {
        let sim = Sim::from_files(files.clone());
        let store = open(&sim, options).unwrap();
        let (readable, unreadable) = served(&store, &sample.oracle, &sample.oracle.mail, "copies");
        assert!(readable == sample.oracle.mail && unreadable.is_empty());
        let unlisted = &store.recovery().unlisted;
        assert!(unlisted.len() >= 3 * segments.len(), "{unlisted:?}");
        // A new segment takes no name that is there.
        for _ in 0..2 {
            if !store.health().read_only {
                crate::kit::deliver(&store, 1, 60_000).unwrap();
            }
        }
        drop(store);
        let after = sim.files();
        for name in files
            .keys()
            .filter(|name| !sample.files.contains_key(*name) && !name.starts_with("index/"))
        {
            assert!(after.get(name) == files.get(name), "{name} was touched");
        }
    }
}

/// Each file of the log is another file of it, or the same of another store.
#[test]
fn exchanged() {
    let (sample, other) = (sample(0, 6), sample(5000, 6));
    let names = log(&sample.files);
    for (at, name) in names.iter().enumerate() {
        let mut files = sample.files.clone();
        files.insert(
            name.clone(),
            other.files.get(name).cloned().unwrap_or_default(),
        );
        refused_or_foreign(&sample, files, &format!("{name} of another store"));
        for (second_at, second) in names.iter().enumerate() {
            if at == second_at || (!all() && (at + second_at) % 5 != 0) {
                continue;
            }
            let mut files = sample.files.clone();
            files.insert(name.clone(), sample.files[second].clone());
            refused_or_foreign(&sample, files, &format!("{name} is a copy of {second}"));
        }
    }
}

/// A foreign segment may be found when it is first read: then what is in it is not served, and the error says why.
fn refused_or_foreign(sample: &Sample, files: Files, what: &str) {
    let sim = Sim::from_files(files);
    let store = match open(&sim, made(80).replay_all(true)) {
        Ok(store) => store,
        Err(error) => {
            use mailkeep::Error::{Damaged, Foreign, Incomplete, NotAStore};
            let named = matches!(
                error,
                Damaged { .. } | Foreign { .. } | Incomplete { .. } | NotAStore { .. }
            );
            assert!(named, "{what}: {error:?}");
            return;
        }
    };
    let (readable, _) = served(&store, &sample.oracle, &sample.oracle.mail, what);
    let told = !store.recovery().is_whole() || !verify(&store).is_whole();
    assert!(
        readable == sample.oracle.mail || told,
        "{what}: nothing is said"
    );
}

/// Small files of an earlier closing over a newer log, one and together: what was acknowledged is there, or it is
/// refused.
#[test]
fn older_small_files() {
    let sample = sample(0, 6);
    for which in 1..16_usize {
        let mut files = sample.files.clone();
        for (nth, name) in SMALL.iter().enumerate() {
            if which & (1 << nth) != 0 {
                files.insert((*name).to_owned(), sample.older[*name].clone());
            }
        }
        if which & 8 != 0 {
            files.retain(|name, _| !name.starts_with("index/"));
        }
        let what = format!("older: {which:b} of MANIFEST, SEGMENTS, TAIL, index");
        refused_or(&sample, files, &what);
    }
}

/// Links, folders and a device in place of files.
#[test]
fn links_and_folders() {
    use mailkeep::{Error, Options, Store};
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mail");
    let store = Store::open(&path, Options::default()).unwrap();
    for seed in 0..5 {
        crate::kit::deliver(&store, seed, 3_000).unwrap();
    }
    let shown = state(&store);
    store.close().unwrap();
    let segment = "log/0000000000000001.seg";
    for name in ["MANIFEST", "SEGMENTS", "TAIL", segment] {
        let (here, aside) = (path.join(name), dir.path().join("aside"));
        let before = std::fs::read(&here).unwrap();
        std::fs::rename(&here, &aside).unwrap();
        let open = || Store::open(&path, Options::new().replay_all(true));
        let refused = |what: &str| match open() {
            Err(
                Error::Io { .. }
                | Error::Incomplete { .. }
                | Error::NotAStore { .. }
                | Error::Damaged { .. },
            ) => {}
            other => panic!("{name} is {what}: {other:?}"),
        };
        std::os::unix::fs::symlink(&aside, &here).unwrap();
        refused("a link");
        assert!(
            std::fs::read(&aside).unwrap() == before,
            "{name}: nothing is written through a link"
        );
        std::fs::remove_file(&here).unwrap();
        std::fs::create_dir(&here).unwrap();
        refused("a folder");
        std::fs::remove_dir(&here).unwrap();
        std::os::unix::fs::symlink("/dev/zero", &here).unwrap();
        refused("a device");
        std::fs::remove_file(&here).unwrap();
        std::os::unix::net::UnixListener::bind(&here).unwrap();
        refused("a socket");
        std::fs::remove_file(&here).unwrap();
        std::fs::rename(&aside, &here).unwrap();
        let store = open().unwrap();
        assert_eq!(state(&store), shown, "{name} is back");
        store.close().unwrap();
    }
}

/// Two copies of one store that went on by themselves: files of one in the other are never taken for its own.
#[test]
fn two_histories() {
    let sample = sample(0, 4);
    let went_on = |run: u64, len: usize| {
        let sim = Sim::from_files(sample.files.clone());
        let store = open(&sim, made(run)).unwrap();
        for seed in 0..12 {
            crate::kit::deliver(&store, run + seed, len).unwrap();
        }
        let shown = state(&store);
        store.close().unwrap();
        (sim.files(), shown)
    };
    let ((one, one_shown), (other, _)) = (went_on(100, 9_000), went_on(200, 9_000));
    let differing: Vec<&String> = one
        .keys()
        .filter(|name| other.contains_key(*name) && other[*name] != one[*name])
        .collect();
    assert!(
        differing
            .iter()
            .filter(|name| name.ends_with(".seg"))
            .count()
            > 1
    );
    for name in differing {
        let mut files = one.clone();
        files.insert(name.clone(), other[name].clone());
        let what = format!("{name} of the other history");
        let sim = Sim::from_files(files);
        let Ok(store) = open(&sim, made(300).replay_all(true)) else {
            continue;
        };
        let told = !store.recovery().is_whole() || !verify(&store).is_whole();
        assert!(told || state(&store) == one_shown, "{what}");
    }
}

/// The lists are older than the log: a large body that they do not name is not taken for a leftover while a record names
/// it, and segments that they do not name are not passed over.
#[test]
fn lists_older_than_the_log() {
    use mailkeep::Delivery;
    let with_older = |large: bool| {
        let sim = Sim::new();
        let store = open(&sim, made(0)).unwrap();
        crate::kit::deliver(&store, 1, 3_000).unwrap();
        let older = sim.files();
        let inbox = store.account("anna").unwrap().inbox().unwrap();
        let lens = if large {
            [(1 << 20) + 5, 200]
        } else {
            [60_000, 60_000]
        };
        for len in lens {
            let kept = inbox.append(crate::kit::message(2, len), Delivery::to(&inbox));
            kept.unwrap().wait().unwrap();
        }
        let shown = state(&store);
        let mut files = sim.files();
        for name in SMALL {
            files.insert(name.to_owned(), older[name].clone());
        }
        (files, shown)
    };
    let (files, shown) = with_older(true);
    let sim = Sim::from_files(files);
    for run in 1..4 {
        let store = open(&sim, made(run)).unwrap();
        assert_eq!(state(&store), shown);
        store.close().unwrap();
    }
    let (files, shown) = with_older(false);
    let sim = Sim::from_files(files.clone());
    match open(&sim, made(1)) {
        Err(mailkeep::Error::Incomplete { what, .. }) => assert!(what.contains("list"), "{what}"),
        other => panic!("{other:?}"),
    }
    let reader = open(&sim, made(2).read_only(true)).unwrap();
    assert!(!reader.recovery().is_whole() && state(&reader) != shown);
    let after = sim.files();
    assert!(
        files
            .iter()
            .all(|(name, content)| name == "LOCK" || after[name] == *content)
    );
}
