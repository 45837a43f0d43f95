//! `mailkeep list`: accounts, mailboxes, messages, one a line.
//!
//! Lines are written as they are found, so columns have fixed widths and what has no bound comes last.

use mail_parser::{Address, MessageParser};
use mailkeep::mail::{FieldName, Summary};
use mailkeep::{Account, Digest, Flags, MailboxInfo, Message, Row, Store, View};
use serde_json::{Value, json};

use crate::args::List;
use crate::error::{CliError, Verdict, chain};
use crate::output::{Output, column, date, safe};
use crate::store;

/// Lists what the arguments ask for.
pub(crate) fn run(args: &List, out: &mut Output) -> Result<Verdict, CliError> {
    let store = store::open_to_read(&args.at)?;
    let all_read = match (&args.account, &args.mailbox) {
        (None, _) => accounts(&store, out)?,
        (Some(account), None) => mailboxes(&store.account(account.as_str())?, out)?,
        (Some(account), Some(mailbox)) => {
            let account = store.account(account.as_str())?;
            messages(&store::mailbox(&account, mailbox)?.view()?, out)?
        }
    };
    Ok(if all_read {
        store::verdict(&store)
    } else {
        Verdict::Differences
    })
}

fn accounts(store: &Store, out: &mut Output) -> Result<bool, CliError> {
    if !out.is_json() {
        out.line("MAILBOXES   MESSAGES           BYTES  ACCOUNT")?;
    }
    store::each_account(store, |name| account(name, &store.account(name)?, out))?;
    Ok(true)
}

fn account(name: &str, account: &Account, out: &mut Output) -> Result<(), CliError> {
    let mailboxes = account.mailboxes()?;
    let sum = |count: fn(&MailboxInfo) -> u64| mailboxes.iter().map(count).sum::<u64>();
    let messages = sum(|mailbox| mailbox.counters.messages);
    let bytes = sum(|mailbox| mailbox.counters.bytes);
    if out.is_json() {
        return out.value(&json!({
            "account": name,
            "account_id": account.id().to_string(),
            "mailboxes": mailboxes.len(),
            "messages": messages,
            "bytes": bytes,
        }));
    }
    let count = mailboxes.len();
    let name = safe(name);
    out.line(format_args!("{count:9} {messages:10} {bytes:15}  {name}"))
}

fn mailboxes(account: &Account, out: &mut Output) -> Result<bool, CliError> {
    if !out.is_json() {
        out.line(
            "UIDVALIDITY     UIDNEXT    MODSEQ   MESSAGES     UNSEEN           BYTES  MAILBOX",
        )?;
    }
    for info in account.mailboxes()? {
        let status = account.mailbox(&info.name)?.status()?;
        let counters = status.counters;
        if out.is_json() {
            out.value(&json!({
                "mailbox": info.name,
                "mailbox_id": info.id.get(),
                "uid_validity": status.uid_validity.get(),
                "uid_next": status.uid_next.map(|uid| uid.get()),
                "highest_modseq": status.highest_modseq.get(),
                "messages": counters.messages,
                "unseen": counters.unseen,
                "deleted": counters.deleted,
                "bytes": counters.bytes,
                "special_use": info.special_use.names().collect::<Vec<_>>(),
                "subscribed": info.subscribed,
                "noselect": info.noselect,
            }))?;
            continue;
        }
        let uid_next = status
            .uid_next
            .map_or("-".to_owned(), |uid| uid.to_string());
        out.line(format_args!(
            "{:11} {uid_next:>11} {:9} {:10} {:10} {:15}  {}",
            status.uid_validity.get(),
            status.highest_modseq.get(),
            counters.messages,
            counters.unseen,
            counters.bytes,
            safe(&info.name),
        ))?;
    }
    Ok(true)
}

/// Lists all messages; whether all could be read.
fn messages(view: &View, out: &mut Output) -> Result<bool, CliError> {
    if !out.is_json() {
        out.line("       UID  DATE                            SIZE  FLAGS  FROM                      SUBJECT")?;
    }
    let mut all_read = true;
    for row in view.iter() {
        let listed = Listed::of(view, row);
        all_read &= listed.found.is_ok();
        if out.is_json() {
            out.value(&listed.json())?;
        } else {
            out.line(listed.text())?;
        }
    }
    Ok(all_read)
}

/// A message in a list: its row, and what its header says where that can be read.
pub(crate) struct Listed<'a> {
    row: Row<'a>,
    found: Result<Found, mailkeep::Error>,
}

/// What is known of a message besides its row.
struct Found {
    digest: Digest,
    sent: Option<i64>,
    from: Option<String>,
    subject: Option<String>,
}

impl<'a> Listed<'a> {
    /// Looks at the header of a row's message.
    pub(crate) fn of(view: &View, row: Row<'a>) -> Self {
        let found = view
            .message(row.uid)
            .and_then(|message| Found::of(&message));
        Self { row, found }
    }

