//! Record numbers that lie far apart: burned ones hide no others.

use super::sim::{Call, Fault, Sim};
use super::{Scribe, account, open, options};
use crate::format::record;
use crate::log::{Log, NewRecord};
use crate::options::Durability;

/// Burns `count` numbers: the batch that has them finds no room on the disk.
fn burn(sim: &Sim, log: &Log, count: usize) {
    sim.set_space(Some(0));
    let joined = log.join(Durability::Durable, &[], |group| {
        for _ in 0..count {
            let record = NewRecord {
                account: account(0),
                mailbox: 1,
                modseq: 1,
                previous: 0,
                change: &mut crate::format::change::Change::DeleteMailbox,
            };
            group.push(record, None);
        }
    });
    let (batch, ()) = joined.unwrap().unwrap();
    let error = log.shared.wait(batch).unwrap_err();
    assert!(error.is_retryable(), "{error:?}");
    sim.set_space(None);
}

/// Goal: what lies behind burned numbers is found where only the batches say where it is, be they more numbers than the
/// file has room for as records.
#[test]
fn burned_numbers_hide_nothing() {
    let sim = Sim::new();
    // No segment gets a footer.
    sim.set_fault(Some(Fault::from(&[Call::SetLen], 0)));
    let opened = open(&sim, options(0), None).unwrap();
    let mut scribe = Scribe::new(3);
    let small = |scribe: &mut Scribe| scribe.write(&opened.log, Durability::Durable, 10);
    small(&mut scribe);
    burn(&sim, &opened.log, 3000);
    small(&mut scribe);
    assert_eq!(opened.log.segments().len(), 1);
    while opened.log.segments().len() < 3 {
        scribe.write(&opened.log, Durability::Durable, 4000);
    }
    let position = opened.log.position().unwrap().unwrap();
    let segments = opened.log.segments();
    assert!(!segments[0].sealed && segments[0].len / (record::HEADER as u64) < 3000);
    drop(opened);
    let opened = open(&sim, options(1), Some(&position)).unwrap();
    assert!(opened.log.fitted());
    scribe.check(&opened.log);
}
