//! The rules of mail over plain maps, written from the RFCs. Nothing of the store is used here.
//!
//! What a store may choose freely (ids, UIDVALIDITY, MODSEQ) is a token, a number that only means "this one, and
//! later than those below it". The ledger holds a store's numbers against them.

use std::collections::{BTreeMap, BTreeSet};

/// Something that the store numbers as it likes.
pub(crate) type Token = u64;

/// Why a call is refused, by kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    NoSuchAccount,
    AccountExists,
    NoSuchMailbox,
    MailboxExists,
    NotAllowed,
    HasChildren,
    InvalidName,
    Other,
}

pub(crate) type Ruled<T> = Result<T, Refusal>;

/// `\Seen` and `\Deleted` among the bits of the flags.
pub(crate) const SEEN: u16 = 1;
pub(crate) const DELETED: u16 = 8;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) message: usize,
    pub(crate) flags: u16,
    pub(crate) keywords: BTreeSet<String>,
    pub(crate) modseq: Token,
    pub(crate) created: Token,
    pub(crate) email: Token,
    pub(crate) date: (i64, i16),
    pub(crate) save_date: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mailbox {
    pub(crate) name: String,
    pub(crate) uid_validity: Token,
    pub(crate) uid_next: u32,
    pub(crate) modseq: Token,
    pub(crate) noselect: bool,
    pub(crate) sort_order: u32,
    pub(crate) entries: BTreeMap<u32, Entry>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) name: String,
    pub(crate) mailboxes: BTreeMap<Token, Mailbox>,
    pub(crate) subscriptions: BTreeSet<String>,
    /// Names that mailboxes had, with the last UIDVALIDITY they had under them.
    past: BTreeMap<String, Token>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct World {
    pub(crate) accounts: BTreeMap<Token, Account>,
}

/// What a call does besides: the time it happens, and where tokens come from.
#[derive(Debug)]
pub(crate) struct Now<'a> {
    pub(crate) seconds: i64,
    pub(crate) tokens: &'a mut Token,
}

impl Now<'_> {
    fn token(&mut self) -> Token {
        *self.tokens += 1;
        *self.tokens
    }
}

/// How a message comes.
#[derive(Clone, Debug)]
pub(crate) struct Arriving {
    pub(crate) message: usize,
    pub(crate) flags: u16,
    pub(crate) keywords: BTreeSet<String>,
    pub(crate) date: Option<(i64, i16)>,
}

/// A change of flags as RFC 9051 6.4.6 has it.
#[derive(Clone, Debug)]
pub(crate) enum Store {
    Add(u16, BTreeSet<String>),
    Remove(u16, BTreeSet<String>),
    Replace(u16, BTreeSet<String>),
}

/// What a call returns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Delivered {
        uid: u32,
        uid_validity: Token,
        modseq: Token,
        email: Token,
    },
    Flagged {
        changed: BTreeSet<u32>,
        modified: BTreeSet<u32>,
        modseq: Option<Token>,
    },
    Transferred {
        uid_validity: Option<Token>,
        pairs: Vec<(u32, u32)>,
    },
    Expunged(BTreeSet<u32>),
    Done,
}

impl World {
    pub(crate) fn by_name(&self, name: &str) -> Ruled<Token> {
        let mut all = self.accounts.iter();
        all.find(|(_, account)| account.name == name)
            .map(|(token, _)| *token)
            .ok_or(Refusal::NoSuchAccount)
    }

    pub(crate) fn create_account(&mut self, name: &str, now: &mut Now<'_>) -> Ruled<()> {
        if self.by_name(name).is_ok() {
            return Err(Refusal::AccountExists);
        }
        let mut account = Account {
            name: name.into(),
            ..Account::default()
        };
        let token = now.token();
        account.create("INBOX", false, now)?;
        self.accounts.insert(token, account);
        Ok(())
    }

    pub(crate) fn rename_account(&mut self, account: Token, to: &str) -> Ruled<()> {
        match self.by_name(to) {
            Ok(holder) if holder != account => Err(Refusal::AccountExists),
            _ => {
                self.account(account)?.name = to.into();
                Ok(())
            }
        }
    }

    pub(crate) fn account(&mut self, account: Token) -> Ruled<&mut Account> {
        self.accounts
            .get_mut(&account)
            .ok_or(Refusal::NoSuchAccount)
    }

    /// RFC 2033 4.2: each recipient has an answer of its own.
    pub(crate) fn deliver(
        &mut self,
        to: &[(Token, Token, Arriving)],
        now: &mut Now<'_>,
    ) -> Vec<Ruled<Answer>> {
        let mut emails = BTreeMap::new();
        let mut answers = Vec::new();
        for (account, mailbox, arriving) in to {
            let known = emails.get(account).copied();
            let answer = self
                .account(*account)
                .map_err(|_| Refusal::NoSuchMailbox)
                .and_then(|account| account.append(*mailbox, arriving, known, now));
            if let Ok(Answer::Delivered { email, .. }) = answer {
                emails.entry(*account).or_insert(email);
            }
            answers.push(answer);
        }
        answers
    }
}

