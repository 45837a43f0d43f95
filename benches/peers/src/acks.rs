//! What a store has acknowledged: which message is where. Kept in a file beside the store, for later processes to check.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::Path;

use crate::store::{Place, Result};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Ack {
    pub(crate) place: Place,
    pub(crate) uid: u32,
    /// Of the message in its corpus.
    pub(crate) number: u64,
}

/// Bytes of one in the file.
pub(crate) const LEN: usize = 16;

impl Ack {
    fn encode(&self) -> [u8; LEN] {
        let mut out = [0; LEN];
        out[..4].copy_from_slice(&self.place.0.to_le_bytes());
        out[4..8].copy_from_slice(&self.uid.to_le_bytes());
        out[8..].copy_from_slice(&self.number.to_le_bytes());
        out
    }
}

pub(crate) fn save(path: &Path, acks: &[Ack]) -> Result<()> {
    let bytes: Vec<u8> = acks.iter().flat_map(Ack::encode).collect();
    Ok(fs::write(path, bytes)?)
}

/// Adds one, in one write: it is in the file or not when the process is killed.
pub(crate) fn add(file: &File, ack: &Ack) -> Result<()> {
    let mut file = file;
    Ok(file.write_all(&ack.encode())?)
}

/// A file to [`add`] to.
pub(crate) fn log(path: &Path) -> Result<File> {
    Ok(OpenOptions::new().create(true).append(true).open(path)?)
}

pub(crate) fn load(path: &Path) -> Result<Vec<Ack>> {
    let bytes = fs::read(path)?;
    let ack = |bytes: &[u8]| {
        Ok(Ack {
            place: Place(u32::from_le_bytes(bytes[..4].try_into()?)),
            uid: u32::from_le_bytes(bytes[4..8].try_into()?),
            number: u64::from_le_bytes(bytes[8..LEN].try_into()?),
        })
    };
    bytes.chunks_exact(LEN).map(ack).collect()
}
