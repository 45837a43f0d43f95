//! How a store is opened, and every limit.

use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::format::body;
use crate::io::{Host, System};
use crate::witness::Witness;

/// What a commit survives when it has returned `Ok`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// Handed to the operating system: survives the death of the process, not a power cut or a crash of the system.
    /// For what can be delivered again: imports, caches.
    ///
    /// What a power cut takes of it is lost with all that it gave out. Of what was written up to the last sync of the
    /// file TAIL (several times a second with [`Options::background`], else at closing only) or before a later durable
    /// commit, no UID, MODSEQ or id is given again; [`unsynced`](crate::RecoveryReport::unsynced) says what is lost.
    /// Of what was written after that the medium holds nothing, not even that it was: **its UIDs may be given to other
    /// messages**. Who has shown them to clients wants [`Durable`](Self::Durable), or [`Store::sync`](crate::Store::sync)
    /// before showing them.
    Written,
    /// On the medium (`fdatasync` returned): survives a power cut too. The default.
    #[default]
    Durable,
}

/// Smallest and largest segment, in bytes.
pub const SEGMENT_LEN_MIN: u64 = 64 << 10;
/// See [`SEGMENT_LEN_MIN`].
pub const SEGMENT_LEN_MAX: u64 = 2 << 30;

/// Smallest bound of the tail, in bytes.
const TAIL_MIN: u64 = 64 << 10;

/// How a [`Store`](crate::Store) is opened.
///
/// ```
/// use mailkeep::{Durability, Options};
/// let options = Options::new().durability(Durability::Written).message_max(64 << 20);
/// # let _ = options;
/// ```
#[derive(Clone, Debug)]
pub struct Options {
    pub(crate) create: bool,
    pub(crate) read_only: bool,
    pub(crate) accept_loss: bool,
    pub(crate) background: bool,
    pub(crate) replay_all: bool,
    pub(crate) rebuild: bool,
    pub(crate) prepare: bool,
    pub(crate) durability: Durability,
    pub(crate) message_max: u64,
    pub(crate) segment_len: u64,
    pub(crate) tail_max: u64,
    pub(crate) cache_bytes: usize,
    pub(crate) chain_max: u32,
    pub(crate) load_deadline: Duration,
    pub(crate) reserve: u64,
    pub(crate) witness: Option<Witness>,
    pub(crate) host: Arc<dyn Host>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            create: true,
            read_only: false,
            accept_loss: false,
            background: true,
            replay_all: false,
            rebuild: false,
            prepare: true,
            durability: Durability::Durable,
            message_max: 256 << 20,
            segment_len: 256 << 20,
            tail_max: 64 << 20,
            cache_bytes: 256 << 20,
            chain_max: 8,
            load_deadline: Duration::from_secs(2),
            reserve: 256 << 10,
            witness: None,
            host: Arc::new(System),
        }
    }
}

impl Options {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether a missing or empty folder becomes a new store. Default: yes. A server that expects its store to be
    /// there says no, so that a volume that is not mounted is an error and not an empty store.
    #[must_use]
    pub fn create(mut self, create: bool) -> Self {
        self.create = create && self.witness.is_none();
        self
    }

    /// Whether to open for reading only: no lock is taken, nothing is changed, not even a torn tail is cut. Shows
    /// what was acknowledged when it was opened. Default: no.
    #[must_use]
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    /// Whether to open for writing although whole files are missing or cut short: what they held is given up,
    /// clients are told to resynchronise, and the report lists it. Default: no.
    #[must_use]
    pub fn accept_loss(mut self, accept: bool) -> Self {
        self.accept_loss = accept;
        self
    }

    /// Whether the store may run threads (`mailkeep-log`: prepares and seals segments, syncs TAIL when idle;
    /// `mailkeep-commit`: commits that are awaited rather than waited for; `mailkeep-index`: saves the index;
    /// `mailkeep-load`, at most four, begun when needed: loads accounts for deliveries by name). Without them that work is
    /// done inline, a commit that nobody waits for is written with the next one or at close. Default: yes.
    #[must_use]
    pub fn background(mut self, background: bool) -> Self {
        self.background = background;
        self
    }

    /// Whether opening reads the whole log, whatever is known of it: all damage to its records is then reported at
    /// once, in [`Store::recovery`](crate::Store::recovery). An operator's check; takes as long as reading the log's heads
    /// and records does. Default: no.
    #[must_use]
    pub fn replay_all(mut self, all: bool) -> Self {
        self.replay_all = all;
        self
    }

    /// Whether opening drops all that is derived and has it made again from the log: the files in `index/` are removed, or
    /// only passed over where the store is opened for reading only. The store opens and serves as ever, and slower until the
    /// rebuild is through: see [`Store::wait_rebuilt`](crate::Store::wait_rebuilt). Default: no. Never needed, as damage to
    /// these files is found and mended as it is met; for an operator who wants to be sure, and for drills.
    #[must_use]
    pub fn rebuild(mut self, rebuild: bool) -> Self {
        self.rebuild = rebuild;
        self
    }

