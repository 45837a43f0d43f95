//! Each bit by itself, read by what reads it: those of bodies by a read of their message below an open store, those of
//! the index by an opening that lists everything. Segments' other bits, and all of them at an opening and a verification,
//! are those of `flips`; the small files' those of `files`.
//!
//! `MAILKEEP_DAMAGE=all MAILKEEP_DAMAGE_PART=2/8 cargo test --release --test it each_bit` tries the second of eight parts of
//! all; without, `MAILKEEP_FLIPS` says how many are tried, and `MAILKEEP_SEED` which.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use mailkeep::format::PAGE;
use mailkeep::format::body::BodyHeader;
use mailkeep::format::segment::SegmentHeader;
use mailkeep::{Account, Error, Message, Store, Uid, View};

use super::bent::Bent;
use super::oracle::{BodyKey, Piece, Unit};
use super::sample::{Sample, made, sample};
use super::{all, in_part};
use crate::harm::Dice;
use crate::kit::env;

/// The bits of `0..bits` that are to be tried.
fn chosen(bits: usize, usual: u64) -> Box<dyn Iterator<Item = usize>> {
    if all() {
        return Box::new((0..bits).filter(|bit| in_part(*bit)));
    }
    let mut dice = Dice::new(env("MAILKEEP_SEED", 1));
    let some = (0..env("MAILKEEP_FLIPS", usual)).map(move |_| dice.below(bits));
    Box::new(some)
}

fn reader(bent: &Arc<Bent>) -> Store {
    Store::open_on(bent.storage(), made(50).read_only(true)).unwrap()
}

/// A body, and how a message that has it is read.
struct Body<'a> {
    piece: &'a Piece,
    view: View,
    uid: Uid,
    /// Where the message's bytes are in the file.
    bytes: Range<usize>,
    message: &'a [u8],
}

impl Body<'_> {
    /// Reads what has the byte; all of the message if `whole`.
    fn read(&self, byte: usize, whole: bool) -> mailkeep::Result<bool> {
        let message = self.view.message(self.uid)?;
        let at = byte.saturating_sub(self.bytes.start);
        let part = if whole || byte < self.bytes.start {
            0..self.message.len()
        } else {
            at..at + 1
        };
        let read = |message: &Message| match part.len() == self.message.len() {
            true => message.bytes(),
            false => message.range(part.clone()),
        };
        read(&message).map(|bytes| bytes[..] == self.message[part.clone()])
    }
}

/// The bodies that some mailbox has.
fn bodies<'a>(sample: &'a Sample, store: &Store) -> Vec<Body<'a>> {
    let oracle = &sample.oracle;
    let mut entries = BTreeMap::new();
    for (key, entry) in &oracle.mail {
        entries.entry(entry.body).or_insert(*key);
    }
    let mut views = BTreeMap::new();
    let mut view_of = |account, mailbox: u32| -> View {
        let view = views.entry((account, mailbox)).or_insert_with(|| {
            let account = store.account_by_id(account).unwrap();
            let infos = account.mailboxes().unwrap();
            let info = infos.iter().find(|info| info.id.get() == mailbox).unwrap();
            account.mailbox(&info.name).unwrap().view().unwrap()
        });
        view.clone()
    };
    let mut bodies = Vec::new();
    for piece in &oracle.pieces {
        let body = match piece.unit {
            Unit::Body(number) => BodyKey::Record(number),
            Unit::Large(segment) => BodyKey::Large(segment),
            _ => continue,
        };
        let Some((account, mailbox, uid)) = entries.get(&body) else {
            continue;
        };
        let file = &sample.files[&piece.file];
        let place = SegmentHeader::decode(&file[..PAGE]).unwrap().place();
        let header = BodyHeader::decode(place, &file[piece.range.clone()]).unwrap();
        bodies.push(Body {
            piece,
            view: view_of(*account, *mailbox),
            uid: Uid::new(*uid).unwrap(),
            bytes: piece.range.start + header.encoded_len()..piece.range.end,
            message: &oracle.bodies[&body],
        });
    }
    bodies
}

