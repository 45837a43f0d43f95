//! redb: bodies under numbers, records under mailbox and UID, a row a mailbox.

use std::sync::atomic::{AtomicU64, Ordering};

use redb::{
    Database, Durability, ReadOnlyTable, ReadableDatabase as _, ReadableTable as _, Table,
    TableDefinition, WriteTransaction,
};

use super::Setup;
use crate::record::{self, Mailbox, Record, number};
use crate::store::{Mail, Place, Result, Scan, Session, Store, missing};

pub(super) const SETTINGS: &str = "cache of 256 MiB; Durability::Immediate (written: None, every thousandth Immediate, \
     else no page is freed); open tables a reader; leader and followers share commits; checksums of pages are looked at \
     in repairs only";

const BODIES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("bodies");
const ENTRIES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("entries");
const MAILBOXES: TableDefinition<'_, u32, &[u8]> = TableDefinition::new("mailboxes");

/// Commits that are not durable between two that are.
const UNSYNCED: u64 = 1000;

pub(super) struct Redb {
    database: Database,
    durable: bool,
    next: AtomicU64,
    commits: AtomicU64,
}

impl Redb {
    pub(super) fn open(setup: Setup<'_>) -> Result<Self> {
        let database = Database::builder()
            .set_cache_size(256 << 20)
            .create(setup.dir.join("mail.redb"))?;
        let writer = database.begin_write()?;
        let last = {
            writer.open_table(ENTRIES)?;
            writer.open_table(MAILBOXES)?;
            let bodies = writer.open_table(BODIES)?;
            bodies.last()?.map_or(0, |(id, _)| id.value())
        };
        writer.commit()?;
        Ok(Self {
            database,
            durable: setup.durable,
            next: AtomicU64::new(last + 1),
            commits: AtomicU64::new(1),
        })
    }

    fn begin(&self) -> Result<WriteTransaction> {
        let mut writer = self.database.begin_write()?;
        let count = self.commits.fetch_add(1, Ordering::Relaxed);
        if !self.durable && !count.is_multiple_of(UNSYNCED) {
            writer.set_durability(Durability::None)?;
        }
        Ok(writer)
    }
}

/// A mailbox's row as this change leaves it, UIDs apart.
fn row(mailboxes: &Table<'_, u32, &[u8]>, place: Place) -> Result<Mailbox> {
    let found = mailboxes.get(place.0)?;
    Mailbox::changed(found.as_ref().map(|found| found.value()))
}

fn record(entries: &Table<'_, u64, &[u8]>, place: Place, uid: u32) -> Result<Record> {
    match entries.get(number(place, uid))? {
        Some(record) => Record::decode(record.value()),
        None => missing(place, uid),
    }
}

impl Store for Redb {
    fn deliver(&self, mails: &[Mail]) -> Result<Vec<u32>> {
        let writer = self.begin()?;
        let (mut uids, date) = (Vec::with_capacity(mails.len()), record::now());
        {
            let mut bodies = writer.open_table(BODIES)?;
            let mut entries = writer.open_table(ENTRIES)?;
            let mut mailboxes = writer.open_table(MAILBOXES)?;
            for run in mails.chunk_by(|a, b| a.place == b.place) {
                let place = run[0].place;
                let mut row = row(&mailboxes, place)?;
                for mail in run {
                    let (uid, body) = (row.give(), self.next.fetch_add(1, Ordering::Relaxed));
                    let record = Record::of(mail, row.modseq, date, body);
                    bodies.insert(body, mail.body)?;
                    entries.insert(number(place, uid), &record.encode()[..])?;
                    uids.push(uid);
                }
                mailboxes.insert(place.0, &row.encode()[..])?;
            }
        }
        writer.commit()?;
        Ok(uids)
    }

    fn flag(&self, place: Place, uids: &[u32], on: bool) -> Result<()> {
        let writer = self.begin()?;
        {
            let mut entries = writer.open_table(ENTRIES)?;
            let mut mailboxes = writer.open_table(MAILBOXES)?;
            let row = row(&mailboxes, place)?;
            for uid in uids {
                let record = record(&entries, place, *uid)?.flagged(on, row.modseq);
                entries.insert(number(place, *uid), &record.encode()[..])?;
            }
            mailboxes.insert(place.0, &row.encode()[..])?;
        }
        Ok(writer.commit()?)
    }

    fn copy(&self, from: Place, uids: &[u32], to: Place) -> Result<()> {
        let writer = self.begin()?;
        {
            let mut entries = writer.open_table(ENTRIES)?;
            let mut mailboxes = writer.open_table(MAILBOXES)?;
            let mut row = row(&mailboxes, to)?;
            for uid in uids {
                let mut record = record(&entries, from, *uid)?;
                record.modseq = row.modseq;
                entries.insert(number(to, row.give()), &record.encode()[..])?;
            }
            mailboxes.insert(to.0, &row.encode()[..])?;
        }
        Ok(writer.commit()?)
    }

    fn session(&self) -> Result<Box<dyn Session + '_>> {
        let reader = self.database.begin_read()?;
        Ok(Box::new(Reader {
            bodies: reader.open_table(BODIES)?,
            entries: reader.open_table(ENTRIES)?,
        }))
    }

    fn close(self: Box<Self>) -> Result<()> {
        // Not durable commits become so with the next one.
        self.database.begin_write()?.commit()?;
        Ok(self.database.close()?)
    }
}

struct Reader {
    bodies: ReadOnlyTable<u64, &'static [u8]>,
    entries: ReadOnlyTable<u64, &'static [u8]>,
}

impl Session for Reader {
    fn read(&mut self, place: Place, uid: u32, see: &mut dyn FnMut(&[u8])) -> Result<()> {
        let Some(record) = self.entries.get(number(place, uid))? else {
            return missing(place, uid);
        };
        match self.bodies.get(Record::decode(record.value())?.body)? {
            Some(body) => see(body.value()),
            None => return missing(place, uid),
        }
        Ok(())
    }

    fn scan(&mut self, place: Place) -> Result<Scan> {
        let mut scan = Scan::default();
        for entry in self
            .entries
            .range(number(place, 0)..=number(place, u32::MAX))?
        {
            scan.count(record::flags(entry?.1.value())?);
        }
        Ok(scan)
    }
}