impl Account {
    pub(crate) fn find(&self, name: &str) -> Ruled<Token> {
        let mut all = self.mailboxes.iter();
        all.find(|(_, mailbox)| mailbox.name == name)
            .map(|(token, _)| *token)
            .ok_or(Refusal::NoSuchMailbox)
    }

    fn mailbox(&mut self, mailbox: Token) -> Ruled<&mut Mailbox> {
        self.mailboxes
            .get_mut(&mailbox)
            .ok_or(Refusal::NoSuchMailbox)
    }

    /// The mailboxes below a name, nearer ones first.
    fn below(&self, name: &str) -> Vec<Token> {
        let prefix = format!("{name}/");
        let mut found: Vec<_> = self
            .mailboxes
            .iter()
            .filter(|(_, mailbox)| mailbox.name.starts_with(&prefix))
            .map(|(token, mailbox)| (mailbox.name.matches('/').count(), *token))
            .collect();
        found.sort_unstable();
        found.into_iter().map(|(_, token)| token).collect()
    }

    /// RFC 9051 6.3.4: superior names are created where they are missing.
    pub(crate) fn create(&mut self, name: &str, noselect: bool, now: &mut Now<'_>) -> Ruled<Token> {
        if self.find(name).is_ok() {
            return Err(Refusal::MailboxExists);
        }
        self.create_above(name, now);
        Ok(self.create_one(name, noselect, now))
    }

    fn create_above(&mut self, name: &str, now: &mut Now<'_>) {
        for (at, _) in name.match_indices('/') {
            if self.find(&name[..at]).is_err() {
                self.create_one(&name[..at], false, now);
            }
        }
    }

    fn create_one(&mut self, name: &str, noselect: bool, now: &mut Now<'_>) -> Token {
        let token = now.token();
        let mailbox = Mailbox {
            name: name.into(),
            uid_validity: token,
            uid_next: 1,
            modseq: token,
            noselect,
            sort_order: 0,
            entries: BTreeMap::new(),
        };
        self.mailboxes.insert(token, mailbox);
        token
    }

    /// RFC 9051 6.3.6.
    pub(crate) fn rename(&mut self, from: &str, to: &str, now: &mut Now<'_>) -> Ruled<()> {
        let token = self.find(from)?;
        if self.find(to).is_ok() {
            return Err(Refusal::MailboxExists);
        }
        if from == "INBOX" {
            let destination = self.create(to, false, now)?;
            let all: BTreeSet<u32> = self.mailbox(token)?.entries.keys().copied().collect();
            self.transfer(token, &all, destination, true, now)?;
            return Ok(());
        }
        if to.starts_with(&format!("{from}/")) {
            return Err(Refusal::NotAllowed);
        }
        self.create_above(to, now);
        let mut renamed = vec![token];
        renamed.extend(self.below(from));
        let modseq = now.token();
        for each in renamed {
            let old = self.mailbox(each)?.name.clone();
            let new = format!("{to}{}", &old[from.len()..]);
            let past = self.past.get(&new).copied();
            let present = self.mailbox(each)?.uid_validity;
            self.remember(&old, present);
            if past.is_some_and(|past| past >= present) {
                self.mailbox(each)?.uid_validity = now.token();
            }
            self.mailbox(each)?.name = new;
        }
        self.mailbox(token)?.modseq = modseq;
        Ok(())
    }

    fn remember(&mut self, name: &str, uid_validity: Token) {
        let most = self.past.entry(name.into()).or_default();
        *most = uid_validity.max(*most);
    }

    /// RFC 9051 6.3.5: never INBOX, never recursive.
    pub(crate) fn delete(&mut self, name: &str) -> Ruled<()> {
        let token = self.find(name)?;
        if name == "INBOX" {
            return Err(Refusal::NotAllowed);
        }
        if !self.below(name).is_empty() {
            return Err(Refusal::HasChildren);
        }
        let uid_validity = self.mailbox(token)?.uid_validity;
        self.remember(name, uid_validity);
        self.mailboxes.remove(&token);
        Ok(())
    }

    pub(crate) fn subscribe(&mut self, name: &str, on: bool) {
        if on {
            self.subscriptions.insert(name.into());
        } else {
            self.subscriptions.remove(name);
        }
    }

    pub(crate) fn properties(
        &mut self,
        mailbox: Token,
        noselect: bool,
        sort_order: u32,
        now: &mut Now<'_>,
    ) -> Ruled<()> {
        let mailbox = self.mailbox(mailbox)?;
        if (mailbox.noselect, mailbox.sort_order) != (noselect, sort_order) {
            (mailbox.noselect, mailbox.sort_order) = (noselect, sort_order);
            mailbox.modseq = now.token();
        }
        Ok(())
    }

