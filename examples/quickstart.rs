//! Open a store, deliver, list, read, flag, reopen. Run with `cargo run --example quickstart`.

use mailkeep::{Delivery, FlagChange, Flags, Options, Store, UidSet};

const MAIL: &[u8] = b"From: Anna <anna@example.it>\r\nTo: Ben <ben@example.org>\r\n\
    Subject: lunch?\r\nMessage-ID: <1@example.it>\r\n\r\nAt one, as always?\r\n";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Optional: lets this process map the log, so that messages are read without a copy.
    let _ = mailkeep::install_guard();
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("mail");

    // A new store with two accounts. Each has an INBOX.
    let store = Store::open(&path, Options::default())?;
    let anna = store.create_account("anna@example.it")?;
    let ben = store.create_account("ben@example.org")?;
    let sent = anna.create_mailbox("Sent")?;

    // One message for both: its body is written once. After wait() it survives a power cut.
    let to_ben = Delivery::to(&ben.inbox()?);
    let to_sent = Delivery::to(&sent).flags(Flags::SEEN);
    for result in store.deliver(MAIL, [to_ben, to_sent])?.wait()? {
        println!("kept as UID {}", result?.uid);
    }

    // A view is a snapshot with sequence numbers and rows.
    let inbox = ben.inbox()?;
    let view = inbox.view()?;
    for row in view.iter() {
        println!(
            "{:>4} UID {} [{}] {} bytes",
            row.sequence, row.uid, row.flags, row.size
        );
    }

    // Bytes are verified before they are handed out, and not copied.
    let uid = view.at(1).ok_or("an empty mailbox")?.uid;
    let message = view.message(uid)?;
    assert_eq!(&message.bytes()?[..], MAIL);
    println!("{}", String::from_utf8_lossy(&message.header()?));

    // Flags change by UID set.
    let flagged = inbox
        .flag(&UidSet::from(uid), &FlagChange::add(Flags::SEEN), None)?
        .wait()?;
    println!("changed: {}", flagged.changed);

    // Everything is there after reopening.
    store.close()?;
    let store = Store::open(&path, Options::new().create(false))?;
    println!("{}", store.recovery());
    let inbox = store.account("ben@example.org")?.inbox()?;
    assert_eq!(inbox.status()?.counters.unseen, 0);
    println!("{}", store.health());
    Ok(())
}
