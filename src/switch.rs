//! Switches that turn a protection off, one at a time, so that it is shown that some test notices.
//!
//! Built only with `--cfg mailkeep_switches`: then `MAILKEEP_OFF=Name` turns the named one off for the process. In every
//! other build each of them is `true` at compile time and leaves no trace. `tests/switches/main.rs` tries them all;
//! `tests/switches/table.rs` has the test that notices each.

macro_rules! switches {
    ($($(#[doc = $sentence:literal])* $name:ident,)*) => {
        /// A protection against loss or damage that can be turned off.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Switch {
            $($(#[doc = $sentence])* $name,)*
        }

        impl Switch {
            /// All of them.
            #[allow(dead_code, reason = "for the one who tries them all")]
            pub(crate) const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// What each protects, in the same order.
            #[allow(dead_code, reason = "for the table")]
            pub(crate) const SENTENCES: &'static [&'static str] = &[$(concat!($($sentence),*),)*];
        }
    };
}

switches! {
    // A store is made.
    /// A new TAIL is synced.
    CreateTailSync,
    /// A new SEGMENTS is synced before MANIFEST has its name.
    CreateSegmentsSync,
    /// A new MANIFEST is synced before it gets its name.
    CreateManifestSync,
    /// A new MANIFEST gets its name when it is whole.
    ManifestAside,
    /// The names of a new store are synced before it is used.
    CreateNamesSync,
    /// The name of a new store's directory is synced.
    VolumeNameSync,
    /// All who write take the same lock.
    WriterLock,
    /// The lock is taken from the system.
    DiskLock,

    // Syncs of the log.
    /// A sync of a file is one.
    DiskSync,
    /// A sync of a folder is one.
    DiskNameSync,
    /// A durable batch is synced before it is acknowledged.
    CommitSync,
    /// A sync behind which TAIL cannot be written is not believed before it is asked again.
    SyncAsked,
    /// What was only written is synced before the next segment is begun.
    RotationSync,
    /// A removal gets room from the reserve on a full disk.
    ReserveGiven,
    /// The reserve is synced when it was cut or filled.
    ReserveSync,
    /// Its name is synced when it was made.
    ReserveNameSync,
    /// `Store::sync` syncs.
    StoreSync,
    /// What was only written is synced when the store is closed.
    CloseSync,
    /// The log is synced up to where a checkpoint says that its tail begins, and before rows of it are written.
    CheckpointLogSync,
    /// A checkpoint waits for the end of all batches in front of its position.
    CheckpointWaits,
    /// What was only written is synced before it has become much.
    SyncMuchAhead,
    /// What a sync will have to do is done before it holds up writers.
    SyncSomeAhead,
    /// A new segment's header is synced before SEGMENTS names it.
    SegmentSync,
    /// A new segment's name is synced before SEGMENTS names it.
    SegmentNameSync,
    /// A prepared file is synced before it becomes a segment.
    SpareSync,
    /// A large body is synced before its record is written.
    LargeSync,
    /// A large body is listed in SEGMENTS before its record is written.
    LargeEdit,
    /// A large body that is dropped is taken off the list before its file goes.
    DroppedEdit,
    /// SEGMENTS is written before MANIFEST counts the edit.
    EditFirst,
    /// SEGMENTS is synced before MANIFEST counts the edit.
    EditSync,
    /// MANIFEST is synced before what it says is used.
    ManifestSync,
    /// A new segment is listed before a batch goes there.
    CreatedEdit,
    /// TAIL is synced when there is time.
    TailIdleSync,
    /// TAIL is synced when the store is closed.
    TailCloseSync,
    /// A footer is synced before SEGMENTS says that it is there.
    SealSync,
    /// A footer that was written again is synced.
    HealSync,
    /// A footer that was written again is believed when the medium gives it back.
    HealReadBack,

    // What failed is never trusted again.
    /// A segment on which a batch failed is given up.
    AbandonWrite,
    /// A segment is given up behind which another one could not be listed for sure.
    AbandonList,
    /// A segment on which another sync failed is given up.
    AbandonSync,
    /// A file of which a sync failed stays failed.
    SyncFailureKept,
    /// Batches that were only written are in doubt once their segment failed.
    DoubtNoted,
    /// Every later sync tells of that doubt.
    DoubtTold,
    /// SEGMENTS says where a segment that was given up ends.
    EndedEdit,
    /// Writing stops after a failure that no other segment mends.
    StopNoted,
    /// Once writing has stopped no batch is taken.
    StopRefuses,
    /// Once the store is closed no batch is taken.
    CloseRefuses,
    /// A log that stopped is not closed as if it had not.
    CloseStopped,
    /// Batches behind one that failed fail with it.
    FailBehind,
    /// Nothing joins a batch that was planned on one that failed.
    FailedRest,
    /// Numbers that a failed batch gave out are not given again.
    FailedBurned,
    /// A writer that panics leaves nobody waiting.
    LeaderPanic,
    /// Only what is durable is shown.
    DurableShown,
    /// Where nothing is to be done, what that rests on is waited for.
    NothingWaits,
    /// The same for a delivery that waited for its UID.
    DeferredWaits,
    /// What a rebuild meets of deliveries that have their UIDs waits no more.
    MetAssigned,

    // Marks: how far acknowledged batches reach.
    /// TAIL is written after each durable batch.
    TailOnCommit,
    /// TAIL is written after each other sync.
    TailOnSync,
    /// TAIL's slots are written in turn.
    TailSlots,
    /// Of TAIL's slots the one with the later batch counts.
    TailNewest,
    /// Of TAIL's slots the one of the later writer counts.
    TailEpoch,
    /// MANIFEST's slots are written in turn.
    ManifestSlots,
    /// Of MANIFEST's slots the newer counts.
    ManifestNewest,
    /// Where one slot of MANIFEST is bad, it may have been the newer one.
    ManifestDoubt,
    /// Where it may have been, edits behind those counted are counted too.
    EditsCounted,
    /// Where the list may lack edits, segments that it does not name are taken up.
    UnlistedAdopted,
    /// MANIFEST says how far batches are durable when a segment is begun.
    RotationDurable,
    /// MANIFEST says which number is next when a segment is begun.
    RotationNext,
    /// MANIFEST says how far batches are durable when the store is closed.
    CloseDurable,
    /// MANIFEST says which number is next when the store is closed.
    CloseNext,
    /// Each batch says which one before it is durable.
    HeadDurable,
    /// Each writer has an epoch of its own.
    EpochRaised,
    /// It lies above that of TAIL.
    EpochOfTail,
    /// Each writer has a nonce of its own.
    NonceNew,
    /// MANIFEST says that the store is open.
    OpenedUnclean,
    /// An opening believes MANIFEST how far batches were durable.
    DurableOfManifest,
    /// An opening believes TAIL.
    DurableOfTail,
    /// An opening believes the heads of batches.
    DurableOfHeads,
    /// An opening believes MANIFEST which number is next.
    NextOfManifest,
    /// An opening believes TAIL.
    NextOfTail,
    /// A new batch is numbered behind all that TAIL knows.
    BatchBehindTail,
    /// A new batch is numbered behind all that MANIFEST knows.
    BatchBehindManifest,

    // What an opening decides.
    /// A MANIFEST older than TAIL is refused.
    EpochChecked,
    /// A segment shorter than its marks is refused.
    LengthChecked,
    /// A batch tells when the one before it is missing.
    ChainBroken,
    /// It is asked whether a segment's last batch is its last.
    ChainEnd,
    /// A batch behind a loss does not seem to follow on the one before the loss.
    ChainTurned,
    /// A torn batch that was acknowledged is not cut.
    BatchAcknowledged,
    /// A gap in front of acknowledged batches is not cut.
    GapAcknowledged,
    /// An end in front of acknowledged batches is not cut.
    EndAcknowledged,
    /// A last segment that is not there at all is a loss.
    TailSegmentGone,
    /// The mark of a clean closing is believed where the log ends there.
    CleanEndSure,
    /// It is believed where it is of the writer that closed.
    CleanEpoch,
    /// It is believed where MANIFEST says the same.
    CleanDurable,
    /// A reader is shown no more than a live writer has acknowledged.
    ReaderBound,
    /// A checkpoint's position counts where its batch is the same.
    PositionSame,
    /// A checkpoint's position counts where the next batch follows on it.
    PositionChained,
    /// An opening starts behind footers that are sound.
    StartSound,
    /// Large bodies without a record are dropped when every record was read.
    OrphansSure,
    /// Large bodies are dropped when all that may name them was read.
    OrphansAbove,
    /// A file that the list does not name is taken up when it is this store's.
    ExtraIdentity,

    // What an opening writes.
    /// The volume's names are synced before anything is shown.
    RecoveryNamesSync,
    /// The names of segments are synced before anything is shown.
    RecoveryLogSync,
    /// What was recovered is synced before it is shown.
    RecoverySync,
    /// What is cut is copied before.
    Quarantine,
    /// The copy is synced before the cut.
    QuarantineSync,
    /// The copy's name is synced before the cut.
    QuarantineNameSync,
    /// Numbers that were lost with written batches are passed over.
    UnsyncedSkipped,
    /// Their loss is logged.
    UnsyncedFenced,
    /// The loss of acknowledged records is logged.
    HoleFenced,
    /// A loss that was logged is not logged again.
    FencedOnce,
    /// A loss is logged durably before anything is planned on it.
    FenceWaits,
    /// A loss that is found later is logged then.
    LossFenced,
    /// The same of a loss that is found while the log is asked for rows that no run has.
    RowsFenced,
    /// What it skips ahead is by the room that the lost records had.
    FenceRoom,
    /// Damage in front of a torn batch that is cut off is looked at.
    HoleBeforeCut,
    /// The same of a loss of which nothing is left, not even how long it was.
    HoleRoom,
    /// Behind a logged loss each account skips ahead.
    RowFenced,
    /// Behind a logged loss each UIDVALIDITY skips ahead.
    FloorFenced,
    /// An account knows what its lost records gave out.
    RowReached,
    /// An account of whose INBOX no record is left has one all the same.
    InboxKept,
    /// It knows that its newest record is lost where nothing is left of it.
    NewestLost,

    // Checksums.
    /// Of a segment's header page.
    HeaderSum,
    /// Of a slot of MANIFEST.
    ManifestSum,
    /// Of the head of SEGMENTS.
    SegmentsSum,
    /// Of an edit of SEGMENTS.
    EditSum,
    /// Of a slot of TAIL.
    TailSum,
    /// Of the head of a batch.
    HeadSum,
    /// Of the table of a batch's sectors.
    TableSum,
    /// Of a sector of a batch.
    SectorSum,
    /// Of a record.
    RecordSum,
    /// Of a body's header.
    BodySum,
    /// Of a chunk of a body.
    ChunkSum,
    /// Of a footer's trailer.
    TrailerSum,
    /// Of the table of a footer's pages.
    FooterTableSum,
    /// Of a page of a footer.
    FooterPageSum,
    /// Of the checkpoint.
    CheckpointSum,
    /// Of a page of a run.
    RunSum,
    /// Of the head of a blob.
    BlobSum,
    /// Of a piece of an image.
    PieceSum,
    /// Of the root of an image.
    BaseSum,
    /// Of the columns of an image.
    ColumnsSum,
    /// Of a sealed segment, when it is verified.
    VerifyDigest,
    /// Of a message, when it is verified.
    MessageDigest,

    // What checksums bind.
    /// Those of a segment are good in one store.
    PlaceStore,
    /// They are good in one segment.
    PlaceSegment,
    /// They are good in one making of it.
    PlaceSalt,
    /// They are good in one rewriting of it.
    PlaceGeneration,
    /// They are good at one place.
    PlaceNumber,
    /// An edit is good in one store.
    EditStore,
    /// An edit is good at one place of the list.
    EditIndex,
    /// A page of a run is good in one store.
    RunStore,
    /// It is good in one run.
    RunNumber,
    /// It is good in one file of that number.
    RunNonce,
    /// It is good at one place.
    RunPage,
    /// A file of images is removed when nobody needs it, not when as much was counted.
    ImagesLookedAt,
    /// A blob is good in one store.
    BlobStore,
    /// It is good in one file.
    BlobFile,
    /// It is good at one place.
    BlobOffset,

    // Identities.
    /// SEGMENTS is MANIFEST's.
    SegmentsStore,
    /// TAIL is MANIFEST's.
    TailStore,
    /// A segment's header is the one that is listed.
    HeaderPlace,
    /// The same, when it is verified.
    VerifyHeader,
    /// A large body's segment is the one that is named.
    LargeIdentity,
    /// A body is the record's.
    BodyNumber,
    /// A footer of another segment is refused.
    TrailerForeign,
    /// A footer is of the store.
    TrailerStore,
    /// A footer is of the segment.
    TrailerSegment,
    /// A footer is of this rewriting of the segment.
    TrailerGeneration,
    /// A footer begins with the segment's first record.
    TrailerFirst,
    /// A footer lies where the list says.
    TrailerPlace,
    /// A footer's file is as long as it says.
    TrailerLength,
    /// The same, when it is verified.
    VerifyTrailer,
    /// A footer is used when all of it is sound.
    FooterSound,

    // What the disk does not give now may be there later.
    /// No footer is made without it.
    SealGiven,
    /// No footer is made again without it.
    HealGiven,
    /// No footer's accounts are listed without it.
    FooterGiven,
    /// Who is not found is not said to be gone.
    SearchGiven,
    /// Of a sealed segment the last numbers are lost where nothing is left of their records.
    SealedNumbers,
    /// Whether a batch was the last one of its segment, the next one is asked.
    EndAsked,
    /// No run is made without it.
    RebuildGiven,
    /// No rows are shown without it.
    RowsGiven,
    /// No image is made without it.
    ImageGiven,
    /// It is noted whose account lacks it.
    UnreadNoted,
    /// An account is not said to be missing without it.
    AllVouched,
    /// A mailbox is not said to be missing without it.
    MailboxVouched,
    /// The same for a delivery that waited for its UID.
    AssignVouched,
    /// Nothing is saved where a whole segment is not given.
    BlankNotSaved,

    // The index, which is derived.
    /// A checkpoint gets its name when it is whole.
    CheckpointAside,
    /// A checkpoint is synced before it gets its name.
    CheckpointSync,
    /// A checkpoint's name is synced before files that an older one names are removed.
    CheckpointNameSync,
    /// A checkpoint counts where its position fits the log.
    CheckpointFits,
    /// A checkpoint counts where it is of the store.
    CheckpointStore,
    /// What it said is forgotten where it does not fit.
    TailForgotten,
    /// A run is synced before a checkpoint names it.
    RunSync,
    /// A long run is synced as it is written.
    RunSyncAhead,
    /// A run's name is synced before a checkpoint names it.
    RunNameSync,
    /// A run is the one that the checkpoint names.
    RunNamed,
    /// Runs are removed when no checkpoint names them.
    RunsDroppedLate,
    /// Rows whose run could not be written stay in memory.
    FlushRestored,
    /// A new file gets a number that no file has.
    FileNumberFree,
    /// Images are synced before a checkpoint names them.
    ImageSync,
    /// The names of images are synced before a checkpoint names them.
    ImageNameSync,
    /// Names whose sync failed are synced again.
    ImageNameKept,
    /// An image file of which a sync failed stays failed.
    ImageFailureKept,
    /// An image file of which a write failed is not written again.
    ImageWriteFailed,
    /// A checkpoint comes after the images.
    ImagesBeforeCheckpoint,
    /// An image in front of a logged loss is written whole.
    ImageFenced,
    /// A blob is as long as the row says.
    BlobLength,
    /// A blob covers what the row says.
    BlobRecord,
    /// A blob's content is the account's.
    BlobAccount,
    /// A blob's content covers what its head says.
    BlobCovers,
    /// A base record is the account's.
    BaseAccount,
    /// A base record follows on the account's last record.
    BaseCovers,
    /// The checkpoint is gone for good before what it names is removed.
    DropCheckpointSync,
    /// The names of removed files are synced.
    DropDerivedSync,
}

impl Switch {
    /// Whether the protection is there.
    #[cfg(not(mailkeep_switches))]
    pub(crate) const fn on(self) -> bool {
        true
    }

    /// Whether the protection is there: not where the environment names it.
    #[cfg(mailkeep_switches)]
    pub(crate) fn on(self) -> bool {
        static OFF: std::sync::OnceLock<Option<Switch>> = std::sync::OnceLock::new();
        let named = || {
            let name = std::env::var("MAILKEEP_OFF").ok()?;
            let found = Self::ALL.iter().find(|one| format!("{one:?}") == name);
            if found.is_none() {
                eprintln!("MAILKEEP_OFF={name}: there is no such switch");
                std::process::exit(97);
            }
            found.copied()
        };
        *OFF.get_or_init(named) != Some(self)
    }

    /// Does `step`, if the protection is there.
    pub(crate) fn guard<E>(self, step: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        if self.on() { step() } else { Ok(()) }
    }

    /// `value`, if the protection is there.
    pub(crate) fn some<T>(self, value: T) -> Option<T> {
        self.on().then_some(value)
    }

    /// `value`, if the protection is there; else 0.
    pub(crate) fn number(self, value: u64) -> u64 {
        if self.on() { value } else { 0 }
    }

    /// `value`, if the protection is not there.
    pub(crate) fn off<T>(self, value: T) -> Option<T> {
        (!self.on()).then_some(value)
    }
}