/// Flips bits of bodies below an open store; what reads one is refused, by file and offset, and all is well when it is
/// back.
#[test]
fn of_bodies() {
    let sample = sample(0, 6);
    let bent = Bent::new(&sample.files);
    let store = reader(&bent);
    let bodies = bodies(&sample, &store);
    let start = Instant::now();
    // By body, so that a part has bits of each.
    let ends: Vec<usize> = bodies
        .iter()
        .scan(0, |end, body| {
            *end += 8 * body.piece.range.len();
            Some(*end)
        })
        .collect();
    let bits = *ends.last().unwrap();
    let mut flips = 0_u64;
    for nth in chosen(bits, 20_000) {
        let which = ends.partition_point(|end| *end <= nth);
        let body = &bodies[which];
        let Piece { file, range, .. } = body.piece;
        let bit = 8 * range.end - (ends[which] - nth);
        bent.bend(file, bit);
        // Of a large body only the chunk that has the bit, but for one bit of each byte.
        let large = body.message.len() > 1 << 20;
        let read = body.read(bit / 8, !large || bit % 8 == bit / 8 % 8);
        let Err(Error::Damaged { path, offset, .. }) = &read else {
            panic!("{file} bit {bit}: {read:?}, met {}", bent.met());
        };
        let here = path.ends_with(file.as_str()) && range.contains(&(*offset as usize));
        assert!(here, "{file} bit {bit}: {path} at {offset}");
        assert!(bent.met() > 0, "{file} bit {bit} was not read");
        flips += 1;
    }
    bent.straighten();
    for body in &bodies {
        assert!(body.read(0, true).unwrap(), "{:?}", body.piece);
    }
    println!(
        "{flips} of {bits} bits of {} bodies: each was read and refused; {:?}",
        bodies.len(),
        start.elapsed()
    );
}

/// What a mailbox, or an entry of it, shows.
type Shown = (String, u64, u64, u64);

/// All that an account lists, without the bodies.
fn listed_of(account: &Account) -> mailkeep::Result<Vec<Shown>> {
    let mut shown = Vec::new();
    for info in account.mailboxes()? {
        let mailbox = account.mailbox(&info.name)?;
        let status = mailbox.status()?;
        let next = status.uid_next.map_or(0, |uid| uid.get());
        let validity = u64::from(status.uid_validity.get()) << 32 | u64::from(next);
        let (name, modseq) = (info.name, status.highest_modseq.get());
        shown.push((name, validity, modseq, 0));
        for row in mailbox.view()?.iter() {
            let flags = u64::from(row.flags.bits()) << 32 | u64::from(row.uid.get());
            shown.push((String::new(), flags, row.modseq.get(), row.size));
        }
    }
    Ok(shown)
}

/// All that a store lists.
fn listed(store: &Store) -> mailkeep::Result<BTreeMap<String, Vec<Shown>>> {
    let names = store.accounts(None, 1000)?.into_iter();
    let all = names.map(|name| {
        let shown = listed_of(&store.account(&name)?)?;
        Ok((name, shown))
    });
    all.collect()
}

/// Who reads which byte of the index.
struct Readers {
    /// An opening, or the list of accounts.
    all: BTreeMap<String, Vec<bool>>,
    /// Who asks for that account.
    accounts: Vec<(String, BTreeMap<String, Vec<bool>>)>,
}

fn has(read: &BTreeMap<String, Vec<bool>>, file: &str, byte: usize) -> bool {
    read.get(file).is_some_and(|bytes| bytes[byte])
}

