//! Opening: what is kept, cut, given up or refused is decided by a table, and reported.
//!
//! D is the highest batch known to have been durable: MANIFEST, TAIL and every batch head say one, the largest counts.
//! Up to D everything was acknowledged: what is missing there is damage. Beyond D nothing was acknowledged as durable:
//! what is not whole there is a torn tail. Only a torn tail is ever cut, and the bytes go to quarantine/ first.
//!
//! Recovery decides before it writes, and each thing that it writes may be interrupted and done again.
//!
//! Reading order: `create` (before an opening), `list` (which segments there are), `tail` (how far they reached),
//! `start` (where reading begins), `opening` (the state), `read` (replay), `judge` (where it ends), `witness`, `finish` (the log is put together), `report`.

mod create;
mod finish;
mod judge;
mod list;
mod opening;
mod read;
mod report;
mod start;
mod tail;
mod witness;

use std::sync::Arc;

pub(crate) use create::{find_or_create, lock};
pub(super) use tail::TAIL;

pub use report::{Break, Cut, Hole, LostMessage, RecoveryReport, Unsynced};

use super::Log;
use super::files::{Files, OPEN_MAX};
use super::ledger::Ledger;
use super::position::Position;
use super::scan::Looks;
use crate::error::{Error, Result};
use crate::format::Fault;
use crate::format::change::Change;
use crate::format::record::RecordHeader;
use crate::io::{Open, Storage};
use crate::options::Options;
use crate::switch::Switch;
use finish::Parts;
use opening::Opening;
use start::Start;

/// What derived state is built from: the records from some number on, in order of their numbers.
pub(crate) trait Replay {
    /// Before the first record: they come from number `from` on. `fitted` says whether this is where the position that the
    /// opening was given points to; if not, what was known up to there is of another log, and is to be forgotten.
    fn begin(&mut self, from: u64, fitted: bool) {
        let _ = (from, fitted);
    }

    /// The next record.
    fn replay(&mut self, header: &RecordHeader, change: &Change);
}

/// What to do where the log does not go on as it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// The log ends here.
    End,
    /// A torn tail: what is from here on goes to quarantine and is cut off.
    Cut,
    /// Damage: kept where it is, reported, fenced.
    Hole,
}

/// One row of the decision table; `None` matches anything.
struct Decision {
    /// Whether the log is known to go on behind this place: the segment was sealed, ended or followed by another.
    inside: Option<bool>,
    /// Whether a batch that was acknowledged as durable is missing here.
    acknowledged: Option<bool>,
    looks: Option<Looks>,
    verdict: Verdict,
}

/// The table, read from the top. FORMAT.md section 13.
const DECISIONS: [Decision; 6] = [
    Decision {
        inside: Some(true),
        acknowledged: None,
        looks: None,
        verdict: Verdict::Hole,
    },
    Decision {
        inside: None,
        acknowledged: Some(true),
        looks: None,
        verdict: Verdict::Hole,
    },
    Decision {
        inside: None,
        acknowledged: None,
        looks: Some(Looks::Empty),
        verdict: Verdict::End,
    },
    Decision {
        inside: None,
        acknowledged: None,
        looks: Some(Looks::Torn),
        verdict: Verdict::Cut,
    },
    // Written whole and then changed: no power cut does that. Perhaps acknowledged just before TAIL was synced.
    Decision {
        inside: None,
        acknowledged: None,
        looks: Some(Looks::Altered),
        verdict: Verdict::Hole,
    },
    Decision {
        inside: None,
        acknowledged: None,
        looks: None,
        verdict: Verdict::Hole,
    },
];

fn decide(inside: bool, acknowledged: bool, looks: Looks) -> Verdict {
    let fits = |row: &&Decision| {
        row.inside.is_none_or(|value| value == inside)
            && row.acknowledged.is_none_or(|value| value == acknowledged)
            && row.looks.is_none_or(|value| value == looks)
    };
    DECISIONS
        .iter()
        .find(fits)
        .map_or(Verdict::Hole, |row| row.verdict)
}

