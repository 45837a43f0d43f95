//! Which test misses each switch when it is turned off, or why none can.

use crate::switch::Switch;

/// Who misses a protection.
#[derive(Clone, Copy, Debug)]
pub(crate) enum By {
    /// A test of the library itself.
    Lib(&'static str),
    /// A test of tests/it.
    It(&'static str),
    /// A test of this folder.
    Here(&'static str),
    /// Nobody can: the proof.
    Needless(&'static str),
    /// No test yet, and no proof: to be settled.
    Open,
}

pub(crate) const TABLE: &[(Switch, By)] = &[
    (
        Switch::CreateTailSync,
        By::It("rules::skipped_numbers_are_no_damage_at_a_later_opening"),
    ),
    (
        Switch::CreateSegmentsSync,
        By::It("crash::power_cuts_without_preparation"),
    ),
    (
        Switch::CreateManifestSync,
        By::It("crash::power_cuts_without_preparation"),
    ),
    (
        Switch::ManifestAside,
        By::It("crash::power_cuts_without_preparation"),
    ),
    (
        Switch::CreateNamesSync,
        By::Needless(
            "The opening that follows syncs the same names (RecoveryNamesSync) before anything is acknowledged.",
        ),
    ),
    (
        Switch::VolumeNameSync,
        By::Here("system::syncs_reach_the_system"),
    ),
    (
        Switch::WriterLock,
        By::It("bad_input::calls_outside_the_rules"),
    ),
    (
        Switch::DiskLock,
        By::Lib("io::fs::tests::the_lock_excludes_other_handles_of_this_process_until_dropped"),
    ),
    (Switch::DiskSync, By::Here("system::syncs_reach_the_system")),
    (
        Switch::DiskNameSync,
        By::Here("system::syncs_reach_the_system"),
    ),
    (
        Switch::CommitSync,
        By::It("crash::power_cuts_without_preparation"),
    ),
    (
        Switch::RotationSync,
        By::It("crash::power_cuts_without_preparation"),
    ),
    (
        Switch::StoreSync,
        By::It("io_errors::a_sync_that_failed_is_never_good_again"),
    ),
    (
        Switch::CloseSync,
        By::It("io_errors::a_sync_that_failed_is_never_good_again"),
    ),
    (
        Switch::CheckpointLogSync,
        By::Here("medium::all_that_a_checkpoint_names"),
    ),
    (Switch::CheckpointWaits, By::Open),
    (
        Switch::SyncMuchAhead,
        By::Needless(
            "Speed only: what was not synced ahead is synced, and waited for, by whoever asks for durability.",
        ),
    ),
    (
        Switch::SyncSomeAhead,
        By::Needless("Speed only: the sync under the writer's lock that follows does all of it."),
    ),
    (
        Switch::SegmentSync,
        By::It("crash::power_cuts_without_preparation"),
    ),
    (
        Switch::SegmentNameSync,
        By::It("crash::power_cuts_without_preparation"),
    ),
    (
        Switch::SpareSync,
        By::Needless(
            "Speed only: a file of zeroes promises nothing, and its header is synced with all of it when it becomes a segment.",
        ),
    ),
    (
        Switch::LargeSync,
        By::It("crash::power_cuts_without_preparation"),
    ),
    (
        Switch::LargeEdit,
        By::It("crash::power_cuts_without_preparation"),
    ),
    (Switch::DroppedEdit, By::Open),
    (
        Switch::EditFirst,
        By::It("crash::power_cuts_without_preparation"),
    ),
    (
        Switch::EditSync,
        By::It("crash::power_cuts_without_preparation"),
    ),
    (
        Switch::ManifestSync,
        By::It("crash::power_cuts_without_preparation"),
    ),
    (
        Switch::CreatedEdit,
        By::It("crash::power_cuts_without_preparation"),
    ),
    (
        Switch::TailIdleSync,
        By::It("rules::marks_of_written_commits_are_synced_without_a_rest"),
    ),
    (
        Switch::TailCloseSync,
        By::Here("medium::all_that_closing_left"),
    ),
    (Switch::SealSync, By::Here("medium::all_that_closing_left")),
    (Switch::HealSync, By::Here("medium::all_that_healing_left")),
    (
        Switch::HealReadBack,
        By::Needless(
            "Each page of a footer is checked when it is used: one that is bad again is distrusted again, and the batches are asked.",
        ),
    ),
    (
        Switch::AbandonWrite,
        By::It("io_errors::syncs_fail_and_keep_drop_or_revert_their_pages"),
    ),
    (
        Switch::AbandonSync,
        By::Here("failed::a_file_that_failed_is_left_alone"),
    ),
    (
        Switch::SyncFailureKept,
        By::Here("failed::a_sync_ahead_fails_and_the_next_one_tells"),
    ),
    (
        Switch::DoubtNoted,
        By::It("io_errors::a_sync_that_failed_is_never_good_again"),
    ),
    (
        Switch::DoubtTold,
        By::It("io_errors::a_sync_that_failed_is_never_good_again"),
    ),
    (
        Switch::EndedEdit,
        By::Lib("log::tests::opening::what_has_no_footer_is_read_once_it_is_asked_for"),
    ),
    (
        Switch::StopNoted,
        By::Here("failed::writing_stops_for_good"),
    ),
    (
        Switch::StopRefuses,
        By::Here("failed::writing_stops_for_good"),
    ),
    (
        Switch::CloseRefuses,
        By::It("bad_input::what_a_disk_or_a_closed_store_says"),
    ),
    (
        Switch::CloseStopped,
        By::Here("failed::writing_stops_for_good"),
    ),
    (
        Switch::FailBehind,
        By::Here("failed::what_was_planned_behind_a_failure_fails"),
    ),
    (
        Switch::FailedRest,
        By::It("races::a_plan_on_a_commit_that_fails_is_made_again"),
    ),
    (
        Switch::FailedBurned,
        By::It("rules::burned_uids_after_a_failed_commit_are_not_given_again"),
    ),
    (
        Switch::LeaderPanic,
        By::Here("failed::a_writer_panics_and_nobody_waits_for_ever"),
    ),
    (
        Switch::DurableShown,
        By::It("changes::verify_recomputes_receipts"),
    ),
    (
        Switch::NothingWaits,
        By::It("rules::noop_is_acknowledged_only_with_what_it_rests_on"),
    ),
    (Switch::DeferredWaits, By::Open),
    (
        Switch::TailOnCommit,
        By::Here("marks::tail_tells_of_a_killed_store"),
    ),
    (
        Switch::TailOnSync,
        By::Here("marks::tail_tells_what_a_sync_made_durable"),
    ),
    (
        Switch::TailSlots,
        By::Here("marks::the_other_slot_of_tail_tells"),
    ),
    (
        Switch::TailNewest,
        By::Here("marks::tail_tells_of_a_killed_store"),
    ),
    (
        Switch::TailEpoch,
        By::Needless(
            "A later writer numbers its batches behind all that TAIL knows (BatchBehindTail): the later epoch has the greater batch.",
        ),
    ),
    (
        Switch::ManifestSlots,
        By::It("crash::power_cuts_without_preparation"),
    ),
    (
        Switch::ManifestNewest,
        By::Here("marks::tail_tells_of_a_killed_store"),
    ),
    (Switch::ManifestDoubt, By::Open),
    (
        Switch::EditsCounted,
        By::Needless(
            "One of two is enough: a segment whose edit is not counted is taken up from the folder (UnlistedAdopted).",
        ),
    ),
    (Switch::UnlistedAdopted, By::It("corruption::every_bit")),
    (
        Switch::RotationDurable,
        By::Here("marks::manifest_tells_when_a_segment_was_begun"),
    ),
    (
        Switch::RotationNext,
        By::Needless(
            "The edit that MANIFEST counts in the same write says the same: the first record of the new segment.",
        ),
    ),
    (
        Switch::CloseDurable,
        By::Here("marks::manifest_tells_of_a_closed_store"),
    ),
    (
        Switch::CloseNext,
        By::Here("marks::numbers_of_all_that_was_lost_are_passed_over"),
    ),
    (Switch::HeadDurable, By::Here("marks::the_next_batch_tells")),
    (
        Switch::EpochRaised,
        By::Here("marks::an_older_manifest_is_refused"),
    ),
    (
        Switch::EpochOfTail,
        By::Here("marks::an_older_manifest_is_refused"),
    ),
    (
        Switch::NonceNew,
        By::Needless(
            "Nothing reads it yet: the format has it for stores of several volumes, where two writers could share an epoch.",
        ),
    ),
    (
        Switch::OpenedUnclean,
        By::Here("failed::writing_stops_for_good"),
    ),
    (
        Switch::DurableOfManifest,
        By::Here("marks::manifest_tells_of_a_closed_store"),
    ),
    (
        Switch::DurableOfTail,
        By::Here("marks::tail_tells_of_a_killed_store"),
    ),
    (
        Switch::DurableOfHeads,
        By::Here("marks::the_next_batch_tells"),
    ),
    (
        Switch::NextOfManifest,
        By::Here("marks::numbers_of_all_that_was_lost_are_passed_over"),
    ),
    (
        Switch::NextOfTail,
        By::It("rules::skipped_numbers_are_no_damage_at_a_later_opening"),
    ),
    (
        Switch::BatchBehindTail,
        By::Needless(
            "One of two is enough: where a number is given again, TAIL's slot of the later writer counts (TailEpoch).",
        ),
    ),
    (
        Switch::BatchBehindManifest,
        By::It("crash::power_cuts_without_preparation"),
    ),
    (
        Switch::EpochChecked,
        By::Here("marks::an_older_manifest_is_refused"),
    ),
    (
        Switch::LengthChecked,
        By::Here("damage::a_segment_that_is_too_short_is_refused"),
    ),
    (Switch::ChainBroken, By::Open),
    (
        Switch::ChainEnd,
        By::It("corruption::a_lost_message_is_named_by_its_body"),
    ),
    (Switch::ChainTurned, By::Open),
    (
        Switch::BatchAcknowledged,
        By::It("corruption::every_sector_of_an_open_store_zeroed"),
    ),
    (
        Switch::GapAcknowledged,
        By::Here("marks::the_next_batch_tells"),
    ),
    (
        Switch::EndAcknowledged,
        By::Here("marks::tail_tells_of_a_killed_store"),
    ),
    (
        Switch::TailSegmentGone,
        By::It("corruption::a_missing_segment_costs_itself"),
    ),
    (Switch::CleanEndSure, By::Open),
    (
        Switch::CleanEpoch,
        By::Needless(
            "Behind it CleanEndSure looks at the log itself: a mark that is not of this log is not believed.",
        ),
    ),
    (
        Switch::CleanDurable,
        By::Needless(
            "Behind it CleanEndSure looks at the log itself: a mark that is not of this log is not believed.",
        ),
    ),
    (
        Switch::ReaderBound,
        By::Here("damage::a_reader_is_shown_what_was_acknowledged"),
    ),
    (
        Switch::PositionSame,
        By::Lib("log::tests::opening::a_position_that_does_not_fit_is_ignored"),
    ),
    (Switch::PositionChained, By::Open),
    (Switch::StartSound, By::Open),
    (
        Switch::OrphansSure,
        By::Here("damage::a_large_body_whose_record_is_lost_is_kept"),
    ),
    (
        Switch::OrphansAbove,
        By::It("crash::power_cuts_while_the_index_is_saved"),
    ),
    (Switch::ExtraIdentity, By::Open),
    (
        Switch::RecoveryNamesSync,
        By::Here("medium::all_that_was_shown_after_a_creation_was_killed"),
    ),
    (
        Switch::RecoveryLogSync,
        By::It("deferral::nothing_old_can_be_read"),
    ),
    (
        Switch::RecoverySync,
        By::Here("medium::all_that_was_shown_after_a_kill"),
    ),
    (Switch::Quarantine, By::Here("medium::all_that_was_cut")),
    (Switch::QuarantineSync, By::Here("medium::all_that_was_cut")),
    (
        Switch::QuarantineNameSync,
        By::Here("medium::all_that_was_cut"),
    ),
    (
        Switch::UnsyncedSkipped,
        By::Here("damage::numbers_of_lost_written_batches_are_passed_over"),
    ),
    (
        Switch::UnsyncedFenced,
        By::It("rules::skipped_numbers_are_no_damage_at_a_later_opening"),
    ),
    (
        Switch::HoleFenced,
        By::Here("marks::tail_tells_of_a_killed_store"),
    ),
    (
        Switch::FencedOnce,
        By::It("corruption::a_lost_message_is_named_by_its_body"),
    ),
    (
        Switch::FenceWaits,
        By::Lib("log::tests::reading::a_fence_is_logged"),
    ),
    (
        Switch::LossFenced,
        By::It("rules::renamed_onto_a_name_of_lost_history_has_greater_uidvalidity"),
    ),
    (
        Switch::RowFenced,
        By::Lib("index::agreement::a_fence_lifts_both_alike"),
    ),
    (Switch::FloorFenced, By::Open),
    (Switch::RowReached, By::Open),
    (
        Switch::HeaderSum,
        By::Lib("format::tests::refusals::no_byte_is_without_a_guard"),
    ),
    (
        Switch::ManifestSum,
        By::Lib("format::tests::refusals::no_byte_is_without_a_guard"),
    ),
    (
        Switch::SegmentsSum,
        By::Lib("format::tests::refusals::no_byte_is_without_a_guard"),
    ),
    (
        Switch::EditSum,
        By::Lib("format::tests::refusals::no_byte_is_without_a_guard"),
    ),
    (
        Switch::TailSum,
        By::Lib("format::tests::refusals::no_byte_is_without_a_guard"),
    ),
    (
        Switch::HeadSum,
        By::Lib("format::tests::refusals::no_byte_of_a_batch_is_without_a_guard"),
    ),
    (
        Switch::TableSum,
        By::Lib("format::tests::refusals::tables_and_bodies_are_checked_apart"),
    ),
    (
        Switch::SectorSum,
        By::Lib("format::tests::refusals::no_byte_of_a_batch_is_without_a_guard"),
    ),
    (
        Switch::RecordSum,
        By::Lib("format::tests::refusals::nothing_passes_elsewhere"),
    ),
    (
        Switch::BodySum,
        By::Lib("format::tests::refusals::nothing_passes_elsewhere"),
    ),
    (
        Switch::ChunkSum,
        By::Lib("format::tests::refusals::tables_and_bodies_are_checked_apart"),
    ),
    (
        Switch::TrailerSum,
        By::Lib("format::tests::refusals::no_byte_of_a_footer_is_without_a_guard"),
    ),
    (
        Switch::FooterTableSum,
        By::Lib("format::tests::refusals::no_byte_of_a_footer_is_without_a_guard"),
    ),
    (
        Switch::FooterPageSum,
        By::Lib("format::tests::refusals::no_byte_of_a_footer_is_without_a_guard"),
    ),
    (
        Switch::CheckpointSum,
        By::Lib("directory::checkpoint::tests::every_changed_byte_and_every_cut_is_refused"),
    ),
    (
        Switch::RunSum,
        By::Lib("directory::run::tests::every_changed_byte_is_seen_or_does_not_matter"),
    ),
    (
        Switch::BlobSum,
        By::Lib("index::image::store::tests::wrong_places_are_told"),
    ),
    (
        Switch::PieceSum,
        By::Lib("index::image::piece::tests::damage_is_found"),
    ),
    (
        Switch::BaseSum,
        By::Lib("index::image::base::tests::every_flipped_byte_is_found"),
    ),
    (
        Switch::ColumnsSum,
        By::Lib("index::image::base::tests::every_flipped_byte_is_found"),
    ),
    (
        Switch::VerifyDigest,
        By::It("damage::files::a_wrong_digest_is_told_in_words"),
    ),
    (Switch::MessageDigest, By::It("corruption::every_bit")),
    (
        Switch::PlaceStore,
        By::Lib("format::tests::refusals::nothing_passes_elsewhere"),
    ),
    (
        Switch::PlaceSegment,
        By::Lib("format::tests::refusals::nothing_passes_elsewhere"),
    ),
    (
        Switch::PlaceSalt,
        By::Lib("format::tests::refusals::nothing_passes_elsewhere"),
    ),
    (
        Switch::PlaceGeneration,
        By::Lib("format::tests::refusals::nothing_passes_elsewhere"),
    ),
    (
        Switch::PlaceNumber,
        By::Lib("format::tests::refusals::nothing_passes_elsewhere"),
    ),
    (
        Switch::EditStore,
        By::Lib("format::tests::refusals::nothing_passes_elsewhere"),
    ),
    (
        Switch::EditIndex,
        By::Lib("format::tests::refusals::nothing_passes_elsewhere"),
    ),
    (
        Switch::RunStore,
        By::Lib("directory::run::tests::a_run_of_another_store_or_number_is_refused"),
    ),
    (
        Switch::RunNumber,
        By::Lib("directory::run::tests::a_run_of_another_store_or_number_is_refused"),
    ),
    (Switch::RunPage, By::Open),
    (
        Switch::BlobStore,
        By::Lib("index::image::store::tests::wrong_places_are_told"),
    ),
    (
        Switch::BlobFile,
        By::Lib("index::image::store::tests::wrong_places_are_told"),
    ),
    (
        Switch::BlobOffset,
        By::Lib("index::image::store::tests::wrong_places_are_told"),
    ),
    (
        Switch::SegmentsStore,
        By::It("bad_input::what_is_half_copied_or_foreign"),
    ),
    (Switch::TailStore, By::Lib("format::tests::tail_comes_back")),
    (
        Switch::HeaderPlace,
        By::Here("damage::a_segment_of_another_store_is_refused"),
    ),
    (Switch::VerifyHeader, By::Open),
    (
        Switch::LargeIdentity,
        By::Needless(
            "What lies in another segment is bound to that one's number: it is refused when it is read (BodyNumber).",
        ),
    ),
    (
        Switch::BodyNumber,
        By::Needless(
            "Only a table that is sound and wrong would lead to another body: footers are bound to their segment, a large body's file to its number (LargeIdentity).",
        ),
    ),
    (Switch::TrailerForeign, By::Open),
    (
        Switch::TrailerStore,
        By::Needless("A trailer of another store is refused before (TrailerForeign)."),
    ),
    (
        Switch::TrailerSegment,
        By::Needless("A trailer of another segment is refused before (TrailerForeign)."),
    ),
    (
        Switch::TrailerGeneration,
        By::Needless(
            "No segment is rewritten yet: every generation is 0. The format has it for compaction.",
        ),
    ),
    (Switch::TrailerFirst, By::Open),
    (Switch::TrailerPlace, By::Open),
    (Switch::TrailerLength, By::Open),
    (Switch::VerifyTrailer, By::Open),
    (Switch::FooterSound, By::Open),
    (Switch::SealGiven, By::Open),
    (Switch::HealGiven, By::Open),
    (Switch::FooterGiven, By::Open),
    (Switch::SearchGiven, By::Open),
    (
        Switch::RebuildGiven,
        By::It("deferral::nothing_is_saved_of_what_could_not_be_read"),
    ),
    (
        Switch::RowsGiven,
        By::It("deferral::a_rebuild_leaves_out_what_the_disk_does_not_give"),
    ),
    (Switch::ImageGiven, By::Open),
    (Switch::UnreadNoted, By::Open),
    (
        Switch::AllVouched,
        By::It("deferral::nothing_is_saved_of_what_could_not_be_read"),
    ),
    (Switch::MailboxVouched, By::Open),
    (
        Switch::BlankNotSaved,
        By::It("deferral::nothing_is_saved_of_what_could_not_be_read"),
    ),
    (
        Switch::CheckpointAside,
        By::Here("medium::all_that_a_checkpoint_names"),
    ),
    (
        Switch::CheckpointSync,
        By::Here("medium::all_that_a_checkpoint_names"),
    ),
    (
        Switch::CheckpointNameSync,
        By::Here("medium::all_that_closing_left"),
    ),
    (Switch::CheckpointFits, By::Open),
    (
        Switch::CheckpointStore,
        By::Needless(
            "A position of another store never fits: the checksum of its batch is bound to the store (PositionSame).",
        ),
    ),
    (Switch::TailForgotten, By::Open),
    (
        Switch::RunSync,
        By::Here("medium::all_that_a_checkpoint_names"),
    ),
    (
        Switch::RunSyncAhead,
        By::Needless("Speed only: the run is synced as a whole before it is named."),
    ),
    (
        Switch::RunNameSync,
        By::Needless(
            "The checkpoint's name is synced in the same folder after it: names of a folder become durable in order, and a run that is not there costs a rebuild, no mail.",
        ),
    ),
    (
        Switch::RunNamed,
        By::Lib("directory::tests::a_run_is_the_one_that_was_named"),
    ),
    (
        Switch::RunsDroppedLate,
        By::Here("medium::all_that_a_checkpoint_names"),
    ),
    (
        Switch::FlushRestored,
        By::Needless(
            "What is frozen is asked as well, and the next flush begins by taking it back.",
        ),
    ),
    (Switch::FileNumberFree, By::Open),
    (
        Switch::ImageSync,
        By::Here("medium::all_that_a_checkpoint_names"),
    ),
    (
        Switch::ImageNameSync,
        By::Needless(
            "The checkpoint's name is synced in the same folder after it: names of a folder become durable in order, and an image that is not there is folded from the log.",
        ),
    ),
    (
        Switch::ImageNameKept,
        By::Lib("index::image::store::tests::a_failed_sync_is_not_forgotten"),
    ),
    (
        Switch::ImageFailureKept,
        By::Lib("index::image::store::tests::a_failed_sync_is_not_forgotten"),
    ),
    (
        Switch::ImageWriteFailed,
        By::Lib("index::image::store::tests::a_failed_write_ends_its_file"),
    ),
    (
        Switch::ImagesBeforeCheckpoint,
        By::Here("medium::all_that_a_checkpoint_names"),
    ),
    (Switch::ImagesDroppedLate, By::Open),
    (Switch::ImageFenced, By::Open),
    (
        Switch::BlobLength,
        By::Lib("index::image::store::tests::wrong_places_are_told"),
    ),
    (
        Switch::BlobRecord,
        By::Lib("index::image::store::tests::wrong_places_are_told"),
    ),
    (
        Switch::BlobAccount,
        By::Lib("index::image::chain::tests::damage_is_told_and_grown_over"),
    ),
    (
        Switch::BlobCovers,
        By::Lib("index::image::chain::tests::damage_is_told_and_grown_over"),
    ),
    (
        Switch::BaseAccount,
        By::Lib("index::base::tests::bad_bases_are_passed_over"),
    ),
    (
        Switch::BaseCovers,
        By::Lib("index::base::tests::bad_bases_are_passed_over"),
    ),
    (
        Switch::DropCheckpointSync,
        By::Needless(
            "Names of a folder become durable in order: the checkpoint is gone before what it names. On a disk without that order what it names is refused when it is read.",
        ),
    ),
    (
        Switch::DropDerivedSync,
        By::Needless(
            "A removed file that comes back is named by nothing, and its number is not given again (FileNumberFree).",
        ),
    ),
];