    /// The message as JSON; `error` is there when its header cannot be read.
    pub(crate) fn json(&self) -> Value {
        let row = &self.row;
        let keywords = row.keywords.iter().map(|keyword| keyword.as_str());
        let mut object = json!({
            "uid": row.uid.get(),
            "flags": row.flags.names().collect::<Vec<_>>(),
            "keywords": keywords.collect::<Vec<_>>(),
            "internal_date": date(row.internal_date),
            "save_date": row.save_date,
            "size": row.size,
            "raw_size": row.raw_len,
            "modseq": row.modseq.get(),
            "email_id": row.email.get(),
        });
        let more = match &self.found {
            Ok(found) => json!({
                "digest": found.digest.to_string(),
                "sent": found.sent,
                "from": found.from,
                "subject": found.subject,
            }),
            Err(error) => json!({ "error": chain(error) }),
        };
        if let (Some(fields), Value::Object(more)) = (object.as_object_mut(), more) {
            fields.extend(more);
        }
        object
    }

    fn text(&self) -> String {
        let row = &self.row;
        let (from, subject) = match &self.found {
            Ok(found) => (found.from.as_deref(), found.subject.clone()),
            Err(error) => (None, Some(format!("({})", chain(error)))),
        };
        let keywords: Vec<&str> = row
            .keywords
            .iter()
            .map(|keyword| keyword.as_str())
            .collect();
        let marks = if keywords.is_empty() {
            String::new()
        } else {
            format!("[{}] ", keywords.join(" "))
        };
        format!(
            "{:10}  {:25} {:10}  {}  {}  {}{}",
            row.uid.get(),
            date(row.internal_date),
            row.size,
            letters(row.flags),
            column(from.unwrap_or_default(), 24),
            safe(&marks),
            safe(&subject.unwrap_or_default()),
        )
    }
}

/// The letters that Maildir has for flags, each in its place.
fn letters(flags: Flags) -> String {
    let letters = [
        (Flags::DRAFT, 'D'),
        (Flags::FLAGGED, 'F'),
        (Flags::ANSWERED, 'R'),
        (Flags::SEEN, 'S'),
        (Flags::DELETED, 'T'),
    ];
    let letter = |(flag, letter)| if flags.contains(flag) { letter } else { '-' };
    letters.into_iter().map(letter).collect()
}

impl Found {
    fn of(message: &Message) -> Result<Self, mailkeep::Error> {
        let (header, summary) = (message.header()?, message.summary()?);
        let (from, subject) = decoded(&header, &summary);
        Ok(Self {
            digest: message.digest()?,
            sent: summary.sent,
            from,
            subject,
        })
    }
}

/// From and Subject, decoded (RFC 2047).
///
/// Only these two fields are given to the parser: a header of many thousand fields costs no more.
fn decoded(header: &[u8], summary: &Summary) -> (Option<String>, Option<String>) {
    let mut fields = Vec::new();
    for (name, label) in [
        (FieldName::From, &b"From: "[..]),
        (FieldName::Subject, b"Subject: "),
    ] {
        if let Some(value) = summary.field(name, header) {
            fields.extend_from_slice(label);
            fields.extend_from_slice(value);
            fields.extend_from_slice(b"\r\n");
        }
    }
    fields.extend_from_slice(b"\r\n");
    let Some(parsed) = MessageParser::default().parse_headers(&fields) else {
        return (None, None);
    };
    let subject = parsed.subject().map(str::to_owned);
    (parsed.from().and_then(sender), subject)
}

/// The first of some addresses: its name, else its address.
fn sender(address: &Address<'_>) -> Option<String> {
    let first = address.first()?;
    let shown = match (first.name(), first.address()) {
        (Some(name), Some(address)) => format!("{name} <{address}>"),
        (Some(one), None) | (None, Some(one)) => one.to_owned(),
        (None, None) => return None,
    };
    Some(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(raw: &[u8]) -> (Option<String>, Option<String>) {
        decoded(raw, &Summary::of(raw))
    }

    #[test]
    fn fields_are_decoded() {
        let raw = b"Subject: =?utf-8?q?caf=C3=A9?=\r\nFrom: =?utf-8?b?QW5uYQ==?= <a@example.it>\r\n\r\nbody";
        let (from, subject) = fields(raw);
        assert_eq!(from.as_deref(), Some("Anna <a@example.it>"));
        assert_eq!(subject.as_deref(), Some("caf\u{e9}"));
        assert_eq!(fields(b"no header"), (None, None));
        assert_eq!(
            fields(b"From: a@example.it\n\n").0.as_deref(),
            Some("a@example.it")
        );
    }

    #[test]
    fn odd_fields_do_no_harm() {
        for raw in [
            &b"Subject:\nFrom:\n\n"[..],
            b"Subject: =?x?y?z?=\nFrom: <<>,;:\n\n",
            b"Subject: \xff\xfe\nFrom: \x00\n\n",
            b"Subject: a\n\tb\nFrom: g: a@b, c@d;\n\n",
        ] {
            let _ = fields(raw);
        }
    }

    #[test]
    fn flags_have_their_places() {
        assert_eq!(letters(Flags::SEEN | Flags::DRAFT), "D--S-");
    }
}
