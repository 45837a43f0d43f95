//! Where imported messages go: mailboxes, found or created, and what they held before.

use std::collections::HashMap;

use mailkeep::mail::MailboxName;
use mailkeep::{Account, Digest, Error, Mailbox};

use crate::error::chain;

/// The mailboxes of an import, by the levels of the folders that go there.
pub(super) struct Targets {
    account: Account,
    base: Option<MailboxName>,
    skip_existing: bool,
    known: HashMap<Vec<String>, Option<Target>>,
}

/// A mailbox that messages go to.
pub(super) struct Target {
    pub(super) mailbox: Mailbox,
    /// How many messages of each content it held at the start, less those that were skipped for it. Empty unless
    /// existing ones are to be skipped.
    held: HashMap<Digest, u32>,
}

impl Targets {
    pub(super) fn new(account: Account, base: Option<MailboxName>, skip_existing: bool) -> Self {
        Self {
            account,
            base,
            skip_existing,
            known: HashMap::new(),
        }
    }

    /// The mailbox for a folder, created if need be; `None` when it was refused, which `warn` is told once.
    ///
    /// # Errors
    /// What concerns the store as a whole.
    pub(super) fn find(
        &mut self,
        folder: &[String],
        warn: &mut dyn FnMut(String),
    ) -> Result<Option<&mut Target>, Error> {
        if !self.known.contains_key(folder) {
            let target = match self.open(folder, warn) {
                Ok(target) => Some(target),
                Err(error @ (Error::InvalidName(_) | Error::Exhausted { .. })) => {
                    warn(format!("folder {}: {}", folder.join("/"), chain(&error)));
                    None
                }
                Err(error) => return Err(error),
            };
            self.known.insert(folder.to_vec(), target);
        }
        Ok(self.known.get_mut(folder).and_then(Option::as_mut))
    }

    fn open(&self, folder: &[String], warn: &mut dyn FnMut(String)) -> Result<Target, Error> {
        let name = name(self.base.as_ref(), folder)?;
        let mailbox = match self.account.mailbox(&name) {
            Err(Error::NoSuchMailbox { .. }) => self.account.create_mailbox(&name)?,
            found => found?,
        };
        let held = if self.skip_existing {
            held(&mailbox, warn)?
        } else {
            HashMap::new()
        };
        Ok(Target { mailbox, held })
    }
}

impl Target {
    /// Whether the mailbox held such a message at the start that was not found in the source yet. Each one it held
    /// answers once: so a source with two equal messages ends as two, however often the import is interrupted.
    pub(super) fn takes_as_held(&mut self, raw: &[u8]) -> bool {
        if self.held.is_empty() {
            return false;
        }
        match self.held.get_mut(&Digest::of(raw)) {
            Some(count) if *count > 0 => {
                *count -= 1;
                true
            }
            _ => false,
        }
    }
}

/// The name of the mailbox for a folder. Without a base the layout is that of Maildir++: the top is INBOX, folders lie
/// beside it.
fn name(base: Option<&MailboxName>, folder: &[String]) -> Result<String, Error> {
    let inbox = MailboxName::inbox();
    let base = match base {
        None if folder.is_empty() => Some(&inbox),
        base => base,
    };
    let above = base.into_iter().flat_map(MailboxName::levels);
    let levels = above.chain(folder.iter().map(String::as_str));
    Ok(MailboxName::from_levels(levels)?.as_str().to_owned())
}

/// How many messages of each content a mailbox holds. One that cannot be read counts as none.
fn held(mailbox: &Mailbox, warn: &mut dyn FnMut(String)) -> Result<HashMap<Digest, u32>, Error> {
    let view = mailbox.view()?;
    let mut held = HashMap::with_capacity(view.len());
    for row in view.iter() {
        match view.message(row.uid).and_then(|message| message.digest()) {
            Ok(digest) => *held.entry(digest).or_insert(0) += 1,
            Err(error) => warn(format!(
                "mailbox {} uid {}: {}; it does not count as existing",
                view.name(),
                row.uid,
                chain(&error)
            )),
        }
    }
    Ok(held)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_mailboxes() {
        let levels = |text: &str| -> Vec<String> {
            text.split('/')
                .filter(|level| !level.is_empty())
                .map(str::to_owned)
                .collect()
        };
        for (base, folder, expected) in [
            (None, "", Some("INBOX")),
            (None, "Sent", Some("Sent")),
            (None, "inbox/a", Some("INBOX/a")),
            (Some("Old/Mail"), "", Some("Old/Mail")),
            (Some("Old"), "a/b", Some("Old/a/b")),
            (Some("INBOX"), "a", Some("INBOX/a")),
            (None, "a\u{1}", None),
        ] {
            let base = base.map(|text| MailboxName::new(text).unwrap());
            let found = name(base.as_ref(), &levels(folder));
            assert_eq!(found.ok().as_deref(), expected, "{folder:?}");
        }
        assert!(name(None, &["a/b".to_owned()]).is_err());
    }
}
