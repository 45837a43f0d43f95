//! Operations in the words of both sides: the store's types, and the model's.

use std::collections::BTreeSet;

use mailkeep::{
    Delivery, Error, FlagChange, Flags, InternalDate, Keyword, Mailbox as Handle,
    MailboxProperties, ModSeq, Outcome, Uid, UidSet,
};

use super::mail::Store as Change;
use super::mail::{Account, Answer, Arriving, Now, Refusal, Ruled, Token};
use super::op::{KEYWORDS, Marked, Marking, NAMES, Step, Uids};
use super::run::{Found, Given};

/// A step whose places were found.
#[derive(Clone, Debug)]
pub(super) enum Resolved {
    Append {
        to: Found,
        message: usize,
        marked: Marked,
    },
    Flag {
        mailbox: Found,
        uids: Uids,
        marking: Marking,
        since: Option<(Token, u64)>,
    },
    Transfer {
        from: Found,
        uids: Uids,
        to: Found,
        moved: bool,
    },
    Expunge {
        mailbox: Found,
        uids: Uids,
        only_deleted: bool,
    },
    Tree(Step),
}

impl Resolved {
    pub(super) fn account(&self) -> Token {
        match self {
            Self::Append { to: found, .. }
            | Self::Flag { mailbox: found, .. }
            | Self::Transfer { from: found, .. }
            | Self::Expunge { mailbox: found, .. } => found.account,
            Self::Tree(_) => 0,
        }
    }

    /// What a transaction of this account refuses before it is committed.
    pub(super) fn refused_at_once(&self, account: Token) -> Option<Refusal> {
        let invalid = |name: &u8| NAMES[*name as usize % NAMES.len()].1.is_none();
        match self {
            Self::Append { to, .. } => (to.account != account).then_some(Refusal::NoSuchMailbox),
            Self::Tree(Step::Rename { from, to }) if invalid(from) || invalid(to) => {
                Some(Refusal::InvalidName)
            }
            Self::Tree(Step::Create { name, .. } | Step::Delete { name }) if invalid(name) => {
                Some(Refusal::InvalidName)
            }
            _ => None,
        }
    }

    /// What the rules say of the step as one of `token`'s calls.
    pub(super) fn rule(
        &self,
        token: Token,
        account: &mut Account,
        now: &mut Now<'_>,
    ) -> Ruled<Answer> {
        let own = |found: &Found| {
            if found.account == token {
                Ok(found.mailbox)
            } else {
                Err(Refusal::NoSuchMailbox)
            }
        };
        match self {
            Self::Append {
                to,
                message,
                marked,
            } => account.append(own(to)?, &arriving(*message, marked), None, now),
            Self::Flag {
                mailbox,
                uids,
                marking,
                since,
            } => {
                let since = since.map(|(token, _)| token);
                account.flag(own(mailbox)?, &chosen(*uids), &change(marking), since, now)
            }
            Self::Transfer {
                from,
                uids,
                to,
                moved,
            } => account.transfer(own(from)?, &chosen(*uids), own(to)?, *moved, now),
            Self::Expunge {
                mailbox,
                uids,
                only_deleted,
            } => account.expunge(own(mailbox)?, &chosen(*uids), *only_deleted, now),
            Self::Tree(step) => rule_tree(account, step, now).map(|()| Answer::Done),
        }
    }
}

pub(super) fn rule_tree(account: &mut Account, step: &Step, now: &mut Now<'_>) -> Ruled<()> {
    let name = |name: &u8| {
        NAMES[*name as usize % NAMES.len()]
            .1
            .ok_or(Refusal::InvalidName)
    };
    match step {
        Step::Create {
            name: new,
            noselect,
        } => account.create(name(new)?, *noselect, now).map(drop),
        Step::Rename { from, to } => {
            let (from, to) = (name(from)?, name(to)?);
            account.rename(from, to, now)
        }
        Step::Delete { name: old } => account.delete(name(old)?),
        _ => Ok(()),
    }
}

