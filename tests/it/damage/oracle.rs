//! Which bytes belong to which message: the files read by the format alone, without the store, and folded by a model.
//!
//! One loss is not modelled to the message: of an account whose creation is lost.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use mailkeep::AccountId;
use mailkeep::format::batch::BatchHead;
use mailkeep::format::body::BodyHeader;
use mailkeep::format::change::{BodyAt, Change, Deliver};
use mailkeep::format::record::Frame;
use mailkeep::format::segment::{Holds, Place, SegmentHeader};
use mailkeep::format::{PAGE, SECTOR};

use super::Files;

/// What the bytes of a range are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Unit {
    /// A segment's header page.
    Header,
    /// A batch's head with its table, or its padding.
    Frame,
    /// A record's frame.
    Record(u64),
    /// A body with its header, by its record's number.
    Body(u64),
    /// A large body, by its segment's number.
    Large(u64),
    /// A footer, with the zeroes in front of it.
    Footer,
    /// Nothing was written here.
    Zeroes,
}

/// A place of a file, and which batch it is in: flips in different ones do not meet.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub(super) file: String,
    pub(super) range: Range<usize>,
    pub(super) unit: Unit,
    /// Counts batches, headers, footers and large bodies of the store.
    pub(super) domain: usize,
}

/// Account, mailbox, UID.
pub(super) type Key = (AccountId, u32, u32);

/// Where an entry's bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum BodyKey {
    Record(u64),
    Large(u64),
}

/// A mailbox entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) body: BodyKey,
    /// The record that delivered the Email.
    pub(super) record: u64,
    pub(super) flags: u16,
}

pub(super) type Mail = BTreeMap<Key, Entry>;

/// One record.
struct Record {
    number: u64,
    account: AccountId,
    mailbox: u32,
    change: Change,
}

pub(super) struct Oracle {
    /// By file and offset.
    pub(super) pieces: Vec<Piece>,
    by_file: BTreeMap<String, Range<usize>>,
    pub(super) bodies: BTreeMap<BodyKey, Vec<u8>>,
    records: Vec<Record>,
    /// Records that are parts of bases.
    pub(super) bases: BTreeSet<u64>,
    pub(super) kinds: BTreeMap<u8, usize>,
    pub(super) sealed: usize,
    /// All that is there when nothing is lost, and all that ever was.
    pub(super) mail: Mail,
    pub(super) ever: Mail,
}

impl Oracle {
    pub(super) fn read(files: &Files) -> Self {
        let mut oracle = Self {
            pieces: Vec::new(),
            by_file: BTreeMap::new(),
            bodies: BTreeMap::new(),
            records: Vec::new(),
            bases: BTreeSet::new(),
            kinds: BTreeMap::new(),
            sealed: 0,
            mail: Mail::new(),
            ever: Mail::new(),
        };
        let mut domain = 0;
        for (name, bytes) in files.iter().filter(|(name, _)| name.ends_with(".seg")) {
            let header = SegmentHeader::decode(&bytes[..PAGE]).unwrap();
            let place = header.place();
            let mut add = |range: Range<usize>, unit, domain| {
                if !range.is_empty() {
                    let file = name.clone();
                    oracle.pieces.push(Piece {
                        file,
                        range,
                        unit,
                        domain,
                    });
                }
            };
            domain += 1;
            add(0..PAGE, Unit::Header, domain);
            domain += 1;
            if header.holds == Holds::Body {
                add(PAGE..bytes.len(), Unit::Large(header.segment), domain);
                let body = BodyHeader::decode(place, &bytes[PAGE..]).unwrap();
                let at = PAGE + body.encoded_len();
                let key = BodyKey::Large(header.segment);
                let stored = bytes[at..at + body.stored_len as usize].to_vec();
                assert_eq!(at + stored.len(), bytes.len());
                oracle.bodies.insert(key, stored);
                continue;
            }
            let mut at = PAGE;
            while at < bytes.len()
                && let Ok(head) = BatchHead::decode(place, at as u64, &bytes[at..])
            {
                domain += 1;
                oracle.batch(name, place, at, &head, bytes, domain);
                at += head.len as usize;
            }
            domain += 1;
            let rest = &bytes[at..];
            let sealed = rest.iter().any(|byte| *byte != 0);
            oracle.sealed += usize::from(sealed);
            let unit = if sealed { Unit::Footer } else { Unit::Zeroes };
            // By pages: each is damaged by itself.
            while at < bytes.len() {
                let end = bytes.len().min((at / PAGE + 1) * PAGE);
                let file = name.clone();
                oracle.pieces.push(Piece {
                    file,
                    range: at..end,
                    unit,
                    domain,
                });
                at = end;
            }
        }
        for (at, piece) in oracle.pieces.iter().enumerate() {
            let of_file = oracle.by_file.entry(piece.file.clone()).or_insert(at..at);
            assert_eq!(of_file.end, at, "pieces are in the order of files");
            of_file.end = at + 1;
        }
        oracle.records.sort_by_key(|record| record.number);
        oracle.mail = oracle.fold(&BTreeSet::new());
        let (mut now, mut ever) = (Mail::new(), Mail::new());
        for record in &oracle.records {
            apply(&mut now, record);
            ever.extend(now.iter().map(|(key, entry)| (*key, entry.clone())));
        }
        oracle.ever = ever;
        oracle
    }

