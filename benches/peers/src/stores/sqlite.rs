//! SQLite: one file in WAL mode, bodies as blobs, a table of entries clustered by mailbox and UID.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, Once, PoisonError};

use rusqlite::{Connection, Transaction, TransactionBehavior, ffi, params};

use super::Setup;
use crate::record;
use crate::store::{FLAGGED, Mail, Place, Result, Scan, Session, Store, missing};

/// The checkpoint's bound is larger than the default of 1,000 pages, at which hot pages are written to the file again
/// after every hundred messages.
const PRAGMAS: &str = "PRAGMA journal_mode=WAL; PRAGMA cache_size=-65536; PRAGMA mmap_size=17179869184; \
     PRAGMA wal_autocheckpoint=10000; PRAGMA temp_store=MEMORY;";

pub(super) fn settings() -> String {
    format!(
        "{} (rusqlite {}, bundled); synchronous=FULL (written: NORMAL); {PRAGMAS} SQLITE_CONFIG_MEMSTATUS off; page \
         4,096; a connection a reader, one transaction for its life; leader and followers share commits; no checksum",
        rusqlite::version(),
        super::version("rusqlite")
    )
}

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS body(id INTEGER PRIMARY KEY, data BLOB NOT NULL);
    CREATE TABLE IF NOT EXISTS entry(place INTEGER, uid INTEGER, flags INTEGER, modseq INTEGER, size INTEGER,
        date INTEGER, body INTEGER, PRIMARY KEY(place, uid)) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS mailbox(place INTEGER PRIMARY KEY, uid_next INTEGER, modseq INTEGER);";

pub(super) struct Sqlite {
    path: PathBuf,
    writer: Mutex<Connection>,
}

fn connect(path: &Path, durable: bool) -> Result<Connection> {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        // SAFETY: no connection is open yet, and no other thread is in SQLite. Off, allocations of two readers do not meet
        // at one lock.
        #[allow(unsafe_code)]
        unsafe {
            ffi::sqlite3_config(ffi::SQLITE_CONFIG_MEMSTATUS, 0);
        }
    });
    let connection = Connection::open(path)?;
    connection.execute_batch(PRAGMAS)?;
    let synchronous = if durable { "FULL" } else { "NORMAL" };
    connection.pragma_update(None, "synchronous", synchronous)?;
    Ok(connection)
}

impl Sqlite {
    pub(super) fn open(setup: Setup<'_>) -> Result<Self> {
        let path = setup.dir.join("mail.db");
        let writer = connect(&path, setup.durable)?;
        writer.execute_batch(SCHEMA)?;
        Ok(Self {
            path,
            writer: Mutex::new(writer),
        })
    }

    fn transact<T>(&self, work: impl FnOnce(&Transaction<'_>) -> Result<T>) -> Result<T> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let done = work(&transaction)?;
        transaction.commit()?;
        Ok(done)
    }
}

/// Counts a change in a mailbox that gives `count` UIDs; the first of them, and the MODSEQ.
fn step(transaction: &Transaction<'_>, place: Place, count: usize) -> Result<(u32, i64)> {
    let mut statement = transaction.prepare_cached(
        "INSERT INTO mailbox VALUES(?1, 1 + ?2, 1) ON CONFLICT(place) DO UPDATE SET uid_next = uid_next + ?2, \
         modseq = modseq + 1 RETURNING uid_next, modseq",
    )?;
    let row = statement.query_row(params![place.0, count as i64], |row| {
        Ok((row.get::<_, i64>(0)?, row.get(1)?))
    })?;
    Ok(((row.0 - count as i64) as u32, row.1))
}

impl Store for Sqlite {
    fn deliver(&self, mails: &[Mail]) -> Result<Vec<u32>> {
        self.transact(|transaction| {
            let mut body = transaction.prepare_cached("INSERT INTO body(data) VALUES(?1)")?;
            let mut entry = transaction
                .prepare_cached("INSERT INTO entry VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)")?;
            let (mut uids, date) = (Vec::with_capacity(mails.len()), record::now() as i64);
            for run in mails.chunk_by(|a, b| a.place == b.place) {
                let place = run[0].place;
                let (first, modseq) = step(transaction, place, run.len())?;
                for (mail, uid) in run.iter().zip(first..) {
                    let id = body.insert([mail.body])?;
                    let size = mail.body.len() as i64;
                    entry.execute(params![place.0, uid, mail.flags(), modseq, size, date, id])?;
                    uids.push(uid);
                }
            }
            Ok(uids)
        })
    }

    fn flag(&self, place: Place, uids: &[u32], on: bool) -> Result<()> {
        self.transact(|transaction| {
            let (_, modseq) = step(transaction, place, 0)?;
            let mut statement = transaction.prepare_cached(
                "UPDATE entry SET flags = flags & ~?3 | ?4, modseq = ?5 WHERE place = ?1 AND uid = ?2",
            )?;
            let set = if on { FLAGGED } else { 0 };
            for uid in uids {
                if statement.execute(params![place.0, uid, FLAGGED, set, modseq])? != 1 {
                    return missing(place, *uid);
                }
            }
            Ok(())
        })
    }

    fn copy(&self, from: Place, uids: &[u32], to: Place) -> Result<()> {
        self.transact(|transaction| {
            let (first, modseq) = step(transaction, to, uids.len())?;
            let mut statement = transaction.prepare_cached(
                "INSERT INTO entry SELECT ?3, ?4, flags, ?5, size, date, body FROM entry WHERE place = ?1 AND uid = ?2",
            )?;
            for (uid, new) in uids.iter().zip(first..) {
                if statement.execute(params![from.0, uid, to.0, new, modseq])? != 1 {
                    return missing(from, *uid);
                }
            }
            Ok(())
        })
    }

    fn session(&self) -> Result<Box<dyn Session + '_>> {
        let connection = connect(&self.path, true)?;
        connection.execute_batch("BEGIN")?;
        Ok(Box::new(Reader { connection }))
    }

    fn close(self: Box<Self>) -> Result<()> {
        let writer = self.writer.into_inner();
        let writer = writer.unwrap_or_else(PoisonError::into_inner);
        Ok(writer.close().map_err(|(_, error)| error)?)
    }
}

struct Reader {
    connection: Connection,
}

impl Session for Reader {
    fn read(&mut self, place: Place, uid: u32, see: &mut dyn FnMut(&[u8])) -> Result<()> {
        let mut statement = self.connection.prepare_cached(
            "SELECT data FROM entry JOIN body ON body.id = entry.body WHERE place = ?1 AND uid = ?2",
        )?;
        let mut rows = statement.query(params![place.0, uid])?;
        let Some(row) = rows.next()? else {
            return missing(place, uid);
        };
        see(row.get_ref(0)?.as_blob()?);
        Ok(())
    }

    fn scan(&mut self, place: Place) -> Result<Scan> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT flags FROM entry WHERE place = ?1")?;
        let mut rows = statement.query([place.0])?;
        let mut scan = Scan::default();
        while let Some(row) = rows.next()? {
            scan.count(row.get(0)?);
        }
        Ok(scan)
    }
}
