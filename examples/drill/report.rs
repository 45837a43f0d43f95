//! How a fault and what came of it are told.

use std::fmt;
use std::time::Duration;

use serde_json::json;

use super::exam::Comparison;

/// What came of one fault.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) fault: &'static str,
    /// What was done to the copy; or why nothing could be.
    pub(crate) done: String,
    pub(crate) skipped: bool,
    /// What the opening said, or why it was refused and what was done then.
    pub(crate) opening: String,
    pub(crate) open_time: Duration,
    /// What the store said to be damaged or lost.
    pub(crate) said: Vec<String>,
    pub(crate) compared: Comparison,
    /// Healing: how long it took, and whether a later verification found nothing.
    pub(crate) heal_time: Duration,
    pub(crate) whole_after: bool,
    /// Promises that were broken.
    pub(crate) broken: Vec<String>,
}

impl Outcome {
    pub(crate) fn skipped(fault: &'static str, why: &str) -> Self {
        Self {
            fault,
            done: why.to_owned(),
            skipped: true,
            ..Self::default()
        }
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        let all = &self.compared;
        json!({
            "fault": self.fault,
            "skipped": self.skipped,
            "done": self.done,
            "opening": self.opening,
            "open_ms": self.open_time.as_millis() as u64,
            "said": self.said,
            "served": all.same,
            "refused": all.refused,
            "gone": all.gone,
            "wrong": all.wrong.len(),
            "accounts_refused": all.accounts,
            "receipts_equal": all.receipts_equal,
            "heal_ms": self.heal_time.as_millis() as u64,
            "whole_after": self.whole_after,
            "broken": self.broken,
        })
    }
}

/// So much of what a store says is shown.
const SHOWN: usize = 6;

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "== {}", self.fault)?;
        if self.skipped {
            return writeln!(f, "   not done: {}", self.done);
        }
        let ms = |time: Duration| time.as_millis();
        writeln!(f, "   done:    {}", self.done)?;
        writeln!(
            f,
            "   opening: {} ({} ms)",
            self.opening,
            ms(self.open_time)
        )?;
        for said in self.said.iter().take(SHOWN) {
            writeln!(f, "   said:    {}", said.replace('\n', "\n            "))?;
        }
        if self.said.len() > SHOWN {
            writeln!(f, "   said:    and {} more", self.said.len() - SHOWN)?;
        }
        let all = &self.compared;
        writeln!(
            f,
            "   mail:    {} served as they were, {} refused with a reason, {} gone, {} wrong",
            all.same,
            all.refused,
            all.gone,
            all.wrong.len()
        )?;
        let whole = match self.whole_after {
            true => "whole",
            false => "still reports what is lost",
        };
        writeln!(f, "   healing: {} ms, then {whole}", ms(self.heal_time))?;
        match self.broken.is_empty() {
            true => writeln!(f, "   verdict: all promises held"),
            false => {
                let broken = self.broken.iter();
                broken
                    .into_iter()
                    .try_for_each(|broken| writeln!(f, "   BROKEN:  {broken}"))
            }
        }
    }
}
