//! What is derived, dropped on purpose, and waiting until it is there again. The steps are the tender's.

use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Index;
use crate::error::{Error, Result};
use crate::io::{Kind, Storage};
use crate::stat::Rebuild;
use crate::switch::Switch;

const FOLDER: &str = "index";
const CHECKPOINT: &str = "CHECKPOINT";

/// Who waits for the rebuild looks this often how far it is.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Removes all files of the index: what is there is truth nowhere.
pub(super) fn drop_derived(storage: &dyn Storage) -> Result<()> {
    let remove = |name: &str| {
        let path = format!("{FOLDER}/{name}");
        match storage.remove(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(Error::io("remove", path, error))
            }
            _ => Ok(()),
        }
    };
    let sync = |switch: Switch| {
        let synced = switch.guard(|| storage.sync_dir(FOLDER));
        synced.map_err(|error| Error::io("sync", FOLDER, error))
    };
    let files = match storage.list(FOLDER) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        listed => listed.map_err(|error| Error::io("list", FOLDER, error))?,
    };
    // First and durably: what it names could otherwise be gone, and a number given to another file.
    remove(CHECKPOINT)?;
    sync(Switch::DropCheckpointSync)?;
    let others = files
        .iter()
        .filter(|file| file.kind != Kind::Folder && file.name != CHECKPOINT);
    for file in others {
        remove(&file.name)?;
    }
    sync(Switch::DropDerivedSync)
}

impl Index {
    /// Waits until runs cover all that they can, or `tell` has enough of it.
    pub(crate) fn wait_rebuilt(
        &self,
        tell: &mut dyn FnMut(&Rebuild) -> ControlFlow<()>,
    ) -> Result<()> {
        let options = self.log.options();
        if options.read_only {
            return Err(Error::ReadOnly);
        }
        // What failed before is tried again now.
        *self.work.failed.lock() = None;
        let step = || match options.background {
            true => self.await_step(),
            false => self.log.hold().and_then(|_held| self.rebuild_step()),
        };
        while step()? {
            let progress = *self.work.progress.lock();
            if progress.is_some_and(|progress| tell(&progress.rebuild()).is_break()) {
                return Ok(());
            }
        }
        if !options.background {
            let _held = self.log.hold()?;
            while self.directory.maintain()? {}
        }
        Ok(())
    }

    /// Gives the thread some time; whether there was anything left to rebuild.
    fn await_step(&self) -> Result<bool> {
        if self.is_rebuilt() {
            // The step that has done it may yet be naming it in the checkpoint.
            drop(self.work.step.lock());
            return self.failed().map(|()| false);
        }
        if self.work.stop.load(Ordering::Relaxed) {
            return Err(Error::Closed);
        }
        let mut state = self.work.state.lock();
        state.urgent = true;
        self.work.wake.notify_one();
        self.work.stepped.wait_for(&mut state, LOOK_EVERY);
        drop(state);
        self.failed().map(|()| true)
    }

    /// Why the thread's last step failed, if it did.
    fn failed(&self) -> Result<()> {
        match self.work.failed.lock().clone() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}
