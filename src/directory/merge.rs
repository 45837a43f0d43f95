//! Merging runs: rows of several sources as one sequence, and which runs are worth it.

use super::row::Row;
use super::run::RunInfo;

/// Rows of several sources in key order, each key once: what the sources say of it, merged.
pub(super) struct Merged<I> {
    /// Oldest first.
    sources: Vec<Source<I>>,
    failed: bool,
}

struct Source<I> {
    rows: I,
    head: Option<Row>,
    ended: bool,
}

impl<I> Merged<I> {
    /// `sources`, from the one of the oldest records to that of the newest, each in strictly ascending key order.
    pub(super) fn new(sources: impl IntoIterator<Item = I>) -> Self {
        let sources = sources.into_iter().map(|rows| Source {
            rows,
            head: None,
            ended: false,
        });
        Self {
            sources: sources.collect(),
            failed: false,
        }
    }
}

impl<I: Iterator<Item = Result<Row, E>>, E> Merged<I> {
    /// Makes every source show its next row.
    fn fill(&mut self) -> Result<(), E> {
        for source in &mut self.sources {
            if source.head.is_none() && !source.ended {
                source.head = source.rows.next().transpose()?;
                source.ended = source.head.is_none();
            }
        }
        Ok(())
    }

    fn take_lowest(&mut self) -> Option<Row> {
        let heads = self
            .sources
            .iter()
            .filter_map(|source| source.head.as_ref());
        let key = heads.map(|row| row.key).min()?;
        let sources = self.sources.iter_mut();
        let same = sources.filter_map(|source| source.head.take_if(|row| row.key == key));
        same.reduce(|older, newer| older.then(&newer))
    }
}

impl<I: Iterator<Item = Result<Row, E>>, E> Iterator for Merged<I> {
    type Item = Result<Row, E>;

    fn next(&mut self) -> Option<Result<Row, E>> {
        if self.failed {
            return None;
        }
        if let Err(error) = self.fill() {
            self.failed = true;
            return Some(Err(error));
        }
        self.take_lowest().map(Ok)
    }
}

/// Fewest runs worth merging.
const FANOUT_MIN: usize = 4;
/// Most runs merged at once: so many files are read side by side.
const FANOUT_MAX: usize = 8;
/// With more runs than this, some are merged whatever it costs: a lookup asks every one.
const RUNS_MAX: usize = 48;

/// Which neighbouring runs to merge next, as positions in `runs`, which are sorted by record number.
///
/// Only such as leave no record number out between them. A window is taken if none of its runs is more than a third of
/// it: so each byte that is written again lies in a run at least three times as large, and nothing is written more
/// often than log3 of (all / one flush). Of several, the one with the smallest runs; of those, the widest.
pub(super) fn choose(runs: &[RunInfo]) -> Option<std::ops::Range<usize>> {
    let lasting = best(runs, FANOUT_MIN, |total, max| {
        max.saturating_mul(3) <= total
    });
    let crowded = runs.len() > RUNS_MAX;
    lasting.or_else(|| best(runs, 2, |_, _| true).filter(|_| crowded))
}

fn best(
    runs: &[RunInfo],
    narrowest: usize,
    worth: impl Fn(u64, u64) -> bool,
) -> Option<std::ops::Range<usize>> {
    let mut best: Option<(u64, usize, usize)> = None;
    for start in 0..runs.len() {
        let window = runs.get(start..).unwrap_or_default();
        let (mut total, mut max, mut width) = (0_u64, 0, 0);
        let mut end = None;
        for run in window.iter().take(FANOUT_MAX) {
            if end.is_some_and(|end| end != run.lo) {
                break;
            }
            end = Some(run.hi);
            width += 1;
            total = total.saturating_add(run.len);
            max = max.max(run.len);
            let is_better =
                best.is_none_or(|(least, _, many)| cheaper((total, width), (least, many)));
            if width >= narrowest && worth(total, max) && is_better {
                best = Some((total, start, width));
            }
        }
    }
    best.map(|(_, start, width)| start..start + width)
}

/// Whether a window has smaller runs on average, or is wider with the same.
fn cheaper((total, width): (u64, usize), (than, many): (u64, usize)) -> bool {
    let (here, there) = (
        u128::from(total) * many as u128,
        u128::from(than) * width as u128,
    );
    here < there || (here == there && width > many)
}

#[cfg(test)]
mod tests;