impl Log {
    /// Opens the log of a store that exists; `replay` gets the records behind `from`. Without a position, or with one
    /// that does not fit the log, it gets those from the first segment on that is not sealed; all of them where the
    /// options ask for that.
    ///
    /// # Cost
    /// Reads SEGMENTS, the names in log/, and what is replayed. No other segment is opened.
    pub(crate) fn open(
        storage: Arc<dyn Storage>,
        options: Options,
        lock: Option<Box<dyn Send + Sync>>,
        replay: &mut dyn Replay,
        from: Option<&Position>,
    ) -> Result<(Self, RecoveryReport)> {
        let how = if options.read_only {
            Open::Read
        } else {
            Open::Write
        };
        let raw_tail = tail::read(&*storage, how)?;
        let (mut ledger, edits) = Ledger::open(&*storage, how)?;
        let tail = raw_tail.mark(ledger.manifest.store);
        let files = Files::new(Arc::clone(&storage), how, OPEN_MAX);
        let mut listed = list::segments(&*storage, &ledger, edits, &files)?;
        let mut opening = Opening::new(&*storage, replay, &ledger, &tail, &options);
        opening.note(&mut listed);
        opening.check_complete(&ledger, &listed.segments, &options)?;
        opening.start_at(Start::find(&listed.segments, from, &options)?);
        let start = opening.start;
        opening
            .replay
            .begin(start.next_record, start.position.is_some());
        let clean = tail.clean_end(&ledger.manifest);
        let last = opening.survey_last(&listed.segments, clean)?;
        let mut ended = Vec::new();
        let mut active = opening.read_all(&listed.segments, last, &mut ended)?;
        if let (Some(kind), false) = (opening.newer, options.read_only) {
            return Err(Error::fault(storage.describe(), 0, Fault::Kind { kind }));
        }
        opening.skip_unsynced(active.as_ref());
        opening.skip_burned(&listed.segments);
        let witness = opening.hold_witness(&listed.segments, &options)?;
        if !options.read_only {
            opening.make_durable(&mut active, &mut ended)?;
            let (nonce, epoch) = (options.host.unique(), tail.epoch());
            ledger.update(|manifest| {
                manifest.epoch = manifest.epoch.max(Switch::EpochOfTail.number(epoch))
                    + Switch::EpochRaised.number(1);
                manifest.nonce = Switch::NonceNew.some(nonce).unwrap_or_default();
                manifest.clean &= !Switch::OpenedUnclean.on();
            })?;
            if opening.is_sure() || !Switch::OrphansSure.on() {
                let (large, named) = (&listed.large, &opening.large);
                list::drop_orphans(&*storage, &mut ledger, large, named, start.large_above)?;
            }
        }
        let parts = Parts {
            storage: Arc::clone(&storage),
            options,
            lock,
            ledger,
            tail,
            ended,
            log_len: listed.log_len(),
            listed: listed.segments,
            leftovers: listed.leftovers,
            files,
            active,
            witness,
        };
        opening.finish(parts)
    }
}

#[cfg(test)]
mod tests {
    use super::{Looks, Verdict, decide};

    /// Each row of FORMAT.md section 13: inside, acknowledged, looks.
    #[test]
    fn the_table_decides_row_by_row() {
        use Looks::{Altered, Empty, Torn};
        use Verdict::{Cut, End, Hole};
        for looks in [Empty, Torn, Altered] {
            assert_eq!(decide(true, false, looks), Hole, "the log goes on behind");
            assert_eq!(decide(true, true, looks), Hole, "the log goes on behind");
            assert_eq!(decide(false, true, looks), Hole, "acknowledged and missing");
        }
        assert_eq!(decide(false, false, Empty), End);
        assert_eq!(decide(false, false, Torn), Cut);
        assert_eq!(
            decide(false, false, Altered),
            Hole,
            "no power cut does that"
        );
    }
}
