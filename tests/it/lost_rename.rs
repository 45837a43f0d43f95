//! The record that gave an account its name is damaged, and the index still knows the name: mail for it is not refused.

use mailkeep::format::SECTOR;
use mailkeep::{Accepted, Delivery, Recipient};

use crate::kit::{message, open, options};
use crate::sim::Sim;

/// Goal: whichever sector of the log is lost, an account that is found by its name when the store is opened is found by it
/// after it was loaded, and mail by name is delivered to it.
/// Fails when: what is left of the records has an older name, and that one is believed.
#[test]
fn an_account_keeps_the_name_that_the_index_knows() {
    let plain = |run| options(run).chain_max(1000).cache_bytes(64 << 20);
    let sim = Sim::new();
    let store = open(&sim, plain(0)).unwrap();
    let account = store.create_account("anna").unwrap();
    for seed in 0..3 {
        let to = [Delivery::to(&account.inbox().unwrap())];
        let kept = store.deliver(message(seed, 700), to).unwrap();
        kept.wait().unwrap().remove(0).unwrap();
    }
    account.rename("berta").unwrap();
    account.create_mailbox("Lists").unwrap();
    store.close().unwrap();
    let files = sim.files();
    let name = files.keys().find(|name| name.ends_with(".seg")).unwrap();
    let written = files[name].iter().rposition(|byte| *byte != 0).unwrap();
    let mut lost = 0;
    for sector in 8..=written / SECTOR {
        let sim = Sim::from_files(files.clone());
        sim.zero_sector(name, sector);
        let store = open(&sim, plain(1)).unwrap();
        let Ok(account) = store.account("berta") else {
            continue;
        };
        account.mailboxes().unwrap();
        lost += store.health().lost_records;
        assert!(store.account("berta").is_ok(), "sector {sector}");
        let to = [Recipient::new("berta", "INBOX")];
        let kept = store.deliver_to(message(9, 300), to).unwrap();
        let kept = kept.wait().unwrap().remove(0);
        assert!(
            matches!(kept, Ok(Accepted::Delivered(_))),
            "sector {sector}: {kept:?}"
        );
    }
    assert!(lost > 3, "{lost} records were lost");
}
