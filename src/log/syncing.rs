//! Syncing the active segment's file, also beside whoever writes to it.
//!
//! What is only written gathers until a checkpoint or the next segment wants it durable. A sync of all that under the
//! writer's lock would stall every delivery meanwhile, so most of it is synced *ahead*, without that lock. An error is
//! told once by the system, and it may be told to the one who syncs ahead: it is kept, and every later sync of the file
//! fails with it. One sync at a time: none succeeds while another may yet fail over the same bytes.

use std::sync::Arc;

use crate::sync::Mutex;

use super::Shared;
use super::segment::Segment;
use crate::error::{Error, Result};
use crate::io::File;
use crate::switch::Switch;

/// Written bytes that the log thread syncs ahead.
const MUCH: u64 = 16 << 20;
/// Less is synced at once: that is quicker than two syncs.
const SOME: u64 = 1 << 20;

/// A segment's file as far as syncing it goes.
#[derive(Debug)]
pub(super) struct Syncing {
    file: Arc<dyn File>,
    segment: Arc<Segment>,
    /// Held over a sync; why one has failed.
    failed: Mutex<Option<Error>>,
}

impl Syncing {
    pub(super) fn new(segment: &Arc<Segment>, file: &Arc<dyn File>) -> Arc<Self> {
        Arc::new(Self {
            file: Arc::clone(file),
            segment: Arc::clone(segment),
            failed: Mutex::default(),
        })
    }

    /// Makes everything written to the file durable. Once that has failed it always fails.
    pub(super) fn sync(&self) -> Result<()> {
        let mut failed = self.failed.lock();
        if let Some(error) = &*failed {
            return Err(error.clone());
        }
        self.file.sync().map_err(|source| {
            let error = self.segment.io("sync")(source);
            *failed = Switch::SyncFailureKept.some(error.clone());
            error
        })
    }
}

impl Shared {
    /// Syncs what was written so far, if it is `least` bytes or more, while others write on. Whether it ended well is for
    /// the next sync under the writer's lock to say: that has little to do then.
    fn sync_ahead(&self, least: u64) {
        let (syncing, bytes) = {
            let writer = self.writer.lock();
            match &writer.active {
                Some(active) if active.unsynced && active.unsynced_bytes >= least => {
                    (Arc::clone(&active.syncing), active.unsynced_bytes)
                }
                _ => return,
            }
        };
        if syncing.sync().is_err() {
            return;
        }
        let mut writer = self.writer.lock();
        if let Some(active) = &mut writer.active
            && Arc::ptr_eq(&active.syncing, &syncing)
        {
            active.unsynced_bytes = active.unsynced_bytes.saturating_sub(bytes);
        }
    }

    /// The log thread's part: what is only written shall not gather.
    pub(super) fn sync_much(&self) {
        if Switch::SyncMuchAhead.on() {
            self.sync_ahead(MUCH);
        }
    }

    /// For a sync that is about to follow under the writer's lock.
    pub(super) fn sync_some(&self) {
        if Switch::SyncSomeAhead.on() {
            self.sync_ahead(SOME);
        }
    }
}