pub(super) fn add(
    transaction: &mut mailkeep::Transaction,
    step: &Resolved,
    messages: &[Vec<u8>],
) -> Result<(), Error> {
    let spelled = |name: &u8| NAMES[*name as usize % NAMES.len()].0;
    match step {
        Resolved::Append {
            to,
            message,
            marked,
        } => {
            return transaction.append(&messages[*message], delivery(&to.handle, marked));
        }
        Resolved::Flag {
            mailbox,
            uids,
            marking,
            since,
        } => {
            let since = since.and_then(|since| ModSeq::new(since.1));
            transaction.flag(&mailbox.handle, uid_set(*uids), flag_change(marking), since);
        }
        Resolved::Transfer {
            from,
            uids,
            to,
            moved: true,
        } => {
            transaction.r#move(&from.handle, uid_set(*uids), &to.handle);
        }
        Resolved::Transfer { from, uids, to, .. } => {
            transaction.copy(&from.handle, uid_set(*uids), &to.handle);
        }
        Resolved::Expunge {
            mailbox,
            uids,
            only_deleted: true,
        } => {
            transaction.expunge(&mailbox.handle, uid_set(*uids));
        }
        Resolved::Expunge { mailbox, uids, .. } => {
            transaction.destroy(&mailbox.handle, uid_set(*uids));
        }
        Resolved::Tree(Step::Create { name, noselect }) => {
            return transaction.create_mailbox(spelled(name), only_name(*noselect));
        }
        Resolved::Tree(Step::Rename { from, to }) => {
            return transaction.rename_mailbox(spelled(from), spelled(to));
        }
        Resolved::Tree(Step::Delete { name }) => {
            return transaction.delete_mailbox(spelled(name));
        }
        Resolved::Tree(_) => {}
    }
    Ok(())
}

pub(super) fn of_outcome(outcome: Outcome) -> Given {
    match outcome {
        Outcome::Appended(given) => Given::Delivered(given),
        Outcome::Flagged(given) => Given::Flagged(given),
        Outcome::Transferred(given) => Given::Transferred(given),
        Outcome::Expunged(given) => Given::Expunged(given),
        _ => Given::Done,
    }
}

pub(super) fn only_name(noselect: bool) -> MailboxProperties {
    MailboxProperties {
        noselect,
        ..MailboxProperties::default()
    }
}

pub(super) fn flags_of(bits: u8) -> Flags {
    Flags::from_bits(u16::from(bits & 31)).expect("five flags")
}

/// The keywords of these bits, as given and as kept.
pub(super) fn keywords_of(bits: u8) -> impl Iterator<Item = (&'static str, &'static str)> {
    let all = KEYWORDS.into_iter().enumerate();
    all.filter(move |(at, _)| bits >> at & 1 == 1)
        .map(|(_, keyword)| keyword)
}

pub(super) fn kept_keywords(bits: u8) -> BTreeSet<String> {
    keywords_of(bits).map(|(_, kept)| kept.to_owned()).collect()
}

pub(super) fn delivery(to: &Handle, marked: &Marked) -> Delivery {
    let mut delivery = Delivery::to(to).flags(flags_of(marked.flags));
    for (given, _) in keywords_of(marked.keywords) {
        delivery = delivery.keyword(Keyword::new(given).expect("a keyword"));
    }
    match marked.date {
        Some((seconds, zone)) => {
            let date = InternalDate::new(seconds.into(), zone.into());
            delivery.internal_date(date.expect("a date"))
        }
        None => delivery,
    }
}

pub(super) fn arriving(message: usize, marked: &Marked) -> Arriving {
    Arriving {
        message,
        flags: u16::from(marked.flags & 31),
        keywords: kept_keywords(marked.keywords),
        date: marked
            .date
            .map(|(seconds, zone)| (seconds.into(), zone.into())),
    }
}

pub(super) fn flag_change(marking: &Marking) -> FlagChange {
    let (mut change, keywords) = match *marking {
        Marking::Add { flags, keywords } => (FlagChange::add(flags_of(flags)), keywords),
        Marking::Remove { flags, keywords } => (FlagChange::remove(flags_of(flags)), keywords),
        Marking::Replace { flags, keywords } => (FlagChange::replace(flags_of(flags)), keywords),
    };
    for (given, _) in keywords_of(keywords) {
        change = change.with(Keyword::new(given).expect("a keyword"));
    }
    change
}

pub(super) fn change(marking: &Marking) -> Change {
    let bits = |flags: u8| u16::from(flags & 31);
    match *marking {
        Marking::Add { flags, keywords } => Change::Add(bits(flags), kept_keywords(keywords)),
        Marking::Remove { flags, keywords } => Change::Remove(bits(flags), kept_keywords(keywords)),
        Marking::Replace { flags, keywords } => {
            Change::Replace(bits(flags), kept_keywords(keywords))
        }
    }
}

pub(super) fn chosen(uids: Uids) -> BTreeSet<u32> {
    match uids {
        Uids::All => (1..10_000).collect(),
        Uids::One(uid) => [uid.into()].into(),
        Uids::Range(a, b) => (a.min(b).into()..=u32::from(a.max(b))).collect(),
        Uids::Two(a, b) => [a.into(), b.into()].into(),
    }
}

pub(super) fn uid_set(uids: Uids) -> UidSet {
    match uids {
        Uids::All => UidSet::full(),
        _ => chosen(uids).into_iter().filter_map(Uid::new).collect(),
    }
}