    fn batch(
        &mut self,
        file: &str,
        place: Place,
        at: usize,
        head: &BatchHead,
        bytes: &[u8],
        domain: usize,
    ) {
        let batch = &bytes[at..at + head.len as usize];
        assert!(head.bad_sectors(place, at as u64, batch).is_empty());
        let mut marks = Vec::new();
        let mut from = head.head_len();
        let mut with_body = Vec::new();
        while from < head.bodies_at() {
            let frame = Frame::decode(place, &batch[from..]).unwrap();
            let change = frame.change().unwrap();
            let number = frame.header.number;
            marks.push((from..from + frame.len, Unit::Record(number)));
            *self.kinds.entry(frame.kind).or_default() += 1;
            if let Some(BodyAt::Here(offset)) = change.body() {
                with_body.push((number, head.bodies_at() + offset as usize));
            }
            if matches!(change, Change::Base(_)) {
                self.bases.insert(number);
            }
            self.records.push(Record {
                number,
                account: frame.header.account,
                mailbox: frame.header.mailbox,
                change,
            });
            from += frame.len;
        }
        for (number, offset) in with_body {
            let body = BodyHeader::decode(place, &batch[offset..]).unwrap();
            assert_eq!(body.number, number);
            let stored = offset + body.encoded_len();
            let end = stored + body.stored_len as usize;
            marks.push((offset..end, Unit::Body(number)));
            self.bodies
                .insert(BodyKey::Record(number), batch[stored..end].to_vec());
        }
        marks.sort_by_key(|(range, _)| range.start);
        let mut done = 0;
        for (range, unit) in marks
            .into_iter()
            .chain([(batch.len()..batch.len(), Unit::Frame)])
        {
            for (range, unit) in [(done..range.start, Unit::Frame), (range.clone(), unit)] {
                if !range.is_empty() {
                    self.pieces.push(Piece {
                        file: file.to_owned(),
                        range: at + range.start..at + range.end,
                        unit,
                        domain,
                    });
                }
            }
            done = range.end;
        }
        assert!(batch.len().is_multiple_of(SECTOR));
    }

    /// What is in the mailboxes when these records are lost.
    ///
    /// A base that is whole says everything anew: what it was made from need not be there. Then the true state of that
    /// moment counts.
    pub(super) fn fold(&self, lost: &BTreeSet<u64>) -> Mail {
        let (mut truth, mut mail) = (Mail::new(), Mail::new());
        let mut parts = BTreeMap::<AccountId, u32>::new();
        for record in &self.records {
            apply(&mut truth, record);
            if lost.contains(&record.number) {
                parts.remove(&record.account);
                continue;
            }
            if let Change::Base(base) = &record.change {
                let found = if base.part == 0 {
                    0
                } else {
                    parts.remove(&record.account).unwrap_or(u32::MAX)
                };
                if found == base.part {
                    parts.insert(record.account, base.part + 1);
                }
                if found == base.part && base.part + 1 == base.parts {
                    mail.retain(|key, _| key.0 != record.account);
                    let own = truth.iter().filter(|(key, _)| key.0 == record.account);
                    mail.extend(own.map(|(key, entry)| (*key, entry.clone())));
                }
                continue;
            }
            parts.remove(&record.account);
            apply(&mut mail, record);
        }
        mail
    }

    /// Numbers of all records.
    pub(super) fn numbers(&self) -> impl Iterator<Item = u64> {
        self.records.iter().map(|record| record.number)
    }

    /// Whether the record that created the account is lost: its mail is reached by its id at best, until a base or the
    /// index tells its name.
    pub(super) fn is_nameless(&self, account: AccountId, lost: &BTreeSet<u64>) -> bool {
        self.records.iter().any(|record| {
            let creates = matches!(record.change, Change::CreateAccount { .. });
            record.account == account && creates && lost.contains(&record.number)
        })
    }

    /// All accounts that ever were.
    pub(super) fn accounts(&self) -> BTreeSet<AccountId> {
        self.ever.keys().map(|key| key.0).collect()
    }

