//! Opening, and the first answers of accounts that nobody has touched.

use std::time::Instant;

use mailkeep::{Options, Store};

use crate::figures::{Sheet, Target, Times};
use crate::machine::{Memory, Reading};
use crate::population::Population;
use crate::{Args, Result};

/// Milliseconds that opening may take: after a clean close, and otherwise.
const OPEN_CLEAN_MAX: f64 = 20.0;
const OPEN_KILLED_MAX: f64 = 1000.0;
/// Milliseconds that the first answer of a cold account may take, for 99 of 100, and how often it may read.
const ANSWER_MAX: f64 = 5.0;
const READS_MAX: f64 = 12.0;

/// Opens the store.
pub(crate) fn open(args: &Args, sheet: &mut Sheet) -> Result<()> {
    let before = Reading::now();
    let begin = Instant::now();
    let store = Store::open(args.store(), Options::new().create(false))?;
    let time = begin.elapsed();
    let memory = Memory::now();
    let read = Reading::now().since(before);
    let clean = store.recovery().clean;
    let most = if clean {
        OPEN_CLEAN_MAX
    } else {
        OPEN_KILLED_MAX
    };
    sheet.time("open", time, Target::Most(most));
    sheet.put(
        "open, records replayed",
        store.recovery().records as f64,
        "",
    );
    sheet.mib("open, read from the disk", read.bytes, Target::None);
    memory.aim(sheet, "after opening");
    let begin = Instant::now();
    store.close()?;
    sheet.time("close", begin.elapsed(), Target::None);
    Ok(())
}

/// Asks random accounts: their INBOX, and the body of the first message in it.
pub(crate) fn cold(args: &Args, sheet: &mut Sheet) -> Result<()> {
    let store = Store::open(args.store(), Options::new().create(false))?;
    let mut times = Times::default();
    let (mut reads, mut faults, mut bytes) = (Vec::new(), Vec::new(), Vec::new());
    let own = Reading::own_calls();
    for account in args.population().sample(args.sample) {
        let (before, begin) = (Reading::now(), Instant::now());
        answer(&store, account)?;
        times.add(begin.elapsed());
        let read = Reading::now().since(before);
        reads.push(read.calls.saturating_sub(own) + read.faults);
        faults.push(read.faults);
        bytes.push(read.bytes);
    }
    sheet.put("accounts asked", times.count() as f64, "");
    sheet.time("list and body, median", times.part(0.5), Target::None);
    sheet.time(
        "list and body, 99 %",
        times.part(0.99),
        Target::Most(ANSWER_MAX),
    );
    sheet.time("list and body, longest", times.longest(), Target::None);
    sheet.put("reads and page faults, median", part(&mut reads, 0.5), "");
    let most = part(&mut reads, 0.99);
    sheet.aim(
        "reads and page faults, 99 %",
        most,
        "",
        Target::Most(READS_MAX),
    );
    sheet.put("page faults, median", part(&mut faults, 0.5), "");
    sheet.put("page faults, 99 %", part(&mut faults, 0.99), "");
    sheet.put(
        "read from the disk, median",
        part(&mut bytes, 0.5) / 1024.0,
        "KiB",
    );
    Memory::now().put(sheet, "after the answers");
    store.close()?;
    Ok(())
}

/// Lists an account's INBOX and reads its first message; how many there are.
pub(crate) fn answer(store: &Store, account: u64) -> Result<usize> {
    let inbox = store.account(&Population::name(account))?.inbox()?;
    let view = inbox.view()?;
    let first = view.at(1).ok_or("an account has lost its message")?;
    let body = view.message(first.uid)?.bytes()?;
    if body.is_empty() {
        return Err("a message is empty".into());
    }
    Ok(view.len())
}

/// The number that this part of all is not above.
fn part(numbers: &mut [u64], part: f64) -> f64 {
    numbers.sort_unstable();
    let at = (numbers.len() as f64 * part).ceil() as usize;
    numbers
        .get(at.saturating_sub(1))
        .map_or(0.0, |number| *number as f64)
}
