// The model of the crate's own property tests, and programs for it made of raw bytes.

#[path = "../../tests/it/model/ledger.rs"]
mod ledger;
#[path = "../../tests/it/model/mail.rs"]
mod mail;
#[path = "../../tests/it/model/op.rs"]
mod op;
#[path = "../../tests/it/model/program.rs"]
mod program;
#[path = "../../tests/it/model/resolve.rs"]
mod resolve;
#[path = "../../tests/it/model/run.rs"]
mod run;

pub(crate) use self::program::run_bytes;
