//! What the log can say of itself to those who keep it elsewhere: its last durable batch.

use super::writer::Writer;
use super::{Log, Shared};
use crate::witness::Witness;

impl Log {
    /// The last durable batch.
    pub(crate) fn witness(&self) -> Witness {
        *self.shared.witness.lock()
    }
}

impl Writer {
    /// Everything written so far is durable: says so to [`Log::witness`].
    pub(super) fn tell_witness(&self, shared: &Shared) {
        if let Some(position) = &self.position {
            *shared.witness.lock() = Witness {
                store: shared.store,
                epoch: self.epoch,
                batch: position.batch,
                next_record: position.next_record,
                checksum: position.crc,
                segment: position.segment,
                offset: position.last,
            };
        }
    }
}
