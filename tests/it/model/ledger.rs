//! Holds a store against the model: everything that can be seen, and which number stands for which token.

use std::collections::BTreeMap;

use mailkeep::mail::AccountId;
use mailkeep::{Flags, Mailbox as Handle, Store, View};

use super::mail::{Account, DELETED, Entry, Mailbox, SEEN, Token, World};

/// The store's number of each token of one kind.
#[derive(Clone, Debug, Default)]
struct Numbers {
    known: BTreeMap<Token, u64>,
}

impl Numbers {
    /// A number stands for one token for ever; later tokens have greater numbers; 0 is none.
    fn rising(&mut self, what: &str, token: Token, number: u64) -> Result<(), String> {
        let before = self.known.range(..token).next_back();
        let after = self.known.range(token + 1..).next();
        let known = self.known.get(&token);
        let fits = known.is_none_or(|known| *known == number)
            && before.is_none_or(|(_, before)| *before < number)
            && after.is_none_or(|(_, after)| *after > number)
            && number != 0;
        let found = format!("{what} {number} for token {token}: {known:?}, {before:?}, {after:?}");
        same(&found, fits, true)?;
        self.known.insert(token, number);
        Ok(())
    }
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: T, expected: T) -> Result<(), String> {
    if found == expected {
        Ok(())
    } else {
        Err(format!("{what}: found {found:?}, expected {expected:?}"))
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct AccountNumbers {
    id: Option<AccountId>,
    mailboxes: Numbers,
    uid_validities: Numbers,
    modseqs: Numbers,
    emails: Numbers,
    /// Whether a fence may have been logged: a rename then may give a fresh UIDVALIDITY though none is known to be due.
    fenced: bool,
}

/// All that was ever shown.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    accounts: BTreeMap<Token, AccountNumbers>,
    /// By account name and mailbox name: the greatest UIDVALIDITY ever shown, and whose it was.
    names: BTreeMap<(String, String), (u32, AccountId, u32)>,
    fenced: bool,
}

impl Ledger {
    /// What was shown as `Written` and lost by a power cut: tokens above `mark` stand for nothing any more.
    pub(crate) fn forget_above(&mut self, mark: Token) {
        self.accounts.retain(|token, _| *token <= mark);
        for account in self.accounts.values_mut() {
            let kinds = [
                &mut account.mailboxes,
                &mut account.uid_validities,
                &mut account.modseqs,
                &mut account.emails,
            ];
            for numbers in kinds {
                numbers.known.retain(|token, _| *token <= mark);
            }
        }
        self.names.clear();
        self.fenced = true;
    }

    pub(crate) fn account(&mut self, account: Token) -> &mut AccountNumbers {
        let numbers = self.accounts.entry(account).or_default();
        numbers.fenced = self.fenced;
        numbers
    }

    /// Everything that the store shows.
    pub(crate) fn check(
        &mut self,
        store: &Store,
        world: &World,
        messages: &[Vec<u8>],
    ) -> Result<(), String> {
        let mut names: Vec<_> = world.accounts.values().map(|a| a.name.clone()).collect();
        names.sort();
        let mut listed = store.accounts(None, 100).map_err(|e| e.to_string())?;
        listed.sort();
        same("accounts", listed, names)?;
        for (token, expected) in &world.accounts {
            let account = store.account(&expected.name).map_err(|e| e.to_string())?;
            let numbers = self.accounts.entry(*token).or_default();
            let id = *numbers.id.get_or_insert(account.id());
            same("account id", account.id(), id)?;
            same("account name", account.name(), expected.name.clone())?;
            same(
                "subscriptions",
                account.subscriptions().unwrap(),
                expected.subscriptions.iter().cloned().collect(),
            )?;
            self.check_mailboxes(*token, &account, expected, messages)?;
        }
        Ok(())
    }

    fn check_mailboxes(
        &mut self,
        token: Token,
        account: &mailkeep::Account,
        expected: &Account,
        messages: &[Vec<u8>],
    ) -> Result<(), String> {
        let infos = account.mailboxes().unwrap();
        let mut names: Vec<_> = expected
            .mailboxes
            .values()
            .map(|m| m.name.clone())
            .collect();
        names.sort_by(|a, b| a.split('/').cmp(b.split('/')));
        let found: Vec<_> = infos.iter().map(|info| info.name.clone()).collect();
        same("mailboxes", found, names)?;
        for (mailbox, model) in &expected.mailboxes {
            let handle = account.mailbox(&model.name).map_err(|e| e.to_string())?;
            let info = infos.iter().find(|info| info.name == model.name);
            let info = info.ok_or("a mailbox is not listed")?;
            same("listed id", info.id, handle.id())?;
            same(
                "name",
                handle.name().map_err(|e| e.to_string())?,
                model.name.clone(),
            )?;
            let subscribed = expected.subscriptions.contains(&model.name);
            same("subscribed", info.subscribed, subscribed)?;
            same("listed noselect", info.noselect, model.noselect)?;
            let numbers = self.account(token);
            let id = handle.id().get().into();
            numbers.mailboxes.rising("MAILBOXID", *mailbox, id)?;
            let status = handle.status().map_err(|e| e.to_string())?;
            same("listed counters", info.counters, status.counters)?;
            numbers
                .check_mailbox(&handle, model, messages)
                .map_err(|why| format!("{} of {}: {why}", model.name, expected.name))?;
            self.check_name(account, &handle, model, status.uid_validity.get())?;
        }
        Ok(())
    }

    /// RFC 9051 2.3.1.1: another mailbox of a name that was there before has a greater UIDVALIDITY.
    fn check_name(
        &mut self,
        account: &mailkeep::Account,
        handle: &Handle,
        model: &Mailbox,
        uid_validity: u32,
    ) -> Result<(), String> {
        let now = (uid_validity, account.id(), handle.id().get());
        let name = (account.name(), model.name.clone());
        if let Some(before) = self.names.get(&name)
            && *before != now
            && before.0 >= uid_validity
        {
            return Err(format!("{name:?} was {before:?}, is {now:?}"));
        }
        self.names.insert(name, now);
        Ok(())
    }

    /// A view that was taken when the mailbox was as `model` says.
    pub(crate) fn check_view(
        &mut self,
        account: Token,
        view: &View,
        model: &Mailbox,
        messages: &[Vec<u8>],
    ) -> Result<(), String> {
        self.account(account).check_view(view, model, messages)
    }
}

impl AccountNumbers {
    pub(crate) fn modseq(&self, token: Token) -> Option<u64> {
        self.modseqs.known.get(&token).copied()
    }

    pub(crate) fn known_uid_validity(&self, token: Token) -> Option<u64> {
        self.uid_validities.known.get(&token).copied()
    }

    pub(crate) fn check_delivered(
        &mut self,
        delivered: &mailkeep::Delivered,
        uid: u32,
        uid_validity: Token,
        modseq: Token,
        email: Token,
    ) -> Result<(), String> {
        same("UID", delivered.uid.get(), uid)?;
        self.uid_validity(uid_validity, delivered.uid_validity.get())?;
        self.check_modseq(modseq, delivered.modseq.get())?;
        self.emails.rising("EMAILID", email, delivered.email.get())
    }

    pub(crate) fn uid_validity(&mut self, token: Token, number: u32) -> Result<(), String> {
        if self.fenced {
            let known = self.uid_validities.known.entry(token).or_default();
            let rises = *known <= number.into();
            *known = number.into();
            return same("UIDVALIDITY does not fall", rises, true);
        }
        self.uid_validities
            .rising("UIDVALIDITY", token, number.into())
    }

    pub(crate) fn check_modseq(&mut self, token: Token, number: u64) -> Result<(), String> {
        self.modseqs.rising("MODSEQ", token, number)
    }

    fn check_mailbox(
        &mut self,
        handle: &Handle,
        model: &Mailbox,
        messages: &[Vec<u8>],
    ) -> Result<(), String> {
        let status = handle.status().map_err(|e| e.to_string())?;
        self.uid_validity(model.uid_validity, status.uid_validity.get())?;
        same(
            "UIDNEXT",
            status.uid_next.map(|uid| uid.get()),
            Some(model.uid_next),
        )?;
        self.check_modseq(model.modseq, status.highest_modseq.get())?;
        same("noselect", status.properties.noselect, model.noselect)?;
        same("sort order", status.properties.sort_order, model.sort_order)?;
        let view = handle.view().map_err(|e| e.to_string())?;
        same("counters of the view", view.counters(), status.counters)?;
        self.check_view(&view, model, messages)
    }

    fn check_view(
        &mut self,
        view: &View,
        model: &Mailbox,
        messages: &[Vec<u8>],
    ) -> Result<(), String> {
        same("name of the view", view.name(), model.name.as_str())?;
        same("length", view.len(), model.entries.len())?;
        self.uid_validity(model.uid_validity, view.uid_validity().get())?;
        self.check_modseq(model.modseq, view.highest_modseq().get())?;
        check_counters(view, model, messages)?;
        check_selections(view, model)?;
        let mut expected = model.entries.iter();
        for (row, sequence) in view.iter().zip(1..) {
            let (uid, entry) = expected.next().ok_or("a row too many")?;
            same("sequence number", row.sequence, sequence)?;
            same("UID", row.uid.get(), *uid)?;
            same("the row by UID", view.row(row.uid), Some(row))?;
            same("the row by number", view.at(sequence), Some(row))?;
            self.check_row(&row, entry, &messages[entry.message])
                .map_err(|why| format!("UID {uid}: {why}"))?;
            let message = view.message(row.uid).map_err(|e| e.to_string())?;
            check_message(&message, &messages[entry.message])?;
        }
        check_columns(view)
    }

    fn check_row(
        &mut self,
        row: &mailkeep::Row<'_>,
        entry: &Entry,
        message: &[u8],
    ) -> Result<(), String> {
        same("flags", row.flags.bits(), entry.flags)?;
        let keywords: Vec<&str> = row
            .keywords
            .iter()
            .map(|keyword| keyword.as_str())
            .collect();
        same(
            "keywords",
            keywords,
            entry.keywords.iter().map(String::as_str).collect(),
        )?;
        self.check_modseq(entry.modseq, row.modseq.get())?;
        self.check_modseq(entry.created, row.created.get())?;
        self.emails
            .rising("EMAILID", entry.email, row.email.get())?;
        let date = (
            row.internal_date.seconds(),
            row.internal_date.zone_minutes(),
        );
        same("INTERNALDATE", date, entry.date)?;
        same("SAVEDATE", row.save_date, entry.save_date)?;
        same("RFC822.SIZE", row.size, wire_size(message))?;
        same("length", row.raw_len as usize, message.len())
    }
}

/// Length with CRLF line ends.
pub(crate) fn wire_size(message: &[u8]) -> u64 {
    let bare = message
        .iter()
        .enumerate()
        .filter(|(at, byte)| **byte == b'\n' && (*at == 0 || message[at - 1] != b'\r'));
    message.len() as u64 + bare.count() as u64
}

fn check_counters(view: &View, model: &Mailbox, messages: &[Vec<u8>]) -> Result<(), String> {
    let count = |wanted: fn(&Entry) -> bool| {
        let chosen: Vec<_> = model
            .entries
            .values()
            .filter(|entry| wanted(entry))
            .collect();
        let bytes: u64 = chosen
            .iter()
            .map(|entry| wire_size(&messages[entry.message]))
            .sum();
        (chosen.len() as u64, bytes)
    };
    let counters = view.counters();
    same(
        "messages",
        (counters.messages, counters.bytes),
        count(|_| true),
    )?;
    let deleted = count(|entry| entry.flags & DELETED != 0);
    same(
        "deleted",
        (counters.deleted, counters.deleted_bytes),
        deleted,
    )?;
    same(
        "unseen",
        counters.unseen,
        count(|entry| entry.flags & SEEN == 0).0,
    )
}

fn check_selections(view: &View, model: &Mailbox) -> Result<(), String> {
    let of = |wanted: &dyn Fn(u16) -> bool| -> Vec<u32> {
        let chosen = model
            .entries
            .iter()
            .filter(|(_, entry)| wanted(entry.flags));
        chosen.map(|(uid, _)| *uid).collect()
    };
    let plain = |set: mailkeep::UidSet| -> Vec<u32> { set.iter().map(|uid| uid.get()).collect() };
    same("uids", plain(view.uids()), of(&|_| true))?;
    same(
        "unseen",
        plain(view.unseen()),
        of(&|flags| flags & SEEN == 0),
    )?;
    let both = Flags::SEEN | Flags::DELETED;
    let wanted = SEEN | DELETED;
    same(
        "with flags",
        plain(view.with_flags(both)),
        of(&|flags| flags & wanted == wanted),
    )
}

/// The columns say what the rows say.
fn check_columns(view: &View) -> Result<(), String> {
    let mut rows = view.iter();
    for columns in view.columns() {
        for at in 0..columns.uid().len() {
            let row = rows.next().ok_or("a column is longer than the rows")?;
            same("uid column", columns.uid()[at], row.uid.get())?;
            same("flags column", columns.flags()[at], row.flags)?;
            let modseq = columns.modseq()[at].max(view.modseq_floor());
            same("modseq column", modseq, row.modseq.get())?;
            same(
                "date column",
                columns.internal_date()[at],
                row.internal_date.seconds(),
            )?;
            same("size column", columns.size()[at], row.size)?;
            same("email column", columns.email()[at], row.email.get())?;
        }
    }
    same("rows without columns", rows.count(), 0)
}

fn check_message(message: &mailkeep::Message, expected: &[u8]) -> Result<(), String> {
    let bytes = message.bytes().map_err(|e| e.to_string())?;
    same("bytes", &bytes[..] == expected, true)?;
    let digest = message.digest().map_err(|e| e.to_string())?;
    same(
        "digest",
        digest.as_bytes(),
        blake3::hash(expected).as_bytes(),
    )
}