    /// RFC 9051 6.3.12. `email` is the Email that another entry of the same call has.
    pub(crate) fn append(
        &mut self,
        mailbox: Token,
        arriving: &Arriving,
        email: Option<Token>,
        now: &mut Now<'_>,
    ) -> Ruled<Answer> {
        let seconds = now.seconds;
        let mailbox = self.mailbox(mailbox)?;
        if mailbox.noselect {
            return Err(Refusal::NotAllowed);
        }
        let modseq = now.token();
        let email = email
            .filter(|email| !mailbox.holds(*email))
            .unwrap_or(modseq);
        let uid = mailbox.add(Entry {
            message: arriving.message,
            flags: arriving.flags,
            keywords: arriving.keywords.clone(),
            modseq,
            created: modseq,
            email,
            date: arriving.date.unwrap_or((seconds, 0)),
            save_date: seconds,
        });
        Ok(Answer::Delivered {
            uid,
            uid_validity: mailbox.uid_validity,
            modseq,
            email,
        })
    }

    /// RFC 9051 6.4.6 and RFC 7162 3.1.3.
    pub(crate) fn flag(
        &mut self,
        mailbox: Token,
        uids: &BTreeSet<u32>,
        store: &Store,
        unchanged_since: Option<Token>,
        now: &mut Now<'_>,
    ) -> Ruled<Answer> {
        let mailbox = self.mailbox(mailbox)?;
        let (mut changed, mut modified) = (BTreeSet::new(), BTreeSet::new());
        let mut modseq = None;
        for (uid, entry) in &mut mailbox.entries {
            if !uids.contains(uid) {
                continue;
            }
            if unchanged_since.is_some_and(|since| entry.modseq > since) {
                modified.insert(*uid);
                continue;
            }
            let after = store.apply(entry);
            if after != (entry.flags, entry.keywords.clone()) {
                (entry.flags, entry.keywords) = after;
                entry.modseq = *modseq.get_or_insert_with(|| now.token());
                changed.insert(*uid);
            }
        }
        mailbox.modseq = modseq.unwrap_or(mailbox.modseq);
        Ok(Answer::Flagged {
            changed,
            modified,
            modseq,
        })
    }

    /// RFC 9051 6.4.7, RFC 6851. An Email is in a mailbox at most once: where the destination holds it, a copy is a new
    /// Email.
    pub(crate) fn transfer(
        &mut self,
        source: Token,
        uids: &BTreeSet<u32>,
        destination: Token,
        moved: bool,
        now: &mut Now<'_>,
    ) -> Ruled<Answer> {
        let from = self.mailbox(source)?.clone();
        if self.mailbox(destination)?.noselect {
            return Err(Refusal::NotAllowed);
        }
        let mut pairs = Vec::new();
        let chosen: Vec<_> = from
            .entries
            .iter()
            .filter(|(uid, _)| uids.contains(uid))
            .collect();
        let modseq = if chosen.is_empty() { 0 } else { now.token() };
        for (uid, entry) in chosen {
            if moved {
                let source = self.mailbox(source)?;
                source.entries.remove(uid);
                source.modseq = modseq;
            }
            let to = self.mailbox(destination)?;
            let email = if to.holds(entry.email) {
                now.token()
            } else {
                entry.email
            };
            let new = to.add(Entry {
                modseq,
                created: modseq,
                email,
                save_date: now.seconds,
                ..entry.clone()
            });
            pairs.push((*uid, new));
        }
        let uid_validity = self.mailbox(destination)?.uid_validity;
        let uid_validity = (!pairs.is_empty()).then_some(uid_validity);
        Ok(Answer::Transferred {
            uid_validity,
            pairs,
        })
    }

    /// RFC 9051 6.4.9 (`only_deleted`), or JMAP's destroy.
    pub(crate) fn expunge(
        &mut self,
        mailbox: Token,
        uids: &BTreeSet<u32>,
        only_deleted: bool,
        now: &mut Now<'_>,
    ) -> Ruled<Answer> {
        let mailbox = self.mailbox(mailbox)?;
        let goes = |uid: &u32, entry: &Entry| {
            uids.contains(uid) && (!only_deleted || entry.flags & DELETED != 0)
        };
        let gone: BTreeSet<u32> = mailbox
            .entries
            .iter()
            .filter(|(uid, entry)| goes(uid, entry))
            .map(|(uid, _)| *uid)
            .collect();
        mailbox.entries.retain(|uid, _| !gone.contains(uid));
        if !gone.is_empty() {
            mailbox.modseq = now.token();
        }
        Ok(Answer::Expunged(gone))
    }
}

impl Mailbox {
    fn holds(&self, email: Token) -> bool {
        self.entries.values().any(|entry| entry.email == email)
    }

    fn add(&mut self, entry: Entry) -> u32 {
        let uid = self.uid_next;
        self.uid_next += 1;
        self.modseq = self.modseq.max(entry.modseq);
        self.entries.insert(uid, entry);
        uid
    }
}

impl Store {
    fn apply(&self, entry: &Entry) -> (u16, BTreeSet<String>) {
        match self {
            Self::Add(flags, keywords) => (entry.flags | flags, &entry.keywords | keywords),
            Self::Remove(flags, keywords) => (entry.flags & !flags, &entry.keywords - keywords),
            Self::Replace(flags, keywords) => (*flags, keywords.clone()),
        }
    }
}
