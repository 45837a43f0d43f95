//! MANIFEST: which store this volume belongs to and how far it certainly got. Two slots of a page, written in turn.
//! FORMAT.md section 10.

use super::bytes::{Put, Take, within};
use super::{Fault, Features, PAGE, StoreId, VERSION, checksum};
use crate::switch::Switch;

const MAGIC: u64 = u64::from_le_bytes(*b"MKMANIF1");

/// Most volumes of a store.
pub const MEMBERS_MAX: usize = 16;

/// State of a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberState {
    /// Has everything that was acknowledged.
    Current,
    /// Lacks what came after `since_batch`.
    Stale,
}

/// One volume of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// The volume's identity.
    pub volume: [u8; 16],
    /// Whether it may answer.
    pub state: MemberState,
    /// The last batch it certainly has, when stale.
    pub since_batch: u64,
}

/// One slot of MANIFEST.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The store.
    pub store: StoreId,
    /// This volume.
    pub volume: [u8; 16],
    /// Grows with each write of a slot; the higher valid one counts.
    pub generation: u64,
    /// Raised by each opening for writing.
    pub epoch: u64,
    /// Chosen by each opening for writing.
    pub nonce: [u8; 16],
    /// No record below this number will ever be assigned again.
    pub next_record: u64,
    /// Batches up to this one were durable when the slot was written.
    pub durable_batch: u64,
    /// How many edits SEGMENTS holds.
    pub edits: u64,
    /// Chain checksum of those edits.
    pub edits_chain: u32,
    /// When the store was created, milliseconds since 1970.
    pub created_ms: i64,
    /// Whether the last writer closed the store.
    pub clean: bool,
    /// Feature bits.
    pub features: Features,
    /// The store's volumes, this one among them.
    pub members: Vec<Member>,
}

impl Manifest {
    /// The slot as it is written.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(PAGE);
        out.put_u64(MAGIC);
        out.put_u16(VERSION);
        out.put_u16(u16::from(self.clean));
        out.put_u32(self.features.must_know);
        out.put_u32(self.features.read_only_safe);
        out.put_u32(self.features.ignorable);
        out.put(&self.store.0);
        out.put(&self.volume);
        out.put_u64(self.generation);
        out.put_u64(self.epoch);
        out.put(&self.nonce);
        out.put_u64(self.next_record);
        out.put_u64(self.durable_batch);
        out.put_u64(self.edits);
        out.put_i64(self.created_ms);
        out.put_u32(self.edits_chain);
        out.put_u32(u32::try_from(self.members.len()).unwrap_or(u32::MAX));
        for member in self.members.iter().take(MEMBERS_MAX) {
            out.put(&member.volume);
            out.put_u32(match member.state {
                MemberState::Current => 0,
                MemberState::Stale => 1,
            });
            out.put_u32(0);
            out.put_u64(member.since_batch);
        }
        out.resize(PAGE - 4, 0);
        let crc = checksum(0, &out);
        out.put_u32(crc);
        out
    }

    /// Reads one slot.
    ///
    /// # Errors
    /// Any [`Fault`]; a newer version is told apart from damage.
    pub fn decode(page: &[u8]) -> Result<Self, Fault> {
        let mut take = Take::sealed(page, PAGE, MAGIC, Switch::ManifestSum)?;
        let clean = match take.u16()? {
            0 => false,
            1 => true,
            found => {
                return Err(Fault::Range {
                    field: "manifest state",
                    found: found.into(),
                    min: 0,
                    max: 1,
                });
            }
        };
        let features = take.features()?;
        let (store, volume) = (StoreId(take.array()?), take.array()?);
        let generation = take.number("generation")?;
        let (epoch, nonce) = (take.number("epoch")?, take.array()?);
        let next_record = take.number("record number")?;
        let durable_batch = take.number("batch sequence")?;
        let edits = take.number("count of edits")?;
        let (created_ms, edits_chain) = (take.i64()?, take.u32()?);
        let many = take.u32()?;
        within("volume count", many.into(), 1, MEMBERS_MAX as u64)?;
        let members = (0..many)
            .map(|_| take_member(&mut take))
            .collect::<Result<_, _>>()?;
        take.end()?;
        Ok(Self {
            store,
            volume,
            generation,
            epoch,
            nonce,
            next_record,
            durable_batch,
            edits,
            edits_chain,
            created_ms,
            clean,
            features,
            members,
        })
    }

    /// Offset of the slot that this generation goes to.
    #[must_use]
    pub fn slot(&self) -> u64 {
        (Switch::ManifestSlots.number(self.generation) % 2) * PAGE as u64
    }
}

fn take_member(take: &mut Take<'_>) -> Result<Member, Fault> {
    let volume = take.array()?;
    let state = match take.u32()? {
        0 => MemberState::Current,
        1 => MemberState::Stale,
        found => {
            return Err(Fault::Range {
                field: "volume state",
                found: found.into(),
                min: 0,
                max: 1,
            });
        }
    };
    take.zeroes(4)?;
    Ok(Member {
        volume,
        state,
        since_batch: take.number("batch sequence")?,
    })
}
