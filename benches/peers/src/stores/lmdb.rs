//! LMDB through heed: bodies appended under numbers, records under mailbox and UID, a row a mailbox.

use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};

use heed::types::Bytes;
use heed::{Database, Env, EnvFlags, EnvOpenOptions, PutFlags, RoTxn, RwTxn, WithTls};

use super::Setup;
use crate::record::{self, Mailbox, Record, key};
use crate::store::{Mail, Place, Result, Scan, Session, Store, missing};

pub(super) fn settings() -> String {
    let version = heed::lmdb_version();
    format!(
        "{}.{}.{} (heed {}); map of 64 GiB, default flags, bodies with APPEND (written: NO_SYNC, with which a power cut may \
         cost the whole file); a read transaction a reader; leader and followers share commits; no checksum",
        version.major,
        version.minor,
        version.patch,
        super::version("heed")
    )
}

type Table = Database<'static, Bytes, Bytes>;

pub(super) struct Lmdb {
    env: &'static Env,
    tables: Tables,
    next: AtomicU64,
}

#[derive(Clone, Copy)]
struct Tables {
    bodies: Table,
    entries: Table,
    mailboxes: Table,
}

impl Lmdb {
    pub(super) fn open(setup: Setup<'_>) -> Result<Self> {
        let mut options = EnvOpenOptions::new();
        options.map_size(64 << 30).max_dbs(3).max_readers(64);
        // SAFETY: no other process has these files open, and nobody cuts them. NO_SYNC is what the peer's users take when
        // speed is asked for without durability.
        #[allow(unsafe_code)]
        let env = unsafe {
            if !setup.durable {
                options.flags(EnvFlags::NO_SYNC);
            }
            options.open(setup.dir)?
        };
        // Its tables borrow it. The process is a short one.
        let env: &'static Env = Box::leak(Box::new(env));
        let tables = tables(env)?;
        let reader = env.read_txn()?;
        let last = match tables.bodies.last(&reader)? {
            Some((id, _)) => u64::from_be_bytes(id.try_into()?),
            None => 0,
        };
        drop(reader);
        Ok(Self {
            env,
            tables,
            next: AtomicU64::new(last + 1),
        })
    }

    /// Changes a mailbox's row; returns it as it is then.
    fn row(&self, writer: &RwTxn<'_>, place: Place) -> Result<Mailbox> {
        let table = self.tables.mailboxes;
        Mailbox::changed(table.get(writer, &place.0.to_be_bytes())?)
    }

    fn put_row(&self, writer: &mut RwTxn<'_>, place: Place, row: Mailbox) -> Result<()> {
        let table = self.tables.mailboxes;
        Ok(table.put(writer, &place.0.to_be_bytes(), &row.encode())?)
    }

    fn record(&self, writer: &RwTxn<'_>, place: Place, uid: u32) -> Result<Record> {
        match self.tables.entries.get(writer, &key(place, uid))? {
            Some(record) => Record::decode(record),
            None => missing(place, uid),
        }
    }
}

fn tables(env: &'static Env) -> Result<Tables> {
    let writer = env.write_txn()?;
    let made: std::result::Result<_, heed::Error> =
        env.create_databases_and_commit(writer, |create, writer| {
            Ok(heed::CommitOrAbort::<_, ()>::Commit((
                create.create_database(writer, Some("bodies"))?,
                create.create_database(writer, Some("entries"))?,
                create.create_database(writer, Some("mailboxes"))?,
            )))
        });
    let (bodies, entries, mailboxes) = made?.unwrap_commit();
    Ok(Tables {
        bodies,
        entries,
        mailboxes,
    })
}

impl Store for Lmdb {
    fn deliver(&self, mails: &[Mail]) -> Result<Vec<u32>> {
        let mut writer = self.env.write_txn()?;
        let (mut uids, date) = (Vec::with_capacity(mails.len()), record::now());
        for run in mails.chunk_by(|a, b| a.place == b.place) {
            let place = run[0].place;
            let mut row = self.row(&writer, place)?;
            for mail in run {
                let (uid, body) = (row.give(), self.next.fetch_add(1, Ordering::Relaxed));
                let record = Record::of(mail, row.modseq, date, body);
                let id = body.to_be_bytes();
                let bodies = self.tables.bodies;
                bodies.put_with_flags(&mut writer, PutFlags::APPEND, &id, mail.body)?;
                let entries = self.tables.entries;
                entries.put(&mut writer, &key(place, uid), &record.encode())?;
                uids.push(uid);
            }
            self.put_row(&mut writer, place, row)?;
        }
        writer.commit()?;
        Ok(uids)
    }

    fn flag(&self, place: Place, uids: &[u32], on: bool) -> Result<()> {
        let mut writer = self.env.write_txn()?;
        let row = self.row(&writer, place)?;
        for uid in uids {
            let record = self.record(&writer, place, *uid)?;
            let record = record.flagged(on, row.modseq).encode();
            self.tables
                .entries
                .put(&mut writer, &key(place, *uid), &record)?;
        }
        self.put_row(&mut writer, place, row)?;
        Ok(writer.commit()?)
    }

    fn copy(&self, from: Place, uids: &[u32], to: Place) -> Result<()> {
        let mut writer = self.env.write_txn()?;
        let mut row = self.row(&writer, to)?;
        for uid in uids {
            let mut record = self.record(&writer, from, *uid)?;
            record.modseq = row.modseq;
            let key = key(to, row.give());
            self.tables
                .entries
                .put(&mut writer, &key, &record.encode())?;
        }
        self.put_row(&mut writer, to, row)?;
        Ok(writer.commit()?)
    }

    fn session(&self) -> Result<Box<dyn Session + '_>> {
        Ok(Box::new(Reader {
            tables: self.tables,
            reader: self.env.read_txn()?,
        }))
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(self.env.force_sync()?)
    }
}

struct Reader<'a> {
    tables: Tables,
    reader: RoTxn<'a, WithTls>,
}

impl Session for Reader<'_> {
    fn read(&mut self, place: Place, uid: u32, see: &mut dyn FnMut(&[u8])) -> Result<()> {
        let Some(record) = self.tables.entries.get(&self.reader, &key(place, uid))? else {
            return missing(place, uid);
        };
        let body = Record::decode(record)?.body.to_be_bytes();
        match self.tables.bodies.get(&self.reader, &body)? {
            Some(body) => see(body),
            None => return missing(place, uid),
        }
        Ok(())
    }

    fn scan(&mut self, place: Place) -> Result<Scan> {
        let (first, last) = (key(place, 0), key(place, u32::MAX));
        let range = (Bound::Included(&first[..]), Bound::Included(&last[..]));
        let mut scan = Scan::default();
        for entry in self.tables.entries.range(&self.reader, &range)? {
            scan.count(record::flags(entry?.1)?);
        }
        Ok(scan)
    }
}
