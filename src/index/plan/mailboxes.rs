//! Changes of the account itself and of its mailboxes.

use std::sync::Arc;

use super::{Draft, Drafted, RECORD_ITEMS};
use crate::error::{Error, Result};
use crate::format::change::{Change, CreateMailbox, MailboxProperties};
use crate::index::MailboxFold;
use crate::index::fold::INBOX;
use crate::mail::{MailboxName, NameKey, UidSet};

impl Draft {
    pub(crate) fn create_account(&mut self, name: &str, uid_validity_mark: u32) -> Result<()> {
        self.push(
            0,
            Change::CreateAccount {
                name: name.into(),
                uid_validity_mark,
            },
        )?;
        self.create_mailbox(&MailboxName::inbox(), MailboxProperties::default())
            .map(drop)
    }

    /// Renames the account. `uid_validity_mark` is the highest UIDVALIDITY that earlier accounts of the name gave: its
    /// mailboxes with no greater one get one, as a client may know the name with other messages (RFC 9051 2.3.1.1).
    /// `key` is the new name's: the account is found under it from now on.
    pub(crate) fn rename_account(
        &mut self,
        name: &str,
        key: NameKey,
        uid_validity_mark: u32,
    ) -> Result<()> {
        self.push(
            0,
            Change::RenameAccount {
                name: name.into(),
                uid_validity_mark,
            },
        )?;
        let target = self.fold().id;
        let alias = target.alias(key);
        // Back to the name that it was created with: there it is found anyway.
        if alias != target {
            self.records.list.push(Drafted {
                filed: Some(alias),
                mailbox: 0,
                modseq: 0,
                change: Change::Alias { target },
                body: None,
            });
        }
        let stale = |mailbox: &MailboxFold| mailbox.uid_validity.get() <= uid_validity_mark;
        let all = self.fold().mailboxes.iter();
        let stale: Vec<u32> = all
            .filter(|(_, mailbox)| stale(mailbox))
            .map(|(id, _)| *id)
            .collect();
        let mut above = 0;
        for ids in stale.chunks(RECORD_ITEMS) {
            let mut fresh = Vec::with_capacity(ids.len());
            for id in ids {
                above = self.uid_validity(above)?.get();
                fresh.push((*id, above));
            }
            if let Some(first) = ids.first() {
                self.keep_name(*first, fresh)?;
            }
        }
        Ok(())
    }

    /// Gives new UIDVALIDITYs by a rename of one mailbox to the name that it has.
    fn keep_name(&mut self, id: u32, uid_validity: Vec<(u32, u32)>) -> Result<()> {
        let mailbox = self.mailbox(id)?;
        let (parent, name) = (mailbox.parent, mailbox.name.to_string());
        let change = Change::RenameMailbox {
            parent,
            name,
            uid_validity,
        };
        self.push(id, change)?;
        Ok(())
    }

    /// Whether the account is there at all.
    pub(crate) fn exists(&mut self) -> Result<()> {
        let fold = self.fold();
        if fold.exists {
            Ok(())
        } else {
            Err(Error::NoSuchAccount {
                name: fold.name.to_string(),
            })
        }
    }

    pub(crate) fn delete_account(&mut self) -> Result<()> {
        let uid_validity_mark = self.fold().uid_validity_mark;
        self.push(0, Change::DeleteAccount { uid_validity_mark })?;
        Ok(())
    }

    /// Creates a mailbox, and those above it that are missing (RFC 9051 6.3.4).
    pub(crate) fn create_mailbox(
        &mut self,
        name: &MailboxName,
        properties: MailboxProperties,
    ) -> Result<u32> {
        if self.fold().find(name).is_some() {
            return Err(Error::MailboxExists {
                name: name.to_string(),
            });
        }
        let parent = self.parent_of(name)?;
        self.create_one(parent, name.leaf(), properties)
    }

    fn create_one(
        &mut self,
        parent: u32,
        leaf: &str,
        properties: MailboxProperties,
    ) -> Result<u32> {
        let uid_validity = self.uid_validity(0)?;
        let exhausted = |_| Error::Exhausted {
            name: leaf.into(),
            what: "mailbox ids",
        };
        let id = u32::try_from(self.fold().next_mailbox).map_err(exhausted)?;
        self.push(
            id,
            Change::CreateMailbox(CreateMailbox {
                parent,
                name: leaf.into(),
                uid_validity,
                properties,
            }),
        )?;
        Ok(id)
    }

