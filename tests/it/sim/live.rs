//! The running side of the simulated disk: what a store sees through [`Storage`] and [`File`].

use std::io::{self, ErrorKind};
use std::sync::Arc;

use bytes::Bytes;
use mailkeep::io::{File, Kind, Listed, Open, Storage};

use super::{Call, Op, Sim, SyncFails, WriteFails, folder_of};

/// Holds names to what `Directory` accepts, so that no test passes with names a real disk would refuse.
fn checked(name: &str) -> io::Result<()> {
    let mut parts = name.split('/');
    let good = parts.clone().count() <= 2
        && parts.all(|part| !matches!(part, "" | "." | "..") && !part.contains('\0'));
    if good {
        Ok(())
    } else {
        Err(ErrorKind::InvalidInput.into())
    }
}

impl Storage for Sim {
    fn open(&self, name: &str, how: Open) -> io::Result<Arc<dyn File>> {
        let mut disk = self.disk();
        disk.passes(Call::Open)?;
        checked(name)?;
        disk.folder(folder_of(name))?;
        if how == Open::Create {
            if disk.live.names.contains_key(name) {
                return Err(ErrorKind::AlreadyExists.into());
            }
            let inode = disk.live.inodes.len();
            disk.record(Op::Create {
                name: name.to_owned(),
                inode,
            });
        }
        if disk.live.folders.contains(name) {
            return Err(ErrorKind::IsADirectory.into());
        }
        Ok(Arc::new(SimFile {
            sim: self.clone(),
            inode: disk.inode(name)?,
            writable: how != Open::Read,
        }))
    }

    fn list(&self, folder: &str) -> io::Result<Vec<Listed>> {
        let mut disk = self.disk();
        disk.passes(Call::List)?;
        disk.folder(folder)?;
        let inside = disk
            .live
            .names
            .iter()
            .filter(|(name, _)| folder_of(name) == folder);
        let mut found: Vec<Listed> = inside
            .map(|(name, inode)| Listed {
                name: name.rsplit('/').next().unwrap_or_default().to_owned(),
                kind: Kind::File,
                len: disk.live.inodes[*inode].len() as u64,
            })
            .collect();
        if folder.is_empty() {
            let folder = |name: &String| Listed {
                name: name.clone(),
                kind: Kind::Folder,
                len: 0,
            };
            found.extend(disk.live.folders.iter().map(folder));
        }
        Ok(found)
    }

    fn create_folder(&self, folder: &str) -> io::Result<()> {
        let mut disk = self.disk();
        disk.passes(Call::CreateFolder)?;
        checked(folder)?;
        if disk.live.names.contains_key(folder) {
            return Err(ErrorKind::NotADirectory.into());
        }
        if !disk.live.folders.contains(folder) {
            disk.record(Op::CreateFolder {
                folder: folder.to_owned(),
            });
        }
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut disk = self.disk();
        disk.passes(Call::Rename)?;
        checked(from)?;
        checked(to)?;
        disk.inode(from)?;
        disk.folder(folder_of(to))?;
        disk.record(Op::Rename {
            from: from.to_owned(),
            to: to.to_owned(),
        });
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut disk = self.disk();
        disk.passes(Call::Remove)?;
        checked(name)?;
        disk.inode(name)?;
        disk.record(Op::Remove {
            name: name.to_owned(),
        });
        Ok(())
    }

    fn sync_dir(&self, folder: &str) -> io::Result<()> {
        let mut disk = self.disk();
        disk.passes(Call::SyncDir)?;
        disk.folder(folder)?;
        disk.record(Op::SyncDir {
            folder: folder.to_owned(),
        });
        Ok(())
    }

    /// Records the lock file's creation, but not what is in it: people read that, no store does, and every
    /// unsynced write doubles the number of disks to look at.
    fn lock(&self, name: &str, _owner: &str) -> io::Result<Box<dyn Send + Sync>> {
        let mut disk = self.disk();
        disk.passes(Call::Lock)?;
        checked(name)?;
        if !disk.locked.insert(name.to_owned()) {
            return Err(ErrorKind::WouldBlock.into());
        }
        if !disk.live.names.contains_key(name) {
            let inode = disk.live.inodes.len();
            disk.record(Op::Create {
                name: name.to_owned(),
                inode,
            });
        }
        Ok(Box::new(Held {
            sim: self.clone(),
            name: name.to_owned(),
        }))
    }