impl Readers {
    fn of(bent: &Arc<Bent>, names: impl Iterator<Item = String>) -> Self {
        let opening = || drop(reader(bent).accounts(None, 1000).unwrap());
        let all = bent.watch(opening);
        let accounts = names.map(|name| {
            let store = reader(bent);
            let read = bent.watch(|| drop(listed_of(&store.account(&name).unwrap()).unwrap()));
            (name, read)
        });
        Self {
            all,
            accounts: accounts.collect(),
        }
    }
}

/// A bit of a file.
type Flip<'a> = (&'a str, usize);

/// Flips bits of the index. Where the opening reads one, all is listed; where only those do who ask for some account, that
/// account is, below an open store; all is what it was. Where nobody reads a byte, one of its bits is tried, and not met.
#[test]
fn of_the_index() {
    let sample = sample(0, 6);
    let bent = Bent::new(&sample.files);
    let known = listed(&reader(&bent)).unwrap();
    let readers = Readers::of(&bent, known.keys().cloned());
    let index = |file: &(&String, &Vec<u8>)| file.0.starts_with("index/");
    let places: Vec<(&String, &Vec<u8>)> = sample.files.iter().filter(index).collect();
    let bits = 8 * places.iter().map(|(_, bytes)| bytes.len()).sum::<usize>();
    let (mut openings, mut unread, start) = (Vec::<Flip<'_>>::new(), Vec::new(), Instant::now());
    let mut asked: Vec<Vec<Flip<'_>>> = vec![Vec::new(); readers.accounts.len()];
    for nth in chosen(bits, 2_000) {
        let mut bit = nth;
        let of = places.iter().find(|(_, bytes)| {
            let here = bit < 8 * bytes.len();
            bit -= if here { 0 } else { 8 * bytes.len() };
            here
        });
        let name = of.unwrap().0.as_str();
        if has(&readers.all, name, bit / 8) {
            openings.push((name, bit));
            continue;
        }
        let mut somebody = false;
        for (flips, (_, read)) in asked.iter_mut().zip(&readers.accounts) {
            if has(read, name, bit / 8) {
                flips.push((name, bit));
                somebody = true;
            }
        }
        if !somebody && bit % 8 == bit / 8 % 8 {
            unread.push((name, bit));
        }
    }
    let whole = |(name, bit): Flip<'_>, met: bool| {
        bent.bend(name, bit);
        let shown = listed(&reader(&bent));
        assert!(
            shown.is_ok_and(|shown| shown == known),
            "{name} bit {bit}: another list"
        );
        assert_eq!(bent.met() > 0, met, "{name} bit {bit}: who reads it?");
    };
    openings.iter().for_each(|flip| whole(*flip, true));
    println!("{} at openings, {:?}", openings.len(), start.elapsed());
    unread.iter().for_each(|flip| whole(*flip, false));
    println!("{} not read, {:?}", unread.len(), start.elapsed());
    let counts: usize = asked.iter().map(Vec::len).sum();
    while asked.iter().any(|flips| !flips.is_empty()) {
        bent.straighten();
        let mut store = reader(&bent);
        for (flips, (account, _)) in asked.iter_mut().zip(&readers.accounts) {
            let Some((name, bit)) = flips.pop() else {
                continue;
            };
            for again in [false, true] {
                bent.bend(name, bit);
                let shown = store
                    .account(account)
                    .and_then(|account| listed_of(&account));
                assert!(
                    shown.is_ok_and(|shown| shown == known[account]),
                    "{name} bit {bit}: another list of {account}"
                );
                if bent.met() > 0 {
                    break;
                }
                // What an account before it has shown to be damaged is not read again by that store.
                assert!(!again, "{name} bit {bit} was not read for {account}");
                bent.straighten();
                store = reader(&bent);
            }
        }
    }
    println!(
        "the index, {bits} bits in {} files: {} flips read by openings, {counts} by who asks for an account, {} by nobody; \
         the lists were the same; {:?}",
        places.len(),
        openings.len(),
        unread.len(),
        start.elapsed()
    );
    assert!(!openings.is_empty() && counts > 0);
}
