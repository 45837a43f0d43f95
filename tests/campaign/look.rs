//! All that a store shows, taken quickly: what two openings are compared by.

use std::fmt::Write;

use crate::model::{Account, World};
use mailkeep::mail::AccountId;
use mailkeep::{Error, Keyword, Result, Store};

/// A store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Look {
    pub(crate) accounts: Vec<AccountLook>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AccountLook {
    pub(crate) name: String,
    pub(crate) id: AccountId,
    subscriptions: Vec<String>,
    pub(crate) mailboxes: Vec<MailboxLook>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MailboxLook {
    pub(crate) name: String,
    pub(crate) id: u32,
    pub(crate) uid_validity: u32,
    pub(crate) uid_next: u32,
    pub(crate) modseq: u64,
    pub(crate) noselect: bool,
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
    /// Whether what is found now is what was shown then, but for numbers that skipped ahead.
    pub(crate) fn is_raised(&self, shown: &Self) -> bool {
        self.raised_as(shown).is_some_and(|raised| raised == *self)
    }

    fn raised_as(&self, shown: &Self) -> Option<Self> {
        let mut raised = shown.clone();
        if self.mailboxes.len() != raised.mailboxes.len() {
            return None;
        }
        for (found, raised) in self.mailboxes.iter().zip(&mut raised.mailboxes) {
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
        Some(raised)
    }

    fn has(&self, shown: &Self) -> bool {
        shown.mailboxes.iter().all(|mailbox| {
            let here = self.mailboxes.iter().find(|here| here.id == mailbox.id);
            here.is_some_and(|here| {
                let same = |row: &RowLook| {
                    let mut rows = here.rows.iter();
                    rows.any(|here| {
                        (here.uid, here.message, here.flags) == (row.uid, row.message, row.flags)
                    })
                };
                here.name == mailbox.name && mailbox.rows.iter().all(same)
            })
        })
    }

    pub(crate) fn holds(&self, model: &Account, numbers: Numbers) -> bool {
        self.mailboxes.len() == model.mailboxes.len()
            && self.subscriptions.iter().eq(&model.subscriptions)
            && self.mailboxes.iter().all(|mailbox| {
                let mut models = model.mailboxes.values();
                let model = models.find(|model| model.name == mailbox.name);
                model.is_some_and(|model| {
                    let rows = mailbox.rows.iter();
                    let skips = numbers == Numbers::NotLess && mailbox.uid_next > model.uid_next;
                    (mailbox.uid_next == model.uid_next || skips)
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

/// In place of a message: the store says that it cannot be read.
pub(crate) const UNREADABLE: usize = usize::MAX;

/// What a store shows. Bytes other than those that were delivered panic, whatever the store says of them.
pub(crate) fn look(store: &Store, messages: &[Vec<u8>]) -> Result<Look> {
    look_with(store, messages, Err)
}

/// The same of a damaged store.
pub(crate) fn look_at_damaged(store: &Store, messages: &[Vec<u8>]) -> Result<Look> {
    look_with(store, messages, |error| match error {
        Error::Damaged { .. } => Ok(UNREADABLE),
        other => Err(other),
    })
}

fn look_with(store: &Store, messages: &[Vec<u8>], refused: Refused) -> Result<Look> {
    let mut names = store.accounts(None, 1000)?;
    names.sort_unstable();
    let accounts = names.iter();
    let accounts = accounts.map(|name| account_look(store, messages, name, refused));
    Ok(Look {
        accounts: accounts.collect::<Result<_>>()?,
    })
}

/// What stands in place of a message that cannot be read.
type Refused = fn(Error) -> Result<usize>;

/// What a store shows of one account.
fn account_look(
    store: &Store,
    messages: &[Vec<u8>],
    name: &str,
    refused: Refused,
) -> Result<AccountLook> {
    let account = store.account(name)?;
    let mut mailboxes = Vec::new();
    for info in account.mailboxes()? {
        let mailbox = account.mailbox(&info.name)?;
        let status = mailbox.status()?;
        let view = mailbox.view()?;
        let mut rows = Vec::with_capacity(view.len());
        for row in view.iter() {
            let bytes = view.message(row.uid).and_then(|message| message.bytes());
            let message = bytes.map(|bytes| known(&bytes, messages));
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
                message: message.or_else(refused)?,
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
        after
            .accounts
            .push(account_look(store, messages, name, Err)?);
        after.accounts.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(after)
    }

    /// Whether all that was shown is there, and perhaps more.
    pub(crate) fn has(&self, shown: &Self) -> bool {
        shown.accounts.iter().all(|account| {
            let here = self.accounts.iter().find(|here| here.id == account.id);
            here.is_some_and(|here| here.name == account.name && here.has(account))
        })
    }

    /// Whether it shows what the model holds; of numbers that a store chooses only their order of size is looked at.
    pub(crate) fn holds(&self, world: &World) -> bool {
        self.holds_but(world, Numbers::Same)
    }

    /// The same, of a store whose UIDNEXTs may differ so.
    pub(crate) fn holds_but(&self, world: &World, numbers: Numbers) -> bool {
        let mut names: Vec<&String> = world.accounts.values().map(|a| &a.name).collect();
        names.sort_unstable();
        let found = self.accounts.iter().map(|account| &account.name);
        names.into_iter().eq(found)
            && self.accounts.iter().all(|account| {
                let model = world
                    .accounts
                    .values()
                    .find(|model| model.name == account.name);
                model.is_some_and(|model| account.holds(model, numbers))
            })
    }

    /// Numbers skipped ahead since the store held `before`: gives the messages that came since, in their order, the UIDs that
    /// they have here.
    pub(crate) fn number(&self, before: &World, world: &mut World) {
        for (token, account) in &mut world.accounts {
            let found = self.accounts.iter().find(|one| one.name == account.name);
            for (at, mailbox) in &mut account.mailboxes {
                let here = found
                    .and_then(|found| found.mailboxes.iter().find(|one| one.name == mailbox.name));
                let Some(here) = here else { continue };
                let known = before.accounts.get(token);
                let known = known.and_then(|account| account.mailboxes.get(at));
                let next = known.map_or(1, |known| known.uid_next);
                let new = mailbox.entries.split_off(&next);
                let rows: Vec<_> = here.rows.iter().filter(|row| row.uid >= next).collect();
                if rows.len() != new.len() {
                    // Not these messages: whoever compares sees it.
                    mailbox.entries.extend(new);
                    continue;
                }
                let new = rows.into_iter().zip(new.into_values());
                let new = new.map(|(row, entry)| (row.uid, entry));
                mailbox.entries.extend(new);
                mailbox.uid_next = mailbox.uid_next.max(here.uid_next);
            }
        }
    }

    /// `shown`, with the numbers of this one where these are greater; `None` where the two are not alike.
    fn raised_as(&self, shown: &Self) -> Option<Self> {
        if self.accounts.len() != shown.accounts.len() {
            return None;
        }
        let accounts = self.accounts.iter().zip(&shown.accounts);
        let accounts = accounts.map(|(found, shown)| found.raised_as(shown));
        Some(Self {
            accounts: accounts.collect::<Option<_>>()?,
        })
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
