//! All that a store shows, taken quickly: what two openings are compared by.

use std::fmt::Write;

use crate::model::{Account, World};
use mailkeep::mail::AccountId;
use mailkeep::{Keyword, Result, Store};

/// A store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Look {
    pub(crate) accounts: Vec<AccountLook>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AccountLook {
    pub(crate) name: String,
    id: AccountId,
    subscriptions: Vec<String>,
    pub(crate) mailboxes: Vec<MailboxLook>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MailboxLook {
    pub(crate) name: String,
    id: u32,
    pub(crate) uid_validity: u32,
    pub(crate) uid_next: u32,
    pub(crate) modseq: u64,
    noselect: bool,
    sort_order: u32,
    pub(crate) rows: Vec<RowLook>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RowLook {
    pub(crate) uid: u32,
    flags: u16,
    keywords: Vec<Keyword>,
    modseq: u64,
    created: u64,
    email: u64,
    date: (i64, i16),
    save_date: i64,
    size: u64,
    /// Which message it is; its bytes were compared.
    pub(crate) message: usize,
}

impl AccountLook {
    fn holds(&self, model: &Account) -> bool {
        self.mailboxes.len() == model.mailboxes.len()
            && self.subscriptions.iter().eq(&model.subscriptions)
            && self.mailboxes.iter().all(|mailbox| {
                let mut models = model.mailboxes.values();
                let model = models.find(|model| model.name == mailbox.name);
                model.is_some_and(|model| {
                    let rows = mailbox.rows.iter();
                    mailbox.uid_next == model.uid_next
                        && mailbox.sort_order == model.sort_order
                        && mailbox.rows.len() == model.entries.len()
                        && rows.zip(&model.entries).all(|(row, (uid, entry))| {
                            let keywords = row.keywords.iter().map(Keyword::as_str);
                            row.uid == *uid
                                && row.message == entry.message
                                && row.flags == entry.flags
                                && keywords.eq(entry.keywords.iter().map(String::as_str))
                        })
                })
            })
    }
}

/// A message like no other. Its number stands in its first line, so that whoever reads it knows what it must be.
pub(crate) fn message(number: usize, len: usize) -> Vec<u8> {
    let mut text = format!("Subject: {number:06}\r\n").into_bytes();
    let mut dice = crate::dice::Dice::new(number as u64);
    while text.len() < len {
        text.extend(dice.next().to_le_bytes());
    }
    text.truncate(len.max(17));
    text
}

/// What a store shows. Bytes other than those that were delivered panic, whatever the store says of them.
pub(crate) fn look(store: &Store, messages: &[Vec<u8>]) -> Result<Look> {
    let mut names = store.accounts(None, 1000)?;
    names.sort_unstable();
    let accounts = names.iter().map(|name| account_look(store, messages, name));
    Ok(Look {
        accounts: accounts.collect::<Result<_>>()?,
    })
}

/// What a store shows of one account.
pub(crate) fn account_look(store: &Store, messages: &[Vec<u8>], name: &str) -> Result<AccountLook> {
    let account = store.account(name)?;
    let mut mailboxes = Vec::new();
    for info in account.mailboxes()? {
        let mailbox = account.mailbox(&info.name)?;
        let status = mailbox.status()?;
        let view = mailbox.view()?;
        let mut rows = Vec::with_capacity(view.len());
        for row in view.iter() {
            let bytes = view.message(row.uid)?.bytes()?;
            rows.push(RowLook {
                uid: row.uid.get(),
                flags: row.flags.bits(),
                keywords: row.keywords.to_vec(),
                modseq: row.modseq.get(),
                created: row.created.get(),
                email: row.email.get(),
                date: (
                    row.internal_date.seconds(),
                    row.internal_date.zone_minutes(),
                ),
                save_date: row.save_date,
                size: row.size,
                message: known(&bytes, messages),
            });
        }
        mailboxes.push(MailboxLook {
            name: info.name,
            id: info.id.get(),
            uid_validity: status.uid_validity.get(),
            uid_next: status.uid_next.map_or(u32::MAX, mailkeep::Uid::get),
            modseq: status.highest_modseq.get(),
            noselect: status.properties.noselect,
            sort_order: status.properties.sort_order,
            rows,
        });
    }
    Ok(AccountLook {
        id: account.id(),
        subscriptions: account.subscriptions()?,
        name: name.to_owned(),
        mailboxes,
    })
}

/// Which of the messages this is.
pub(crate) fn known(bytes: &[u8], messages: &[Vec<u8>]) -> usize {
    let digits = bytes
        .get(9..15)
        .and_then(|digits| std::str::from_utf8(digits).ok());
    let number = digits.and_then(|digits| digits.parse().ok());
    let number: usize = number.expect("the bytes of a message that was delivered");
    assert!(
        messages[number] == bytes,
        "wrong bytes for message {number}"
    );
    number
}

/// How the UIDNEXTs and MODSEQs of a store may differ from those that were shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Numbers {
    Same,
    /// They may have skipped ahead: what gave some out was only written, and is lost.
    NotLess,
}

impl Look {
    /// Whether what is found now is what was shown then.
    pub(crate) fn is(&self, shown: &Self, numbers: Numbers) -> bool {
        self == shown
            || numbers == Numbers::NotLess && {
                let raised = self.raised_as(shown);
                raised.is_some_and(|raised| raised == *self)
            }
    }

    /// What a store shows that showed this, and in which only that account was changed since.
    pub(crate) fn after(&self, store: &Store, messages: &[Vec<u8>], name: &str) -> Result<Self> {
        let mut after = self.clone();
        after.accounts.retain(|account| account.name != name);
        after.accounts.push(account_look(store, messages, name)?);
        after.accounts.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(after)
    }

    /// Whether it shows what the model holds; of numbers that a store chooses only their order of size is looked at.
    pub(crate) fn holds(&self, world: &World) -> bool {
        let mut names: Vec<&String> = world.accounts.values().map(|a| &a.name).collect();
        names.sort_unstable();
        let found = self.accounts.iter().map(|account| &account.name);
        names.into_iter().eq(found)
            && self.accounts.iter().all(|account| {
                let model = world
                    .accounts
                    .values()
                    .find(|model| model.name == account.name);
                model.is_some_and(|model| account.holds(model))
            })
    }

    /// `shown`, with the numbers of this one where these are greater; `None` where the two are not alike.
    fn raised_as(&self, shown: &Self) -> Option<Self> {
        let mut raised = shown.clone();
        let alike = self.accounts.len() == shown.accounts.len();
        for (found, raised) in self.accounts.iter().zip(&mut raised.accounts) {
            if found.mailboxes.len() != raised.mailboxes.len() {
                return None;
            }
            for (found, raised) in found.mailboxes.iter().zip(&mut raised.mailboxes) {
                raised.uid_next = raised.uid_next.max(found.uid_next);
                raised.modseq = raised.modseq.max(found.modseq);
                if found.rows.len() != raised.rows.len() {
                    return None;
                }
                for (found, raised) in found.rows.iter().zip(&mut raised.rows) {
                    raised.modseq = raised.modseq.max(found.modseq);
                    raised.created = raised.created.max(found.created);
                }
            }
        }
        alike.then_some(raised)
    }

    /// What is different, for people.
    pub(crate) fn against(&self, shown: &Self) -> String {
        let (found, shown) = (self.lines(), shown.lines());
        let mut text = String::new();
        for line in found.iter().filter(|line| !shown.contains(line)) {
            writeln!(text, "+ {line}").unwrap();
        }
        for line in shown.iter().filter(|line| !found.contains(line)) {
            writeln!(text, "- {line}").unwrap();
        }
        text
    }

    fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for account in &self.accounts {
            let (name, subscriptions) = (&account.name, &account.subscriptions);
            lines.push(format!("{name} {:?} {subscriptions:?}", account.id));
            for mailbox in &account.mailboxes {
                let mut head = mailbox.clone();
                head.rows.clear();
                lines.push(format!("{name}: {head:?}"));
                let rows = mailbox.rows.iter();
                lines.extend(rows.map(|row| format!("{name}: {}: {row:?}", mailbox.name)));
            }
        }
        lines
    }
}
