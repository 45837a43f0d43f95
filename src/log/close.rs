//! Closing: all that waits is written and synced, and MANIFEST says so.

use std::sync::atomic::Ordering;

use super::Shared;
use crate::error::{Error, Result};
use crate::switch::Switch;

impl Shared {
    /// Closes the log: no batch joins from now on. What waits is written, everything is durable after.
    pub(super) fn close(&self) -> Result<()> {
        if self.read_only.load(Ordering::Relaxed) {
            return Ok(());
        }
        {
            let mut queue = self.queue.lock();
            if queue.is_closed() {
                return Ok(());
            }
            // First, so that no batch can join that nobody writes before the lock is given up.
            queue.close();
        }
        let flushed = self.flush();
        // Somebody may have taken the last batch and not begun to write it.
        self.await_leader();
        let mut writer = self.writer.lock();
        flushed?;
        Switch::CloseSync.guard(|| writer.sync(self))?;
        if let Some(error) = self
            .queue
            .lock()
            .stopped()
            .filter(|_| Switch::CloseStopped.on())
        {
            return Err(error);
        }
        writer.write_tail(self);
        if let Some(tail) = &writer.tail {
            Switch::TailCloseSync
                .guard(|| tail.sync())
                .map_err(|source| Error::io("sync", self.path("TAIL"), source))?;
        }
        let (durable, next_record) = (writer.durable, writer.next_record);
        drop(writer);
        self.ledger.lock().update(|manifest| {
            manifest.clean = true;
            let (durable, next) = (
                Switch::CloseDurable.number(durable),
                Switch::CloseNext.number(next_record),
            );
            manifest.durable_batch = manifest.durable_batch.max(durable);
            manifest.next_record = manifest.next_record.max(next);
        })
    }
}
