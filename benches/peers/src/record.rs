//! What the stores that know nothing of mail keep of a message besides its body, and of a mailbox.

use crate::store::{FLAGGED, Mail, Place, Result};

/// Length of a message's record.
pub(crate) const LEN: usize = 32;

/// A message's record: 32 bytes under mailbox and UID.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record {
    pub(crate) flags: u32,
    pub(crate) size: u32,
    pub(crate) modseq: u64,
    pub(crate) date: u64,
    /// The body's key: copies share it.
    pub(crate) body: u64,
}

impl Record {
    /// Of a message that is new.
    pub(crate) fn of(mail: &Mail, modseq: u64, date: u64, body: u64) -> Self {
        Self {
            flags: mail.flags(),
            size: mail.body.len() as u32,
            modseq,
            date,
            body,
        }
    }

    pub(crate) fn encode(&self) -> [u8; LEN] {
        let mut out = [0; LEN];
        out[..4].copy_from_slice(&self.flags.to_le_bytes());
        out[4..8].copy_from_slice(&self.size.to_le_bytes());
        out[8..16].copy_from_slice(&self.modseq.to_le_bytes());
        out[16..24].copy_from_slice(&self.date.to_le_bytes());
        out[24..].copy_from_slice(&self.body.to_le_bytes());
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        let bytes: &[u8; LEN] = bytes.try_into()?;
        Ok(Self {
            flags: flags(bytes)?,
            size: u32::from_le_bytes(bytes[4..8].try_into()?),
            modseq: u64::from_le_bytes(bytes[8..16].try_into()?),
            date: u64::from_le_bytes(bytes[16..24].try_into()?),
            body: u64::from_le_bytes(bytes[24..].try_into()?),
        })
    }

    /// With `\Flagged` or without, changed at `modseq`.
    pub(crate) fn flagged(mut self, on: bool, modseq: u64) -> Self {
        self.flags = if on {
            self.flags | FLAGGED
        } else {
            self.flags & !FLAGGED
        };
        self.modseq = modseq;
        self
    }
}

/// The flags of an encoded record.
pub(crate) fn flags(record: &[u8]) -> Result<u32> {
    let flags = record.get(..4).ok_or("a short record")?;
    Ok(u32::from_le_bytes(flags.try_into()?))
}

/// A mailbox's row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mailbox {
    pub(crate) uid_next: u32,
    pub(crate) modseq: u64,
}

impl Mailbox {
    pub(crate) fn encode(self) -> [u8; 12] {
        let mut out = [0; 12];
        out[..4].copy_from_slice(&self.uid_next.to_le_bytes());
        out[4..].copy_from_slice(&self.modseq.to_le_bytes());
        out
    }

    /// A mailbox without a row is new.
    fn decode(row: Option<&[u8]>) -> Result<Self> {
        let Some(row) = row else {
            return Ok(Self {
                uid_next: 1,
                modseq: 0,
            });
        };
        let row: &[u8; 12] = row.try_into()?;
        Ok(Self {
            uid_next: u32::from_le_bytes(row[..4].try_into()?),
            modseq: u64::from_le_bytes(row[4..].try_into()?),
        })
    }

    /// The row as the next change leaves it, UIDs apart.
    pub(crate) fn changed(row: Option<&[u8]>) -> Result<Self> {
        let mut row = Self::decode(row)?;
        row.modseq += 1;
        Ok(row)
    }

    /// The next UID.
    pub(crate) fn give(&mut self) -> u32 {
        self.uid_next += 1;
        self.uid_next - 1
    }
}

/// The key of a message: those of a mailbox are neighbours, by UID.
pub(crate) fn key(place: Place, uid: u32) -> [u8; 8] {
    number(place, uid).to_be_bytes()
}

/// The same as a number.
pub(crate) fn number(place: Place, uid: u32) -> u64 {
    u64::from(place.0) << 32 | u64::from(uid)
}

/// Seconds since 1970, now.
pub(crate) fn now() -> u64 {
    std::time::UNIX_EPOCH
        .elapsed()
        .map_or(0, |elapsed| elapsed.as_secs())
}
