//! RocksDB with BlobDB: bodies in blob files, records under mailbox and UID, a row a mailbox.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType,
    DBRawIterator, DBRecoveryMode, Options, ReadOptions, WriteBatch, WriteOptions,
};

use super::Setup;
use crate::record::{self, Mailbox, Record, key};
use crate::store::{Mail, Place, Result, Scan, Session, Store, missing};

pub(super) fn settings() -> String {
    // The library does not say which one it is.
    let library =
        option_env!("PEERS_ROCKSDB").unwrap_or("of unknown version, as run.sh did not build this");
    format!(
        "librocksdb {library} (crate {}); block cache of 256 MiB, bloom filters of 10 bits; bodies from 1 KiB in blob files; \
         no compression; two background jobs; the last 4 log files are used again (kTolerateCorruptedTailRecords), so a sync \
         writes no new length; sync writes (written: not); commits are shared by RocksDB itself; with checksums",
        super::version("rocksdb")
    )
}

pub(super) struct Rocksdb {
    database: DB,
    durable: bool,
    next: AtomicU64,
    /// UIDs and MODSEQs of a mailbox are given by one thread at a time.
    writers: [Mutex<()>; 64],
}

impl Rocksdb {
    pub(super) fn open(setup: Setup<'_>) -> Result<Self> {
        let mut table = BlockBasedOptions::default();
        table.set_block_cache(&Cache::new_lru_cache(256 << 20)?);
        table.set_bloom_filter(10.0, false);
        let mut options = Options::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        options.set_max_background_jobs(2);
        options.set_recycle_log_file_num(4);
        options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
        let mut plain = Options::default();
        plain.set_compression_type(DBCompressionType::None);
        plain.set_block_based_table_factory(&table);
        let mut blobs = plain.clone();
        blobs.set_enable_blob_files(true);
        blobs.set_min_blob_size(1024);
        blobs.set_enable_blob_gc(true);
        blobs.set_blob_compression_type(DBCompressionType::None);
        let families = [
            ColumnFamilyDescriptor::new("bodies", blobs),
            ColumnFamilyDescriptor::new("entries", plain.clone()),
            ColumnFamilyDescriptor::new("mailboxes", plain),
        ];
        let database = DB::open_cf_descriptors(&options, setup.dir, families)?;
        let mut store = Self {
            database,
            durable: setup.durable,
            next: AtomicU64::new(1),
            writers: [const { Mutex::new(()) }; 64],
        };
        let mut bodies = store.database.raw_iterator_cf(store.family("bodies")?);
        bodies.seek_to_last();
        let last = bodies
            .key()
            .map(|key| key.try_into().map(u64::from_be_bytes));
        let last = last.transpose()?.unwrap_or(0);
        drop(bodies);
        store.next = AtomicU64::new(last + 1);
        Ok(store)
    }

    fn family(&self, name: &str) -> Result<&ColumnFamily> {
        Ok(self
            .database
            .cf_handle(name)
            .ok_or("no such column family")?)
    }

    fn lock(&self, place: Place) -> MutexGuard<'_, ()> {
        let writer = &self.writers[place.account() as usize % self.writers.len()];
        writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn commit(&self, batch: WriteBatch) -> Result<()> {
        let mut options = WriteOptions::default();
        options.set_sync(self.durable);
        Ok(self.database.write_opt(batch, &options)?)
    }

    /// A mailbox's row as this change leaves it, UIDs apart.
    fn row(&self, place: Place) -> Result<Mailbox> {
        let mailboxes = self.family("mailboxes")?;
        let found = self
            .database
            .get_pinned_cf(mailboxes, place.0.to_be_bytes())?;
        Mailbox::changed(found.as_deref())
    }

    fn record(&self, place: Place, uid: u32) -> Result<Record> {
        let found = self
            .database
            .get_pinned_cf(self.family("entries")?, key(place, uid))?;
        match found {
            Some(record) => Record::decode(&record),
            None => missing(place, uid),
        }
    }
}

impl Store for Rocksdb {
    fn deliver(&self, mails: &[Mail]) -> Result<Vec<u32>> {
        let Some(place) = mails.first().map(|mail| mail.place) else {
            return Ok(Vec::new());
        };
        let (bodies, entries) = (self.family("bodies")?, self.family("entries")?);
        let _writer = self.lock(place);
        let (mut batch, mut row) = (WriteBatch::default(), self.row(place)?);
        let (mut uids, date) = (Vec::with_capacity(mails.len()), record::now());
        for mail in mails {
            let (uid, body) = (row.give(), self.next.fetch_add(1, Ordering::Relaxed));
            let record = Record::of(mail, row.modseq, date, body);
            batch.put_cf(bodies, body.to_be_bytes(), mail.body);
            batch.put_cf(entries, key(place, uid), record.encode());
            uids.push(uid);
        }
        batch.put_cf(
            self.family("mailboxes")?,
            place.0.to_be_bytes(),
            row.encode(),
        );
        self.commit(batch)?;
        Ok(uids)
    }

    fn flag(&self, place: Place, uids: &[u32], on: bool) -> Result<()> {
        let _writer = self.lock(place);
        let (mut batch, row) = (WriteBatch::default(), self.row(place)?);
        for uid in uids {
            let record = self.record(place, *uid)?.flagged(on, row.modseq);
            batch.put_cf(self.family("entries")?, key(place, *uid), record.encode());
        }
        batch.put_cf(
            self.family("mailboxes")?,
            place.0.to_be_bytes(),
            row.encode(),
        );
        self.commit(batch)
    }

    fn copy(&self, from: Place, uids: &[u32], to: Place) -> Result<()> {
        let _writer = self.lock(to);
        let (mut batch, mut row) = (WriteBatch::default(), self.row(to)?);
        for uid in uids {
            let mut record = self.record(from, *uid)?;
            record.modseq = row.modseq;
            batch.put_cf(
                self.family("entries")?,
                key(to, row.give()),
                record.encode(),
            );
        }
        batch.put_cf(self.family("mailboxes")?, to.0.to_be_bytes(), row.encode());
        self.commit(batch)
    }

    fn session(&self) -> Result<Box<dyn Session + '_>> {
        Ok(Box::new(Reader {
            store: self,
            bodies: self.family("bodies")?,
            entries: self.family("entries")?,
        }))
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.database.flush_wal(true)?;
        self.database.cancel_all_background_work(true);
        Ok(())
    }

    fn shares_commits(&self) -> bool {
        true
    }
}

struct Reader<'a> {
    store: &'a Rocksdb,
    bodies: &'a ColumnFamily,
    entries: &'a ColumnFamily,
}

impl Session for Reader<'_> {
    fn read(&mut self, place: Place, uid: u32, see: &mut dyn FnMut(&[u8])) -> Result<()> {
        let database = &self.store.database;
        let Some(record) = database.get_pinned_cf(self.entries, key(place, uid))? else {
            return missing(place, uid);
        };
        let body = Record::decode(&record)?.body.to_be_bytes();
        match database.get_pinned_cf(self.bodies, body)? {
            Some(body) => see(&body),
            None => return missing(place, uid),
        }
        Ok(())
    }

    fn scan(&mut self, place: Place) -> Result<Scan> {
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(key(Place(place.0 + 1), 0).to_vec());
        let database = &self.store.database;
        let mut entries: DBRawIterator<'_> = database.raw_iterator_cf_opt(self.entries, options);
        let mut scan = Scan::default();
        entries.seek(key(place, 0));
        while let Some(record) = entries.value() {
            scan.count(record::flags(record)?);
            entries.next();
        }
        entries.status()?;
        Ok(scan)
    }
}
