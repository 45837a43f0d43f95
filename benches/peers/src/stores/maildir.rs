//! A Maildir a mailbox: `cur/UID.FLAGS`, both in hexadecimal. UIDs and flags of a mailbox in use are in memory, read from
//! its folder when it is first asked for, as a server's index has them.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use super::Setup;
use crate::store::{FLAGGED, Mail, Place, Result, Scan, Session, Store, missing};

pub(super) const SETTINGS: &str = "write to tmp, fdatasync, rename to cur, fsync of cur; a batch has one syncfs for \
     all its files instead; copies are hard links; no checksum";

pub(super) struct Maildir {
    dir: PathBuf,
    durable: bool,
    known: RwLock<HashMap<Place, Arc<Mutex<Mailbox>>>>,
}

#[derive(Default)]
struct Mailbox {
    last: u32,
    flags: HashMap<u32, u32>,
}

/// UID and flags in a file's name.
fn parse(name: &str) -> Result<(u32, u32)> {
    let (uid, flags) = name.split_once('.').ok_or("a name without flags")?;
    Ok((
        u32::from_str_radix(uid, 16)?,
        u32::from_str_radix(flags, 16)?,
    ))
}

impl Maildir {
    pub(super) fn open(setup: Setup<'_>) -> Result<Self> {
        Ok(Self {
            dir: setup.dir.to_owned(),
            durable: setup.durable,
            known: RwLock::default(),
        })
    }

    fn folder(&self, place: Place, name: &str) -> PathBuf {
        self.dir.join(place.0.to_string()).join(name)
    }

    fn path(&self, place: Place, uid: u32, flags: u32) -> PathBuf {
        self.folder(place, &format!("cur/{uid:08x}.{flags:x}"))
    }

    fn mailbox(&self, place: Place) -> Result<Arc<Mutex<Mailbox>>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(mailbox) = known.get(&place) {
            return Ok(Arc::clone(mailbox));
        }
        drop(known);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(mailbox) = known.get(&place) {
            return Ok(Arc::clone(mailbox));
        }
        let mut mailbox = Mailbox::default();
        for entry in fs::read_dir(self.folder(place, "cur"))? {
            let name = entry?.file_name();
            let (uid, flags) = parse(name.to_str().ok_or("a foreign name")?)?;
            mailbox.last = mailbox.last.max(uid);
            mailbox.flags.insert(uid, flags);
        }
        let mailbox = Arc::new(Mutex::new(mailbox));
        known.insert(place, Arc::clone(&mailbox));
        Ok(mailbox)
    }

    fn sync_folder(&self, place: Place) -> Result<()> {
        if self.durable {
            File::open(self.folder(place, "cur"))?.sync_all()?;
        }
        Ok(())
    }
}

impl Store for Maildir {
    fn create(&self, places: &[Place]) -> Result<()> {
        for place in places {
            fs::create_dir_all(self.folder(*place, "tmp"))?;
            fs::create_dir_all(self.folder(*place, "cur"))?;
        }
        Ok(())
    }

    fn deliver(&self, mails: &[Mail]) -> Result<Vec<u32>> {
        let Some(place) = mails.first().map(|mail| mail.place) else {
            return Ok(Vec::new());
        };
        let mailbox = self.mailbox(place)?;
        let uids: Vec<u32> = {
            let mut mailbox = mailbox.lock().unwrap_or_else(PoisonError::into_inner);
            let first = mailbox.last + 1;
            mailbox.last += mails.len() as u32;
            (first..=mailbox.last).collect()
        };
        let tmp = |uid: u32| self.folder(place, &format!("tmp/{uid:08x}"));
        for (mail, uid) in mails.iter().zip(&uids) {
            let mut file = File::create(tmp(*uid))?;
            file.write_all(mail.body)?;
            if self.durable && mails.len() == 1 {
                file.sync_data()?;
            }
        }
        if self.durable && mails.len() > 1 {
            crate::machine::sync(&self.dir)?;
        }
        for (mail, uid) in mails.iter().zip(&uids) {
            fs::rename(tmp(*uid), self.path(place, *uid, mail.flags()))?;
        }
        self.sync_folder(place)?;
        let mut mailbox = mailbox.lock().unwrap_or_else(PoisonError::into_inner);
        let flags = mails.iter().map(Mail::flags);
        mailbox.flags.extend(uids.iter().copied().zip(flags));
        Ok(uids)
    }

    fn flag(&self, place: Place, uids: &[u32], on: bool) -> Result<()> {
        let mailbox = self.mailbox(place)?;
        let mut mailbox = mailbox.lock().unwrap_or_else(PoisonError::into_inner);
        for uid in uids {
            let Some(flags) = mailbox.flags.get_mut(uid) else {
                return missing(place, *uid);
            };
            let new = if on {
                *flags | FLAGGED
            } else {
                *flags & !FLAGGED
            };
            fs::rename(self.path(place, *uid, *flags), self.path(place, *uid, new))?;
            *flags = new;
        }
        self.sync_folder(place)
    }

    fn copy(&self, from: Place, uids: &[u32], to: Place) -> Result<()> {
        let (source, target) = (self.mailbox(from)?, self.mailbox(to)?);
        let source = source.lock().unwrap_or_else(PoisonError::into_inner);
        let mut target = target.lock().unwrap_or_else(PoisonError::into_inner);
        for uid in uids {
            let Some(flags) = source.flags.get(uid) else {
                return missing(from, *uid);
            };
            target.last += 1;
            let new = target.last;
            fs::hard_link(self.path(from, *uid, *flags), self.path(to, new, *flags))?;
            target.flags.insert(new, *flags);
        }
        self.sync_folder(to)
    }

    fn session(&self) -> Result<Box<dyn Session + '_>> {
        Ok(Box::new(Reader {
            store: self,
            known: HashMap::new(),
            buffer: Vec::new(),
        }))
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }

    fn shares_commits(&self) -> bool {
        true
    }
}

struct Reader<'a> {
    store: &'a Maildir,
    known: HashMap<Place, Arc<Mutex<Mailbox>>>,
    buffer: Vec<u8>,
}

impl Session for Reader<'_> {
    fn read(&mut self, place: Place, uid: u32, see: &mut dyn FnMut(&[u8])) -> Result<()> {
        if !self.known.contains_key(&place) {
            self.known.insert(place, self.store.mailbox(place)?);
        }
        let flags = self.known.get(&place).and_then(|mailbox| {
            let mailbox = mailbox.lock().unwrap_or_else(PoisonError::into_inner);
            mailbox.flags.get(&uid).copied()
        });
        let Some(flags) = flags else {
            return missing(place, uid);
        };
        self.buffer.clear();
        File::open(self.store.path(place, uid, flags))?.read_to_end(&mut self.buffer)?;
        see(&self.buffer);
        Ok(())
    }

    fn scan(&mut self, place: Place) -> Result<Scan> {
        let mut scan = Scan::default();
        for entry in fs::read_dir(self.store.folder(place, "cur"))? {
            let name = entry?.file_name();
            scan.count(parse(name.to_str().ok_or("a foreign name")?)?.1);
        }
        Ok(scan)
    }
}
