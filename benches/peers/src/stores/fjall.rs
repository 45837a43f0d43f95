//! fjall: bodies in a keyspace with key-value separation, records under mailbox and UID, a row a mailbox.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use fjall::config::CompressionPolicy;
use fjall::{
    CompressionType, Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions,
    OwnedWriteBatch, PersistMode, Readable as _, Snapshot,
};

use super::Setup;
use crate::record::{self, Mailbox, Record, key};
use crate::store::{Mail, Place, Result, Scan, Session, Store, missing};

pub(super) const SETTINGS: &str = "cache of 256 MiB; bodies from 1 KiB in blob files; no compression; \
     PersistMode::SyncData (written: Buffer); a snapshot a reader; leader and followers share commits; with checksums";

pub(super) struct Fjall {
    database: Database,
    bodies: Keyspace,
    entries: Keyspace,
    mailboxes: Keyspace,
    durable: bool,
    next: AtomicU64,
    /// UIDs and MODSEQs are given by one thread at a time.
    writer: Mutex<()>,
}

impl Fjall {
    pub(super) fn open(setup: Setup<'_>) -> Result<Self> {
        let database = Database::builder(setup.dir)
            .cache_size(256 << 20)
            .journal_compression(CompressionType::None)
            .open()?;
        let plain = || {
            KeyspaceCreateOptions::default()
                .data_block_compression_policy(CompressionPolicy::all(CompressionType::None))
        };
        let blobs = KvSeparationOptions::default()
            .separation_threshold(1024)
            .compression(CompressionType::None);
        let bodies = database.keyspace("bodies", || plain().with_kv_separation(Some(blobs)))?;
        let last = match bodies.last_key_value() {
            Some(last) => u64::from_be_bytes(last.key()?[..].try_into()?),
            None => 0,
        };
        Ok(Self {
            bodies,
            entries: database.keyspace("entries", plain)?,
            mailboxes: database.keyspace("mailboxes", plain)?,
            database,
            durable: setup.durable,
            next: AtomicU64::new(last + 1),
            writer: Mutex::new(()),
        })
    }

    fn batch(&self) -> OwnedWriteBatch {
        let mode = if self.durable {
            PersistMode::SyncData
        } else {
            PersistMode::Buffer
        };
        self.database.batch().durability(Some(mode))
    }

    /// A mailbox's row as this change leaves it, UIDs apart.
    fn row(&self, place: Place) -> Result<Mailbox> {
        let found = self.mailboxes.get(place.0.to_be_bytes())?;
        Mailbox::changed(found.as_deref())
    }

    fn record(&self, place: Place, uid: u32) -> Result<Record> {
        match self.entries.get(key(place, uid))? {
            Some(record) => Record::decode(&record),
            None => missing(place, uid),
        }
    }
}

impl Store for Fjall {
    fn deliver(&self, mails: &[Mail]) -> Result<Vec<u32>> {
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut batch, mut uids) = (self.batch(), Vec::with_capacity(mails.len()));
        // A mailbox's row is read once a batch: what is in the batch is not seen before it is committed.
        let mut sorted: Vec<(usize, &Mail)> = mails.iter().enumerate().collect();
        sorted.sort_by_key(|(_, mail)| mail.place);
        uids.resize(mails.len(), 0);
        let date = record::now();
        for run in sorted.chunk_by(|a, b| a.1.place == b.1.place) {
            let place = run[0].1.place;
            let mut row = self.row(place)?;
            for (at, mail) in run {
                let (uid, body) = (row.give(), self.next.fetch_add(1, Ordering::Relaxed));
                let record = Record::of(mail, row.modseq, date, body);
                batch.insert(&self.bodies, body.to_be_bytes(), mail.body);
                batch.insert(&self.entries, key(place, uid), record.encode());
                uids[*at] = uid;
            }
            batch.insert(&self.mailboxes, place.0.to_be_bytes(), row.encode());
        }
        batch.commit()?;
        Ok(uids)
    }

    fn flag(&self, place: Place, uids: &[u32], on: bool) -> Result<()> {
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut batch, row) = (self.batch(), self.row(place)?);
        for uid in uids {
            let record = self.record(place, *uid)?.flagged(on, row.modseq);
            batch.insert(&self.entries, key(place, *uid), record.encode());
        }
        batch.insert(&self.mailboxes, place.0.to_be_bytes(), row.encode());
        Ok(batch.commit()?)
    }

    fn copy(&self, from: Place, uids: &[u32], to: Place) -> Result<()> {
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut batch, mut row) = (self.batch(), self.row(to)?);
        for uid in uids {
            let mut record = self.record(from, *uid)?;
            record.modseq = row.modseq;
            batch.insert(&self.entries, key(to, row.give()), record.encode());
        }
        batch.insert(&self.mailboxes, to.0.to_be_bytes(), row.encode());
        Ok(batch.commit()?)
    }

    fn session(&self) -> Result<Box<dyn Session + '_>> {
        Ok(Box::new(Reader {
            store: self,
            snapshot: self.database.snapshot(),
        }))
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(self.database.persist(PersistMode::SyncAll)?)
    }
}

struct Reader<'a> {
    store: &'a Fjall,
    snapshot: Snapshot,
}

impl Session for Reader<'_> {
    fn read(&mut self, place: Place, uid: u32, see: &mut dyn FnMut(&[u8])) -> Result<()> {
        let Some(record) = self.snapshot.get(&self.store.entries, key(place, uid))? else {
            return missing(place, uid);
        };
        let body = Record::decode(&record)?.body.to_be_bytes();
        match self.snapshot.get(&self.store.bodies, body)? {
            Some(body) => see(&body),
            None => return missing(place, uid),
        }
        Ok(())
    }

    fn scan(&mut self, place: Place) -> Result<Scan> {
        let range = key(place, 0)..=key(place, u32::MAX);
        let mut scan = Scan::default();
        for entry in self.snapshot.range(&self.store.entries, range) {
            scan.count(record::flags(&entry.value()?)?);
        }
        Ok(scan)
    }
}
