//! Names of accounts that change hands while a commit fails.

use std::io;
use std::sync::Arc;

use mailkeep::{Error, Result, Store};

use super::gate::{Gate, GatedHost, on};
use crate::kit::{deliver, options};
use crate::seam::Seam;
use crate::sim::{Call, Sim, SimHost};

/// How "anna" loses the name, and how somebody else takes it.
type Change = fn(&Store) -> Result<()>;

const FREE: [Change; 2] = [
    |store| store.account("anna")?.delete(),
    |store| store.account("anna")?.rename("carla"),
];
const TAKE: [Change; 2] = [
    |store| store.create_account("anna").map(|_| ()),
    |store| store.account("bruno")?.rename("anna"),
];

/// Goal: who plans to take a name that is free only because of a change under way gets it only if that change is made:
/// else two accounts have one name, and the mail of the first is found no more.
#[test]
fn a_name_is_taken_only_if_it_was_freed() {
    for (free, take) in FREE.iter().flat_map(|free| TAKE.map(|take| (free, take))) {
        let (write, clock) = (Gate::of("freer"), Gate::of("taker"));
        let sim = Sim::new();
        let at_write = Arc::clone(&write.gate);
        let disk = Seam::over(sim.storage(), move |call, _| {
            if call == Call::Write && at_write.is_here() {
                at_write.pass();
                return Err(io::Error::from_raw_os_error(28));
            }
            Ok(())
        });
        let host = GatedHost {
            host: SimHost::new(1_700_000_000_000, 1),
            gate: Arc::clone(&clock.gate),
        };
        let store = Store::open_on(disk, options(1).host(Arc::new(host))).unwrap();
        deliver(&store, 1, 100).unwrap();
        store.create_account("bruno").unwrap();
        let id = store.account("anna").unwrap().id();
        std::thread::scope(|scope| {
            let freed = on(scope, "freer", || free(&store));
            write.await_arrival();
            let taken = on(scope, "taker", || take(&store));
            clock.await_arrival();
            write.open();
            let freed = freed.join().unwrap();
            assert!(matches!(freed, Err(Error::NoSpace { .. })), "{freed:?}");
            clock.open();
            let taken = taken.join().unwrap();
            assert!(
                matches!(taken, Err(Error::AccountExists { .. })),
                "{taken:?}"
            );
        });
        let anna = store.account("anna").unwrap();
        assert_eq!(anna.id(), id);
        assert_eq!(anna.inbox().unwrap().view().unwrap().len(), 1);
        // And given when it is free.
        free(&store).unwrap();
        take(&store).unwrap();
        assert_ne!(store.account("anna").unwrap().id(), id);
    }
}