    /// Whether segments are filled with zeroes ahead of the log, while commits are small or there are none: a durable commit
    /// is then one write and one flush. Costs a second write of each byte, off the commit path but for up to 512 KiB now and
    /// then where a segment began before it was ready, and the space of what is ready. Default: yes.
    #[must_use]
    pub fn prepare(mut self, prepare: bool) -> Self {
        self.prepare = prepare;
        self
    }

    /// What a commit survives, unless the call says otherwise. Default: [`Durability::Durable`].
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Largest message in bytes, 1 to 4 GiB - 64 KiB. Default: 256 MiB. Larger ones are refused with
    /// [`Error::TooLarge`] before anything is written.
    #[must_use]
    pub fn message_max(mut self, bytes: u64) -> Self {
        self.message_max = bytes;
        self
    }

    /// Length at which a segment is full, in bytes, 64 KiB to 2 GiB. Default: 256 MiB; small stores use smaller
    /// segments.
    #[must_use]
    pub fn segment_len(mut self, bytes: u64) -> Self {
        self.segment_len = bytes;
        self
    }

    /// How much of the log an opening may have to read, in bytes: when so much was written since the last checkpoint,
    /// the index is saved again. 64 KiB or more. Default: 64 MiB. A larger tail makes for fewer and larger files of
    /// the index and a longer opening after a crash.
    #[must_use]
    pub fn tail_max(mut self, bytes: u64) -> Self {
        self.tail_max = bytes;
        self
    }

    /// Memory for accounts that are in use, in bytes, about. Default: 256 MiB. Accounts that were not used lately are
    /// dropped, which writes nothing. Mapped messages do not count.
    #[must_use]
    pub fn cache_bytes(mut self, bytes: usize) -> Self {
        self.cache_bytes = bytes;
        self
    }

    /// How many records an account may have behind its image before a new one is written: what loading a cold account
    /// reads, about. 1 or more. Default: 8.
    #[must_use]
    pub fn chain_max(mut self, records: u32) -> Self {
        self.chain_max = records;
        self
    }

    /// How long a delivery by name ([`Store::deliver_to`](crate::Store::deliver_to)) waits for accounts to be looked up
    /// and loaded before it is deferred. Default: 2 seconds. With zero, whatever is not in memory is deferred. Without
    /// [`background`](Self::background) there is no deadline: accounts are then loaded on the caller's thread.
    #[must_use]
    pub fn load_deadline(mut self, deadline: Duration) -> Self {
        self.load_deadline = deadline;
        self
    }

    /// Room that is kept for removing mail from a full disk, in bytes: a file of zeroes, `RESERVE`, made when there is room and
    /// cut shorter by what a removal needs when there is none. Expunging, destroying, and deleting mailboxes and accounts then
    /// go on where all else is refused with [`Error::NoSpace`], also after the store is opened again on the full disk. A
    /// removal that finds no room takes its own length and less than 20 KiB from it, which serves small ones behind it too;
    /// when the disk has room again it is filled. Nothing else takes from it, and there is no such promise where other
    /// processes fill what it gives, or a file system takes it for itself: xfs and the quotas of btrfs were seen to, ext4 and
    /// btrfs were not. Default: 256 KiB. With 0 none is made.
    #[must_use]
    pub fn reserve(mut self, bytes: u64) -> Self {
        self.reserve = bytes;
        self
    }

    /// Opens the store only if its log has exactly the batch that this [`Witness`] names, which
    /// [`Store::witness`](crate::Store::witness) gave and which was kept elsewhere: an older copy of the whole store is
    /// refused with [`Error::NotWitnessed`], and so is another history. A store that is not there is not created. Reads one
    /// place of the log more; where that is damaged, at most the segment that it is in. Default: none.
    #[must_use]
    pub fn witness(mut self, witness: Witness) -> Self {
        self.witness = Some(witness);
        self.create = false;
        self
    }

    /// Where time and unique numbers come from. Default: the system. For tests that replay a run exactly.
    #[must_use]
    pub fn host(mut self, host: Arc<dyn Host>) -> Self {
        self.host = host;
        self
    }

    pub(crate) fn validate(&self) -> Result<()> {
        within(
            "segment_len",
            self.segment_len,
            SEGMENT_LEN_MIN,
            SEGMENT_LEN_MAX,
        )?;
        within("tail_max", self.tail_max, TAIL_MIN, u64::MAX)?;
        within("chain_max", self.chain_max.into(), 1, u32::MAX.into())?;
        within("message_max", self.message_max, 1, body::LEN_MAX)
    }
}

fn within(option: &'static str, found: u64, min: u64, max: u64) -> Result<()> {
    if (min..=max).contains(&found) {
        Ok(())
    } else {
        Err(Error::InvalidOption {
            option,
            found,
            min,
            max,
        })
    }
}
