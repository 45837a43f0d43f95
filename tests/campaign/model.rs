//! The model store of the property tests: rules of mail over plain maps, and what of a store's numbers was ever shown.

#[allow(dead_code, reason = "the property tests use more of it")]
#[path = "../it/model/ledger.rs"]
mod ledger;
#[allow(dead_code, reason = "the property tests use more of it")]
#[path = "../it/model/mail.rs"]
mod mail;

pub(crate) use self::ledger::Ledger;
pub(crate) use self::mail::{
    Account, Arriving, Mailbox, Now, Ruled, Store as Marking, Token, World,
};