    /// The mailbox above `name`, created where it is missing; 0 is the root.
    fn parent_of(&mut self, name: &MailboxName) -> Result<u32> {
        let mut parent = 0;
        let above = name.parent();
        for leaf in above.iter().flat_map(MailboxName::levels) {
            parent = match self.fold().child(parent, leaf) {
                Some(id) => id,
                None => self.create_one(parent, leaf, MailboxProperties::default())?,
            };
        }
        Ok(parent)
    }

    fn find(&mut self, name: &MailboxName) -> Result<u32> {
        self.fold().find(name).ok_or_else(|| Error::NoSuchMailbox {
            name: name.to_string(),
        })
    }

    /// Renames a mailbox with all below it. INBOX stays: its messages move (RFC 9051 6.3.6).
    pub(crate) fn rename_mailbox(&mut self, from: &MailboxName, to: &MailboxName) -> Result<u32> {
        let id = self.find(from)?;
        if self.fold().find(to).is_some() {
            return Err(Error::MailboxExists {
                name: to.to_string(),
            });
        }
        if from.is_inbox() {
            let destination = self.create_mailbox(to, MailboxProperties::default())?;
            self.transfer(id, &UidSet::full(), destination, true)?;
            return Ok(destination);
        }
        if to.starts_with(from) {
            return Err(Error::NotAllowed {
                name: from.to_string(),
                verb: "renamed to a name below itself",
            });
        }
        let parent = self.parent_of(to)?;
        let uid_validity = self.fresh_uid_validities(id, from, to)?;
        self.push(
            id,
            Change::RenameMailbox {
                parent,
                name: to.leaf().into(),
                uid_validity,
            },
        )?;
        Ok(id)
    }

    /// Which mailboxes below `top` need a greater UIDVALIDITY when `from` becomes `to`: those whose new name once
    /// belonged to a mailbox with an equal or greater one, or may have.
    fn fresh_uid_validities(
        &mut self,
        top: u32,
        from: &MailboxName,
        to: &MailboxName,
    ) -> Result<Vec<(u32, u32)>> {
        let mut fresh = Vec::new();
        let mut above = 0;
        for id in self.fold().subtree(top) {
            let path = self.fold().path(id);
            let new_path = format!(
                "{to}{}",
                path.strip_prefix(from.as_str()).unwrap_or_default()
            );
            MailboxName::new(&new_path)?;
            let past = self.fold().past_mark(&new_path);
            let present = self.mailbox(id)?.uid_validity.get();
            if past >= present {
                above = self.uid_validity(above)?.get();
                fresh.push((id, above));
            }
        }
        Ok(fresh)
    }

    /// Deletes a mailbox and its messages; not INBOX, not one with mailboxes below it.
    pub(crate) fn delete_mailbox(&mut self, name: &MailboxName) -> Result<()> {
        let id = self.find(name)?;
        if name.is_inbox() {
            return Err(Error::NotAllowed {
                name: INBOX.into(),
                verb: "deleted",
            });
        }
        if self.fold().subtree(id).len() > 1 {
            return Err(Error::HasChildren {
                name: name.to_string(),
            });
        }
        self.push(id, Change::DeleteMailbox)?;
        Ok(())
    }

    pub(crate) fn update_mailbox(&mut self, id: u32, properties: MailboxProperties) -> Result<()> {
        if self.mailbox(id)?.properties != properties {
            self.push(id, Change::UpdateMailbox(properties))?;
        }
        Ok(())
    }

    pub(crate) fn subscribe(&mut self, name: &MailboxName, on: bool) -> Result<()> {
        let key = (0, Arc::from(name.as_str()));
        if self.fold().subscriptions.contains(&key) != on {
            self.push(
                0,
                Change::Subscribe {
                    principal: 0,
                    name: name.to_string(),
                    on,
                },
            )?;
        }
        Ok(())
    }
}