    fn describe(&self) -> String {
        "simulated disk".to_owned()
    }
}

/// A held lock.
struct Held {
    sim: Sim,
    name: String,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.sim.disk().locked.remove(&self.name);
    }
}

/// One open file of a [`Sim`].
#[derive(Debug)]
struct SimFile {
    sim: Sim,
    inode: usize,
    writable: bool,
}

impl SimFile {
    fn writable(&self) -> io::Result<()> {
        if self.writable {
            Ok(())
        } else {
            Err(io::Error::from_raw_os_error(9))
        }
    }
}

/// An offset or length as the simulator counts: its files lie in memory.
fn small(value: u64) -> io::Result<usize> {
    usize::try_from(value)
        .ok()
        .filter(|value| *value < 1 << 32)
        .ok_or_else(|| ErrorKind::FileTooLarge.into())
}

impl File for SimFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut disk = self.sim.disk();
        disk.passes(Call::Read)?;
        let len = disk.live.inodes[self.inode].len();
        let from = usize::try_from(offset).unwrap_or(len).min(len);
        let to = from.saturating_add(buf.len()).min(len);
        let found = disk.read(self.inode, from..to)?;
        buf[..found.len()].copy_from_slice(found);
        Ok(found.len())
    }

    fn write_at(&self, parts: &[&[u8]], offset: u64) -> io::Result<()> {
        let mut disk = self.sim.disk();
        self.writable()?;
        let (bytes, offset) = (parts.concat(), small(offset)?);
        if let Some(fault) = disk.struck(Call::Write) {
            if fault.write == WriteFails::Half {
                disk.write(self.inode, offset, &bytes[..bytes.len() / 2]);
            }
            return Err((fault.error)());
        }
        let len = disk.live.inodes[self.inode].len();
        let end = offset + bytes.len();
        let room = disk.room(len);
        if end > len && end > room {
            let fits = room.max(len).saturating_sub(offset).min(bytes.len());
            disk.write(self.inode, offset, &bytes[..fits]);
            return Err(ErrorKind::StorageFull.into());
        }
        disk.write(self.inode, offset, &bytes);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut disk = self.sim.disk();
        if let Some(fault) = disk.struck(Call::Sync) {
            let op = Op::SyncFailed {
                inode: self.inode,
                how: fault.sync,
            };
            if fault.sync == SyncFails::Reverted {
                let durable = disk.start.after(&disk.ops);
                disk.live.revert(&op, &durable);
            }
            disk.record(op);
            return Err((fault.error)());
        }
        disk.record(Op::Sync { inode: self.inode });
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        let mut disk = self.sim.disk();
        disk.passes(Call::Len)?;
        Ok(disk.live.inodes[self.inode].len() as u64)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut disk = self.sim.disk();
        disk.passes(Call::SetLen)?;
        self.writable()?;
        let (len, old) = (small(len)?, disk.live.inodes[self.inode].len());
        if len > old && len > disk.room(old) {
            return Err(ErrorKind::StorageFull.into());
        }
        disk.record(Op::SetLen {
            inode: self.inode,
            len,
        });
        Ok(())
    }

    fn bytes(&self, offset: u64, len: usize) -> io::Result<Bytes> {
        let mut disk = self.sim.disk();
        disk.passes(Call::Bytes)?;
        let end = usize::try_from(offset)
            .ok()
            .and_then(|offset| offset.checked_add(len));
        let end = end.filter(|end| *end <= disk.live.inodes[self.inode].len());
        let end = end.ok_or(ErrorKind::UnexpectedEof)?;
        Ok(Bytes::copy_from_slice(
            disk.read(self.inode, end - len..end)?,
        ))
    }
}