    /// The record's kind, for people.
    pub(super) fn change(&self, number: u64) -> Option<&Change> {
        let found = self.records.iter().find(|record| record.number == number);
        found.map(|record| &record.change)
    }

    pub(super) fn account_of(&self, number: u64) -> Option<AccountId> {
        let found = self.records.iter().find(|record| record.number == number);
        found.map(|record| record.account)
    }

    /// Whether the record brought the body that lies with it.
    pub(super) fn has_body(&self, number: u64) -> bool {
        self.bodies.contains_key(&BodyKey::Record(number))
    }

    /// Of a record that assigned a deferred message: its mailbox, and where the message's bytes are.
    pub(super) fn assigned(&self, number: u64) -> Option<(AccountId, u32, BodyKey)> {
        let record = self.records.iter().find(|record| record.number == number)?;
        match &record.change {
            Change::Assign(assign) => {
                let body = body_of(number, assign.deliver.body);
                Some((record.account, record.mailbox, body))
            }
            _ => None,
        }
    }

    /// The entry of a deferred message under a UID that it did not have, if these are its bytes.
    pub(super) fn assigned_again(&self, key: Key, bytes: &[u8]) -> Option<Entry> {
        let numbers = self.numbers();
        let mut assigned = numbers.filter_map(|number| Some((number, self.assigned(number)?)));
        let is_it = |at: &(AccountId, u32, BodyKey)| {
            (at.0, at.1) == (key.0, key.1) && self.bodies[&at.2] == bytes
        };
        let (record, (_, _, body)) = assigned.find(|(_, at)| is_it(at))?;
        let flags = 0;
        Some(Entry {
            body,
            record,
            flags,
        })
    }

    /// The pieces that a range of a file touches.
    pub(super) fn touched(&self, file: &str, range: &Range<usize>) -> Vec<&Piece> {
        let Some(of_file) = self.by_file.get(file) else {
            return Vec::new();
        };
        let pieces = &self.pieces[of_file.clone()];
        let first = pieces.partition_point(|piece| piece.range.end <= range.start);
        let pieces = pieces[first..].iter();
        pieces
            .take_while(|piece| piece.range.start < range.end)
            .collect()
    }
}

fn body_of(record: u64, body: BodyAt) -> BodyKey {
    match body {
        BodyAt::Here(_) => BodyKey::Record(record),
        BodyAt::Record(owner) => BodyKey::Record(owner),
        BodyAt::Segment(segment) => BodyKey::Large(segment),
    }
}

fn apply(mail: &mut Mail, record: &Record) {
    let Record {
        number,
        account,
        mailbox,
        change,
    } = record;
    let (account, mailbox) = (*account, *mailbox);
    let arrive = |mail: &mut Mail, deliver: &Deliver| {
        let entry = Entry {
            body: body_of(*number, deliver.body),
            record: *number,
            flags: deliver.flags.bits(),
        };
        mail.insert((account, mailbox, deliver.uid.get()), entry);
    };
    let transfer = |mail: &mut Mail, source: u32, from: u32, to: u32, take: bool| {
        let key = (account, source, from);
        let entry = if take {
            mail.remove(&key)
        } else {
            mail.get(&key).cloned()
        };
        if let Some(entry) = entry {
            mail.insert((account, mailbox, to), entry);
        }
    };
    match change {
        Change::DeleteAccount { .. } => mail.retain(|key, _| key.0 != account),
        Change::DeleteMailbox => mail.retain(|key, _| (key.0, key.1) != (account, mailbox)),
        Change::Deliver(deliver) => arrive(mail, deliver),
        Change::Assign(assign) => arrive(mail, &assign.deliver),
        Change::Flag(flag) => {
            for (key, entry) in mail.range_mut((account, mailbox, 0)..=(account, mailbox, u32::MAX))
            {
                if mailkeep::Uid::new(key.2).is_some_and(|uid| flag.uids.contains(uid)) {
                    entry.flags = entry.flags & !flag.remove.bits() | flag.add.bits();
                }
            }
        }
        Change::Copy(copy) => copy
            .entries
            .iter()
            .for_each(|entry| transfer(mail, copy.source, entry.from.get(), entry.to.get(), false)),
        Change::Move(copy) => copy
            .entries
            .iter()
            .for_each(|entry| transfer(mail, copy.source, entry.from.get(), entry.to.get(), true)),
        Change::Expunge { uids } => mail.retain(|key, _| {
            let uid = mailkeep::Uid::new(key.2);
            (key.0, key.1) != (account, mailbox) || !uid.is_some_and(|uid| uids.contains(uid))
        }),
        _ => {}
    }
}
